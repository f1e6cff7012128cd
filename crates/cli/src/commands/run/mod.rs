//! `cooper run`: one container in the foreground, docker's flags and exit codes.
//!
//! Knows nothing of how a container is made: it passes on streams, signals and the exit code.

mod foreground;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use cooper_executor::Exit;

use crate::engine_calls::{self, Machinery, RuntimeChoice, SnapshotterChoice};
use crate::environment::Environment;
use crate::error::{CommandError, CommandResult, Kind};
use crate::rows::RunRequest;
use crate::session::LocalSession;
use crate::surroundings::Surroundings;

/// Run a command in a container of an image
///
/// The container's files are thrown away when it ends. The exit code is the command's own; 125 if cooper failed,
/// 126 if the command cannot be run, 127 if it does not exist.
#[derive(Args, Clone, Debug)]
pub(crate) struct Run {
    /// Name or id of the image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,

    /// Command and arguments [default: the image's]
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,

    /// Remove the container when it ends; always so
    #[arg(long)]
    pub(crate) rm: bool,

    /// Variable of the environment; without a value, that of cooper's own
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,

    /// Directory or file of the host to show in the container
    #[arg(short, long = "volume", value_name = "HOST:CONTAINER[:ro]")]
    pub(crate) volumes: Vec<String>,

    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,

    /// User and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,

    /// Replace the image's entrypoint
    #[arg(long, value_name = "COMMAND")]
    pub(crate) entrypoint: Option<String>,

    /// Make the container's files read-only
    #[arg(long)]
    pub(crate) read_only: bool,

    /// Pass standard input on
    #[arg(short, long)]
    pub(crate) interactive: bool,

    /// Give the container a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,

    /// Network: `host` or `none`
    #[arg(long, value_name = "MODE")]
    pub(crate) network: Option<String>,

    /// Host name
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,

    /// Platform, if the image has several
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,

    /// Ask the registry for a newer image
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "always", value_name = "WHEN")]
    pub(crate) pull: Option<String>,

    /// What runs the container
    #[arg(long, value_enum, value_name = "NAME", default_value = "own")]
    pub(crate) runtime: RuntimeChoice,

    /// How the filesystem is put together
    #[arg(long, value_enum, value_name = "NAME", default_value = "auto")]
    pub(crate) snapshotter: SnapshotterChoice,

    /// Not supported: containers of cooper end with the command that started them.
    #[arg(short, long, hide = true)]
    pub(crate) detach: bool,

    /// Not supported: there is nothing that could be named.
    #[arg(long, hide = true)]
    pub(crate) name: Option<String>,

    /// Not supported: the host's network is used.
    #[arg(short, long, hide = true)]
    pub(crate) publish: Vec<String>,
}

/// docker: the engine itself failed.
const ENGINE_FAILED: u8 = 125;

/// Runs, and ends with the container's exit code.
pub(crate) async fn run(args: Run, at: &Surroundings) -> CommandResult {
    let request = request(&args, &at.environment)?;
    let machinery = Machinery { runtime: args.runtime, snapshotter: args.snapshotter };
    let session = Arc::new(LocalSession::new(&at.environment));
    let tty = request.terminal.is_some();
    let running = engine_calls::run(at, machinery, request, session).await.map_err(engine_failed)?;
    let exit = tokio::task::spawn_blocking(move || foreground::follow(running, tty))
        .await
        .map_err(|error| CommandError::new(Kind::Code(ENGINE_FAILED), "the container was lost").with_source(error))?;
    match exit_code(exit?) {
        0 => Ok(()),
        code => Err(CommandError::new(Kind::Silent(code), "the command failed")),
    }
}

/// Failures of ours get 125, unless the error already says that the command cannot be run (126) or found (127).
fn engine_failed(error: CommandError) -> CommandError {
    match error.kind {
        Kind::Failure | Kind::Usage => error.with_kind(Kind::Code(ENGINE_FAILED)),
        _ => error,
    }
}

