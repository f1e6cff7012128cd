//! `cooper base show`: a declared file with all it extends, or the packages of its lock.

use std::path::{Path, PathBuf};

use clap::Args;
use cooper_base::{Lock, LockedPackage, Manifest, Origin};

use super::prepare::lock_path;
use crate::error::CommandResult;
use crate::surroundings::Surroundings;
use crate::{human, output, sanitise};

/// Show what a base image is declared to be
#[derive(Args, Clone, Debug)]
pub(crate) struct Show {
    /// A preset (`cooper base list`) or a declared file
    #[arg(value_name = "FILE|PRESET", default_value = "./base.yaml")]
    pub(crate) what: String,

    /// Show the packages of its lock file
    #[arg(long)]
    pub(crate) packages: bool,

    /// The lock file [default: beside the declared file]
    #[arg(long, value_name = "FILE")]
    pub(crate) lock_file: Option<PathBuf>,
}

/// Shows.
pub(crate) fn run(args: &Show, at: &Surroundings) -> CommandResult {
    let origin = Origin::of(&args.what, Path::new(""))?;
    let manifest = Manifest::load(&origin)?;
    if !args.packages {
        return output::data(&sanitise::text(&manifest.to_yaml()?));
    }
    let lock = match &args.lock_file {
        Some(path) => Lock::read(path)?,
        None => Lock::read(&lock_path(at, &origin)?)?,
    };
    let row = |package: &LockedPackage| {
        let LockedPackage { name, version, architecture, size, .. } = package;
        vec![name.clone(), version.clone(), architecture.clone(), human::size(*size)]
    };
    let rows: Vec<Vec<String>> = lock.packages.values().flatten().map(row).collect();
    output::data(&human::table(&["PACKAGE", "VERSION", "ARCHITECTURE", "SIZE"], &rows))
}
