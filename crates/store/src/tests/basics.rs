//! Blobs, images, records, builds and stat caches go in and come out.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cooper_oci::{BlobSink, Descriptor, Digest, MediaType, Reference, body_from_bytes, read_all};
use futures::executor::block_on;

use super::*;
use crate::{ErrorKind, KeyInputRow, Stat, StatCache};

#[test]
fn blobs_come_out_as_they_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for size in [0, 1, 4096, 600 << 10] {
        let bytes = vec![7; size];
        let descriptor = Descriptor::of(MediaType::LAYER, &bytes);
        assert!(!block_on(store.has(&descriptor)).unwrap());
        block_on(store.put(&descriptor, body_from_bytes(bytes.clone()))).unwrap();
        assert!(block_on(store.has(&descriptor)).unwrap());
        assert_eq!(block_on(read_all(&store, &descriptor, 1 << 20)).unwrap(), bytes);
        assert_eq!(store.read_blob(&descriptor.digest, 1 << 20).unwrap(), bytes);
    }
    assert_eq!(store.check(true).unwrap(), []);
}

#[test]
fn a_blob_of_the_wrong_digest_or_size_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let right = Descriptor::of(MediaType::LAYER, b"right");
    for body in ["wrong", "right and more", "r", ""] {
        let error = block_on(store.put(&right, body_from_bytes(body))).unwrap_err();
        assert_eq!(error.kind(), cooper_oci::ErrorKind::Corrupt, "{body}");
    }
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"wrong").unwrap();
    assert_eq!(writer.commit(Some(&right.digest)).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(!store.has_blob(&right.digest).unwrap());
    assert_eq!(std::fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn sha512_blobs_are_verified_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut hasher = cooper_oci::Hasher::new(cooper_oci::Algorithm::Sha512);
    hasher.update(b"abc");
    let descriptor = Descriptor::new(MediaType::LAYER, hasher.finish(), 3);
    block_on(store.put(&descriptor, body_from_bytes("abc"))).unwrap();
    assert_eq!(store.read_blob(&descriptor.digest, 3).unwrap(), b"abc");
    assert_eq!(store.read_blob(&descriptor.digest, 2).unwrap_err().kind(), ErrorKind::TooLarge);
}

#[test]
fn images_are_found_by_name_digest_and_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (one, two) = (put_image(&store, "one"), put_image(&store, "two"));
    let name: Reference = "app:1".parse().unwrap();
    store.tag(&name, &one).unwrap();
    store.add_image(&two).unwrap();
    assert_eq!(store.image(&name).unwrap().as_ref(), Some(&one));
    let config = store.resolve("app:1").unwrap().config.unwrap();
    for text in ["app:1", "docker.io/library/app:1", &one.digest.to_string(), &one.digest.hex()[..8], config.hex()] {
        assert_eq!(store.resolve(text).unwrap().descriptor, one, "{text}");
    }
    assert_eq!(store.resolve(&format!("app@{}", one.digest)).unwrap().descriptor, one);
    assert_eq!(store.images().unwrap().iter().map(|image| image.name.is_some()).collect::<Vec<_>>(), [true, false]);
    store.tag(&name, &two).unwrap();
    assert_eq!(store.resolve("app:1").unwrap().descriptor, two);
    assert!(!store.remove_unnamed(&two.digest).unwrap(), "it has a name");
    assert!(store.untag(&name).unwrap());
    assert!(!store.untag(&name).unwrap());
    assert_eq!(store.images().unwrap().len(), 2);
    assert!(store.remove_unnamed(&two.digest).unwrap());
    assert_eq!(store.check(true).unwrap(), []);
}

#[test]
fn what_is_not_found_comes_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.tag(&"app:1".parse().unwrap(), &put_image(&store, "one")).unwrap();
    let error = store.resolve("app:2").unwrap_err();
    assert_eq!((error.kind(), error.hint()), (ErrorKind::NotFound, Some("did you mean app:1?")));
    for text in ["", "no/such", "*", "sha256:*", "abcd*", "../..", "a@b"] {
        assert_eq!(store.resolve(text).unwrap_err().kind(), ErrorKind::NotFound, "{text}");
    }
}

#[test]
fn regression_a_layer_known_before_its_blob_arrives_stays_known() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let blob = Descriptor::of("application/vnd.oci.image.layer.v1.tar", b"bytes");
    let layer = store.import_layer(&blob, &blob.digest).unwrap();
    store.put_bytes(blob.media_type.as_str(), b"bytes").unwrap();
    assert_eq!(store.layer_blobs(&layer).unwrap(), [blob]);
}

