//! Which blanks of an instruction only separate, and which letters are keywords.
//!
//! Does not know lines: it looks at the joined text.

use super::statement::Statement;
use super::{json, shell};
use crate::ast::{Command, Heredoc, Instruction, InstructionKind};

/// What may be done to a byte of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Nothing.
    Kept,
    /// A letter of a keyword: it is written in capitals.
    Keyword,
    /// A blank between words: any number of them is one.
    Gap,
    /// A blank of a shell command outside quotes: arranged only where a line begins or ends.
    Loose,
    /// A byte of a JSON list: blanks outside its strings mean nothing.
    Json,
}

/// The classes of a statement's text. `None` if it has blanks of other kinds than space and tab, which readers treat differently.
pub(super) fn classes(
    instruction: &Instruction,
    statement: &Statement<'_>,
    escape: char,
    posix: bool,
) -> Option<Vec<Class>> {
    let text = statement.logical.as_str();
    if text.contains(|ch: char| ch.is_whitespace() && ch != ' ' && ch != '\t') {
        return None;
    }
    let mut marks = Marks { text, classes: vec![Class::Kept; text.len()], at: 0, escape };
    // A first line may be nothing but its continuation mark.
    marks.gap();
    marks.keyword();
    if let InstructionKind::Onbuild(..) = instruction.kind {
        // The trigger is kept in the image's config as it is written.
        marks.gap();
        return Some(marks.classes);
    }
    marks.flags();
    marks.arguments(&instruction.kind, posix);
    Some(marks.classes)
}

/// The text with what is known of it up to `at`.
struct Marks<'a> {
    text: &'a str,
    classes: Vec<Class>,
    at: usize,
    escape: char,
}

impl<'a> Marks<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn mark(&mut self, length: usize, class: Class) {
        let end = (self.at + length).min(self.classes.len());
        if let Some(classes) = self.classes.get_mut(self.at..end) {
            classes.fill(class);
        }
        self.at = end;
    }

    fn gap(&mut self) {
        let rest = self.rest();
        self.mark(rest.len() - rest.trim_start_matches(is_blank).len(), Class::Gap);
    }

    fn keyword(&mut self) {
        self.word(Class::Keyword);
    }

    /// Words that begin with `--`, up to and with a bare `--`.
    fn flags(&mut self) {
        self.gap();
        while self.rest().starts_with("--") {
            let length = word_length(self.rest(), self.escape, true);
            let bare = self.rest().get(..length) == Some("--");
            self.mark(length, Class::Kept);
            self.gap();
            if bare {
                return;
            }
        }
    }

    fn arguments(&mut self, kind: &InstructionKind, posix: bool) {
        let json = json::is_list(self.rest());
        let plain = |heredocs: &[Heredoc]| heredocs.is_empty();
        match kind {
            InstructionKind::From(from) => {
                self.kept_word();
                self.gap();
                if from.as_keyword.is_some() {
                    self.keyword();
                    self.gap();
                }
            }
            InstructionKind::Copy(copy) | InstructionKind::Add(copy) if json && plain(&copy.heredocs) => self.json(),
            InstructionKind::Copy(copy) | InstructionKind::Add(copy) if plain(&copy.heredocs) => self.words(),
            InstructionKind::Volume(_) | InstructionKind::Shell(_) if json => self.json(),
            InstructionKind::Volume(_) | InstructionKind::Expose(_) => self.words(),
            InstructionKind::Env(pairs) | InstructionKind::Label(pairs) if pairs.legacy => {
                self.kept_word();
                self.gap();
            }
            InstructionKind::Env(_) | InstructionKind::Label(_) | InstructionKind::Arg(_) => self.quoted_words(),
            InstructionKind::Run(run) if plain(&run.heredocs) => self.command(&run.command, posix),
            InstructionKind::Cmd(command) | InstructionKind::Entrypoint(command) => self.command(command, posix),
            InstructionKind::Healthcheck(check) => {
                self.keyword();
                self.gap();
                check.command.iter().for_each(|command| self.command(command, posix));
            }
            _ => {}
        }
    }

    fn kept_word(&mut self) {
        self.word(Class::Kept);
    }

    fn word(&mut self, class: Class) {
        let rest = self.rest();
        self.mark(rest.find(is_blank).unwrap_or(rest.len()), class);
    }

    /// Every blank separates.
    fn words(&mut self) {
        while !self.rest().is_empty() {
            self.kept_word();
            self.gap();
        }
    }

    /// Blanks separate outside quotes.
    fn quoted_words(&mut self) {
        while !self.rest().is_empty() {
            let length = word_length(self.rest(), self.escape, false);
            self.mark(length, Class::Kept);
            self.gap();
        }
    }

    fn json(&mut self) {
        self.mark(self.rest().len(), Class::Json);
    }

    fn command(&mut self, command: &Command, posix: bool) {
        match command {
            Command::Exec(_) => self.json(),
            Command::Shell(_) if posix => {
                let start = self.at;
                for at in shell::loose_blanks(self.rest()).unwrap_or_default() {
                    if let Some(class) = self.classes.get_mut(start + at) {
                        *class = Class::Loose;
                    }
                }
            }
            Command::Shell(_) => {}
        }
    }
}

pub(super) fn is_blank(ch: char) -> bool {
    ch == ' ' || ch == '\t'
}

/// Bytes of the word at the start of `text`, as the readers of flags (`escape_in_single`) and of pairs cut them.
fn word_length(text: &str, escape: char, escape_in_single: bool) -> usize {
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, ch)) = chars.next() {
        match quote {
            None if is_blank(ch) => return at,
            None if ch == '\'' || ch == '"' => quote = Some(ch),
            Some(mark) if ch == mark => quote = None,
            _ if ch == escape && (escape_in_single || quote != Some('\'')) => {
                chars.next();
            }
            _ => {}
        }
    }
    text.len()
}
