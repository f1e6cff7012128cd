//! `cooper base update`: locks anew and shows what changes.
//!
//! Knows nothing of where the changes come from.

use std::path::{Path, PathBuf};

use clap::Args;
use cooper_base::{Change, Manifest, Origin};
use serde_json::json;

use super::lock::{make, read, write};
use super::packages::{Shown, places};
use super::prepare::{Prepare, lock_path};
use crate::commands::{Format, print_json_lines};
use crate::error::{CommandError, CommandResult};
use crate::surroundings::Surroundings;
use crate::{human, open, output, sanitise};

/// Lock anew, and show what changes and which CVE ids the changelogs name
#[derive(Args, Clone, Debug)]
pub(crate) struct Update {
    /// A preset (`cooper base list`) or a declared file
    #[arg(value_name = "FILE|PRESET", default_value = "./base.yaml")]
    pub(crate) what: String,

    /// Change only what security releases have newer versions of
    #[arg(long)]
    pub(crate) security_only: bool,

    /// Show what would change, and leave the lock file as it is
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Do not fetch packages to read their changelogs
    #[arg(long)]
    pub(crate) no_changelogs: bool,

    /// The lock file [default: beside the declared file]
    #[arg(long, value_name = "FILE")]
    pub(crate) lock_file: Option<PathBuf>,

    /// Directory of .deb files that are offered too; may be repeated
    #[arg(long = "deb-dir", value_name = "DIR")]
    pub(crate) deb_dirs: Vec<PathBuf>,

    /// How changes are printed
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
}

/// Updates.
pub(crate) async fn run(args: &Update, at: &Surroundings) -> CommandResult {
    let origin = Origin::of(&args.what, Path::new(""))?;
    let manifest = Manifest::load(&origin)?;
    let path = match &args.lock_file {
        Some(path) => path.clone(),
        None => lock_path(at, &origin)?,
    };
    let Some(old) = read(&path)? else {
        return Err(CommandError::failure(format!("there is no lock file {} to update", path.display()))
            .with_hint("make it with `cooper base lock`"));
    };
    let how = Prepare { deb_dirs: args.deb_dirs.clone(), ..Prepare::default() };
    let new = make(at, &manifest, Some(&old), args.security_only, &how).await?;
    let mut changes = cooper_base::changes(&old, &new);
    if !args.no_changelogs && !changes.is_empty() {
        let places = places(at, &manifest, &how).await?;
        let (store, shown) = (open::store(at)?, Shown::default());
        cooper_base::name_cves(&mut changes, &old, &new, &places, &store, &|event| shown.show(event)).await?;
        shown.end();
    }
    print(&changes, args.format)?;
    match args.dry_run {
        true => Ok(()),
        false => write(&new, &path),
    }
}

fn print(changes: &[Change], format: Format) -> CommandResult {
    match format {
        Format::Json => print_json_lines(changes.iter().map(|change| {
            json!({
                "name": change.name, "architecture": change.architecture, "old": change.old, "new": change.new,
                "source": change.source, "security": change.security, "cves": change.cves,
                "changelogOf": change.changelog_of,
            })
        })),
        Format::Table if changes.is_empty() => {
            output::note("nothing changes");
            Ok(())
        }
        Format::Table => {
            let rows: Vec<_> = changes.iter().map(row).collect();
            output::data(&sanitise::text(&human::table(&["PACKAGE", "OLD", "NEW", "CHANGELOG OF", "CVE"], &rows)))
        }
    }
}

fn row(change: &Change) -> Vec<String> {
    let version = |version: &Option<String>| version.clone().unwrap_or_else(|| "-".to_owned());
    let cves = match (change.cves.as_slice(), &change.changelog_of) {
        ([], None) => "?".to_owned(),
        ([], Some(_)) => "none".to_owned(),
        (cves, _) => cves.join(" "),
    };
    let name = format!("{}:{}", change.name, change.architecture);
    vec![name, version(&change.old), version(&change.new), version(&change.changelog_of), cves]
}
