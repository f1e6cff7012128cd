//! Kills a process at every step that changes the disk, and fails every such step: the store is whole after each.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::{PruneOptions, Stat, StatCache};

/// The parent tells the child its part.
const PART: &str = "COOPER_STORE_TEST_PART";

static STEPS: AtomicUsize = AtomicUsize::new(0);
static STOP_AT: AtomicUsize = AtomicUsize::new(usize::MAX);

fn die_at(_step: &'static str) -> std::io::Result<()> {
    if STEPS.fetch_add(1, Ordering::Relaxed) + 1 == STOP_AT.load(Ordering::Relaxed) {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
    Ok(())
}

/// Everything a store is used for, telling `acked` of each thing that must never be lost from then on.
fn scenario(store: &Store, acked: &mut dyn FnMut(String)) -> crate::Result<()> {
    let synced = store.put_bytes("x", b"synced")?;
    acked(format!("blob {}", synced.digest));
    let build = store.deferred();
    let lease = store.lease();
    let layer = build.put_bytes(MediaType::LAYER, b"a layer of the build")?;
    lease.hold_blob(&layer.digest)?;
    let config = build.put_bytes(MediaType::CONFIG, b"{}")?;
    let manifest = serde_json::to_vec(&Manifest::new(config, vec![layer.clone()])).unwrap_or_default();
    let manifest = build.put_bytes(MediaType::MANIFEST, &manifest)?;
    let mut saved = record("step", Vec::new());
    saved.detail = Some(build.put_detail(b"detail")?);
    build.save(&saved, &[key("step")])?;
    build.durable()?;
    acked("record step".into());
    build.tag(&"app:1".parse()?, &manifest)?;
    acked("tag app:1".into());
    let cache = StatCache::load(store, b"context");
    let stat = Stat { dev: 1, ino: 1, size: 1, mtime_ns: 1, ctime_ns: 1, mode: 1 };
    cache.put(Path::new("a"), &stat, [1; 32]);
    cache.save()?;
    acked(format!("gone {}", synced.digest));
    store.prune(&PruneOptions { kinds: vec![crate::Kind::Blob], ..Default::default() })?;
    store.untag(&"gone:1".parse()?)?;
    Ok(())
}

/// What was told is there, nothing is broken, and one prune leaves no trace of the kill.
fn verify(root: &Path, boot: &str, acked: &str) {
    let store = Store::open(root, options(boot)).unwrap();
    assert_eq!(store.check(true).unwrap(), [], "after {acked}");
    for line in acked.lines() {
        let (kind, name) = line.split_once(' ').unwrap();
        let there = match kind {
            "blob" => acked.contains(&format!("gone {name}")) || store.has_blob(&name.parse().unwrap()).unwrap(),
            "record" => store.lookup(&key(name)).unwrap().is_some(),
            "tag" => store.image(&name.parse().unwrap()).unwrap().is_some(),
            _ => true,
        };
        assert!(there, "{line} was lost");
    }
    store.prune(&PruneOptions { all: true, kinds: vec![crate::Kind::Blob], ..Default::default() }).unwrap();
    let sum: u64 = store.blob_files().unwrap().iter().map(|(_, size)| size).sum();
    assert_eq!(sum, store.used_bytes().unwrap());
    assert_eq!(std::fs::read_dir(root.join("tmp")).unwrap().count(), 0);
    scenario(&store, &mut |_| {}).unwrap();
    assert_eq!(store.check(true).unwrap(), []);
}

pub(super) fn child(test: &str, part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(PART, part);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null());
    command
}

#[expect(clippy::disallowed_methods, reason = "a child that is this very test has no other way to be told its part")]
pub(super) fn part() -> Option<String> {
    std::env::var(PART).ok()
}

/// Lines a child wrote after `ack:`; the test harness writes others.
fn acks(output: &str) -> String {
    output.lines().filter_map(|line| line.split_once("ack:")).map(|(_, line)| format!("{line}\n")).collect()
}

#[test]
fn a_kill_at_any_step_loses_nothing_that_was_acknowledged() {
    if let Some(part) = part() {
        let (at, root) = part.split_once(' ').unwrap();
        STOP_AT.store(at.parse().unwrap(), Ordering::Relaxed);
        let store = Store::open(Path::new(root), OpenOptions { failpoint: Some(die_at), ..options("boot") }).unwrap();
        scenario(&store, &mut |line| writeln!(std::io::stdout(), "ack:{line}").unwrap()).unwrap();
        return;
    }
    let test = "tests::crash::a_kill_at_any_step_loses_nothing_that_was_acknowledged";
    for at in 1.. {
        let dir = tempfile::tempdir().unwrap();
        let mut command = child(test, &format!("{at} {}", dir.path().display()));
        let output = command.output().unwrap();
        // As after a kill, where the page cache lives on, and as after a cut that happened to write everything.
        let boot = if at % 2 == 0 { "boot" } else { "next boot" };
        verify(dir.path(), boot, &acks(&String::from_utf8_lossy(&output.stdout)));
        if output.status.success() {
            assert!(at > 20, "the scenario has only {at} steps");
            break;
        }
        assert!(at < 1000, "the child never finishes");
    }
}

#[test]
fn kills_at_random_moments_leave_a_store_that_works() {
    if let Some(root) = part() {
        let store = Store::open(Path::new(&root), options("boot")).unwrap();
        for n in 0.. {
            store.put_bytes("x", format!("blob {n}").as_bytes()).unwrap();
            scenario(&store, &mut |_| {}).unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..20 {
        let mut running =
            child("tests::crash::kills_at_random_moments_leave_a_store_that_works", &dir.path().display().to_string())
                .spawn()
                .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5 + crate::tree::random() % 60));
        running.kill().unwrap();
        running.wait().unwrap();
    }
    verify(dir.path(), "boot", "");
}

#[test]
fn a_failure_of_any_step_is_an_error_and_leaves_the_store_whole() {
    static FAILING: AtomicUsize = AtomicUsize::new(usize::MAX);
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    fn fail(_step: &'static str) -> std::io::Result<()> {
        let at = SEEN.fetch_add(1, Ordering::Relaxed) + 1;
        if at == FAILING.load(Ordering::Relaxed) { Err(std::io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }
    for at in 1.. {
        let dir = tempfile::tempdir().unwrap();
        SEEN.store(0, Ordering::Relaxed);
        FAILING.store(at, Ordering::Relaxed);
        let mut told = String::new();
        let done = Store::open(dir.path(), OpenOptions { failpoint: Some(fail), ..options("boot") })
            .and_then(|store| scenario(&store, &mut |line| told += &format!("{line}\n")));
        let hit = SEEN.load(Ordering::Relaxed) >= at;
        assert_eq!(done.is_err(), hit, "step {at}: {done:?}");
        verify(dir.path(), "boot", &told);
        if !hit {
            assert!(at > 20);
            break;
        }
    }
}

/// The control: the child's way of telling works, and an untouched run passes the same checks.
#[test]
fn a_run_without_faults_passes() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = String::new();
    scenario(&open(dir.path()), &mut |line| told += &format!("{line}\n")).unwrap();
    assert_eq!(told.lines().count(), 4);
    verify(dir.path(), "boot", &told);
}

/// The teeth: the checks do notice a loss.
#[test]
fn a_lost_blob_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    scenario(&store, &mut |_| {}).unwrap();
    let mut bytes = Vec::new();
    let path = store.blob_path(&digests(&store)[0]);
    std::fs::File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(store.check(true).unwrap().len(), 1);
}
