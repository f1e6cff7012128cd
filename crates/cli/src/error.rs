//! The one error a verb returns: what the process exits with, what went wrong, where, and what to try.
//!
//! Knows how every crate's error is told to a person; knows nothing of when they happen.

use std::error::Error;
use std::fmt::Write as _;

use crate::sanitise;

/// Result of a verb.
pub(crate) type CommandResult<T = ()> = Result<T, CommandError>;

/// What the process does about a [`CommandError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The command line is wrong: exit code 2.
    Usage,
    /// The work failed: exit code 1.
    Failure,
    /// Says what is wrong and exits with this code (docker's 125 to 127).
    Code(u8),
    /// Says nothing and exits with this code: the container's own.
    Silent(u8),
}

/// Causes printed below an error; a longer chain is a loop or noise.
const CAUSES_MAX: usize = 8;

/// An error with what a person needs to go on.
#[derive(Debug)]
pub(crate) struct CommandError {
    /// What the process does.
    pub(crate) kind: Kind,
    /// What went wrong: lower case, no full stop.
    pub(crate) what: String,
    /// The cause.
    pub(crate) source: Option<Box<dyn Error + Send + Sync>>,
    /// The lines of the Dockerfile it belongs to, drawn.
    pub(crate) excerpt: Option<Box<str>>,
    /// The failed step and the last lines of its output.
    pub(crate) step: Option<Box<(String, Vec<String>)>>,
    /// What to try next.
    pub(crate) hints: Vec<String>,
}

impl CommandError {
    /// An error of a kind.
    pub(crate) fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), source: None, excerpt: None, step: None, hints: Vec::new() }
    }

    /// The work failed.
    pub(crate) fn failure(what: impl Into<String>) -> Self {
        Self::new(Kind::Failure, what)
    }

    /// The command line is wrong.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Kind::Usage, what)
    }

    /// The reader of our output went away: it has what it wanted.
    pub(crate) fn broken_pipe() -> Self {
        Self::new(Kind::Silent(0), "broken pipe")
    }

    /// Adds what to try next.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error with another kind.
    #[must_use]
    pub(crate) fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// What the process exits with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Usage => 2,
            Kind::Failure => 1,
            Kind::Code(code) | Kind::Silent(code) => code,
        }
    }

    /// The whole message for standard error; empty if there is nothing to say.
    pub(crate) fn message(&self) -> String {
        if matches!(self.kind, Kind::Silent(_)) {
            return String::new();
        }
        // The drawing of a place begins with the message.
        let mut out = match &self.excerpt {
            Some(excerpt) => format!("{}\n", sanitise::text(excerpt).trim_end()),
            None => format!("error: {}\n", indented(&self.what)),
        };
        for cause in self.causes() {
            let _ = writeln!(out, "  because: {}", indented(&cause));
        }
        if let Some((name, lines)) = self.step.as_deref().filter(|(_, lines)| !lines.is_empty()) {
            let _ = writeln!(out, "last output of {}:", sanitise::line(name));
            for line in lines {
                let _ = writeln!(out, "  | {}", sanitise::text(line).replace('\n', "\n  | "));
            }
        }
        for hint in &self.hints {
            let _ = writeln!(out, "hint: {}", indented(hint));
        }
        out
    }

    /// The chain of causes; one that the message above it already says is left out.
    fn causes(&self) -> Vec<String> {
        let first = self.source.as_ref().map(|source| &**source as &(dyn Error + 'static));
        let mut said = self.what.clone();
        let mut causes = Vec::new();
        for cause in std::iter::successors(first, |error| (*error).source()).take(CAUSES_MAX) {
            let text = cause.to_string();
            if !said.contains(&text) {
                said.push_str(&text);
                causes.push(text);
            }
        }
        causes
    }
}

/// Safe text whose further lines cannot be taken for lines of ours or for commands to a CI system.
fn indented(text: &str) -> String {
    sanitise::text(text.trim_end()).replace('\n', "\n    ")
}

impl From<cooper_engine::Error> for CommandError {
    fn from(mut error: cooper_engine::Error) -> Self {
        let excerpt = crate::diagnostics::excerpt_of(&error);
        let mut command = Self::failure(std::mem::take(&mut error.what));
        command.excerpt = excerpt.map(Into::into);
        command.hints = std::mem::take(&mut error.hints);
        command.hints.extend(hint_for(error.kind).map(str::to_owned));
        command.step = error.step.take();
        command.source = error.source.take();
        if error.kind == cooper_engine::ErrorKind::Cancelled {
            command.kind = Kind::Code(INTERRUPTED);
        }
        command
    }
}

/// What shells report for a program ended by SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// What shells report for a program ended by SIGTERM.
pub(crate) const TERMINATED: u8 = 143;

fn hint_for(kind: cooper_engine::ErrorKind) -> Option<&'static str> {
    use cooper_engine::ErrorKind;
    match kind {
        ErrorKind::Host => Some("`cooper doctor` shows what this host allows"),
        ErrorKind::Unauthorized => {
            Some("log in with `cooper login`; what `docker login` and `podman login` keep is read as well")
        }
        ErrorKind::Retry => Some("this may pass: try again"),
        _ => None,
    }
}

