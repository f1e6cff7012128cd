//! The FROM lines: which stages there are, what each is based on, and for which platform.
//!
//! Knows nothing of what stages do.

use cooper_oci::{Platform, Reference};

use super::Args;
use super::origin::{Origin, named_context};
use super::report::Report;
use super::scope::Scope;
use super::stage::EXPANDED_BYTES_MAX;
use crate::ast::{Dockerfile, From, Instruction, InstructionKind, Word};
use crate::expand::{Expanded, Mode, expand};
use crate::{Diagnostic, Span, nearest};

/// A stage as its FROM line says.
#[derive(Clone, Debug)]
pub(crate) struct Plan<'a> {
    /// Name, lower case.
    pub(crate) name: Option<String>,
    /// The FROM instruction.
    pub(crate) from: &'a Instruction,
    /// The instructions after it.
    pub(crate) instructions: &'a [Instruction],
    /// What it starts from.
    pub(crate) base: Origin,
    /// Its platform, if FROM says one or a base stage has one.
    pub(crate) platform: Platform,
    /// A `--build-context` takes the place of the whole stage.
    pub(crate) replaced: bool,
    /// Errors that matter if the stage is needed.
    pub(crate) report: Report,
}

impl Plan<'_> {
    /// As shown to the user: the name, or `stage-N`.
    pub(crate) fn label(&self, index: usize) -> String {
        self.name.clone().unwrap_or_else(|| format!("stage-{index}"))
    }
}

