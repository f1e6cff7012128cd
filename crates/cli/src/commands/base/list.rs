//! `cooper base list`: the presets.

use clap::Args;
use cooper_base::{Manifest, Origin, presets};
use serde_json::json;

use super::super::{Format, print_json_lines};
use crate::error::CommandResult;
use crate::{human, output};

/// List the presets
#[derive(Args, Clone, Debug)]
pub(crate) struct List {
    /// How the list is printed
    #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(crate) format: Format,
}

/// Lists.
pub(crate) fn run(args: &List) -> CommandResult {
    let presets = presets::NAMES.iter().map(|name| {
        let manifest = Manifest::load(&Origin::Preset(name))?;
        let text = presets::text(name).unwrap_or_default();
        let about = text.lines().next().unwrap_or_default().trim_start_matches(['#', ' ']).to_owned();
        Ok((*name, about, manifest.tags))
    });
    let presets: Vec<_> = presets.collect::<CommandResult<_>>()?;
    if args.format == Format::Json {
        let line =
            |(name, about, tags): &(&str, String, Vec<String>)| json!({"Name": name, "About": about, "Tags": tags});
        return print_json_lines(presets.iter().map(line));
    }
    let row =
        |(name, about, tags): &(&str, String, Vec<String>)| vec![(*name).to_owned(), tags.join(", "), about.clone()];
    output::data(&human::table(&["PRESET", "TAGGED AS", "WHAT IT IS"], &presets.iter().map(row).collect::<Vec<_>>()))
}
