//! Stages from a parsed Dockerfile: names resolved, variables expanded, values checked.
//!
//! Knows nothing of the build graph's shape; asks for the configs of base images by returning what it needs.

mod args;
mod copy;
mod mount;
mod names;
mod offline;
mod origin;
mod owner;
mod plan;
mod ports;
mod remote;
mod report;
mod run;
mod scope;
mod settings;
mod signal;
mod stage;

use std::collections::{BTreeMap, BTreeSet};

use cooper_oci::ImageConfig;

pub use args::{Args, BaseKey, Bases, Named};
pub use offline::diagnose;
pub(crate) use offline::without_bases;
pub(crate) use origin::Origin;

use crate::ast::{Dockerfile, Instruction, InstructionKind};
use crate::{Diagnostic, Severity, Span, lint, nearest};
use plan::{Plan, Planner};
use report::Report;
use scope::Scope;
use stage::Evaluator;

/// What evaluation came to.
#[derive(Clone, Debug)]
pub enum Evaluation {
    /// These configs are missing from the bases; fetch them and call again.
    Needs(Vec<(BaseKey, (u32, u32))>),
    /// Everything is known.
    Done(Stages),
    /// The diagnostics hold errors.
    Failed,
}

/// The stages a target is made of, fully evaluated.
#[derive(Clone, Debug)]
pub struct Stages {
    /// By index in the file; `None` for those that the target does not need.
    pub(crate) stages: Vec<Option<Stage>>,
    /// The stage that is built.
    pub(crate) target: usize,
    /// `created` of image and history, when the caller or the file says one.
    pub(crate) epoch: Option<i64>,
    /// ARGs before the first FROM, and those that are predefined.
    global: Scope,
}

impl Stages {
    /// The name of the stage that is built, or `stage-N`; empty for the only stage.
    pub fn target_name(&self) -> &str {
        self.stages.get(self.target).and_then(Option::as_ref).map_or("", |stage| stage.label.as_str())
    }

    /// Whether the target needs a stage, by its index in the file.
    pub(crate) fn needs(&self, index: usize) -> bool {
        self.stages.get(index).is_some_and(Option::is_some)
    }

    /// The steps of all stages that are needed.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.stages.iter().flatten().flat_map(|stage| &stage.steps)
    }

    /// The value of a variable before the first FROM.
    pub(crate) fn global(&self, name: &str) -> Option<&str> {
        self.global.get(name)
    }

    /// The ARGs of a stage and of those it is based on, with the values given to them; the last of a name counts.
    pub(crate) fn args(&self, index: usize) -> BTreeMap<&str, &str> {
        let stage = self.stages.get(index).and_then(Option::as_ref);
        let args = stage.into_iter().flat_map(|stage| &stage.end.build_args);
        args.map(|(name, value)| (name.as_str(), value.as_deref().unwrap_or_default())).collect()
    }
}

/// Which stages matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Those that the target needs.
    Target,
    /// All of them.
    All,
}

/// A stage, fully evaluated.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// As shown: name, `stage-N`, or nothing for the only one.
    pub(crate) label: String,
    /// Name, or index where it has none.
    pub(crate) id: String,
    /// Name as shown of the vertex it starts from, when that is not another stage.
    pub(crate) from_name: String,
    /// Lines of its FROM.
    pub(crate) lines: (u32, u32),
    /// The FROM instruction's text.
    pub(crate) from_text: String,
    pub(crate) base: Origin,
    pub(crate) platform: cooper_oci::Platform,
    pub(crate) steps: Vec<Step>,
    /// Config with history; entries from `inherited_history` on have no date yet.
    pub(crate) image: ImageConfig,
    pub(crate) inherited_history: usize,
    pub(crate) clamp: i64,
    pub(crate) no_cache: bool,
    /// What stages based on it go on from.
    pub(crate) end: End,
}

/// What stages based on a stage go on from.
#[derive(Clone, Debug, Default)]
pub(crate) struct End {
    /// ENV and ARG.
    scope: Scope,
    /// ARGs declared, with the value given to them, as history lists them.
    build_args: Vec<(String, Option<String>)>,
}

