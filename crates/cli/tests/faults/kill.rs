//! Builds are killed at any moment, or their system calls fail: nothing wrong is believed afterwards, nothing is left behind.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::place::{Dice, Done, Place, skip_if_missing};

/// Kills of whole builds.
const KILLS: u64 = 40;

fn kill_group(child: &mut Child) {
    let group = rustix::process::Pid::from_child(child);
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    child.wait().unwrap();
}

/// Waits until no process of the store is left: the kernel takes a moment to end a process namespace.
fn settled(place: &Place) {
    for _ in 0..500 {
        let store = place.store.to_str().unwrap();
        let uses = |dir: &std::path::Path| {
            std::fs::read_to_string(dir.join("mountinfo")).is_ok_and(|mounts| mounts.contains(store))
        };
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(|entry| entry.path());
        if !processes.filter(|path| path.join("exe").exists()).any(|path| uses(&path)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("a process of a killed build lives on");
}

#[test]
fn privileged_a_build_killed_at_any_moment_leaves_nothing_wrong() {
    skip_if_missing!();
    let (place, mut dice) = (Place::new(), Dice::new("kill"));
    let cold = place.cold();
    for n in 0..KILLS {
        let args: &[&str] = if n % 2 == 0 { &["--no-cache", "-t", "app"] } else { &["-t", "app"] };
        let mut command = place.build_command(args);
        let mut child = command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(dice.below(450_000)));
        kill_group(&mut child);
        settled(&place);
        place.nothing_mounted();
        if n % 4 == 3 {
            place.sound();
            assert_eq!(place.build(&["-t", "app"]).ok().built(), cold, "kill {n}");
            place.sound();
        }
        if n % 16 == 15 {
            place.prune_leaves_nothing();
        }
    }
    assert_eq!(place.build(&["-t", "app"]).ok().built(), cold);
    place.prune_leaves_nothing();
    place.sound();
}

/// The build under strace, which meddles with the n-th call of a kind.
fn meddled(place: &Place, inject: &str) -> Done {
    let build = place.build_command(&["-t", "app"]);
    let mut command = Command::new("timeout");
    command
        .args(["-s", "KILL", "60", "strace", "-f", "-qq", "-o", "/dev/null", "-e", inject])
        .arg(build.get_program())
        .args(build.get_args());
    command.envs(build.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(place.dir.path());
    Done::of(command.stdin(Stdio::null()).output().unwrap())
}

#[test]
fn privileged_a_kill_at_any_write_leaves_nothing_wrong() {
    skip_if_missing!("strace", "timeout");
    let (place, mut dice) = (Place::new(), Dice::new("kill at a call"));
    let cold = place.cold();
    for call in ["rename,renameat,renameat2", "fsync,fdatasync,syncfs", "mkdirat,mkdir", "pwrite64", "unlink,unlinkat"]
    {
        for _ in 0..2 {
            let _ = std::fs::remove_dir_all(&place.store);
            meddled(&place, &format!("inject={call}:signal=KILL:when={}", 1 + dice.below(12))).no_panic();
            settled(&place);
            assert_eq!(place.build(&["-t", "app"]).ok().built(), cold, "{call}");
            place.sound();
        }
    }
    place.prune_leaves_nothing();
    place.nothing_mounted();
}

#[test]
fn privileged_a_failing_call_is_an_error_and_nothing_is_believed() {
    skip_if_missing!("strace", "timeout");
    let (place, mut dice) = (Place::new(), Dice::new("failing calls"));
    let cold = place.cold();
    // Not `write`: it would also fail where the kernel never fails it, on the eventfd that wakes the threads. Full disks
    // have tests of their own.
    for (calls, error) in [
        ("pwrite64", "ENOSPC"),
        ("pwrite64", "EIO"),
        ("fdatasync,fsync", "EIO"),
        ("syncfs", "EIO"),
        ("rename,renameat,renameat2", "ENOSPC"),
        ("openat", "EMFILE"),
        ("openat2", "EIO"),
        ("mkdirat,mkdir", "ENOSPC"),
        ("mount,move_mount,fsmount", "ENOMEM"),
        ("clone3,clone", "EAGAIN"),
    ] {
        for _ in 0..2 {
            let _ = std::fs::remove_dir_all(&place.store);
            let first = 1 + dice.below(40);
            let inject = format!("inject={calls}:error={error}:when={first}..{}", first + dice.below(4));
            let done = meddled(&place, &inject).no_panic();
            if done.code == Some(0) {
                assert_eq!(done.built(), cold, "{inject}");
            } else {
                assert!(done.code.is_some() && done.stderr.contains("error"), "{inject}: {done:?}");
            }
            settled(&place);
            assert_eq!(place.build(&["-t", "app"]).ok().built(), cold, "{inject}");
            place.sound();
        }
    }
    place.prune_leaves_nothing();
}