fn exit_code(exit: Exit) -> u8 {
    /// What shells add to the number of the signal that ended a program.
    const SIGNAL: i32 = 128;
    const KILL: i32 = 9;
    let code = match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => SIGNAL + signal,
        Exit::OutOfMemory => SIGNAL + KILL,
    };
    u8::try_from(code & 0xff).unwrap_or(ENGINE_FAILED)
}

fn request(args: &Run, environment: &Environment) -> CommandResult<RunRequest> {
    refuse(args)?;
    Ok(RunRequest {
        image: args.image.clone(),
        platform: args.platform.as_deref().map(str::parse).transpose()?,
        pull: pull(args.pull.as_deref())?,
        entrypoint: args.entrypoint.as_ref().map(|text| if text.is_empty() { Vec::new() } else { vec![text.clone()] }),
        command: args.command.clone(),
        env: args
            .env
            .iter()
            .filter_map(|text| variable(text, environment).transpose())
            .collect::<CommandResult<_>>()?,
        user: args.user.clone(),
        workdir: args.workdir.as_deref().map(workdir).transpose()?,
        hostname: args.hostname.clone(),
        no_network: no_network(args.network.as_deref())?,
        read_only: args.read_only,
        volumes: args.volumes.iter().map(|text| volume(text)).collect::<CommandResult<_>>()?,
        terminal: terminal(args)?,
        interactive: args.interactive,
    })
}

fn refuse(args: &Run) -> CommandResult {
    let refused = [
        (args.detach, "--detach", "containers of cooper run in the foreground"),
        (args.name.is_some(), "--name", "a container is gone when it ends, so nothing could use its name"),
        (!args.publish.is_empty(), "--publish", "the container has the host's network: its ports are the host's"),
    ];
    match refused.iter().find(|(asked, ..)| *asked) {
        Some((_, flag, hint)) => Err(CommandError::usage(format!("{flag} is not supported")).with_hint(*hint)),
        None => Ok(()),
    }
}

fn pull(text: Option<&str>) -> CommandResult<bool> {
    match text {
        None | Some("missing") => Ok(false),
        Some("always") => Ok(true),
        Some(other) => {
            Err(CommandError::usage(format!("--pull `{other}` is not supported")).with_hint("always or missing"))
        }
    }
}

/// `None` for a name without a value that is not set here either.
fn variable(text: &str, environment: &Environment) -> CommandResult<Option<String>> {
    let (name, _) = crate::commands::build::key_value("--env", text)?;
    match text.contains('=') {
        true => Ok(Some(text.to_owned())),
        false => Ok(environment.get(&name).map(|value| format!("{name}={value}"))),
    }
}

fn workdir(text: &str) -> CommandResult<String> {
    match text.starts_with('/') {
        true => Ok(text.to_owned()),
        false => Err(CommandError::usage(format!("--workdir `{text}` is not an absolute path"))),
    }
}

fn no_network(text: Option<&str>) -> CommandResult<bool> {
    match text {
        None | Some("host" | "default") => Ok(false),
        Some("none") => Ok(true),
        Some(other) => {
            Err(CommandError::usage(format!("--network `{other}` is not supported")).with_hint("host or none"))
        }
    }
}

fn volume(text: &str) -> CommandResult<(PathBuf, String, bool)> {
    let wrong = || CommandError::usage(format!("--volume `{text}` is not HOST:CONTAINER[:ro]"));
    let (host, target, readonly) = match text.split(':').collect::<Vec<_>>()[..] {
        [host, target] => (host, target, false),
        [host, target, "ro"] => (host, target, true),
        [host, target, "rw" | "z" | "Z"] => (host, target, false),
        _ => return Err(wrong()),
    };
    if !target.starts_with('/') || host.is_empty() {
        return Err(wrong());
    }
    // docker takes a name without a slash for a named volume, which a container that leaves nothing cannot have.
    if !host.contains('/') && host != "." && host != ".." {
        return Err(wrong().with_hint(format!("for a directory of the host: `./{host}`")));
    }
    let host = std::fs::canonicalize(host)
        .map_err(|error| CommandError::failure(format!("--volume: cannot find `{host}`")).with_source(error))?;
    Ok((host, target.to_owned(), readonly))
}

