//! Text to [`Dockerfile`]: never fails; what cannot be understood becomes a diagnostic.
//!
//! Does not know values of variables, stages or images. Behaviour follows BuildKit's reader wherever a file means something there.

mod arguments;
mod device;
mod directives;
mod duration;
mod flags;
mod heredoc;
mod instruction;
mod lines;
mod mount;
mod words;

use crate::ast::{Dockerfile, Heredoc, Instruction, InstructionKind, Word};
use crate::{Diagnostic, Severity, Span, lint};
pub use device::{DeviceSpec, parse_device};
pub use directives::detect_syntax;
pub use flags::is_true;
pub use heredoc::is_heredoc_marker;
use instruction::Keyword;
use lines::Text;
pub(crate) use lines::{Line, Lines, Logical, continued};
pub use mount::{MountError, MountKind, MountSpec, Sharing, parse_mount, parse_mount_with};

/// The longest file that is read: no real Dockerfile comes near, and every later step may be linear in it.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// The most instructions a file may have.
pub const INSTRUCTIONS_MAX: usize = 10_000;
/// The longest line without its line end; BuildKit's reader stops at longer ones.
pub const LINE_BYTES_MAX: usize = 65_535;

/// Reads a Dockerfile. Instructions that could not be understood are absent and have a diagnostic of severity error; the only warning
/// from here is `IgnoredFlag`, all others come from [`lint`](crate::lint::lint).
pub fn parse(text: &str) -> (Dockerfile, Vec<Diagnostic>) {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the file is {} bytes long, more than {TEXT_BYTES_MAX}", text.len());
        let empty = Dockerfile { escape: '\\', ..Dockerfile::default() };
        return (empty, vec![Diagnostic::error(Span::default(), message)]);
    }
    let mut reader = Reader::new(text);
    reader.check_line_lengths(text);
    reader.read();
    reader.finish()
}

/// Reads one instruction that stands alone: a trigger from the `OnBuild` of an image's config. Spans and lines are those of `text`.
pub fn parse_trigger(text: &str) -> Result<Instruction, Diagnostic> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Diagnostic::error(Span::default(), format!("the trigger is longer than {TEXT_BYTES_MAX} bytes")));
    }
    let mut reader = Reader { in_stage: true, ..Reader::new(text) };
    reader.read();
    let (file, diagnostics) = reader.finish();
    if let Some(error) = diagnostics.into_iter().find(|found| found.severity == Severity::Error) {
        return Err(error);
    }
    let mut instructions = file.instructions.into_iter();
    match (instructions.next(), instructions.next()) {
        (Some(trigger), None) => instruction::check_trigger(&trigger.keyword).map(|_| trigger),
        (_, Some(second)) => Err(Diagnostic::error(second.span, "a trigger is a single instruction")),
        (None, None) => Err(Diagnostic::error(Span::default(), "the trigger is empty")),
    }
}

/// The state of reading one file.
struct Reader<'a> {
    lines: Lines<'a>,
    directives: directives::Scanner,
    file: Dockerfile,
    diagnostics: Vec<Diagnostic>,
    /// A FROM was seen, understood or not.
    in_stage: bool,
    /// Instructions seen, understood or not.
    seen: usize,
}

