//! The formats in which findings are printed.
//!
//! Knows nothing of how they were found.

mod github;
mod gitlab;
mod gnu;
mod json;
mod sarif;

use cooper_dockerfile::{Diagnostic, Severity, line_column, lint, render};
use cooper_oci::Digest;

use super::examine::Examined;
use crate::sanitise;

/// `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Drawn under the lines they speak of.
    Text,
    /// One JSON document.
    Json,
    /// SARIF 2.1.0, as code scanning takes it.
    Sarif,
    /// Annotations of GitHub's workflows.
    Github,
    /// A code quality report of GitLab.
    Gitlab,
    /// One line each: `FILE:LINE:COLUMN: SEVERITY: MESSAGE`.
    Gnu,
}

impl Format {
    /// All findings as one text; nothing a terminal or a log would act upon.
    pub(super) fn print(self, examined: &[Examined], colours: bool) -> String {
        match self {
            Format::Text => text(examined, colours),
            Format::Json => sanitise::json(&json::document(examined)),
            Format::Sarif => sanitise::json(&sarif::document(examined)),
            Format::Github => github::lines(examined),
            Format::Gitlab => sanitise::json(&gitlab::document(examined)),
            Format::Gnu => gnu::lines(examined),
        }
    }
}

fn text(examined: &[Examined], colours: bool) -> String {
    let drawn = examined.iter().filter(|examined| !examined.found.is_empty()).map(|examined| {
        render(&examined.found, &sanitise::line(&examined.source.shown), &examined.source.text, colours)
    });
    drawn.collect::<Vec<_>>().join("\n")
}

/// A finding with its place in lines and columns, counted from 1; the end is one past the last character.
struct Placed<'a> {
    file: &'a str,
    found: &'a Diagnostic,
    start: (u32, u32),
    end: (u32, u32),
    /// Names the finding whatever lines are added above it: from rule, text of the line, and how often both came before.
    fingerprint: String,
}

/// All findings in the order of files and lines.
fn placed(examined: &[Examined]) -> Vec<Placed<'_>> {
    let mut all = Vec::new();
    for one in examined {
        let text = &one.source.text;
        let mut seen = std::collections::BTreeMap::new();
        for found in &one.found {
            let start = line_column(text, found.span.start);
            let line = text.lines().nth(start.0 as usize - 1).unwrap_or_default().trim();
            let hash = Digest::of(format!("{}\n{line}", found.rule).as_bytes());
            let count = seen.entry(hash.clone()).and_modify(|count| *count += 1).or_insert(1);
            all.push(Placed {
                file: &one.source.shown,
                found,
                start,
                end: line_column(text, found.span.end.max(found.span.start)),
                fingerprint: format!("{}:{count}", hash.hex().get(..16).unwrap_or_default()),
            });
        }
    }
    all
}

/// What the rule says in general; for a plain error, that.
fn summary(rule: &str) -> &'static str {
    lint::rule(rule).map_or("the file cannot be read or built", |rule| rule.summary)
}

/// The level in the words of SARIF and GitHub, which have three.
fn level(severity: Severity, mild: &'static str) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info | Severity::Style => mild,
    }
}

/// Message and hint in one line.
fn message(found: &Diagnostic) -> String {
    match &found.hint {
        Some(hint) => format!("{}: {hint}", found.message),
        None => found.message.clone(),
    }
}

#[cfg(test)]
mod tests;
