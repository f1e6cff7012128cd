//! RUN: one process in the layers so far; what it changed is the new layer.

use std::collections::VecDeque;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use cooper_executor::{Executor, Exit, Limits, Network, Process, Profile, Running, Ulimit};
use cooper_llb::{Exec, Resources, Security};
use cooper_oci::Platform;
use cooper_store::{LayerId, Ownership, Store};

use super::mounts::Prepared;
use crate::emulation;
use crate::error::{from_executor, from_store};
use crate::{Error, ErrorKind, Result};

/// Lines of output kept for the error message.
const TAIL_LINES: usize = 20;

/// A line longer than this is cut in the tail.
const TAIL_LINE_MAX: usize = 4096;

/// Host name of steps, fixed so that it cannot make two builds differ (BuildKit's word).
const HOSTNAME: &str = "buildkitsandbox";

/// The signal that ends a step whose build was given up: nothing of it is kept, so it need not tidy up.
const SIGKILL: i32 = 9;

/// What a step needs of the world.
#[derive(Debug)]
pub(crate) struct ExecWork {
    pub(crate) store: Store,
    pub(crate) executor: Arc<dyn Executor>,
    pub(crate) layers: Vec<LayerId>,
    pub(crate) mounts: Prepared,
    pub(crate) resolv_conf: Option<Vec<u8>>,
    /// Where emulators are looked for.
    pub(crate) search: Vec<PathBuf>,
    pub(crate) extra_hosts: Vec<(String, String)>,
    pub(crate) output: OutputSink,
    pub(crate) kill: Arc<KillSwitch>,
}

type TakeOutput = dyn Fn(bool, &[u8]) + Send + Sync;

/// Takes a step's output as it comes: on standard error or not, and the bytes.
#[derive(Clone)]
pub(crate) struct OutputSink(pub(crate) Arc<TakeOutput>);

impl std::fmt::Debug for OutputSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OutputSink")
    }
}

type Killer = Box<dyn Fn(i32) + Send + Sync>;

/// Ends a step from outside; a step that has not started yet then never does.
#[derive(Default)]
pub(crate) struct KillSwitch(Mutex<Kill>);

#[derive(Default)]
enum Kill {
    #[default]
    Armed,
    Running(Killer),
    Thrown,
}

impl std::fmt::Debug for KillSwitch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KillSwitch")
    }
}

impl KillSwitch {
    /// Ends the step, now or when it starts.
    pub(crate) fn throw(&self) {
        let old = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), Kill::Thrown);
        if let Kill::Running(killer) = old {
            killer(SIGKILL);
        }
    }

    fn arm(&self, killer: Killer) {
        let mut kill = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *kill {
            Kill::Thrown => killer(SIGKILL),
            _ => *kill = Kill::Running(killer),
        }
    }
}

/// With less than this left a disk counts as full: the last few blocks go to whoever asks for less.
const NO_SPACE: u64 = 1 << 20;

/// Runs `op`; blocks until it has ended. Returns the new layer.
pub(crate) fn exec(op: &Exec, work: ExecWork) -> Result<LayerId> {
    let what = "cannot mount the filesystem of a step";
    let mount = work.store.mount(&work.layers, true).map_err(|e| from_store(e, what))?;
    let Prepared { mut mounts, env, guards } = work.mounts;
    let platform = op.platform.clone().unwrap_or_else(Platform::host);
    mounts.extend(emulation::prepare(&platform, &work.search)?);
    let process = Process {
        env: environment(op, &env),
        cwd: op.cwd.clone(),
        user: op.user.clone(),
        hostname: op.hostname.clone().unwrap_or_else(|| HOSTNAME.to_owned()),
        extra_hosts: work.extra_hosts,
        mounts,
        network: if op.network == cooper_llb::Network::None { Network::None } else { Network::Host },
        profile: if op.security == Security::Insecure { Profile::INSECURE } else { Profile::SANDBOX },
        resolv_conf: work.resolv_conf,
        limits: limits(&op.resources, op.cgroup_parent.clone()),
        ulimits: op.ulimits.iter().map(ulimit).collect(),
        ..Process::new(mount.root(), op.args.clone())
    };
    let started = work.executor.start(process).map_err(from_executor);
    let mut running = started.map_err(|error| emulation::explain(error, &platform))?;
    work.kill.arm(running.killer().map_err(from_executor)?);
    let tail = relay(&mut *running, &work.output)?;
    let exit = running.wait().map_err(from_executor)?;
    drop(running);
    drop(guards);
    match exit {
        Exit::Code(0) => mount.commit(op.clamp).map_err(|e| from_store(e, "cannot keep what the step wrote")),
        exit => {
            let mut error = failed(op, exit, tail, work.store.ownership());
            error.hints.extend(full_disk(&work.store));
            Err(error)
        }
    }
}

