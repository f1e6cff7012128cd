//! `cooper load`: images from an archive.
//!
//! Knows nothing of archives.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;

use crate::engine_calls;
use crate::error::{CommandError, CommandResult};
use crate::output;
use crate::surroundings::Surroundings;

/// Take the images of an archive into the store
#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    /// A docker or OCI archive, or the directory of an OCI layout [default: standard input]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,

    /// Do not print the names
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Loads.
pub(crate) async fn run(args: &Load, at: &Surroundings) -> CommandResult {
    let from = args.input.as_deref().filter(|path| path.as_os_str() != "-");
    if from.is_none() && std::io::stdin().is_terminal() {
        return Err(CommandError::usage("nothing to load: standard input is a terminal")
            .with_hint("name an archive: `cooper load --input image.tar`"));
    }
    let images = engine_calls::load(at, from).await?;
    if args.quiet {
        return Ok(());
    }
    let mut text = String::new();
    for (names, digest) in images {
        if names.is_empty() {
            text.push_str(&format!("Loaded image ID: {digest}\n"));
        }
        text.extend(names.iter().map(|name| format!("Loaded image: {}\n", name.familiar())));
    }
    output::data(&text)
}