impl From<cooper_oci::Error> for CommandError {
    fn from(error: cooper_oci::Error) -> Self {
        let mut command = Self::failure(error.to_string());
        command.hints.extend(error.hint().map(str::to_owned));
        command.source = std::error::Error::source(&error).map(|source| source.to_string().into());
        command
    }
}

impl From<cooper_base::Error> for CommandError {
    fn from(error: cooper_base::Error) -> Self {
        let mut command = Self::failure(error.to_string());
        command.hints.extend(error.hint().map(str::to_owned));
        command.source = std::error::Error::source(&error).map(|source| source.to_string().into());
        command
    }
}

impl From<cooper_registry::Error> for CommandError {
    fn from(error: cooper_registry::Error) -> Self {
        Self::from(cooper_oci::Error::from(error))
    }
}

impl From<cooper_store::Error> for CommandError {
    fn from(error: cooper_store::Error) -> Self {
        let mut command = Self::failure(error.to_string());
        command.hints.extend(error.hint().map(str::to_owned));
        if error.kind() == cooper_store::ErrorKind::Corrupt {
            command.hints.push("`cooper store repair` mends or drops what is wrong".into());
        }
        command.source = std::error::Error::source(&error).map(|source| source.to_string().into());
        command
    }
}

impl From<cooper_executor::Error> for CommandError {
    fn from(error: cooper_executor::Error) -> Self {
        let mut command = Self::failure(error.to_string());
        command.hints.extend(error.hint().map(str::to_owned));
        if error.kind() == cooper_executor::ErrorKind::Host {
            command.hints.extend(hint_for(cooper_engine::ErrorKind::Host).map(str::to_owned));
        }
        command.source = std::error::Error::source(&error).map(|source| source.to_string().into());
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_why_where_and_what_next() {
        use cooper_engine::{ErrorKind, Place};
        let mut error = cooper_engine::Error::new(ErrorKind::Step, "`make` exited with 2")
            .with_source(std::io::Error::other("no space left"))
            .with_hint("run `cooper prune`");
        error.dockerfile = Some(Box::new(("Dockerfile".into(), "FROM a\nRUN make\n".into())));
        error.place = Some(Place { first_line: 2, last_line: 2 });
        error.step = Some(Box::new(("[2/2] RUN make".into(), vec!["cc main.c".into(), "boom".into()])));
        let error = CommandError::from(error);
        insta::assert_snapshot!(error.message());
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn hostile_text_cannot_act_on_the_terminal_or_the_ci_system() {
        let mut error = CommandError::failure("bad\x1b]0;title\x07\n::set-output name=x::y").with_hint("\u{9b}31mhint");
        error.step = Some(Box::new(("RUN\n::x".into(), vec!["::error::\x1b[2J".into(), "a\r\n##[x]".into()])));
        let message = error.message();
        assert!(message.chars().all(|c| c == '\n' || !c.is_control()), "{message:?}");
        assert!(!message.lines().any(|line| line.starts_with("::") || line.starts_with("##[")), "{message}");
    }

    #[test]
    fn a_cause_already_said_is_not_repeated() {
        let error = CommandError::failure("cannot open x: denied").with_source(std::io::Error::other("denied"));
        assert_eq!(error.message(), "error: cannot open x: denied\n");
    }

    #[test]
    fn exit_codes() {
        assert_eq!(CommandError::usage("x").exit_code(), 2);
        assert_eq!(CommandError::new(Kind::Code(125), "x").exit_code(), 125);
        assert_eq!(CommandError::broken_pipe().message(), "");
        let cancelled = cooper_engine::Error::new(cooper_engine::ErrorKind::Cancelled, "stopped");
        assert_eq!(CommandError::from(cancelled).exit_code(), INTERRUPTED);
    }
}
