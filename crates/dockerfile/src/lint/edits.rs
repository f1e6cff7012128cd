//! The edits that rules offer.
//!
//! Does not know why; each is none where the text does not stand as it was parsed.

use super::view::View;
use crate::Span;
use crate::ast::{Instruction, Word};
use crate::diagnostic::{Edit, Fix};

impl View<'_> {
    pub(super) fn at(&self, span: Span) -> Option<&str> {
        self.text.get(span.start as usize..span.end as usize)
    }

    /// A fix that replaces a span; none without the text.
    pub(super) fn replace(&self, span: Span, title: &str, text: String, safe: bool) -> Option<Fix> {
        self.at(span)?;
        Some(Fix { title: title.to_owned(), edits: vec![Edit { span, text }], safe })
    }

    /// A fix that writes a word in another way; none if the word is broken by a continuation.
    pub(super) fn replace_word(&self, word: &Word, wanted: &str, safe: bool) -> Option<Fix> {
        (self.at(word.span)? == word.text).then_some(())?;
        self.replace(word.span, &format!("write `{wanted}`"), wanted.to_owned(), safe)
    }

    /// A fix that writes `key=value` for a key and a value on one line.
    pub(super) fn join_pair(&self, key: &Word, value: &Word, pair: &str) -> Option<Fix> {
        let span = Span { start: key.span.start, end: value.span.end };
        let written = self.at(span)?;
        let on_one_line = !written.contains('\n') && written.ends_with(&value.text);
        on_one_line.then(|| self.replace(span, "join them with `=`", pair.to_owned(), true)).flatten()
    }

    /// A fix that removes the line of a span, its end included.
    pub(super) fn remove_line(&self, span: Span, safe: bool) -> Option<Fix> {
        let start = self.text.get(..span.start as usize)?.rfind('\n').map_or(0, |at| at + 1);
        let rest = self.text.get(span.end as usize..)?;
        let end = span.end as usize + rest.find('\n').map_or(rest.len(), |at| at + 1);
        let span = Span { start: u32::try_from(start).ok()?, end: u32::try_from(end).ok()? };
        self.replace(span, "remove the line", String::new(), safe)
    }

    /// A fix that removes an instruction with its lines. Comments above it stay.
    pub(super) fn remove_instruction(&self, instruction: &Instruction, safe: bool) -> Option<Fix> {
        let fix = self.remove_line(instruction.span, safe)?;
        Some(Fix { title: format!("remove {}", instruction.keyword.text), ..fix })
    }

    /// A fix that removes `--name=value` and the blanks after it.
    pub(super) fn remove_flag(&self, value: &Word, name: &str, safe: bool) -> Option<Fix> {
        let before = self.text.get(..value.span.start as usize)?;
        let flag = format!("--{name}=");
        let start = before.strip_suffix(&flag)?.len();
        let rest = self.text.get(value.span.end as usize..)?;
        let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let span = Span { start: u32::try_from(start).ok()?, end: value.span.end + u32::try_from(blanks).ok()? };
        self.replace(span, &format!("remove `--{name}`"), String::new(), safe)
    }

    /// A fix that writes a command in JSON form, offered where a shell would only have split it at blanks. It is not safe: the
    /// program becomes process 1 and the shell is gone.
    pub(super) fn json_form(&self, command: &Word) -> Option<Fix> {
        const PLAIN: &[char] = &['-', '_', '.', '/', ':', ',', '+', '@', '%', '='];
        let plain = |ch: char| ch.is_ascii_alphanumeric() || PLAIN.contains(&ch);
        let words: Vec<&str> = command.text.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
        let program = words.first().filter(|word| !word.contains('='))?;
        // A builtin or a keyword of the shell is no program.
        if matches!(*program, "exec" | "cd" | "if" | "for" | "while" | "case" | "set" | "export" | "eval" | ".") {
            return None;
        }
        (words.iter().all(|word| word.chars().all(plain)) && self.at(command.span)? == command.text).then_some(())?;
        let list: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        self.replace(command.span, "write it as a JSON list", format!("[{}]", list.join(", ")), false)
    }
    /// A fix that writes something at a place, a blank before it.
    pub(super) fn insert_after(&self, span: Span, text: &str, safe: bool) -> Option<Fix> {
        let end = Span { start: span.end, end: span.end };
        self.replace(end, &format!("add `{text}`"), format!(" {text}"), safe)
    }
}
