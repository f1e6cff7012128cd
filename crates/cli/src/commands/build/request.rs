//! From the command line to the engine's request and the session that serves it.
//!
//! Knows nothing of what the engine makes of them.

use std::collections::BTreeMap;
use std::io::Read;

use clap::Parser;
use cooper_dockerfile::nearest;
use cooper_engine::{ContextSource, GitSource, Request, Timestamps};
use cooper_oci::{COMMON_PLATFORMS, Platform, Reference};

use super::exports::{self, Asked};
use super::{Build, TimestampsChoice, caches, outcome, values};
use crate::context::{self, Place};
use crate::environment::Environment;
use crate::error::{CommandError, CommandResult};
use crate::session::{LocalSession, MAIN_CONTEXT, SshSource};

/// The request and the session of a command line.
pub(super) fn make(
    args: &Build,
    environment: &Environment,
    stdin: Box<dyn Read + Send>,
) -> CommandResult<(Request, LocalSession)> {
    args.unsupported.refuse()?;
    outcome::check_files(args)?;
    let asked = Asked { outputs: &args.outputs, push: args.push, load: args.load, annotations: &args.annotations };
    let exports = exports::exports(asked, crate::output::stdout_is_terminal())?;
    let build_args = values::build_args(&args.build_arg_files, &args.build_args, environment)?;
    let epoch = epoch(&build_args, environment)?;
    let mut session = session(args, environment)?;
    let mut contexts = BTreeMap::new();
    let mut context_ignores = BTreeMap::new();
    for text in args.contexts.iter().filter(|text| super::bases::declared(text).is_none()) {
        let (name, context, dir) = values::named_context(text)?;
        if let Some(dir) = dir {
            context_ignores.extend(context::named_ignore(&dir)?.map(|text| (name.clone(), text)));
            session.contexts.insert(name.clone(), dir);
        }
        contexts.insert(name, context);
    }
    let inputs = context::find(&args.path, args.file.as_deref(), stdin)?;
    let context_key = inputs.key();
    let context = place(&mut session, inputs.context, environment);
    let request = Request {
        context,
        dockerfile_source: inputs.dockerfile_source,
        dockerfile_name: inputs.name,
        dockerfile: inputs.dockerfile,
        ignore: inputs.ignore,
        build_args,
        labels: args.labels.iter().map(|text| values::key_value("--label", text)).collect::<CommandResult<_>>()?,
        target: args.target.clone().filter(|target| !target.is_empty()),
        platforms: platforms(args, environment)?,
        contexts,
        context_ignores,
        tags: args.tags.iter().map(|text| image_name(text)).collect::<CommandResult<_>>()?,
        exports,
        no_cache: args.no_cache,
        no_cache_filter: args.no_cache_filter.clone(),
        pull: args.pull,
        network: values::network(args.network.as_deref())?,
        add_hosts: values::add_hosts(&args.add_hosts)?,
        run: args.limits.options(&args.resources)?,
        entitlements: values::entitlements(&args.allow, args.network.as_deref())?,
        jobs: args.jobs.map_or_else(default_jobs, std::num::NonZeroUsize::get),
        timestamps: timestamps(args.timestamps),
        epoch,
        cache_from: args
            .cache_from
            .iter()
            .map(|text| caches::cache_from(text, environment))
            .collect::<CommandResult<_>>()?,
        cache_to: args.cache_to.iter().map(|text| caches::cache_to(text, environment)).collect::<CommandResult<_>>()?,
        context_key,
    };
    check_names(args, &request)?;
    Ok((request, session))
}

/// Where the main context comes from; what only this process can reach goes into the session.
fn place(session: &mut LocalSession, context: Place, environment: &Environment) -> ContextSource {
    match context {
        Place::Directory(dir) => {
            session.contexts.insert(MAIN_CONTEXT.to_owned(), dir);
            ContextSource::Directory
        }
        Place::Git(git) => {
            default_agent(session, &git, environment);
            ContextSource::Git(git)
        }
        Place::Http(url) => ContextSource::Http(url),
        Place::Archive(archive) => {
            session.archive = archive;
            ContextSource::Archive
        }
        Place::Empty => ContextSource::Empty,
    }
}

/// A repository that is given as the context is reached with the caller's agent, without `--ssh`.
fn default_agent(session: &mut LocalSession, git: &GitSource, environment: &Environment) {
    if let Some(socket) = environment.path("SSH_AUTH_SOCK").filter(|_| git.is_ssh() && session.ssh.is_empty()) {
        session.ssh.insert("default".to_owned(), SshSource::Socket(socket));
    }
}

/// The request and the session that `cooper build` with these flags would make.
pub(crate) fn request_of(flags: &[String], environment: &Environment) -> CommandResult<(Request, LocalSession)> {
    let line = ["cooper", "build"].into_iter().chain(flags.iter().map(String::as_str));
    let cli = crate::args::Cli::try_parse_from(line).map_err(|error| CommandError::usage(error.to_string()))?;
    let crate::args::Command::Build(args) = cli.command else {
        return Err(CommandError::usage("the flags are not those of a build"));
    };
    make(&args, environment, Box::new(std::io::empty()))
}

