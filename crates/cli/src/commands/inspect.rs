//! `cooper inspect`: everything known of images, as docker's JSON.
//!
//! Knows nothing of where it is known from.

use clap::Args;
use serde_json::Value;

use crate::error::CommandResult;
use crate::store_calls;
use crate::surroundings::Surroundings;

/// Show everything about images, as JSON
#[derive(Args, Clone, Debug)]
pub(crate) struct Inspect {
    /// Names or ids of images
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
}

/// Shows what was found even if something else was not, as docker does.
pub(crate) fn run(args: &Inspect, at: &Surroundings) -> CommandResult {
    let mut found = Vec::new();
    let mut missing = Ok(());
    for image in &args.images {
        match store_calls::inspect(at, image) {
            Ok(value) => found.push(value),
            Err(error) => missing = missing.and(Err(error)),
        }
    }
    super::print_json(&Value::Array(found))?;
    missing
}
