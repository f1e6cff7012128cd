//! What runs again, what does not, and what `explain` says about it.

use std::os::unix::fs::{PermissionsExt, chown};

use crate::harness::Cooper;

/// A small program in three stages: one builds, one is independent, one takes from both.
const APP: &str = "FROM base AS deps\nCOPY deps /deps\nRUN cat /deps > /installed\n\
    FROM deps AS build\nARG MODE=fast\nCOPY src /src\nRUN cat /src/* > /program; echo $MODE >> /program\n\
    FROM base AS docs\nCOPY docs /docs\nRUN ls /docs > /index\n\
    FROM base\nCOPY --from=build /program /\nCOPY --from=docs /index /\n";

fn app() -> Option<Cooper> {
    let cooper = Cooper::new()?;
    for name in ["deps", "src/a", "src/b", "docs/index.md", "notes"] {
        cooper.put(name, format!("content of {name}\n"));
    }
    cooper.put(".dockerignore", "notes\n");
    assert_eq!(cooper.build(APP, &["-t", "app"]).ok().ran().len(), 8);
    Some(cooper)
}

/// What a build ran, and why in `explain`'s words.
fn ran(cooper: &Cooper, args: &[&str]) -> (Vec<String>, String) {
    let ran = cooper.build(APP, args).ok().ran();
    let explained = cooper.run(&["explain"]).ok().stdout;
    let head = |line: &&str| !line.starts_with("build ");
    let lines: Vec<&str> = explained.lines().filter(head).collect();
    (ran, cooper.plain(&lines.join("\n")))
}

#[test]
fn privileged_the_second_build_runs_nothing() {
    let Some(cooper) = app() else { return };
    assert!(ran(&cooper, &[]).0.is_empty());
    // Neither does a build of a stage, or one that only names the result otherwise.
    assert!(ran(&cooper, &["--target", "docs"]).0.is_empty());
    assert!(ran(&cooper, &["-t", "other", "--label", "a=b"]).0.is_empty());
}

#[test]
fn privileged_only_dependants_of_a_change_run_and_explain_names_it() {
    let Some(cooper) = app() else { return };
    let mut all = String::new();
    let mut step = |what: &str, args: &[&str]| {
        let (ran, explained) = ran(&cooper, args);
        all.push_str(&format!("== {what}\nran: {ran:#?}\n{explained}\n"));
    };
    step("nothing", &[]);
    cooper.put("src/a", "changed\n");
    step("a source", &[]);
    cooper.put("src/c", "new\n");
    step("a new source", &[]);
    std::fs::remove_file(cooper.path("src/c")).unwrap();
    step("a source removed: as before", &[]);
    let touched = std::fs::File::open(cooper.path("src/b")).unwrap();
    touched.set_modified(std::time::UNIX_EPOCH).unwrap();
    step("a source touched", &[]);
    cooper.put("notes", "ignored\n");
    step("an ignored file", &[]);
    std::fs::set_permissions(cooper.path("src/b"), PermissionsExt::from_mode(0o755)).unwrap();
    step("a mode", &[]);
    step("an argument", &["--build-arg", "MODE=slow"]);
    step("the same argument", &["--build-arg", "MODE=slow"]);
    cooper.put("docs/index.md", "same names, other text\n");
    step("a doc: the index is as before", &["--build-arg", "MODE=slow"]);
    insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "snapshots", omit_expression => true }, {
        insta::assert_snapshot!("explain", all);
    });
}

#[test]
fn privileged_owners_of_the_context_are_no_input() {
    let Some(cooper) = app() else { return };
    chown(cooper.path("src/a"), Some(1234), Some(1234)).unwrap();
    assert!(ran(&cooper, &[]).0.is_empty(), "a copy without --chown belongs to root");
}

#[test]
fn privileged_a_step_that_makes_the_same_stops_the_rest() {
    let Some(cooper) = Cooper::new() else { return };
    let dockerfile = |comment: &str| {
        format!(
            "FROM base AS a\nRUN echo {comment} > /dev/null; echo same > /out\nFROM base\nCOPY --from=a /out /\nRUN cat /out\n"
        )
    };
    cooper.build(&dockerfile("one"), &[]).ok();
    let out = cooper.build(&dockerfile("two"), &[]).ok();
    assert_eq!(out.ran(), ["RUN echo two > /dev/null; echo same > /out"]);
}

