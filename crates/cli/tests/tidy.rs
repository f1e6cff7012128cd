//! House rules that a compiler does not check: module docs, sizes of functions and files, words that must not land.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a function, signature and closing brace included.
const FUNCTION_MAX: usize = 70;

/// Lines of a file.
const FILE_MAX: usize = 700;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All Rust files of the workspace, with their path below its root.
fn sources() -> Vec<(String, String)> {
    let mut todo = vec![root().join("crates")];
    let mut out = Vec::new();
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).expect("the source is readable") {
            let path = entry.expect("the source is readable").path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("it was found below the root").display().to_string();
                out.push((name, fs::read_to_string(&path).expect("Rust is UTF-8")));
            }
        }
    }
    out.sort();
    out
}

/// Name and length of each function. Braces in strings and comments may fool it, which the limit's slack bears.
fn functions(text: &str) -> Vec<(String, usize)> {
    let mut out = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some(name) = function_name(line.trim_start()) else { continue };
        let closing = format!("{}}}", " ".repeat(indent));
        let body = lines[start..]
            .iter()
            .position(|line| *line == closing || line.trim_end().ends_with(';') && line.starts_with(&closing));
        if let Some(length) = body {
            out.push((name, length + 1));
        }
    }
    out
}

fn function_name(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let is_modifier =
        |word: &str| matches!(word, "pub" | "async" | "const" | "unsafe" | "extern") || word.starts_with("pub(");
    let word = words.by_ref().find(|word| !is_modifier(word))?;
    (word == "fn" && line.ends_with(['{', '('])).then_some(())?;
    Some(words.next()?.split(['(', '<']).next()?.to_owned())
}

#[test]
fn every_file_says_what_it_is() {
    for (name, text) in sources() {
        assert!(text.starts_with("//!"), "{name} does not open with `//!`");
    }
}

#[test]
fn functions_and_files_stay_small() {
    let is_test = |name: &str| name.contains("/tests/") || name.ends_with("tests.rs") || name.contains("/examples/");
    let mut long = Vec::new();
    for (name, text) in sources().iter().filter(|(name, _)| !is_test(name)) {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
        let lines = code.lines().count();
        if lines > FILE_MAX {
            long.push(format!("{name}: {lines} lines"));
        }
        let over = functions(code).into_iter().filter(|(_, length)| *length > FUNCTION_MAX);
        long.extend(over.map(|(function, length)| format!("{name}: fn {function} has {length} lines")));
    }
    assert!(long.is_empty(), "too long:\n{}", long.join("\n"));
}

#[test]
fn the_measure_sees_a_long_function() {
    let text = format!("fn long() {{\n{}}}\n", "    work();\n".repeat(80));
    assert_eq!(functions(&text), [("long".to_owned(), 82)]);
}

#[test]
fn nothing_is_left_open() {
    // Spelt apart, so that this file does not find itself.
    let words =
        [["todo", "!("].concat(), ["unimplemented", "!("].concat(), ["dbg", "!("].concat(), ["#[ign", "ore"].concat()];
    for (name, text) in sources() {
        for word in &words {
            assert!(!text.contains(word.as_str()), "{name} has `{word}`");
        }
    }
}
