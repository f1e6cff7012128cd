//! `cooper version`.
//!
//! Knows nothing but what was compiled in.

use clap::Args;
use serde_json::json;

use super::{Format, print_json_lines};
use crate::error::CommandResult;
use crate::output;

/// Show the version
#[derive(Args, Clone, Debug)]
pub(crate) struct Version {
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
}

/// Shows.
pub(crate) fn run(args: &Version) -> CommandResult {
    let version = env!("CARGO_PKG_VERSION");
    let platform = cooper_oci::Platform::host().to_string();
    match args.format {
        Format::Table => output::data(&format!("cooper {version} {platform}\n")),
        Format::Json => print_json_lines([json!({"name": "cooper", "version": version, "platform": platform})]),
    }
}
