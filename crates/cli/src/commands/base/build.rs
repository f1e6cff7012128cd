//! `cooper base build`: a base image from a declared file or a preset, by its lock.
//!
//! Knows nothing of packages.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use cooper_engine::{BaseOutcome, BaseRequest};
use cooper_oci::Platform;

use super::prepare::{self, Prepare, Prepared};
use crate::commands::build::image_name;
use crate::engine_calls;
use crate::error::{CommandError, CommandResult, Kind};
use crate::output;
use crate::progress::{Mode, Progress};
use crate::surroundings::Surroundings;

/// Build a base image from distribution packages
#[derive(Args, Clone, Debug)]
pub(crate) struct Build {
    /// A preset (`cooper base list`) or a declared file
    #[arg(value_name = "FILE|PRESET", default_value = "./base.yaml")]
    pub(crate) what: String,

    /// Name of the image, in place of those the file declares; may be repeated
    #[arg(short, long = "tag", value_name = "NAME[:TAG]")]
    pub(crate) tags: Vec<String>,

    /// Platforms to build for, separated by commas [default: those of the lock file]
    #[arg(long = "platform", value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',')]
    pub(crate) platforms: Vec<String>,

    /// Fail if the lock file is missing or does not belong to the declared file
    #[arg(long)]
    pub(crate) locked: bool,

    /// The lock file [default: beside the declared file]
    #[arg(long, value_name = "FILE")]
    pub(crate) lock_file: Option<PathBuf>,

    /// Directory of .deb files, looked at before any other source; may be repeated
    #[arg(long = "deb-dir", value_name = "DIR")]
    pub(crate) deb_dirs: Vec<PathBuf>,

    /// Print only the image's digest
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// How progress is shown
    #[arg(long, value_enum, value_name = "MODE", default_value = "auto")]
    pub(crate) progress: Mode,
}

/// Builds.
pub(crate) async fn run(args: &Build, at: &Surroundings) -> CommandResult {
    let prepare = Prepare { locked: args.locked, lock_file: args.lock_file.clone(), deb_dirs: args.deb_dirs.clone() };
    let Prepared { mut request, packages } = prepare::prepare(at, &args.what, &prepare).await?;
    request.platforms =
        args.platforms.iter().map(|text| Ok(text.trim().parse()?)).collect::<CommandResult<Vec<_>>>()?;
    if !args.tags.is_empty() {
        request.tags = args.tags.iter().map(|text| image_name(text)).collect::<CommandResult<_>>()?;
    }
    let mode = if args.quiet { Mode::Quiet } else { args.progress };
    let (name, tags) = (request.name.clone(), request.tags.clone());
    let outcome = build_or_stop(at, request, mode).await?;
    drop(packages);
    if args.quiet {
        return output::data(&format!("{}\n", outcome.image.digest));
    }
    let tags: Vec<String> = tags.iter().map(cooper_oci::Reference::familiar).collect();
    let names = if tags.is_empty() { String::new() } else { format!(" as {}", tags.join(", ")) };
    let platforms: Vec<String> = outcome.platforms.iter().map(|(platform, _)| platform.to_string()).collect();
    output::note(&format!("built {name} {}{names} for {}", outcome.image.digest, platforms.join(", ")));
    Ok(())
}

/// A base of a Dockerfile, named by nothing but its digest.
pub(crate) async fn make(
    at: &Surroundings,
    what: &str,
    how: &Prepare,
    platforms: &[Platform],
    quiet: bool,
) -> CommandResult<BaseOutcome> {
    let Prepared { mut request, packages } = prepare::prepare(at, what, how).await?;
    request.platforms = if platforms.is_empty() { vec![Platform::host()] } else { platforms.to_vec() };
    request.tags = Vec::new();
    let outcome = build_or_stop(at, request, if quiet { Mode::Quiet } else { Mode::Auto }).await;
    drop(packages);
    outcome
}

/// The first interrupt stops the build, which kills what it runs.
async fn build_or_stop(at: &Surroundings, request: BaseRequest, mode: Mode) -> CommandResult<BaseOutcome> {
    let colours = !at.environment.is_set("NO_COLOR");
    let progress = Arc::new(Progress::start(mode.fold(output::stderr_is_terminal(), colours)));
    let outcome = tokio::select! {
        outcome = engine_calls::build_base(at, request, progress.clone()) => outcome,
        code = crate::terminal::interrupted() => Err(CommandError::new(Kind::Code(code), "the build was stopped")),
    };
    progress.finish();
    outcome
}
