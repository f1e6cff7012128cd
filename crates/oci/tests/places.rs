//! Copying between places, layouts, archives and validation: what goes in comes out, and what lies is refused.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use cooper_oci::testing::{dir, file, image, tar};
use cooper_oci::{
    Archive, BlobSink, Blobs, CopyOptions, Descriptor, Digest, ErrorKind, ImageConfig, Index, Layout, MediaType,
    MemoryBlobs, Platform, Reference, body_from_bytes, choose, copy, read_all, read_archive, validate,
    write_docker_archive, write_oci_archive,
};
use futures::executor::block_on;

fn sample() -> (MemoryBlobs, Descriptor) {
    image(&[vec![dir("bin"), file("bin/sh", b"#!")], vec![file("etc", &[5; 100_000])]])
}

fn names() -> Vec<Reference> {
    vec!["alpine:3".parse().unwrap(), "localhost:5000/x/y:v1".parse().unwrap()]
}

/// An index of two platforms that share their layers.
fn two_platforms() -> (MemoryBlobs, Descriptor) {
    let (blobs, amd64) = sample();
    let manifest: cooper_oci::Manifest = serde_json::from_slice(&blobs.get(&amd64.digest).unwrap()).unwrap();
    let mut config: ImageConfig = serde_json::from_slice(&blobs.get(&manifest.config.digest).unwrap()).unwrap();
    config.architecture = "arm64".into();
    let config = blobs.add(MediaType::CONFIG, serde_json::to_vec(&config).unwrap());
    let manifest = cooper_oci::Manifest::new(config, manifest.layers);
    let mut arm64 = blobs.add(MediaType::MANIFEST, serde_json::to_vec(&manifest).unwrap());
    arm64.platform = Some(Platform::new("linux", "arm64"));
    let index = blobs.add(MediaType::INDEX, serde_json::to_vec(&Index::new(vec![amd64, arm64])).unwrap());
    (blobs, index)
}

#[test]
fn copies_all_and_only_once() {
    let (from, root) = two_platforms();
    let to = MemoryBlobs::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let options = CopyOptions {
        progress: Some(Arc::new(move |blob: &Descriptor, done| {
            if done == blob.size {
                log.lock().unwrap().push(blob.digest.clone());
            }
        })),
        ..CopyOptions::default()
    };
    block_on(copy(&root, &from, &to, &options)).unwrap();
    assert_eq!(to.digests(), from.digests());
    assert_eq!(seen.lock().unwrap().last(), Some(&root.digest), "the root comes last");
    block_on(validate(&root, &to)).unwrap();
}

#[test]
fn copies_one_platform() {
    let (from, root) = two_platforms();
    let to = MemoryBlobs::new();
    let arm64 = Platform::new("linux", "arm64");
    let options = CopyOptions { platform: Some(arm64.clone()), ..CopyOptions::default() };
    block_on(copy(&root, &from, &to, &options)).unwrap();
    assert_eq!(to.digests().len(), 4, "manifest, config, two layers");
    let manifest = block_on(choose(&root, &arm64, &from)).unwrap();
    block_on(validate(&manifest, &to)).unwrap();
    let error = block_on(choose(&root, &Platform::new("linux", "s390x"), &from)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint().unwrap().contains("linux/amd64, linux/arm64"), "{error:?}");
}

/// A place where nothing may be read twice, nor at all once it is there.
#[derive(Debug)]
struct Once<'a>(&'a MemoryBlobs, Mutex<Vec<Digest>>);

#[async_trait::async_trait]
impl Blobs for Once<'_> {
    async fn open(&self, descriptor: &Descriptor) -> cooper_oci::Result<cooper_oci::Body> {
        self.1.lock().unwrap().push(descriptor.digest.clone());
        self.0.open(descriptor).await
    }
}

#[test]
fn what_is_there_is_not_read() {
    let (blobs, root) = two_platforms();
    let to = MemoryBlobs::new();
    for expect in [blobs.digests().len(), 3] {
        let from = Once(&blobs, Mutex::default());
        block_on(copy(&root, &from, &to, &CopyOptions::default())).unwrap();
        assert_eq!(from.1.lock().unwrap().len(), expect, "the second time only manifests");
    }
}

