//! One opaque error for the crate, with a kind named for what the caller can do. Knows nothing of who reports it.

use std::fmt;
use std::io;
use std::path::Path;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The argument is not well formed.
    Invalid,
    /// Bytes on disk do not have the digest or form they are known by.
    Corrupt,
    /// The store does not have what was asked for.
    NotFound,
    /// More than one thing answers to the name.
    Ambiguous,
    /// The disk, quota or inode table is full: free space (`prune`) and try again.
    Full,
    /// Another process holds it for now.
    Busy,
    /// The store belongs to someone else, or its permissions are too wide.
    Permission,
    /// The store was written by a newer version of this program.
    Newer,
    /// The thing crosses a limit of this program.
    TooLarge,
    /// The operating system refused.
    Io,
    /// The database refused.
    Database,
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

    /// Wraps an operating system error met while doing `what`.
    pub fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let kind = io_kind(&source);
        let error = Self { kind, what: what.into(), hint: None, source: Some(source.into()) };
        if kind == ErrorKind::Full { error.with_hint("free space with `cooper prune`") } else { error }
    }

    /// Wraps an operating system error met while doing `verb` to `path`.
    pub(crate) fn at(verb: &str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::io(format!("cannot {verb} {}", path.display()), source)
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

/// Errors of ours and of `oci` travel through `io::Error` inside readers; their kind is kept.
fn io_kind(error: &io::Error) -> ErrorKind {
    if let Some(inner) = error.get_ref() {
        if let Some(ours) = inner.downcast_ref::<Error>() {
            return ours.kind;
        }
        if let Some(oci) = inner.downcast_ref::<cooper_oci::Error>() {
            return oci_kind(oci.kind());
        }
    }
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => ErrorKind::Full,
        _ if error.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ if error.kind() == io::ErrorKind::PermissionDenied => ErrorKind::Permission,
        _ => ErrorKind::Io,
    }
}

fn oci_kind(kind: cooper_oci::ErrorKind) -> ErrorKind {
    use cooper_oci::ErrorKind as Oci;
    match kind {
        Oci::Invalid => ErrorKind::Invalid,
        Oci::Corrupt => ErrorKind::Corrupt,
        Oci::NotFound => ErrorKind::NotFound,
        Oci::TooLarge => ErrorKind::TooLarge,
        Oci::Unauthorized => ErrorKind::Permission,
        Oci::Retry => ErrorKind::Busy,
        Oci::Io => ErrorKind::Io,
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
        let out = Self::new(oci_kind(error.kind()), error.to_string());
        let hint = error.hint().map(str::to_owned);
        let out = out.with_source(error);
        hint.into_iter().fold(out, Error::with_hint)
    }
}

impl From<Error> for cooper_oci::Error {
    fn from(error: Error) -> Self {
        use cooper_oci::ErrorKind as Oci;
        let kind = match error.kind {
            ErrorKind::Invalid | ErrorKind::Ambiguous => Oci::Invalid,
            ErrorKind::Corrupt => Oci::Corrupt,
            ErrorKind::NotFound => Oci::NotFound,
            ErrorKind::TooLarge => Oci::TooLarge,
            ErrorKind::Busy => Oci::Retry,
            ErrorKind::Permission => Oci::Unauthorized,
            ErrorKind::Full | ErrorKind::Newer | ErrorKind::Io | ErrorKind::Database => Oci::Io,
        };
        let out = Self::new(kind, error.to_string());
        let hint = error.hint.clone();
        let out = out.with_source(error);
        hint.into_iter().fold(out, cooper_oci::Error::with_hint)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        let (kind, what) = match error.sqlite_error_code() {
            Some(Code::DiskFull) => (ErrorKind::Full, "no space left for the store's database"),
            Some(Code::DatabaseCorrupt | Code::NotADatabase) => (ErrorKind::Corrupt, "the store's database is corrupt"),
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => (ErrorKind::Busy, "the store's database is busy"),
            _ => (ErrorKind::Database, "the store's database failed"),
        };
        let out = Self::new(kind, what).with_source(error);
        match kind {
            ErrorKind::Full => out.with_hint("free space with `cooper prune`"),
            ErrorKind::Corrupt => out.with_hint("rebuild it with `cooper store repair`"),
            _ => out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_survive_the_trip_through_io_errors() {
        for kind in [ErrorKind::Corrupt, ErrorKind::Full, ErrorKind::Newer] {
            let io: io::Error = Error::new(kind, "x").into();
            assert_eq!(Error::io("y", io).kind(), kind);
        }
        assert_eq!(Error::io("x", io::Error::from_raw_os_error(libc::ENOSPC)).kind(), ErrorKind::Full);
        let oci = cooper_oci::Error::new(cooper_oci::ErrorKind::Corrupt, "x");
        assert_eq!(Error::io("y", io::Error::from(oci)).kind(), ErrorKind::Corrupt);
    }
}
