//! Rules about stages and what may stand in one.
//!
//! Does not know base images: only what earlier stages of the file set is inherited.

use std::collections::HashMap;

use super::by_stage;
use crate::Diagnostic;
use crate::ast::{Command, Dockerfile, From, Instruction, InstructionKind, Word};

pub(super) fn check(file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    names(file, found);
    only_one(file, found);
    let mut stages = Stages::default();
    for instruction in &file.instructions {
        match &instruction.kind {
            InstructionKind::From(from) => stages.begin(from),
            InstructionKind::Shell(_) => stages.current.shell = true,
            InstructionKind::Cmd(command) | InstructionKind::Entrypoint(command) if !stages.current.shell => {
                json_recommended(instruction, command, found);
            }
            InstructionKind::Workdir(path) => workdir(path, &mut stages.current, found),
            _ => {}
        }
    }
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

fn names(file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    let mut first: HashMap<String, &Word> = HashMap::new();
    let names = file.instructions.iter().filter_map(|instruction| match &instruction.kind {
        InstructionKind::From(from) => from.name.as_ref(),
        _ => None,
    });
    for name in names {
        let lower = name.text.to_lowercase();
        if lower == "scratch" || lower == "context" {
            let message = format!("the stage name `{lower}` is reserved");
            found.push(Diagnostic::warning("ReservedStageName", name.span, message).with_hint("choose another name"));
        }
        if first.insert(lower, name).is_some() {
            let message = format!("another stage is called `{}` already", name.text);
            found.push(Diagnostic::warning("DuplicateStageName", name.span, message).with_hint("choose another name"));
        }
    }
}

/// The earlier one is reported: it is the one without effect.
fn only_one(file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    let mut last: HashMap<&'static str, (usize, &Instruction)> = HashMap::new();
    for (stage, instruction) in by_stage(file) {
        let name = match instruction.kind {
            InstructionKind::Cmd(_) => "CMD",
            InstructionKind::Entrypoint(_) => "ENTRYPOINT",
            InstructionKind::Healthcheck(_) => "HEALTHCHECK",
            _ => continue,
        };
        if let Some((_, earlier)) = last.insert(name, (stage, instruction)).filter(|(other, _)| *other == stage) {
            let message = format!("this {name} has no effect, a later one in the stage replaces it");
            let warning = Diagnostic::warning("MultipleInstructionsDisallowed", earlier.keyword.span, message);
            found.push(warning.with_hint("remove it"));
        }
    }
}

fn json_recommended(instruction: &Instruction, command: &Command, found: &mut Vec<Diagnostic>) {
    let Command::Shell(text) = command else { return };
    let name = instruction.keyword.text.to_uppercase();
    let message = format!("{name} in shell form runs under a shell, which does not pass signals on");
    let hint = format!("write `{name} [\"program\", \"argument\"]`, or set SHELL if the shell is wanted");
    found.push(Diagnostic::warning("JSONArgsRecommended", text.span, message).with_hint(hint));
}

fn workdir(path: &Word, stage: &mut Stage, found: &mut Vec<Diagnostic>) {
    let absolute = path.text.trim_start_matches(['"', '\'']).starts_with(['/', '$']);
    if !stage.workdir && !absolute {
        let message = format!("`{}` is relative to a directory that only the base image knows", path.text);
        let warning = Diagnostic::warning("WorkdirRelativePath", path.span, message);
        found.push(warning.with_hint("write an absolute path first"));
    }
    stage.workdir = true;
}
