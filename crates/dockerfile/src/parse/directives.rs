//! Parser directives: `# syntax=`, `# escape=` and `# check=` before anything else in the file.
//!
//! Does not know what `syntax` and `check` mean.

use super::lines::{Line, Lines, span};
use crate::ast::{Directive, Word};
use crate::{Diagnostic, Span};

const KNOWN: [&str; 3] = ["syntax", "escape", "check"];

/// Reads directives until the first line that is none.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    done: bool,
    shebang: bool,
    pub(super) found: Vec<Directive>,
}

impl Scanner {
    /// True if the line was a directive. A repeated one is an error and changes nothing.
    pub(super) fn line(&mut self, line: Line<'_>, diagnostics: &mut Vec<Diagnostic>) -> bool {
        if self.done {
            return false;
        }
        if line.number == 1 && line.raw.trim_start_matches('\u{feff}').starts_with("#!") {
            self.shebang = true;
            return false;
        }
        let Some(directive) = directive(line, "#").filter(|found| KNOWN.contains(&found.key.as_str())) else {
            self.done = true;
            return false;
        };
        if self.found.iter().any(|earlier| earlier.key == directive.key) {
            let message = format!("the directive `{}` is given twice", directive.key);
            diagnostics.push(Diagnostic::error(line.span(), message).with_hint("keep one of them"));
            return true;
        }
        // After `#!` BuildKit's lexer no longer looks for `escape`, its other readers do find the rest.
        if self.shebang && directive.key == "escape" {
            return false;
        }
        self.found.push(directive);
        true
    }

    /// The escape character, or an error if the directive names another than the two.
    pub(super) fn escape(&self) -> Result<char, Diagnostic> {
        let Some(directive) = self.found.iter().find(|directive| directive.key == "escape") else { return Ok('\\') };
        match directive.value.text.as_str() {
            "\\" => Ok('\\'),
            "`" => Ok('`'),
            other => {
                Err(Diagnostic::error(directive.value.span, format!("the escape character `{other}` is not possible"))
                    .with_hint("it is either a backslash or a backtick"))
            }
        }
    }
}

/// `<prefix> key = value`, key lower-cased.
fn directive(line: Line<'_>, prefix: &str) -> Option<Directive> {
    let text = line.text();
    let body = text.trim_start().strip_prefix(prefix)?.trim_start();
    let (key, value) = body.split_once('=')?;
    let (key, trimmed) = (key.trim_end(), value.trim());
    let named =
        key.starts_with(|ch: char| ch.is_ascii_alphabetic()) && key.chars().all(|ch| ch.is_ascii_alphanumeric());
    if !named || trimmed.is_empty() {
        return None;
    }
    let start = line.start + text.len() - value.trim_start().len();
    let value = Word { text: trimmed.to_owned(), span: span(start, start + trimmed.len()) };
    Some(Directive { key: key.to_ascii_lowercase(), value })
}

/// The `syntax` of any input a frontend can take: in `#` comments, in `//` comments, or in a JSON object; a first line `#!` is skipped.
/// The word is the image alone, without options after a blank.
pub fn detect_syntax(text: &str) -> Option<Word> {
    let mut lines = Lines::new(text);
    if text.trim_start_matches('\u{feff}').starts_with("#!") {
        lines.next();
    }
    let rest = text.get(lines.at()..).unwrap_or_default();
    syntax_in(lines.clone(), "#").or_else(|| syntax_in(lines, "//")).or_else(|| syntax_in_json(rest))
}

fn syntax_in(lines: Lines<'_>, prefix: &str) -> Option<Word> {
    let directives =
        lines.map_while(|line| directive(line, prefix)).take_while(|found| KNOWN.contains(&found.key.as_str()));
    let mut value = directives.into_iter().find(|found| found.key == "syntax")?.value;
    let length = value.text.find(' ').unwrap_or(value.text.len());
    value.text.truncate(length);
    value.span.end = value.span.start + u32::try_from(length).unwrap_or(0);
    Some(value)
}

fn syntax_in_json(text: &str) -> Option<Word> {
    let document: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    let value = document.get("syntax")?.as_str()?;
    Some(Word { text: value.to_owned(), span: Span::default() })
}
