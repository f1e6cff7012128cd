//! `--name[=value]` between an instruction's keyword and its arguments.
//!
//! Does not know what a flag's value means.

use super::lines::Text;
use crate::ast::{Flag, Word};
use crate::{Diagnostic, nearest};

/// How often and in what form a flag may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing, `true` or `false`.
    Bool,
    /// One value.
    Value,
    /// A value, any number of times.
    List,
}

/// The flags of an instruction.
pub(super) type Known = [(&'static str, Takes)];

/// Cuts the flags off; what is left are the arguments. Quotes and escapes are removed from the flags.
pub(super) fn split(text: Text<'_>, escape: char) -> (Vec<Flag>, Text<'_>) {
    let mut flags = Vec::new();
    let mut rest = text;
    loop {
        let source = rest.as_str();
        rest = rest.from(source.len() - source.trim_start().len());
        if !rest.as_str().starts_with("--") {
            return (flags, rest.trim());
        }
        let raw = RawFlag::read(rest.as_str(), escape);
        let end = raw.end;
        if raw.text == "--" {
            return (flags, rest.from(end).trim());
        }
        flags.push(raw.into_flag(rest));
        rest = rest.from(end);
    }
}

/// A flag as scanned: the text without quotes, and where its first `=` stands.
#[derive(Debug, Default)]
struct RawFlag {
    text: String,
    /// Offset in `text` and in the source.
    equals: Option<(usize, usize)>,
    end: usize,
}

impl RawFlag {
    fn read(source: &str, escape: char) -> RawFlag {
        let mut flag = RawFlag { end: source.len(), ..RawFlag::default() };
        let mut quote = None;
        let mut chars = source.char_indices();
        while let Some((at, ch)) = chars.next() {
            match quote {
                None if ch.is_whitespace() => {
                    flag.end = at;
                    return flag;
                }
                None if ch == '\'' || ch == '"' => quote = Some(ch),
                Some(mark) if ch == mark => quote = None,
                _ if ch == escape => flag.text.extend(chars.next().map(|(_, escaped)| escaped)),
                _ => flag.push(ch, at),
            }
        }
        flag
    }

    fn push(&mut self, ch: char, at: usize) {
        if ch == '=' && self.equals.is_none() {
            self.equals = Some((self.text.len(), at));
        }
        self.text.push(ch);
    }

    fn into_flag(self, source: Text<'_>) -> Flag {
        let (name_end, source_end) = self.equals.unwrap_or((self.text.len(), self.end));
        let name = self.text.get(2..name_end).unwrap_or_default().to_owned();
        let value = self.equals.map(|(at, place)| {
            let value = self.text.get(at + 1..).unwrap_or_default().to_owned();
            source.part(place + 1, self.end).word_with(value)
        });
        Flag { name: source.part(2, source_end).word_with(name), value }
    }
}

/// Checks names, forms and repetition.
pub(super) fn check(keyword: &str, flags: &[Flag], known: &Known) -> Result<(), Diagnostic> {
    for (i, flag) in flags.iter().enumerate() {
        let takes = known.iter().find(|(name, _)| *name == flag.name.text).map(|(_, takes)| *takes);
        let takes = takes.ok_or_else(|| unknown(keyword, &flag.name, known))?;
        let earlier = || flags.iter().take(i).any(|other| other.name.text == flag.name.text);
        if takes != Takes::List && earlier() {
            let message = format!("the flag `--{}` is given twice", flag.name.text);
            return Err(Diagnostic::error(flag.name.span, message).with_hint("keep one of them"));
        }
        check_value(flag, takes)?;
    }
    Ok(())
}

fn unknown(keyword: &str, name: &Word, known: &Known) -> Diagnostic {
    let names = || known.iter().map(|(name, _)| *name);
    let diagnostic = Diagnostic::error(name.span, format!("{keyword} has no flag `--{}`", name.text));
    match nearest(&name.text, names()) {
        Some(near) => diagnostic.with_hint(format!("did you mean `--{near}`?")),
        None if known.is_empty() => diagnostic.with_hint(format!("{keyword} takes no flags")),
        None => {
            let all: Vec<String> = names().map(|name| format!("--{name}")).collect();
            diagnostic.with_hint(format!("{keyword} knows {}", all.join(", ")))
        }
    }
}

fn check_value(flag: &Flag, takes: Takes) -> Result<(), Diagnostic> {
    let name = &flag.name.text;
    match (&flag.value, takes) {
        (None, Takes::Bool) | (Some(_), Takes::Value | Takes::List) => Ok(()),
        (None, _) => Err(Diagnostic::error(flag.name.span, format!("the flag `--{name}` needs a value"))
            .with_hint(format!("write `--{name}=<value>`"))),
        (Some(value), Takes::Bool) => match value.text.to_ascii_lowercase().as_str() {
            "true" | "false" => Ok(()),
            other => Err(Diagnostic::error(value.span, format!("`--{name}` is true or false, not `{other}`"))
                .with_hint(format!("write `--{name}` or `--{name}=false`"))),
        },
    }
}

/// Whether a flag that takes a bool is set to true.
pub fn is_true(flag: &Flag) -> bool {
    flag.value.as_ref().is_none_or(|value| value.text.eq_ignore_ascii_case("true"))
}
