//! Every kind of file in the store rots; the store notices, says so, and works on.

use std::io::Read;

use super::*;
use crate::{ErrorKind, EventKind, ProblemKind, PruneOptions};

#[test]
fn a_rotten_blob_never_reads_to_its_end_and_is_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = vec![1; 100_000];
    let digest = store.put_bytes("x", &bytes).unwrap().digest;
    flip(&store.blob_path(&digest));
    let mut out = Vec::new();
    let error = store.open_blob(&digest).unwrap().read_to_end(&mut out).unwrap_err();
    assert_eq!(crate::Error::io("read", error).kind(), ErrorKind::Corrupt);
    assert!(out.len() < bytes.len());
    assert!(!store.has_blob(&digest).unwrap());
    assert_eq!(store.take_events()[0].kind, EventKind::Quarantined);
    assert_eq!(store.put_bytes("x", &bytes).unwrap().digest, digest);
    assert_eq!(store.read_blob(&digest, 1 << 20).unwrap(), bytes);
}

#[test]
fn a_blob_file_that_is_cut_gone_or_no_file_is_a_miss() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let digest = Digest::of(b"content");
    let path = store.blob_path(&digest);
    let faults: [&dyn Fn(); 4] = [
        &|| std::fs::write(&path, b"cont").unwrap(),
        &|| std::fs::write(&path, b"content and more").unwrap(),
        &|| std::fs::remove_file(&path).unwrap(),
        &|| {
            std::fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        },
    ];
    for fault in faults {
        store.put_bytes("x", b"content").unwrap();
        fault();
        assert_eq!(store.check(false).unwrap()[0].kind, ProblemKind::Blob);
        assert!(!store.has_blob(&digest).unwrap());
        assert_eq!(store.check(true).unwrap(), []);
    }
}

#[test]
fn check_finds_every_flipped_blob_and_repair_forgets_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.tag(&"app".parse().unwrap(), &put_image(&store, "layer")).unwrap();
    let layer = put_layer(&store, "a layer");
    let mut saved = record("step", vec![layer.clone()]);
    saved.detail = Some(store.put_detail(b"detail").unwrap());
    store.save(&saved, &[key("k")]).unwrap();
    let all = digests(&store);
    all.iter().for_each(|digest| flip(&store.blob_path(digest)));
    std::fs::remove_dir_all(store.layer_path(&layer)).unwrap();
    std::fs::write(dir.path().join("index.json"), b"{").unwrap();
    let problems = store.check(true).unwrap();
    assert_eq!(problems.iter().filter(|problem| problem.kind == ProblemKind::Blob).count(), all.len());
    assert!(problems.iter().any(|problem| problem.kind == ProblemKind::Layer));
    assert!(problems.iter().any(|problem| problem.kind == ProblemKind::Index));
    assert!(store.repair().unwrap().len() >= problems.len());
    assert_eq!(store.check(true).unwrap(), []);
    assert_eq!(store.lookup(&key("k")).unwrap(), None);
    assert_eq!(store.images().unwrap(), []);
}

#[test]
fn a_lost_or_broken_database_is_found_again_from_the_files() {
    let breaks: [&dyn Fn(&Path); 3] = [
        &|path| std::fs::remove_file(path).unwrap(),
        &|path| std::fs::write(path, vec![0xa5; 50_000]).unwrap(),
        &|path| std::fs::write(path, b"SQLite format 3\0 and then nothing of the kind").unwrap(),
    ];
    for (n, fault) in breaks.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let image = put_image(&store, "layer");
        store.tag(&"app:1".parse().unwrap(), &image).unwrap();
        let rotten = store.put_bytes("x", b"rotten").unwrap();
        flip(&store.blob_path(&rotten.digest));
        drop(store);
        fault(&dir.path().join("db.sqlite"));
        let store = open(dir.path());
        assert!(store.take_events().iter().any(|event| event.kind == EventKind::Rebuilt), "{n}");
        assert_eq!(store.image(&"app:1".parse().unwrap()).unwrap(), Some(image), "{n}");
        assert!(!store.has_blob(&rotten.digest).unwrap(), "{n}");
        assert_eq!(store.check(true).unwrap(), [], "{n}");
        drop(store);
        assert!(open(dir.path()).take_events().is_empty(), "{n}");
    }
}

