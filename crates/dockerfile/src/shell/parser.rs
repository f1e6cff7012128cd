//! Lists, pipelines and commands.
//!
//! Does not know what a word is made of.

use super::ast::{AndOr, Assignment, Command, Compound, CompoundKind, Link, Pipeline, Redirect, Script, Simple, Word};
use super::{SyntaxError, word};
use crate::Span;

/// Levels of commands and substitutions inside each other; scripts that people write have a handful, and each level takes stack.
const DEPTH_MAX: usize = 64;

/// The longest `[index]` of an assignment that is recognised: looking further would make a text of them quadratic.
const INDEX_BYTES_MAX: usize = 100;

/// Longest first.
const REDIRECTS: [&str; 12] = ["&>>", "<<<", "<<-", "&>", "<<", "<&", "<>", ">>", ">&", ">|", "<", ">"];

/// Words that end or go on with a compound, and begin no command.
const CLOSING: [&str; 8] = ["then", "elif", "else", "fi", "do", "done", "esac", "}"];

/// Reads a script.
pub fn parse(text: &str) -> Result<Script> {
    parse_with_comments(text).0
}

/// The same, with the comments that were met, even if the text is no script.
pub fn parse_with_comments(text: &str) -> (Result<Script>, Vec<Span>) {
    let mut parser = Parser::new(text);
    let script = match parser.script(&[]) {
        Ok(_) if parser.at < text.len() => Err(parser.error("a `)` or `;;` that closes nothing")),
        Ok(script) => Ok(Script { comments: parser.comments.clone(), ..script }),
        Err(error) => Err(error),
    };
    (script, parser.comments)
}

/// The state of reading. `at` is always on a character boundary.
#[derive(Debug)]
pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    pub(super) depth: usize,
    comments: Vec<Span>,
    /// Here-documents whose bodies begin at the next line end: the delimiter, and whether leading tabs are ignored.
    pending: Vec<(String, bool)>,
}

