//! `cooper run`: one container in the foreground, docker's flags and exit codes.
//!
//! Knows nothing of how a container is made: it passes on streams, signals and the exit code.

mod foreground;
mod mounts;
mod profile;

use std::os::fd::AsFd;
use std::path::PathBuf;

use clap::Args;
use cooper_engine::{RunOptions, RunRequest};
use cooper_executor::{Exit, Network, Stdio};

use crate::engine_calls::{self, Machinery, RuntimeChoice, SnapshotterChoice};
use crate::environment::Environment;
use crate::error::{CommandError, CommandResult, Kind};
use crate::limits::LimitFlags;
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

    /// Line of /etc/hosts
    #[arg(long = "add-host", value_name = "HOST:IP")]
    pub(crate) add_hosts: Vec<String>,

    /// Further mount: `type=bind,source=HOST,target=CONTAINER[,readonly]` or `type=tmpfs,target=CONTAINER[,tmpfs-size=SIZE]`
    #[arg(long = "mount", value_name = "MOUNT")]
    pub(crate) mounts: Vec<String>,

    /// Empty directory in memory
    #[arg(long = "tmpfs", value_name = "CONTAINER[:size=SIZE]")]
    pub(crate) tmpfs: Vec<String>,

    /// Device of the host, by its path or by the name of a described one (`vendor/class=name`)
    #[arg(long = "device", value_name = "HOST[:CONTAINER]|NAME")]
    pub(crate) devices: Vec<String>,

    /// Directory of descriptions of devices (CDI) [default: /etc/cdi, /var/run/cdi and /etc/buildkit/cdi]
    #[arg(long = "cdi-spec-dir", value_name = "DIR")]
    pub(crate) cdi_spec_dirs: Vec<PathBuf>,

    /// Give a capability, or `ALL`
    #[arg(long = "cap-add", value_name = "CAPABILITY")]
    pub(crate) cap_add: Vec<String>,

    /// Take a capability, or `ALL`
    #[arg(long = "cap-drop", value_name = "CAPABILITY")]
    pub(crate) cap_drop: Vec<String>,

    /// `no-new-privileges`, `seccomp=unconfined` or `systempaths=unconfined`
    #[arg(long = "security-opt", value_name = "OPTION")]
    pub(crate) security_opts: Vec<String>,

    /// No sandbox
    #[arg(long)]
    pub(crate) privileged: bool,

    /// Run below an init that reaps orphans; always so but with `--runtime`
    #[arg(long)]
    pub(crate) init: bool,

    /// Processors' worth of time: `1.5`
    #[arg(long, value_name = "N")]
    pub(crate) cpus: Option<String>,

    /// Most processes and threads; -1 for any [default: 8192]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) pids_limit: Option<i64>,

    #[command(flatten)]
    pub(crate) limits: LimitFlags,

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

    /// Not supported: the image is one of the store.
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    pub(crate) pull: Option<String>,

    /// Of an image for several platforms, run this one [default: the host's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
}

/// docker: the engine itself failed.
const ENGINE_FAILED: u8 = 125;

