//! What the texts of graphs do not show: metadata, what stays out of keys, limits, and that nothing panics.
//!
//! Knows nothing of wording.

use cooper_dockerfile::{Args, Bases, evaluate, parse};
use cooper_llb::{Op, Source};
use proptest::prelude::*;

use crate::support::{args, build, execs, lowered, with_args};

#[test]
fn proxies_reach_the_process_in_both_spellings() {
    let args = with_args(&[("HTTP_PROXY", "http://p"), ("OTHER", "x")]);
    let exec = execs("FROM scratch\nRUN a\n", &args).remove(0);
    assert_eq!(exec.proxy_env, ["HTTP_PROXY=http://p", "http_proxy=http://p"]);
    assert!(!exec.env.iter().any(|line| line.contains("PROXY")));
}

#[test]
fn metadata_names_stage_lines_and_platform() {
    let lowered = lowered("FROM alpine AS Build\n\nRUN a \\\n  b\nFROM scratch\nCOPY --from=build a b\n", &args());
    let meta = |index: usize| &lowered.definition.vertices[index].meta;
    assert_eq!(meta(0).stage, "build");
    assert_eq!(meta(1).location.map(|place| (place.first_line, place.last_line)), Some((3, 4)));
    assert_eq!(meta(1).instruction, "RUN a   b");
    assert_eq!(meta(3).stage, "1");
    assert_eq!(meta(3).platform.as_ref().map(ToString::to_string).as_deref(), Some("linux/amd64"));
}

#[test]
fn steps_are_in_the_order_of_the_file() {
    let lowered = lowered("FROM alpine AS a\nRUN a\nFROM scratch\nCOPY x /\nCOPY --from=a b c\n", &args());
    let names: Vec<&str> = lowered.steps.iter().map(|id| lowered.definition.vertex(*id).meta.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "[a 1/2] FROM docker.io/library/alpine:latest",
            "[a 2/2] RUN a",
            "[stage-1 1/2] COPY x /",
            "[stage-1 2/2] COPY --from=a b c"
        ]
    );
    assert_eq!(lowered.root, *lowered.steps.last().unwrap());
}

#[test]
fn pull_is_said_to_the_source() {
    let lowered = lowered("FROM alpine\n", &Args { pull: true, ..args() });
    let Op::Source(Source::Image { resolve, .. }) = &lowered.definition.vertices[0].op else { panic!("an image") };
    assert_eq!(*resolve, cooper_llb::ResolveMode::Pull);
}

#[test]
fn needs_are_those_of_needed_stages_only() {
    let (file, _) = parse("FROM a\nFROM b AS b\nFROM c\nCOPY --from=b x y\nCOPY --from=image x y\n");
    let (evaluation, found) = evaluate(&file, &args(), &Bases::new());
    let cooper_dockerfile::Evaluation::Needs(keys) = evaluation else { panic!("{found:?}") };
    assert_eq!(keys.len(), 2);
    let lines: Vec<_> = keys.iter().map(|(_, lines)| *lines).collect();
    assert!(format!("{keys:?}").contains("library/b") && format!("{keys:?}").contains("library/c"));
    assert_eq!(lines, [(2, 2), (3, 3)]);
}

/// Values that double with every line, repeated by many steps, once took all memory.
#[test]
fn regression_expansion_bombs_are_refused() {
    let doubling = "ENV A=$A$A\n".repeat(24);
    let check = |text: String| {
        let (lowered, messages) = build(&text, &args());
        assert!(lowered.is_none());
        assert!(messages.contains("bytes") || messages.contains("long"), "{messages:.300}");
    };
    check(format!("FROM scratch\nENV A=0123456789\n{doubling}"));
    let most = format!("FROM scratch\nENV A=0123456789\n{}", "ENV A=$A$A\n".repeat(16));
    check(format!("{most}{}", "RUN x\n".repeat(1000)));
    check(format!("{most}LABEL {}\n", (0..1000).map(|n| format!("l{n}=$A ")).collect::<String>()));
    check(format!("{most}{}", "COPY $A /\n".repeat(1000)));
    check(format!("{most}{}", "COPY <<E /f\n$A\nE\n".repeat(1000)));
    check(format!("{most}EXPOSE {}\n", "$A ".repeat(1000)));
    let stages: String = (0..1000).map(|n| format!("FROM s{n} AS s{}\n", n + 1)).collect();
    check(format!("FROM scratch AS s0\n{}{stages}", "CMD x\n".repeat(2000)));
    check(format!("ARG A=0123456789\n{}ARG {}\nFROM scratch\n", "ARG A=$A$A\n".repeat(16), "B=$A ".repeat(1000)));
}

/// Words from which hostile files are put together.
const WORDS: [&str; 34] = [
    "FROM",
    "scratch",
    "alpine",
    "AS",
    "x",
    "0",
    "RUN",
    "COPY",
    "ADD",
    "--from=x",
    "--from=$A",
    "--mount=type=cache,target=$A",
    "--mount=",
    "--chmod=$A",
    "--chown=:",
    "ENV",
    "A=$A",
    "ARG",
    "$",
    "${",
    "\"",
    "'",
    "\\",
    "<<E",
    "E",
    "\n",
    "\n",
    "\n",
    "[\"a\"]",
    "WORKDIR",
    "EXPOSE",
    "ONBUILD",
    "é/./**[",
    "HEALTHCHECK",
];

proptest! {
    #[test]
    fn nothing_panics(words in prop::collection::vec(prop::sample::select(&WORDS[..]), 0..60)) {
        let text = words.join(" ").replace("\n ", "\n");
        let (file, _) = parse(&text);
        let first = evaluate(&file, &args(), &Bases::new());
        if let cooper_dockerfile::Evaluation::Done(stages) = first.0 {
            cooper_dockerfile::lower(&stages, &args());
        }
    }
}
