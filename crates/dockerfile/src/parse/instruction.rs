//! One instruction: keyword, flags, arguments, and which of the readers in `arguments` takes them.
//!
//! Does not know the lines of the file.

use super::arguments as read;
use super::flags::{self, Known, Takes};
use super::lines::Text;
use super::words::{List, json_list};
use crate::ast::{Flag, Heredoc, InstructionKind, Word};
use crate::{Diagnostic, nearest};

/// The words an instruction can begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
}

const KEYWORDS: [(&str, Keyword); 18] = [
    ("ADD", Keyword::Add),
    ("ARG", Keyword::Arg),
    ("CMD", Keyword::Cmd),
    ("COPY", Keyword::Copy),
    ("ENTRYPOINT", Keyword::Entrypoint),
    ("ENV", Keyword::Env),
    ("EXPOSE", Keyword::Expose),
    ("FROM", Keyword::From),
    ("HEALTHCHECK", Keyword::Healthcheck),
    ("LABEL", Keyword::Label),
    ("MAINTAINER", Keyword::Maintainer),
    ("ONBUILD", Keyword::Onbuild),
    ("RUN", Keyword::Run),
    ("SHELL", Keyword::Shell),
    ("STOPSIGNAL", Keyword::StopSignal),
    ("USER", Keyword::User),
    ("VOLUME", Keyword::Volume),
    ("WORKDIR", Keyword::Workdir),
];

const FROM_FLAGS: &Known = &[("platform", Takes::Value)];
const RUN_FLAGS: &Known =
    &[("mount", Takes::List), ("network", Takes::Value), ("security", Takes::Value), ("device", Takes::List)];
const COPY_FLAGS: &Known = &[
    ("from", Takes::Value),
    ("chown", Takes::Value),
    ("chmod", Takes::Value),
    ("link", Takes::Bool),
    ("parents", Takes::Bool),
    ("exclude", Takes::List),
];
const ADD_FLAGS: &Known = &[
    ("chown", Takes::Value),
    ("chmod", Takes::Value),
    ("link", Takes::Bool),
    ("keep-git-dir", Takes::Bool),
    ("checksum", Takes::Value),
    ("unpack", Takes::Bool),
    ("exclude", Takes::List),
];
const HEALTHCHECK_FLAGS: &Known = &[
    ("interval", Takes::Value),
    ("timeout", Takes::Value),
    ("start-period", Takes::Value),
    ("start-interval", Takes::Value),
    ("retries", Takes::Value),
];

impl Keyword {
    pub(super) fn of(word: &str) -> Option<Keyword> {
        KEYWORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, keyword)| *keyword)
    }

    pub(super) fn name(self) -> &'static str {
        KEYWORDS.iter().find(|(_, keyword)| *keyword == self).map_or("", |(name, _)| name)
    }

    fn flags(self) -> &'static Known {
        match self {
            Keyword::From => FROM_FLAGS,
            Keyword::Run => RUN_FLAGS,
            Keyword::Copy => COPY_FLAGS,
            Keyword::Add => ADD_FLAGS,
            Keyword::Healthcheck => HEALTHCHECK_FLAGS,
            _ => &[],
        }
    }
}

/// An instruction cut into its parts.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) keyword: Word,
    pub(super) flags: Vec<Flag>,
    pub(super) arguments: Text<'a>,
}

