//! `cooper tags`: the tags of a repository, or the repositories of a registry, without pulling anything.
//!
//! Knows nothing of how a registry is asked.

use clap::Args;
use cooper_oci::Reference;
use serde_json::json;

use crate::commands::{Format, print_json_lines};
use crate::error::{CommandError, CommandResult};
use crate::surroundings::Surroundings;
use crate::{open, output, sanitise};

/// List the tags of a repository
#[derive(Args, Clone, Debug)]
pub(crate) struct Tags {
    /// A repository; with --repositories, a registry
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// List the repositories of a registry instead, as far as it tells
    #[arg(long)]
    pub(crate) repositories: bool,

    /// How the list is printed
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
}

/// Lists.
pub(crate) async fn run(args: &Tags, at: &Surroundings) -> CommandResult {
    let client = open::client(at)?;
    let names = if args.repositories {
        client.catalog(&args.name).await?
    } else {
        let name: Reference = args.name.parse().map_err(|error: cooper_oci::Error| {
            CommandError::usage(format!("`{}` is not a repository: {error}", args.name))
        })?;
        client.repository(&name).tags().await?
    };
    match args.format {
        Format::Table => {
            output::data(&names.iter().map(|name| format!("{}\n", sanitise::line(name))).collect::<String>())
        }
        Format::Json => print_json_lines(names.iter().map(|name| json!({"name": name}))),
    }
}
