//! Several threads and processes write, read and prune one store at once.

use super::crash::{child, part};
use super::*;
use crate::{ErrorKind, PruneOptions};

/// Writes and reads what it holds, while others prune.
fn work(store: &Store, name: &str, rounds: usize) {
    for n in 0..rounds {
        let build = store.deferred();
        let lease = build.lease();
        let image = put_image(&build, &format!("{name} {n}"));
        let shared = put_image(&build, &format!("shared {}", n % 3));
        lease.hold_blob(&shared.digest).unwrap();
        assert!(build.read_blob(&image.digest, 1 << 20).is_ok(), "{name} {n}");
        build.save(&record(name, Vec::new()), &[key(name)]).unwrap();
        build.tag(&format!("{name}:{n}").parse().unwrap(), &image).unwrap();
        assert!(store.lookup(&key(name)).is_ok());
        store.untag(&format!("{name}:{n}").parse().unwrap()).unwrap();
    }
}

fn prune(store: &Store, rounds: usize) {
    for _ in 0..rounds {
        match store.prune(&PruneOptions { all: true, ..Default::default() }) {
            Ok(report) => assert_eq!(report.left, Vec::<String>::new()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}"),
        }
    }
}

#[test]
fn threads_write_and_prune_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    std::thread::scope(|scope| {
        for name in ["a", "b", "c"] {
            let store = store.clone();
            scope.spawn(move || work(&store, name, 10));
        }
        scope.spawn(|| prune(&open(dir.path()), 10));
    });
    assert_eq!(store.check(true).unwrap(), []);
}

#[test]
fn processes_write_and_prune_at_once() {
    if let Some(part) = part() {
        let (name, root) = part.split_once(' ').unwrap();
        let store = open(Path::new(root));
        if name == "prune" {
            prune(&store, 15)
        } else {
            work(&store, name, 15)
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let test = "tests::processes::processes_write_and_prune_at_once";
    let running: Vec<_> = ["a", "b", "c", "prune"]
        .iter()
        .map(|name| child(test, &format!("{name} {}", dir.path().display())).spawn().unwrap())
        .collect();
    for mut process in running {
        assert!(process.wait().unwrap().success());
    }
    let store = open(dir.path());
    assert_eq!(store.check(true).unwrap(), []);
    assert_eq!(std::fs::read_dir(dir.path().join("leases")).unwrap().count(), 0);
}

#[test]
fn many_processes_make_one_store() {
    if let Some(root) = part() {
        open(Path::new(&root)).put_bytes("x", b"same").unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("deep/store");
    let test = "tests::processes::many_processes_make_one_store";
    let running: Vec<_> = (0..6).map(|_| child(test, &root.display().to_string()).spawn().unwrap()).collect();
    for mut process in running {
        assert!(process.wait().unwrap().success());
    }
    let store = open(&root);
    assert!(store.has_blob(&Digest::of(b"same")).unwrap());
    assert_eq!((store.check(true).unwrap(), store.events().unwrap()), (Vec::new(), Vec::new()));
}
