//! `cooper inspect`: everything known of images, as docker's JSON.
//!
//! Knows nothing of where it is known from.

use clap::Args;
use cooper_oci::Platform;
use serde_json::Value;

use crate::error::CommandResult;
use crate::surroundings::Surroundings;
use crate::{engine_calls, store_calls};

/// Show everything about images, as JSON
#[derive(Args, Clone, Debug)]
pub(crate) struct Inspect {
    /// Names or ids of images
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,

    /// Ask the registry, without pulling the image
    #[arg(long)]
    pub(crate) remote: bool,

    /// Print the manifest or index as the registry has it
    #[arg(long, requires = "remote", conflicts_with = "platform")]
    pub(crate) raw: bool,

    /// The image for this platform [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", requires = "remote")]
    pub(crate) platform: Option<Platform>,
}

/// Shows what was found even if something else was not, as docker does.
pub(crate) async fn run(args: &Inspect, at: &Surroundings) -> CommandResult {
    let mut found = Vec::new();
    let mut missing = Ok(());
    for image in &args.images {
        let value = match (args.remote, args.raw) {
            (false, _) => store_calls::inspect(at, image),
            (true, true) => engine_calls::raw_manifest(at, image).await,
            (true, false) => engine_calls::inspect_remote(at, image, args.platform.as_ref()).await,
        };
        match value {
            Ok(value) => found.push(value),
            Err(error) => missing = missing.and(Err(error)),
        }
    }
    match (args.raw, found.as_slice()) {
        (true, [only]) => super::print_json(only)?,
        _ => super::print_json(&Value::Array(found))?,
    }
    missing
}
