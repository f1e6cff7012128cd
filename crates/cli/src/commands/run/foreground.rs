//! Follows a container to its end: its terminal, the signals sent to us, its exit.
//!
//! Knows nothing of images. Without a terminal the container has this process's own streams, and only signals are left.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use cooper_executor::{Exit, Running};
use rustix::termios::{Winsize, tcsetwinsize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::{Handle, Signals};

use crate::error::{CommandError, CommandResult};
use crate::terminal::{self, Raw};

/// Bytes moved at once between a terminal and its container.
const CHUNK: usize = 16 * 1024;

/// Listens from now on: what arrives before the container runs is passed on when it does, and does not end us alone.
pub(super) fn listen() -> CommandResult<Signals> {
    let failed = |error: io::Error| CommandError::failure("cannot listen to signals").with_source(error);
    Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH]).map_err(failed)
}

/// Waits for the container's end, passing everything on meanwhile.
pub(super) fn follow(running: &mut dyn Running, signals: Signals, tty: bool) -> CommandResult<Exit> {
    let pty = running.take_pty();
    let signals = forward_signals(running, signals, pty.as_ref())?;
    let raw = if tty { Raw::enter().ok() } else { None };
    let output = pty.map(pass_terminal).transpose();
    let exit = running.wait();
    // The last output may still be on its way through the terminal.
    if let Ok(Some(thread)) = output {
        let _ = thread.join();
    }
    drop(raw);
    signals.close();
    Ok(exit?)
}

/// Signals sent to this process go to the container; a changed window changes its terminal.
fn forward_signals(running: &dyn Running, mut signals: Signals, pty: Option<&OwnedFd>) -> CommandResult<Handle> {
    let failed = |error: io::Error| CommandError::failure("cannot pass signals on").with_source(error);
    let kill = running.killer()?;
    let pty = pty.map(OwnedFd::try_clone).transpose().map_err(failed)?;
    let handle = signals.handle();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            match (signal, &pty) {
                (SIGWINCH, Some(pty)) => resize(pty),
                (SIGWINCH, None) => {}
                (signal, _) => kill(signal),
            }
        }
    });
    Ok(handle)
}

fn resize(pty: &OwnedFd) {
    let (rows, columns) = terminal::size();
    let _ = tcsetwinsize(pty, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 });
}

/// Passes input and output between our terminal and the container's; the thread ends with the container's output.
fn pass_terminal(pty: OwnedFd) -> io::Result<std::thread::JoinHandle<()>> {
    let input = Arc::new(std::fs::File::from(pty.try_clone()?));
    // This thread stays in `read` until the process ends: there is no other way out of reading a terminal.
    std::thread::spawn(move || copy(&mut io::stdin(), &mut input.as_ref()));
    let mut output = std::fs::File::from(pty);
    Ok(std::thread::spawn(move || copy(&mut output, &mut io::stdout())))
}

/// Copies until either side ends. The end of a pseudo-terminal is an error (EIO), which is no failure.
fn copy(from: &mut impl Read, to: &mut impl Write) {
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return,
            Ok(count) => {
                let bytes = chunk.get(..count).unwrap_or_default();
                if to.write_all(bytes).and_then(|()| to.flush()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
