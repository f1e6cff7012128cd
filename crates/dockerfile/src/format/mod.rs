//! The Dockerfile in one form: case of keywords, blanks between words, indentation of continuations, blank lines.
//!
//! Does not know what instructions do. Comments, here-documents, quoted text and the words of shell commands stay byte for byte;
//! what is left is blanks and the case of keywords, so that the file means what it meant.

mod blanks;
mod json;
mod layout;
mod shell;
mod statement;

use crate::ast::{Dockerfile, Instruction, InstructionKind};
use crate::parse::{Line, Lines, TEXT_BYTES_MAX};
use crate::{Diagnostic, Severity, parse};
use layout::Unit;
use statement::Statement;

/// Shells whose grammar is known: blanks outside quotes only separate.
const POSIX_SHELLS: [&str; 6] = ["sh", "ash", "bash", "dash", "ksh", "zsh"];

/// The text in its one form. Formatting again changes nothing.
///
/// # Errors
/// The errors of a file that cannot be read: nothing is changed where nothing is understood.
pub fn format(text: &str) -> Result<String, Vec<Diagnostic>> {
    let (file, diagnostics) = parse(text);
    let errors: Vec<Diagnostic> = diagnostics.into_iter().filter(|found| found.severity == Severity::Error).collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    let formatted = Formatter::run(text, &file);
    Ok(if formatted.len() > TEXT_BYTES_MAX { text.to_owned() } else { formatted })
}

/// What the file consists of.
enum Item<'a> {
    Instruction(&'a Instruction),
    Comment(Line<'a>, String),
    Blank,
}

/// The file's parts in order, and the lines of its instructions.
fn read<'a>(text: &'a str, file: &'a Dockerfile) -> (Vec<Item<'a>>, Vec<Statement<'a>>) {
    let mut lines = Lines::new(text);
    let mut instructions = file.instructions.iter().peekable();
    let (mut items, mut statements) = (Vec::new(), Vec::new());
    while let Some(line) = lines.next() {
        if let Some(instruction) = instructions.next_if(|instruction| instruction.lines.0 == line.number) {
            statements.push(Statement::read(line, &mut lines, instruction.lines.1, file.escape));
            items.push(Item::Instruction(instruction));
        } else if let Some(comment) = line.comment() {
            items.push(Item::Comment(line, comment.text));
        } else {
            items.push(Item::Blank);
        }
    }
    (items, statements)
}

/// The state of writing one file.
struct Formatter {
    escape: char,
    end: &'static str,
    unit: Unit,
    /// The text of RUN, CMD and ENTRYPOINT is for a shell of [`POSIX_SHELLS`].
    posix: bool,
    blank: bool,
    out: String,
    /// Length of a byte order mark.
    mark: usize,
}

impl Formatter {
    fn run(text: &str, file: &Dockerfile) -> String {
        let (items, statements) = read(text, file);
        let mark = Lines::new(text).at();
        let mut formatter = Formatter {
            escape: file.escape,
            end: line_end(text),
            unit: Unit::of(&statements),
            posix: file.escape == '\\',
            blank: false,
            out: text.get(..mark).unwrap_or_default().to_owned(),
            mark,
        };
        let mut statements = statements.iter();
        for item in &items {
            match item {
                Item::Instruction(instruction) => {
                    statements.next().into_iter().for_each(|statement| formatter.instruction(instruction, statement));
                }
                Item::Comment(line, text) => formatter.comment(line, text),
                Item::Blank => formatter.blank = true,
            }
        }
        formatter.out
    }

    fn comment(&mut self, line: &Line<'_>, text: &str) {
        // Without its blanks the first line could become a `#!`, which ends the search for directives.
        let kept = line.number == 1 && text.starts_with("#!");
        let shown = if kept { line.text() } else { text };
        self.separate(true);
        self.push_line(shown.trim_end_matches([' ', '\t']));
    }

    fn instruction(&mut self, instruction: &Instruction, statement: &Statement<'_>) {
        self.separate(false);
        let classes = blanks::classes(instruction, statement, self.escape, self.posix);
        let lines = classes.and_then(|classes| layout::lines(statement, &classes, self.unit, self.escape));
        match lines {
            Some(lines) => lines.iter().for_each(|line| self.push_line(line)),
            None => statement.source.iter().for_each(|line| self.push_line(line.text().trim_end_matches([' ', '\t']))),
        }
        for line in &statement.heredocs {
            self.out.push_str(line.raw);
        }
        if !self.out.ends_with('\n') {
            self.out.push_str(self.end);
        }
        self.follow_shell(&instruction.kind);
    }

    fn follow_shell(&mut self, kind: &InstructionKind) {
        match kind {
            InstructionKind::From(_) => self.posix &= self.escape == '\\',
            InstructionKind::Shell(words) => {
                let name = words.first().and_then(|program| program.rsplit('/').next()).unwrap_or_default();
                self.posix = POSIX_SHELLS.contains(&name);
            }
            InstructionKind::Onbuild(_, held) => self.follow_shell(&held.kind),
            _ => {}
        }
    }

    /// Of several blank lines one stays. At the top none does, except that a comment after one is never a directive.
    fn separate(&mut self, comment: bool) {
        let top = self.out.len() == self.mark;
        if std::mem::take(&mut self.blank) && (!top || comment) {
            self.out.push_str(self.end);
        }
    }

    fn push_line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push_str(self.end);
    }
}

/// The line end that most lines have.
fn line_end(text: &str) -> &'static str {
    let windows = text.matches("\r\n").count();
    if windows * 2 > text.matches('\n').count() { "\r\n" } else { "\n" }
}