/// Cuts a logical line without blanks around it.
pub(super) fn split(line: Text<'_>, escape: char) -> Parts<'_> {
    let (keyword, rest) = line.split_blank();
    let rest = rest.unwrap_or(line.from(line.as_str().len()));
    let (flags, arguments) = flags::split(rest, escape);
    Parts { keyword: keyword.word(), flags, arguments }
}

/// The error for a word that begins no instruction.
pub(super) fn unknown(word: &Word) -> Diagnostic {
    let diagnostic = Diagnostic::error(word.span, format!("unknown instruction `{}`", word.text));
    match nearest(&word.text, KEYWORDS.iter().map(|(name, _)| *name)) {
        Some(name) => diagnostic.with_hint(format!("did you mean `{name}`?")),
        None if word.text.is_empty() => diagnostic.with_hint("a continuation needs an instruction to continue"),
        None => diagnostic.with_hint("if the line belongs to the one before, end that with a continuation"),
    }
}

/// ONBUILD, FROM and MAINTAINER cannot be triggers.
pub(super) fn check_trigger(word: &Word) -> Result<Keyword, Diagnostic> {
    let keyword = Keyword::of(&word.text).ok_or_else(|| unknown(word))?;
    if matches!(keyword, Keyword::Onbuild | Keyword::From | Keyword::Maintainer) {
        let message = format!("{} cannot be the trigger of ONBUILD", keyword.name());
        return Err(Diagnostic::error(word.span, message));
    }
    Ok(keyword)
}

/// ADD, COPY and RUN not in JSON form, also under ONBUILD.
pub(super) fn may_have_heredocs(keyword: Keyword, parts: &Parts<'_>, escape: char) -> bool {
    let json = || matches!(json_list(parts.arguments), Ok(List::Json(_)) | Err(_));
    match keyword {
        Keyword::Add | Keyword::Copy | Keyword::Run => parts.arguments.as_str().contains("<<") && !json(),
        Keyword::Onbuild => {
            let inner = split(parts.arguments, escape);
            let keyword = Keyword::of(&inner.keyword.text).filter(|inner| *inner != Keyword::Onbuild);
            keyword.is_some_and(|keyword| may_have_heredocs(keyword, &inner, escape))
        }
        _ => false,
    }
}

/// What the instruction says.
pub(super) fn kind(
    keyword: Keyword,
    parts: &Parts<'_>,
    heredocs: Vec<Heredoc>,
    escape: char,
    warnings: &mut Vec<Diagnostic>,
) -> Result<InstructionKind, Diagnostic> {
    check_flags(keyword, parts, warnings)?;
    if parts.arguments.is_empty() {
        return Err(missing_arguments(keyword, parts));
    }
    let text = parts.arguments;
    Ok(match keyword {
        Keyword::From => InstructionKind::From(read::from(parts)?),
        Keyword::Run => InstructionKind::Run(read::run(parts, heredocs)?),
        Keyword::Copy => InstructionKind::Copy(read::copy("COPY", parts, heredocs)?),
        Keyword::Add => InstructionKind::Add(read::copy("ADD", parts, heredocs)?),
        Keyword::Env => InstructionKind::Env(read::key_values("ENV", text, escape)?),
        Keyword::Label => InstructionKind::Label(read::key_values("LABEL", text, escape)?),
        Keyword::Arg => InstructionKind::Arg(read::arg(text, escape)?),
        Keyword::Cmd => InstructionKind::Cmd(read::command(text)?),
        Keyword::Entrypoint => InstructionKind::Entrypoint(read::command(text)?),
        Keyword::Shell => InstructionKind::Shell(read::shell(text)?),
        Keyword::Workdir => InstructionKind::Workdir(text.word()),
        Keyword::User => InstructionKind::User(text.word()),
        Keyword::Volume => InstructionKind::Volume(read::volume(text)?),
        Keyword::Expose => InstructionKind::Expose(text.blank_separated().iter().map(Text::word).collect()),
        Keyword::StopSignal => InstructionKind::StopSignal(text.word()),
        Keyword::Healthcheck => InstructionKind::Healthcheck(read::healthcheck(parts)?),
        Keyword::Maintainer => InstructionKind::Maintainer(text.word()),
        Keyword::Onbuild => read::onbuild(text, heredocs, escape, warnings)?,
    })
}

/// BuildKit ignores flags of ARG, STOPSIGNAL and HEALTHCHECK NONE, so files that have them must go on building.
fn check_flags(keyword: Keyword, parts: &Parts<'_>, warnings: &mut Vec<Diagnostic>) -> Result<(), Diagnostic> {
    let none = keyword == Keyword::Healthcheck && parts.arguments.as_str().eq_ignore_ascii_case("NONE");
    let lenient = none || matches!(keyword, Keyword::Arg | Keyword::StopSignal);
    match flags::check(keyword.name(), &parts.flags, keyword.flags()) {
        Err(diagnostic) if lenient => {
            warnings.push(Diagnostic { rule: "IgnoredFlag", severity: crate::Severity::Warning, ..diagnostic });
            Ok(())
        }
        other => other,
    }
}

fn missing_arguments(keyword: Keyword, parts: &Parts<'_>) -> Diagnostic {
    let example = match keyword {
        Keyword::Add => "ADD <source>.. <destination>",
        Keyword::Arg => "ARG <name>[=<default>]",
        Keyword::Cmd => "CMD [\"program\", \"argument\"]",
        Keyword::Copy => "COPY <source>.. <destination>",
        Keyword::Entrypoint => "ENTRYPOINT [\"program\", \"argument\"]",
        Keyword::Env => "ENV <name>=<value>",
        Keyword::Expose => "EXPOSE <port>[/<protocol>]",
        Keyword::From => "FROM <image> [AS <name>]",
        Keyword::Healthcheck => "HEALTHCHECK CMD <command>",
        Keyword::Label => "LABEL <name>=<value>",
        Keyword::Maintainer => "LABEL org.opencontainers.image.authors=<name>",
        Keyword::Onbuild => "ONBUILD <instruction>",
        Keyword::Run => "RUN <command>",
        Keyword::Shell => "SHELL [\"/bin/sh\", \"-c\"]",
        Keyword::StopSignal => "STOPSIGNAL <signal>",
        Keyword::User => "USER <user>[:<group>]",
        Keyword::Volume => "VOLUME <path>",
        Keyword::Workdir => "WORKDIR <path>",
    };
    let message = format!("{} needs an argument", keyword.name());
    Diagnostic::error(parts.keyword.span, message).with_hint(format!("write `{example}`"))
}
