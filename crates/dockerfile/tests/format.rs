//! The formatter: a text in, its one form out; and that the form means what the text meant.

use cooper_dockerfile::ast::{Command, InstructionKind, Run};
use cooper_dockerfile::{Args, Bases, Evaluation, Severity, evaluate, format, lower, parse};
use cooper_oci::{ImageConfig, Platform};
use proptest::prelude::*;

#[track_caller]
fn check(text: &str, expect: &str) {
    let formatted = format(text).unwrap();
    assert_eq!(formatted, expect, "{text}");
    assert_eq!(format(&formatted).unwrap(), formatted, "it is not stable: {text}");
    assert_eq!(meaning(text), meaning(&formatted), "{text}");
}

#[track_caller]
fn unchanged(text: &str) {
    check(text, text);
}

#[test]
fn keywords_are_in_capitals() {
    check("from a as b\nrun c\n", "FROM a AS b\nRUN c\n");
    check("from --platform=$x a As B\n", "FROM --platform=$x a AS B\n");
    check(
        "FROM a\nhealthcheck --interval=5s cmd b\nhealthcheck none\n",
        "FROM a\nHEALTHCHECK --interval=5s CMD b\nHEALTHCHECK NONE\n",
    );
    // The trigger's text is part of the image.
    check("FROM a\nonbuild  run   b\n", "FROM a\nONBUILD run   b\n");
    check("F\\\nrom a\nru\\\nn b\n", "F\\\nROM a\nRU\\\nN b\n");
}

#[test]
fn one_blank_between_words() {
    check("FROM   a\t AS   b\n", "FROM a AS b\n");
    check("FROM a\nCOPY   --from=b   --chown=1  c   d\t e\n", "FROM a\nCOPY --from=b --chown=1 c d e\n");
    check(
        "FROM a\nRUN  --mount=type=cache,target=/x   --network=none   b   c\n",
        "FROM a\nRUN --mount=type=cache,target=/x --network=none b   c\n",
    );
    check(
        "FROM a\nENV   a=b   c=\"d   e\"   f='g   h'  i=j\\ \\  k=\n",
        "FROM a\nENV a=b c=\"d   e\" f='g   h' i=j\\ \\  k=\n",
    );
    check("FROM a\nENV   b   c   d\n", "FROM a\nENV b c   d\n");
    check(
        "FROM a\nARG  b   c=d\nEXPOSE  80   81\nVOLUME  /a   /b\n",
        "FROM a\nARG b c=d\nEXPOSE 80 81\nVOLUME /a /b\n",
    );
    check("FROM a\nWORKDIR   /a  b\nUSER   c\n", "FROM a\nWORKDIR /a  b\nUSER c\n");
    check("FROM a  \n  RUN b \t\n", "FROM a\nRUN b\n");
    unchanged("FROM a\nRUN echo   'a   b'   c\n");
}

#[test]
fn lists() {
    check("FROM a\nCMD   [\"a\",\"b\" ,  \"c,d\",\"\\\"\" ]\n", "FROM a\nCMD [\"a\", \"b\", \"c,d\", \"\\\"\"]\n");
    check("FROM a\nCMD [ ]\n", "FROM a\nCMD []\n");
    check(
        "FROM a\nCOPY [\"a b\",\"c\"]\nSHELL [\"x\",\"y\"]\nVOLUME [\"/a\",\"/b\"]\nHEALTHCHECK CMD [\"a\",\"b\"]\n",
        "FROM a\nCOPY [\"a b\", \"c\"]\nSHELL [\"x\", \"y\"]\nVOLUME [\"/a\", \"/b\"]\nHEALTHCHECK CMD [\"a\", \"b\"]\n",
    );
    check(
        "FROM a\nCMD [ \\\n\"a\",\\\n      \"b\",\"c\" \\\n  ]\n",
        "FROM a\nCMD [ \\\n    \"a\", \\\n    \"b\", \"c\" \\\n]\n",
    );
    unchanged("FROM a\nCMD [a,b]\n");
    unchanged("FROM a\nCMD [\"a\\\n    b\"]\n");
}

