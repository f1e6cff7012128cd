//! `cooper rmi`: takes names from images.
//!
//! Knows nothing of what becomes of their bytes; `prune` does.

use clap::Args;

use crate::error::CommandResult;
use crate::output;
use crate::rows::Removed;
use crate::store_calls;
use crate::surroundings::Surroundings;

/// Remove images
///
/// Takes the name from the image. An image without names is gone; the space it took is freed by `cooper prune`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Rmi {
    /// Names or ids of images
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,

    /// Remove an image given by id even if it has several names; ignore images that do not exist
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// Removes what can be removed, then reports the first failure.
pub(crate) fn run(args: &Rmi, at: &Surroundings) -> CommandResult {
    let mut failed = Ok(());
    for image in &args.images {
        match store_calls::remove(at, image, args.force) {
            Ok(removed) => output::data(&removed.iter().map(line).collect::<String>())?,
            Err(error) => failed = failed.and(Err(error)),
        }
    }
    failed
}

fn line(removed: &Removed) -> String {
    match removed {
        Removed::Untagged(name) => format!("Untagged: {}\n", name.familiar()),
        Removed::Deleted(digest) => format!("Deleted: {digest}\n"),
    }
}
