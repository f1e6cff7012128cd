//! One stage: its base, then its instructions in order, with the variables each one sees.
//!
//! Knows nothing of whether the stage is needed.

use std::collections::BTreeSet;

use cooper_llb::Op;
use cooper_oci::{ImageConfig, Platform};

use super::origin::{Origin, named_context};
use super::plan::{Plan, lookup};
use super::report::Report;
use super::scope::Scope;
use super::{End, Evaluated, File, Stage, Step, triggers};
use crate::ast::{Instruction, InstructionKind, Word};
use crate::expand::{Expanded, Mode, expand};
use crate::image::{self, DEFAULT_CLAMP};
use crate::parse::parse_trigger;
use crate::{Diagnostic, Span, nearest};

/// Triggers of a base image beyond this are refused: each may be a whole instruction, and the base is not trusted.
const TRIGGERS_MAX: usize = 1000;

/// Bytes of environment, history and here-documents that all stages together may expand to. Values can double with every
/// line and are repeated in every step, so a small file could fill any memory; real builds need a thousandth of this.
pub(super) const EXPANDED_BYTES_MAX: usize = 32 << 20;

/// What one line of history takes besides its text.
const HISTORY_ENTRY_BYTES: usize = 256;

/// The state while a stage is read.
pub(super) struct Evaluator<'a> {
    pub(super) file: &'a File<'a>,
    pub(super) plan: &'a Plan<'a>,
    index: usize,
    done: &'a [Evaluated],
    /// Values in force: the base's ENV, then ENV and ARG as they come.
    pub(super) scope: Scope,
    pub(super) build_args: Vec<(String, Option<String>)>,
    pub(super) image: ImageConfig,
    pub(super) platform: Platform,
    pub(super) clamp: i64,
    pub(super) cmd_set: bool,
    /// Of [`EXPANDED_BYTES_MAX`].
    spent: usize,
    label: String,
    steps: Vec<Step>,
    reads: BTreeSet<usize>,
    pub(super) report: Report,
    /// Steps counted so far and in all.
    at: usize,
    total: usize,
    onbuild: bool,
    /// Where to point at for text that is not in the file.
    place: Option<Span>,
}

/// A trigger of a base image, parsed by itself; or one of a stage in this file.
struct Trigger {
    instruction: Instruction,
    foreign: bool,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(file: &'a File<'a>, index: usize, done: &'a [Evaluated]) -> Self {
        let plan = &file.plans[index];
        Self {
            file,
            plan,
            index,
            done,
            scope: Scope::default(),
            build_args: Vec::new(),
            image: ImageConfig::default(),
            platform: plan.platform.clone(),
            clamp: DEFAULT_CLAMP,
            cmd_set: false,
            spent: done.last().map_or(file.spent, |last| last.spent),
            label: if alone(file) { String::new() } else { plan.label(index) },
            steps: Vec::new(),
            reads: BTreeSet::new(),
            report: plan.report.clone(),
            at: 0,
            total: 0,
            onbuild: false,
            place: None,
        }
    }

    pub(super) fn run(mut self) -> Evaluated {
        let need = self.plan.base.base_key().filter(|key| !self.file.bases.contains_key(key));
        let triggers = self.start();
        // The entries of a stage below have no date yet either.
        let below = match self.plan.base {
            Origin::Stage(at) => self.done.get(at).map(|base| base.stage.inherited_history),
            _ => None,
        };
        let inherited_history = below.unwrap_or(self.image.history.len());
        if matches!(self.plan.base, Origin::Local { .. }) {
            image::commit_invented(&mut self.image);
        }
        let from_name = self.count(&triggers);
        if !self.plan.replaced {
            self.onbuild = true;
            for trigger in &triggers {
                self.place = trigger.foreign.then_some(self.plan.from.span);
                self.instruction(&trigger.instruction);
            }
            self.onbuild = false;
            self.place = None;
            self.plan.instructions.iter().for_each(|instruction| self.instruction(instruction));
        }
        self.finish(need, from_name, inherited_history)
    }

