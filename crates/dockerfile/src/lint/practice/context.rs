//! Rules about what of the context gets into the image.

use super::PRACTICE;
use super::cache::copies_context;
use crate::Severity;
use crate::ast::{Copy, Instruction, InstructionKind};
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Group, Rule};
use crate::lint::view::View;

pub(super) static RULES: [&Rule; 2] = [&NO_IGNORE_FILE, &GIT_IN_IMAGE];

/// What has no business in an image, and is large, secret, or made by other builds.
const UNWANTED: [&str; 14] = [
    ".git",
    "node_modules",
    ".env",
    ".venv",
    "venv",
    "__pycache__",
    "target",
    ".gradle",
    ".terraform",
    ".next",
    "coverage",
    ".idea",
    ".aws",
    ".ssh",
];

/// COPY and ADD of the whole context, with the index of their stage.
fn whole_copies<'v, 'a>(view: &'v View<'a>) -> impl Iterator<Item = (usize, &'a Instruction, &'a Copy)> + use<'v, 'a> {
    view.stages.iter().enumerate().flat_map(|(index, stage)| {
        stage.instructions.iter().filter_map(move |instruction| match &instruction.kind {
            InstructionKind::Copy(copy) | InstructionKind::Add(copy) if copies_context(copy) => {
                Some((index, instruction, copy))
            }
            _ => None,
        })
    })
}

static NO_IGNORE_FILE: Rule = Rule {
    id: "CO1201",
    summary: "the whole context is copied, and no ignore file leaves anything out",
    meaning: "`COPY . .` takes what happens to lie there: `.git` with the whole history, `node_modules` of another system, `.env` with \
              passwords. It makes the image large and the cache useless, since any change counts. Write a `.dockerignore`.\n\nRaised if the \
              context is known to have no ignore file, and to hold something of that kind.",
    bad: "FROM alpine:3.22\nWORKDIR /app\nCOPY . .\n",
    good: "FROM alpine:3.22\nWORKDIR /app\nCOPY src/ src/\n",
    check: Check::File(no_ignore_file),
    ..PRACTICE
};

fn no_ignore_file(view: &View<'_>, report: &mut Report<'_>) {
    let Some(context) = view.options.context.as_ref().filter(|context| context.ignore.is_none()) else { return };
    let found = context.names.iter().find(|name| UNWANTED.contains(&name.as_str()));
    let Some((_, instruction, _)) = whole_copies(view).next().filter(|_| context.names.is_empty() || found.is_some())
    else {
        return;
    };
    let what = found.map(|name| format!(", `{name}` among it")).unwrap_or_default();
    let message = format!("all of the context is copied{what}, and there is no .dockerignore");
    report.add(
        at(instruction.keyword.span, message).with_hint("write a .dockerignore that names what is not for the image"),
    );
}

static GIT_IN_IMAGE: Rule = Rule {
    id: "DKL-LI-0003",
    group: Group::Image,
    severity: Severity::Info,
    summary: "files of the development get into the image",
    meaning: "The ignore file does not leave out `.git` (or `.env`, `node_modules`, ..), and `COPY . .` puts it into the image: history, \
              passwords and programs of another system, for everyone who can pull it.\n\nThe examples are for a context with `.git` in it.",
    bad: "FROM alpine:3.22\nWORKDIR /app\nCOPY . .\n",
    good: "FROM alpine:3.22\nWORKDIR /app\nCOPY src/ src/\n",
    check: Check::File(git_in_image),
    ..PRACTICE
};

fn git_in_image(view: &View<'_>, report: &mut Report<'_>) {
    let Some(context) = &view.options.context else { return };
    let Some(ignore) = &context.ignore else { return };
    let Some((_, instruction, _)) = whole_copies(view).find(|(stage, _, _)| view.is_in_image(*stage)) else { return };
    let left = context.names.iter().find(|name| UNWANTED.contains(&name.as_str()) && !ignore.excludes(name));
    if let Some(name) = left {
        let message = format!("`{name}` gets into the image: the ignore file does not leave it out");
        report.add(at(instruction.keyword.span, message).with_hint(format!("add `{name}` to the ignore file")));
    }
}
