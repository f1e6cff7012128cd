//! Rules about stages and what may stand in one.
//!
//! Does not know base images: only what earlier stages of the file set is inherited.

use std::collections::HashMap;

use crate::Severity;
use crate::ast::{Command, From, Instruction, InstructionKind, Word};
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Group, Rule};
use crate::lint::view::View;

pub(super) static RULES: [&Rule; 5] = [
    &DUPLICATE_STAGE_NAME,
    &JSON_ARGS_RECOMMENDED,
    &MULTIPLE_INSTRUCTIONS_DISALLOWED,
    &RESERVED_STAGE_NAME,
    &WORKDIR_RELATIVE_PATH,
];

static DUPLICATE_STAGE_NAME: Rule = Rule {
    id: "DuplicateStageName",
    aliases: &["DL3024"],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    fixable: false,
    summary: "two stages have the same name",
    meaning: "Of two stages with one name the later hides the earlier, so `COPY --from=` and `--target` may mean another \
              stage than the reader thinks. Names are compared without regard to case.",
    bad: "FROM alpine:3.22 AS base\nFROM debian:13 AS base\n",
    good: "FROM alpine:3.22 AS base\nFROM debian:13 AS final\n",
    check: Check::File(duplicate_stage_name),
};

fn duplicate_stage_name(view: &View<'_>, report: &mut Report<'_>) {
    let mut first: HashMap<String, &Word> = HashMap::new();
    for name in view.froms().filter_map(|(_, from)| from.name.as_ref()) {
        if first.insert(name.text.to_lowercase(), name).is_some() {
            let message = format!("another stage is called `{}` already", name.text);
            report.add(at(name.span, message).with_hint("choose another name"));
        }
    }
}

static RESERVED_STAGE_NAME: Rule = Rule {
    id: "ReservedStageName",
    aliases: &["DL3063"],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    fixable: false,
    summary: "a stage is called `scratch` or `context`",
    meaning: "`scratch` is the empty image and `context` the build context. A stage of that name cannot be told from them.",
    bad: "FROM alpine:3.22 AS scratch\n",
    good: "FROM alpine:3.22 AS base\n",
    check: Check::File(reserved_stage_name),
};

fn reserved_stage_name(view: &View<'_>, report: &mut Report<'_>) {
    for name in view.froms().filter_map(|(_, from)| from.name.as_ref()) {
        let lower = name.text.to_lowercase();
        if lower == "scratch" || lower == "context" {
            let message = format!("the stage name `{lower}` is reserved");
            report.add(at(name.span, message).with_hint("choose another name"));
        }
    }
}

static MULTIPLE_INSTRUCTIONS_DISALLOWED: Rule = Rule {
    id: "MultipleInstructionsDisallowed",
    aliases: &["DL3012", "DL4003", "DL4004"],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    fixable: true,
    summary: "a stage has more than one CMD, ENTRYPOINT or HEALTHCHECK",
    meaning: "Only the last `CMD`, `ENTRYPOINT` and `HEALTHCHECK` of a stage has an effect. The earlier one looks as if it did \
              something.",
    bad: "FROM alpine:3.22\nUSER 1000\nCMD [\"first\"]\nCMD [\"second\"]\n",
    good: "FROM alpine:3.22\nUSER 1000\nCMD [\"second\"]\n",
    check: Check::File(multiple_instructions_disallowed),
};

/// The earlier one is reported: it is the one without effect.
fn multiple_instructions_disallowed(view: &View<'_>, report: &mut Report<'_>) {
    let mut last: HashMap<&'static str, &Instruction> = HashMap::new();
    for instruction in &view.file.instructions {
        let name = match instruction.kind {
            InstructionKind::From(_) => {
                last.clear();
                continue;
            }
            InstructionKind::Cmd(_) => "CMD",
            InstructionKind::Entrypoint(_) => "ENTRYPOINT",
            InstructionKind::Healthcheck(_) => "HEALTHCHECK",
            _ => continue,
        };
        if let Some(earlier) = last.insert(name, instruction) {
            let message = format!("this {name} has no effect, a later one in the stage replaces it");
            let fix = view.remove_instruction(earlier, true);
            report.add(at(earlier.keyword.span, message).with_hint("remove it").with_fix(fix));
        }
    }
}

