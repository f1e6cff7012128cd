//! What a script is made of. Offsets are bytes of the text it was read from.

use std::borrow::Cow;

use crate::Span;

/// Commands one after the other: a whole text, or the inside of a compound or a substitution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// Separated by `;`, `&` or line ends.
    pub lists: Vec<AndOr>,
    /// Comments, `#` included.
    pub comments: Vec<Span>,
}

/// Pipelines joined by `&&` and `||`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AndOr {
    /// At least one, each with what joins it to the one before (the first is [`Link::Start`]).
    pub pipelines: Vec<(Link, Pipeline)>,
    /// Ends in `&`.
    pub background: bool,
}

/// What stands before a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Nothing: it is the first of its list.
    Start,
    /// `&&`.
    And,
    /// `||`.
    Or,
}

/// Commands joined by `|` or `|&`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// Begins with `!`.
    pub negated: bool,
    /// At least one.
    pub commands: Vec<Command>,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A program, function or builtin with its arguments, or only assignments or redirections.
    Simple(Simple),
    /// A command with commands inside.
    Compound(Compound),
}

/// A simple command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simple {
    /// Before the name.
    pub assignments: Vec<Assignment>,
    /// Name and arguments.
    pub words: Vec<Word>,
    /// In order, wherever they stand.
    pub redirects: Vec<Redirect>,
    /// From the first word to the last.
    pub span: Span,
}

/// A command with commands inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compound {
    /// Which.
    pub kind: CompoundKind,
    /// The commands inside, conditions included, in order.
    pub bodies: Vec<Script>,
    /// The values of `for`, the subject and patterns of `case`, the words of `[[`.
    pub words: Vec<Word>,
    /// After it.
    pub redirects: Vec<Redirect>,
    /// All of it.
    pub span: Span,
}

/// Commands that hold others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompoundKind {
    /// `( .. )`.
    Subshell,
    /// `{ ..; }`.
    Group,
    /// `if`.
    If,
    /// `while` and `until`.
    While,
    /// `for` and `select`.
    For,
    /// `case`.
    Case,
    /// A function's definition.
    Function,
    /// `[[ .. ]]`.
    Test,
    /// `(( .. ))`.
    Arithmetic,
}

/// `name=value`, `name+=value` or `name=(..)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Without an index.
    pub name: String,
    /// `None` for a list.
    pub value: Option<Word>,
}

/// `[n]<operator>target`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// `>`, `<<`, `2>&1`'s `>&`.
    pub operator: &'static str,
    /// File, descriptor, delimiter or text.
    pub target: Word,
    /// The descriptor before the operator.
    pub fd: Option<u32>,
}

/// A word before expansion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Where it stands.
    pub span: Span,
    /// What it is made of; empty for `''`.
    pub parts: Vec<Part>,
}

/// A piece of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text, quotes and escapes removed.
    Literal {
        /// The text.
        text: String,
        /// It was quoted, so it is not split and no pattern.
        quoted: bool,
    },
    /// `$name`, `${..}`, `$((..))` or what else becomes text when it runs, as written.
    Expansion {
        /// As written.
        text: String,
        /// Inside double quotes.
        quoted: bool,
    },
    /// `$(..)`, backquotes or `<(..)`.
    Substitution {
        /// As written.
        text: String,
        /// The commands inside.
        script: Script,
    },
}

impl Word {
    /// The text if nothing of it depends on the run.
    pub fn literal(&self) -> Option<Cow<'_, str>> {
        let literal = |part: &Part| matches!(part, Part::Literal { .. });
        self.parts.iter().all(literal).then(|| self.text())
    }

    /// The text with quotes removed and expansions as written.
    pub fn text(&self) -> Cow<'_, str> {
        match self.parts.as_slice() {
            [] => Cow::Borrowed(""),
            [only] => Cow::Borrowed(only.text()),
            parts => Cow::Owned(parts.iter().map(Part::text).collect()),
        }
    }

    /// The scripts of its substitutions.
    pub fn scripts(&self) -> impl Iterator<Item = &Script> {
        self.parts.iter().filter_map(|part| match part {
            Part::Substitution { script, .. } => Some(script),
            _ => None,
        })
    }
}

impl Part {
    fn text(&self) -> &str {
        match self {
            Part::Literal { text, .. } | Part::Expansion { text, .. } | Part::Substitution { text, .. } => text,
        }
    }
}

impl Command {
    /// Where it stands.
    pub fn span(&self) -> Span {
        match self {
            Command::Simple(simple) => simple.span,
            Command::Compound(compound) => compound.span,
        }
    }

    /// Its words, those of assignments and redirections included.
    pub fn all_words(&self) -> impl Iterator<Item = &Word> {
        let (assignments, words, redirects) = match self {
            Command::Simple(simple) => (simple.assignments.as_slice(), &simple.words, &simple.redirects),
            Command::Compound(compound) => (Default::default(), &compound.words, &compound.redirects),
        };
        let values = assignments.iter().filter_map(|assignment| assignment.value.as_ref());
        values.chain(words).chain(redirects.iter().map(|redirect| &redirect.target))
    }
}

impl Script {
    /// Every simple command in it, those inside compounds and substitutions too, in the order of the text as far as nesting
    /// allows.
    pub fn simple_commands(&self) -> Vec<&Simple> {
        let mut found = Vec::new();
        self.visit(&mut |command| {
            if let Command::Simple(simple) = command {
                found.push(simple);
            }
        });
        found
    }

    /// Every pipeline in it, those inside compounds and substitutions too.
    pub fn pipelines(&self) -> Vec<&Pipeline> {
        let mut found = Vec::new();
        self.each_script(&mut |script| {
            found.extend(script.lists.iter().flat_map(|list| list.pipelines.iter().map(|(_, pipeline)| pipeline)));
        });
        found
    }

    /// Calls `see` with every command, outer ones before inner ones.
    pub fn visit<'a>(&'a self, see: &mut dyn FnMut(&'a Command)) {
        self.each_script(&mut |script| script.own_commands().for_each(&mut *see));
    }

    /// Calls `see` with this script and every script inside it. The depth is limited by the parser.
    fn each_script<'a>(&'a self, see: &mut dyn FnMut(&'a Script)) {
        see(self);
        for command in self.own_commands() {
            command.all_words().flat_map(Word::scripts).for_each(|script| script.each_script(see));
            if let Command::Compound(compound) = command {
                compound.bodies.iter().for_each(|script| script.each_script(see));
            }
        }
    }

    fn own_commands(&self) -> impl Iterator<Item = &Command> {
        let pipelines = self.lists.iter().flat_map(|list| list.pipelines.iter());
        pipelines.flat_map(|(_, pipeline)| pipeline.commands.iter())
    }
}
