//! Variable expansion and quote removal for a word of an instruction.
//!
//! Does not know where values come from: the caller's `lookup` does. Takes no part in RUN, CMD and ENTRYPOINT bodies, which are
//! the shell's.

mod lexer;
mod pattern;

use crate::Diagnostic;
use crate::ast::Word;
use lexer::{Lexer, Options};

/// The most text one word may become; more is an attack (`ARG` bombs double with every line).
pub const EXPANSION_BYTES_MAX: usize = 1 << 20;
/// How deep `${a:-${b:-..}}` may nest; each level is a stack frame.
pub const NESTING_MAX: usize = 64;

/// Where the value of a variable comes from: `None` is unset.
pub type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// What quotes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They group and are removed; nothing is expanded between single ones.
    Word,
    /// They are ordinary text, as in the body of a here-document.
    Raw,
}

/// A word after expansion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The text.
    pub text: String,
    /// Variables that were asked for and had a value, each once, in order.
    pub used: Vec<String>,
    /// Variables that were asked for and had none, each once, in order (also those with a `:-` default).
    pub undefined: Vec<String>,
}

/// Words after expansion and splitting at blanks that were not quoted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpandedWords {
    /// The words; none is empty.
    pub words: Vec<String>,
    /// See [`Expanded::used`].
    pub used: Vec<String>,
    /// See [`Expanded::undefined`].
    pub undefined: Vec<String>,
}

/// The word is not well formed, or a `:?` was not satisfied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpandError {
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// Byte offset in the word.
    pub offset: usize,
}

impl ExpandError {
    /// The error at its place in the file. Inside a word that was written over several lines the whole word is shown.
    pub fn at(&self, word: &Word) -> Diagnostic {
        let mut span = word.span;
        let written_as_is = (span.end - span.start) as usize == word.text.len();
        let rest = word.text.get(self.offset..).unwrap_or_default();
        if written_as_is && !rest.is_empty() {
            span.start = span.end - u32::try_from(rest.len()).unwrap_or(0);
        }
        Diagnostic::error(span, self.message.clone())
    }
}

/// Expands the variables of a word.
pub fn expand(word: &str, escape: char, lookup: &Lookup<'_>, mode: Mode) -> Result<Expanded, ExpandError> {
    let options = Options { skip_quotes: mode == Mode::Raw, ..Options::new(escape) };
    let (text, _, seen) = Lexer::new(word, options, lookup).run()?;
    Ok(Expanded { text, used: seen.used, undefined: seen.undefined })
}

/// Expands the variables of a text, then splits it into words; a value's own blanks split too unless quoted.
pub fn expand_words(text: &str, escape: char, lookup: &Lookup<'_>) -> Result<ExpandedWords, ExpandError> {
    let (_, words, seen) = Lexer::new(text, Options::new(escape), lookup).run()?;
    Ok(ExpandedWords { words, used: seen.used, undefined: seen.undefined })
}

/// Splits a line as the shell would, everything kept as written: how here-document markers are found.
pub(crate) fn raw_words(line: &str) -> Result<Vec<String>, ExpandError> {
    let options = Options { raw_quotes: true, raw_escapes: true, keep_unset: true, ..Options::new('\\') };
    Lexer::new(line, options, &|_| None).run().map(|(_, words, _)| words)
}

/// Splits a here-document's delimiter and removes its quotes.
pub(crate) fn delimiter_words(text: &str) -> Result<Vec<String>, ExpandError> {
    let options = Options { keep_unset: true, ..Options::new('\\') };
    Lexer::new(text, options, &|_| None).run().map(|(_, words, _)| words)
}