#[test]
fn continuations() {
    check("FROM a\nENV b=c\\\n  d=e   \\\n\n         f=g\n", "FROM a\nENV b=c \\\n    d=e \\\n    f=g\n");
    check(
        "FROM a\nRUN b   \\  \n  && c  d \\\n  # why\n  && e\n",
        "FROM a\nRUN b \\\n    && c  d \\\n    # why\n    && e\n",
    );
    check(
        "FROM a\nRUN if b; then \\\n  c; \\\n    d; \\\n  fi\n",
        "FROM a\nRUN if b; then \\\n    c; \\\n        d; \\\n    fi\n",
    );
    check("FROM a\nRUN b && \\\nc; \\\n  e\n", "FROM a\nRUN b && \\\n    c; \\\n        e\n");
    check("FROM a\nRUN b \\\n\tc \\\n\t\td\n", "FROM a\nRUN b \\\n\tc \\\n\t\td\n");
    check("FROM a\nRUN b \\\n  \\\n  c\n", "FROM a\nRUN b \\\n    c\n");
    check("FROM a\nCOPY b \\\n     c \\\n     /d/\n", "FROM a\nCOPY b \\\n    c \\\n    /d/\n");
    check(
        "FROM a\nRUN --mount=type=ssh \\\n  --network=none \\\n  b\n",
        "FROM a\nRUN --mount=type=ssh \\\n    --network=none \\\n    b\n",
    );
    // What is one column off is meant to be in line.
    check("FROM a\nRUN b \\\n    c \\\n     d \\\n        e\n", "FROM a\nRUN b \\\n    c \\\n    d \\\n        e\n");
    // Words that go on in the next line, and quotes.
    unchanged("FROM a\nRUN b\\\nc\n");
    unchanged("FROM a\nRUN echo 'b \\\n   c' \"d \\\n   e\" `f \\\n   g` ${h:-i \\\n   j}\n");
    unchanged("FROM a\nRUN x \"$(echo \"a \\\n  b\")\"\n");
    check("FROM a\nRUN x $(y \\\n  z)\n", "FROM a\nRUN x $(y \\\n    z)\n");
    // A file that ends in one.
    check("FROM a\nRUN b \\", "FROM a\nRUN b \\\n");
}

/// Where blanks may mean something to the program that reads them, they stay.
#[test]
fn other_shells() {
    unchanged("FROM a\nSHELL [\"python3\", \"-c\"]\nRUN if x: \\\n  y\n");
    unchanged("# escape=`\n\nFROM a\nRUN b `\n  c\n");
    check(
        "FROM a\nSHELL [\"/bin/bash\", \"-ec\"]\nRUN b \\\n  c\n",
        "FROM a\nSHELL [\"/bin/bash\", \"-ec\"]\nRUN b \\\n    c\n",
    );
    unchanged("FROM a\nRUN x $'a\\'b \\\n  c'\n");
}

#[test]
fn here_documents_stay() {
    check(
        "from a\nrun   <<EOF  \n  a   b  \n\n\n\tc\nEOF\nrun c\n",
        "FROM a\nRUN <<EOF\n  a   b  \n\n\n\tc\nEOF\nRUN c\n",
    );
    check("FROM a\nCOPY   --chmod=600   <<-x   /y\n\tz  \n\tx", "FROM a\nCOPY --chmod=600 <<-x   /y\n\tz  \n\tx\n");
    unchanged("FROM a\nRUN cat <<a <<b | \\\n  x\n1\na\n2\nb\n");
}

#[test]
fn lines() {
    check("\n\n\nFROM a\n\n\n\nRUN b\n \n\t\nRUN c\n\n\n", "FROM a\n\nRUN b\n\nRUN c\n");
    check("FROM a\nRUN b", "FROM a\nRUN b\n");
    check("  # one  \n   #two\nFROM a\n  #three\n", "# one\n#two\nFROM a\n#three\n");
    check(
        "\u{feff}from a\r\nrun b \\\r\n  c\r\n\r\n\r\nRUN <<E\r\nx\r\nE\r\n",
        "\u{feff}FROM a\r\nRUN b \\\r\n    c\r\n\r\nRUN <<E\r\nx\r\nE\r\n",
    );
    check("FROM a\r\nRUN b\nRUN c\n", "FROM a\nRUN b\nRUN c\n");
}

#[test]
fn a_comment_never_becomes_a_directive() {
    check("\n\n# escape=`\nFROM a\nRUN b \\\n  c\n", "\n# escape=`\nFROM a\nRUN b \\\n    c\n");
    check(" #!/bin/x\n#escape=`\nFROM a\nRUN b \\\n c\n", " #!/bin/x\n#escape=`\nFROM a\nRUN b \\\n    c\n");
    check("# syntax=x\n\n\n\n# escape=`\nFROM a\n", "# syntax=x\n\n# escape=`\nFROM a\n");
}

#[test]
fn what_cannot_be_read_is_not_touched() {
    let errors = format("FROM a\nRUNN b\n").unwrap_err();
    assert!(errors[0].message.contains("RUNN"), "{errors:?}");
}

/// Each of these is quadratic in a formatter that is not careful, and would take minutes.
#[test]
fn hostile_shapes_end() {
    let long = |piece: &str| piece.repeat(200_000 / piece.len());
    let staircase: String = (0..500).map(|i| format!("{}a \\\n", " ".repeat(i))).collect();
    for text in [
        "FROM a\nRUN ".to_owned() + &staircase + "b\n",
        "FROM a\nRUN ".to_owned() + &long("a \\\n") + "b\n",
        "FROM a\nRUN ".to_owned() + &long("$( \\\n") + "b\n",
        "FROM a\nRUN ".to_owned() + &long("\"${ \\\n") + "b\n",
        "FROM a\nENV ".to_owned() + &long("a=b \\\n") + "b=c\n",
        "FROM a\nCMD [".to_owned() + &long("\"\", \\\n") + "\"\"]\n",
        "FROM a\n".to_owned() + &long("\n# a\n"),
        "FROM a\nRUN a \\\n".to_owned() + &long("# a\n") + "b\n",
    ] {
        let formatted = format(&text).unwrap();
        assert_eq!(format(&formatted).unwrap(), formatted);
    }
}

