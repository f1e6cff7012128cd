//! Readers for the arguments of each instruction.
//!
//! Do not know flags' meaning beyond their form, nor what comes before or after the instruction.

use super::duration;
use super::instruction::{self, Parts};
use super::lines::Text;
use super::words::{List, json_list, quoted_words};
use crate::ast::{Command, Copy, From, Healthcheck, Heredoc, Instruction, InstructionKind, KeyValues, Run, Word};
use crate::{Diagnostic, nearest};

/// `<image> [AS <name>]`.
pub(super) fn from(parts: &Parts<'_>) -> Result<From, Diagnostic> {
    let platform = parts.flags.iter().find_map(|flag| flag.value.clone());
    let words = parts.arguments.blank_separated();
    let (image, as_keyword, name) = match words.as_slice() {
        [image] => (image, None, None),
        [image, keyword, name] if keyword.as_str().eq_ignore_ascii_case("as") => (image, Some(keyword), Some(name)),
        [_, keyword, ..] => return Err(from_form(keyword)),
        [] => return Err(from_form(&parts.arguments)),
    };
    if let Some(name) = name {
        check_stage_name(name)?;
    }
    let word = |text: Option<&Text<'_>>| text.map(Text::word);
    Ok(From { platform, image: image.word(), name: word(name), as_keyword: word(as_keyword) })
}

fn from_form(word: &Text<'_>) -> Diagnostic {
    let message = if word.as_str().eq_ignore_ascii_case("as") {
        "AS takes exactly one name".to_owned()
    } else {
        format!("FROM takes an image and a name after AS, not `{}`", word.as_str())
    };
    Diagnostic::error(word.span(), message).with_hint("write `FROM <image>` or `FROM <image> AS <name>`")
}

fn check_stage_name(name: &Text<'_>) -> Result<(), Diagnostic> {
    let lower = name.as_str().to_lowercase();
    let starts_well = lower.starts_with(|ch: char| ch.is_ascii_lowercase());
    let allowed = |ch: char| ch.is_ascii_lowercase() || ch.is_ascii_digit() || matches!(ch, '-' | '_' | '.');
    if starts_well && lower.chars().all(allowed) {
        return Ok(());
    }
    Err(Diagnostic::error(name.span(), format!("`{}` cannot name a stage", name.as_str()))
        .with_hint("a name begins with a letter and has only letters, digits, `-`, `_` and `.`"))
}

/// Shell form or a JSON list.
pub(super) fn command(text: Text<'_>) -> Result<Command, Diagnostic> {
    Ok(match json_list(text)? {
        List::Json(words) => Command::Exec(words.into_iter().map(|word| word.text).collect()),
        List::Plain => Command::Shell(text.word()),
    })
}

/// RUN.
pub(super) fn run(parts: &Parts<'_>, heredocs: Vec<Heredoc>) -> Result<Run, Diagnostic> {
    for flag in &parts.flags {
        let allowed: &[&str] = match flag.name.text.as_str() {
            "network" => &["default", "none", "host"],
            "security" => &["sandbox", "insecure"],
            _ => continue,
        };
        check_choice(&flag.name.text, flag.value.as_ref(), allowed)?;
    }
    let command = command(parts.arguments)?;
    if command == Command::Exec(Vec::new()) {
        return Err(Diagnostic::error(parts.arguments.span(), "RUN has an empty list, so there is nothing to run")
            .with_hint("write `RUN [\"program\", \"argument\"]`"));
    }
    let alone = matches!(&command, Command::Shell(text) if super::heredoc::is_heredoc_marker(&text.text));
    let heredocs = if alone { heredocs.into_iter().map(super::heredoc::chomped).collect() } else { heredocs };
    Ok(Run { flags: parts.flags.clone(), command, heredocs })
}

fn check_choice(name: &str, value: Option<&Word>, allowed: &[&str]) -> Result<(), Diagnostic> {
    let Some(value) = value.filter(|value| !allowed.contains(&value.text.as_str())) else { return Ok(()) };
    let diagnostic = Diagnostic::error(value.span, format!("`{}` is not possible for `--{name}`", value.text));
    Err(match nearest(&value.text, allowed.iter().copied()) {
        Some(near) => diagnostic.with_hint(format!("did you mean `{near}`?")),
        None => diagnostic.with_hint(format!("it takes {}", allowed.join(", "))),
    })
}

