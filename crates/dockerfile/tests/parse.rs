//! Dockerfiles in, what was understood and the drawn diagnostics out; the cases are in `tests/parse/*.txt`.
//!
//! A case is `--- name ---`, the text, `>>>`, the expectation. In the text `<CR>`, `<BOM>`, `<TAB>`, `<SP>` stand for characters an editor
//! might spoil; `<NOEOL>` at the end takes the last newline away. A word is shown as `text`, and as `text`@`source` if its span holds other text.

use std::fmt::Write as _;

use cooper_dockerfile::ast::{Command, Copy, Dockerfile, Flag, Heredoc, Instruction, InstructionKind, KeyValues, Word};
use cooper_dockerfile::{Span, parse, render};

struct Drawing<'a> {
    source: &'a str,
}

impl Drawing<'_> {
    fn slice(&self, span: Span) -> &str {
        self.source.get(span.start as usize..span.end as usize).expect("spans lie on character boundaries")
    }

    fn word(&self, word: &Word) -> String {
        let source = self.slice(word.span);
        if source == word.text {
            format!("`{}`", escape(&word.text))
        } else {
            format!("`{}`@`{}`", escape(&word.text), escape(source))
        }
    }

    fn words(&self, words: &[Word]) -> String {
        words.iter().map(|word| self.word(word)).collect::<Vec<_>>().join(" ")
    }

    fn flags(&self, flags: &[Flag]) -> String {
        let one = |flag: &Flag| {
            let value = flag.value.as_ref().map(|value| format!("={}", self.word(value))).unwrap_or_default();
            format!("--{}{value} ", flag.name.text)
        };
        flags.iter().map(one).collect()
    }

    fn heredocs(&self, heredocs: &[Heredoc]) -> String {
        let one = |doc: &Heredoc| {
            let marks = [(doc.expand, " expand"), (doc.chomp, " chomp")];
            let marks: String = marks.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
            let fd = doc.fd.map(|fd| format!(" fd {fd}")).unwrap_or_default();
            let source = self.slice(doc.span);
            let source = if source == doc.content { String::new() } else { format!("@`{}`", escape(source)) };
            format!("\n    <<{}{marks}{fd}: `{}`{source}", doc.name, escape(&doc.content))
        };
        heredocs.iter().map(one).collect()
    }

    fn command(&self, command: &Command) -> String {
        match command {
            Command::Shell(word) => format!("shell {}", self.word(word)),
            Command::Exec(words) => format!("exec {words:?}"),
        }
    }

    fn pairs(&self, pairs: &KeyValues) -> String {
        let legacy = if pairs.legacy { "legacy " } else { "" };
        let one = |(key, value): &(Word, Word)| format!("{}={}", self.word(key), self.word(value));
        legacy.to_owned() + &pairs.pairs.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    fn copy(&self, copy: &Copy) -> String {
        let sources = self.words(&copy.sources);
        let (flags, dest) = (self.flags(&copy.flags), self.word(&copy.dest));
        format!("{flags}{sources} -> {dest}{}", self.heredocs(&copy.heredocs))
    }

    fn kind(&self, kind: &InstructionKind) -> String {
        match kind {
            InstructionKind::From(from) => {
                let option = |word: &Option<Word>| word.as_ref().map_or("-".to_owned(), |word| self.word(word));
                format!("{} name {} platform {}", self.word(&from.image), option(&from.name), option(&from.platform))
            }
            InstructionKind::Run(run) => {
                format!("{}{}{}", self.flags(&run.flags), self.command(&run.command), self.heredocs(&run.heredocs))
            }
            InstructionKind::Copy(copy) | InstructionKind::Add(copy) => self.copy(copy),
            InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => self.pairs(pairs),
            InstructionKind::Arg(args) => args
                .iter()
                .map(|(key, value)| match value {
                    Some(value) => format!("{}={}", self.word(key), self.word(value)),
                    None => self.word(key),
                })
                .collect::<Vec<_>>()
                .join(" "),
            InstructionKind::Cmd(command) | InstructionKind::Entrypoint(command) => self.command(command),
            InstructionKind::Shell(words) => format!("{words:?}"),
            InstructionKind::Volume(words) | InstructionKind::Expose(words) => self.words(words),
            InstructionKind::Workdir(word)
            | InstructionKind::User(word)
            | InstructionKind::StopSignal(word)
            | InstructionKind::Maintainer(word) => self.word(word),
            InstructionKind::Healthcheck(check) => {
                let command = check.command.as_ref().map_or("none".to_owned(), |command| self.command(command));
                let times = (check.interval, check.timeout, check.start_period, check.start_interval);
                format!("{command} {times:?} retries {}", check.retries)
            }
            InstructionKind::Onbuild(trigger, held) => {
                let kind = self.kind(&held.kind);
                format!("`{}` = {} {kind}", escape(trigger), held.keyword.text)
            }
        }
    }

    fn instruction(&self, instruction: &Instruction) -> String {
        let (first, last) = instruction.lines;
        let kind = self.kind(&instruction.kind);
        let source = self.slice(instruction.span);
        assert!(source.starts_with(&instruction.keyword.text), "the span begins with the keyword: {source}");
        format!("{first}-{last} {} {kind}\n", self.word(&instruction.keyword).trim_matches('`'))
    }
}

