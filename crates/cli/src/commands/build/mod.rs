//! `cooper build`: docker buildx's flags, with the same meaning.
//!
//! Knows nothing of how a build is done: it makes a request, shows the events and writes down the outcome.

mod annotation;
mod bases;
pub(crate) mod caches;
mod exports;
mod object_caches;
mod outcome;
mod request;
mod unsupported;
mod values;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{ArgAction, Args};
use cooper_engine::{DockerfileSource, Event, EventSink, Outcome, Request};
use cooper_oci::Platform;

use crate::commands::build::unsupported::Unsupported;
use crate::commands::check::call::Call;
use crate::commands::check::context_of;
use crate::engine_calls::{self, Machinery, RuntimeChoice, SnapshotterChoice};
use crate::error::{CommandError, CommandResult, Kind};
use crate::limits::LimitFlags;
use crate::output;
use crate::progress::{Mode, Progress};
use crate::session::LocalSession;
use crate::surroundings::Surroundings;

pub(crate) use request::{image_name, platform, request_of};
pub(crate) use values::{add_hosts, build_args, key_value};

/// Build an image from a Dockerfile
#[derive(Args, Clone, Debug)]
pub(crate) struct Build {
    /// The build's files: a directory, a git repository (`URL.git#REF:DIR`), the address of an archive or of a Dockerfile,
    /// or `-` for either on standard input
    #[arg(value_name = "PATH")]
    pub(crate) path: String,

    /// Name of the Dockerfile, in the repository or archive where PATH is one; `-` reads it from standard input, an address
    /// fetches it [default: PATH/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<String>,

    /// Name of the image; may be repeated
    #[arg(short, long = "tag", value_name = "NAME[:TAG]")]
    pub(crate) tags: Vec<String>,

    /// Value of an ARG; without a value, that of the environment variable
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub(crate) build_args: Vec<String>,

    /// File with lines `NAME=VALUE` or `NAME`, values of ARGs; `--build-arg` wins over it
    #[arg(long = "build-arg-file", value_name = "FILE")]
    pub(crate) build_arg_files: Vec<PathBuf>,

    /// Annotation of the image: of its manifest, or of the levels that are named
    #[arg(long = "annotation", value_name = "[LEVEL[[PLATFORM]]:]KEY=VALUE")]
    pub(crate) annotations: Vec<String>,

    /// Label of the image
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,

    /// Stage to build [default: the last]
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,

    /// Platforms to build for, separated by commas
    #[arg(long = "platform", value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',')]
    pub(crate) platforms: Vec<String>,

    /// Where the result goes: a directory, `-`, or `type=oci|docker|tar|local|image|registry,dest=..,..`
    #[arg(short, long = "output", value_name = "DEST")]
    pub(crate) outputs: Vec<String>,

    /// Push the image to the registries of its names; short for `--output=type=registry`
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "true|false",
        default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true)]
    pub(crate) push: bool,

    /// Load the image into a running docker engine; short for `--output=type=docker`
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "true|false",
        default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true)]
    pub(crate) load: bool,

    /// Run every step again
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "true|false",
        default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true)]
    pub(crate) no_cache: bool,

    /// Run the steps of these stages again
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,

    /// Ask the registries for newer base images
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "true|false",
        default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true)]
    pub(crate) pull: bool,

    /// Network of RUN steps: `default`, `host` or `none`
    #[arg(long, value_name = "MODE")]
    pub(crate) network: Option<String>,

    /// Line of /etc/hosts in RUN steps
    #[arg(long = "add-host", value_name = "HOST:IP")]
    pub(crate) add_hosts: Vec<String>,

    /// What RUN steps may ask for: `network.host`, `security.insecure`, `device` or `device=NAME[,alias=ALIAS]`
    #[arg(long = "allow", value_name = "ENTITLEMENT")]
    pub(crate) allow: Vec<String>,

    /// Limit of all processes of a RUN step together: `memory=2g`, `cpu-quota=50000` and so on
    #[arg(long = "resource", value_name = "KEY=VALUE")]
    pub(crate) resources: Vec<String>,

    /// Directory of descriptions of devices (CDI) [default: /etc/cdi, /var/run/cdi and /etc/buildkit/cdi]
    #[arg(long = "cdi-spec-dir", value_name = "DIR")]
    pub(crate) cdi_spec_dirs: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) limits: LimitFlags,

    /// Further context: `NAME=DIR`, `NAME=URL.git#REF:DIR`, `NAME=https://FILE`, `NAME=docker-image://IMAGE`,
    /// `NAME=oci-layout://DIR[:TAG|@DIGEST]` or `NAME=base:FILE|PRESET`
    #[arg(long = "build-context", value_name = "NAME=PLACE")]
    pub(crate) contexts: Vec<String>,

    /// Secret for RUN steps: `id=ID[,src=FILE|,env=VARIABLE]`
    #[arg(long = "secret", value_name = "SECRET")]
    pub(crate) secrets: Vec<String>,

    /// SSH agent or keys for RUN steps: `default` or `ID[=SOCKET|KEY[,KEY..]]`
    #[arg(long = "ssh", value_name = "AGENT")]
    pub(crate) ssh: Vec<String>,

    /// Cache to ask after the store: an image's name, or `type=registry|local|s3|gha,..`; its cache mounts are restored
    /// before a step uses them
    #[arg(long = "cache-from", value_name = "CACHE")]
    pub(crate) cache_from: Vec<String>,

    /// Cache to write after the build: `type=registry|local|inline|s3|gha,..,mode=min|max`, with cache mounts
    /// `,mounts=all|ID[,ID..]`
    #[arg(long = "cache-to", value_name = "CACHE")]
    pub(crate) cache_to: Vec<String>,

    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,

    /// Write what was built to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,

    /// Print instead of building: `check`, `outline` or `targets`, with `,format=json` as JSON [default: build]
    #[arg(long, value_name = "WHAT")]
    pub(crate) call: Option<String>,

    /// Check the Dockerfile instead of building; short for `--call=check`
    #[arg(long, conflicts_with = "call")]
    pub(crate) check: bool,

    /// How progress is shown
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) progress: Option<Mode>,

    /// Show only errors, and print the image's id
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Steps that run at once [default: the number of processors, at least 8]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<std::num::NonZeroUsize>,

    /// Times of the files in new layers: the same for the same input, or as they are
    #[arg(long, value_enum, value_name = "MODE", default_value = "clamp")]
    pub(crate) timestamps: TimestampsChoice,

    /// What runs the steps
    #[arg(long, value_enum, value_name = "NAME", default_value = "own")]
    pub(crate) runtime: RuntimeChoice,

    /// How filesystems are put together
    #[arg(long, value_enum, value_name = "NAME", default_value = "auto")]
    pub(crate) snapshotter: SnapshotterChoice,

    #[command(flatten)]
    pub(crate) unsupported: Unsupported,
}

