//! The executor that makes its own namespaces: starts the hidden subcommand and talks to it.
//!
//! Does not set anything up itself: the program it lives in has many threads.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio as ChildStdio};
use std::sync::{Arc, OnceLock};

use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::cgroup::{Group, Host, Meter};
use crate::sealed::Sealed;
use crate::wire::{self, MountSpec, Report, SourceSpec, Spec};
use crate::{
    Error, ErrorKind, Executor, Exit, INIT_COMMAND, MountSource, Network, Output, Process, ProcessMount, Result,
    Running, Stdio,
};

/// Runs processes in namespaces of our own.
#[derive(Clone, Debug)]
pub struct Namespaces {
    program: PathBuf,
    groups: Arc<OnceLock<Host>>,
    sealed: Arc<OnceLock<Sealed>>,
}

impl Namespaces {
    /// `program` is what calls [`crate::init_main`] if its first argument is [`INIT_COMMAND`]: `/proc/self/exe`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), groups: Arc::default(), sealed: Arc::default() }
    }

    fn spawn_init(&self, socket: OwnedFd) -> Result<Child> {
        let sealed = match self.sealed.get() {
            Some(sealed) => sealed,
            None => {
                let sealed = Sealed::of(&self.program)
                    .map_err(|e| Error::io(format!("cannot seal {}", self.program.display()), e))?;
                self.sealed.get_or_init(|| sealed)
            }
        };
        Command::new(sealed.path())
            .arg0("cooper")
            .arg(INIT_COMMAND)
            .env_clear()
            .stdin(ChildStdio::from(socket))
            .stdout(ChildStdio::null())
            .stderr(ChildStdio::null())
            .spawn()
            .map_err(|e| Error::io(format!("cannot start {} as the init of a step", self.program.display()), e))
    }
}

impl Executor for Namespaces {
    fn start(&self, process: Process) -> Result<Box<dyn Running>> {
        let root = rustix::fs::open(&process.root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| Error::io(format!("cannot open the root {}", process.root.display()), e.into()))?;
        let host = self.groups.get_or_init(Host::look);
        let group = Group::create(host, &process.limits)?;
        let (mut spec, mut fds, output) = describe(process, root)?;
        let entries = group.entries()?;
        spec.groups = entries.len();
        fds.splice(1..1, entries);
        let (socket, theirs) = wire::socket_pair()?;
        let child = self.spawn_init(theirs)?;
        let meter = group.meter(host);
        let mut step = Step { socket: Arc::new(socket), child, output, pty: None, exit: None, meter, _group: group };
        wire::send_spec(step.socket.as_fd(), &spec, &fds)?;
        drop(fds);
        step.started()?;
        Ok(Box::new(step))
    }
}

/// Takes a process apart into what is said and the descriptors that go along.
pub(crate) fn describe(process: Process, root: OwnedFd) -> Result<(Spec, Vec<OwnedFd>, Option<Output>)> {
    let mut fds = vec![root];
    let (pty, output) = streams(process.stdio, &mut fds)?;
    let mounts = process.mounts.into_iter().map(|mount| describe_mount(mount, &mut fds)).collect();
    let spec = Spec {
        readonly_root: process.readonly_root,
        args: process.args,
        env: process.env,
        cwd: process.cwd,
        user: process.user,
        hostname: process.hostname,
        extra_hosts: process.extra_hosts,
        mounts,
        own_network: process.network == Network::None,
        profile: process.profile,
        ulimits: process.ulimits,
        groups: 0,
        resolv_conf: process.resolv_conf,
        pty,
    };
    Ok((spec, fds, output))
}

fn describe_mount(mount: ProcessMount, fds: &mut Vec<OwnedFd>) -> MountSpec {
    let source = match mount.source {
        MountSource::Bind(fd) => {
            fds.push(fd);
            SourceSpec::Bind
        }
        MountSource::Device(fd, node) => {
            fds.push(fd);
            SourceSpec::Device(node)
        }
        MountSource::Tmpfs(size) => SourceSpec::Tmpfs(size),
        MountSource::Bytes(content, mode, uid, gid) => SourceSpec::Bytes { content, mode, uid, gid },
    };
    MountSpec { target: mount.target, readonly: mount.readonly, source }
}

type Streams = (Option<(u16, u16)>, Option<Output>);

