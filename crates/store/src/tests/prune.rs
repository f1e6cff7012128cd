//! What is collected, what is kept, and that the disk agrees.

use super::*;
use crate::{Kind, PruneOptions};

fn kinds(store: &Store, options: &PruneOptions) -> Vec<Kind> {
    store.prune(options).unwrap().removed.into_iter().map(|removed| removed.kind).collect()
}

#[test]
fn tagged_images_stay_and_everything_else_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let tagged = put_image(&store, "tagged");
    store.tag(&"app".parse().unwrap(), &tagged).unwrap();
    store.add_image(&put_image(&store, "dangling")).unwrap();
    let used = put_layer(&store, "tagged");
    store.save(&record("of the image", vec![used.clone()]), &[key("a")]).unwrap();
    let unused = put_layer(&store, "unused");
    store.save(&record("unused", vec![unused.clone()]), &[key("b")]).unwrap();
    store.put_bytes("x", b"loose").unwrap();
    let dry = store.prune(&PruneOptions { dry_run: true, ..Default::default() }).unwrap();
    let report = store.prune(&PruneOptions::default()).unwrap();
    assert_eq!(dry.removed, report.removed);
    assert_eq!(report.left, Vec::<String>::new());
    assert_eq!(digests(&store).len(), 3);
    assert!(store.layer_path(&used).exists() && !store.layer_path(&unused).exists());
    assert!(store.lookup(&key("a")).unwrap().is_some() && store.lookup(&key("b")).unwrap().is_none());
    assert_eq!(kinds(&store, &PruneOptions { all: true, ..Default::default() }), [Kind::Record]);
    assert!(!store.layer_path(&used).exists());
    assert_eq!(store.image(&"app".parse().unwrap()).unwrap(), Some(tagged));
    assert_eq!((digests(&store).len(), store.check(true).unwrap()), (3, Vec::new()));
}

#[test]
fn what_a_living_process_holds_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (open(dir.path()), open(dir.path()));
    let (layer, blob) = (put_layer(&one, "layer"), one.put_bytes("x", b"blob").unwrap());
    one.save(&record("step", vec![layer.clone()]), &[key("k")]).unwrap();
    let lease = one.lease();
    assert!(lease.hold(&layer).unwrap() && lease.hold_blob(&blob.digest).unwrap());
    assert!(!lease.hold_blob(&Digest::of(b"absent")).unwrap());
    lease.store_mount(&one);
    assert_eq!(kinds(&two, &PruneOptions { all: true, ..Default::default() }), []);
    assert!(one.layer_path(&layer).exists() && one.lookup(&key("k")).unwrap().is_some());
    drop(lease);
    assert_eq!(kinds(&two, &PruneOptions { all: true, ..Default::default() }).len(), 3);
    assert!(!one.layer_path(&layer).exists());
}

impl crate::Lease {
    fn store_mount(&self, store: &Store) {
        store.cache_mount("npm", self).unwrap();
    }
}

#[test]
fn a_build_keeps_what_it_writes_until_its_handle_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let build = store.deferred();
    let blob = build.put_bytes("x", b"blob").unwrap();
    store.prune(&PruneOptions::default()).unwrap();
    assert!(store.has_blob(&blob.digest).unwrap());
    drop(build);
    store.prune(&PruneOptions::default()).unwrap();
    assert!(!store.has_blob(&blob.digest).unwrap());
}

#[test]
fn files_without_rows_or_owners_are_swept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let kept = store.temporary().unwrap();
    std::fs::write(&kept, b"mine").unwrap();
    std::fs::write(store.blob_path(&Digest::of(b"orphan")), b"orphan").unwrap();
    for path in ["tmp/1-dead.0", "layers/orphan", "mounts/1-dead.1", "cache-mounts/x"] {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.join("deep")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("version"), path.join("deep/link")).unwrap();
    }
    std::fs::write(dir.path().join("leases/1-dead"), b"").unwrap();
    let report = store.prune(&PruneOptions::default()).unwrap();
    assert_eq!(report.left, Vec::<String>::new());
    for name in ["layers", "mounts", "cache-mounts", "quarantine"] {
        assert_eq!(std::fs::read_dir(dir.path().join(name)).unwrap().count(), 0, "{name}");
    }
    assert!(kept.exists() && dir.path().join("version").exists());
    assert_eq!((digests(&store).len(), std::fs::read_dir(dir.path().join("leases")).unwrap().count()), (0, 1));
}

#[test]
fn du_adds_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let shared = put_layer(&store, "shared");
    for name in ["one", "two"] {
        store.save(&record(name, vec![shared.clone(), put_layer(&store, name)]), &[key(name)]).unwrap();
    }
    store.tag(&"app".parse().unwrap(), &put_image(&store, "image")).unwrap();
    store.put_bytes("x", b"loose").unwrap();
    let rows = store.du().unwrap();
    let own: u64 = rows.iter().map(|row| row.size - row.shared).sum();
    // The shared layer of 6 bytes and its blob are in two rows, in neither as its own.
    assert_eq!(own + 12, store.used_bytes().unwrap());
    let freed = store.prune(&PruneOptions { all: true, ..Default::default() }).unwrap().bytes;
    let left: u64 = digests(&store).iter().map(|digest| store.blob_size(digest).unwrap().unwrap()).sum();
    assert_eq!(store.used_bytes().unwrap(), left);
    assert!(freed > 0);
}

#[test]
fn privileged_a_mount_below_a_dead_owner_is_not_emptied() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root can mount");
        return;
    }
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    std::fs::write(outside.path().join("canary"), b"x").unwrap();
    let point = dir.path().join("mounts/1-dead.0/merged dir");
    std::fs::create_dir_all(&point).unwrap();
    if rustix::mount::mount_bind(outside.path(), &point).is_err() {
        skipped("this root may not mount");
        return;
    }
    store.prune(&PruneOptions::default()).unwrap();
    assert!(outside.path().join("canary").exists());
    assert!(!dir.path().join("mounts/1-dead.0").exists());
}
