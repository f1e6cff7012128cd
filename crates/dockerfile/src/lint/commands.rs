//! What a RUN runs: each program with its arguments, and where they stand in the Dockerfile.
//!
//! Does not know what any program does with its arguments.

use super::shells::Shell;
use crate::Span;
use crate::ast::{self, Instruction};
use crate::parse::Logical;
use crate::shell::{self, Command, Pipeline, Redirect, Script, Simple, Word};

/// A RUN of the file, under ONBUILD too.
#[derive(Debug)]
pub(super) struct Run<'a> {
    /// Index of its stage among the FROMs.
    pub(super) stage: usize,
    /// The RUN itself.
    pub(super) instruction: &'a Instruction,
    /// The same.
    pub(super) run: &'a ast::Run,
    /// Who reads the text.
    pub(super) shell: Shell,
    /// The commands; none if the text is for a shell that is not understood, or is not what a shell reads.
    pub(super) scripts: Vec<Parsed>,
    /// All programs of all scripts, in order.
    pub(super) commands: Vec<Invocation>,
    /// A comment of the shell that swallows later lines of the Dockerfile.
    pub(super) swallowing: Option<Span>,
}

/// A script and the way back to the Dockerfile.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) script: Script,
    places: Places,
}

#[derive(Debug)]
enum Places {
    /// Lines joined by continuations.
    Joined(Logical),
    /// A part of the file as it is.
    Verbatim(u32),
    /// Text of a JSON list: only the whole has a place.
    Whole(Span),
}

/// A program that is run.
#[derive(Debug)]
pub(super) struct Invocation {
    /// The program without its directory; programs that only run another (`sudo`, `env`, `exec`) are taken off.
    pub(super) name: String,
    /// Where the name stands.
    pub(super) at: Span,
    /// After the name.
    pub(super) args: Vec<Arg>,
    /// What was taken off, in order.
    pub(super) wrappers: Vec<(String, Span)>,
    /// Variables set for it alone.
    pub(super) assignments: Vec<(String, String)>,
    /// Its output goes to a file or its input comes from one.
    pub(super) redirects: Vec<(&'static str, String)>,
    /// All of it.
    pub(super) span: Span,
    /// Which pipeline of the RUN, and which command of it.
    pub(super) pipeline: (usize, usize),
    /// Inside a substitution or a compound.
    pub(super) nested: bool,
}

/// An argument.
#[derive(Debug)]
pub(super) struct Arg {
    /// Quotes removed, expansions as written.
    pub(super) text: String,
    pub(super) span: Span,
    /// Nothing of it depends on the run.
    pub(super) literal: bool,
}

/// Programs that run another one, with those of their flags that take a value.
const WRAPPERS: [(&str, &[&str]); 13] = [
    ("sudo", &["-u", "-g", "-h", "-p", "-C", "-T", "--user", "--group"]),
    ("env", &["-u", "-C", "--unset", "--chdir"]),
    ("exec", &["-a"]),
    ("command", &[]),
    ("builtin", &[]),
    ("nice", &["-n"]),
    ("ionice", &["-c", "-n"]),
    ("nohup", &[]),
    ("time", &["-f", "-o"]),
    ("eatmydata", &[]),
    ("xargs", &["-a", "-n", "-I", "-P", "-d", "-L", "-s", "-E"]),
    ("setarch", &[]),
    ("doas", &["-u", "-C"]),
];

impl Invocation {
    /// The arguments that are no flags, values of flags not counted.
    pub(super) fn operands(&self, flags_with_value: &[&str]) -> Vec<&Arg> {
        let mut found = Vec::new();
        let mut args = self.args.iter();
        while let Some(arg) = args.next() {
            if arg.text == "--" {
                found.extend(args);
                break;
            } else if flags_with_value.contains(&arg.text.as_str()) {
                args.next();
            } else if !arg.text.starts_with('-') || arg.text == "-" {
                found.push(arg);
            }
        }
        found
    }

    /// The flag as a long one or inside a cluster of short ones (`y` is in `-qy`).
    pub(super) fn has_flag(&self, short: Option<char>, long: &[&str]) -> bool {
        self.args.iter().take_while(|arg| arg.text != "--").any(|arg| {
            let text = arg.text.as_str();
            if text.starts_with("--") {
                return long.contains(&text.split('=').next().unwrap_or_default());
            }
            text.starts_with('-') && short.is_some_and(|short| text.get(1..).unwrap_or_default().contains(short))
                || long.contains(&text)
        })
    }

    /// Has this argument.
    pub(super) fn has(&self, text: &str) -> bool {
        self.args.iter().any(|arg| arg.text == text)
    }
}

impl Parsed {
    /// The place in the file of a part of the script.
    pub(super) fn place(&self, span: Span) -> Span {
        match &self.places {
            Places::Joined(logical) => logical.span(span.start as usize, span.end as usize),
            Places::Verbatim(start) => Span { start: start + span.start, end: start + span.end },
            Places::Whole(whole) => *whole,
        }
    }