    fn finish(self, need: Option<super::BaseKey>, from_name: String, inherited_history: usize) -> Evaluated {
        let args = self.file.args;
        let mut reads = self.reads;
        if let Origin::Stage(base) = self.plan.base {
            reads.insert(base);
        }
        let filtered = |name: &str| args.no_cache_stages.iter().any(|stage| stage.eq_ignore_ascii_case(name));
        let stage = Stage {
            id: self.plan.name.clone().unwrap_or_else(|| self.index.to_string()),
            label: self.label,
            from_name,
            lines: self.plan.from.lines,
            from_text: format!("FROM {}", self.plan.from.original),
            base: self.plan.base.clone(),
            platform: self.platform,
            steps: self.steps,
            image: self.image,
            inherited_history,
            clamp: self.clamp,
            no_cache: args.no_cache || self.plan.name.as_deref().is_some_and(filtered),
            end: End { scope: self.scope, build_args: self.build_args },
        };
        Evaluated { stage, reads, need, spent: self.spent, report: self.report }
    }

    /// Takes over what the base leaves, and returns its triggers.
    fn start(&mut self) -> Vec<Trigger> {
        let plan = self.plan;
        if let Origin::Stage(at) = plan.base {
            return self.start_from_stage(at);
        }
        let base = plan.base.base_key().and_then(|key| self.file.bases.get(&key));
        let Some(base) = base else {
            self.image = image::empty_image(&plan.platform);
            self.scope = Scope::of_env(&self.image.config.env);
            return Vec::new();
        };
        self.image = image::inherited(base);
        self.clamp = image::base_clamp(base);
        self.check_base(base);
        image::ensure_path(&mut self.image.config.env);
        self.scope = Scope::of_env(&self.image.config.env);
        if !self.image.config.working_dir.is_empty() {
            let workdir = std::mem::take(&mut self.image.config.working_dir);
            self.image.config.working_dir = super::names::join_workdir("/", &workdir);
        }
        if plan.replaced { Vec::new() } else { self.foreign_triggers(&base.config.on_build) }
    }

    fn start_from_stage(&mut self, at: usize) -> Vec<Trigger> {
        let Some(base) = self.done.get(at) else { return Vec::new() };
        let entries = &base.stage.image.history;
        let inherited: usize = entries.iter().map(|entry| entry.created_by.len() + HISTORY_ENTRY_BYTES).sum();
        if !self.spend(self.plan.from.span, inherited + base.stage.end.scope.bytes()) {
            return Vec::new();
        }
        self.image = base.stage.image.clone();
        self.image.config.on_build.clear();
        self.platform = base.stage.platform.clone();
        self.clamp = base.stage.clamp;
        self.scope = base.stage.end.scope.clone();
        self.build_args = base.stage.end.build_args.clone();
        let held = self.file.plans.get(at).map_or(&[][..], |plan| plan.instructions);
        triggers(held)
            .map(|held| {
                let instruction = Instruction { lines: self.plan.from.lines, ..held.clone() };
                Trigger { instruction, foreign: false }
            })
            .collect()
    }

    fn check_base(&mut self, base: &ImageConfig) {
        let span = self.plan.from.span;
        let (wanted, actual) = (&self.plan.platform, base.platform());
        if wanted.os != actual.os || wanted.architecture != actual.architecture {
            let name =
                self.plan.from.original.split_whitespace().find(|word| !word.starts_with("--")).unwrap_or_default();
            let message = format!(
                "base image {name} was pulled with platform \"{actual}\", expected \"{wanted}\" for current build"
            );
            self.report.add(Diagnostic::warning("InvalidBaseImagePlatform", span, message));
        }
        if !base.config.user.is_empty()
            && let Err(why) = super::owner::parse_owner(&base.config.user)
        {
            self.report.error(span, format!("the base image's USER cannot be used: {why}"));
        }
    }

    /// Reads the triggers of a base image's config.
    fn foreign_triggers(&mut self, texts: &[String]) -> Vec<Trigger> {
        let span = self.plan.from.span;
        if texts.len() > TRIGGERS_MAX {
            self.report.error(span, format!("the base image has more than {TRIGGERS_MAX} ONBUILD triggers"));
            return Vec::new();
        }
        let mut triggers = Vec::new();
        for text in texts {
            match parse_trigger(text) {
                Ok(trigger) => {
                    let instruction = Instruction { lines: self.plan.from.lines, ..trigger };
                    triggers.push(Trigger { instruction, foreign: true });
                }
                Err(error) => {
                    let why = error.message;
                    self.report.error(span, format!("the base image's trigger `ONBUILD {text}` cannot be used: {why}"));
                }
            }
        }
        triggers
    }