fn terminal(args: &Run) -> CommandResult<Option<(u16, u16)>> {
    use std::io::IsTerminal;
    if !args.tty {
        return Ok(None);
    }
    if args.interactive && !std::io::stdin().is_terminal() {
        return Err(CommandError::usage("the input is not a terminal").with_hint("leave out `--tty`"));
    }
    Ok(Some(crate::terminal::size()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn parse(line: &[&str]) -> Result<RunRequest, String> {
        let line = ["cooper", "run"].iter().chain(line);
        let cli = Cli::try_parse_from(line).map_err(|error| error.to_string())?;
        let Command::Run(args) = cli.command else { unreachable!("the verb is run") };
        request(&args, &Environment::of(&[("A", "env")])).map_err(|error| error.message())
    }

    #[test]
    fn flags_end_at_the_image() {
        let request =
            parse(&["--rm", "-e", "A", "-e", "B=x", "-e", "C", "-w", "/w", "-u", "1:2", "img", "ls", "-l", "--rm"])
                .unwrap();
        assert_eq!(request.image, "img");
        assert_eq!(request.command, ["ls", "-l", "--rm"]);
        assert_eq!(request.env, ["A=env", "B=x"]);
        assert_eq!((request.workdir.as_deref(), request.user.as_deref()), (Some("/w"), Some("1:2")));
        assert_eq!((request.entrypoint, request.terminal, request.no_network), (None, None, false));
    }

    #[test]
    fn entrypoint_and_switches() {
        let request = parse(&["-i", "--entrypoint", "sh", "--read-only", "--network=none", "--pull", "img"]).unwrap();
        assert_eq!(request.entrypoint, Some(vec!["sh".into()]));
        assert!(request.interactive && request.read_only && request.no_network && request.pull);
        assert_eq!(parse(&["--entrypoint", "", "img"]).unwrap().entrypoint, Some(Vec::new()));
    }

    #[test]
    fn volumes() {
        let dir = tempfile::tempdir().unwrap();
        let host = std::fs::canonicalize(dir.path()).unwrap();
        let shown = host.display();
        assert_eq!(volume(&format!("{shown}:/x")).unwrap(), (host.clone(), "/x".into(), false));
        assert_eq!(volume(&format!("{shown}:/x:ro")).unwrap(), (host.clone(), "/x".into(), true));
        for text in ["x", "name:/x", "/no/such:/x", ":/x", "/:rel", "/:/x:ro:z", "/:/x:q"] {
            assert!(volume(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_words() {
        for (line, expect) in [
            (&["-d", "img"][..], "--detach is not supported\nhint: containers of cooper"),
            (&["--name", "x", "img"], "--name is not supported"),
            (&["-p", "80:80", "img"], "--publish is not supported"),
            (&["--network", "bridge", "img"], "hint: host or none"),
            (&["-w", "rel", "img"], "not an absolute path"),
            (&["--pull=sometimes", "img"], "hint: always or missing"),
        ] {
            let message = parse(line).unwrap_err();
            assert!(message.contains(expect), "{line:?}: {message}");
        }
    }

    #[test]
    fn exit_codes_are_dockers() {
        for (exit, expect) in
            [(Exit::Code(0), 0), (Exit::Code(3), 3), (Exit::Signal(15), 143), (Exit::OutOfMemory, 137)]
        {
            assert_eq!(exit_code(exit), expect);
        }
        assert_eq!(engine_failed(CommandError::failure("x")).exit_code(), 125);
        assert_eq!(engine_failed(CommandError::new(Kind::Code(127), "x")).exit_code(), 127);
    }
}