#[test]
fn a_place_that_lies_leaves_nothing_named() {
    let (from, root) = sample();
    for digest in from.digests() {
        let (lying, _) = sample();
        lying.insert_unverified(digest.clone(), &b"lies"[..]);
        let to = MemoryBlobs::new();
        let error = block_on(copy(&root, &lying, &to, &CopyOptions::default())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(to.get(&root.digest).is_none() && to.get(&digest).is_none());
        assert_eq!(block_on(validate(&root, &lying)).unwrap_err().kind(), ErrorKind::Corrupt);
        lying.remove(&digest);
        assert_eq!(block_on(validate(&root, &lying)).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn indexes_do_not_nest_without_end() {
    let (blobs, mut root) = sample();
    for depth in 1..=6 {
        root = blobs.add(MediaType::INDEX, serde_json::to_vec(&Index::new(vec![root])).unwrap());
        let copied = block_on(copy(&root, &blobs, &MemoryBlobs::new(), &CopyOptions::default()));
        assert_eq!(copied.map_err(|error| error.kind()), if depth <= 4 { Ok(()) } else { Err(ErrorKind::TooLarge) });
    }
}

#[test]
fn foreign_layers_stay_where_they_are() {
    let (blobs, root) = sample();
    let mut manifest: cooper_oci::Manifest = serde_json::from_slice(&blobs.get(&root.digest).unwrap()).unwrap();
    let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    manifest.layers[0].media_type = foreign.into();
    let root = blobs.add(MediaType::MANIFEST, serde_json::to_vec(&manifest).unwrap());
    for (asked, expect) in [(false, 3), (true, 4)] {
        let to = MemoryBlobs::new();
        let options = CopyOptions { foreign: asked, ..CopyOptions::default() };
        block_on(copy(&root, &blobs, &to, &options)).unwrap();
        assert_eq!(to.digests().len(), expect);
    }
}

#[test]
fn validation_compares_config_and_layers() {
    let (blobs, root) = sample();
    let manifest: cooper_oci::Manifest = serde_json::from_slice(&blobs.get(&root.digest).unwrap()).unwrap();
    let config: ImageConfig = serde_json::from_slice(&blobs.get(&manifest.config.digest).unwrap()).unwrap();
    let check = |edit: &dyn Fn(&mut ImageConfig), expect: &str| {
        let (mut config, mut manifest) = (config.clone(), manifest.clone());
        edit(&mut config);
        manifest.config = blobs.add(MediaType::CONFIG, serde_json::to_vec(&config).unwrap());
        let mut changed = blobs.add(MediaType::MANIFEST, serde_json::to_vec(&manifest).unwrap());
        changed.platform = root.platform.clone();
        let error = block_on(validate(&changed, &blobs)).unwrap_err();
        assert!(format!("{error:?}").contains(expect), "{error:?}");
    };
    check(&|config| drop(config.rootfs.diff_ids.pop()), "1 diff ids");
    check(&|config| drop(config.history.pop()), "1 lines of history");
    check(&|config| config.os.clear(), "no platform");
    check(&|config| config.architecture = "arm64".into(), "its index says linux/amd64");
    check(&|config| config.rootfs.diff_ids.swap(0, 1), "corrupt");
}

#[test]
fn a_layout_is_a_place() {
    let scratch = tempfile::tempdir().unwrap();
    let (blobs, root) = two_platforms();
    let layout = Layout::create(scratch.path().join("l")).unwrap();
    block_on(copy(&root, &blobs, &layout, &CopyOptions::default())).unwrap();
    layout.add(&root, &names()).unwrap();
    layout.add(&root, &names()).unwrap();
    let layout = Layout::open(scratch.path().join("l")).unwrap();
    assert_eq!(layout.index().unwrap().manifests.len(), 2, "a name is there once");
    for target in [
        None,
        Some("3"),
        Some("alpine:3"),
        Some("docker.io/library/alpine:3"),
        Some("v1"),
        Some(&root.digest.to_string()),
    ] {
        assert_eq!(layout.find(target).unwrap().digest, root.digest, "{target:?}");
    }
    let error = layout.find(Some("debian")).unwrap_err();
    assert!(error.hint().unwrap().contains("docker.io/library/alpine:3"), "{error:?}");
    block_on(validate(&root, &layout)).unwrap();
    let left = std::fs::read_dir(layout.path()).unwrap().count();
    assert_eq!(left, 3, "nothing pending");
}

#[test]
fn names_of_a_layout_move() {
    let scratch = tempfile::tempdir().unwrap();
    let layout = Layout::create(scratch.path()).unwrap();
    let (old, new) = (Descriptor::of(MediaType::MANIFEST, b"old"), Descriptor::of(MediaType::MANIFEST, b"new"));
    let mut tagged = old.clone();
    tagged.annotations.insert(cooper_oci::REF_NAME.into(), "3".into());
    for (descriptor, names, expect) in [
        (&old, vec![], 1),
        (&old, vec![], 1),
        (&tagged, vec![], 1),
        (&old, names(), 2),
        (&new, names(), 2),
        (&new, vec!["debian:3".parse().unwrap()], 3),
    ] {
        layout.add(descriptor, &names).unwrap();
        assert_eq!(layout.index().unwrap().manifests.len(), expect, "{descriptor:?} {names:?}");
    }
    assert_eq!(layout.find(Some("alpine:3")).unwrap().digest, new.digest);
    layout.add(&old, &["busybox:3".parse().unwrap()]).unwrap();
    let error = layout.find(Some("3")).unwrap_err();
    assert!(error.to_string().contains("several images"), "{error}");
}

#[test]
fn a_layout_keeps_nothing_that_is_wrong() {
    let scratch = tempfile::tempdir().unwrap();
    let layout = Layout::create(scratch.path()).unwrap();
    let named = Descriptor::of("x", b"right");
    for wrong in [&b"wrong"[..], b"rig", b"right and more"] {
        let error = block_on(layout.put(&named, body_from_bytes(wrong))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(!block_on(layout.has(&named)).unwrap());
    }
    block_on(layout.put(&named, body_from_bytes(&b"right"[..]))).unwrap();
    // T10: what lies on the disk is what was named.
    let path = scratch.path().join("blobs/sha256").join(named.digest.hex());
    assert_eq!(Digest::of(&std::fs::read(path).unwrap()), named.digest);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 3);
}

#[test]
fn a_layout_follows_no_links() {
    let scratch = tempfile::tempdir().unwrap();
    let layout = Layout::create(scratch.path().join("l")).unwrap();
    std::fs::write(scratch.path().join("secret"), b"secret").unwrap();
    let named = Descriptor::of("x", b"secret");
    let path = layout.path().join("blobs/sha256").join(named.digest.hex());
    std::os::unix::fs::symlink(scratch.path().join("secret"), path).unwrap();
    assert!(!block_on(layout.has(&named)).unwrap());
    assert!(block_on(layout.open(&named)).is_err());
}

#[test]
fn what_is_no_layout_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    assert_eq!(Layout::open(scratch.path()).unwrap_err().kind(), ErrorKind::NotFound);
    for marker in ["", "{}", r#"{"imageLayoutVersion":"2.0.0"}"#] {
        std::fs::write(scratch.path().join("oci-layout"), marker).unwrap();
        assert_eq!(Layout::open(scratch.path()).unwrap_err().kind(), ErrorKind::Invalid, "{marker}");
    }
}

fn archive(scratch: &Path, bytes: &[u8]) -> cooper_oci::Result<Archive> {
    let path = scratch.join("archive.tar");
    std::fs::write(&path, bytes).unwrap();
    read_archive(&path, scratch)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn archives_round_trip() {
    let scratch = tempfile::tempdir().unwrap();
    let (blobs, root) = sample();
    let (mut oci, mut docker, mut again) = (Vec::new(), Vec::new(), Vec::new());
    block_on(write_oci_archive(&mut oci, &[(root.clone(), names())], &blobs)).unwrap();
    block_on(write_oci_archive(&mut again, &[(root.clone(), names())], &blobs)).unwrap();
    block_on(write_docker_archive(&mut docker, &[(root.clone(), names())], &blobs)).unwrap();
    assert_eq!(oci, again);
    for bytes in [&oci, &docker, &gzip(&oci), &zstd::bulk::compress(&docker, 1).unwrap()] {
        let archive = archive(scratch.path(), bytes).unwrap();
        assert_eq!(archive.images().len(), 1);
        assert_eq!(archive.images()[0].0, ["docker.io/library/alpine:3", "3", "localhost:5000/x/y:v1", "v1"]);
        assert_eq!(archive.find(Some("alpine:3")).unwrap().digest, root.digest);
        block_on(validate(&root, &archive)).unwrap();
    }
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1, "the spool is gone");
}

#[test]
fn a_docker_archive_holds_one_platform() {
    let (blobs, index) = two_platforms();
    let error = block_on(write_docker_archive(&mut Vec::new(), &[(index.clone(), Vec::new())], &blobs)).unwrap_err();
    assert!(error.to_string().contains("one platform, not 2"), "{error}");
    block_on(write_oci_archive(&mut Vec::new(), &[(index.clone(), Vec::new())], &blobs)).unwrap();
}

/// What `docker save` wrote for years: a directory a layer, shared layers as links.
fn legacy() -> Vec<u8> {
    let layer = tar(&[file("a", b"hello")]);
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer), Digest::of(&layer), Digest::of(&layer)]},
    });
    let config = serde_json::to_vec(&config).unwrap();
    let manifest =
        br#"[{"Config":"c.json","RepoTags":["old:1"],"Layers":["1/layer.tar","2/layer.tar","3/layer.tar"]}]"#;
    let link = cooper_oci::EntryKind::Symlink { target: "../1/layer.tar".into() };
    tar(&[
        dir("1"),
        file("1/layer.tar", &layer),
        (cooper_oci::testing::entry("2/layer.tar", link), vec![]),
        file("3/layer.tar", &gzip(&layer)),
        file("c.json", &config),
        file("manifest.json", manifest),
        file("repositories", b"{}"),
    ])
}

