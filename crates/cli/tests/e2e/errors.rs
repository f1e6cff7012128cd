//! What a person is told when something is wrong, whole, with the exit code.

use crate::harness::Cooper;

/// Builds and takes down everything that was said.
fn says(cooper: &Cooper, name: &str, dockerfile: &str, args: &[&str]) {
    let message = cooper.build(dockerfile, args).fails(1);
    insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "snapshots", omit_expression => true }, {
        insta::assert_snapshot!(format!("error_{name}"), message);
    });
}

#[test]
fn privileged_mistakes_are_shown_with_line_reason_and_hint() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.put("file.txt", "x");
    cooper.put("hidden.log", "x");
    cooper.put(".dockerignore", "*.log\n");
    for (name, dockerfile, args) in [
        ("missing_source", "FROM base\nCOPY fle.txt /\n", &[][..]),
        ("ignored_source", "FROM base\nCOPY hidden.log /\n", &[]),
        ("source_in_no_directory", "FROM base\nCOPY no/such /\n", &[]),
        ("source_of_a_stage", "FROM base AS a\nFROM base\nCOPY --from=a /etc/passwdd /\n", &[]),
        ("unknown_instruction", "FROM base\nRUNN x\n", &[]),
        ("unknown_target", "FROM base AS first\nFROM base AS second\n", &["--target", "secnd"]),
        ("stage_index", "FROM base AS a\nFROM base\nCOPY --from=3 a b\n", &[]),
        ("stage_name", "FROM base AS builder\nFROM base\nCOPY --from=localhost:1/bulider /a /b\n", &[]),
        ("refused_base", "FROM localhost:1/no/such:1\nRUN true\n", &[]),
        ("refused_base_of_a_mount", "FROM base\nRUN --mount=from=localhost:1/x,target=/x true\n", &[]),
        ("unknown_user", "FROM base\nUSER nobody-here\nRUN true\n", &[]),
        ("workdir_through_proc", "FROM base\nWORKDIR /proc/self/fd/3\nRUN true\n", &[]),
        ("no_program", "FROM base\nRUN [\"nosuch\", \"arg\"]\n", &[]),
        ("no_shell", "FROM scratch\nRUN true\n", &[]),
        ("failed_step", "FROM base\nRUN echo out >&2; \\\n    echo err >&2; \\\n    exit 3\n", &[]),
        ("failed_script", "FROM base\nRUN <<EOF\necho one\nfalse\nEOF\n", &[]),
        ("killed_step", "FROM base\nRUN kill -9 $$\n", &[]),
        ("unknown_command", "FROM base\nRUN frobnicate\n", &[]),
        ("empty", "", &[]),
        ("secret_not_given", "FROM base\nRUN --mount=type=secret,id=t,required cat /run/secrets/t\n", &[]),
        ("unknown_mount_option", "FROM base\nRUN --mount=type=cache,targt=/x true\n", &[]),
    ] {
        says(&cooper, name, dockerfile, args);
    }
}

#[test]
fn regression_a_stage_misspelt_is_named_in_the_hint() {
    let cooper = Cooper::empty();
    let message = cooper.build("FROM scratch AS localhost1builder\nFROM localhost:1/bulider\n", &[]).fails(1);
    assert!(message.contains(" --> Dockerfile:2:1"), "{message}");
    assert!(message.contains("hint: did you mean the stage `localhost1builder`?"), "{message}");
}

