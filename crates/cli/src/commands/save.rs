//! `cooper save`: images as an archive.
//!
//! Knows nothing of archives.

use std::path::PathBuf;

use clap::Args;

use crate::engine_calls;
use crate::error::{CommandError, CommandResult};
use crate::output;
use crate::surroundings::Surroundings;

/// Write images to an archive
#[derive(Args, Clone, Debug)]
pub(crate) struct Save {
    /// Names or ids of images
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,

    /// The archive [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Of images for several platforms, save only this one
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,

    /// Kind of archive
    #[arg(long, value_enum, default_value = "docker")]
    pub(crate) format: ArchiveFormat,
}

/// `--format` of `save`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ArchiveFormat {
    /// What `docker load` reads.
    Docker,
    /// An OCI layout in a tar.
    Oci,
}

/// Saves.
pub(crate) async fn run(args: &Save, at: &Surroundings) -> CommandResult {
    let dest = args.output.as_deref().filter(|path| path.as_os_str() != "-");
    if dest.is_none() && output::stdout_is_terminal() {
        return Err(CommandError::usage("refusing to write an archive to a terminal")
            .with_hint("redirect it (`> image.tar`) or name a file (`--output image.tar`)"));
    }
    let platform = args.platform.as_deref().map(super::build::platform).transpose()?;
    engine_calls::save(at, &args.images, platform.as_ref(), dest, args.format == ArchiveFormat::Oci).await
}
