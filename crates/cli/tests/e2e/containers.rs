//! `cooper run`: what a container gets, and what comes back.

use std::io::{Read, Write};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Cooper, installed};

#[test]
fn privileged_exit_codes_are_dockers() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.put("junk", "junk");
    cooper.put("script", "#!/bin/nosuch\n");
    cooper.build("FROM base\nCOPY --chmod=755 junk script /\nCOPY junk /plain\nCMD []\n", &["-t", "x"]).ok();
    for (args, code) in [
        (&["x", "true"][..], 0),
        (&["x", "sh", "-c", "exit 7"], 7),
        (&["x", "sh", "-c", "kill -9 $$"], 137),
        (&["x", "sh", "-c", "kill -15 $$"], 143),
        (&["x", "nosuch"], 127),
        (&["x", "/nosuch"], 127),
        (&["--entrypoint", "nosuch", "x"], 127),
        (&["x", "/plain"], 126),
        (&["x", "/junk"], 126),
        (&["x", "/script"], 126),
        (&["x", "/bin"], 126),
        (&["x"], 125),
        (&["nosuch", "true"], 125),
        (&["-u", "nobody-here", "x", "true"], 125),
        (&["-v", "/no/such:/x", "x", "true"], 125),
        (&["--network", "bridge", "x", "true"], 125),
    ] {
        let out = cooper.run(&[&["run"], args].concat());
        assert_eq!((out.code, out.stdout.as_str()), (code, ""), "{args:?}: {}", out.stderr);
        assert_eq!(out.stderr.is_empty(), matches!(code, 0 | 7 | 137 | 143), "{args:?}: {}", out.stderr);
    }
    assert_eq!(cooper.run(&["run", "--nosuch", "x"]).code, 2);
}

#[test]
fn privileged_what_the_flags_give() {
    let Some(mut cooper) = Cooper::new() else { return };
    cooper.env.push(("FROM_ENV".into(), "environment".into()));
    cooper.put("share/file", "of the host\n");
    cooper
        .build(
            "FROM base\nENV A=image\nWORKDIR /w\nUSER app\nENTRYPOINT [\"echo\", \"entry\"]\nCMD [\"cmd\"]\n",
            &["-t", "x"],
        )
        .ok();
    let share = cooper.text("share");
    let (rw, ro) = (format!("{share}:/s"), format!("{share}:/s:ro"));
    for (args, expect) in [
        (&["x"][..], "entry cmd\n"),
        (&["x", "arg"], "entry arg\n"),
        (&["--entrypoint", "pwd", "x"], "/w\n"),
        (&["-w", "/etc", "--entrypoint", "pwd", "x"], "/etc\n"),
        (&["-w", "/made/now", "--entrypoint", "pwd", "x"], "/made/now\n"),
        (&["--entrypoint", "id", "x"], "uid=1000(app) gid=1000(app) groups=2000(extra)\n"),
        (&["-u", "root", "--entrypoint", "id", "x"], "uid=0(root) gid=0(root)\n"),
        (&["-u", "5:6", "--entrypoint", "id", "x"], "uid=5 gid=6\n"),
        (&["-u", "app:extra", "--entrypoint", "id", "x", "-g"], "2000\n"),
        (
            &[
                "-e",
                "A=flag",
                "-e",
                "FROM_ENV",
                "-e",
                "UNSET",
                "--entrypoint",
                "sh",
                "x",
                "-c",
                "echo $A $FROM_ENV .$UNSET.",
            ],
            "flag environment ..\n",
        ),
        (&["--hostname", "here", "--entrypoint", "hostname", "x"], "here\n"),
        (&["--network", "none", "--entrypoint", "sh", "x", "-c", "grep -c : /proc/net/dev"], "1\n"),
        (&["-v", &ro, "--entrypoint", "sh", "x", "-c", "cat /s/file; test -w /s/file || echo no"], "of the host\nno\n"),
        (&["-u", "0", "-v", &ro, "--entrypoint", "sh", "x", "-c", "touch /s/new 2>/dev/null || echo no"], "no\n"),
        (&["-u", "0", "-v", &rw, "--entrypoint", "sh", "x", "-c", "echo new > /s/new; cat /s/new"], "new\n"),
        (&["-u", "0", "--read-only", "--entrypoint", "sh", "x", "-c", "touch /new 2>/dev/null || echo no"], "no\n"),
        (&["--rm", "-u", "0", "--entrypoint", "sh", "x", "-c", "touch /new && ls /new"], "/new\n"),
        (&["--entrypoint", "sh", "x", "-c", "test ! -e /new && echo thrown away"], "thrown away\n"),
    ] {
        let out = cooper.run(&[&["run"], args].concat());
        assert_eq!((out.code, out.stdout.as_str()), (0, expect), "{args:?}: {}", out.stderr);
    }
    assert_eq!(cooper.get("share/new"), "new\n");
}

#[test]
fn privileged_input_is_passed_on_only_when_asked() {
    let Some(cooper) = Cooper::new() else { return };
    assert_eq!(cooper.feed(&["run", "-i", "base", "cat"], b"some\0bytes\n").ok().stdout, "some\0bytes\n");
    assert_eq!(cooper.feed(&["run", "base", "cat"], b"unwanted").ok().stdout, "");
    let large = vec![b'x'; 1 << 20];
    assert_eq!(cooper.feed(&["run", "-i", "base", "wc", "-c"], &large).ok().stdout, "1048576\n");
    assert_eq!(cooper.feed(&["run", "-i", "base", "true"], &large).code, 0);
    let message = cooper.run(&["run", "-it", "base", "true"]).fails(125);
    assert!(message.contains("the input is not a terminal"), "{message}");
}

#[test]
fn privileged_signals_reach_the_container() {
    let Some(cooper) = Cooper::new() else { return };
    for (signal, code) in [(Signal::TERM, 42), (Signal::INT, 43), (Signal::USR1, 44)] {
        let script =
            "trap 'exit 42' TERM; trap 'exit 43' INT; trap 'exit 44' USR1; echo ready; while :; do sleep 0.02; done";
        let mut child = cooper.command(&["run", "base", "sh", "-c", script]).spawn().unwrap();
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(cooper.wait(child).code, code);
    }
}

#[test]
fn privileged_a_terminal_is_a_real_one() {
    let Some(cooper) = Cooper::new() else { return };
    if !installed("script") {
        return;
    }
    let inner = "test -t 0 && test -t 1 && test -t 2 && echo all three; stty size; echo TERM=$TERM; read line; echo got $line; exit 5";
    let line = format!("stty rows 31 cols 99; {} run -it base sh -c '{inner}'", env!("CARGO_BIN_EXE_cooper"));
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env_clear().env("PATH", "/usr/bin:/bin").env("TERM", "dumb");
    script.env("COOPER_ROOT", cooper.root()).env("HOME", cooper.path("../home")).stdin(Stdio::piped());
    let mut child = script.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"typed\n").unwrap();
    let out = cooper.wait(child);
    drop(input);
    for part in ["all three\r\n", "31 99\r\n", "TERM=dumb\r\n", "got typed\r\n"] {
        assert!(out.stdout.contains(part), "{part:?}: {}{}", out.stdout, out.stderr);
    }
    assert_eq!(out.code, 5);
}