/// A logical line and where it stands.
struct Statement {
    logical: Logical,
    first_line: u32,
    last_line: u32,
    span: Span,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Reader<'a> {
        Reader {
            lines: Lines::new(text),
            directives: directives::Scanner::default(),
            file: Dockerfile { escape: '\\', ..Dockerfile::default() },
            diagnostics: Vec::new(),
            in_stage: false,
            seen: 0,
        }
    }

    fn check_line_lengths(&mut self, text: &str) {
        for line in Lines::new(text).filter(|line| line.raw.trim_end_matches('\n').len() > LINE_BYTES_MAX) {
            let message = format!("line {} is longer than {LINE_BYTES_MAX} bytes", line.number);
            let hint = "break it with a continuation at its end";
            self.diagnostics.push(Diagnostic::error(line.span(), message).with_hint(hint));
        }
    }

    fn read(&mut self) {
        while let Some(line) = self.lines.next() {
            if self.directives.line(line, &mut self.diagnostics) {
                self.set_escape();
            } else if let Some(comment) = line.comment() {
                self.file.comments.push(comment);
            } else if !line.text().trim_start().is_empty() {
                let statement = self.statement(line);
                self.seen += 1;
                if self.seen > INSTRUCTIONS_MAX {
                    let message = format!("the file has more than {INSTRUCTIONS_MAX} instructions");
                    self.diagnostics.push(Diagnostic::error(statement.span, message));
                    return;
                }
                self.instruction(statement);
            }
        }
    }

    fn set_escape(&mut self) {
        match self.directives.escape() {
            Ok(escape) => self.file.escape = escape,
            Err(diagnostic) if !self.diagnostics.contains(&diagnostic) => self.diagnostics.push(diagnostic),
            Err(_) => {}
        }
    }

    /// Joins the line with those that continue it.
    fn statement(&mut self, line: Line<'a>) -> Statement {
        let text = line.text().trim_start();
        let start = line.start + line.text().len() - text.len();
        let mut logical = Logical::default();
        let mut last = line;
        let mut more = push_line(&mut logical, text, start, self.file.escape);
        while more {
            let Some(line) = self.lines.next() else { break };
            last = line;
            if let Some(comment) = line.comment() {
                self.file.comments.push(comment);
            } else if line.text().trim_start().is_empty() {
                self.file.empty_continuations.push(line.span());
            } else {
                more = push_line(&mut logical, line.text(), line.start, self.file.escape);
            }
        }
        let span = lines::span(start, last.start + last.text().len());
        Statement { logical, first_line: line.number, last_line: last.number, span }
    }

    fn instruction(&mut self, statement: Statement) {
        match self.understand(statement) {
            Ok(instruction) => self.file.instructions.push(instruction),
            Err(diagnostic) => self.diagnostics.push(diagnostic),
        }
    }

    fn understand(&mut self, mut statement: Statement) -> Result<Instruction, Diagnostic> {
        let logical = std::mem::take(&mut statement.logical);
        let line = logical.whole().trim();
        let parts = instruction::split(line, self.file.escape);
        let keyword = Keyword::of(&parts.keyword.text).ok_or_else(|| instruction::unknown(&parts.keyword))?;
        let heredocs = self.heredocs(keyword, &parts, line, &mut statement)?;
        self.check_order(keyword, &parts.keyword)?;
        let mut warnings = Vec::new();
        let mut kind = instruction::kind(keyword, &parts, heredocs, self.file.escape, &mut warnings)?;
        self.diagnostics.append(&mut warnings);
        let lines = (statement.first_line, statement.last_line);
        if let InstructionKind::Onbuild(_, held) = &mut kind {
            held.lines = lines;
            held.span.end = statement.span.end;
        }
        Ok(Instruction {
            span: Span { start: parts.keyword.span.start, end: statement.span.end },
            lines,
            keyword: parts.keyword,
            original: parts.arguments.as_str().to_owned(),
            kind,
        })
    }

    /// Reads the bodies after the line, if the instruction can have any.
    fn heredocs(
        &mut self,
        keyword: Keyword,
        parts: &instruction::Parts<'_>,
        line: Text<'_>,
        statement: &mut Statement,
    ) -> Result<Vec<Heredoc>, Diagnostic> {
        if !instruction::may_have_heredocs(keyword, parts, self.file.escape) {
            return Ok(Vec::new());
        }
        let before = self.lines.clone();
        let heredocs = heredoc::read(line, &mut self.lines)?;
        if let Some(last) = before.take_while(|line| line.start < self.lines.at()).last() {
            statement.last_line = last.number;
            statement.span.end = last.span().end;
        }
        Ok(heredocs)
    }

    /// Only ARG may stand before the first FROM.
    fn check_order(&mut self, keyword: Keyword, word: &Word) -> Result<(), Diagnostic> {
        self.in_stage |= keyword == Keyword::From;
        if self.in_stage || keyword == Keyword::Arg {
            return Ok(());
        }
        Err(Diagnostic::error(
            word.span,
            format!("{} stands before the first FROM, outside of any stage", keyword.name()),
        )
        .with_hint("begin the stage with FROM; only ARG may come before it"))
    }

    fn finish(mut self) -> (Dockerfile, Vec<Diagnostic>) {
        if self.seen == 0 {
            let missing = Diagnostic::error(Span::default(), "the file has no instructions");
            self.diagnostics.push(missing.with_hint("a Dockerfile begins with FROM"));
        }
        self.file.directives = self.directives.found;
        let check = self.file.directives.iter().find(|directive| directive.key == "check");
        self.diagnostics.extend(check.and_then(|directive| lint::check_directive(&directive.value)));
        self.diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
        (self.file, self.diagnostics)
    }
}

/// Appends a line without its continuation mark; true if it has one.
fn push_line(logical: &mut Logical, text: &str, start: usize, escape: char) -> bool {
    let rest = lines::continued(text, escape);
    logical.push(rest.unwrap_or(text), start);
    rest.is_some()
}
