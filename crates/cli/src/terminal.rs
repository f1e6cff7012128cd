//! The terminal's modes: raw for a container's own terminal, restored whatever happens.
//!
//! Knows nothing of what is drawn.

use std::io::{BufRead, Read, Write};
use std::sync::Mutex;

use crate::error::{INTERRUPTED, TERMINATED};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// The modes to go back to, while they are changed.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Longest line a person types; more is no answer.
const LINE_MAX: u64 = 64 * 1024;

/// Shows the cursor again; harmless if it was never hidden.
const SHOW_CURSOR: &[u8] = b"\x1b[?25h";

/// Raw mode of standard input, until dropped.
#[derive(Debug)]
pub(crate) struct Raw(());

impl Raw {
    /// Switches standard input to raw mode.
    pub(crate) fn enter() -> std::io::Result<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        *saved() = Some(before);
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Self(()))
    }
}

/// Asks a question on the terminal and reads one line; a secret is not shown while it is typed.
pub(crate) fn ask(question: &str, secret: bool) -> std::io::Result<String> {
    let mut err = std::io::stderr().lock();
    err.write_all(question.as_bytes())?;
    let stdin = std::io::stdin();
    let hidden = if secret { Some(Raw::enter_without_echo()?) } else { None };
    let mut line = String::new();
    let read = stdin.lock().take(LINE_MAX).read_line(&mut line);
    if hidden.is_some() {
        drop(hidden);
        err.write_all(b"\n")?;
    }
    read?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

impl Raw {
    /// Switches off only the echo of what is typed.
    fn enter_without_echo() -> std::io::Result<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut silent = before.clone();
        silent.local_modes.remove(rustix::termios::LocalModes::ECHO);
        *saved() = Some(before);
        tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore_modes();
    }
}

/// Undoes whatever this program did to the terminal. Called from the panic hook as well.
pub(crate) fn restore() {
    restore_modes();
    if crate::output::stderr_is_terminal() {
        let _ = std::io::stderr().write_all(SHOW_CURSOR);
    }
}

/// Rows and columns of the terminal on standard error or output; docker's default when there is none.
pub(crate) fn size() -> (u16, u16) {
    let measured = tcgetwinsize(std::io::stderr()).or_else(|_| tcgetwinsize(std::io::stdout()));
    measured.ok().filter(|size| size.ws_row > 0 && size.ws_col > 0).map_or((24, 80), |size| (size.ws_row, size.ws_col))
}

fn restore_modes() {
    if let Some(before) = saved().take() {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
    }
}

fn saved() -> std::sync::MutexGuard<'static, Option<Termios>> {
    SAVED.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Resolves at the first interrupt or request to end, to what shells report for a program that the signal ended.
pub(crate) async fn interrupted() -> u8 {
    use tokio::signal::unix::{SignalKind, signal};
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    match (interrupt, terminate) {
        (Ok(mut interrupt), Ok(mut terminate)) => tokio::select! {
            _ = interrupt.recv() => INTERRUPTED,
            _ = terminate.recv() => TERMINATED,
        },
        // Without handlers the signals end the process by themselves.
        _ => std::future::pending().await,
    }
}
