//! The error a caller of the engine gets: what went wrong, where in the Dockerfile, and what to try.

use cooper_dockerfile::Diagnostic;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The Dockerfile, the context or a flag is wrong.
    User,
    /// A step's process failed.
    Step,
    /// The program to run does not exist in the image.
    NoProgram,
    /// The program to run exists but cannot be executed.
    NotExecutable,
    /// A name was not found.
    NotFound,
    /// Log in and try again.
    Unauthorized,
    /// Passing fault.
    Retry,
    /// The host lacks something; `cooper doctor` says what.
    Host,
    /// The caller stopped the build.
    Cancelled,
    /// The operating system or the store refused.
    Io,
}

/// Lines of the Dockerfile an error belongs to, counted from 1, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// First line.
    pub first_line: u32,
    /// Last line.
    pub last_line: u32,
}

/// An error with its kind, place, hints and cause.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    /// What the caller can do.
    pub kind: ErrorKind,
    /// What went wrong: lower case, no full stop.
    pub what: String,
    /// Where in the Dockerfile.
    pub place: Option<Place>,
    /// The failed step's name and the last lines of its output.
    pub step: Option<Box<(String, Vec<String>)>>,
    /// Exit code of the failed step's process.
    pub exit_code: Option<u8>,
    /// Diagnostics of the Dockerfile, when those are the reason.
    pub diagnostics: Vec<Diagnostic>,
    /// Name and text of the Dockerfile, to draw places in.
    pub dockerfile: Option<Box<(String, String)>>,
    /// What to try next.
    pub hints: Vec<String>,
    /// The cause.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says `what`.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            place: None,
            step: None,
            exit_code: None,
            diagnostics: Vec::new(),
            dockerfile: None,
            hints: Vec::new(),
            source: None,
        }
    }

    /// Adds what to try next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

/// An error of the image crate, told as `what`.
pub(crate) fn from_oci(error: cooper_oci::Error, what: &str) -> Error {
    let kind = match error.kind() {
        cooper_oci::ErrorKind::NotFound => ErrorKind::NotFound,
        cooper_oci::ErrorKind::Unauthorized => ErrorKind::Unauthorized,
        cooper_oci::ErrorKind::Retry => ErrorKind::Retry,
        cooper_oci::ErrorKind::Io => ErrorKind::Io,
        _ => ErrorKind::User,
    };
    let hint = error.hint().map(str::to_owned);
    Error { hints: hint.into_iter().collect(), ..Error::new(kind, format!("{what}: {error}")).with_source(error) }
}

/// An error of the store, told as `what`.
pub(crate) fn from_store(error: cooper_store::Error, what: &str) -> Error {
    let hint = error.hint().map(str::to_owned);
    let kind = match error.kind() {
        cooper_store::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Io,
    };
    Error { hints: hint.into_iter().collect(), ..Error::new(kind, format!("{what}: {error}")).with_source(error) }
}

/// An error of base images, told as `what`.
pub(crate) fn from_base(error: cooper_base::Error, what: &str) -> Error {
    let kind = match error.kind() {
        cooper_base::ErrorKind::NotFound => ErrorKind::NotFound,
        cooper_base::ErrorKind::Retry => ErrorKind::Retry,
        cooper_base::ErrorKind::Io => ErrorKind::Io,
        _ => ErrorKind::User,
    };
    let hint = error.hint().map(str::to_owned);
    Error { hints: hint.into_iter().collect(), ..Error::new(kind, format!("{what}: {error}")).with_source(error) }
}

/// An error of the executor.
pub(crate) fn from_executor(error: cooper_executor::Error) -> Error {
    let kind = match error.kind() {
        cooper_executor::ErrorKind::Process => ErrorKind::User,
        cooper_executor::ErrorKind::NoProgram => ErrorKind::NoProgram,
        cooper_executor::ErrorKind::NotExecutable => ErrorKind::NotExecutable,
        cooper_executor::ErrorKind::Host => ErrorKind::Host,
        cooper_executor::ErrorKind::Io => ErrorKind::Io,
    };
    let hint = error.hint().map(str::to_owned);
    Error { hints: hint.into_iter().collect(), ..Error::new(kind, error.to_string()).with_source(error) }
}

/// An error as everyone gets it who waited for the same work.
#[derive(Clone, Debug)]
pub(crate) struct SharedError(pub(crate) std::sync::Arc<Error>);

impl From<Error> for SharedError {
    fn from(error: Error) -> Self {
        Self(std::sync::Arc::new(error))
    }
}

impl SharedError {
    /// The error itself, or a copy of what it says when others hold it too.
    pub(crate) fn into_error(self) -> Error {
        std::sync::Arc::try_unwrap(self.0).unwrap_or_else(|shared| Error {
            place: shared.place,
            step: shared.step.clone(),
            exit_code: shared.exit_code,
            hints: shared.hints.clone(),
            diagnostics: shared.diagnostics.clone(),
            dockerfile: shared.dockerfile.clone(),
            ..Error::new(shared.kind, shared.what.clone())
        })
    }
}
