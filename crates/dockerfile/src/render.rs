//! Draws diagnostics under the text they speak of, as rustc does.
//!
//! Does not know where the text came from or where the drawing goes.

use std::borrow::Cow;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::{Diagnostic, Severity, Span};

/// More than these are counted, not drawn: nobody reads them, and a hostile file can have thousands.
const DRAWN_MAX: usize = 100;

/// All diagnostics as one text that ends with a newline, with an empty line between two; empty if there are none.
/// Control characters of the file do not reach the drawing.
pub fn render(diagnostics: &[Diagnostic], file_name: &str, text: &str, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let shown = diagnostics.iter().take(DRAWN_MAX);
    let mut drawn: Vec<String> = shown.map(|found| draw(&renderer, found, file_name, text) + "\n").collect();
    if let Some(more) = diagnostics.len().checked_sub(DRAWN_MAX).filter(|more| *more > 0) {
        drawn.push(format!("and {more} more\n"));
    }
    drawn.join("\n")
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

fn draw(renderer: &Renderer, diagnostic: &Diagnostic, file_name: &str, text: &str) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Info => Level::INFO,
        Severity::Style => Level::NOTE,
    };
    let message = printable(&diagnostic.message);
    let mut title = level.primary_title(message.as_str());
    if diagnostic.rule != "syntax" {
        title = title.id(diagnostic.rule);
    }
    let window = Window::around(text, diagnostic.span);
    let source = Snippet::source(window.text).line_start(window.first_line).path(file_name);
    let mut group = title.element(source.annotation(AnnotationKind::Primary.span(window.marked)));
    let hint = diagnostic.hint.as_deref().map(printable);
    if let Some(hint) = &hint {
        group = group.element(Level::HELP.message(hint.as_str()));
    }
    renderer.render(&[group])
}

/// The lines a span touches: all that is drawn, so that a long file costs nothing.
struct Window<'a> {
    text: Cow<'a, str>,
    first_line: usize,
    /// The span in `text`, without a line end that would draw an extra row.
    marked: std::ops::Range<usize>,
}

impl<'a> Window<'a> {
    fn around(text: &'a str, span: Span) -> Window<'a> {
        let start = boundary(text, span.start as usize);
        let end = boundary(text, span.end as usize).max(start);
        let before = text.get(..start).unwrap_or_default();
        let first = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = text.get(end.max(first)..).unwrap_or_default();
        let last = end.max(first) + rest.find('\n').unwrap_or(rest.len());
        let marked = text.get(start..end).unwrap_or_default().trim_end_matches(['\n', '\r']);
        Window {
            text: without_c1(text.get(first..last).unwrap_or_default()),
            first_line: before.matches('\n').count() + 1,
            marked: start - first..start - first + marked.len(),
        }
    }
}

/// The renderer shows the ASCII controls but lets U+0080..U+009F through, which terminals obey too. The stand-in has their length,
/// so that offsets hold.
fn without_c1(text: &str) -> Cow<'_, str> {
    let c1 = |ch: char| matches!(ch, '\u{80}'..='\u{9f}');
    if text.contains(c1) { Cow::Owned(text.replace(c1, "\u{b7}")) } else { Cow::Borrowed(text) }
}

/// Words of the file stand in messages; what moves a terminal's cursor must not.
fn printable(text: &str) -> String {
    text.chars().map(|ch| if ch.is_control() { char::REPLACEMENT_CHARACTER } else { ch }).collect()
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