static JSON_ARGS_RECOMMENDED: Rule = Rule {
    id: "JSONArgsRecommended",
    aliases: &["DL3025"],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    fixable: true,
    summary: "CMD or ENTRYPOINT is in shell form",
    meaning: "`CMD server` runs `/bin/sh -c server`: the shell is process 1 and does not pass signals on, so `docker stop` waits \
              ten seconds and kills the program, and an `ENTRYPOINT` in this form ignores `CMD` and arguments. The JSON form \
              runs the program itself.\n\nIf the shell is wanted, for variables or `&&`, say so with `SHELL`, or write \
              `[\"sh\", \"-c\", \"exec server $FLAGS\"]`.",
    bad: "FROM alpine:3.22\nUSER 1000\nCMD server --port 80\n",
    good: "FROM alpine:3.22\nUSER 1000\nCMD [\"server\", \"--port\", \"80\"]\n",
    check: Check::File(json_args_recommended),
};

fn json_args_recommended(view: &View<'_>, report: &mut Report<'_>) {
    let mut stages = Stages::default();
    for instruction in &view.file.instructions {
        match &instruction.kind {
            InstructionKind::From(from) => stages.begin(from),
            InstructionKind::Shell(_) => stages.current.shell = true,
            InstructionKind::Cmd(Command::Shell(text)) | InstructionKind::Entrypoint(Command::Shell(text))
                if !stages.current.shell =>
            {
                let name = instruction.keyword.text.to_uppercase();
                let message = format!("{name} in shell form runs under a shell, which does not pass signals on");
                let hint = format!("write `{name} [\"program\", \"argument\"]`, or set SHELL if the shell is wanted");
                report.add(at(text.span, message).with_hint(hint).with_fix(view.json_form(text)));
            }
            _ => {}
        }
    }
}

static WORKDIR_RELATIVE_PATH: Rule = Rule {
    id: "WorkdirRelativePath",
    aliases: &["DL3000"],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    fixable: false,
    summary: "a relative WORKDIR with no absolute one before it",
    meaning: "A relative `WORKDIR` goes on from the directory of the base image, which this file does not show and which may \
              change with it. Begin with an absolute path.",
    bad: "FROM alpine:3.22\nWORKDIR app\n",
    good: "FROM alpine:3.22\nWORKDIR /app\n",
    check: Check::File(workdir_relative_path),
};

fn workdir_relative_path(view: &View<'_>, report: &mut Report<'_>) {
    let mut stages = Stages::default();
    for instruction in &view.file.instructions {
        match &instruction.kind {
            InstructionKind::From(from) => stages.begin(from),
            InstructionKind::Workdir(path) => {
                let absolute = is_absolute(path.text.trim_start_matches(['"', '\'']));
                if !stages.current.workdir && !absolute {
                    let message = format!("`{}` is relative to a directory that only the base image knows", path.text);
                    report.add(at(path.span, message).with_hint("write an absolute path first"));
                }
                stages.current.workdir = true;
            }
            _ => {}
        }
    }
}

/// From the root, a variable, or a drive of Windows.
fn is_absolute(path: &str) -> bool {
    let drive = path.get(1..3).is_some_and(|rest| matches!(rest, ":\\" | ":/"));
    path.starts_with(['/', '$', '\\']) || drive
}

/// What a stage has set for the stages built on it.
#[derive(Clone, Copy, Debug, Default)]
struct Stage {
    shell: bool,
    workdir: bool,
}

#[derive(Debug, Default)]
struct Stages {
    current: Stage,
    current_name: Option<String>,
    named: HashMap<String, Stage>,
}

impl Stages {
    fn begin(&mut self, from: &From) {
        if let Some(name) = self.current_name.take() {
            self.named.insert(name, self.current);
        }
        self.current = self.named.get(&from.image.text.to_lowercase()).copied().unwrap_or_default();
        self.current_name = from.name.as_ref().map(|name| name.text.to_lowercase());
    }
}
