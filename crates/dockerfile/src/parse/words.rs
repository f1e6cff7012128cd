//! Ways of cutting arguments into words: quoted words and JSON lists.
//!
//! Does not know which instruction uses which; quotes and `$` stay in the words.

use super::lines::Text;
use crate::Diagnostic;
use crate::ast::Word;

/// Words of ENV, LABEL and ARG: blanks inside quotes or after an escape do not separate.
pub(super) fn quoted_words(text: Text<'_>, escape: char) -> Vec<Text<'_>> {
    let mut words = Vec::new();
    let mut chars = text.as_str().char_indices().peekable();
    while let Some((start, _)) = chars.next_if(|_| true) {
        if text.as_str().get(start..).is_some_and(|rest| rest.starts_with(char::is_whitespace)) {
            continue;
        }
        let (end, dangling) = word_end(text.as_str(), start, escape);
        while chars.next_if(|(at, _)| *at < end).is_some() {}
        let word = text.part(start, end);
        let kept = word.as_str().len() - if dangling { escape.len_utf8() } else { 0 };
        if kept > 0 {
            words.push(word.part(0, kept));
        }
    }
    words
}

/// Where the word that begins at `start` ends, and whether it ends with an escape that protects nothing.
fn word_end(text: &str, start: usize, escape: char) -> (usize, bool) {
    let mut quote = None;
    let mut chars = text.get(start..).unwrap_or_default().char_indices();
    while let Some((at, ch)) = chars.next() {
        match quote {
            None if ch.is_whitespace() => return (start + at, false),
            None if ch == '\'' || ch == '"' => quote = Some(ch),
            Some(mark) if ch == mark => quote = None,
            _ => {}
        }
        if ch == escape && quote != Some('\'') && chars.next().is_none() {
            return (text.len(), true);
        }
    }
    (text.len(), false)
}

/// What a text is that may be a JSON list.
pub(super) enum List {
    /// A list of strings, each with its place.
    Json(Vec<Word>),
    /// Anything else.
    Plain,
}

/// Reads a JSON list of strings. Text that is no JSON list is plain; a list with other things than strings is an error.
pub(super) fn json_list(text: Text<'_>) -> Result<List, Diagnostic> {
    let text = text.trim();
    if !text.as_str().starts_with('[') {
        return Ok(List::Plain);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text.as_str()) else { return Ok(List::Plain) };
    if let Some(other) = values.iter().find(|value| !value.is_string()) {
        return Err(Diagnostic::error(text.span(), format!("`{other}` in this list is not a string"))
            .with_hint("a command in JSON form holds only strings in double quotes"));
    }
    let places = string_places(text);
    let strings = values.into_iter().filter_map(|value| match value {
        serde_json::Value::String(string) => Some(string),
        _ => None,
    });
    Ok(List::Json(strings.zip(places).map(|(string, place)| place.word_with(string)).collect()))
}

/// The strings of a valid list, quotes included.
fn string_places(text: Text<'_>) -> Vec<Text<'_>> {
    let mut places = Vec::new();
    let mut start = None;
    let mut escaped = false;
    for (at, byte) in text.as_str().bytes().enumerate() {
        match start {
            _ if escaped => escaped = false,
            None if byte == b'"' => start = Some(at),
            Some(first) if byte == b'"' => {
                places.push(text.part(first, at + 1));
                start = None;
            }
            Some(_) => escaped = byte == b'\\',
            None => {}
        }
    }
    places
}
