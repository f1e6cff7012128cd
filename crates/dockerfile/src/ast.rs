//! The Dockerfile as parsed: every node has a [`Span`]; variables are not expanded yet.

use crate::Span;

/// Text with its place. `text` has continuations joined and comment lines dropped; quotes and `$` are still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The text.
    pub text: String,
    /// Where it was written.
    pub span: Span,
}

/// A parsed file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dockerfile {
    /// Parser directives at the top of the file (`syntax`, `escape`, `check`), keys lower-cased.
    pub directives: Vec<Directive>,
    /// `\` or a backtick.
    pub escape: char,
    /// All instructions in order; those that could not be understood are absent and have a diagnostic.
    pub instructions: Vec<Instruction>,
    /// Comments that are not directives, in order.
    pub comments: Vec<Word>,
    /// Lines without text inside continuations, in order: accepted, but warned about.
    pub empty_continuations: Vec<Span>,
}

impl Dockerfile {
    /// For each instruction, the comments between it and the one before: what documents it or switches rules off for it.
    /// A comment without text cuts off those above it; comments inside an instruction do not count.
    pub fn comments_above(&self) -> Vec<Vec<&str>> {
        let mut comments = self.comments.iter().peekable();
        let above = |instruction: &Instruction| {
            let mut above = Vec::new();
            while let Some(comment) = comments.next_if(|comment| comment.span.start < instruction.span.end) {
                let inside = comment.span.start >= instruction.span.start;
                match comment.text.strip_prefix('#').unwrap_or(&comment.text).trim() {
                    _ if inside => {}
                    "" => above.clear(),
                    text => above.push(text),
                }
            }
            above
        };
        self.instructions.iter().map(above).collect()
    }
}

/// `# key=value` at the top of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// Lower-cased key.
    pub key: String,
    /// Value.
    pub value: Word,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// The whole of it, continuation lines and here-documents included.
    pub span: Span,
    /// First and last line, counted from 1.
    pub lines: (u32, u32),
    /// The instruction word as written (`Run`).
    pub keyword: Word,
    /// The text after the keyword and flags, continuations joined, as BuildKit prints it in history and progress.
    pub original: String,
    /// What it says.
    pub kind: InstructionKind,
}

impl Instruction {
    /// The line itself with its flags, without here-documents: how a step is called in progress.
    pub fn line(&self) -> String {
        let mut line = self.keyword.text.clone();
        for flag in self.flags() {
            line.extend([" --", flag.name.text.as_str()]);
            line.extend(flag.value.iter().flat_map(|value| ["=", value.text.as_str()]));
        }
        if let InstructionKind::From(From { platform: Some(platform), .. }) = &self.kind {
            line.extend([" --platform=", platform.text.as_str()]);
        }
        if !self.original.is_empty() {
            line.extend([" ", self.original.as_str()]);
        }
        line
    }

    /// The flags of RUN, COPY and ADD; other instructions keep theirs in fields.
    pub fn flags(&self) -> &[Flag] {
        match &self.kind {
            InstructionKind::Run(run) => &run.flags,
            InstructionKind::Copy(copy) | InstructionKind::Add(copy) => &copy.flags,
            _ => &[],
        }
    }
}

/// The instructions.
#[derive(Clone, Debug, PartialEq)]
pub enum InstructionKind {
    /// FROM.
    From(From),
    /// RUN.
    Run(Run),
    /// COPY.
    Copy(Copy),
    /// ADD.
    Add(Copy),
    /// ENV.
    Env(KeyValues),
    /// LABEL.
    Label(KeyValues),
    /// ARG: name and default.
    Arg(Vec<(Word, Option<Word>)>),
    /// CMD.
    Cmd(Command),
    /// ENTRYPOINT.
    Entrypoint(Command),
    /// SHELL.
    Shell(Vec<String>),
    /// WORKDIR.
    Workdir(Word),
    /// USER.
    User(Word),
    /// VOLUME.
    Volume(Vec<Word>),
    /// EXPOSE.
    Expose(Vec<Word>),
    /// STOPSIGNAL.
    StopSignal(Word),
    /// HEALTHCHECK.
    Healthcheck(Healthcheck),
    /// MAINTAINER.
    Maintainer(Word),
    /// ONBUILD: the trigger's text and the instruction it holds.
    Onbuild(String, Box<Instruction>),
}

/// A `--name[=value]` flag of any instruction; the known ones are checked by the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Without the dashes.
    pub name: Word,
    /// After `=`; `None` for a bare flag.
    pub value: Option<Word>,
}

/// FROM.
#[derive(Clone, Debug, PartialEq)]
pub struct From {
    /// `--platform`.
    pub platform: Option<Word>,
    /// Image, stage or `scratch`.
    pub image: Word,
    /// After AS, as written.
    pub name: Option<Word>,
    /// The AS word as written.
    pub as_keyword: Option<Word>,
}

/// Shell or exec form.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Text for SHELL.
    Shell(Word),
    /// A JSON list.
    Exec(Vec<String>),
}

/// RUN.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// `--mount`, `--network`, `--security`, `--device`, names checked, values as written.
    pub flags: Vec<Flag>,
    /// What to run; for here-documents, the text of the line itself.
    pub command: Command,
    /// Here-documents of the line.
    pub heredocs: Vec<Heredoc>,
}

impl Run {
    /// The here-document that is the whole command (`RUN <<EOF`): it is run itself, by its `#!` or by the shell. Any other command is
    /// given to the shell with the documents after it.
    pub fn lone_heredoc(&self) -> Option<&Heredoc> {
        let Command::Shell(text) = &self.command else { return None };
        crate::parse::is_heredoc_marker(&text.text).then(|| self.heredocs.first()).flatten()
    }
}

/// COPY or ADD.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    /// Flags, names checked, values as written.
    pub flags: Vec<Flag>,
    /// Sources that are paths or addresses, in order among themselves.
    pub sources: Vec<Word>,
    /// Sources that are here-documents.
    pub heredocs: Vec<Heredoc>,
    /// Destination.
    pub dest: Word,
}

/// A here-document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter without quotes: for COPY the file's name.
    pub name: String,
    /// Variables are expanded (the delimiter was not quoted).
    pub expand: bool,
    /// Leading tabs are not part of it (`<<-`).
    pub chomp: bool,
    /// File descriptor number before `<<`, for RUN.
    pub fd: Option<u32>,
    /// Body, with its final newline; in the middle of a RUN command with the tabs of `<<-`.
    pub content: String,
    /// The body's place.
    pub span: Span,
}

/// ENV or LABEL.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyValues {
    /// Pairs in order; values still quoted.
    pub pairs: Vec<(Word, Word)>,
    /// Written in the old form without `=`.
    pub legacy: bool,
}

/// HEALTHCHECK.
#[derive(Clone, Debug, PartialEq)]
pub struct Healthcheck {
    /// `--interval`, `--timeout`, `--start-period`, `--start-interval` in nanoseconds.
    pub interval: i64,
    /// See `interval`.
    pub timeout: i64,
    /// See `interval`.
    pub start_period: i64,
    /// See `interval`.
    pub start_interval: i64,
    /// Failures in a row.
    pub retries: i64,
    /// `None` for HEALTHCHECK NONE.
    pub command: Option<Command>,
}