fn streams(stdio: Stdio, fds: &mut Vec<OwnedFd>) -> Result<Streams> {
    match stdio {
        Stdio::Pty { rows, cols } => Ok((Some((rows, cols)), None)),
        Stdio::Fds(stdin, stdout, stderr) => {
            fds.extend([stdin, stdout, stderr]);
            Ok((None, None))
        }
        Stdio::Pipes => {
            let (input, ends, output) = pipes()?;
            fds.push(input);
            fds.extend(ends);
            Ok((None, Some(output)))
        }
    }
}

/// An empty input, the write ends for output and errors, and their read ends.
pub(crate) fn pipes() -> Result<(OwnedFd, [OwnedFd; 2], Output)> {
    let failed = |e: rustix::io::Errno| Error::io("cannot make the streams of a step", e.into());
    let input = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    let (stdout, out) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    let (stderr, err) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    Ok((input, [out, err], Output { stdout, stderr }))
}

/// A step that runs in namespaces of our own.
#[derive(Debug)]
struct Step {
    socket: Arc<OwnedFd>,
    child: Child,
    output: Option<Output>,
    pty: Option<OwnedFd>,
    exit: Option<Exit>,
    meter: Meter,
    /// Removed last, when nothing is in it.
    _group: Group,
}

impl Step {
    /// Waits until the program runs.
    fn started(&mut self) -> Result<()> {
        match self.report()? {
            Some((Report::Started, pty)) => {
                self.pty = pty;
                Ok(())
            }
            Some((Report::Failed(failure), _)) => Err(failure.into()),
            other => {
                let what = format!("the init of the step ended early ({:?})", other.map(|(report, _)| report));
                Err(Error::new(ErrorKind::Host, what))
            }
        }
    }

    fn report(&self) -> Result<Option<(Report, Option<OwnedFd>)>> {
        wire::receive_report(self.socket.as_fd()).map_err(|e| Error::io("cannot hear from the init of the step", e))
    }

    /// An exit that memory is the reason for. A shell tells of a killed program by a number above 128, and what called
    /// the shell perhaps by any other: that is believed only where the count is of this step alone.
    fn explained(&self, exit: Exit) -> Exit {
        const KILLED: i32 = 128 + libc::SIGKILL;
        let suspect = match exit {
            Exit::Signal(libc::SIGKILL) | Exit::Code(KILLED) => true,
            Exit::Code(code) => code != 0 && self.meter.alone,
            _ => false,
        };
        if suspect && self.meter.ran_out() { Exit::OutOfMemory } else { exit }
    }

    /// Reads reports until the last. An init that is gone without one was killed from outside.
    fn last_report(&self) -> Result<Exit> {
        match self.report()? {
            Some((Report::Exited(code), _)) => Ok(Exit::Code(code)),
            Some((Report::Signaled(signal), _)) => Ok(Exit::Signal(signal)),
            Some((Report::Failed(failure), _)) => Err(failure.into()),
            Some((Report::Started, _)) => Err(Error::new(ErrorKind::Io, "the init of the step started twice")),
            None => Ok(Exit::Signal(libc::SIGKILL)),
        }
    }
}

impl Running for Step {
    fn take_output(&mut self) -> Option<Output> {
        self.output.take()
    }

    fn take_pty(&mut self) -> Option<OwnedFd> {
        self.pty.take()
    }

    fn killer(&self) -> Result<Box<dyn Fn(i32) + Send + Sync>> {
        let socket = Arc::clone(&self.socket);
        Ok(Box::new(move |signal| {
            if let Ok(signal @ 1..=64) = u8::try_from(signal) {
                // The step may be over already; then there is nobody to tell.
                let _gone = wire::send_signal(socket.as_fd(), signal);
            }
        }))
    }

    fn wait(&mut self) -> Result<Exit> {
        if let Some(exit) = self.exit {
            return Ok(exit);
        }
        let exit = self.last_report();
        // Fails only in a program that ignores SIGCHLD, and then after the init has ended.
        let _reaped = self.child.wait();
        self.exit = Some(self.explained(exit?));
        exit_of(self.exit)
    }
}

fn exit_of(exit: Option<Exit>) -> Result<Exit> {
    exit.ok_or_else(|| Error::new(ErrorKind::Io, "the step has no exit"))
}

impl Drop for Step {
    fn drop(&mut self) {
        // Both fail only if the step is over, which is what is wanted.
        let _gone = wire::send_signal(self.socket.as_fd(), libc::SIGKILL as u8);
        let _closed = rustix::net::shutdown(self.socket.as_fd(), rustix::net::Shutdown::Write);
        let _waited = self.child.wait();
    }
}