/// Runs, and ends with the container's exit code.
pub(crate) async fn run(args: Run, at: &Surroundings) -> CommandResult {
    let request = request(&args, &at.environment).map_err(engine_failed)?;
    let signals = foreground::listen().map_err(engine_failed)?;
    let machinery =
        Machinery { runtime: args.runtime, snapshotter: args.snapshotter, cdi_spec_dirs: args.cdi_spec_dirs.clone() };
    let tty = args.tty;
    let mut container = engine_calls::run(at, machinery, request).await.map_err(engine_failed)?;
    let exit = tokio::task::spawn_blocking(move || foreground::follow(container.running.as_mut(), signals, tty))
        .await
        .map_err(|error| CommandError::new(Kind::Code(ENGINE_FAILED), "the container was lost").with_source(error))?;
    let exit = exit.map_err(engine_failed)?;
    match exit_code(exit) {
        0 => Ok(()),
        code if exit == Exit::OutOfMemory => {
            let error = CommandError::new(Kind::Code(code), "the container was killed because memory ran out");
            Err(error.with_hint("raise its limit with `--memory`, or give this machine more"))
        }
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
    let (devices, device_mounts) = mounts::devices(&args.devices)?;
    let mounts = mounts::mounts(args)?.into_iter().chain(device_mounts).collect();
    Ok(RunRequest {
        image: args.image.clone(),
        args: args.command.clone(),
        entrypoint: args.entrypoint.clone(),
        env: variables(args, environment)?,
        workdir: args.workdir.as_deref().map(workdir).transpose()?,
        user: args.user.clone(),
        hostname: args.hostname.clone().unwrap_or_else(|| "cooper".to_owned()),
        mounts,
        platform: args.platform.as_deref().map(super::build::platform).transpose()?,
        readonly: args.read_only,
        network: network(args.network.as_deref())?,
        devices,
        add_hosts: crate::commands::build::add_hosts(&args.add_hosts)?,
        profile: profile::profile(args)?,
        options: options(args)?,
        processes: processes(args.pids_limit)?,
        stdio: stdio(args)?,
    })
}

fn refuse(args: &Run) -> CommandResult {
    let refused = [
        (args.detach, "--detach", "containers of cooper run in the foreground"),
        (args.name.is_some(), "--name", "a container is gone when it ends, so nothing could use its name"),
        (!args.publish.is_empty(), "--publish", "the container has the host's network: its ports are the host's"),
        (args.pull.as_deref().is_some_and(|when| when != "never"), "--pull", "`cooper build --pull` gets newer images"),
        (args.init && args.runtime != RuntimeChoice::Own, "--init with --runtime", "cooper's own executor has an init"),
    ];
    match refused.iter().find(|(asked, ..)| *asked) {
        Some((_, flag, hint)) => Err(CommandError::usage(format!("{flag} is not supported")).with_hint(*hint)),
        None => Ok(()),
    }
}

/// The variables of the command line; a container with a terminal is told what kind, as docker does.
fn variables(args: &Run, environment: &Environment) -> CommandResult<Vec<String>> {
    let mut variables = Vec::new();
    if args.tty {
        variables.push(format!("TERM={}", environment.get("TERM").unwrap_or("xterm")));
    }
    for text in &args.env {
        let (name, _) = crate::commands::build::key_value("--env", text)?;
        match text.contains('=') {
            true => variables.push(text.clone()),
            // A name that is not set here either is left out, as docker does.
            false => variables.extend(environment.get(&name).map(|value| format!("{name}={value}"))),
        }
    }
    Ok(variables)
}

fn workdir(text: &str) -> CommandResult<String> {
    match text.starts_with('/') {
        true => Ok(text.to_owned()),
        false => Err(CommandError::usage(format!("--workdir `{text}` is not an absolute path"))),
    }
}

fn network(text: Option<&str>) -> CommandResult<Network> {
    match text {
        None | Some("host" | "default") => Ok(Network::Host),
        Some("none") => Ok(Network::None),
        Some(other) => {
            Err(CommandError::usage(format!("--network `{other}` is not supported")).with_hint("host or none"))
        }
    }
}

/// The limits, with `--cpus` as a quota of docker's period.
fn options(args: &Run) -> CommandResult<RunOptions> {
    /// Microseconds.
    const PERIOD: f64 = 100_000.0;
    let mut options = args.limits.options(&[])?;
    if let Some(text) = &args.cpus {
        let count = text.parse::<f64>().ok().filter(|count| (0.01..=8192.0).contains(count));
        let count =
            count.ok_or_else(|| CommandError::usage(format!("--cpus `{text}` is not a number of processors")))?;
        if options.resources.cpu_quota.is_some() || options.resources.cpu_period.is_some() {
            return Err(CommandError::usage("--cpus says what --cpu-quota and --cpu-period say; give one of them"));
        }
        (options.resources.cpu_period, options.resources.cpu_quota) =
            (Some(PERIOD as u64), Some((count * PERIOD) as u64));
    }
    Ok(options)
}

fn processes(limit: Option<i64>) -> CommandResult<Option<u64>> {
    match limit {
        None => Ok(None),
        Some(-1) => Ok(Some(u64::MAX)),
        Some(limit) => match u64::try_from(limit) {
            Ok(limit @ 1..) => Ok(Some(limit)),
            _ => Err(CommandError::usage(format!("--pids-limit {limit} is not a number above 0, nor -1"))),
        },
    }
}

/// A terminal of its own, or this process's streams; without `--interactive` the input is empty.
fn stdio(args: &Run) -> CommandResult<Stdio> {
    use std::io::IsTerminal;
    if args.tty {
        if args.interactive && !std::io::stdin().is_terminal() {
            return Err(CommandError::usage("the input is not a terminal").with_hint("leave out `--tty`"));
        }
        let (rows, cols) = crate::terminal::size();
        return Ok(Stdio::Pty { rows, cols });
    }
    let failed = |error: std::io::Error| CommandError::failure("cannot pass the streams on").with_source(error);
    let input = match args.interactive {
        true => std::io::stdin().as_fd().try_clone_to_owned().map_err(failed)?,
        false => std::fs::File::open("/dev/null").map_err(failed)?.into(),
    };
    let output = std::io::stdout().as_fd().try_clone_to_owned().map_err(failed)?;
    let errors = std::io::stderr().as_fd().try_clone_to_owned().map_err(failed)?;
    Ok(Stdio::Fds(input, output, errors))
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
        let line = ["--rm", "-e", "A", "-e", "B=x", "-e", "C", "-w", "/w", "-u", "1:2", "img", "ls", "-l", "--rm"];
        let request = parse(&line).unwrap();
        assert_eq!(request.image, "img");
        assert_eq!(request.args, ["ls", "-l", "--rm"]);
        assert_eq!(request.env, ["A=env", "B=x"]);
        assert_eq!((request.workdir.as_deref(), request.user.as_deref()), (Some("/w"), Some("1:2")));
        assert_eq!((request.entrypoint, request.network), (None, Network::Host));
        assert!(matches!(request.stdio, Stdio::Fds(..)));
    }

    #[test]
    fn entrypoint_and_switches() {
        let request =
            parse(&["-i", "--entrypoint", "sh", "--read-only", "--network=none", "--hostname", "h", "img"]).unwrap();
        assert_eq!((request.entrypoint.as_deref(), request.hostname.as_str()), (Some("sh"), "h"));
        assert!(request.readonly && request.network == Network::None);
        assert_eq!(parse(&["--entrypoint", "", "img"]).unwrap().entrypoint.as_deref(), Some(""));
    }

    #[test]
    fn a_terminal_is_announced() {
        let request = parse(&["-t", "img"]).unwrap();
        assert!(matches!(request.stdio, Stdio::Pty { rows, cols } if rows > 0 && cols > 0));
        assert_eq!(request.env, ["TERM=xterm"]);
    }

    #[test]
    fn what_cannot_be_is_refused_with_words() {
        for (line, expect) in [
            (&["-d", "img"][..], "--detach is not supported\nhint: containers of cooper"),
            (&["--name", "x", "img"], "--name is not supported"),
            (&["-p", "80:80", "img"], "--publish is not supported"),
            (&["--network", "bridge", "img"], "hint: host or none"),
            (&["-w", "rel", "img"], "not an absolute path"),
            (&["--pull", "img"], "--pull is not supported"),
            (&["--platform", "linux/arm46", "img"], "did you mean `linux/arm64`?"),
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
