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
    pub step: Option<(String, Vec<String>)>,
    /// Exit code of the failed step's process.
    pub exit_code: Option<i32>,
    /// Diagnostics of the Dockerfile, when those are the reason.
    pub diagnostics: Vec<Diagnostic>,
    /// Name and text of the Dockerfile, to draw places in.
    pub dockerfile: Option<(String, String)>,
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
