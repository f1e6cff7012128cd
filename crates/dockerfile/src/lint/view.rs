//! A parsed file as the rules see it: stages, what each starts from, and the commands of every RUN.
//!
//! Does not know any rule.

use std::collections::HashMap;

use super::Options;
use super::commands::{Invocation, Run};
use super::shells::Shell;
use crate::ast::{Dockerfile, From, Instruction, InstructionKind, Word};

/// The file, its text, and what the caller knows.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) file: &'a Dockerfile,
    /// Empty if only the parsed file is there: then no fixes are offered and no RUN is read.
    pub(super) text: &'a str,
    pub(super) options: &'a Options,
    pub(super) stages: Vec<Stage<'a>>,
    pub(super) runs: Vec<Run<'a>>,
    /// Index of the stage that is built.
    pub(super) target: Option<usize>,
}

/// One stage.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) from: &'a From,
    pub(super) base: Base,
    /// After the FROM.
    pub(super) instructions: &'a [Instruction],
}

/// What a stage starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// Nothing.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// The image that FROM names.
    Image,
}

impl<'a> View<'a> {
    /// Without the text, for rules that do not look into RUN.
    pub(super) fn of_file(file: &'a Dockerfile, options: &'a Options) -> View<'a> {
        let stages = stages(file);
        let target = match &options.target {
            None => stages.len().checked_sub(1),
            Some(target) => find(&stages, target).or_else(|| target.parse().ok().filter(|index| *index < stages.len())),
        };
        View { file, text: "", options, stages, runs: Vec::new(), target }
    }

    /// With the text the file was read from.
    pub(super) fn new(text: &'a str, file: &'a Dockerfile, options: &'a Options) -> View<'a> {
        let mut view = View { text, ..View::of_file(file, options) };
        view.runs = view.read_runs();
        view
    }

    fn read_runs(&self) -> Vec<Run<'a>> {
        let pragma = file_shell(self.file);
        let mut ends: Vec<Shell> = Vec::new();
        let mut runs = Vec::new();
        for (index, stage) in self.stages.iter().enumerate() {
            let mut shell = match (&pragma, stage.base) {
                (_, Base::Stage(base)) => ends.get(base).cloned().unwrap_or(Shell::Default),
                (Some(shell), _) => shell.clone(),
                (None, _) => Shell::of_base(&stage.from.image),
            };
            for instruction in stage.instructions {
                let inner = match &instruction.kind {
                    InstructionKind::Onbuild(_, held) => held,
                    _ => instruction,
                };
                match &inner.kind {
                    InstructionKind::Shell(words) => shell = Shell::named(words),
                    InstructionKind::Run(run) => {
                        runs.push(Run::read(self.text, self.file.escape, shell.clone(), index, inner, run));
                    }
                    _ => {}
                }
            }
            ends.push(shell);
        }
        runs
    }

    /// Instructions from the first FROM on.
    pub(super) fn in_stages(&self) -> impl Iterator<Item = &'a Instruction> {
        let outside = |instruction: &&Instruction| !matches!(instruction.kind, InstructionKind::From(_));
        self.file.instructions.iter().skip_while(outside)
    }

    /// FROM instructions.
    pub(super) fn froms(&self) -> impl Iterator<Item = (&'a Instruction, &'a From)> {
        self.file.instructions.iter().filter_map(|instruction| match &instruction.kind {
            InstructionKind::From(from) => Some((instruction, from)),
            _ => None,
        })
    }

    /// All programs that are run, with the RUN they stand in.
    pub(super) fn commands(&self) -> impl Iterator<Item = (&Run<'a>, &Invocation)> {
        self.runs.iter().flat_map(|run| run.commands.iter().map(move |command| (run, command)))
    }

    /// A stage and those it is built on, itself first.
    pub(super) fn lineage(&self, stage: usize) -> Vec<usize> {
        let mut found = vec![stage];
        while let Some(Base::Stage(base)) = found.last().and_then(|last| self.stages.get(*last)).map(|stage| stage.base)
        {
            found.push(base);
        }
        found
    }

    /// What the image consists of: the stage that is built and those it is built on.
    pub(super) fn is_in_image(&self, stage: usize) -> bool {
        self.target.is_some_and(|target| self.lineage(target).contains(&stage))
    }

    /// The stage that is called this, before stage `before`.
    pub(super) fn stage_named(&self, name: &str, before: usize) -> Option<usize> {
        find(self.stages.get(..before).unwrap_or_default(), name)
    }

    /// The instructions that make the image, in order: those of the bases first.
    pub(super) fn image_instructions(&self) -> impl Iterator<Item = &'a Instruction> {
        let mut lineage = self.target.map(|target| self.lineage(target)).unwrap_or_default();
        lineage.reverse();
        let stages = lineage.into_iter().filter_map(|stage| self.stages.get(stage).map(|stage| stage.instructions));
        stages.flatten()
    }

    /// The image that the stage is built on in the end, if it is one.
    pub(super) fn base_image(&self, stage: usize) -> Option<&'a Word> {
        let last = *self.lineage(stage).last()?;
        let stage = self.stages.get(last)?;
        (stage.base == Base::Image).then_some(&stage.from.image)
    }
}

fn stages(file: &Dockerfile) -> Vec<Stage<'_>> {
    let mut named: HashMap<String, usize> = HashMap::new();
    let mut stages = Vec::new();
    let mut rest = file.instructions.as_slice();
    while let Some((first, after)) = rest.split_first() {
        let next = after.iter().position(|other| matches!(other.kind, InstructionKind::From(_))).unwrap_or(after.len());
        let (own, following) = after.split_at(next);
        rest = following;
        let InstructionKind::From(from) = &first.kind else { continue };
        let image = from.image.text.to_lowercase();
        let base = match named.get(&image) {
            Some(stage) => Base::Stage(*stage),
            None if image == "scratch" => Base::Scratch,
            None => Base::Image,
        };
        if let Some(name) = &from.name {
            named.insert(name.text.to_lowercase(), stages.len());
        }
        stages.push(Stage { from, base, instructions: own });
    }
    stages
}

fn find(stages: &[Stage<'_>], name: &str) -> Option<usize> {
    let is_called = |stage: &Stage<'_>| stage.from.name.as_ref().is_some_and(|own| own.text.eq_ignore_ascii_case(name));
    stages.iter().rposition(is_called)
}

/// `# hadolint shell=..` anywhere in the file.
fn file_shell(file: &Dockerfile) -> Option<Shell> {
    let shell = file.comments.iter().find_map(|comment| super::pragma::shell(&comment.text))?;
    let words: Vec<String> = shell.split_whitespace().map(str::to_owned).collect();
    Some(Shell::named(&words))
}
