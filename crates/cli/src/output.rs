//! The two streams of the command: data on standard output, everything else on standard error.
//!
//! Knows nothing of what is written. A reader that went away is told apart, so that `cooper images | head` ends quietly.

use std::io::{self, IsTerminal, Write};

use crate::error::{CommandError, CommandResult};

/// Writes data to standard output.
pub(crate) fn data(text: &str) -> CommandResult {
    data_bytes(text.as_bytes())
}

/// Writes bytes to standard output.
pub(crate) fn data_bytes(bytes: &[u8]) -> CommandResult {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(write_error)
}

/// Writes a line for the user to standard error. There is nowhere left to report a failure of that to.
pub(crate) fn note(text: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
}

/// Standard output is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Standard error is a terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

fn write_error(error: io::Error) -> CommandError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => CommandError::broken_pipe(),
        _ => CommandError::failure("cannot write to standard output").with_source(error),
    }
}