    /// Counts the steps and names the first.
    fn count(&mut self, triggers: &[Trigger]) -> String {
        let plan = self.plan;
        let pulled = !matches!(plan.base, Origin::Stage(_) | Origin::Scratch);
        let shown = match &plan.base {
            Origin::Image { shown, .. } => shown.clone(),
            Origin::OciLayout { name, .. } => format!("[context {name}] FROM {name}"),
            Origin::Local { name } => format!("[context {name}] load {name}"),
            _ => "FROM scratch".to_owned(),
        };
        if plan.replaced {
            return shown;
        }
        let layers = plan.instructions.iter().filter(|instruction| makes_step(instruction)).count();
        self.total = usize::from(pulled) + layers + triggers.len();
        if pulled && shown.starts_with("FROM ") { self.step_name(&shown) } else { shown }
    }

    /// `[stage 2/5] text`, counting on.
    pub(super) fn step_name(&mut self, text: &str) -> String {
        self.at += 1;
        let mut prefix = String::new();
        if self.file.args.multi_platform {
            prefix.push_str(&format!("{} ", self.platform));
        }
        if !self.label.is_empty() {
            prefix.push_str(&format!("{} ", self.label));
        }
        let width = self.total.checked_ilog10().map_or(1, |digits| digits as usize + 1);
        let onbuild = if self.onbuild { "ONBUILD " } else { "" };
        format!("[{prefix}{:width$}/{}] {onbuild}{text}", self.at, self.total)
    }

    pub(super) fn push_step(&mut self, instruction: &Instruction, name: &str, op: Op, inputs: Vec<Origin>) {
        let name = self.step_name(name);
        for origin in &inputs {
            if let Origin::Stage(index) = origin {
                self.reads.insert(*index);
            }
        }
        let text = super::names::instruction_text(instruction);
        if !self.spend(instruction.span, name.len() + text.len()) {
            return;
        }
        self.steps.push(Step { name, instruction: text, lines: instruction.lines, op, inputs });
    }

    /// Counts what a value takes; false, with an error, when it is too much.
    pub(super) fn spend(&mut self, span: Span, bytes: usize) -> bool {
        let before = self.spent;
        self.spent = before.saturating_add(bytes);
        let fits = self.spent <= EXPANDED_BYTES_MAX;
        if !fits && before <= EXPANDED_BYTES_MAX {
            let message = format!("the values of the file expand to more than {EXPANDED_BYTES_MAX} bytes");
            self.error_hint(span, message, "look for variables that are built from themselves");
        }
        fits
    }

    /// Adds a line of history.
    pub(super) fn commit(&mut self, span: Span, text: String, layer: bool) {
        if self.spend(span, text.len() + HISTORY_ENTRY_BYTES) {
            image::commit(&mut self.image, text, layer);
        }
    }

    fn instruction(&mut self, instruction: &Instruction) {
        if self.spent > EXPANDED_BYTES_MAX {
            return;
        }
        match &instruction.kind {
            InstructionKind::Run(run) => self.run_instruction(instruction, run),
            InstructionKind::Copy(copy) => self.copy_instruction(instruction, copy, false),
            InstructionKind::Add(add) => self.copy_instruction(instruction, add, true),
            InstructionKind::Workdir(path) => self.workdir(instruction, path),
            InstructionKind::From(_) => {}
            other => self.setting(instruction.span, other),
        }
    }

    /// Where to point at.
    pub(super) fn at(&self, span: Span) -> Span {
        self.place.unwrap_or(span)
    }

    pub(super) fn error(&mut self, span: Span, message: impl Into<String>) {
        let span = self.at(span);
        self.report.error(span, message);
    }

    pub(super) fn error_hint(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        let span = self.at(span);
        self.report.error_hint(span, message, hint);
    }

    /// Expands a word with the values in force.
    pub(super) fn word(&mut self, word: &Word) -> Option<String> {
        self.text(&word.text, word.span, Mode::Word)
    }

    pub(super) fn text(&mut self, text: &str, span: Span, mode: Mode) -> Option<String> {
        if self.spent > EXPANDED_BYTES_MAX {
            return None;
        }
        // BuildKit reads here-documents with `\` whatever the file's escape is.
        let escape = if mode == Mode::Raw { '\\' } else { self.file.escape };
        let expanded = expand(text, escape, &lookup(&self.scope), mode);
        match expanded {
            Ok(expanded) => {
                self.undefined(span, &expanded);
                self.spend(span, expanded.text.len()).then_some(expanded.text)
            }
            Err(error) => {
                let placed = error.at(&Word { text: text.to_owned(), span });
                self.error(placed.span, placed.message);
                None
            }
        }
    }

