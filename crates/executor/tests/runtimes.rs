//! The same process through OCI runtimes.
//!
//! Needs root, a static busybox and the runtime; says so when it skips.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;

use cooper_executor::{Error, ErrorKind, Executor, Exit, MountSource, Network, Process, ProcessMount, Runtime, Stdio};
use tempfile::TempDir;

fn bench(name: &str) -> Option<(Runtime, TempDir, TempDir)> {
    let program =
        ["/usr/sbin", "/usr/bin", "/usr/local/bin"].iter().map(|dir| Path::new(dir).join(name)).find(|p| p.exists());
    let (Some(program), true, true) =
        (program, rustix::process::geteuid().is_root(), Path::new("/bin/busybox").exists())
    else {
        eprintln!("skipped: needs root, {name} and a static busybox");
        return None;
    };
    let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir(root.path().join("bin")).unwrap();
    std::fs::copy("/bin/busybox", root.path().join("bin/busybox")).unwrap();
    for applet in ["sh", "cat", "echo", "id", "sleep", "grep", "stty", "hostname"] {
        symlink("busybox", root.path().join("bin").join(applet)).unwrap();
    }
    Some((Runtime::new(program, state.path()), root, state))
}

fn process(root: &Path, script: &str) -> Process {
    Process {
        env: vec!["PATH=/bin".into()],
        cwd: "/made/here".into(),
        user: "7:8".into(),
        hostname: "box".into(),
        network: Network::None,
        ..Process::new(root, ["sh", "-c", script].map(str::to_owned).into())
    }
}

fn run(runtime: &Runtime, process: Process) -> Result<(Exit, String), Error> {
    let mut running = runtime.start(process)?;
    let output = running.take_output().unwrap();
    let mut text = String::new();
    File::from(output.stdout).read_to_string(&mut text).unwrap();
    File::from(output.stderr).read_to_string(&mut text).unwrap();
    Ok((running.wait()?, text))
}

/// False if the runtime refuses this host for a reason we know.
fn usable(result: &Result<(Exit, String), Error>) -> bool {
    match result {
        Err(error) if error.kind() == ErrorKind::Host && error.hint().is_some() => {
            eprintln!("skipped: {error}");
            false
        }
        _ => true,
    }
}

fn runs_a_step(name: &str) {
    let Some((runtime, root, state)) = bench(name) else { return };
    let script = "pwd; id -u; hostname; cat /secret; grep -E '^(CapBnd|Seccomp:)' /proc/self/status; exit 9";
    let mut step = process(root.path(), script);
    let source = MountSource::Bytes(b"key\n".into(), 0o444, 0, 0);
    step.mounts = vec![ProcessMount { target: "/secret".into(), source, readonly: true }];
    let result = run(&runtime, step);
    if !usable(&result) {
        return;
    }
    let expect = "/made/here\n7\nbox\nkey\nCapBnd:\t00000000800405fb\nSeccomp:\t2\n";
    assert_eq!(result.unwrap(), (Exit::Code(9), expect.to_owned()));
    let mut names: Vec<_> = std::fs::read_dir(root.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["bin", "made"]);
    let left: Vec<_> = std::fs::read_dir(state.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["state"]);
}

#[test]
fn privileged_runc_runs_a_step() {
    runs_a_step("runc");
}

#[test]
fn privileged_crun_runs_a_step() {
    runs_a_step("crun");
}

#[test]
fn privileged_runc_terminal_kill_and_refusal() {
    let Some((runtime, root, state)) = bench("runc") else { return };
    let mut step = process(root.path(), "stty size");
    step.stdio = Stdio::Pty { rows: 31, cols: 99 };
    let mut running = runtime.start(step).unwrap();
    let mut pty = File::from(running.take_pty().unwrap());
    let (mut out, mut part) = (Vec::new(), [0; 64]);
    while let Ok(len @ 1..) = pty.read(&mut part) {
        out.extend_from_slice(&part[..len]);
    }
    assert_eq!((running.wait().unwrap(), String::from_utf8(out).unwrap()), (Exit::Code(0), "31 99\r\n".into()));
    let mut running = runtime.start(process(root.path(), "sleep 1000")).unwrap();
    running.killer().unwrap()(9);
    assert_eq!(running.wait().unwrap(), Exit::Code(137));
    drop(runtime.start(process(root.path(), "sleep 1000")).unwrap());
    let mut absent = process(root.path(), "");
    absent.args = vec!["absent".into()];
    assert_eq!(runtime.start(absent).unwrap_err().kind(), ErrorKind::NoProgram);
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 1);
}
