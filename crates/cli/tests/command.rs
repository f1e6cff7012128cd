//! The binary from outside: exit codes, streams, and what it says when it is used wrongly.
//!
//! Knows nothing of how it works; needs no privileges, no network and no store.

use std::io::Read;
use std::process::{Command, Output, Stdio};

fn cooper(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cooper"));
    command.args(args).env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = cooper(args).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn version_is_data() {
    let (code, stdout, stderr) = run(&["version"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with(concat!("cooper ", env!("CARGO_PKG_VERSION"))), "{stdout}");
    let (_, stdout, _) = run(&["version", "--format", "json"]);
    let value: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(value["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["--version"]).0, 0);
}

#[test]
fn a_wrong_command_line_exits_with_2_and_says_nothing_on_stdout() {
    for args in [
        &["frobnicate"][..],
        &["build"],
        &["build", "--no-such-flag", "."],
        &["images", "--format", "{{.Nothing}}"],
        &["completions", "noshell"],
        &[],
    ] {
        let (code, stdout, stderr) = run(args);
        assert_eq!(code, 2, "{args:?}: {stderr}");
        assert!(stdout.is_empty() && !stderr.is_empty(), "{args:?}: {stdout}");
    }
}

#[test]
fn help_is_data() {
    let (code, stdout, stderr) = run(&["build", "--help"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("--build-arg"), "{stdout}");
    assert!(!stdout.contains("--provenance"), "unsupported flags are not advertised");
}

#[test]
fn where_the_store_is() {
    let ok = |root: &str| (0, format!("{root}\n"), String::new());
    assert_eq!(run(&["store", "path", "--root", "/some/where"]), ok("/some/where"));
    assert_eq!(run(&["--root", "/some/where", "store", "path"]), ok("/some/where"));
    let output = cooper(&["store", "path"]).env("COOPER_ROOT", "/from/env").output().unwrap();
    assert_eq!(output.stdout, b"/from/env\n");
}

#[test]
fn completions_and_manual_pages_name_every_verb() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, stdout, _) = run(&["completions", shell]);
        assert!(code == 0 && stdout.contains("metadata-file"), "{shell}");
    }
    assert_eq!(run(&["man", "--dir", dir.path().to_str().unwrap()]).0, 0);
    for verb in ["build", "run", "images", "store-check"] {
        assert!(dir.path().join(format!("cooper-{verb}.1")).is_file(), "{verb}");
    }
    let (code, page, _) = run(&["man"]);
    assert!(code == 0 && page.contains(".TH cooper"), "{page}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = cooper(&["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn the_doctor_prints_one_row_for_each_thing() {
    let (_, table, _) = run(&["doctor"]);
    let (_, json, _) = run(&["doctor", "--format", "json"]);
    assert!(table.starts_with("WHAT"), "{table}");
    for line in json.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(table.contains(value["name"].as_str().unwrap()), "{line}");
    }
}
