//! One opaque error for the crate, with a kind named for what the caller can do. Holds no secret: URLs are printed
//! without their query, and bodies of answers only after [`sanitise`].

use std::fmt;
use std::time::Duration;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Log in, or log in as someone else.
    Unauthorized,
    /// The registry knows who asks, and refuses.
    Denied,
    /// The registry does not have it.
    NotFound,
    /// Asked too often; wait.
    TooMany,
    /// Passing fault; the same call may succeed later. Retries within the client are used up.
    Retry,
    /// The request, or an answer, does not follow its specification, or breaks a rule of this client.
    Invalid,
    /// Bytes do not have the digest or size they are known by.
    Corrupt,
    /// An answer crosses a limit of this program.
    TooLarge,
    /// Network use is switched off.
    Offline,
    /// The operating system, or a helper program, failed.
    Io,
}

/// An error with its kind, what was being done, and its cause.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    what: String,
    hint: Option<String>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says `what`: lower case, no full stop, names the host, the repository and the operation.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), hint: None, retry_after: None, source: None }
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

    pub(crate) fn with_retry_after(mut self, pause: Option<Duration>) -> Self {
        self.retry_after = pause;
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

    /// How long the registry asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
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

impl From<Error> for cooper_oci::Error {
    fn from(error: Error) -> Self {
        use cooper_oci::ErrorKind as Oci;
        let kind = match error.kind {
            ErrorKind::Unauthorized | ErrorKind::Denied => Oci::Unauthorized,
            ErrorKind::NotFound => Oci::NotFound,
            ErrorKind::TooMany | ErrorKind::Retry => Oci::Retry,
            ErrorKind::Invalid => Oci::Invalid,
            ErrorKind::Corrupt => Oci::Corrupt,
            ErrorKind::TooLarge => Oci::TooLarge,
            ErrorKind::Offline | ErrorKind::Io => Oci::Io,
        };
        let out = Self::new(kind, error.what);
        let out = match error.hint {
            Some(hint) => out.with_hint(hint),
            None => out,
        };
        match error.source {
            Some(source) => out.with_source(source),
            None => out,
        }
    }
}

impl From<cooper_oci::Error> for Error {
    fn from(error: cooper_oci::Error) -> Self {
        use cooper_oci::ErrorKind as Oci;
        let kind = match error.kind() {
            Oci::Unauthorized => ErrorKind::Unauthorized,
            Oci::NotFound => ErrorKind::NotFound,
            Oci::Retry => ErrorKind::Retry,
            Oci::Invalid => ErrorKind::Invalid,
            Oci::Corrupt => ErrorKind::Corrupt,
            Oci::TooLarge => ErrorKind::TooLarge,
            Oci::Io => ErrorKind::Io,
        };
        let out = Self::new(kind, error.to_string());
        let out = match error.hint() {
            Some(hint) => out.with_hint(hint.to_owned()),
            None => out,
        };
        out.with_source(error)
    }
}

/// A line of foreign text may be this long in an error: enough for every registry's real messages, too short to flood a log.
const FOREIGN_TEXT_MAX: usize = 300;

/// Foreign text made fit for a terminal and a log: one line, no control or direction-changing characters, at most
/// [`FOREIGN_TEXT_MAX`] characters.
pub(crate) fn sanitise(text: &str) -> String {
    let clean = text
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control() && !is_invisible(*c))
        .collect::<String>();
    let words = clean.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(FOREIGN_TEXT_MAX) {
        Some((end, _)) => format!("{}…", words.get(..end).unwrap_or_default()),
        None => words,
    }
}

/// Zero-width and bidirectional control characters, which make a log show what it does not hold.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sanitises_foreign_text() {
        for (text, expect) in [
            ("plain words", "plain words"),
            ("two\r\nlines\tand\u{0}more", "two lines andmore"),
            ("\u{1b}[31mred\u{1b}[0m", "[31mred[0m"),
            ("a\u{202e}b\u{200b}c", "abc"),
            ("  ", ""),
        ] {
            assert_eq!(sanitise(text), expect);
        }
        assert_eq!(sanitise(&"é".repeat(1000)).chars().count(), FOREIGN_TEXT_MAX + 1);
    }
}