#[test]
fn legacy_docker_archives_are_read() {
    let scratch = tempfile::tempdir().unwrap();
    let archive = archive(scratch.path(), &legacy()).unwrap();
    let root = archive.find(Some("old:1")).unwrap();
    assert_eq!(root.platform, Some(Platform::new("linux", "amd64")));
    block_on(validate(&root, &archive)).unwrap();
    let manifest = block_on(read_all(&archive, &root, 1 << 20)).unwrap();
    let manifest: cooper_oci::Manifest = serde_json::from_slice(&manifest).unwrap();
    let types: Vec<_> = manifest.layers.iter().map(|layer| layer.media_type.as_str()).collect();
    assert_eq!(types, [MediaType::LAYER, MediaType::LAYER, MediaType::LAYER_GZIP]);
    assert_eq!(manifest.layers[0], manifest.layers[1]);
}

#[test]
fn hostile_archives_are_errors() {
    let scratch = tempfile::tempdir().unwrap();
    let manifest = |text: &str| tar(&[file("manifest.json", text.as_bytes()), file("c", b"{}")]);
    for (what, bytes) in [
        ("no archive", b"hello".to_vec()),
        ("no image", tar(&[file("x", b"")])),
        ("twice", tar(&[file("x", b""), file("x", b"")])),
        ("no file `../../etc/passwd`", manifest(r#"[{"Config":"../../etc/passwd","Layers":[]}]"#)),
        ("no file `/etc/passwd`", manifest(r#"[{"Config":"c","Layers":[]},{"Config":"/etc/passwd"}]"#)),
        ("has 0 layers, its archive 1", manifest(r#"[{"Config":"c","Layers":["c"]}]"#)),
        ("is invalid", manifest("{")),
        ("no version", tar(&[file("oci-layout", b"{}"), file("index.json", b"{}")])),
        ("more than", tar(&[file("oci-layout", &vec![b' '; 5 << 20]), file("index.json", b"{}")])),
    ] {
        let error = archive(scratch.path(), &bytes).expect_err(what);
        assert!(error.to_string().contains(what), "{error:?}, expected {what}");
    }
    let link = |from: &str, to: &str| {
        (cooper_oci::testing::entry(from, cooper_oci::EntryKind::Symlink { target: to.into() }), vec![])
    };
    let turns = tar(&[link("manifest.json", "a"), link("a", "manifest.json")]);
    assert!(archive(scratch.path(), &turns).is_err());
}

#[test]
fn a_blob_of_an_archive_that_lies_is_caught_by_its_reader() {
    let scratch = tempfile::tempdir().unwrap();
    let named = Descriptor::of("x", b"right");
    let path = format!("blobs/sha256/{}", named.digest.hex());
    let index = serde_json::to_vec(&Index::new(vec![named.clone()])).unwrap();
    let marker = br#"{"imageLayoutVersion":"1.0.0"}"#;
    let bytes = tar(&[file(&path, b"wrong"), file("index.json", &index), file("oci-layout", marker)]);
    let archive = archive(scratch.path(), &bytes).unwrap();
    let error = block_on(copy(&named, &archive, &MemoryBlobs::new(), &CopyOptions::default())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

fn run(program: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => {
            assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(_) => {
            let _ = std::io::stderr().write_all(format!("skipped: no {program}\n").as_bytes());
            None
        }
    }
}

#[test]
fn other_tools_read_archives_and_layouts() {
    let scratch = tempfile::tempdir().unwrap();
    let (blobs, root) = sample();
    let place = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    for (name, docker) in [("o.tar", false), ("d.tar", true)] {
        let mut bytes = Vec::new();
        match docker {
            true => {
                block_on(write_docker_archive(&mut bytes, &[(root.clone(), names()[..1].to_vec())], &blobs)).unwrap()
            }
            false => block_on(write_oci_archive(&mut bytes, &[(root.clone(), names()[..1].to_vec())], &blobs)).unwrap(),
        }
        std::fs::write(scratch.path().join(name), bytes).unwrap();
    }
    let layout = Layout::create(scratch.path().join("layout")).unwrap();
    block_on(copy(&root, &blobs, &layout, &CopyOptions::default())).unwrap();
    layout.add(&root, &names()[..1]).unwrap();
    for source in [
        format!("oci-archive:{}", place("o.tar")),
        format!("oci-archive:{}", place("d.tar")),
        format!("docker-archive:{}", place("d.tar")),
        format!("docker-archive:{}:alpine:3", place("d.tar")),
        format!("oci:{}:3", place("layout")),
    ] {
        if let Some(out) = run("skopeo", &["inspect", "--config", &source]) {
            assert!(out.contains("layer 1"), "{source}: {out}");
        }
        let to = format!("dir:{}", place("copied"));
        run("skopeo", &["copy", "--insecure-policy", &source, &to]);
    }
    let image = format!("{}:3", place("layout"));
    if run("umoci", &["unpack", "--rootless", "--image", &image, &place("bundle")]).is_some() {
        assert_eq!(std::fs::read(scratch.path().join("bundle/rootfs/bin/sh")).unwrap(), b"#!");
    }
}

/// Callers run these on threads of their own choosing.
#[test]
fn futures_can_move_between_threads() {
    fn check<T: Send>(_: T) {}
    let (blobs, root) = sample();
    let options = CopyOptions::default();
    let mut out: Vec<u8> = Vec::new();
    check(copy(&root, &blobs, &blobs, &options));
    check(validate(&root, &blobs));
    check(choose(&root, &Platform::host(), &blobs));
    check(write_oci_archive(&mut out, &[(root.clone(), Vec::new())], &blobs));
    check(write_docker_archive(&mut out, &[(root.clone(), Vec::new())], &blobs));
}
