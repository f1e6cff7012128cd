//! Steps side by side, steps that fail while others run, and builds that are stopped.

use std::io::{BufRead, BufReader};
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::Cooper;

/// Stages that each wait for all the others: they end only if they run at once.
fn meeting(stages: usize) -> String {
    let all: Vec<String> = (0..stages).map(|n| format!("/m/{n}")).collect();
    let mut dockerfile = String::new();
    for n in 0..stages {
        dockerfile.push_str(&format!(
            "FROM base AS s{n}\nRUN --mount=type=cache,target=/m touch /m/{n}; i=0; for f in {}; do \
             until test -e $f; do sleep 0.02; i=$((i+1)); test $i -lt 1000 || exit 9; done; done; echo {n} > /out\n",
            all.join(" ")
        ));
    }
    dockerfile.push_str("FROM base\n");
    (0..stages).for_each(|n| dockerfile.push_str(&format!("COPY --from=s{n} /out /{n}\n")));
    dockerfile
}

#[test]
fn privileged_independent_stages_run_side_by_side() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.build(&meeting(6), &["--jobs", "6", "-t", "x"]).ok();
    assert_eq!(cooper.sh("x", "cat /0 /1 /2 /3 /4 /5"), "0\n1\n2\n3\n4\n5\n");
}

#[test]
fn privileged_no_more_steps_than_jobs_run_at_once() {
    let Some(cooper) = Cooper::new() else { return };
    let mut dockerfile = String::new();
    for n in 0..3 {
        dockerfile.push_str(&format!(
            "FROM base AS s{n}\nRUN --mount=type=cache,target=/m mkdir /m/busy && sleep 0.05 && rmdir /m/busy && echo {n} > /out\n"
        ));
    }
    dockerfile.push_str("FROM base\nCOPY --from=s0 /out /0\nCOPY --from=s1 /out /1\nCOPY --from=s2 /out /2\n");
    cooper.build(&dockerfile, &["--jobs", "1"]).ok();
}

#[test]
fn privileged_locked_cache_mounts_are_for_one_step_at_a_time() {
    let Some(cooper) = Cooper::new() else { return };
    let mut dockerfile = String::new();
    for n in 0..3 {
        dockerfile.push_str(&format!(
            "FROM base AS s{n}\nRUN --mount=type=cache,target=/m,sharing=locked mkdir /m/busy && sleep 0.05 && rmdir /m/busy && echo {n} > /out\n"
        ));
    }
    dockerfile.push_str("FROM base\nCOPY --from=s0 /out /0\nCOPY --from=s1 /out /1\nCOPY --from=s2 /out /2\n");
    cooper.build(&dockerfile, &["--jobs", "3"]).ok();
}

#[test]
fn privileged_a_failure_stops_what_depends_on_it() {
    let Some(cooper) = Cooper::new() else { return };
    let dockerfile = "FROM base AS bad\nRUN exit 4\nRUN echo after > /after\n\
        FROM base AS good\nRUN echo good > /good\n\
        FROM base\nCOPY --from=bad /after /\nCOPY --from=good /good /\nRUN echo last\n";
    let out = cooper.build(dockerfile, &["--jobs", "2"]);
    assert_eq!(out.code, 1);
    assert!(
        out.stderr.contains("error: the step `exit 4` failed: exit code 4\n --> Dockerfile:2:1\n"),
        "{}",
        out.stderr
    );
    assert!(!out.ran().iter().any(|step| step.contains("after") || step.contains("last")), "{}", out.stderr);
}

/// Starts a build and waits until its step has said that it runs.
fn started(cooper: &Cooper, dockerfile: &str) -> Child {
    cooper.put("Dockerfile", dockerfile);
    let mut child = cooper.command(&["build", "-t", "x", "."]).spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    let mut lines = BufReader::new(stderr);
    let mut line = String::new();
    while !line.contains("marker-of") || line.contains("RUN ") {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the step never started");
    }
    child.stderr = Some(lines.into_inner());
    child
}

/// Processes whose command line, or mount tables that, mention the text.
fn mentioned(text: &str, file: &str) -> Vec<String> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if pid.bytes().all(|byte| byte.is_ascii_digit()) && pid != own {
            let content = std::fs::read(entry.path().join(file)).unwrap_or_default();
            if String::from_utf8_lossy(&content).contains(text) {
                found.push(pid);
            }
        }
    }
    found
}

fn stopped_by(signal: Signal, marker: &str) {
    let Some(cooper) = Cooper::new() else { return };
    // The first step is finished and kept; the second ignores what a polite stop would send.
    let dockerfile = format!(
        "FROM base\nRUN echo kept > /kept\nRUN trap '' INT TERM; (sleep 600 {marker} || true) & echo {marker}; sleep 600; echo never\n"
    );
    let dockerfile = dockerfile.replace(&format!("sleep 600 {marker} || true"), &format!("sh -c 'sleep 600' {marker}"));
    let child = started(&cooper, &dockerfile);
    kill_process(Pid::from_child(&child), signal).unwrap();
    let out = cooper.wait(child);
    let expected = if signal == Signal::INT { 130 } else { 143 };
    assert_eq!(out.code, expected, "{}", out.stderr);
    assert_eq!(mentioned(marker, "cmdline"), Vec::<String>::new(), "processes are left");
    let root = cooper.root();
    assert_eq!(mentioned(root.to_str().unwrap(), "mountinfo"), Vec::<String>::new(), "mounts are left");
    let left = |dir: &str| match std::fs::read_dir(root.join(dir)) {
        Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.path().display().to_string()).collect(),
        Err(_) => Vec::new(),
    };
    assert_eq!(left("tmp"), Vec::<String>::new(), "temporary files are left");
    cooper.run(&["store", "check"]).ok();
    let again = cooper.build("FROM base\nRUN echo kept > /kept\nRUN echo other\n", &[]).ok();
    assert_eq!(again.ran(), ["RUN echo other"], "what had been finished is kept");
}

#[test]
fn privileged_an_interrupt_leaves_nothing_behind() {
    stopped_by(Signal::INT, "marker-of-an-interrupt");
}

#[test]
fn privileged_a_termination_leaves_nothing_behind() {
    stopped_by(Signal::TERM, "marker-of-a-termination");
}