#[test]
fn the_line_of_a_step() {
    let check = |text: &str, expect: &str| {
        let file = parse(text).0;
        assert_eq!(file.instructions.last().map(Instruction::line).as_deref(), Some(expect), "{text}");
    };
    check("FROM  --platform=x   a  AS b\n", "FROM --platform=x a  AS b");
    check("FROM a\nRUN --mount=a --network=none make \\\n  all\n", "RUN --mount=a --network=none make   all");
    check("FROM a\ncopy --link <<x /y\nx\n", "copy --link <<x /y");
    check("FROM a\nENV a=b  c=d\n", "ENV a=b  c=d");
}

#[test]
fn triggers() {
    let check = |text: &str, expect: Result<&str, &str>| {
        let read = parse::parse_trigger(text);
        let read = read.as_ref().map(|trigger| trigger.original.as_str()).map_err(|error| error.message.as_str());
        assert_eq!(read, expect, "{text}");
    };
    check("RUN make  all", Ok("make  all"));
    check("COPY <<x /y\ncontent\nx", Ok("<<x /y"));
    check("ONBUILD RUN x", Err("ONBUILD cannot be the trigger of ONBUILD"));
    check("FROM x", Err("FROM cannot be the trigger of ONBUILD"));
    check("RUN a\nRUN b", Err("a trigger is a single instruction"));
    check("RUNN a", Err("unknown instruction `RUNN`"));
    check("", Err("the file has no instructions"));
    check(&"#\n".repeat(1 << 20), Err("the trigger is longer than 1048576 bytes"));
}

#[test]
fn lone_heredocs() {
    let check = |line: &str, expect: bool| {
        let file = parse(&format!("FROM a\nRUN {line}\nx\nEOF\n")).0;
        let Some(InstructionKind::Run(run)) = file.instructions.get(1).map(|instruction| &instruction.kind) else {
            panic!("{line}")
        };
        assert_eq!(run.lone_heredoc().is_some(), expect, "{line}");
    };
    check("<<EOF", true);
    check("<<-'EOF'", true);
    check("<<  EOF", true);
    check("3<<EOF", true);
    check("<<EOF sh", false);
    check("cat <<EOF", false);
}

fn escape(text: &str) -> String {
    text.replace('\n', "<LF>").replace('\r', "<CR>").replace('\t', "<TAB>")
}

fn unescape(text: &str) -> String {
    let text = text.replace("<CR>", "\r").replace("<TAB>", "\t").replace("<SP>", " ").replace("<BOM>", "\u{feff}");
    text.strip_suffix("<NOEOL>\n").map(str::to_owned).unwrap_or(text)
}

fn draw(source: &str) -> String {
    let (file, diagnostics): (Dockerfile, _) = parse(source);
    let drawing = Drawing { source };
    let mut text = String::new();
    for directive in &file.directives {
        let _ = writeln!(text, "# {} = {}", directive.key, drawing.word(&directive.value));
    }
    file.instructions.iter().for_each(|instruction| text += &drawing.instruction(instruction));
    if !file.comments.is_empty() {
        let _ = writeln!(text, "comments {}", drawing.words(&file.comments));
    }
    text + &render(&diagnostics, "Dockerfile", source, false)
}

/// Compares every case of a file; prints the whole file as it should be if one differs.
fn check(file: &str, cases: &str) {
    let mut actual = String::new();
    let mut differs = false;
    for case in cases.split("\n--- ").map(|case| case.strip_prefix("--- ").unwrap_or(case)) {
        let (title, rest) = case.split_once(" ---\n").expect("a title line");
        let (input, expect) = rest.split_once(">>>\n").expect("an expectation");
        let drawn = draw(&unescape(input));
        differs |= drawn.trim_end() != expect.trim_end();
        let _ = writeln!(actual, "--- {title} ---\n{input}>>>\n{}\n", drawn.trim_end());
    }
    assert!(!differs, "{file} differs; it is\n=====\n{actual}=====");
}

#[test]
fn lines() {
    check("lines.txt", include_str!("parse/lines.txt"));
}

#[test]
fn instructions() {
    check("instructions.txt", include_str!("parse/instructions.txt"));
}

#[test]
fn heredocs() {
    check("heredocs.txt", include_str!("parse/heredocs.txt"));
}

#[test]
fn errors() {
    check("errors.txt", include_str!("parse/errors.txt"));
}
