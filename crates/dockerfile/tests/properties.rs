//! What holds for every text, and limits on hostile ones.

use cooper_dockerfile::ast::{Dockerfile, InstructionKind, Word};
use cooper_dockerfile::expand::{Mode, expand, expand_words};
use cooper_dockerfile::parse::{INSTRUCTIONS_MAX, LINE_BYTES_MAX, TEXT_BYTES_MAX, detect_syntax, parse_mount};
use cooper_dockerfile::{Diagnostic, Severity, Span, lint, parse, render};
use proptest::prelude::*;

fn words(file: &Dockerfile) -> Vec<&Word> {
    let mut words: Vec<&Word> = file.comments.iter().collect();
    for instruction in &file.instructions {
        words.push(&instruction.keyword);
        match &instruction.kind {
            InstructionKind::From(from) => {
                words.extend([&from.image].into_iter().chain(&from.name).chain(&from.platform))
            }
            InstructionKind::Copy(copy) | InstructionKind::Add(copy) => {
                words.extend(copy.sources.iter().chain([&copy.dest]))
            }
            InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => {
                words.extend(pairs.pairs.iter().flat_map(|(key, value)| [key, value]));
            }
            InstructionKind::Run(run) => {
                words.extend(run.flags.iter().flat_map(|flag| [&flag.name].into_iter().chain(&flag.value)));
            }
            _ => {}
        }
    }
    words
}

/// Spans lie in the text and on character boundaries, instructions follow each other; drawing works.
fn check(text: &str) {
    let (file, found) = parse(text);
    let diagnostics = lint::check(text, &file, found, &lint::Options::default());
    let valid = |span: Span| {
        assert!(text.get(span.start as usize..span.end as usize).is_some(), "{span:?} in {text:?}");
    };
    words(&file).iter().for_each(|word| valid(word.span));
    file.instructions.iter().for_each(|instruction| valid(instruction.span));
    diagnostics.iter().for_each(|diagnostic| valid(diagnostic.span));
    let edits = diagnostics.iter().filter_map(|found| found.fix.as_ref()).flat_map(|fix| &fix.edits);
    edits.for_each(|edit| valid(edit.span));
    for pair in file.instructions.windows(2) {
        assert!(pair[0].span.end <= pair[1].span.start, "{text:?}");
        assert!(pair[0].lines.1 < pair[1].lines.0, "{text:?}");
    }
    let drawn = render(&diagnostics, "Dockerfile", text, false);
    assert_eq!(drawn.is_empty(), diagnostics.is_empty());
    assert!(drawn.chars().all(|ch| ch == '\n' || !ch.is_control()), "{drawn:?}");
    detect_syntax(text);
}

/// Pieces that mean something, so that random texts reach more than the first branch.
fn dockerfile_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "FROM ",
        "RUN ",
        "RUN apt-get install x && ",
        "RUN curl x | sh",
        " && \\\n",
        "$(",
        ")",
        "COPY ",
        "ADD ",
        "ENV ",
        "LABEL ",
        "ARG ",
        "HEALTHCHECK ",
        "ONBUILD ",
        "VOLUME ",
        "SHELL ",
        "CMD ",
        "EXPOSE ",
        "a",
        " ",
        "\n",
        "\r\n",
        "\\\n",
        "\\",
        "`",
        "# ",
        "#",
        "escape=`\n",
        "syntax=",
        "check=skip=all\n",
        "<<EOF",
        "<<-'x y'",
        "EOF\n",
        "\t",
        "--mount=",
        "--from=",
        "--",
        "=",
        "\"",
        "'",
        "[\"",
        "\"]",
        "[",
        "]",
        ",",
        "é",
        "\u{a0}",
        "\u{feff}",
        "$",
        "{",
        "}",
        ":-",
        "CMD",
        "NONE",
        "1s",
        "--interval=",
        " AS ",
        "x",
        "\u{1b}[2J",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn any_text(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn likely_text(text in dockerfile_like()) {
        check(&text);
    }

    #[test]
    fn any_word(word in "[a-z$\\{\\}:'\"\\\\/#%*?+<\u{a0}é -]{0,40}") {
        let lookup = |name: &str| (name.len() == 1).then(|| format!("v{name} x"));
        for mode in [Mode::Word, Mode::Raw] {
            if let Err(error) = expand(&word, '\\', &lookup, mode) {
                prop_assert!(word.is_char_boundary(error.offset));
            }
        }
        if let Ok(words) = expand_words(&word, '\\', &lookup) {
            prop_assert!(words.words.iter().all(|word| !word.is_empty()));
        }
    }

    #[test]
    fn any_mount(value in "[a-z=,\"0-9 ]{0,40}") {
        let _ = parse_mount(&value);
    }
}

