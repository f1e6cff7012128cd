//! One opaque error for the crate, with a kind named for what the caller can do. Knows nothing of who reports it.

use std::fmt;
use std::path::Path;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The declared file, the lock file or an argument is not well formed: fix it.
    Invalid,
    /// What an archive serves does not have the signature, digest, size, date or name it must have: do not use it.
    Untrusted,
    /// No package, file or source answers to the name.
    NotFound,
    /// The packages asked for cannot be installed together.
    Unsatisfiable,
    /// The lock file does not belong to the declared file: lock again.
    Stale,
    /// The input crosses a limit of this program.
    TooLarge,
    /// Passing fault of the network; the same call may succeed later.
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

    /// Wraps an operating system error met while doing `verb` to `path`.
    pub(crate) fn at(verb: &str, path: &Path, source: std::io::Error) -> Self {
        let kind = if source.kind() == std::io::ErrorKind::NotFound { ErrorKind::NotFound } else { ErrorKind::Io };
        Self::new(kind, format!("cannot {verb} {}", path.display())).with_source(source)
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

impl From<cooper_oci::Error> for Error {
    fn from(error: cooper_oci::Error) -> Self {
        use cooper_oci::ErrorKind as Oci;
        let kind = match error.kind() {
            Oci::Invalid => ErrorKind::Invalid,
            Oci::Corrupt => ErrorKind::Untrusted,
            Oci::NotFound => ErrorKind::NotFound,
            Oci::TooLarge => ErrorKind::TooLarge,
            Oci::Retry => ErrorKind::Retry,
            Oci::Unauthorized | Oci::Io => ErrorKind::Io,
        };
        let out = Self::new(kind, error.to_string());
        let hint = error.hint().map(str::to_owned);
        let out = out.with_source(error);
        hint.into_iter().fold(out, Error::with_hint)
    }
}

impl From<Error> for cooper_oci::Error {
    fn from(error: Error) -> Self {
        use cooper_oci::ErrorKind as Oci;
        let kind = match error.kind {
            ErrorKind::Invalid | ErrorKind::Unsatisfiable | ErrorKind::Stale => Oci::Invalid,
            ErrorKind::Untrusted => Oci::Corrupt,
            ErrorKind::NotFound => Oci::NotFound,
            ErrorKind::TooLarge => Oci::TooLarge,
            ErrorKind::Retry => Oci::Retry,
            ErrorKind::Io => Oci::Io,
        };
        let out = Self::new(kind, error.to_string());
        let hint = error.hint.clone();
        let out = out.with_source(error);
        hint.into_iter().fold(out, cooper_oci::Error::with_hint)
    }
}
