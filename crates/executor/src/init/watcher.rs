//! The process outside the step: starts the reaper, passes signals on, and ends the step when the caller is gone.
//!
//! Touches neither mounts nor files.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::UnshareFlags;

use super::{STOP, reaper};
use crate::sys::{self, SingleThread};
use crate::wire::{self, Spec};
use crate::{Error, ErrorKind, Result};

/// Runs the step; returns this process's exit code once everything in it has ended.
pub(super) fn watch(socket: &OwnedFd, spec: Spec, fds: std::vec::IntoIter<OwnedFd>) -> Result<i32> {
    let io = |what: &'static str| move |e: std::io::Error| Error::io(what, e);
    let single = SingleThread::check().map_err(io("the init of a step must have one thread"))?;
    // A caller that ignores SIGCHLD would have left us without news of our children.
    sys::reset_signals().map_err(io("cannot reset signals"))?;
    sys::block_signals().map_err(io("cannot block signals"))?;
    let own = pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
        .map_err(|e| Error::io("cannot open a process descriptor", e.into()))?;
    new_namespaces(&spec)?;
    match sys::fork(&single).map_err(io("cannot fork"))? {
        None => std::process::exit(reaper::run(socket, &own, spec, fds, &single)),
        Some(pid) => {
            drop(fds);
            supervise(socket, pid)
        }
    }
}

/// All namespaces but two: the mount namespace, which the reaper leaves after it has cloned what it needs, and that of
/// control groups, which the program leaves once it is in its own.
fn new_namespaces(spec: &Spec) -> Result<()> {
    let mut flags = UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    if spec.own_network {
        flags |= UnshareFlags::NEWNET;
    }
    sys::unshare(flags).map_err(refused)?;
    if spec.own_network {
        sys::loopback_up().map_err(|e| Error::io("cannot bring the loopback interface up", e))?;
    }
    Ok(())
}

fn refused(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Host, format!("cannot make namespaces for the step: {error}"))
        .with_hint("run `cooper doctor`: a container or a security module may forbid them here")
}

fn supervise(socket: &OwnedFd, pid: i32) -> Result<i32> {
    let reaper = Pid::from_raw(pid).ok_or_else(|| Error::new(ErrorKind::Io, "the reaper has no process id"))?;
    let reaper_fd =
        pidfd_open(reaper, PidfdFlags::empty()).map_err(|e| Error::io("cannot open a process descriptor", e.into()))?;
    let mut open = true;
    loop {
        let mut ready = [PollFd::new(&reaper_fd, PollFlags::IN), PollFd::new(socket, PollFlags::IN)];
        let watched = if open { &mut ready[..] } else { &mut ready[..1] };
        match poll(watched, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::io("cannot wait for the step", e.into())),
        }
        if !ready[0].revents().is_empty() {
            let _reaped = rustix::process::waitpid(Some(reaper), rustix::process::WaitOptions::empty());
            return Ok(0);
        }
        if open && !ready[1].revents().is_empty() {
            open = pass_on(socket, pid);
        }
    }
}

/// Passes one signal on; false when the caller is gone.
fn pass_on(socket: &OwnedFd, pid: i32) -> bool {
    let asked = wire::receive_signal(socket.as_fd()).ok().flatten();
    let signal = match asked {
        None => STOP,
        Some(signal) if i32::from(signal) == libc::SIGKILL => STOP,
        Some(signal) => i32::from(signal),
    };
    // Fails only if the reaper has ended, which the poll tells next.
    let _ended = sys::kill(pid, signal);
    asked.is_some()
}
