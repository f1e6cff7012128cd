//! One instruction as its lines: the pieces that continuations join, the comments between them, the here-documents after them.
//!
//! Does not know what the instruction says.

use crate::parse::{Line, Lines, continued};

/// The lines of an instruction.
pub(super) struct Statement<'a> {
    /// The lines before the here-documents, as they are.
    pub(super) source: Vec<Line<'a>>,
    /// What they hold.
    pub(super) parts: Vec<Part<'a>>,
    /// The pieces joined.
    pub(super) logical: String,
    /// The lines of here-documents, terminators included.
    pub(super) heredocs: Vec<Line<'a>>,
}

/// What a line holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    /// A piece of the text, without its mark.
    Piece {
        /// Where it begins in the joined text.
        start: usize,
        /// Where it ends there.
        end: usize,
        /// The next line continues it.
        continues: bool,
    },
    /// A comment, with the blanks before it.
    Comment(&'a str),
}

impl<'a> Statement<'a> {
    /// Reads from the first line, taken already, up to the line number `last`.
    pub(super) fn read(first: Line<'a>, lines: &mut Lines<'a>, last: u32, escape: char) -> Statement<'a> {
        let mut statement =
            Statement { source: Vec::new(), parts: Vec::new(), logical: String::new(), heredocs: Vec::new() };
        let mut more = statement.push(first, escape);
        let mut number = first.number;
        while number < last {
            let Some(line) = lines.next() else { break };
            number = line.number;
            if more {
                more = statement.push(line, escape);
            } else {
                statement.heredocs.push(line);
            }
        }
        statement
    }

    /// True if the text goes on in the next line.
    fn push(&mut self, line: Line<'a>, escape: char) -> bool {
        self.source.push(line);
        let mut text = line.text();
        if self.parts.is_empty() {
            text = text.trim_start();
        } else if line.comment().is_some() {
            self.parts.push(Part::Comment(text.trim_end_matches([' ', '\t'])));
            return true;
        } else if text.trim_start().is_empty() {
            return true;
        }
        let rest = continued(text, escape);
        let start = self.logical.len();
        self.logical.push_str(rest.unwrap_or(text));
        let end = self.logical.len();
        self.parts.push(Part::Piece { start, end, continues: rest.is_some() });
        rest.is_some()
    }

    /// Lines after the first whose text begins with a character.
    pub(super) fn indented_with(&self, mark: char) -> usize {
        let text = |part: &Part<'_>| match part {
            Part::Piece { start, end, .. } => self.logical.get(*start..*end),
            Part::Comment(_) => None,
        };
        let pieces = self.parts.iter().skip(1).filter_map(text);
        pieces.filter(|piece| piece.starts_with(mark) && !piece.trim_start().is_empty()).count()
    }
}