fn session(args: &Build, environment: &Environment) -> CommandResult<LocalSession> {
    Ok(LocalSession {
        secrets: args.secrets.iter().map(|text| values::secret(text, environment)).collect::<CommandResult<_>>()?,
        ssh: args.ssh.iter().map(|text| values::ssh(text, environment)).collect::<CommandResult<_>>()?,
        ..LocalSession::new(environment)
    })
}

/// A name to give an image: a digest cannot be chosen.
pub(crate) fn image_name(text: &str) -> CommandResult<Reference> {
    let name: Reference = text.parse().map_err(misused)?;
    match name.digest() {
        Some(_) => Err(CommandError::usage(format!("`{text}` has a digest; an image to build is named by a tag"))),
        None => Ok(name),
    }
}

/// A value of the command line that is not what it should be.
fn misused(error: cooper_oci::Error) -> CommandError {
    CommandError::from(error).with_kind(crate::error::Kind::Usage)
}

/// Pushing needs somewhere to push to, and by digest no tag.
fn check_names(args: &Build, request: &Request) -> CommandResult {
    use cooper_engine::ExportKind;
    if request.exports.iter().any(|export| export.by_digest)
        && let Some(name) = args.tags.iter().find(|name| exports::has_tag(name))
    {
        return Err(exports::with_tag(name));
    }
    let nameless = |export: &cooper_engine::Export| {
        export.kind == ExportKind::Image { push: true }
            && export.names.is_empty()
            && export.dangling.is_none()
            && request.tags.is_empty()
    };
    if request.exports.iter().any(nameless) {
        return Err(CommandError::usage("a name is needed to push").with_hint("add `--tag registry/name:tag`"));
    }
    Ok(())
}

/// `--platform`, else DOCKER_DEFAULT_PLATFORM, else the host's.
fn platforms(args: &Build, environment: &Environment) -> CommandResult<Vec<Platform>> {
    let from_environment = environment.get("DOCKER_DEFAULT_PLATFORM").filter(|text| !text.is_empty());
    let texts: Vec<&str> = match args.platforms.is_empty() {
        true => from_environment.into_iter().collect(),
        false => args.platforms.iter().map(String::as_str).collect(),
    };
    let mut platforms: Vec<Platform> = Vec::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        let platform = if *text == "local" { Platform::host() } else { platform(text.trim())? };
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

/// A platform that exists: images for a mistyped one would be made, and run nowhere.
pub(crate) fn platform(text: &str) -> CommandResult<Platform> {
    let parsed = text.parse::<Platform>();
    if let Ok(platform) = parsed.as_ref()
        && platform.is_known()
    {
        return Ok(platform.clone());
    }
    let error = match parsed {
        Ok(_) => CommandError::usage(format!("unknown platform `{text}`")),
        // It says how one is written.
        Err(error) => misused(error),
    };
    let short = COMMON_PLATFORMS.iter().filter_map(|platform| platform.strip_prefix("linux/"));
    let near = match text.contains('/') {
        true => nearest(text, COMMON_PLATFORMS.into_iter()),
        false => nearest(text, short),
    };
    Err(match near {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error,
    })
}

/// SOURCE_DATE_EPOCH as a build argument, else as a variable of the environment.
fn epoch(build_args: &BTreeMap<String, String>, environment: &Environment) -> CommandResult<Option<i64>> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let text = build_args.get(NAME).map(String::as_str).or_else(|| environment.get(NAME));
    // What `context` is, the engine finds out.
    let Some(text) = text.filter(|text| !text.is_empty() && *text != "context") else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|_| CommandError::usage(format!("{NAME}=`{text}` is not a number of seconds since 1970")))
}

/// Steps wait for disks, networks and each other more than they compute, so few cores are no reason to run few of them.
const JOBS_MIN: usize = 8;

fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get).max(JOBS_MIN)
}

