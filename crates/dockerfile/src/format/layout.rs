//! The lines of an instruction, written out: what each begins and ends with.
//!
//! Does not know what the bytes mean beyond their class.

use super::blanks::{Class, is_blank};
use super::json;
use super::statement::{Part, Statement};
use crate::parse::LINE_BYTES_MAX;

/// Columns of one level of indentation, and of a tab.
const COLUMNS: usize = 4;

/// Deeper lines stay at this level.
const LEVELS_MAX: usize = 8;

/// What continuation lines are indented with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Four of them.
    Spaces,
    /// One.
    Tab,
}

impl Unit {
    /// What most continuation lines begin with. Comments do not count, for they follow the text.
    pub(super) fn of(statements: &[Statement<'_>]) -> Unit {
        let count = |mark: char| statements.iter().map(|statement| statement.indented_with(mark)).sum::<usize>();
        if count('\t') > count(' ') { Unit::Tab } else { Unit::Spaces }
    }

    fn times(self, level: usize) -> String {
        match self {
            Unit::Spaces => " ".repeat(level * COLUMNS),
            Unit::Tab => "\t".repeat(level),
        }
    }
}

/// A line's text and how it meets its neighbours.
#[derive(Debug, Default)]
struct Cell<'a> {
    /// Without the blanks that may be arranged.
    text: String,
    comments: Vec<&'a str>,
    /// Columns of such blanks at its start; `None` if it has none.
    lead: Option<usize>,
    /// Such blanks at its end.
    trail: bool,
    continues: bool,
}

/// The lines without their ends; `None` to leave them as they are.
pub(super) fn lines(statement: &Statement<'_>, classes: &[Class], unit: Unit, escape: char) -> Option<Vec<String>> {
    let cells = cells(statement, classes)?;
    let shell = classes.contains(&Class::Loose);
    let levels = levels((1..cells.len()).filter_map(|i| movable(&cells, i)).collect());
    let level = |cell: &Cell<'_>, width: usize| match shell {
        true => levels.partition_point(|least| *least <= width).min(LEVELS_MAX),
        false => usize::from(cell.text != "]"),
    };
    let mut out = Vec::new();
    for (i, cell) in cells.iter().enumerate() {
        let indent = movable(&cells, i).map(|width| unit.times(level(cell, width)));
        out.extend(cell.comments.iter().map(|comment| match &indent {
            Some(indent) => format!("{indent}{}", comment.trim_start()),
            None => (*comment).to_owned(),
        }));
        let indent = indent.unwrap_or_default();
        let blank = if movable(&cells, i + 1).is_some() || cells.len() == i + 1 && cell.trail { " " } else { "" };
        let mark = if cell.continues { format!("{blank}{escape}") } else { String::new() };
        out.push(format!("{indent}{}{mark}", cell.text));
    }
    let fits = out.iter().all(|line| line.len() <= LINE_BYTES_MAX);
    fits.then_some(out)
}

/// The least width of each level: widths that differ by a single column are one level.
fn levels(mut widths: Vec<usize>) -> Vec<usize> {
    widths.sort_unstable();
    let mut levels: Vec<usize> = Vec::new();
    for width in widths {
        if levels.last().is_none_or(|least| width - least > 1) {
            levels.push(width);
        }
    }
    levels
}

/// The columns before cell `i` if blanks there, or at the end of the one before, may be arranged.
fn movable(cells: &[Cell<'_>], i: usize) -> Option<usize> {
    let before = i.checked_sub(1).and_then(|i| cells.get(i))?;
    cells.get(i)?.lead.or(before.trail.then_some(0))
}

fn cells<'a>(statement: &Statement<'a>, classes: &[Class]) -> Option<Vec<Cell<'a>>> {
    let mut cells: Vec<Cell<'a>> = Vec::new();
    let mut comments = Vec::new();
    for part in &statement.parts {
        let (start, end, continues) = match part {
            Part::Comment(text) => {
                comments.push(*text);
                continue;
            }
            Part::Piece { start, end, continues } => (*start, *end, *continues),
        };
        let cell = cell(statement.logical.get(start..end)?, classes.get(start..end)?, continues)?;
        match cells.last_mut() {
            // A line of nothing but its mark.
            Some(before) if cell.text.is_empty() => {
                before.trail |= cell.trail || cell.lead.is_some();
                before.continues = continues;
            }
            _ => cells.push(Cell { comments: std::mem::take(&mut comments), ..cell }),
        }
    }
    if cells.first().is_some_and(|first| first.text.is_empty()) && cells.len() > 1 {
        // Without the mark above it a comment would no longer be inside the instruction.
        cells.get(1).filter(|second| second.comments.is_empty())?;
        cells.remove(0);
    }
    // Comments after the last piece, where the file ends in a continuation.
    comments.is_empty().then_some(cells)
}

fn cell<'a>(text: &str, classes: &[Class], continues: bool) -> Option<Cell<'a>> {
    let arrangeable = |class: &Class, byte: u8| match class {
        Class::Gap | Class::Loose => true,
        Class::Json => byte == b' ' || byte == b'\t',
        Class::Kept | Class::Keyword => false,
    };
    let pairs = || classes.iter().zip(text.bytes());
    let lead = pairs().take_while(|(class, byte)| arrangeable(class, *byte)).count();
    let trail = pairs().rev().take_while(|(class, byte)| arrangeable(class, *byte)).count();
    let columns = text.get(..lead)?.chars().map(|ch| if ch == '\t' { COLUMNS } else { 1 }).sum();
    let is_json = classes.last() == Some(&Class::Json);
    // In a list a line may begin and end without any blank.
    let lead_columns = (lead > 0 || is_json && classes.first() == Some(&Class::Json)).then_some(columns);
    let end = text.len().saturating_sub(trail).max(lead);
    let mut arranged = inner(text.get(lead..end)?, classes.get(lead..end)?)?;
    if !continues {
        arranged.truncate(arranged.trim_end_matches(is_blank).len());
    }
    Some(Cell { text: arranged, comments: Vec::new(), lead: lead_columns, trail: trail > 0 || is_json, continues })
}

/// Keywords in capitals, runs of gaps as one blank, lists arranged.
fn inner(text: &str, classes: &[Class]) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let json = classes.iter().position(|class| *class == Class::Json).unwrap_or(classes.len());
    let (head, list) = text.split_at_checked(json)?;
    for ((at, ch), class) in head.char_indices().zip(char_classes(head, classes)) {
        let again = at > 0 && classes.get(at - 1) == Some(&Class::Gap);
        match class {
            Class::Gap if again => {}
            Class::Gap => out.push(' '),
            Class::Keyword => out.push(ch.to_ascii_uppercase()),
            _ => out.push(ch),
        }
    }
    out.push_str(&json::arranged(list)?);
    Some(out)
}

fn char_classes<'a>(text: &'a str, classes: &'a [Class]) -> impl Iterator<Item = Class> + 'a {
    text.char_indices().map(|(at, _)| classes.get(at).copied().unwrap_or(Class::Kept))
}