/// COPY and ADD.
pub(super) fn copy(name: &str, parts: &Parts<'_>, mut heredocs: Vec<Heredoc>) -> Result<Copy, Diagnostic> {
    let (mut words, json) = match json_list(parts.arguments)? {
        List::Json(words) => (words, true),
        List::Plain => (parts.arguments.blank_separated().iter().map(Text::word).collect(), false),
    };
    let dest = words.pop().filter(|_| !words.is_empty()).ok_or_else(|| {
        Diagnostic::error(parts.arguments.span(), format!("{name} needs a source and a destination"))
            .with_hint(format!("write `{name} <source>.. <destination>`"))
    })?;
    if super::heredoc::marker(&dest.text).is_some() {
        return Err(Diagnostic::error(dest.span, format!("a here-document cannot be the destination of {name}"))
            .with_hint(format!("write `{name} {} <destination>`", dest.text)));
    }
    let mut sources = Vec::new();
    let mut contents = Vec::new();
    for word in words {
        match super::heredoc::marker(&word.text) {
            Some(_) if json => return Err(heredoc_in_json(&word)),
            Some(marker) => contents.push(take_heredoc(&mut heredocs, marker, &word)?),
            None => sources.push(word),
        }
    }
    Ok(Copy { flags: parts.flags.clone(), sources, heredocs: contents, dest })
}

fn heredoc_in_json(word: &Word) -> Diagnostic {
    Diagnostic::error(word.span, "a here-document cannot stand in a JSON list")
        .with_hint("write the arguments without brackets")
}

/// The body read for a marker; of several with one name, the last, as in BuildKit.
fn take_heredoc(read: &mut [Heredoc], marker: Heredoc, word: &Word) -> Result<Heredoc, Diagnostic> {
    read.iter().rfind(|heredoc| heredoc.name == marker.name).cloned().map(super::heredoc::chomped).ok_or_else(|| {
        Diagnostic::error(word.span, format!("the here-document `{}` has no body", marker.name))
            .with_hint("close all quotes of the line")
    })
}

/// ENV and LABEL.
pub(super) fn key_values(name: &str, text: Text<'_>, escape: char) -> Result<KeyValues, Diagnostic> {
    let words = quoted_words(text, escape);
    if words.first().is_some_and(|word| !word.as_str().contains('=')) {
        return legacy_pair(name, text);
    }
    let mut pairs = Vec::with_capacity(words.len());
    for word in words {
        let Some((key, value)) = split_pair(&word) else {
            return Err(Diagnostic::error(word.span(), format!("`{}` has no `=`", word.as_str()))
                .with_hint("write `name=value`; a value with blanks goes into quotes"));
        };
        pairs.push((named(name, key)?, value));
    }
    Ok(KeyValues { pairs, legacy: false })
}

fn legacy_pair(name: &str, text: Text<'_>) -> Result<KeyValues, Diagnostic> {
    let (key, value) = text.split_blank();
    let value = value.ok_or_else(|| {
        Diagnostic::error(key.span(), format!("`{}` has no value", key.as_str()))
            .with_hint(format!("write `{name} {}=<value>`", key.as_str()))
    })?;
    Ok(KeyValues { pairs: vec![(key.word(), value.word())], legacy: true })
}

/// Halves around the first `=`.
fn split_pair(word: &Text<'_>) -> Option<(Word, Word)> {
    let equals = word.as_str().find('=')?;
    Some((word.part(0, equals).word(), word.from(equals + 1).word()))
}

fn named(instruction: &str, key: Word) -> Result<Word, Diagnostic> {
    if key.text.is_empty() {
        let message = format!("{instruction} has a value without a name");
        return Err(Diagnostic::error(key.span, message).with_hint("write `name=value`"));
    }
    Ok(key)
}