fn timestamps(choice: TimestampsChoice) -> Timestamps {
    match choice {
        TimestampsChoice::Clamp => Timestamps::Clamp,
        TimestampsChoice::Preserve => Timestamps::Preserve,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};

    fn request(flags: &[&str], environment: &[(&str, &str)]) -> Result<(Request, LocalSession), String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("Dockerfile"), "FROM scratch\n").unwrap();
        let path = dir.path().to_str().unwrap();
        let line = ["cooper", "build"].iter().chain(flags).chain([&path]);
        let cli = Cli::try_parse_from(line).map_err(|error| error.to_string())?;
        let Command::Build(args) = cli.command else { unreachable!("the verb is build") };
        make(&args, &Environment::of(environment), Box::new(std::io::empty())).map_err(|error| error.message())
    }

    #[test]
    fn every_flag_arrives_in_the_request() {
        let flags = [
            "-t",
            "a:1",
            "--tag=b",
            "--build-arg",
            "X=1",
            "--build-arg=Y",
            "--label",
            "l=v",
            "--target",
            "stage",
            "--platform",
            "linux/amd64,linux/arm64",
            "--platform=linux/amd64",
            "--no-cache",
            "--no-cache-filter",
            "s1,s2",
            "--pull",
            "--network=none",
            "--add-host",
            "h:1.2.3.4",
            "--build-context",
            "img=docker-image://alpine",
            "--jobs",
            "3",
            "--timestamps=preserve",
            "-o",
            "type=oci,dest=/x.tar",
            "--push",
            "--provenance=false",
            "--sbom=false",
            "--builder",
            "default",
            "--attest",
            "type=sbom,disabled=true",
        ];
        let (request, session) = request(&flags, &[("Y", "2"), ("SOURCE_DATE_EPOCH", "12")]).unwrap();
        let tags: Vec<String> = request.tags.iter().map(Reference::familiar).collect();
        assert_eq!(tags, ["a:1", "b:latest"]);
        assert_eq!(request.build_args, BTreeMap::from([("X".into(), "1".into()), ("Y".into(), "2".into())]));
        assert_eq!(request.labels, BTreeMap::from([("l".into(), "v".into())]));
        assert_eq!(request.target.as_deref(), Some("stage"));
        let platforms: Vec<String> = request.platforms.iter().map(ToString::to_string).collect();
        assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
        assert!(request.no_cache && request.pull);
        assert_eq!(request.no_cache_filter, ["s1", "s2"]);
        assert_eq!(request.network.as_deref(), Some("none"));
        assert_eq!(request.add_hosts, [("h".to_owned(), "1.2.3.4".to_owned())]);
        assert!(request.contexts.contains_key("img"));
        assert_eq!((request.jobs, request.timestamps, request.epoch), (3, Timestamps::Preserve, Some(12)));
        assert_eq!(request.exports.len(), 2);
        assert_eq!(request.dockerfile, "FROM scratch\n");
        assert_eq!(session.contexts.get(MAIN_CONTEXT).unwrap().to_str(), Some(request.context_key.as_str()));
    }

    #[test]
    fn what_is_wrong_is_refused_with_words() {
        for (flags, expect) in [
            (&["--cache-to", "type=azblob"][..], "of type azblob is not supported yet"),
            (&["--cache-from=A"], "`A` is not the name of an image"),
            (&["--provenance=mode=max"], "--provenance is not supported yet\nhint: leave it out"),
            (&["--sbom"], "--sbom is not supported yet"),
            (&["--builder", "other"], "--builder is not supported yet"),
            (&["--allow", "network"], "there is no such entitlement\nhint: there are network.host"),
            (&["--shm-size", "0"], "`0` is not a size\nhint: write it as `64m`"),
            (&["--ulimit", "nofiles=1"], "there is no limit `nofiles`"),
            (&["--resource", "cpus=1"], "--resource cpus: is not known"),
            (&["--push"], "a name is needed to push\nhint: add `--tag"),
            (&["-t", "A"], "invalid image name `A`"),
            (&["--platform", "bad/x/y/z"], "invalid platform"),
            (&["--platform", "linux/amd46"], "unknown platform `linux/amd46`\nhint: did you mean `linux/amd64`?"),
            (&["--platform", "linux/arm/v9"], "did you mean `linux/arm/v"),
            (&["--platform", "lunix/arm64"], "did you mean `linux/arm64`?"),
            (&["--platform", "arm46"], "hint: did you mean `arm64`?"),
            (&["--iidfile", "/no/such/iid"], "--iidfile `/no/such/iid`: there is no directory `/no/such`"),
            (&["--metadata-file", "/dev/null/x"], "--metadata-file `/dev/null/x`: "),
            (&["--metadata-file", "/"], "`/` is a directory"),
            (&["-t", "a:1", "-o", "type=registry,push-by-digest=true"], "push-by-digest gives no tag"),
            (&["--annotation", "x"], "there is no `=`"),
            (&["--network", "bridge"], "the networks are"),
            (&["--jobs", "0"], "number would be zero"),
            (&["--progress", "loud"], "invalid value 'loud'"),
            (&["--build-arg", "SOURCE_DATE_EPOCH=x"], "not a number of seconds"),
            (&["--label", "=x"], "has no name"),
            (&["-f", "/no/such/file"], "cannot read `/no/such/file`"),
        ] {
            let message = request(flags, &[]).unwrap_err();
            assert!(message.contains(expect), "{flags:?}: {message}");
        }
    }

    #[test]
    fn a_named_context_brings_its_own_ignore_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".dockerignore"), "target\n").unwrap();
        let place = format!("src={}", dir.path().display());
        let (request, session) = request(&["--build-context", &place], &[]).unwrap();
        assert_eq!(request.context_ignores, BTreeMap::from([("src".to_owned(), "target\n".to_owned())]));
        assert!(session.contexts.contains_key("src"));
    }

    #[test]
    fn defaults() {
        let (request, _) = request(&[], &[("DOCKER_DEFAULT_PLATFORM", "linux/arm64")]).unwrap();
        assert_eq!(request.platforms, ["linux/arm64".parse::<Platform>().unwrap()]);
        assert_eq!((request.epoch, request.timestamps, request.network), (None, Timestamps::Clamp, None));
        assert!(request.jobs >= 1);
    }
}
