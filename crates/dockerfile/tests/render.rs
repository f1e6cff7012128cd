//! How diagnostics and excerpts look.

use cooper_dockerfile::{Diagnostic, Span, excerpt, line_column, lint, parse, render};

const TEXT: &str = "FROM a\nRUN one && \\\n  two\n";

#[test]
fn several_diagnostics() {
    let text = "FROM a as b\nCOPY --form=x \u{e9} y\n";
    let (file, mut found) = parse(text);
    found.extend(lint(&file));
    insta::assert_snapshot!(render(&found, "sub/Dockerfile", text, false), @r"
    error: COPY has no flag `--form`
     --> sub/Dockerfile:2:8
      |
    2 | COPY --form=x é y
      |        ^^^^
      |
      = help: did you mean `--from`?

    warning[FromAsCasing]: `FROM` and `as` are not in the same case
     --> sub/Dockerfile:1:8
      |
    1 | FROM a as b
      |        ^^
      |
      = help: write `AS`
    ");
}

#[test]
fn the_place_of_a_failed_step() {
    insta::assert_snapshot!(excerpt("Dockerfile", TEXT, 2, 3, "the command exited with 1", false), @r"
    error: the command exited with 1
     --> Dockerfile:2:1
      |
    2 | / RUN one && \
    3 | |   two
      | |_____^
    ");
}

#[test]
fn colour_is_asked_for() {
    let found = [Diagnostic::error(Span { start: 0, end: 4 }, "x")];
    assert!(render(&found, "f", TEXT, true).contains("\u{1b}["));
    assert!(!render(&found, "f", TEXT, false).contains('\u{1b}'));
}

#[test]
fn places_outside_of_the_text_are_drawn() {
    let found = [Diagnostic::error(Span { start: 900, end: 4 }, "x")];
    assert!(render(&found, "f", "é", false).starts_with("error: x\n"));
    assert!(excerpt("f", "", 7, 9, "x", false).starts_with("error: x\n"));
    assert!(excerpt("f", TEXT, 3, 1, "x", false).contains("two"));
    assert!(excerpt("f", TEXT, 0, u32::MAX, "x", false).contains("FROM"));
}

#[test]
fn control_characters_are_not_drawn() {
    let text = "\u{1b}[2Jx\u{7} \u{9b}2J y\n";
    let drawn = render(&parse(text).1, "f", text, false);
    assert!(!drawn.contains(['\u{1b}', '\u{7}', '\u{9b}']), "{drawn:?}");
}

#[test]
fn many_diagnostics_are_counted() {
    let found = vec![Diagnostic::error(Span { start: 0, end: 4 }, "x"); 150];
    assert!(render(&found, "f", TEXT, false).ends_with("\nand 50 more\n"));
}

#[test]
fn lines_and_columns() {
    let text = "ab\né\u{e9}c\n";
    let check = |offset, expect| assert_eq!(line_column(text, offset), expect, "{offset}");
    check(0, (1, 1));
    check(2, (1, 3));
    check(3, (2, 1));
    check(5, (2, 2));
    check(4, (2, 1));
    check(8, (2, 4));
    check(9, (3, 1));
    check(900, (3, 1));
}
