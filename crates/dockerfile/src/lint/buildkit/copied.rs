//! The rule about sources that the ignore file hides.
//!
//! Does not know what is in the context, only what is left out of it.

use crate::Severity;
use crate::ast::{Copy, InstructionKind};
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Group, Rule};
use crate::lint::view::View;

pub(super) static RULES: [&Rule; 1] = [&COPY_IGNORED_FILE];

static COPY_IGNORED_FILE: Rule = Rule {
    id: "CopyIgnoredFile",
    aliases: &[],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    fixable: false,
    summary: "a file is copied that the ignore file leaves out",
    meaning: "What `.dockerignore` names is no part of the context, so a `COPY` or `ADD` of it fails. Copy another file, or \
              take it back in with a line that begins with `!`.\n\nThe examples are for a `.dockerignore` that says `secret`.",
    bad: "FROM alpine:3.22\nCOPY secret /srv/\n",
    good: "FROM alpine:3.22\nCOPY public /srv/\n",
    check: Check::File(copy_ignored_file),
};

fn copy_ignored_file(view: &View<'_>, report: &mut Report<'_>) {
    let Some(ignore) = view.options.context.as_ref().and_then(|context| context.ignore.as_ref()) else { return };
    for instruction in &view.file.instructions {
        let (InstructionKind::Copy(copy) | InstructionKind::Add(copy)) = &instruction.kind else { continue };
        if from_elsewhere(copy) {
            continue;
        }
        for source in copy.sources.iter().filter(|source| is_plain_path(&source.text)) {
            if let Some(pattern) = ignore.which(&source.text).filter(|_| ignore.excludes(&source.text)) {
                let message = format!("`{}` is left out of the context by `{pattern}` of the ignore file", source.text);
                report.add(at(source.span, message).with_hint("copy another file, or change the ignore file"));
            }
        }
    }
}

fn from_elsewhere(copy: &Copy) -> bool {
    copy.flags.iter().any(|flag| flag.name.text == "from")
}

/// Neither an address nor something that only the build knows.
fn is_plain_path(source: &str) -> bool {
    !source.contains("://") && !source.contains('$') && !source.starts_with("git@")
}
