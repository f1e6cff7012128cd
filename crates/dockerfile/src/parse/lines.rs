//! Physical lines, and logical lines made of them by continuation, with the way back to the place in the file.
//!
//! Does not know any instruction.

use crate::Span;
use crate::ast::Word;

/// One line of the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    /// With its line end.
    pub(crate) raw: &'a str,
    /// Its place in the file.
    pub(super) start: usize,
    /// Counted from 1.
    pub(crate) number: u32,
}

impl<'a> Line<'a> {
    /// Without its line end.
    pub(crate) fn text(&self) -> &'a str {
        self.raw.trim_end_matches(['\r', '\n'])
    }

    /// Everything but the line end.
    pub(super) fn span(&self) -> Span {
        span(self.start, self.start + self.text().len())
    }

    /// The text after a comment's leading blanks and `#` included; `None` if it is not a comment.
    pub(crate) fn comment(&self) -> Option<Word> {
        let text = self.text().trim_start();
        let start = self.start + self.text().len() - text.len();
        text.starts_with('#').then(|| Word { text: text.to_owned(), span: span(start, start + text.len()) })
    }
}

/// The lines not read yet.
#[derive(Clone, Debug)]
pub(crate) struct Lines<'a> {
    rest: &'a str,
    at: usize,
    number: u32,
}

impl<'a> Lines<'a> {
    /// All lines of the text after a byte order mark.
    pub(crate) fn new(text: &'a str) -> Lines<'a> {
        let rest = text.strip_prefix('\u{feff}').unwrap_or(text);
        Lines { rest, at: text.len() - rest.len(), number: 0 }
    }

    /// Where the next line begins.
    pub(crate) fn at(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let raw = self.rest.split_inclusive('\n').next()?;
        let line = Line { raw, start: self.at, number: self.number + 1 };
        self.rest = self.rest.get(raw.len()..).unwrap_or_default();
        self.at += raw.len();
        self.number += 1;
        Some(line)
    }
}

/// A span from byte offsets; the limit on the file's size keeps them in `u32`.
pub(super) fn span(start: usize, end: usize) -> Span {
    Span { start: u32::try_from(start).unwrap_or(u32::MAX), end: u32::try_from(end).unwrap_or(u32::MAX) }
}

/// Lines joined by continuation: each piece is appended as it is, comments and blank lines between them are left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logical {
    pub(crate) text: String,
    /// (offset in `text`, offset in the file) where each piece begins.
    pieces: Vec<(usize, usize)>,
}

impl Logical {
    /// Appends a piece of the file.
    pub(super) fn push(&mut self, piece: &str, start: usize) {
        self.pieces.push((self.text.len(), start));
        self.text.push_str(piece);
    }

    fn origin(&self, at: usize) -> usize {
        let next = self.pieces.partition_point(|(offset, _)| *offset <= at);
        let piece = next.checked_sub(1).and_then(|i| self.pieces.get(i));
        piece.map_or(0, |(offset, start)| start + at - offset)
    }

    /// The place in the file of a part of `text`.
    pub(crate) fn span(&self, start: usize, end: usize) -> Span {
        let first = self.origin(start);
        let last = if end > start { self.origin(end - 1) + 1 } else { first };
        span(first, last)
    }

    /// The logical line whose first piece begins at `start`, up to the line that has no continuation.
    pub(crate) fn read(text: &str, start: u32, escape: char) -> Logical {
        let mut logical = Logical::default();
        let mut at = start as usize;
        for raw in text.get(at..).unwrap_or_default().split_inclusive('\n') {
            let line = Line { raw, start: at, number: 0 };
            at += raw.len();
            let inside = !logical.pieces.is_empty();
            if inside && (line.comment().is_some() || line.text().trim_start().is_empty()) {
                continue;
            }
            let rest = continued(line.text(), escape);
            logical.push(rest.unwrap_or(line.text()), line.start);
            if rest.is_none() {
                break;
            }
        }
        logical
    }

    /// Places in `text` where a piece ends and another begins.
    pub(crate) fn joints(&self) -> impl Iterator<Item = usize> {
        self.pieces.iter().skip(1).map(|(offset, _)| *offset)
    }

    /// All of it.
    pub(super) fn whole(&self) -> Text<'_> {
        Text { logical: self, start: 0, end: self.text.len() }
    }
}

/// A part of a logical line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    logical: &'a Logical,
    start: usize,
    end: usize,
}

impl<'a> Text<'a> {
    pub(super) fn as_str(&self) -> &'a str {
        self.logical.text.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    pub(super) fn span(&self) -> Span {
        self.logical.span(self.start, self.end)
    }

    /// The part between two byte offsets of this part, both on character boundaries.
    pub(super) fn part(&self, start: usize, end: usize) -> Text<'a> {
        let end = (self.start + end).min(self.end);
        Text { logical: self.logical, start: (self.start + start).min(end), end }
    }

    pub(super) fn from(&self, start: usize) -> Text<'a> {
        self.part(start, self.end - self.start)
    }

    pub(super) fn trim(&self) -> Text<'a> {
        let text = self.as_str();
        let start = text.len() - text.trim_start().len();
        self.part(start, start + text.trim().len())
    }

    pub(super) fn word(&self) -> Word {
        Word { text: self.as_str().to_owned(), span: self.span() }
    }

    /// The same place with another text (quotes removed, say).
    pub(super) fn word_with(&self, text: String) -> Word {
        Word { text, span: self.span() }
    }

    /// The parts between runs of the blanks that separate arguments.
    pub(super) fn blank_separated(&self) -> Vec<Text<'a>> {
        let mut parts = Vec::new();
        let mut at = 0;
        for piece in self.as_str().split(is_blank) {
            if !piece.is_empty() {
                parts.push(self.part(at, at + piece.len()));
            }
            at += piece.len() + 1;
        }
        parts
    }

    /// Splits at the first run of blanks; the second half is `None` without one.
    pub(super) fn split_blank(&self) -> (Text<'a>, Option<Text<'a>>) {
        let text = self.as_str();
        let Some(end) = text.find(is_blank) else { return (*self, None) };
        let tail = text.get(end..).unwrap_or_default();
        let next = end + tail.len() - tail.trim_start_matches(is_blank).len();
        (self.part(0, end), Some(self.from(next)))
    }
}

/// The blanks between arguments: ASCII only, so all are one byte long.
fn is_blank(ch: char) -> bool {
    matches!(ch, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// The line without its continuation mark, if it has one: the last thing but blanks is a single escape.
pub(crate) fn continued(line: &str, escape: char) -> Option<&str> {
    let rest = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!rest.ends_with(escape)).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::continued;

    #[test]
    fn a_single_escape_at_the_end_continues() {
        for (line, expect) in [
            ("a \\", Some("a ")),
            ("a\\ \t", Some("a")),
            ("\\", Some("")),
            ("a\\\\", None),
            ("a\\\\\\", None),
            ("\\\\", None),
            ("a", None),
            ("", None),
            ("a\\b", None),
        ] {
            assert_eq!(continued(line, '\\'), expect, "{line}");
        }
    }
}
