//! The scanner behind expansion: quotes, escapes, `$name`, `${name<operator>word}`.
//!
//! Does not know what a Dockerfile is.

use std::collections::HashSet;

use super::pattern::Pattern;
use super::{EXPANSION_BYTES_MAX, ExpandError, Lookup, NESTING_MAX};

/// How the scanner treats what it meets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) escape: char,
    /// Quotes group but stay in the text.
    pub(super) raw_quotes: bool,
    /// Escapes protect but stay in the text.
    pub(super) raw_escapes: bool,
    /// Quotes are ordinary characters.
    pub(super) skip_quotes: bool,
    /// A reference to an unset variable stays as written.
    pub(super) keep_unset: bool,
}

impl Options {
    pub(super) fn new(escape: char) -> Options {
        Options { escape, raw_quotes: false, raw_escapes: false, skip_quotes: false, keep_unset: false }
    }
}

/// Variables met on the way, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) used: Vec<String>,
    pub(super) undefined: Vec<String>,
    /// Both lists again: a word may hold 10^5 names, too many for a search in a list.
    known: HashSet<String>,
}

/// Collects the text and, at the outermost level, the words.
#[derive(Debug, Default)]
struct Output {
    text: String,
    words: Vec<String>,
    word: String,
}

impl Output {
    /// An unquoted character: a blank ends the word.
    fn plain(&mut self, ch: char) {
        self.text.push(ch);
        self.split(ch);
    }

    fn split(&mut self, ch: char) {
        if !ch.is_whitespace() {
            self.word.push(ch);
        } else if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }

    /// Quoted or escaped text: blanks are part of the word.
    fn quoted(&mut self, text: &str) {
        self.text.push_str(text);
        self.word.push_str(text);
    }

    /// A variable's value outside quotes: its blanks split.
    fn value(&mut self, text: &str) {
        self.text.push_str(text);
        text.chars().for_each(|ch| self.split(ch));
    }

    fn finish(mut self) -> (String, Vec<String>) {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        (self.text, self.words)
    }
}