#[test]
fn a_database_that_rots_in_the_middle_is_replaced_by_repair() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..2000 {
        store.save(&record(&format!("step {n}"), Vec::new()), &[key(&n.to_string())]).unwrap();
    }
    let digest = store.put_bytes("x", b"blob").unwrap().digest;
    drop(store);
    let path = dir.path().join("db.sqlite");
    let mut bytes = std::fs::read(&path).unwrap();
    let (start, end) = (bytes.len() / 4, bytes.len() * 3 / 4);
    bytes[start..end].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let store = Store::open_for_repair(dir.path(), options("boot")).unwrap();
    assert_eq!(store.repair().unwrap(), []);
    assert_eq!(store.read_blob(&digest, 10).unwrap(), b"blob");
}

#[test]
fn another_boot_drops_records_and_reads_blobs_that_were_not_synced() {
    let dir = tempfile::tempdir().unwrap();
    let before = Store::open(dir.path(), options("one")).unwrap();
    let build = before.deferred();
    before.save(&record("durable", Vec::new()), &[key("durable")]).unwrap();
    let kept = build.put_bytes("x", b"kept").unwrap().digest;
    before.durable().unwrap();
    before.save(&record("volatile", Vec::new()), &[key("volatile")]).unwrap();
    let (whole, torn) = (build.put_bytes("x", b"whole").unwrap().digest, build.put_bytes("x", b"torn").unwrap().digest);
    assert!(before.lookup(&key("volatile")).unwrap().is_some());
    drop((build, before));
    // A power cut may leave the length and lose the bytes.
    std::fs::write(dir.path().join("blobs/sha256").join(torn.hex()), b"\0\0\0\0").unwrap();
    let after = Store::open(dir.path(), options("two")).unwrap();
    assert!(after.lookup(&key("durable")).unwrap().is_some());
    assert_eq!(after.lookup(&key("volatile")).unwrap(), None);
    assert_eq!(after.record(&RecordId::of(b"volatile")).unwrap(), None);
    assert!(after.has_blob(&kept).unwrap() && after.has_blob(&whole).unwrap() && !after.has_blob(&torn).unwrap());
    let report = after.prune(&PruneOptions { kinds: vec![crate::Kind::Image], ..Default::default() }).unwrap();
    assert!(report.removed.iter().any(|removed| removed.id == RecordId::of(b"volatile").to_string()));
}

#[test]
fn what_a_failed_sync_may_have_lost_is_not_trusted_again() {
    fn fail(step: &'static str) -> std::io::Result<()> {
        if step == "durable.sync" { Err(std::io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), OpenOptions { failpoint: Some(fail), ..options("boot") }).unwrap();
    let build = store.deferred();
    let blob = build.put_bytes("x", b"blob").unwrap().digest;
    build.save(&record("step", Vec::new()), &[key("k")]).unwrap();
    assert_eq!(build.durable().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(build.lookup(&key("k")).unwrap(), None);
    std::fs::write(build.blob_path(&blob), b"\0\0\0\0").unwrap();
    build.durable().unwrap();
    assert!(!build.has_blob(&blob).unwrap());
}

#[test]
fn uses_are_written_down_now_and_then() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.save(&record("step", Vec::new()), &[key("k")]).unwrap();
    store.db().write(|c| c.execute("UPDATE records SET used = 5", [])).unwrap();
    store.lookup(&key("k")).unwrap();
    let used =
        |store: &Store| store.db().read(|c| c.query_row("SELECT used FROM records", [], |row| row.get::<_, i64>(0)));
    assert_eq!(used(&store).unwrap(), 5);
    drop(store);
    assert_eq!(used(&open(dir.path())).unwrap(), clock());
}