impl Build {
    /// The Dockerfile is looked at, and nothing built.
    pub(crate) fn only_reads(&self) -> bool {
        self.check || self.call.as_deref().is_some_and(|call| call != "build")
    }
}

/// `--timestamps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TimestampsChoice {
    /// Clamped: the same input gives the same image.
    Clamp,
    /// As BuildKit does by default.
    Preserve,
}

/// Builds.
pub(crate) async fn run(args: Build, at: &Surroundings) -> CommandResult {
    if let Some(call) = call(&args)? {
        return describe(call, &args, at);
    }
    let (mut request, session) = request::make(&args, &at.environment, Box::new(std::io::stdin()))?;
    let mode = progress_mode(&args, at)?;
    let colours = !at.environment.is_set("NO_COLOR");
    bases::build(&args, &mut request, at).await?;
    let progress = Arc::new(Progress::start(mode.fold(output::stderr_is_terminal(), colours)));
    let outcome = build_or_stop(&args, at, request, session, Arc::clone(&progress)).await;
    progress.finish();
    let outcome = outcome?;
    outcome::write_files(&args, &outcome, at.environment.is_set("BUILDX_METADATA_WARNINGS"))?;
    if mode == Mode::Quiet {
        let id = outcome.config.as_ref().or(outcome.image.as_ref().map(|image| &image.digest));
        return id.map_or(Ok(()), |id| output::data(&format!("{id}\n")));
    }
    if mode != Mode::None && mode != Mode::Rawjson {
        output::note(&outcome::summary(&outcome));
    }
    Ok(())
}

/// `--check` and `--call`; nothing for a build.
fn call(args: &Build) -> CommandResult<Option<Call>> {
    let text = if args.check { Some("check") } else { args.call.as_deref() };
    text.filter(|text| *text != "build").map(Call::parse).transpose()
}

/// Answers `--call` and `--check` instead of building.
fn describe(call: Call, args: &Build, at: &Surroundings) -> CommandResult {
    let (request, _) = request::make(args, &at.environment, Box::new(std::io::stdin()))?;
    if request.dockerfile_source != DockerfileSource::Given {
        return Err(CommandError::usage(
            "--call and --check need a Dockerfile that is at hand, not one of a remote context",
        )
        .with_hint("fetch it and name it with --file"));
    }
    let mut wanted = cooper_dockerfile::Args::new(request.platforms.first().cloned().unwrap_or_else(Platform::host));
    wanted.build_args = request.build_args;
    wanted.target = request.target;
    let ignore = request.ignore.as_ref().map(|(text, _)| text.as_str());
    let context = context_of(std::path::Path::new(&request.context_key), ignore);
    call.run(&request.dockerfile_name, &request.dockerfile, &wanted, Some(context))
}

/// `-q`, else `--progress`, else BUILDKIT_PROGRESS.
fn progress_mode(args: &Build, at: &Surroundings) -> CommandResult<Mode> {
    if args.quiet {
        return Ok(Mode::Quiet);
    }
    let from_environment = at.environment.get("BUILDKIT_PROGRESS").filter(|value| !value.is_empty());
    match (args.progress, from_environment) {
        (Some(mode), _) => Ok(mode),
        (None, None) => Ok(Mode::Auto),
        (None, Some(text)) => clap::ValueEnum::from_str(text, false)
            .map_err(|_| CommandError::usage(format!("BUILDKIT_PROGRESS=`{text}` is not a kind of progress"))),
    }
}

/// The first interrupt stops the build, which kills its steps; it is an error without further words.
async fn build_or_stop(
    args: &Build,
    at: &Surroundings,
    request: Request,
    session: LocalSession,
    progress: Arc<Progress>,
) -> CommandResult<Outcome> {
    if let Some(message) = at.single_id_warning() {
        progress.event(Event::Warning { message, diagnostic: None });
    }
    let machinery =
        Machinery { runtime: args.runtime, snapshotter: args.snapshotter, cdi_spec_dirs: args.cdi_spec_dirs.clone() };
    let building = engine_calls::build(at, machinery, request, Arc::new(session), progress);
    tokio::select! {
        outcome = building => outcome,
        code = crate::terminal::interrupted() => Err(CommandError::new(Kind::Code(code), "the build was stopped")),
    }
}
