//! Errors of running a process.

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The process as asked for cannot run: no such user, bad mount target. Fix the Dockerfile.
    Process,
    /// The program does not exist: what shells report with 127.
    NoProgram,
    /// The program exists but cannot be executed: what shells report with 126.
    NotExecutable,
    /// The host does not allow what is needed; `cooper doctor` says what.
    Host,
    /// The operating system refused.
    Io,
}

/// An error with its kind, what was being done, a hint and its cause.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    kind: ErrorKind,
    what: String,
    hint: Option<String>,
    source: Option<std::io::Error>,
}

impl Error {
    /// An error of `kind` that says `what`.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), hint: None, source: None }
    }

    /// Wraps an operating system error.
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self { kind: ErrorKind::Io, what: what.into(), hint: None, source: Some(source) }
    }

    /// An error of `kind` that says `what` and was caused by `source`.
    pub(crate) fn caused(kind: ErrorKind, what: impl Into<String>, source: std::io::Error) -> Self {
        Self { kind, what: what.into(), hint: None, source: Some(source) }
    }

    /// Adds what the user can try next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the user can try next.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}
