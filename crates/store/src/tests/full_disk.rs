//! At zero free bytes and zero free inodes a write fails cleanly, and prune, du, check and opening work.

use std::path::PathBuf;

use super::*;
use crate::{ErrorKind, PruneOptions};

/// A small tmpfs, unmounted when dropped.
struct Small {
    point: PathBuf,
    _dir: tempfile::TempDir,
}

impl Small {
    fn new(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let point = dir.path().join("disk");
        std::fs::create_dir(&point).unwrap();
        let options = std::ffi::CString::new(options).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        match rustix::mount::mount("tmpfs", &point, "tmpfs", flags, options.as_c_str()) {
            Ok(()) => Some(Self { point, _dir: dir }),
            Err(error) => {
                skipped(&format!("cannot mount a tmpfs: {error}"));
                None
            }
        }
    }

    fn root(&self) -> PathBuf {
        self.point.join("store")
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.point, rustix::mount::UnmountFlags::DETACH);
    }
}

fn fill(store: &Store) -> Digest {
    let mut last = None;
    for n in 0_u32.. {
        let bytes: Vec<u8> = n.to_le_bytes().repeat(64 << 10);
        match store.put_bytes("x", &bytes) {
            Ok(descriptor) => last = Some(descriptor.digest),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Full, "{error:?}");
                break;
            }
        }
    }
    last.unwrap()
}

/// Takes the last byte.
fn exhaust(point: &Path) {
    let mut size = 1 << 20;
    let mut n = 0;
    while size > 0 {
        n += 1;
        if std::fs::write(point.join(format!("ballast{n}")), vec![1; size]).is_err() {
            size /= 4;
        }
    }
}

fn check_after(store: &Store) {
    let tagged = "keep:1".parse().unwrap();
    assert!(store.image(&tagged).unwrap().is_some());
    store.du().unwrap();
    assert_eq!(store.check(true).unwrap(), []);
    let report = store.prune(&PruneOptions { all: true, ..Default::default() }).unwrap();
    assert!(report.bytes > 1 << 20, "{report:?}");
    assert_eq!(report.left, Vec::<String>::new());
    assert_eq!(store.check(true).unwrap(), []);
    assert!(store.image(&tagged).unwrap().is_some());
    assert_eq!(digests(store).len(), 3);
    store.put_bytes("x", b"after").unwrap();
}

fn full(options: &str, reopen: bool) {
    let Some(disk) = Small::new(options) else { return };
    let mut store = open(&disk.root());
    store.tag(&"keep:1".parse().unwrap(), &put_image(&store, "keep")).unwrap();
    for n in 0..200 {
        store.save(&record(&format!("step {n}"), Vec::new()), &[key(&n.to_string())]).unwrap();
    }
    fill(&store);
    if reopen {
        drop(store);
        exhaust(&disk.point);
        store = open(&disk.root());
    } else {
        exhaust(&disk.point);
    }
    check_after(&store);
}

#[test]
fn privileged_prune_works_at_zero_free_bytes() {
    full("size=16m", false);
}

#[test]
fn privileged_a_store_opens_and_prunes_at_zero_free_bytes() {
    full("size=16m", true);
}

#[test]
fn privileged_prune_works_at_zero_free_inodes() {
    full("size=64m,nr_inodes=80", false);
    full("size=64m,nr_inodes=80", true);
}
