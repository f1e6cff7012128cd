//! The hidden subcommand that becomes the first process of a step.
//!
//! Knows nothing of its caller but the socket on its standard input. Two processes come of it: the *watcher* stays
//! outside and ends the step when the caller asks for it or is gone; the *reaper* is process 1 inside.

pub(crate) mod confine;
pub(crate) mod device;
pub(crate) mod exec;
mod reaper;
pub(crate) mod rootfs;
pub(crate) mod seccomp;
#[cfg(target_arch = "x86_64")]
mod seccomp_386;
pub(crate) mod tree;
pub(crate) mod user;
mod watcher;

use std::os::fd::{AsFd, OwnedFd};

use crate::sys;
use crate::wire::{self, Report};
use crate::{Error, Result};

/// First argument with which an executor starts this program again; `main` then calls [`init_main`].
pub const INIT_COMMAND: &str = "cooper-init";

/// Exit code of an init that could not even report.
const BROKEN: i32 = 125;

/// Signal by which the watcher tells the reaper to end everything; not one that programs use.
const STOP: i32 = 64;

/// Runs the step described on standard input. To be called first thing in `main`, with one thread.
pub fn init_main() -> ! {
    let code = match control_socket() {
        Ok(socket) => run(socket),
        Err(_) => BROKEN,
    };
    std::process::exit(code)
}

/// The socket, away from the standard streams; every other descriptor that leaked into this process is closed.
fn control_socket() -> std::io::Result<OwnedFd> {
    sys::close_from(3)?;
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(socket)
}

fn run(socket: OwnedFd) -> i32 {
    match begin(&socket) {
        Ok(code) => code,
        Err(error) => fail(&socket, error),
    }
}

fn begin(socket: &OwnedFd) -> Result<i32> {
    let (spec, fds) =
        wire::receive_spec(socket.as_fd()).map_err(|e| Error::io("cannot read the description of the step", e))?;
    watcher::watch(socket, spec, fds)
}

/// Reports that the step never ran.
fn fail(socket: &OwnedFd, error: Error) -> i32 {
    match wire::send_report(socket.as_fd(), &Report::Failed(error.into()), None) {
        Ok(()) => 0,
        Err(_) => BROKEN,
    }
}
