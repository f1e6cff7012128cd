//! What a Dockerfile offers to its caller: the parameters of a target, and the targets there are.
//!
//! Does not know base images: their ENV and triggers are not looked at.

mod targets;

use std::collections::{BTreeMap, BTreeSet};

use cooper_llb::{MountKind, Op};

use crate::ast::{Dockerfile, Instruction, InstructionKind, Word};
use crate::evaluate::{Args, Stages, without_bases};
use crate::expand::{Mode, expand};
use crate::{Diagnostic, Severity};
pub use targets::{Target, targets};

/// The parameters of one target, those of the stages it needs included, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// The stage's name in lower case; empty if it has none.
    pub name: String,
    /// The comment `# NAME text` above its FROM.
    pub description: String,
    /// Build arguments that have an effect.
    pub args: Vec<Arg>,
    /// Secrets that steps ask for.
    pub secrets: Vec<Asked>,
    /// SSH agents that steps ask for.
    pub ssh: Vec<Asked>,
    /// Ids of cache mounts, with the lines of the steps.
    pub caches: Vec<(String, (u32, u32))>,
}

/// A build argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// Its name.
    pub name: String,
    /// The comment `# NAME text` above its ARG.
    pub description: String,
    /// Its value for this build; empty if it has none.
    pub value: String,
    /// First and last line, counted from 1.
    pub lines: (u32, u32),
}

/// A secret or an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its id.
    pub name: String,
    /// The step fails without it.
    pub required: bool,
    /// First and last line, counted from 1.
    pub lines: (u32, u32),
}

/// The outline of the target that `args` name. Nothing is fetched: base images count as empty.
///
/// # Errors
/// The diagnostics of a file that cannot be evaluated.
pub fn outline(file: &Dockerfile, args: &Args) -> Result<Outline, Vec<Diagnostic>> {
    let (stages, found) = without_bases(file, args);
    let stages = stages.ok_or_else(|| errors(found))?;
    let comments = file.comments_above();
    let mut outline = Outline::default();
    let froms = || (0..file.instructions.len()).filter(|at| stage_name(&file.instructions[*at]).is_some());
    if let Some(at) = froms().nth(stages.target) {
        outline.name = stage_name(&file.instructions[at]).unwrap_or_default();
        outline.description = description(&comments[at], &outline.name);
    }
    outline.args = arguments(file, &comments, &stages, args);
    mounts(&stages, &mut outline);
    Ok(outline)
}

fn errors(found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    found.into_iter().filter(|found| found.severity == Severity::Error).collect()
}

/// The name of a FROM in lower case, empty if it has none; `None` for other instructions.
fn stage_name(instruction: &Instruction) -> Option<String> {
    match &instruction.kind {
        InstructionKind::From(from) => {
            Some(from.name.as_ref().map(|name| name.text.to_lowercase()).unwrap_or_default())
        }
        _ => None,
    }
}

/// What the comments above an instruction say of each name: the rest of the first that begins with it.
fn descriptions<'a>(comments: &[&'a str]) -> BTreeMap<&'a str, &'a str> {
    comments.iter().rev().filter_map(|comment| comment.split_once(' ')).collect()
}

fn description(comments: &[&str], name: &str) -> String {
    descriptions(comments).get(name).copied().unwrap_or_default().to_owned()
}

/// The ARGs of the stages that are needed, and the global ones that these or their FROMs use.
fn arguments(file: &Dockerfile, comments: &[Vec<&str>], stages: &Stages, args: &Args) -> Vec<Arg> {
    let mut found: Vec<Arg> = Vec::new();
    let mut used = BTreeSet::new();
    let mut stage = None;
    let mut values = BTreeMap::new();
    for (at, instruction) in file.instructions.iter().enumerate() {
        match &instruction.kind {
            InstructionKind::From(from) => {
                stage = Some(stage.map_or(0, |stage| stage + 1));
                values = stages.args(stage.unwrap_or(0));
                if stages.needs(stage.unwrap_or(0)) {
                    let words = [Some(&from.image), from.platform.as_ref()];
                    words.into_iter().flatten().for_each(|word| used.extend(variables(word, file.escape)));
                }
            }
            InstructionKind::Arg(pairs) => {
                if !stage.is_some_and(|stage| stages.needs(stage)) {
                    continue;
                }
                let above = descriptions(&comments[at]);
                for (name, default) in pairs {
                    // Without a default of its own it is the global one, if there is such.
                    let inherits = default.is_none() && !args.build_args.contains_key(&name.text);
                    if inherits && stages.global(&name.text).is_some() {
                        used.insert(name.text.clone());
                        continue;
                    }
                    let value = values.get(name.text.as_str()).copied().unwrap_or_default();
                    found.push(arg(instruction, &above, name, value));
                }
            }
            _ => {}
        }
    }
    let mut all = global_arguments(file, comments, stages, used);
    all.extend(found);
    // Of several with one name the last is nearest to the target.
    let mut seen = BTreeSet::new();
    all.reverse();
    all.retain(|arg| seen.insert(arg.name.clone()));
    all.reverse();
    all
}

/// Global ARGs among `used`, and those that their defaults use.
fn global_arguments(
    file: &Dockerfile,
    comments: &[Vec<&str>],
    stages: &Stages,
    mut used: BTreeSet<String>,
) -> Vec<Arg> {
    let mut found = Vec::new();
    let global = file.instructions.iter().enumerate();
    let global: Vec<_> = global.take_while(|(_, instruction)| stage_name(instruction).is_none()).collect();
    for (at, instruction) in global.into_iter().rev() {
        let InstructionKind::Arg(pairs) = &instruction.kind else { continue };
        let above = descriptions(&comments[at]);
        for (name, default) in pairs.iter().rev().filter(|(name, _)| used.contains(&name.text)).collect::<Vec<_>>() {
            used.extend(default.iter().flat_map(|word| variables(word, file.escape)));
            found.push(arg(instruction, &above, name, stages.global(&name.text).unwrap_or_default()));
        }
    }
    found.reverse();
    found
}

fn arg(instruction: &Instruction, above: &BTreeMap<&str, &str>, name: &Word, value: &str) -> Arg {
    Arg {
        name: name.text.clone(),
        description: above.get(name.text.as_str()).copied().unwrap_or_default().to_owned(),
        value: value.to_owned(),
        lines: instruction.lines,
    }
}

/// Names of the variables in a word.
fn variables(word: &Word, escape: char) -> Vec<String> {
    let expanded = expand(&word.text, escape, &|_| None, Mode::Word);
    expanded.map(|expanded| expanded.undefined).unwrap_or_default()
}

fn mounts(stages: &Stages, outline: &mut Outline) {
    let mut seen = BTreeSet::new();
    for step in stages.steps() {
        let Op::Exec(exec) = &step.op else { continue };
        for mount in &exec.mounts {
            let (kind, id) = match &mount.kind {
                MountKind::Secret { id, .. } => ("secret", id),
                MountKind::Ssh { id, .. } => ("ssh", id),
                MountKind::Cache { id, .. } => ("cache", id),
                _ => continue,
            };
            if !seen.insert((kind, id.as_str())) {
                continue;
            }
            let asked = |required| Asked { name: id.clone(), required, lines: step.lines };
            match &mount.kind {
                MountKind::Secret { required, .. } => outline.secrets.push(asked(*required)),
                MountKind::Ssh { required, .. } => outline.ssh.push(asked(*required)),
                _ => outline.caches.push((id.clone(), step.lines)),
            }
        }
    }
}