    /// Expands the name of a stage or image, for which global ARGs count too.
    pub(super) fn reference_text(&mut self, text: &str, span: Span) -> Option<String> {
        let file = self.file;
        let look = |name: &str| self.scope.get(name).or_else(|| file.global.get(name)).map(str::to_owned);
        let expanded = expand(text, file.escape, &look, Mode::Word);
        match expanded {
            Ok(expanded) => {
                self.undefined(span, &expanded);
                Some(expanded.text)
            }
            Err(error) => {
                let placed = error.at(&Word { text: text.to_owned(), span });
                self.error(placed.span, placed.message);
                None
            }
        }
    }

    fn undefined(&mut self, span: Span, expanded: &Expanded) {
        let span = self.at(span);
        for name in expanded.undefined.iter().filter(|name| !self.build_args.iter().any(|(arg, _)| arg == *name)) {
            let message = format!("usage of undefined variable '${name}'");
            let warning = Diagnostic::warning("UndefinedVar", span, message);
            self.report.unknown(warning, name, self.scope.names());
        }
    }

    /// Finds what `COPY --from` or a mount's `from` names.
    pub(super) fn origin(&mut self, name: &str, span: Span) -> Option<Origin> {
        let lower = name.to_lowercase();
        let plans = self.file.plans;
        if !lower.is_empty() && lower.bytes().all(|b| b.is_ascii_digit()) {
            return match lower.parse::<usize>().ok().filter(|index| *index < plans.len()) {
                Some(index) => self.stage_origin(index, name, span),
                None => {
                    let hint = format!("the stages are 0 to {}", plans.len() - 1);
                    self.error_hint(span, format!("invalid stage index {name}"), hint);
                    None
                }
            };
        }
        let named = |plan: &Plan<'_>| plan.name.as_deref() == Some(&lower);
        let earlier = plans[..self.index].iter().rposition(named);
        if let Some(index) = earlier.or_else(|| plans.iter().position(named)) {
            return self.stage_origin(index, name, span);
        }
        if lower == "scratch" {
            return Some(Origin::Scratch);
        }
        self.image_origin(name, span)
    }

    fn image_origin(&mut self, name: &str, span: Span) -> Option<Origin> {
        // As in BuildKit images that are only read from are for the target, whatever the stage is for.
        let platform = &self.file.args.platform;
        if let Some(origin) = named_context(self.file.args, name, platform) {
            return Some(origin);
        }
        match name.parse() {
            Ok(reference) => Some(Origin::image(reference, platform)),
            Err(error) => {
                let names = self.file.plans.iter().filter_map(|plan| plan.name.as_deref());
                let near = nearest(&name.to_lowercase(), names).map(|near| format!("did you mean the stage `{near}`?"));
                let hint = near.unwrap_or_else(|| "it must be a stage, a --build-context, or an image".to_owned());
                self.error_hint(span, error.to_string(), hint);
                None
            }
        }
    }

    fn stage_origin(&mut self, index: usize, name: &str, span: Span) -> Option<Origin> {
        let stage = self.plan.label(self.index);
        if index == self.index {
            self.error(span, format!("circular dependency: stage `{stage}` reads from itself"));
            return None;
        }
        if index > self.index {
            let message =
                format!("cannot read from stage `{name}`: it needs to be defined before current stage `{stage}`");
            self.error_hint(span, message, format!("move the stage `{name}` above this one"));
            return None;
        }
        let plan = &self.file.plans[index];
        // The place of the stage was taken by a --build-context.
        Some(if plan.replaced { plan.base.clone() } else { Origin::Stage(index) })
    }
}

fn makes_step(instruction: &Instruction) -> bool {
    use InstructionKind::{Add, Copy, Run, Workdir};
    matches!(instruction.kind, Run(_) | Copy(_) | Add(_) | Workdir(_))
}

/// The only stage is not named in its steps. In BuildKit everything read with `--from` and every mount counts as a stage.
fn alone(file: &File<'_>) -> bool {
    let reads = |instruction: &Instruction| match &instruction.kind {
        InstructionKind::Run(run) => run.flags.iter().any(|flag| flag.name.text == "mount"),
        InstructionKind::Copy(copy) => copy.flags.iter().any(|flag| flag.name.text == "from"),
        _ => false,
    };
    file.plans.len() == 1 && file.plans.iter().all(|plan| !plan.instructions.iter().any(reads))
}