#[test]
fn names_that_are_nearly_right_are_hinted_at() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.tag(&"alpine:3".parse().unwrap(), &put_image(&store, "one")).unwrap();
    for (text, near) in
        [("apline", true), ("alpin", true), ("alpime:3", true), ("alpnei", true), ("debian", false), ("al", true)]
    {
        let hint = store.resolve(text).unwrap_err().hint().map(str::to_owned);
        assert_eq!(hint.as_deref() == Some("did you mean alpine:3?"), near, "{text}: {hint:?}");
    }
}

#[test]
fn an_ambiguous_prefix_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in [b'0', b'1'] {
        let mut raw = [0xab; 32];
        raw[31] = n;
        let descriptor = Descriptor::new(MediaType::MANIFEST, Digest::from_sha256(raw), 1);
        store
            .db()
            .write(|c| {
                let json = crate::images::to_json(&descriptor).unwrap();
                c.execute("INSERT INTO images VALUES(?1, ?2, NULL, 0)", [descriptor.digest.to_string(), json])
            })
            .unwrap();
    }
    assert_eq!(store.resolve("abababab").unwrap_err().kind(), ErrorKind::Ambiguous);
}

#[test]
fn index_json_lists_the_images() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let image = put_image(&store, "one");
    store.tag(&"app:1".parse().unwrap(), &image).unwrap();
    let index: cooper_oci::Index =
        serde_json::from_slice(&std::fs::read(dir.path().join("index.json")).unwrap()).unwrap();
    assert_eq!(index.manifests[0].digest, image.digest);
    assert_eq!(index.manifests[0].annotations["org.opencontainers.image.ref.name"], "docker.io/library/app:1");
}

#[test]
fn remote_tags_and_origins_are_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let name: Reference = "example.test/a:1".parse().unwrap();
    let descriptor = Descriptor::of(MediaType::MANIFEST, b"x");
    assert_eq!(store.remote_tag(&name).unwrap(), None);
    store.set_remote_tag(&name, &descriptor).unwrap();
    assert_eq!(store.remote_tag(&name).unwrap(), Some((descriptor.clone(), clock())));
    let other = store.put_bytes(MediaType::MANIFEST, br#"{"schemaVersion":2}"#).unwrap();
    store.tag(&name, &other).unwrap();
    assert_eq!(store.remote_tag(&name).unwrap(), None, "the name is another image's");
    for _ in 0..2 {
        store.add_origins(std::slice::from_ref(&descriptor.digest), "example.test", "a").unwrap();
    }
    assert_eq!(store.origins(&descriptor.digest).unwrap(), [("example.test".to_owned(), "a".to_owned())]);
}

#[test]
fn records_are_found_by_any_of_their_keys() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut record = record("RUN make", vec![put_layer(&store, "layer")]);
    record.inputs = vec![KeyInputRow { name: "argument X".into(), value: "1".into() }];
    record.detail = Some(store.put_detail(b"selected files").unwrap());
    record.trace = Some(vec![1, 2, 3]);
    store.save(&record, &[key("definition")]).unwrap();
    store.add_keys(&record.id, &[key("content")]).unwrap();
    for name in ["definition", "content"] {
        assert_eq!(store.lookup(&key(name)).unwrap(), Some(record.id));
    }
    assert_eq!(store.record(&record.id).unwrap().as_ref(), Some(&record));
    assert_eq!(store.records_of_step("RUN make").unwrap(), [record.clone()]);
    assert_eq!(store.detail(record.detail.as_ref().unwrap()).unwrap(), b"selected files");
    store.forget(&record.id).unwrap();
    assert_eq!(store.lookup(&key("content")).unwrap(), None);
}

#[test]
fn the_journal_keeps_a_hundred_builds() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..120 {
        store.save_build(&format!("b{n:03}"), format!("{n}").as_bytes(), n).unwrap();
    }
    assert_eq!(store.builds().unwrap().len(), 100);
    assert_eq!(store.build("b119").unwrap(), b"119");
    assert_eq!(store.build("b11").unwrap_err().kind(), ErrorKind::Ambiguous);
    assert_eq!(store.build("b000").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_warm_look_up_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.save(&record("step", Vec::new()), &[key("k")]).unwrap();
    store.durable().unwrap();
    drop(store);
    let store = open(dir.path());
    let before = std::fs::metadata(dir.path().join("db.sqlite-wal")).map_or(0, |meta| meta.len());
    assert!(store.lookup(&key("k")).unwrap().is_some());
    store.durable().unwrap();
    store.inner.flush_touched();
    let after = std::fs::metadata(dir.path().join("db.sqlite-wal")).map_or(0, |meta| meta.len());
    assert_eq!(before, after);
    assert_eq!(std::fs::read_dir(dir.path().join("leases")).unwrap().count(), 0);
}

