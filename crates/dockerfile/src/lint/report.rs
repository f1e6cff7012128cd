//! Collects the findings of rules.
//!
//! Does not know what they are about.

use super::rule::Rule;
use crate::{Diagnostic, Span};

/// At most this many findings of one rule are kept: past it nobody reads on, and a hostile file cannot fill memory.
const FINDINGS_MAX: usize = 1000;

/// Findings of one rule; takes its name and severity.
#[derive(Debug)]
pub(super) struct Report<'a> {
    rule: &'static Rule,
    kept: usize,
    found: &'a mut Vec<Diagnostic>,
}

impl<'a> Report<'a> {
    pub(super) fn new(rule: &'static Rule, found: &'a mut Vec<Diagnostic>) -> Report<'a> {
        Report { rule, kept: 0, found }
    }

    /// Adds a finding made by [`at`].
    pub(super) fn add(&mut self, finding: Diagnostic) {
        if self.kept < FINDINGS_MAX {
            self.kept += 1;
            self.found.push(Diagnostic { rule: self.rule.id, severity: self.rule.severity, ..finding });
        }
    }
}

/// A finding; [`Report::add`] gives it the rule.
pub(super) fn at(span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::warning("", span, message)
}