/// An instruction that makes a layer.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// `[build 2/5] RUN make`.
    pub(crate) name: String,
    /// `RUN make`.
    pub(crate) instruction: String,
    pub(crate) lines: (u32, u32),
    /// Exec or File; input 0 is the stage so far, input `n` is `inputs[n - 1]`. Clamps are set.
    pub(crate) op: cooper_llb::Op,
    pub(crate) inputs: Vec<Origin>,
}

/// Evaluates what the target needs. Call it again with more `bases` until it is `Done` or `Failed`.
pub fn evaluate(dockerfile: &Dockerfile, args: &Args, bases: &Bases) -> (Evaluation, Vec<Diagnostic>) {
    evaluate_stages(dockerfile, args, bases, Wanted::Target)
}

fn evaluate_stages(
    dockerfile: &Dockerfile,
    args: &Args,
    bases: &Bases,
    wanted: Wanted,
) -> (Evaluation, Vec<Diagnostic>) {
    let mut report = Report::default();
    let (evaluation, diagnostics) = evaluate_into(dockerfile, args, bases, wanted, &mut report);
    let check = args.build_args.get("BUILDKIT_DOCKERFILE_CHECK").map(String::as_str);
    let (mut found, warnings): (Vec<_>, Vec<_>) =
        diagnostics.into_iter().partition(|diagnostic| diagnostic.severity == Severity::Error);
    found.extend(lint::apply_options(dockerfile, check, warnings));
    found.sort_by_key(|diagnostic| diagnostic.span.start);
    let failed = found.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    match evaluation {
        _ if failed => (Evaluation::Failed, found),
        Some(evaluation) => (evaluation, found),
        None => (Evaluation::Failed, found),
    }
}

fn evaluate_into(
    file: &Dockerfile,
    args: &Args,
    bases: &Bases,
    wanted: Wanted,
    report: &mut Report,
) -> (Option<Evaluation>, Vec<Diagnostic>) {
    check_syntax(file, report);
    let mut planner = Planner::new(file, args, std::mem::take(report));
    let plans = planner.plans(file);
    let epoch = epoch(args, &planner.global, &mut planner.report);
    let Some(target) = find_target(file, args, &plans, &mut planner.report) else {
        return (None, planner.report.diagnostics);
    };
    if planner.report.has_errors() {
        return (None, planner.report.diagnostics);
    }
    let Planner { global, mut report, spent, .. } = planner;
    let file = File { args, escape: file.escape, bases, plans: &plans, global, spent };
    let mut evaluated: Vec<Evaluated> = Vec::new();
    for index in 0..plans.len() {
        let done = Evaluator::new(&file, index, &evaluated).run();
        evaluated.push(done);
    }
    let needed = match wanted {
        Wanted::Target => reachable(&evaluated, target),
        Wanted::All => (0..evaluated.len()).collect(),
    };
    let mut needs: BTreeMap<BaseKey, (u32, u32)> = BTreeMap::new();
    for done in needed.iter().map(|index| &evaluated[*index]) {
        if let Some(key) = &done.need {
            needs.entry(key.clone()).or_insert(done.stage.lines);
        }
    }
    if !needs.is_empty() {
        return (Some(Evaluation::Needs(needs.into_iter().collect())), report.diagnostics);
    }
    let stages = evaluated.into_iter().enumerate().map(|(index, done)| {
        needed.contains(&index).then(|| {
            done.report.diagnostics.into_iter().for_each(|diagnostic| report.add(diagnostic));
            done.stage
        })
    });
    let stages = stages.collect();
    let global = file.global.clone();
    (Some(Evaluation::Done(Stages { stages, target, epoch, global })), report.diagnostics)
}

/// What all stages of a file share.
pub(crate) struct File<'a> {
    args: &'a Args,
    escape: char,
    bases: &'a Bases,
    plans: &'a [Plan<'a>],
    global: Scope,
    /// Bytes that global ARGs expanded to.
    spent: usize,
}