pub(super) struct Lexer<'a> {
    source: &'a str,
    at: usize,
    options: Options,
    lookup: &'a Lookup<'a>,
    seen: Seen,
    depth: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(source: &'a str, options: Options, lookup: &'a Lookup<'a>) -> Lexer<'a> {
        Lexer { source, at: 0, options, lookup, seen: Seen::default(), depth: 0 }
    }

    /// Text, words and the variables met.
    pub(super) fn run(mut self) -> Result<(String, Vec<String>, Seen), ExpandError> {
        let (text, words) = self.until(None, self.options.raw_escapes)?;
        Ok((text, words, self.seen))
    }

    fn peek(&self) -> Option<char> {
        self.source.get(self.at..).and_then(|rest| rest.chars().next())
    }

    fn next(&mut self) -> Option<char> {
        let ch = self.peek()?;
        self.at += ch.len_utf8();
        Some(ch)
    }

    fn fail<T>(&self, offset: usize, message: impl Into<String>) -> Result<T, ExpandError> {
        Err(ExpandError { message: message.into(), offset })
    }

    fn within_limit(&self, text: &str) -> Result<(), ExpandError> {
        if text.len() > EXPANSION_BYTES_MAX {
            return self.fail(self.at, format!("the expanded text is longer than {EXPANSION_BYTES_MAX} bytes"));
        }
        Ok(())
    }

    /// Reads to `stop` (consumed) or to the end.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<(String, Vec<String>), ExpandError> {
        let start = self.at;
        let outer = std::mem::replace(&mut self.options.raw_escapes, raw_escapes);
        let mut output = Output::default();
        while let Some(ch) = self.peek() {
            if stop == Some(ch) {
                self.next();
                self.options.raw_escapes = outer;
                return Ok(output.finish());
            }
            self.one(ch, &mut output)?;
            self.within_limit(&output.text)?;
        }
        self.options.raw_escapes = outer;
        match stop {
            Some(stop) => self.fail(start, format!("missing `{stop}` in `${{..}}`")),
            None => Ok(output.finish()),
        }
    }

    fn one(&mut self, ch: char, output: &mut Output) -> Result<(), ExpandError> {
        match ch {
            '\'' if !self.options.skip_quotes => output.quoted(&self.single_quoted()?),
            '"' if !self.options.skip_quotes => output.quoted(&self.double_quoted()?),
            '$' => output.value(&self.dollar()?),
            '<' => output.quoted(&self.angle()),
            _ if ch == self.options.escape => self.escaped(output),
            _ => {
                self.next();
                output.plain(ch);
            }
        }
        Ok(())
    }

    /// An escape outside quotes: the next character is itself; one at the end of the text is dropped.
    fn escaped(&mut self, output: &mut Output) {
        let mut buffer = [0; 4];
        if let Some(escape) = self.next().filter(|_| self.options.raw_escapes) {
            output.quoted(escape.encode_utf8(&mut buffer));
        }
        if let Some(ch) = self.next() {
            output.quoted(ch.encode_utf8(&mut buffer));
        }
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let start = self.at;
        self.next();
        while let Some(ch) = self.next() {
            if ch == '\'' {
                let skip = usize::from(!self.options.raw_quotes);
                return Ok(self.source.get(start + skip..self.at - skip).unwrap_or_default().to_owned());
            }
        }
        self.fail(start, "this single quote is never closed")
    }

    fn double_quoted(&mut self) -> Result<String, ExpandError> {
        let start = self.at;
        let mut text = String::new();
        self.quote_mark(&mut text);
        while let Some(ch) = self.peek() {
            self.within_limit(&text)?;
            match ch {
                '"' => {
                    self.quote_mark(&mut text);
                    return Ok(text);
                }
                '$' => text.push_str(&self.dollar()?),
                _ if ch == self.options.escape => self.escaped_in_quotes(ch, &mut text),
                _ => text.extend(self.next()),
            }
        }
        self.fail(start, "this double quote is never closed")
    }

    fn quote_mark(&mut self, text: &mut String) {
        let mark = self.next();
        if self.options.raw_quotes {
            text.extend(mark);
        }
    }

    /// Between double quotes an escape protects only `"`, `$` and itself; elsewhere it is text.
    fn escaped_in_quotes(&mut self, escape: char, text: &mut String) {
        self.next();
        match self.peek() {
            Some(ch) if ch == '"' || ch == '$' || ch == escape => {
                if self.options.raw_escapes {
                    text.push(escape);
                }
                text.extend(self.next());
            }
            _ => text.push(escape),
        }
    }

    /// `<` is text; after `<<` the blanks belong to the word, so that `<< EOF` is one.
    fn angle(&mut self) -> String {
        let start = self.at;
        self.next();
        if self.peek() == Some('<') {
            self.next();
            while matches!(self.peek(), Some(' ' | '\t' | '\r')) {
                self.next();
            }
        }
        self.source.get(start..self.at).unwrap_or_default().to_owned()
    }

    fn dollar(&mut self) -> Result<String, ExpandError> {
        let start = self.at;
        self.next();
        if self.peek() == Some('{') {
            self.depth += 1;
            if self.depth > NESTING_MAX {
                return self.fail(start, format!("`${{..}}` is nested more than {NESTING_MAX} deep"));
            }
            let value = self.braced(start)?;
            self.depth -= 1;
            return Ok(value);
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        let value = self.get(&name);
        Ok(self.or_source(value.as_deref(), start).unwrap_or_else(|| value.unwrap_or_default()))
    }

    /// The reference as written, if the variable is unset and such references stay.
    fn or_source(&self, value: Option<&str>, start: usize) -> Option<String> {
        let kept = self.options.keep_unset && value.is_none();
        kept.then(|| self.source.get(start..self.at).unwrap_or_default().to_owned())
    }

    fn braced(&mut self, start: usize) -> Result<String, ExpandError> {
        self.next();
        if matches!(self.peek(), Some('{' | '}' | ':')) {
            return self.fail(start, "there is no variable name after `${`");
        }
        let name = self.name();
        let operator_at = self.at;
        match self.next() {
            None => self.fail(start, "missing `}` in `${..}`"),
            Some('}') => {
                let value = self.get(&name);
                Ok(self.or_source(value.as_deref(), start).unwrap_or_else(|| value.unwrap_or_default()))
            }
            Some(':') => {
                let operator = self.next();
                match operator {
                    Some(ch @ ('-' | '+' | '?')) => self.conditional(&name, ch, true, start),
                    None => self.fail(start, "missing `}` in `${..}`"),
                    Some(ch) => self.unsupported(operator_at, &format!(":{ch}")),
                }
            }
            Some(ch @ ('-' | '+' | '?')) => self.conditional(&name, ch, false, start),
            Some(ch @ ('#' | '%')) => self.trim(&name, ch, start),
            Some('/') => self.replace(&name, start),
            Some(ch) => self.unsupported(operator_at, &ch.to_string()),
        }
    }

    fn unsupported<T>(&self, offset: usize, operator: &str) -> Result<T, ExpandError> {
        self.fail(
            offset,
            format!("`{operator}` is not an operator of `${{..}}`; there are :- - :+ + :? ? # ## % %% / //"),
        )
    }

    fn conditional(
        &mut self,
        name: &str,
        operator: char,
        null_is_unset: bool,
        start: usize,
    ) -> Result<String, ExpandError> {
        let (word, _) = self.until(Some('}'), false)?;
        let value = self.get(name);
        if let Some(source) = self.or_source(value.as_deref(), start) {
            return Ok(source);
        }
        let present = value.as_ref().is_some_and(|value| !null_is_unset || !value.is_empty());
        match (operator, present) {
            ('-', false) | ('+', true) => Ok(word),
            ('+', false) => Ok(String::new()),
            ('?', false) => {
                let state = if value.is_some() { "empty" } else { "unset" };
                let message = if word.is_empty() { format!("it must not be {state}") } else { word };
                self.fail(start, format!("{name}: {message}"))
            }
            _ => Ok(value.unwrap_or_default()),
        }
    }

    fn trim(&mut self, name: &str, operator: char, start: usize) -> Result<String, ExpandError> {
        let (word, _) = self.until(Some('}'), true)?;
        let value = self.get(name);
        if let Some(source) = self.or_source(value.as_deref(), start) {
            return Ok(source);
        }
        let longest = word.starts_with(operator);
        let pattern = word.strip_prefix(operator).unwrap_or(&word);
        let trimmed = Pattern::parse(pattern).and_then(|pattern| {
            let value = value.unwrap_or_default();
            if operator == '%' { pattern.trim_end(&value, longest) } else { pattern.trim_start(&value, longest) }
        });
        trimmed.or_else(|message| self.fail(start, message))
    }

    fn replace(&mut self, name: &str, start: usize) -> Result<String, ExpandError> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let (pattern, _) = self.until(Some('/'), true)?;
        let (replacement, _) = self.until(Some('}'), true)?;
        let value = self.get(name);
        if let Some(source) = self.or_source(value.as_deref(), start) {
            return Ok(source);
        }
        let replaced =
            Pattern::parse(&pattern).and_then(|pattern| pattern.replace(&value.unwrap_or_default(), &replacement, all));
        replaced.or_else(|message| self.fail(start, message))
    }

    /// Letters, digits and `_`; or only digits; or one of the shell's special parameters.
    fn name(&mut self) -> String {
        let start = self.at;
        match self.peek() {
            Some(ch) if ch.is_ascii_digit() => self.skip_while(|ch| ch.is_ascii_digit()),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => {
                self.next();
            }
            _ => self.skip_while(|ch| ch.is_alphanumeric() || ch == '_'),
        }
        self.source.get(start..self.at).unwrap_or_default().to_owned()
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.next();
        }
    }

    fn get(&mut self, name: &str) -> Option<String> {
        let value = (self.lookup)(name);
        let list = if value.is_some() { &mut self.seen.used } else { &mut self.seen.undefined };
        if self.seen.known.insert(name.to_owned()) {
            list.push(name.to_owned());
        }
        value
    }
}