#[test]
fn mistakes_on_the_command_line() {
    let cooper = Cooper::empty();
    cooper.put("Dockerfile", "FROM scratch\nCOPY file.txt /\n");
    cooper.put("file.txt", "x");
    let mut all = String::new();
    let mut wrong = Vec::new();
    for (args, code) in [
        (&["explain"][..], 1),
        (&["explain", "nosuch"], 1),
        (&["build", "nodir"], 1),
        (&["build", "-f", "nofile", "."], 1),
        (&["build", "file.txt"], 1),
        (&["build", "-"], 1),
        (&["build", "https://example.invalid/x.git#-x"], 2),
        (&["build", "--laod", "."], 2),
        (&["build", "-t", "BAD:::x", "."], 2),
        (&["build", "-o", "type=foo", "."], 2),
        (&["build", "-o", "type=oci,dst=x", "."], 2),
        (&["build", "-o", "type=oci,dest=no/such/x.tar", "."], 1),
        (&["build", "--jobs", "0", "."], 2),
        (&["build", "--add-host", "x", "."], 2),
        (&["build", "--network", "bridge", "."], 2),
        (&["build", "--build-context", "x", "."], 2),
        (&["build", "--build-context", "x=no/such", "."], 1),
        (&["build", "--build-arg", "=x", "."], 2),
        (&["build", "--label", "=x", "."], 2),
        (&["build", "--secret", "id=x,src=nofile", "."], 1),
        (&["build", "--secret", "src=nofile", "."], 2),
        (&["build", "--ssh", "default", "."], 1),
        (&["build", "--iidfile", "no/such/id", "."], 1),
        (&["build", "--metadata-file", "no/such/id", "."], 1),
        (&["build", "--platform", "a/b/c/d", "."], 2),
        (&["build", "--push", "."], 2),
        (&["build", "--cache-to", "type=s3,bucket=x", "."], 2),
        (&["history", "nosuch"], 1),
        (&["tag", "nosuch", "x"], 1),
        (&["rmi", "nosuch"], 1),
        (&["save", "nosuch"], 1),
        (&["load", "-i", "nosuch"], 1),
        (&["load", "-i", "file.txt"], 1),
        (&["run", "nosuch"], 125),
        (&["prune", "--filter", "x=y"], 2),
        (&["prune", "--max-used-space", "much"], 2),
    ] {
        let out = cooper.run(args);
        if (out.code, out.stdout.as_str()) != (code, "") {
            wrong.push((args, out.code, out.stdout));
        }
        all.push_str(&format!("$ cooper {}\n{}\n", args.join(" "), out.stderr));
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "snapshots", omit_expression => true }, {
        insta::assert_snapshot!("command_line", all);
    });
}

#[test]
fn privileged_step_output_cannot_act_on_the_terminal() {
    let Some(cooper) = Cooper::new() else { return };
    let dockerfile = "FROM base\nRUN printf '\\033[31mred\\033]0;title\\007\\033[2J::error::x\\r\\n'; exit 1\n";
    for progress in ["plain", "tty", "quiet", "rawjson"] {
        let message = cooper.build(dockerfile, &["--progress", progress]).stderr;
        let hostile = ["\x1b]0;title", "\x1b[2J", "\x07"];
        assert!(
            message.contains("red") && !hostile.iter().any(|text| message.contains(text)),
            "{progress}: {message:?}"
        );
    }
}

#[test]
fn privileged_marks_and_line_ends_of_other_editors() {
    let Some(cooper) = Cooper::new() else { return };
    cooper
        .build("\u{feff}FROM base\r\nRUN echo one \\\r\n  two > /out\r\nENV A=b\r\nWORKDIR /w\r\n", &["-t", "crlf"])
        .ok();
    assert_eq!(cooper.sh("crlf", "cat /out; echo $A; pwd"), "one two\nb\n/w\n");
}

#[test]
fn privileged_failed_first_then_mended() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.put("a", "1");
    let failing = cooper.build("FROM base\nCOPY a /a\nRUN test -e /b\nRUN echo after\n", &[]);
    assert_eq!((failing.code, failing.ran()), (1, vec!["COPY a /a".to_owned()]));
    let mended = cooper.build("FROM base\nCOPY a /a\nRUN test -e /a\nRUN echo after\n", &[]).ok();
    assert_eq!(mended.ran(), ["RUN echo after", "RUN test -e /a"]);
}