/// The variables of a step; what its devices and secrets bring replaces the Dockerfile's own.
fn environment(op: &Exec, brought: &[String]) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let names: Vec<String> = brought.iter().map(|entry| name(entry)).collect();
    let own = op.env.iter().chain(&op.proxy_env).filter(|entry| !names.contains(&name(entry)));
    own.chain(brought).cloned().collect()
}

/// Limits of the graph in the executor's words.
pub(crate) fn limits(resources: &Resources, parent: Option<String>) -> Limits {
    let Resources { memory, memory_swap, cpu_shares, cpu_period, cpu_quota, cpuset_cpus, cpuset_mems } = resources;
    Limits {
        memory: *memory,
        memory_swap: *memory_swap,
        cpu_shares: *cpu_shares,
        cpu_period: *cpu_period,
        cpu_quota: *cpu_quota,
        cpuset_cpus: cpuset_cpus.clone(),
        cpuset_mems: cpuset_mems.clone(),
        processes: None,
        parent,
    }
}

/// Likewise.
pub(crate) fn ulimit(ulimit: &cooper_llb::Ulimit) -> Ulimit {
    Ulimit { name: ulimit.name.clone(), soft: ulimit.soft, hard: ulimit.hard }
}

/// Says so when the step had no room to write: programs often do not.
fn full_disk(store: &Store) -> Option<String> {
    let disk = rustix::fs::statvfs(store.root()).ok()?;
    let left = disk.f_bavail.saturating_mul(disk.f_frsize);
    // Some filesystems have no fixed number of files and say 0 of 0.
    let no_files = disk.f_files > 0 && disk.f_favail == 0;
    let what = format!("there is no space left for the store at `{}`", store.root().display());
    (left < NO_SPACE || no_files).then(|| format!("{what}: free some with `cooper prune`"))
}