/// What a file comes to: the graph and the image, without the blanks that only separate. Those inside quotes are kept.
fn meaning(text: &str) -> String {
    let (file, found) = parse(text);
    let mut out: String = found.iter().map(|found| format!("{} {}\n", found.rule, found.message)).collect();
    let args = Args::new(Platform::new("linux", "amd64"));
    let mut bases = Bases::new();
    for _ in 0..4 {
        match evaluate(&file, &args, &bases).0 {
            Evaluation::Needs(keys) => bases.extend(keys.into_iter().map(|(key, _)| (key, base()))),
            Evaluation::Done(stages) => {
                let lowered = lower(&stages, &args);
                let image = serde_json::to_string(&lowered.image).unwrap();
                // Names of steps are for the eye only.
                let graph = lowered.definition.to_text();
                let graph = graph.lines().map(|line| line.split(" # [").next().unwrap_or_default());
                out += &squeezed(&format!("{}\n{image}", graph.collect::<Vec<_>>().join("\n")));
                break;
            }
            Evaluation::Failed => {
                out += "failed";
                break;
            }
        }
    }
    out
}

fn base() -> ImageConfig {
    serde_json::from_str(r#"{"architecture":"amd64","os":"linux","config":{}}"#).unwrap()
}

fn squeezed(text: &str) -> String {
    // Tabs of strings are written out in graph and image.
    let text = text.replace("\\\\t", " ").replace("\\t", " ");
    let words: Vec<&str> = text.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// Pieces that mean something to the formatter.
fn dockerfile_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "\nRUN ",
        "\nrun ",
        "\nCOPY ",
        "\nENV ",
        "\nLABEL a=b ",
        "\nARG ",
        "\nCMD ",
        "\nEXPOSE 80 ",
        "\nVOLUME ",
        "\nHEALTHCHECK cmd ",
        "\nONBUILD run ",
        "\nSHELL [\"bash\"]\n",
        "\nSHELL [\"x\"]\n",
        "\nfrom b as c\n",
        "a",
        "b=c",
        " ",
        "  ",
        "\t",
        "\\\n",
        " \\\n  ",
        "\\ \n\t",
        "\\\n# c\n",
        "\\\n\n",
        "\n",
        "\r\n",
        "\n\n\n",
        "# x ",
        "'",
        "\"",
        "`",
        "$(",
        ")",
        "${",
        "}",
        "\\",
        "<<E",
        "\nE\n",
        "[\"",
        "\", \"",
        "\"]",
        ",",
        "--mount=type=ssh ",
        "--",
        "=",
        "case",
        "$'",
        "\u{a0}",
        "é",
        ";",
        "&&",
    ]);
    let head = prop::sample::select(vec![
        "FROM a\n",
        "from a AS x\n",
        "\n\n FROM a\n",
        "# escape=`\nFROM a\n",
        "\u{feff}FROM a\r\n",
        " # x\nFROM a\n",
    ]);
    (head, prop::collection::vec(piece, 0..30)).prop_map(|(head, pieces)| head.to_owned() + &pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn formatting_is_stable_and_keeps_the_meaning(text in dockerfile_like()) {
        let readable = parse(&text).1.iter().all(|found| found.severity != Severity::Error);
        let formatted = format(&text);
        prop_assert_eq!(formatted.is_ok(), readable);
        if let Ok(formatted) = formatted {
            prop_assert_eq!(format(&formatted).unwrap(), formatted.clone());
            prop_assert_eq!(meaning(&text), meaning(&formatted), "{}", formatted);
            prop_assert_eq!(commands(&text), commands(&formatted));
        }
    }
}

/// The shell commands of a file, quoted text whole and one blank for those outside. Only commands whose quotes are easy to see.
fn commands(text: &str) -> Vec<String> {
    let (file, _) = parse(text);
    let texts = file.instructions.iter().filter_map(|instruction| match &instruction.kind {
        InstructionKind::Run(Run { command: Command::Shell(text), .. })
        | InstructionKind::Cmd(Command::Shell(text)) => Some(text.text.as_str()),
        _ => None,
    });
    texts.filter(|text| !text.contains(['\\', '`', '$'])).map(unquoted_blanks_squeezed).collect()
}

fn unquoted_blanks_squeezed(text: &str) -> String {
    let (mut out, mut quote) = (String::new(), None);
    for ch in text.chars() {
        match quote {
            None if ch == ' ' || ch == '\t' => {
                if !out.ends_with('\u{0}') {
                    out.push('\u{0}');
                }
                continue;
            }
            None if ch == '\'' || ch == '"' => quote = Some(ch),
            Some(mark) if mark == ch => quote = None,
            _ => {}
        }
        out.push(ch);
    }
    out
}