/// What came of one stage, needed or not.
#[derive(Debug)]
pub(crate) struct Evaluated {
    stage: Stage,
    /// Stages it reads.
    reads: BTreeSet<usize>,
    /// Config that is missing; what was evaluated without it means nothing.
    need: Option<BaseKey>,
    /// Bytes expanded by this stage and those before it.
    spent: usize,
    report: Report,
}

fn reachable(evaluated: &[Evaluated], target: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut open = vec![target];
    while let Some(index) = open.pop() {
        if found.insert(index)
            && let Some(done) = evaluated.get(index)
        {
            open.extend(&done.reads);
        }
    }
    found
}

/// Frontends from images are not run: only the language this program reads is accepted.
fn check_syntax(file: &Dockerfile, report: &mut Report) {
    let Some(syntax) = file.directives.iter().find(|directive| directive.key == "syntax") else { return };
    let name = syntax.value.text.split([':', '@']).next().unwrap_or_default();
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    if !matches!(name, "docker/dockerfile" | "docker/dockerfile-upstream" | "dockerfile.v0") {
        report.error_hint(
            syntax.value.span,
            format!("the syntax `{}` is not supported", syntax.value.text),
            "cooper reads Dockerfiles itself and runs no frontend image; remove the line or write `# syntax=docker/dockerfile:1`",
        );
    }
}

/// SOURCE_DATE_EPOCH of the caller, a build argument, or a global ARG.
fn epoch(args: &Args, global: &Scope, report: &mut Report) -> Option<i64> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let given = args.build_args.get(NAME).map(String::as_str).or_else(|| global.get(NAME));
    let text = given.filter(|text| !text.is_empty() && args.epoch.is_none());
    let parsed = text.map(|text| (text, text.parse::<i64>()));
    match parsed {
        None => args.epoch.or(args.default_epoch),
        Some((_, Ok(epoch))) if epoch >= 0 => Some(epoch),
        Some(("context", _)) => args.context_date,
        Some((text, _)) => {
            let message = format!("SOURCE_DATE_EPOCH is `{text}`, which is not a number of seconds since 1970");
            report.error(Span::default(), message);
            None
        }
    }
}

/// The stage to build, by name or index.
fn find_target(file: &Dockerfile, args: &Args, plans: &[Plan<'_>], report: &mut Report) -> Option<usize> {
    let Some(last) = plans.len().checked_sub(1) else {
        let end = file.instructions.last().map_or(Span::default(), |instruction| instruction.span);
        report.error_hint(end, "no stage to build", "a Dockerfile needs at least one FROM");
        return None;
    };
    let Some(target) = &args.target else { return Some(last) };
    let lower = target.to_lowercase();
    let by_name = plans.iter().rposition(|plan| plan.name.as_deref() == Some(&lower));
    let by_index = || lower.parse::<usize>().ok().filter(|index| *index < plans.len());
    let found = by_name.or_else(by_index);
    if found.is_none() {
        report.error_hint(
            plans.last().map_or(Span::default(), |plan| plan.from.span),
            format!("target stage `{target}` could not be found"),
            target_hint(&lower, plans),
        );
    }
    found
}

fn target_hint(target: &str, plans: &[Plan<'_>]) -> String {
    let names: Vec<&str> = plans.iter().filter_map(|plan| plan.name.as_deref()).collect();
    let list = if names.is_empty() {
        format!("no stage has a name; they are 0 to {}", plans.len().saturating_sub(1))
    } else {
        format!("the stages are {}", names.join(", "))
    };
    match nearest(target, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? {list}"),
        None => list,
    }
}

/// ONBUILD triggers among the instructions of a stage.
fn triggers(instructions: &[Instruction]) -> impl Iterator<Item = &Instruction> {
    instructions.iter().filter_map(|instruction| match &instruction.kind {
        InstructionKind::Onbuild(_, held) => Some(&**held),
        _ => None,
    })
}