/// ARG.
pub(super) fn arg(text: Text<'_>, escape: char) -> Result<Vec<(Word, Option<Word>)>, Diagnostic> {
    let words = quoted_words(text, escape).into_iter();
    words
        .map(|word| match split_pair(&word) {
            Some((key, value)) => Ok((named("ARG", key)?, Some(value))),
            None => Ok((word.word(), None)),
        })
        .collect()
}

/// SHELL.
pub(super) fn shell(text: Text<'_>) -> Result<Vec<String>, Diagnostic> {
    match command(text)? {
        Command::Exec(words) if !words.is_empty() => Ok(words),
        Command::Exec(_) => {
            Err(Diagnostic::error(text.span(), "SHELL has an empty list")
                .with_hint("write `SHELL [\"/bin/sh\", \"-c\"]`"))
        }
        Command::Shell(_) => Err(Diagnostic::error(text.span(), "SHELL takes only a JSON list of strings")
            .with_hint("write `SHELL [\"/bin/sh\", \"-c\"]`")),
    }
}

/// VOLUME.
pub(super) fn volume(text: Text<'_>) -> Result<Vec<Word>, Diagnostic> {
    let words = match json_list(text)? {
        List::Json(words) => words,
        List::Plain => text.blank_separated().iter().map(Text::word).collect(),
    };
    if words.is_empty() || words.iter().any(|word| word.text.trim().is_empty()) {
        return Err(Diagnostic::error(text.span(), "VOLUME has an empty path").with_hint("write `VOLUME <path>`"));
    }
    Ok(words.into_iter().map(|word| Word { text: word.text.trim().to_owned(), ..word }).collect())
}

/// HEALTHCHECK.
pub(super) fn healthcheck(parts: &Parts<'_>) -> Result<Healthcheck, Diagnostic> {
    let (kind, rest) = parts.arguments.split_blank();
    let command = match (kind.as_str().to_ascii_uppercase().as_str(), rest) {
        ("NONE", None) => None,
        ("NONE", Some(rest)) => {
            let message = format!("HEALTHCHECK NONE takes no arguments, not `{}`", rest.as_str());
            return Err(Diagnostic::error(rest.span(), message).with_hint("write `HEALTHCHECK NONE`"));
        }
        ("CMD", Some(rest)) => Some(command(rest)?).filter(|command| *command != Command::Exec(Vec::new())),
        ("CMD", None) => None,
        (other, _) => {
            let message = format!("HEALTHCHECK takes CMD or NONE, not `{}`", kind.as_str());
            let hint = match nearest(other, ["CMD", "NONE"].into_iter()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "write `HEALTHCHECK CMD <command>`".to_owned(),
            };
            return Err(Diagnostic::error(kind.span(), message).with_hint(hint));
        }
    };
    let none = kind.as_str().eq_ignore_ascii_case("NONE");
    if command.is_none() && !none {
        return Err(Diagnostic::error(kind.span(), "HEALTHCHECK CMD has no command")
            .with_hint("write `HEALTHCHECK CMD <command>`, or `HEALTHCHECK NONE` for no check"));
    }
    let time = |name: &str| if none { Ok(0) } else { duration::flag(&parts.flags, name) };
    Ok(Healthcheck {
        interval: time("interval")?,
        timeout: time("timeout")?,
        start_period: time("start-period")?,
        start_interval: time("start-interval")?,
        retries: if none { 0 } else { duration::retries(&parts.flags)? },
        command,
    })
}

/// ONBUILD.
pub(super) fn onbuild(
    text: Text<'_>,
    heredocs: Vec<Heredoc>,
    escape: char,
    warnings: &mut Vec<Diagnostic>,
) -> Result<InstructionKind, Diagnostic> {
    let parts = instruction::split(text, escape);
    let keyword = instruction::check_trigger(&parts.keyword)?;
    let mut trigger = text.as_str().to_owned();
    for heredoc in &heredocs {
        trigger.extend(["\n", heredoc.content.as_str(), heredoc.name.as_str()]);
    }
    let kind = instruction::kind(keyword, &parts, heredocs, escape, warnings)?;
    let original = parts.arguments.as_str().to_owned();
    let held = Instruction { span: text.span(), lines: (0, 0), keyword: parts.keyword, original, kind };
    Ok(InstructionKind::Onbuild(trigger, Box::new(held)))
}