#[test]
fn privileged_a_base_that_moved_runs_what_is_on_it() {
    let Some(cooper) = Cooper::new() else { return };
    let dockerfile = "FROM moving\nRUN cat /which > /seen\n";
    for which in ["one", "two"] {
        cooper.build(&format!("FROM base\nRUN echo {which} > /which\n"), &["-t", which]).ok();
    }
    cooper.run(&["tag", "one", "moving"]).ok();
    cooper.build(dockerfile, &["-t", "x"]).ok();
    cooper.run(&["tag", "two", "moving"]).ok();
    let out = cooper.build(dockerfile, &["-t", "x"]).ok();
    assert_eq!((out.ran().len(), cooper.sh("x", "cat /seen")), (1, "two\n".to_owned()));
    assert!(out.stderr.contains("not cached: base image moving:latest changed: "), "{}", out.stderr);
    cooper.run(&["tag", "one", "moving"]).ok();
    assert!(cooper.build(dockerfile, &["-t", "x"]).ok().ran().is_empty(), "back to the first");
}

#[test]
fn privileged_instructions_and_environment_explained() {
    let Some(cooper) = Cooper::new() else { return };
    let mut all = String::new();
    for dockerfile in [
        "FROM base\nENV A=1\nRUN echo $A\n",
        "FROM base\nENV A=2\nRUN echo $A\n",
        "FROM base\nENV A=2\nRUN echo .$A\n",
        "FROM base\nENV A=2\nUSER app\nRUN echo .$A\n",
        "FROM base\nENV A=2\nUSER app\nWORKDIR /etc\nRUN echo .$A\n",
        "FROM base\nENV A=2\nUSER app\nWORKDIR /etc\nRUN --network=none echo .$A\n",
    ] {
        cooper.build(dockerfile, &[]).ok();
        let explained = cooper.run(&["explain"]).ok().stdout;
        all.push_str(&format!("{dockerfile}=> {}\n", explained.split_once('\n').unwrap().1));
    }
    insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "snapshots", omit_expression => true }, {
        insta::assert_snapshot!("explain_instructions", all);
    });
}

#[test]
fn privileged_builds_are_explained_by_name() {
    let Some(cooper) = Cooper::new() else { return };
    let name = |dockerfile: &str| {
        cooper.build(dockerfile, &[]).ok();
        let json = cooper.run(&["explain", "--format", "json"]).ok().stdout;
        let value: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        value["build"].as_str().unwrap().to_owned()
    };
    let first = name("FROM base\nRUN echo 1\n");
    let second = name("FROM base\nRUN echo 2\n");
    let third = name("FROM base\nRUN echo 3\n");
    let explained = cooper.run(&["explain", &third, &first[..6]]).ok().stdout;
    assert!(explained.contains(&format!("build {third} ")) && explained.contains(&first), "{explained}");
    assert!(explained.contains("`RUN echo 1` became `RUN echo 3`"), "{explained}");
    assert!(cooper.run(&["explain", &second]).ok().stdout.contains("`RUN echo 1` became `RUN echo 2`"));
    let message = cooper.run(&["explain", "zzz"]).fails(1);
    assert!(message.contains("hint: the last ones are: ") && message.contains(&third), "{message}");
}

#[test]
fn privileged_two_builds_of_the_same_at_once() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.put("Dockerfile", "FROM base\nRUN echo a > /a\nRUN echo b > /b\nCOPY Dockerfile /c\n");
    let start = |name| cooper.command(&["build", "-q", "-t", name, "."]).spawn().unwrap();
    let children = ["a", "b", "c"].map(start);
    let outs = children.map(|child| cooper.wait(child).ok().stdout);
    assert!(outs.iter().all(|out| *out == outs[0]), "{outs:?}");
    cooper.run(&["store", "check"]).ok();
    assert!(cooper.build(&cooper.get("Dockerfile"), &[]).ok().ran().is_empty());
}