type Result<T> = std::result::Result<T, SyntaxError>;

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Parser<'a> {
        Parser { text, at: 0, depth: 0, comments: Vec::new(), pending: Vec::new() }
    }

    pub(super) fn error(&self, message: &'static str) -> SyntaxError {
        SyntaxError { offset: u32::try_from(self.at).unwrap_or(u32::MAX), message }
    }

    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn span_from(&self, start: usize) -> Span {
        let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Span { start: number(start), end: number(self.at) }
    }

    pub(super) fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    /// Counts a level; whoever calls it takes it back with `depth -= 1` on success.
    pub(super) fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(self.error("commands are nested too deeply")) } else { Ok(()) }
    }

    /// Blanks, continuations and comments.
    fn skip_blanks(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\r') => self.at += 1,
                Some(b'\\') if self.rest().starts_with("\\\n") => self.at += 2,
                Some(b'\\') if self.rest().starts_with("\\\r\n") => self.at += 3,
                Some(b'#') => {
                    let start = self.at;
                    self.at += self.rest().find('\n').unwrap_or(self.rest().len());
                    let comment = self.span_from(start);
                    self.comments.push(comment);
                }
                _ => return,
            }
        }
    }

    /// Blanks and line ends.
    fn skip_lines(&mut self) {
        self.skip_blanks();
        while self.eat("\n") {
            self.skip_bodies();
            self.skip_blanks();
        }
    }

    /// The bodies of here-documents; a missing end is the end of the text.
    fn skip_bodies(&mut self) {
        for (delimiter, tabs) in std::mem::take(&mut self.pending) {
            while self.at < self.text.len() {
                let line = self.rest().split_inclusive('\n').next().unwrap_or_default();
                self.at += line.len();
                let line = line.trim_end_matches(['\r', '\n']);
                if line == delimiter || tabs && line.trim_start_matches('\t') == delimiter {
                    break;
                }
            }
        }
    }

    /// The characters up to the next one that ends a word, for the recognition of keywords.
    fn keyword(&self) -> &'a str {
        let rest = self.rest();
        let ends = |byte: &u8| b" \t\r\n;&|()<>".contains(byte);
        let end = rest.bytes().take(9).position(|byte| ends(&byte)).unwrap_or(rest.len().min(9));
        rest.get(..end).unwrap_or_default()
    }

    fn eat_keyword(&mut self, word: &str) -> bool {
        let found = self.keyword() == word;
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn expect_keyword(&mut self, word: &'static str, message: &'static str) -> Result<()> {
        self.skip_lines();
        if self.eat_keyword(word) { Ok(()) } else { Err(self.error(message)) }
    }

    /// Lists up to the end, a `)`, a `;;` or one of the keywords, which is left there.
    pub(super) fn script(&mut self, until: &[&str]) -> Result<Script> {
        let mut script = Script::default();
        loop {
            self.skip_lines();
            let rest = self.rest();
            if rest.is_empty() || rest.starts_with([')']) || rest.starts_with(";;") || rest.starts_with(";&") {
                return Ok(script);
            }
            if until.contains(&self.keyword()) {
                return Ok(script);
            }
            script.lists.push(self.and_or()?);
        }
    }

    fn and_or(&mut self) -> Result<AndOr> {
        let mut pipelines = vec![(Link::Start, self.pipeline()?)];
        loop {
            self.skip_blanks();
            let link = if self.eat("&&") {
                Link::And
            } else if self.eat("||") {
                Link::Or
            } else {
                break;
            };
            self.skip_lines();
            pipelines.push((link, self.pipeline()?));
        }
        let background = self.peek() == Some(b'&');
        let rest = self.rest();
        if background || rest.starts_with(';') && !rest.starts_with(";;") && !rest.starts_with(";&") {
            self.at += 1;
        }
        Ok(AndOr { pipelines, background })
    }

    fn pipeline(&mut self) -> Result<Pipeline> {
        self.skip_blanks();
        let mut negated = false;
        while self.eat_keyword("!") {
            negated = !negated;
            self.skip_blanks();
        }
        let mut commands = vec![self.command()?];
        loop {
            self.skip_blanks();
            if self.rest().starts_with("||") || !(self.eat("|&") || self.eat("|")) {
                return Ok(Pipeline { negated, commands });
            }
            self.skip_lines();
            commands.push(self.command()?);
        }
    }

    fn command(&mut self) -> Result<Command> {
        self.deeper()?;
        self.skip_blanks();
        let start = self.at;
        let compound = match self.keyword() {
            "" if word::arithmetic(self.rest()).is_some() => Some(self.arithmetic()?),
            "" if self.eat("(") => Some(self.bracketed(CompoundKind::Subshell, ")")?),
            "{" => {
                self.at += 1;
                Some(self.bracketed(CompoundKind::Group, "}")?)
            }
            "if" => Some(self.conditional()?),
            "while" | "until" => Some(self.repeated()?),
            "for" | "select" => Some(self.counted()?),
            "case" => Some(self.case()?),
            "function" => Some(self.function()?),
            "[[" => Some(self.test()?),
            word if CLOSING.contains(&word) => return Err(self.error("a keyword that nothing has opened")),
            _ => None,
        };
        let command = match compound {
            Some(compound) => Command::Compound(self.finish(compound, start)?),
            None => self.simple(start)?,
        };
        self.depth -= 1;
        Ok(command)
    }

    /// Redirections after a compound, and its span.
    fn finish(&mut self, mut compound: Compound, start: usize) -> Result<Compound> {
        compound.span = self.span_from(start);
        self.skip_blanks();
        while let Some(redirect) = self.redirect()? {
            compound.redirects.push(redirect);
            compound.span = self.span_from(start);
            self.skip_blanks();
        }
        Ok(compound)
    }

    fn bracketed(&mut self, kind: CompoundKind, close: &'static str) -> Result<Compound> {
        let body = self.script(if close == "}" { &["}"] } else { &[] })?;
        if !self.eat(close) {
            return Err(self.error("a group of commands that is not closed"));
        }
        Ok(compound(kind, vec![body], Vec::new()))
    }

    fn arithmetic(&mut self) -> Result<Compound> {
        self.at += word::arithmetic(self.rest()).ok_or_else(|| self.error("an arithmetic without end"))?;
        Ok(compound(CompoundKind::Arithmetic, Vec::new(), Vec::new()))
    }

    fn conditional(&mut self) -> Result<Compound> {
        let mut bodies = Vec::new();
        let message = "an `if` that is not closed";
        loop {
            // `if` or `elif`, both seen by the caller of this round.
            self.at += self.keyword().len();
            bodies.push(self.script(&["then"])?);
            self.expect_keyword("then", message)?;
            bodies.push(self.script(&["elif", "else", "fi"])?);
            match self.keyword() {
                "elif" => {}
                "else" => {
                    self.at += 4;
                    bodies.push(self.script(&["fi"])?);
                    break;
                }
                _ => break,
            }
        }
        self.expect_keyword("fi", message)?;
        Ok(compound(CompoundKind::If, bodies, Vec::new()))
    }

    fn repeated(&mut self) -> Result<Compound> {
        self.at += 5;
        let condition = self.script(&["do"])?;
        let body = self.do_group()?;
        Ok(compound(CompoundKind::While, vec![condition, body], Vec::new()))
    }

    fn do_group(&mut self) -> Result<Script> {
        self.expect_keyword("do", "a loop without `do`")?;
        let body = self.script(&["done"])?;
        self.expect_keyword("done", "a loop that is not closed")?;
        Ok(body)
    }

    fn counted(&mut self) -> Result<Compound> {
        self.at += self.keyword().len();
        self.skip_blanks();
        let mut words = Vec::new();
        if self.rest().starts_with("((") {
            self.arithmetic()?;
        } else {
            self.word()?.ok_or_else(|| self.error("a `for` without a name"))?;
            self.skip_lines();
            if self.eat_keyword("in") {
                words = self.words()?;
            }
        }
        self.skip_blanks();
        self.eat(";");
        let body = self.do_group()?;
        Ok(compound(CompoundKind::For, vec![body], words))
    }

    /// Words up to something that is none.
    fn words(&mut self) -> Result<Vec<Word>> {
        let mut words = Vec::new();
        loop {
            self.skip_blanks();
            match self.word()? {
                Some(word) => words.push(word),
                None => return Ok(words),
            }
        }
    }

    fn case(&mut self) -> Result<Compound> {
        const MESSAGE: &str = "a `case` that is not closed";
        self.at += 4;
        self.skip_blanks();
        let mut words = vec![self.word()?.ok_or_else(|| self.error("a `case` without a subject"))?];
        let mut bodies = Vec::new();
        self.expect_keyword("in", "a `case` without `in`")?;
        loop {
            self.skip_lines();
            if self.eat_keyword("esac") {
                return Ok(compound(CompoundKind::Case, bodies, words));
            }
            self.eat("(");
            loop {
                self.skip_blanks();
                words.push(self.word()?.ok_or_else(|| self.error(MESSAGE))?);
                self.skip_blanks();
                if self.eat(")") {
                    break;
                } else if !self.eat("|") {
                    return Err(self.error(MESSAGE));
                }
            }
            bodies.push(self.script(&["esac"])?);
            let _ = self.eat(";;&") || self.eat(";;") || self.eat(";&");
        }
    }

    fn function(&mut self) -> Result<Compound> {
        self.at += 8;
        self.skip_blanks();
        self.word()?.ok_or_else(|| self.error("a function without a name"))?;
        self.skip_blanks();
        if self.eat("(") {
            self.skip_blanks();
            self.eat(")");
        }
        self.function_body()
    }

    fn function_body(&mut self) -> Result<Compound> {
        self.skip_lines();
        let body = self.command()?;
        let pipeline = Pipeline { negated: false, commands: vec![body] };
        let list = AndOr { pipelines: vec![(Link::Start, pipeline)], background: false };
        let script = Script { lists: vec![list], comments: Vec::new() };
        Ok(compound(CompoundKind::Function, vec![script], Vec::new()))
    }

    /// Inside `[[`, operators are words like all others.
    fn test(&mut self) -> Result<Compound> {
        self.at += 2;
        let mut words = Vec::new();
        loop {
            self.skip_lines();
            if self.eat_keyword("]]") {
                return Ok(compound(CompoundKind::Test, Vec::new(), words));
            }
            words.push(self.test_word()?.ok_or_else(|| self.error("a `[[` that is not closed"))?);
        }
    }

    fn simple(&mut self, start: usize) -> Result<Command> {
        let mut simple = Simple::default();
        let mut end = self.at;
        loop {
            self.skip_blanks();
            if let Some(redirect) = self.redirect()? {
                simple.redirects.push(redirect);
            } else if simple.words.is_empty()
                && let Some(assignment) = self.assignment()?
            {
                simple.assignments.push(assignment);
            } else if let Some(word) = self.word()? {
                simple.words.push(word);
            } else if simple.words.len() == 1 && self.is_definition(&simple) {
                let body = self.function_body()?;
                return Ok(Command::Compound(self.finish(body, start)?));
            } else {
                break;
            }
            end = self.at;
        }
        if end == start {
            return Err(self.error("a command is missing"));
        }
        let after = std::mem::replace(&mut self.at, end);
        simple.span = self.span_from(start);
        self.at = after;
        Ok(Command::Simple(simple))
    }

    /// `()` after the only word makes it a function's name.
    fn is_definition(&mut self, simple: &Simple) -> bool {
        let blanks = self.rest().strip_prefix('(').map(|rest| rest.len() - rest.trim_start_matches([' ', '\t']).len());
        let Some(blanks) = blanks.filter(|_| simple.assignments.is_empty() && simple.redirects.is_empty()) else {
            return false;
        };
        let closed = self.text.as_bytes().get(self.at + 1 + blanks) == Some(&b')');
        self.at += if closed { blanks + 2 } else { 0 };
        closed
    }

    fn redirect(&mut self) -> Result<Option<Redirect>> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let after = self.rest().get(digits..).unwrap_or_default();
        let operator = REDIRECTS.iter().find(|operator| after.starts_with(**operator)).copied();
        let Some(operator) = operator.filter(|operator| digits == 0 || !operator.starts_with('&')) else {
            return Ok(None);
        };
        // `<(` and `>(` are words.
        if after.get(operator.len()..).unwrap_or_default().starts_with('(') && matches!(operator, "<" | ">") {
            return Ok(None);
        }
        let fd = self.rest().get(..digits).and_then(|digits| digits.parse().ok());
        self.at += digits + operator.len();
        self.skip_blanks();
        let target = self.word()?.ok_or_else(|| self.error("a redirection without a target"))?;
        if matches!(operator, "<<" | "<<-") {
            self.pending.push((target.text().into_owned(), operator == "<<-"));
        }
        Ok(Some(Redirect { operator, target, fd }))
    }

    fn assignment(&mut self) -> Result<Option<Assignment>> {
        let rest = self.rest();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let length = rest.bytes().take_while(|byte| is_name(*byte)).count();
        let name = rest.get(..length).unwrap_or_default();
        if length == 0 || name.starts_with(|ch: char| ch.is_ascii_digit()) {
            return Ok(None);
        }
        let mut after = rest.get(length..).unwrap_or_default();
        if after.starts_with('[') {
            let end = after.bytes().take(INDEX_BYTES_MAX).position(|byte| byte == b']');
            after = end.and_then(|end| after.get(end + 1..)).unwrap_or_default();
        }
        let Some(value) = after.strip_prefix('=').or_else(|| after.strip_prefix("+=")) else { return Ok(None) };
        self.at = self.text.len() - value.len();
        let name = name.to_owned();
        if self.eat("(") {
            self.array()?;
            return Ok(Some(Assignment { name, value: None }));
        }
        let empty = Word { span: self.span_from(self.at), parts: Vec::new() };
        let value = Some(self.word()?.unwrap_or(empty));
        Ok(Some(Assignment { name, value }))
    }

    fn array(&mut self) -> Result<()> {
        loop {
            self.skip_lines();
            if self.eat(")") {
                return Ok(());
            }
            self.word()?.ok_or_else(|| self.error("a list that is not closed"))?;
        }
    }
}

fn compound(kind: CompoundKind, bodies: Vec<Script>, words: Vec<Word>) -> Compound {
    Compound { kind, bodies, words, redirects: Vec::new(), span: Span::default() }
}
