//! `cooper base init`: a declared file to begin with.
//!
//! Knows nothing of what presets declare.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use cooper_base::{Manifest, Origin};

use crate::error::{CommandError, CommandResult};
use crate::output;

/// Write a declared file that extends a preset
#[derive(Args, Clone, Debug)]
pub(crate) struct Init {
    /// The preset (`cooper base list`)
    #[arg(default_value = "static")]
    pub(crate) preset: String,

    /// Where to write it
    #[arg(short, long, value_name = "FILE", default_value = "base.yaml")]
    pub(crate) output: PathBuf,

    /// Write out all that the preset declares, in place of its name
    #[arg(long)]
    pub(crate) expand: bool,
}

/// Writes it; a file that is there stays.
pub(crate) fn run(args: &Init) -> CommandResult {
    let origin = Origin::of(&args.preset, Path::new(""))?;
    let manifest = Manifest::load(&origin)?;
    let text = if args.expand { manifest.to_yaml()? } else { extending(&args.preset) };
    let path = &args.output;
    let failed = |e: std::io::Error| {
        let error = CommandError::failure(format!("cannot write {}", path.display()));
        let exists = e.kind() == std::io::ErrorKind::AlreadyExists;
        let error = error.with_source(e);
        if exists { error.with_hint("name another file with `--output`") } else { error }
    };
    let mut file = std::fs::File::create_new(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    output::note(&format!("wrote {}: lock it with `cooper base lock {0}`", shown(path)));
    Ok(())
}

/// As the other verbs take it: a bare word would be a preset.
fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    if text.contains('/') { text } else { format!("./{text}") }
}

fn extending(preset: &str) -> String {
    format!(
        "# A base image of Debian packages. `cooper base show {preset}` tells what the preset holds.\n\
         extends: {preset}\n\
         packages: []\n\
         # More than one architecture builds on one machine, without emulation.\n\
         # architectures: [amd64, arm64]\n\
         # Without sources of its own the file uses those of the host's apt.\n\
         # sources:\n\
         #   - uris: [https://mirror.example/debian]\n\
         #     suites: [bookworm, bookworm-updates]\n\
         #     signed-by: [/usr/share/keyrings/debian-archive-keyring.gpg]\n\
         # config:\n\
         #   user: nonroot\n"
    )
}