/// The global ARGs and the stages.
pub(crate) struct Planner<'a> {
    pub(crate) args: &'a Args,
    pub(crate) escape: char,
    /// Predefined and declared before the first FROM.
    pub(crate) global: Scope,
    /// Names declared there, with or without a value.
    pub(crate) declared: Vec<String>,
    /// The same as if no `--build-arg` were given.
    defaults: Scope,
    pub(crate) report: Report,
    /// Bytes that variables expanded to.
    pub(crate) spent: usize,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(file: &'a Dockerfile, args: &'a Args, report: Report) -> Self {
        let target = args.target.clone().or_else(|| last_name(file)).unwrap_or_default();
        let global = Scope::predefined(args, &target);
        let escape = file.escape;
        Self { args, escape, defaults: global.clone(), global, declared: Vec::new(), report, spent: 0 }
    }

    /// Reads ARGs up to the first FROM, then every FROM.
    pub(crate) fn plans(&mut self, file: &'a Dockerfile) -> Vec<Plan<'a>> {
        let is_from = |instruction: &Instruction| matches!(instruction.kind, InstructionKind::From(_));
        let all = &file.instructions;
        let starts: Vec<usize> = (0..all.len()).filter(|at| is_from(&all[*at])).collect();
        let first = starts.first().copied().unwrap_or(all.len());
        all[..first].iter().for_each(|instruction| self.before_first_from(instruction));
        let mut plans: Vec<Plan<'a>> = Vec::new();
        for (index, start) in starts.iter().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(all.len());
            if let InstructionKind::From(from) = &all[*start].kind {
                let plan = self.plan(&all[*start], from, &all[*start + 1..end], &plans);
                plans.push(plan);
            }
        }
        plans
    }

    fn before_first_from(&mut self, instruction: &Instruction) {
        match &instruction.kind {
            InstructionKind::Arg(pairs) => {
                pairs.iter().for_each(|(name, default)| self.global_arg(name, default.as_ref()))
            }
            _ => self.report.error_hint(
                instruction.span,
                format!(
                    "no build stage in current context: `{}` stands before the first FROM",
                    instruction.keyword.text
                ),
                "only ARG may stand before the first FROM",
            ),
        }
    }

    fn global_arg(&mut self, name: &Word, default: Option<&Word>) {
        self.declared.push(name.text.clone());
        if let Some(default) = default
            && self.spent <= EXPANDED_BYTES_MAX
        {
            let word = expand(&default.text, self.escape, &lookup(&self.defaults), Mode::Word);
            if let Ok(word) = word {
                self.defaults.set(&name.text, &word.text);
            }
        }
        if let Some(value) = self.args.build_args.get(&name.text) {
            self.global.set(&name.text, value);
        } else if let Some(default) = default
            && let Some(value) = self.expand(default)
        {
            self.global.set(&name.text, &value.text);
        }
    }

    fn expand(&mut self, word: &Word) -> Option<Expanded> {
        if self.spent > EXPANDED_BYTES_MAX {
            return None;
        }
        match expand(&word.text, self.escape, &lookup(&self.global), Mode::Word) {
            Ok(expanded) => {
                self.spent += expanded.text.len();
                if self.spent > EXPANDED_BYTES_MAX {
                    self.report.error(
                        word.span,
                        format!("the values of the file expand to more than {EXPANDED_BYTES_MAX} bytes"),
                    );
                }
                (self.spent <= EXPANDED_BYTES_MAX).then_some(expanded)
            }
            Err(error) => {
                self.report.add(error.at(word));
                None
            }
        }
    }

    fn plan(
        &mut self,
        instruction: &'a Instruction,
        from: &From,
        instructions: &'a [Instruction],
        earlier: &[Plan<'a>],
    ) -> Plan<'a> {
        let name = from.name.as_ref().map(|name| name.text.to_lowercase());
        let asked = from.platform.as_ref().and_then(|word| self.platform(word, name.as_deref().unwrap_or_default()));
        let platform = asked.clone().unwrap_or_else(|| self.args.platform.clone());
        let mut plan = Plan {
            name,
            from: instruction,
            instructions,
            base: Origin::Scratch,
            platform,
            replaced: false,
            report: Report::default(),
        };
        let written = self.image(&from.image);
        if let Some(origin) = plan.name.as_ref().and_then(|name| named_context(self.args, name, &plan.platform)) {
            plan.base = origin;
            plan.replaced = true;
        } else if let Some(written) = written {
            self.set_base(&mut plan, &from.image, &written, earlier);
        }
        plan
    }

    /// The image of a FROM, expanded.
    fn image(&mut self, word: &Word) -> Option<String> {
        self.check_default(word);
        let expanded = self.expand(word)?;
        self.undeclared(word.span, &expanded);
        if expanded.text.is_empty() {
            let hint = "give the ARG a default before the first FROM, or pass it with --build-arg";
            self.report.error_hint(word.span, format!("base name ({}) should not be blank", word.text), hint);
            return None;
        }
        Some(expanded.text)
    }

    fn check_default(&mut self, word: &Word) {
        let Ok(expanded) = expand(&word.text, self.escape, &lookup(&self.defaults), Mode::Word) else { return };
        if expanded.text.parse::<Reference>().is_err() {
            // A stage of any name may be meant where no variable is written.
            if expanded.used.is_empty() && expanded.undefined.is_empty() {
                return;
            }
            let message = format!("default value for ARG {} results in empty or invalid base image name", word.text);
            self.report.add(Diagnostic::warning("InvalidDefaultArgInFrom", word.span, message));
        }
    }

    fn undeclared(&mut self, span: Span, expanded: &Expanded) {
        for name in expanded.undefined.iter().filter(|name| !self.declared.contains(name)) {
            let message = format!("FROM argument '{name}' is not declared");
            let known = self.global.names().chain(self.declared.iter().map(String::as_str));
            self.report.unknown(Diagnostic::warning("UndefinedArgInFrom", span, message), name, known);
        }
    }

    fn platform(&mut self, word: &Word, stage: &str) -> Option<Platform> {
        let expanded = self.expand(word)?;
        self.undeclared(word.span, &expanded);
        if expanded.text.is_empty() {
            let hint = expanded.undefined.iter().find_map(|name| nearest(name, self.global.names()));
            let message = format!("empty platform value from expression {}", word.text);
            let error = Diagnostic::error(word.span, message);
            self.report.add(match hint {
                Some(near) => error.with_hint(format!("did you mean `${near}`?")),
                None => error,
            });
            return None;
        }
        match expanded.text.parse::<Platform>() {
            Ok(platform) => {
                let constant = expanded.used.is_empty() && expanded.undefined.is_empty();
                if constant && !stage.contains(&platform.os) && !stage.contains(&platform.architecture) {
                    let message = format!("FROM --platform flag should not use constant value \"{}\"", expanded.text);
                    self.report.add(Diagnostic::warning("FromPlatformFlagConstDisallowed", word.span, message));
                }
                Some(platform)
            }
            Err(error) => {
                let hint = error.hint().unwrap_or_default().to_owned();
                self.report.error_hint(word.span, error.to_string(), hint);
                None
            }
        }
    }

    fn set_base(&self, plan: &mut Plan<'a>, word: &Word, written: &str, earlier: &[Plan<'a>]) {
        let lower = written.to_lowercase();
        if let Some(at) = earlier.iter().rposition(|stage| stage.name.as_deref() == Some(&lower)) {
            plan.base = Origin::Stage(at);
            plan.platform = earlier[at].platform.clone();
            return;
        }
        if written == "scratch" {
            // As in BuildKit an empty stage is for the target whatever --platform says.
            plan.platform = self.args.platform.clone();
            return;
        }
        if let Some(origin) = named_context(self.args, written, &plan.platform) {
            plan.base = origin;
            return;
        }
        match written.parse::<Reference>() {
            Ok(reference) => plan.base = Origin::image(reference, &plan.platform),
            Err(error) => {
                let near = nearest(&lower, earlier.iter().filter_map(|stage| stage.name.as_deref()));
                let diagnostic = Diagnostic::error(word.span, error.to_string());
                plan.report.add(match near {
                    Some(near) => diagnostic.with_hint(format!("did you mean the stage `{near}`?")),
                    None => diagnostic,
                });
            }
        }
    }
}

fn last_name(file: &Dockerfile) -> Option<String> {
    file.instructions.iter().rev().find_map(|instruction| match &instruction.kind {
        InstructionKind::From(from) => {
            Some(from.name.as_ref().map(|name| name.text.to_lowercase()).unwrap_or_default())
        }
        _ => None,
    })
}

/// Looks variables up in a scope.
pub(crate) fn lookup(scope: &Scope) -> impl Fn(&str) -> Option<String> + '_ {
    |name| scope.get(name).map(str::to_owned)
}