#[test]
fn stores_of_others_and_of_the_future_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    std::fs::write(dir.path().join("version"), "2\n").unwrap();
    assert_eq!(Store::open(dir.path(), options("b")).unwrap_err().kind(), ErrorKind::Newer);
    std::fs::write(dir.path().join("version"), "x").unwrap();
    assert_eq!(Store::open(dir.path(), options("b")).unwrap_err().kind(), ErrorKind::Corrupt);
    std::fs::write(dir.path().join("version"), "1\n").unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(Store::open(dir.path(), options("b")).unwrap_err().kind(), ErrorKind::Permission);
}

#[test]
fn named_locks_exclude_and_end() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (open(dir.path()), open(dir.path()));
    let held = one.named_lock("../../etc", false).unwrap();
    assert_eq!(two.named_lock("../../etc", false).unwrap_err().kind(), ErrorKind::Busy);
    two.named_lock("other", false).unwrap();
    drop(held);
    two.named_lock("../../etc", true).unwrap();
}

#[test]
fn cache_mounts_stay_inside_whatever_their_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let lease = store.lease();
    for name in ["npm", "../../..", "/etc", "a\0b", "", &"x".repeat(5000)] {
        let path = store.cache_mount(name, &lease).unwrap();
        assert_eq!(path.parent().unwrap(), dir.path().join("cache-mounts"));
        assert_eq!(store.cache_mount(name, &lease).unwrap(), path);
    }
}

fn stat(n: u64) -> Stat {
    Stat { dev: 1, ino: n, size: n, mtime_ns: 5, ctime_ns: 6, mode: 0o100_644 }
}

#[test]
fn a_stat_cache_answers_for_unchanged_files_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let cache = StatCache::load(&store, b"context");
    for n in 0..100 {
        cache.put(Path::new(&format!("dir/{n}")), &stat(n), [n as u8; 32]);
    }
    let racy = Stat { ctime_ns: (clock() - 1) * 1_000_000_000, ..stat(7) };
    cache.put(Path::new("racy"), &racy, [9; 32]);
    cache.save().unwrap();
    let cache = StatCache::load(&store, b"context");
    assert_eq!(cache.len(), 100);
    assert_eq!(cache.get(Path::new("dir/42"), &stat(42)), Some([42; 32]));
    assert_eq!(cache.get(Path::new("dir/42"), &Stat { mtime_ns: 6, ..stat(42) }), None);
    assert_eq!(cache.get(Path::new("dir/42"), &Stat { ino: 9, ..stat(42) }), None);
    assert_eq!(cache.get(Path::new("racy"), &racy), None);
    assert!(StatCache::load(&store, b"other").is_empty());
}

#[test]
fn a_stat_cache_merges_and_forgets_what_nobody_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let cache = StatCache::load(&store, b"c");
    ["b", "d"].iter().for_each(|path| cache.put(Path::new(path), &stat(1), [1; 32]));
    cache.save().unwrap();
    for round in 0..9 {
        let cache = StatCache::load(&store, b"c");
        assert!(cache.get(Path::new("b"), &stat(1)).is_some(), "{round}");
        cache.put(Path::new("a"), &stat(round), [2; 32]);
        cache.save().unwrap();
    }
    let cache = StatCache::load(&store, b"c");
    assert_eq!(cache.len(), 2);
    assert_eq!(cache.get(Path::new("d"), &stat(1)), None);
    assert_eq!(cache.get(Path::new("a"), &stat(8)), Some([2; 32]));
}

#[test]
fn a_broken_stat_cache_is_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let cache = StatCache::load(&store, b"c");
    cache.put(Path::new("a"), &stat(1), [1; 32]);
    cache.save().unwrap();
    let path = std::fs::read_dir(dir.path().join("stat")).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert!(StatCache::load(&store, b"c").is_empty(), "{cut}");
        let mut flipped = whole.clone();
        flipped[cut] ^= 0x40;
        std::fs::write(&path, &flipped).unwrap();
        assert!(StatCache::load(&store, b"c").is_empty(), "{cut}");
    }
}

#[test]
fn a_file_is_known_only_while_nobody_touches_it() {
    use cooper_oci::Blobs;
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (open(dir.path()), open(dir.path()));
    let blob = one.put_bytes("x", b"known").unwrap();
    let text = std::io::read_to_string(one.known_file(&blob).unwrap()).unwrap();
    assert_eq!(text, "known");
    assert!(two.known_file(&blob).is_none(), "another handle wrote it");
    let path = one.blob_path(&blob.digest);
    std::fs::rename(&path, dir.path().join("moved")).unwrap();
    assert!(one.known_file(&blob).is_none());
    std::fs::write(&path, b"wrong").unwrap();
    assert!(one.known_file(&blob).is_none());
}
