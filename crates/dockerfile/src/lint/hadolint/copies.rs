//! Rules about COPY and ADD.

use super::HADOLINT;
use crate::Severity;
use crate::ast::{Copy, Instruction, InstructionKind, Word};
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Rule};
use crate::lint::view::{Base, View};

pub(super) static RULES: [&Rule; 7] =
    [&ARCHIVE, &ADD_FILE, &DESTINATION, &FROM_UNKNOWN, &FROM_ITSELF, &RELATIVE_DESTINATION, &WHOLE_STAGE];

/// What ADD unpacks.
const ARCHIVES: [&str; 9] = [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst"];

fn is_archive(name: &str) -> bool {
    let name = name.trim_end_matches(['"', '\'']).to_lowercase();
    ARCHIVES.iter().any(|end| name.ends_with(end))
}

fn is_address(source: &str) -> bool {
    source.contains("://") || source.starts_with("git@") || source.contains('$') || source.ends_with(".git")
}

/// COPY and ADD instructions of the file, with the index of their stage.
fn copies<'v, 'a>(view: &'v View<'a>) -> impl Iterator<Item = (usize, &'a Instruction, &'a Copy)> + use<'v, 'a> {
    view.stages.iter().enumerate().flat_map(|(index, stage)| {
        stage.instructions.iter().filter_map(move |instruction| match &instruction.kind {
            InstructionKind::Copy(copy) | InstructionKind::Add(copy) => Some((index, instruction, copy)),
            _ => None,
        })
    })
}

fn from_flag(copy: &Copy) -> Option<&Word> {
    copy.flags.iter().find(|flag| flag.name.text == "from").and_then(|flag| flag.value.as_ref())
}

static ARCHIVE: Rule = Rule {
    id: "DL3010",
    severity: Severity::Info,
    summary: "a local archive is copied and then unpacked",
    meaning: "`COPY x.tar.gz` followed by `tar` keeps the archive in one layer and its files in the next. `ADD x.tar.gz /dir/` unpacks a local \
              archive as it copies it.",
    bad: "FROM alpine:3.22\nCOPY app.tar.gz /srv/\nRUN tar -xzf /srv/app.tar.gz -C /srv\n",
    good: "FROM alpine:3.22\nADD app.tar.gz /srv/\n",
    check: Check::File(archive),
    ..HADOLINT
};

fn archive(view: &View<'_>, report: &mut Report<'_>) {
    for (stage, instruction, copy) in copies(view) {
        if !matches!(instruction.kind, InstructionKind::Copy(_)) || from_flag(copy).is_some() {
            continue;
        }
        for source in copy.sources.iter().filter(|source| is_archive(&source.text)) {
            let name = source.text.rsplit('/').next().unwrap_or_default();
            let unpacked = view.commands().any(|(run, command)| {
                run.stage == stage
                    && run.instruction.span.start > instruction.span.start
                    && command.name.ends_with("tar")
                    && command.args.iter().any(|arg| arg.text.rsplit('/').next() == Some(name))
            });
            if unpacked {
                report.add(
                    at(source.span, format!("`{}` is copied, then unpacked", source.text))
                        .with_hint("use ADD, which unpacks it"),
                );
            }
        }
    }
}

static ADD_FILE: Rule = Rule {
    id: "DL3020",
    aliases: &["CIS-DI-0009"],
    severity: Severity::Error,
    fixable: true,
    summary: "ADD where COPY is meant",
    meaning: "`ADD` unpacks archives and fetches addresses, so what it does depends on what the source turns out to be. `COPY` copies. Keep \
              `ADD` for archives to unpack, addresses and git repositories.",
    bad: "FROM alpine:3.22\nADD app /srv/app\n",
    good: "FROM alpine:3.22\nCOPY app /srv/app\n",
    check: Check::File(add_file),
    ..HADOLINT
};

fn add_file(view: &View<'_>, report: &mut Report<'_>) {
    for (_, instruction, copy) in
        copies(view).filter(|(_, instruction, _)| matches!(instruction.kind, InstructionKind::Add(_)))
    {
        let plain = |source: &Word| !is_address(&source.text) && !is_archive(&source.text);
        let own_flag =
            copy.flags.iter().any(|flag| matches!(flag.name.text.as_str(), "checksum" | "keep-git-dir" | "unpack"));
        if own_flag || copy.sources.is_empty() || !copy.sources.iter().all(plain) {
            continue;
        }
        // A wildcard or a directory may hold an archive whose name does not say so; ADD unpacks by content.
        let word = if instruction.keyword.text.starts_with('a') { "copy" } else { "COPY" };
        let fix = view.replace_word(&instruction.keyword, word, false);
        let finding = at(instruction.keyword.span, "ADD is for archives and addresses; this is a plain copy");
        report.add(finding.with_hint("use COPY").with_fix(fix));
    }
}

static DESTINATION: Rule = Rule {
    id: "DL3021",
    severity: Severity::Error,
    fixable: true,
    summary: "several sources, but the destination does not say that it is a directory",
    meaning: "Several sources can only go into a directory. A destination without a `/` at its end looks like a file, and older builders \
              refuse it.",
    bad: "FROM alpine:3.22\nCOPY a b /srv\n",
    good: "FROM alpine:3.22\nCOPY a b /srv/\n",
    check: Check::File(destination),
    ..HADOLINT
};

fn destination(view: &View<'_>, report: &mut Report<'_>) {
    for (_, _, copy) in copies(view).filter(|(_, _, copy)| copy.sources.len() + copy.heredocs.len() > 1) {
        let dest = &copy.dest;
        let text = dest.text.trim_end_matches(['"', '\'']);
        let is_directory =
            text.ends_with('/') || matches!(text, "." | "..") || text.ends_with("/.") || text.contains('$');
        if !is_directory {
            let fix =
                view.replace_word(dest, &format!("{}/", dest.text), true).filter(|_| !dest.text.contains(['"', '\'']));
            let message = format!("several sources go into `{}`, which does not look like a directory", dest.text);
            report.add(at(dest.span, message).with_hint(format!("write `{text}/`")).with_fix(fix));
        }
    }
}

static FROM_UNKNOWN: Rule = Rule {
    id: "DL3022",
    summary: "COPY --from names neither a stage nor an image with a version",
    meaning: "`COPY --from=name` copies from the stage of that name, or else from an image of that name: a typing mistake in a stage's name \
              fetches a stranger's image. Name an earlier stage, or an image with tag or digest.",
    bad: "FROM alpine:3.22 AS build\nFROM alpine:3.22\nCOPY --from=biuld /app /app\n",
    good: "FROM alpine:3.22 AS build\nFROM alpine:3.22\nCOPY --from=build /app /app\n",
    check: Check::File(from_unknown),
    ..HADOLINT
};

fn from_unknown(view: &View<'_>, report: &mut Report<'_>) {
    for (stage, _, copy) in copies(view) {
        let Some(from) = from_flag(copy) else { continue };
        let text = from.text.as_str();
        let is_index = text.parse::<usize>().is_ok_and(|index| index < view.stages.len());
        let is_image = text.contains([':', '/', '@', '$']) || matches!(text, "scratch" | "context");
        if !is_index && !is_image && view.stage_named(text, view.stages.len()).is_none() {
            let names = view
                .stages
                .iter()
                .take(stage)
                .filter_map(|stage| stage.from.name.as_ref().map(|name| name.text.as_str()));
            let hint = match crate::nearest(text, names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "name an earlier stage, or an image with its tag".to_owned(),
            };
            report.add(at(from.span, format!("no stage is called `{text}`, so it is an image")).with_hint(hint));
        }
    }
}

static FROM_ITSELF: Rule = Rule {
    id: "DL3023",
    severity: Severity::Error,
    summary: "COPY --from names the stage it stands in",
    meaning: "A stage cannot copy from itself: what it holds so far is there already.",
    bad: "FROM alpine:3.22 AS app\nCOPY --from=app /a /b\n",
    good: "FROM alpine:3.22 AS build\nFROM alpine:3.22 AS app\nCOPY --from=build /a /b\n",
    check: Check::File(from_itself),
    ..HADOLINT
};

fn from_itself(view: &View<'_>, report: &mut Report<'_>) {
    for (stage, _, copy) in copies(view) {
        let own = view.stages.get(stage).and_then(|stage| stage.from.name.as_ref());
        let Some(from) = from_flag(copy) else { continue };
        let same = own.is_some_and(|own| own.text.eq_ignore_ascii_case(&from.text))
            && view.stage_named(&from.text, stage).is_none();
        if same || from.text.parse() == Ok(stage) {
            report.add(at(from.span, "a stage cannot copy from itself").with_hint("name an earlier stage"));
        }
    }
}

static RELATIVE_DESTINATION: Rule = Rule {
    id: "DL3045",
    summary: "a relative destination with no WORKDIR before it",
    meaning: "Without a `WORKDIR`, a relative destination goes into the directory that the base image has set, mostly `/`, and changes when \
              that does.",
    bad: "FROM alpine:3.22\nCOPY app app\n",
    good: "FROM alpine:3.22\nWORKDIR /srv\nCOPY app app\n",
    check: Check::File(relative_destination),
    ..HADOLINT
};

fn relative_destination(view: &View<'_>, report: &mut Report<'_>) {
    let mut ends: Vec<bool> = Vec::new();
    for stage in &view.stages {
        let mut known = matches!(stage.base, Base::Stage(base) if ends.get(base) == Some(&true));
        for instruction in stage.instructions {
            match &instruction.kind {
                InstructionKind::Workdir(_) => known = true,
                InstructionKind::Copy(copy) if !known && is_relative(&copy.dest.text) => {
                    let message =
                        format!("`{}` is relative to a directory that only the base image knows", copy.dest.text);
                    report
                        .add(at(copy.dest.span, message).with_hint("set WORKDIR before it, or write an absolute path"));
                }
                _ => {}
            }
        }
        ends.push(known);
    }
}

fn is_relative(dest: &str) -> bool {
    let dest = dest.trim_start_matches(['"', '\'']);
    let drive = dest.chars().nth(1) == Some(':');
    !dest.starts_with(['/', '\\', '$']) && !drive
}

static WHOLE_STAGE: Rule = Rule {
    id: "DL3067",
    summary: "the whole file system of a stage is copied",
    meaning: "`COPY --from=build / /` copies everything, build tools and package databases included, on top of what is there. Copy what the \
              image needs. Into an empty image (`FROM scratch`) it is a way to flatten layers, and is left alone.",
    bad: "FROM alpine:3.22 AS build\nFROM alpine:3.22\nCOPY --from=build / /\n",
    good: "FROM alpine:3.22 AS build\nFROM alpine:3.22\nCOPY --from=build /usr/local/bin/app /usr/local/bin/\n",
    check: Check::File(whole_stage),
    ..HADOLINT
};

fn whole_stage(view: &View<'_>, report: &mut Report<'_>) {
    for (stage, _, copy) in copies(view).filter(|(_, _, copy)| from_flag(copy).is_some()) {
        let from_scratch = view.stages.get(stage).is_some_and(|stage| stage.base == Base::Scratch);
        let Some(root) = copy.sources.iter().find(|source| matches!(source.text.as_str(), "/" | "/." | "/*")) else {
            continue;
        };
        if !from_scratch {
            report.add(
                at(root.span, "the whole file system of another stage is copied")
                    .with_hint("copy only what the image needs"),
            );
        }
    }
}
