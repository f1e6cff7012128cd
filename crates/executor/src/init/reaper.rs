//! Process 1 of a step: sets the root up, starts the program, reaps, passes signals on, cleans up, reports.
//!
//! Knows nothing of how the program is confined.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{DumpableBehavior, Signal, WaitOptions, WaitStatus, getpid};

use super::exec::{Program, Streams};
use super::rootfs::{self, Root};
use super::{BROKEN, STOP, fail};
use crate::sys::{self, SingleThread};
use crate::wire::{self, Failure, Report, Spec};
use crate::{Error, ErrorKind, Result};

/// Runs the step as process 1; returns the exit code.
pub(super) fn run(
    socket: &OwnedFd,
    watcher: &OwnedFd,
    spec: Spec,
    fds: std::vec::IntoIter<OwnedFd>,
    single: &SingleThread,
) -> i32 {
    let mut root = Root::default();
    let ended = guard(watcher).and_then(|()| step(socket, spec, fds, single, &mut root));
    end_all();
    root.clean_up();
    match ended {
        Err(error) => fail(socket, error),
        Ok(report) => match wire::send_report(socket.as_fd(), &report, None) {
            Ok(()) => 0,
            Err(_) => BROKEN,
        },
    }
}

/// Makes this process end with the watcher, and hides its memory, descriptors and program from the step.
fn guard(watcher: &OwnedFd) -> Result<()> {
    let failed = |e: rustix::io::Errno| Error::io("cannot protect the init of the step", e.into());
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed)?;
    let mut ready = [PollFd::new(watcher, PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut ready, Some(&now)).map_err(failed)?;
    if !ready[0].revents().is_empty() {
        return Err(Error::new(ErrorKind::Io, "the caller is gone"));
    }
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed)
}

fn step(
    socket: &OwnedFd,
    spec: Spec,
    mut fds: std::vec::IntoIter<OwnedFd>,
    single: &SingleThread,
    root: &mut Root,
) -> Result<Report> {
    let missing = || Error::new(ErrorKind::Io, "a descriptor of the step is missing");
    let root_fd = fds.next().ok_or_else(missing)?;
    let groups: Vec<OwnedFd> = fds.by_ref().take(spec.groups).collect();
    let given = match spec.pty {
        Some(_) => None,
        None => {
            Some([fds.next().ok_or_else(missing)?, fds.next().ok_or_else(missing)?, fds.next().ok_or_else(missing)?])
        }
    };
    rootfs::enter(root, root_fd, &spec, &mut fds)?;
    drop(fds);
    let (streams, controlling) = Streams::open(given, spec.pty, root)?;
    let program = Program::prepare(spec, groups, root)?;
    let pid = start(&program, streams, single)?;
    wire::send_report(socket.as_fd(), &Report::Started, controlling.as_ref().map(AsFd::as_fd))
        .map_err(|e| Error::io("cannot report the start", e))?;
    drop(controlling);
    attend(pid)
}

/// Forks and executes; an error the child meets before the program runs comes back through a pipe that exec closes.
fn start(program: &Program, streams: Streams, single: &SingleThread) -> Result<i32> {
    let failed = |e: std::io::Error| Error::io("cannot start the process of the step", e);
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
    match sys::fork(single).map_err(failed)? {
        None => {
            let failure = Failure::from(program.execute(&streams));
            let text = serde_json::to_vec(&failure).unwrap_or_default();
            let _reader_gone = std::fs::File::from(write).write_all(&text);
            std::process::exit(BROKEN)
        }
        Some(pid) => {
            drop((write, streams));
            let mut text = Vec::new();
            std::fs::File::from(read).read_to_end(&mut text).map_err(failed)?;
            if text.is_empty() {
                return Ok(pid);
            }
            let failure: Failure = serde_json::from_slice(&text).map_err(|e| failed(e.into()))?;
            Err(failure.into())
        }
    }
}

/// Waits for the process `pid`, reaping everything else and passing signals on.
fn attend(pid: i32) -> Result<Report> {
    loop {
        let signal = sys::next_signal().map_err(|e| Error::io("cannot wait for signals", e))?;
        if signal == libc::SIGCHLD {
            if let Some(report) = reap(pid)? {
                return Ok(report);
            }
        } else if signal == STOP {
            return Ok(Report::Signaled(libc::SIGKILL));
        } else {
            // The process may just have ended; its SIGCHLD is queued.
            let _ended = sys::kill(pid, signal);
        }
    }
}

/// Reaps all that have ended; the report, if `pid` was among them.
fn reap(pid: i32) -> Result<Option<Report>> {
    let mut report = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((ended, status))) if ended.as_raw_nonzero().get() == pid => report = Some(report_of(status)),
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(report),
            Err(e) => return Err(Error::io("cannot reap processes", e.into())),
        }
    }
}

fn report_of(status: WaitStatus) -> Report {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Report::Exited(code),
        (None, Some(signal)) => Report::Signaled(signal),
        (None, None) => Report::Signaled(libc::SIGKILL),
    }
}

/// Kills and reaps everything in the namespace but this process.
fn end_all() {
    if getpid().as_raw_nonzero().get() != 1 {
        return;
    }
    // ESRCH: nothing is left.
    while sys::kill(-1, libc::SIGKILL).is_ok() {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