fn errors(text: &str) -> Vec<Diagnostic> {
    parse(text).1.into_iter().filter(|found| found.severity == Severity::Error).collect()
}

fn only_error(text: &str) -> String {
    let mut found = errors(text);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0).message
}

#[test]
fn a_file_that_is_too_long() {
    let text = "FROM a\n".to_owned() + &"#\n".repeat(TEXT_BYTES_MAX / 2);
    assert!(only_error(&text).contains("bytes long"));
    assert_eq!(errors(text.get(..TEXT_BYTES_MAX).expect("ascii")), []);
}

#[test]
fn a_line_that_is_too_long() {
    let line = |length: usize| format!("FROM a\nRUN {}\n", "x".repeat(length - 4));
    assert_eq!(errors(&line(LINE_BYTES_MAX)), []);
    assert!(only_error(&line(LINE_BYTES_MAX + 1)).starts_with("line 2 is longer"));
}

#[test]
fn too_many_instructions() {
    let text = |count: usize| "FROM a\n".repeat(count);
    assert_eq!(errors(&text(INSTRUCTIONS_MAX)), []);
    assert!(only_error(&text(INSTRUCTIONS_MAX + 1)).contains("more than"));
}

/// Each of these is quadratic in a reader that is not careful, and would take minutes.
#[test]
fn hostile_shapes_end() {
    let megabyte = |piece: &str| piece.repeat((TEXT_BYTES_MAX - 100) / piece.len());
    for text in [
        megabyte("FROM a\n"),
        "FROM a\nRUN a".to_owned() + &megabyte("\\\n"),
        "FROM a\nRUN ".to_owned() + &megabyte("--mount=x \\\n") + "y",
        "FROM a\nCOPY ".to_owned() + &megabyte("<<x \\\n"),
        "FROM a\nENV ".to_owned() + &megabyte("a=b \\\n"),
        "FROM a\n".to_owned() + &megabyte("x\n"),
        "FROM a\n".to_owned() + &megabyte("# check=skip=x\n"),
        "FROM a\nCMD ".to_owned() + &megabyte("[\\\n"),
        "FROM a\nONBUILD ".to_owned() + &megabyte("ONBUILD \\\n"),
        "FROM a\nARG ".to_owned() + &megabyte("a,\"\\\n"),
        "FROM a\n".to_owned() + &"RUN sudo apt-get install a | sh\n".repeat(INSTRUCTIONS_MAX - 1),
        "FROM a\nRUN a".to_owned() + &megabyte(" && \\\n apt install b"),
        "FROM a\nRUN a".to_owned() + &megabyte(" | \\\n curl b"),
        "FROM a\nRUN a".to_owned() + &megabyte(" $( \\\n"),
        "FROM a\n".to_owned() + &"# hadolint ignore=DL3004\nRUN sudo a\n".repeat(INSTRUCTIONS_MAX - 1),
        (1..INSTRUCTIONS_MAX).map(|i| format!("FROM s{} AS s{i}\n", i - 1)).collect(),
    ] {
        let (file, found) = parse(&text);
        let found = lint::check(&text, &file, found, &lint::Options::default());
        render(&found, "Dockerfile", &text, false);
    }
    let names: String = (0..100_000).map(|i| format!("$a{i}")).collect();
    assert_eq!(expand(&names, '\\', &|_| None, Mode::Word).expect("expands").undefined.len(), 100_000);
}

#[test]
fn syntax_in_any_format() {
    let check = |text: &str, expect: Option<&str>| {
        assert_eq!(detect_syntax(text).map(|word| word.text).as_deref(), expect, "{text}");
    };
    check("# syntax=a/b:1 opt\nFROM x\n", Some("a/b:1"));
    check("#!/bin/x\n# syntax = a\n", Some("a"));
    check("// escape=x\n// syntax=a\n", Some("a"));
    check("{\"syntax\": \"a\"}", Some("a"));
    check("\u{feff}#syntax=a\r\n", Some("a"));
    check("FROM x\n# syntax=a\n", None);
    check("# other=x\n# syntax=a\n", None);
    check("", None);
}
