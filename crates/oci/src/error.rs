//! One opaque error for the crate, with a kind named for what the caller can do.

use std::fmt;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A name, digest, document or archive does not follow its specification.
    Invalid,
    /// Bytes do not have the digest or size they are known by.
    Corrupt,
    /// The place does not have what was asked for.
    NotFound,
    /// The input crosses a limit of this program.
    TooLarge,
    /// Credentials are missing or refused.
    Unauthorized,
    /// Passing fault; the same call may succeed later.
    Retry,
    /// The operating system refused.
    Io,
}

/// An error with its kind, what was being done, and its cause.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    what: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says `what`: lower case, no full stop, names the thing.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), hint: None, source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds what the user can try next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Wraps an operating system error.
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        // A nested error of ours travels through io::Error inside readers; keep its kind.
        let kind = source.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).map_or(ErrorKind::Io, Error::kind);
        Self { kind, what: what.into(), hint: None, source: Some(source.into()) }
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

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        std::io::Error::new(std::io::ErrorKind::InvalidData, error)
    }
}
