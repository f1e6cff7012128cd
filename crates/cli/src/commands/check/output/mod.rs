//! The formats in which findings are printed.
//!
//! Knows nothing of how they were found.

mod github;
mod gitlab;
mod gnu;
mod json;
mod sarif;

use cooper_dockerfile::{Diagnostic, Severity, lint, render};
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

/// Start, end, and what stands there instead.
type PlacedEdit<'a> = ((u32, u32), (u32, u32), &'a str);

/// A finding with its place in lines and columns, counted from 1; the end is one past the last character.
struct Placed<'a> {
    file: &'a str,
    found: &'a Diagnostic,
    start: (u32, u32),
    end: (u32, u32),
    edits: Vec<PlacedEdit<'a>>,
    /// Names the finding whatever lines are added above it: from rule, text of the line, and how often both came before.
    fingerprint: String,
}

/// A text with the places where its lines begin, so that many findings in a long file cost no more than few.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Lines<'a> {
        let after = text.match_indices('\n').map(|(at, _)| at + 1);
        Lines { text, starts: std::iter::once(0).chain(after).collect() }
    }

    /// Line and column of a byte, counted from 1; columns are characters.
    fn position(&self, offset: u32) -> (u32, u32) {
        let offset = (offset as usize).min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|at| self.starts.get(at)).copied().unwrap_or(0);
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
    }

    /// The text of a line, counted from 1.
    fn line(&self, number: u32) -> &'a str {
        let start = (number as usize).checked_sub(1).and_then(|at| self.starts.get(at)).copied();
        start.and_then(|start| self.text.get(start..)).and_then(|rest| rest.lines().next()).unwrap_or_default()
    }
}

/// All findings in the order of files and lines.
fn placed(examined: &[Examined]) -> Vec<Placed<'_>> {
    let mut all = Vec::new();
    for one in examined {
        let lines = Lines::of(&one.source.text);
        let mut seen = std::collections::BTreeMap::new();
        for found in &one.found {
            let start = lines.position(found.span.start);
            let hash = Digest::of(format!("{}\n{}", found.rule, lines.line(start.0).trim()).as_bytes());
            let count = seen.entry(hash.clone()).and_modify(|count| *count += 1).or_insert(1);
            all.push(Placed {
                file: &one.source.shown,
                found,
                start,
                end: lines.position(found.span.end.max(found.span.start)),
                edits: edits(found, &lines),
                fingerprint: format!("{}:{count}", hash.hex().get(..16).unwrap_or_default()),
            });
        }
    }
    all
}

/// Where the edits of a finding's fix begin and end, and their texts.
fn edits<'a>(found: &'a Diagnostic, lines: &Lines<'_>) -> Vec<PlacedEdit<'a>> {
    let edits = found.fix.iter().flat_map(|fix| &fix.edits);
    edits.map(|edit| (lines.position(edit.span.start), lines.position(edit.span.end), edit.text.as_str())).collect()
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