/// Passes the output on until both pipes are closed; returns its last lines.
fn relay(running: &mut dyn Running, sink: &OutputSink) -> Result<Vec<String>> {
    let tail = Arc::new(Mutex::new(Tail::default()));
    let Some(output) = running.take_output() else { return Ok(Vec::new()) };
    let pump_to = |stderr| {
        let (tail, sink) = (tail.clone(), sink.clone());
        move |pipe| {
            pump(pipe, |data| {
                tail.lock().unwrap_or_else(PoisonError::into_inner).add(data);
                (sink.0)(stderr, data);
            });
        }
    };
    std::thread::scope(|scope| {
        let errors = pump_to(true);
        let thread = std::thread::Builder::new().spawn_scoped(scope, move || errors(output.stderr));
        thread.map(|_| pump_to(false)(output.stdout))
    })
    .map_err(|e| Error::new(ErrorKind::Io, "cannot start a thread for a step's output").with_source(e))?;
    let tail = std::mem::take(&mut *tail.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(tail.lines())
}

fn pump(pipe: OwnedFd, mut take: impl FnMut(&[u8])) {
    let mut pipe = std::fs::File::from(pipe);
    let mut block = vec![0; 64 * 1024];
    loop {
        match pipe.read(&mut block) {
            Ok(0) => return,
            Ok(n) => take(&block[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// The last lines of a step's output.
#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<Vec<u8>>,
    open: bool,
}

impl Tail {
    fn add(&mut self, data: &[u8]) {
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            if !self.open {
                self.lines.push_back(Vec::new());
            }
            self.open = piece.last() != Some(&b'\n');
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            if let Some(line) = self.lines.back_mut() {
                let room = TAIL_LINE_MAX.saturating_sub(line.len());
                line.extend_from_slice(&text[..text.len().min(room)]);
            }
            if self.lines.len() > TAIL_LINES {
                self.lines.pop_front();
            }
        }
    }

    fn lines(self) -> Vec<String> {
        self.lines.into_iter().map(|line| String::from_utf8_lossy(&line).into_owned()).collect()
    }
}

fn failed(op: &Exec, exit: Exit, tail: Vec<String>, ownership: Ownership) -> Error {
    let what = op.args.last().map_or("", String::as_str);
    let mut lines = what.lines();
    let mut short: String = lines.next().unwrap_or_default().chars().take(120).collect();
    if lines.next().is_some() {
        short.push_str(" ...");
    }
    let (reason, code) = match exit {
        Exit::Code(code) => (format!("exit code {code}"), code),
        Exit::Signal(signal) => (format!("killed by signal {signal}"), 128 + signal),
        Exit::OutOfMemory => (out_of_memory(&op.resources), 137),
    };
    let mut error = Error::new(ErrorKind::Step, format!("the step `{short}` failed: {reason}"));
    error.exit_code = u8::try_from(code).ok();
    error.hints.extend(single_id_hint(ownership, &tail));
    error.step = Some(Box::new((String::new(), tail)));
    error.hints.extend(hint(exit, &op.resources));
    error
}

fn out_of_memory(resources: &Resources) -> String {
    let limit = resources.memory.map_or_else(String::new, |bytes| format!(" (its limit is {bytes} bytes)"));
    format!("killed because memory ran out{limit}")
}

/// What the kernel and programs say when a step wants an id that a namespace of one id does not have.
const REFUSED_IDS: [&str; 6] = ["chown", "ownership", "setgroups", "setuid", "setgid", "seteuid"];

/// The hint for what needs more ids than there are.
pub(crate) const SINGLE_ID: &str = "steps of this build have one user id: they can give files to nobody and become nobody \
    else; give this user a range in /etc/subuid and /etc/subgid (`cooper doctor`)";

fn single_id_hint(ownership: Ownership, tail: &[String]) -> Option<String> {
    let refused = tail.iter().any(|line| REFUSED_IDS.iter().any(|word| line.contains(word)));
    (ownership == Ownership::Single && refused).then(|| SINGLE_ID.to_owned())
}

fn hint(exit: Exit, resources: &Resources) -> Option<String> {
    match exit {
        Exit::OutOfMemory if resources.memory.is_some() => Some("raise the limit: `--resource memory=SIZE`".into()),
        Exit::OutOfMemory => {
            Some("run fewer steps at once (`--jobs`), or give this machine or container more memory".into())
        }
        Exit::Code(127) => {
            Some("the shell did not find a command; is it installed in an earlier step, and is PATH right?".into())
        }
        Exit::Code(126) => {
            Some("a command was found but could not be run; is it executable, and for this platform?".into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_keeps_the_last_lines() {
        let mut tail = Tail::default();
        for i in 0..30 {
            tail.add(format!("line {i}\n").as_bytes());
        }
        tail.add(b"par");
        tail.add(b"tial");
        let lines = tail.lines();
        assert_eq!(lines.len(), TAIL_LINES);
        assert_eq!(lines.first().map(String::as_str), Some("line 11"));
        assert_eq!(lines.last().map(String::as_str), Some("partial"));
    }

    #[test]
    fn refused_ids_are_explained_where_there_is_one() {
        let chown = ["chown: changing ownership of 'f': Invalid argument".to_owned()];
        assert!(single_id_hint(Ownership::Single, &chown).is_some_and(|hint| hint.contains("/etc/subuid")));
        assert_eq!(single_id_hint(Ownership::All, &chown), None);
        assert_eq!(single_id_hint(Ownership::Single, &["no".to_owned()]), None);
    }

    #[test]
    fn a_thrown_switch_ends_what_starts_later() {
        let switch = KillSwitch::default();
        switch.throw();
        let (sender, receiver) = std::sync::mpsc::channel();
        let sender = Mutex::new(sender);
        switch.arm(Box::new(move |signal| sender.lock().unwrap().send(signal).unwrap()));
        assert_eq!(receiver.try_recv(), Ok(SIGKILL));
    }
}