    fn invocations(&self, out: &mut Vec<Invocation>) {
        let first = out.last().map_or(0, |last: &Invocation| last.pipeline.0 + 1);
        let mut walk = Walk { parsed: self, out, pipeline: first };
        walk.script(&self.script, false);
    }
}

impl<'a> Run<'a> {
    /// Reads the scripts of a RUN.
    pub(super) fn read(
        text: &str,
        escape: char,
        shell: Shell,
        stage: usize,
        instruction: &'a Instruction,
        run: &'a ast::Run,
    ) -> Run<'a> {
        let mut read =
            Run { stage, instruction, run, shell, scripts: Vec::new(), commands: Vec::new(), swallowing: None };
        if let Some(heredoc) = run.lone_heredoc() {
            if read.shell.reads(heredoc.content.lines().next()) {
                read.scripts.extend(verbatim(text, heredoc.span));
            }
        } else {
            match &run.command {
                ast::Command::Shell(word) if read.shell.is_posix() => read.joined(text, word, escape),
                ast::Command::Exec(words) => read.scripts.extend(exec(words, instruction.span)),
                ast::Command::Shell(_) => {}
            }
        }
        for parsed in &read.scripts {
            parsed.invocations(&mut read.commands);
        }
        read
    }

    fn joined(&mut self, text: &str, word: &ast::Word, escape: char) {
        let logical = Logical::read(text, word.span.start, escape);
        // Without the text, or if it is read in another way, nothing is known of the places.
        if logical.text.trim_end() != word.text {
            return;
        }
        let (script, comments) = shell::parse_with_comments(&logical.text);
        let last = logical.text.trim_end().len();
        self.swallowing = comments.iter().find_map(|comment| {
            let (start, end) = (comment.start as usize, (comment.end as usize).min(last));
            let joint = logical.joints().find(|joint| start < *joint && *joint < end)?;
            Some(logical.span(start, joint))
        });
        self.scripts.extend(script.ok().map(|script| Parsed { script, places: Places::Joined(logical) }));
    }
}

fn verbatim(text: &str, span: Span) -> Option<Parsed> {
    let script = shell::parse(text.get(span.start as usize..span.end as usize)?).ok()?;
    Some(Parsed { script, places: Places::Verbatim(span.start) })
}

/// `["sh", "-c", script]`, or a program with its arguments.
fn exec(words: &[String], whole: Span) -> Option<Parsed> {
    let is_shell = |word: &String| matches!(base_name(word), "sh" | "bash" | "ash" | "dash");
    let script = match words {
        [program, flag, script, ..] if is_shell(program) && flag.starts_with('-') && flag.ends_with('c') => {
            shell::parse(script).ok()?
        }
        words => {
            let quoted: Vec<String> = words.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
            shell::parse(&quoted.join(" ")).ok()?
        }
    };
    Some(Parsed { script, places: Places::Whole(whole) })
}

/// Collects the programs of a script.
struct Walk<'a> {
    parsed: &'a Parsed,
    out: &'a mut Vec<Invocation>,
    pipeline: usize,
}

impl Walk<'_> {
    fn script(&mut self, script: &Script, nested: bool) {
        for list in &script.lists {
            for (_, pipeline) in &list.pipelines {
                self.pipeline(pipeline, nested);
            }
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, nested: bool) {
        let number = self.pipeline;
        self.pipeline += 1;
        for (index, command) in pipeline.commands.iter().enumerate() {
            if let Command::Simple(simple) = command {
                self.out.extend(invocation(self.parsed, simple, (number, index), nested));
            }
            for script in command.all_words().flat_map(Word::scripts) {
                self.script(script, true);
            }
            if let Command::Compound(compound) = command {
                compound.bodies.iter().for_each(|body| self.script(body, true));
            }
        }
    }
}

fn invocation(parsed: &Parsed, simple: &Simple, pipeline: (usize, usize), nested: bool) -> Option<Invocation> {
    let (wrapped, words) = unwrap(&simple.words);
    let (name, args) = words.split_first()?;
    let arg = |word: &Word| Arg {
        text: word.text().into_owned(),
        span: parsed.place(word.span),
        literal: word.literal().is_some(),
    };
    let redirect = |redirect: &Redirect| (redirect.operator, redirect.target.text().into_owned());
    let value = |value: Option<&Word>| value.map(|word| word.text().into_owned()).unwrap_or_default();
    Some(Invocation {
        name: base_name(&name.text()).to_owned(),
        at: parsed.place(name.span),
        args: args.iter().map(arg).collect(),
        wrappers: wrapped.iter().map(|word| (base_name(&word.text()).to_owned(), parsed.place(word.span))).collect(),
        assignments: simple.assignments.iter().map(|set| (set.name.clone(), value(set.value.as_ref()))).collect(),
        redirects: simple.redirects.iter().map(redirect).collect(),
        span: parsed.place(simple.span),
        pipeline,
        nested,
    })
}

/// The wrappers before the program, and the words from the program on.
fn unwrap(words: &[Word]) -> (Vec<&Word>, &[Word]) {
    let mut wrappers = Vec::new();
    let mut rest = words;
    while let Some((first, mut after)) = rest.split_first() {
        let name = first.text();
        let Some((_, values)) = WRAPPERS.iter().find(|(wrapper, _)| *wrapper == base_name(&name)) else { break };
        while let Some((flag, more)) = after.split_first() {
            let flag = flag.text();
            let skipped = if values.contains(&flag.as_ref()) { more.get(1..).unwrap_or_default() } else { more };
            let assigns = flag.contains('=') && !flag.starts_with('=');
            if !flag.starts_with('-') && !assigns {
                break;
            }
            after = skipped;
        }
        if after.is_empty() {
            break;
        }
        wrappers.push(first);
        rest = after;
    }
    (wrappers, rest)
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
