//! Draws diagnostics under the text they speak of, as rustc does.
//!
//! Does not know where the text came from or where the drawing goes.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::{Diagnostic, Severity, Span};

/// All diagnostics as one text that ends with a newline; empty if there are none.
pub fn render(diagnostics: &[Diagnostic], file_name: &str, text: &str, colour: bool) -> String {
    let renderer = renderer(colour);
    let mut drawn = String::new();
    for diagnostic in diagnostics {
        drawn.push_str(&renderer.render(&report(diagnostic, file_name, text)));
        drawn.push('\n');
    }
    drawn
}

/// The place given by lines, counted from 1, with `message` above it: for a step that failed.
pub fn excerpt(file_name: &str, text: &str, first_line: u32, last_line: u32, message: &str, colour: bool) -> String {
    let span = line_span(text, first_line, last_line.max(first_line));
    let diagnostic = Diagnostic::error(span, message);
    render(&[diagnostic], file_name, text, colour)
}

/// Line and column of a byte, both counted from 1; columns are characters. Past the end is the end.
pub fn line_column(text: &str, offset: u32) -> (u32, u32) {
    let before = text.get(..boundary(text, offset as usize)).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.matches('\n').count() + 1;
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

fn renderer(colour: bool) -> Renderer {
    if colour { Renderer::styled() } else { Renderer::plain() }
}

fn report<'a>(diagnostic: &'a Diagnostic, file_name: &'a str, text: &'a str) -> Vec<Group<'a>> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut title = level.primary_title(diagnostic.message.as_str());
    if diagnostic.rule != "syntax" {
        title = title.id(diagnostic.rule);
    }
    let annotation = AnnotationKind::Primary.span(visible(text, diagnostic.span));
    let mut group = title.element(Snippet::source(text).path(file_name).annotation(annotation));
    if let Some(hint) = &diagnostic.hint {
        group = group.element(Level::HELP.message(hint.as_str()));
    }
    vec![group]
}

/// The span cut to the text, to character boundaries, and without the line end that would draw an extra row.
fn visible(text: &str, span: Span) -> std::ops::Range<usize> {
    let start = boundary(text, span.start as usize);
    let end = boundary(text, span.end as usize).max(start);
    let shown = text.get(start..end).unwrap_or_default().trim_end_matches(['\n', '\r']);
    start..start + shown.len()
}

/// The nearest character boundary at or before `offset`.
fn boundary(text: &str, offset: usize) -> usize {
    let mut at = offset.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn line_span(text: &str, first_line: u32, last_line: u32) -> Span {
    let start = line_start(text, first_line);
    let end = line_start(text, last_line.saturating_add(1));
    let shown = text.get(start..end).unwrap_or_default();
    let indent = shown.len() - shown.trim_start().len();
    let start = if shown.trim().is_empty() { start } else { start + indent };
    Span { start: u32::try_from(start).unwrap_or(u32::MAX), end: u32::try_from(end).unwrap_or(u32::MAX) }
}

fn line_start(text: &str, line: u32) -> usize {
    let before = line.saturating_sub(1) as usize;
    text.split_inclusive('\n').take(before).map(str::len).sum()
}
