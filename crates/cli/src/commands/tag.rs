//! `cooper tag`: one more name for an image.
//!
//! Knows nothing of how names are kept.

use clap::Args;

use crate::error::CommandResult;
use crate::store_calls;
use crate::surroundings::Surroundings;

/// Give an image one more name
#[derive(Args, Clone, Debug)]
pub(crate) struct Tag {
    /// Name or id of the image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,

    /// The new name
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: String,
}

/// Names.
pub(crate) fn run(args: &Tag, at: &Surroundings) -> CommandResult {
    let name = super::build::image_name(&args.name)?;
    store_calls::tag(at, &args.image, &name)
}
