//! Collects diagnostics, each once.
//!
//! Knows nothing of what they are about.

use crate::{Diagnostic, Severity, Span, nearest};

/// At most this many are kept: past it nobody reads on, and a hostile file cannot fill memory.
const DIAGNOSTICS_MAX: usize = 1000;

/// The diagnostics of one part of the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// Adds one.
    pub(crate) fn add(&mut self, diagnostic: Diagnostic) {
        if self.diagnostics.len() < DIAGNOSTICS_MAX && !self.diagnostics.contains(&diagnostic) {
            self.diagnostics.push(diagnostic);
        }
    }

    /// A plain error.
    pub(crate) fn error(&mut self, span: Span, message: impl Into<String>) {
        self.add(Diagnostic::error(span, message));
    }

    /// An error and what to do about it.
    pub(crate) fn error_hint(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Diagnostic::error(span, message).with_hint(hint));
    }

    /// A warning about the unknown variable `name`, with the nearest of those that there are.
    pub(crate) fn unknown<'a>(&mut self, warning: Diagnostic, name: &str, known: impl Iterator<Item = &'a str>) {
        self.add(match nearest(name, known) {
            Some(near) => warning.with_hint(format!("did you mean `${near}`?")),
            None => warning,
        });
    }

    /// The build cannot go on.
    pub(crate) fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}
