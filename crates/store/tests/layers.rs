//! Layers through their whole life: built, imported, unpacked, mounted, committed, sealed. Trees are text.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use cooper_oci::tar::TarWriter;
use cooper_oci::{Compression, Descriptor, Digest, Entry, EntryKind, LayerWriter, MediaType, Mtime};
use cooper_store::{LayerId, OpenOptions, Ownership, Sharing, SnapshotKind, Store};
use futures::executor::block_on;

const KINDS: [SnapshotKind; 2] = [SnapshotKind::Overlay, SnapshotKind::Native];

struct Scene {
    dir: tempfile::TempDir,
    store: Store,
}

fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("canary")).unwrap();
    fs::write(dir.path().join("canary/secret"), "canary").unwrap();
    let store = Store::open(&dir.path().join("store"), OpenOptions::new("boot", || 1_000_000)).unwrap();
    Scene { dir, store }
}

fn is_root() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0);
    if !root {
        let _ = writeln!(std::io::stderr(), "skipped: needs root to mount and to set owners");
    }
    root
}

fn entry(path: &str, kind: EntryKind) -> Entry {
    let mtime = Mtime { secs: 1000, nanos: 0 };
    Entry { path: path.into(), kind, mode: 0o755, uid: 0, gid: 0, mtime, xattrs: Default::default() }
}

/// `d a`, `f a/x text`, `l a/l target`, `h new old`, `c name`, `.wh.` names as files: one a line.
fn entries(text: &str) -> Vec<(Entry, String)> {
    let parse = |line: &str| {
        let mut fields = line.trim().splitn(3, ' ');
        let (tag, path) = (fields.next().unwrap(), fields.next().unwrap());
        let rest = fields.next().unwrap_or("").to_owned();
        let kind = match tag {
            "d" => EntryKind::Dir,
            "l" => EntryKind::Symlink { target: rest.clone().into() },
            "h" => EntryKind::Hardlink { target: rest.clone().into() },
            "c" => EntryKind::Char { major: 1, minor: 3 },
            "0" => EntryKind::Char { major: 0, minor: 0 },
            "p" => EntryKind::Fifo,
            _ => EntryKind::File { size: rest.len() as u64 },
        };
        let path = if path == "/" { "" } else { path };
        (entry(path, kind), rest)
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(parse).collect()
}

impl Scene {
    /// A layer of one directory that others can write to, owned by 33.
    fn owned(&self) -> LayerId {
        let mut layer = self.store.new_layer(Compression::None, None).unwrap();
        let mut dir = entry("a", EntryKind::Dir);
        (dir.mode, dir.uid, dir.gid) = (0o1777, 33, 34);
        layer.append(&dir, &mut std::io::empty()).unwrap();
        layer.finish().unwrap().id
    }

    /// A layer whose tar holds exactly these entries, as a foreign tool may have written it.
    fn foreign(&self, text: &str) -> LayerId {
        let mut tar = TarWriter::new(Vec::new());
        for (entry, data) in entries(text) {
            let is_file = matches!(entry.kind, EntryKind::File { .. });
            tar.append(&entry, &mut if is_file { data.as_bytes() } else { b"" }).unwrap();
        }
        let bytes = tar.finish().unwrap();
        let diff_id = Digest::of(&bytes);
        let blob = self.store.put_bytes(MediaType::LAYER, &bytes).unwrap();
        self.store.import_layer(&blob, &diff_id).unwrap()
    }

    fn show(&self, kind: SnapshotKind, layers: &[LayerId]) -> String {
        let mount = self.store.mount_with(kind, layers, false).unwrap();
        tree(mount.root())
    }

    fn change(&self, kind: SnapshotKind, layers: &[LayerId], change: impl FnOnce(&Path)) -> LayerId {
        let mount = self.store.mount_with(kind, layers, true).unwrap();
        change(mount.root());
        mount.commit(Some(5000)).unwrap()
    }

    fn listing(&self, id: &LayerId) -> String {
        self.store.seal(id, Compression::None).unwrap();
        String::from_utf8(self.store.listing(id).unwrap().text()).unwrap()
    }

    fn canary_is_intact(&self) {
        let names: Vec<_> = fs::read_dir(self.dir.path().join("canary")).unwrap().collect();
        assert_eq!(names.len(), 1);
        let meta = fs::metadata(self.dir.path().join("canary/secret")).unwrap();
        assert_eq!((meta.nlink(), meta.mode() & 0o7777), (1, 0o644));
        assert_eq!(fs::read_to_string(self.dir.path().join("canary/secret")).unwrap(), "canary");
    }
}

/// Paths with kinds and contents.
fn tree(root: &Path) -> String {
    fn below(root: &Path, dir: &Path, out: &mut Vec<String>) {
        let mut names: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        for path in names {
            let meta = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if meta.is_dir() {
                out.push(format!("{name}/"));
                below(root, &path, out);
            } else if meta.is_symlink() {
                out.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
            } else if meta.is_file() {
                let text = fs::read_to_string(&path).unwrap_or_default();
                out.push(format!("{name}={}", if text.len() > 100 { "long" } else { &text }));
            } else {
                out.push(format!("{name}?"));
            }
        }
    }
    let mut out = Vec::new();
    below(root, root, &mut out);
    out.join(" ")
}

#[test]
fn privileged_layers_merge_as_the_image_spec_says() {
    if !is_root() {
        return;
    }
    for (layers, expected) in [
        (&["d a\nf a/x 1\nl l a/x\np p", "d a\nf a/y 2"][..], "a/ a/x=1 a/y=2 l -> a/x p?"),
        (&["d a\nf a/x 1", "d a\nf a/.wh.x"], "a/"),
        (&["d a\nf a/x 1", "d a\nf a/y 2\nf a/.wh..wh..opq"], "a/ a/y=2"),
        (&["d a\nf a/x 1", "f .wh.a", "d a\nf a/z 3"], "a/ a/z=3"),
        (&["d a\nf a/x 1", "f .wh.a\nd a\nf a/z 3"], "a/ a/z=3"),
        (&["d a\nf a/x 1", "d a\nf a/z 3\nf .wh.a"], "a/ a/z=3"),
        // Implied directories, and links in lower layers that they lead through.
        (&["d a\nf a/x 1", "f a/b/y 2"], "a/ a/b/ a/b/y=2 a/x=1"),
        (&["d usr\nd usr/lib\nl lib usr/lib", "f lib/x 1"], "lib -> usr/lib usr/ usr/lib/ usr/lib/x=1"),
        (&["f a 1", "h b a"], "a=1 b=1"),
        (&["f a 1", "f b 2", "f a 1"], "a=1 b=2"),
        (&[], ""),
    ] {
        for kind in KINDS {
            let scene = scene();
            let ids: Vec<_> = layers.iter().map(|text| scene.foreign(text)).collect();
            assert_eq!(scene.show(kind, &ids), expected, "{kind:?} {layers:?}");
        }
    }
}

#[test]
fn privileged_hostile_layers_stay_in_their_directory() {
    if !is_root() {
        return;
    }
    for text in [
        "l x CANARY\nf x/secret evil",
        "l x CANARY\nf x/new evil",
        "l x CANARY/secret\nf x evil",
        "l x CANARY\nd x\nf x/secret evil",
        "d x\nl x CANARY",
        "l x CANARY/secret\nh y x\nf y evil",
        "l x CANARY\nh y x/secret\nf y evil",
        "l x CANARY\nf x/.wh.secret",
        "l x CANARY\nf x/.wh..wh..opq",
        "l x /\nl x/tmp /\nf x/tmp/evil 1",
        "l x ../../../../../../canary\nf x/secret evil",
        "0 zero\nf zero/x 1",
        "f a 1\nh a a",
        "f a 1\nf a/b 2\nf a 3\nd a\nf a/c 4",
    ] {
        for below in [None, Some("d x\nf x/secret ours")] {
            let scene = scene();
            let text = text.replace("CANARY", scene.dir.path().join("canary").to_str().unwrap());
            let mut ids: Vec<_> = below.iter().map(|text| scene.foreign(text)).collect();
            ids.push(scene.foreign(&text));
            // Refusing is as good as confining.
            let mounted = scene.store.mount(&ids, false);
            scene.canary_is_intact();
            drop(mounted);
            scene.canary_is_intact();
        }
    }
}

#[test]
fn privileged_overlay_attributes_of_images_do_not_count() {
    if !is_root() {
        return;
    }
    let scene = scene();
    let base = scene.foreign("d a\nf a/x 1");
    let mut tar = TarWriter::new(Vec::new());
    let mut dir = entry("a", EntryKind::Dir);
    dir.xattrs.insert(b"user.overlay.opaque".to_vec(), b"y".to_vec());
    dir.xattrs.insert(b"user.kept".to_vec(), b"1".to_vec());
    tar.append(&dir, &mut std::io::empty()).unwrap();
    let bytes = tar.finish().unwrap();
    let blob = scene.store.put_bytes(MediaType::LAYER, &bytes).unwrap();
    let top = scene.store.import_layer(&blob, &Digest::of(&bytes)).unwrap();
    assert_eq!(scene.show(SnapshotKind::Overlay, &[base, top.clone()]), "a/ a/x=1");
    assert!(scene.listing(&top).contains("user.kept"));
}

fn busy(root: &Path) {
    let at = |path: &str| root.join(path);
    fs::remove_file(at("gone")).unwrap();
    fs::remove_dir_all(at("tree")).unwrap();
    fs::remove_dir_all(at("again")).unwrap();
    fs::create_dir(at("again")).unwrap();
    fs::write(at("again/new"), "new").unwrap();
    fs::write(at("deep/er/file"), "changed").unwrap();
    fs::set_permissions(at("touched"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::write(at("made"), "made").unwrap();
    fs::hard_link(at("made"), at("made-too")).unwrap();
    symlink("/nowhere", at("link")).unwrap();
    fs::remove_file(at("swap")).unwrap();
    fs::create_dir(at("swap")).unwrap();
    fs::write(at("brief"), "").unwrap();
    fs::remove_file(at("brief")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let mut sparse = fs::File::create(at("sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    sparse.write_all(b"x").unwrap();
}

const BASE: &str = "f gone 1\nd tree\nf tree/a 1\nd again\nf again/old 1\nd deep\nd deep/er\nf deep/er/file 1\nf deep/er/same 1\nf touched 1\nf swap 1\nf same 1";

#[test]
fn privileged_both_snapshotters_commit_the_same() {
    if !is_root() {
        return;
    }
    let scene = scene();
    let base = scene.foreign(BASE);
    let [overlay, native] = KINDS.map(|kind| {
        let id = scene.change(kind, std::slice::from_ref(&base), busy);
        let shown = scene.show(SnapshotKind::Overlay, &[base.clone(), id.clone()]);
        (scene.listing(&id), shown)
    });
    assert_eq!(overlay.0, native.0);
    assert_eq!(overlay.1, native.1);
    for line in ["w gone", "w tree", "o again", "h 644 0 0 5000.000000000 made-too made", "f 4711"] {
        assert!(overlay.0.contains(line), "{line} in\n{}", overlay.0);
    }
    for word in ["socket", "brief", "same", "again/old", "tree/a"] {
        assert!(!overlay.0.contains(word), "{word} in\n{}", overlay.0);
    }
    assert!(overlay.0.lines().any(|line| line.starts_with("d ") && line.ends_with(" deep/er")));
}

/// What overlayfs copies although nothing changed, and names of one file of which only one is changed.
fn idle(root: &Path) {
    let at = |path: &str| root.join(path);
    drop(fs::OpenOptions::new().write(true).open(at("d/opened")).unwrap());
    fs::set_permissions(at("d/same-mode"), fs::metadata(at("d/same-mode")).unwrap().permissions()).unwrap();
    fs::set_permissions(at("idle"), fs::metadata(at("idle")).unwrap().permissions()).unwrap();
    std::os::unix::fs::lchown(at("d/link"), Some(0), Some(0)).unwrap();
}

#[test]
fn privileged_what_is_as_it_was_is_in_no_layer() {
    if !is_root() {
        return;
    }
    let scene = scene();
    let base = scene.change(SnapshotKind::Auto, &[], |root| {
        for dir in ["d", "idle"] {
            fs::create_dir(root.join(dir)).unwrap();
        }
        for name in ["d/opened", "d/same-mode", "d/one", "d/written"] {
            fs::write(root.join(name), "1").unwrap();
        }
        fs::hard_link(root.join("d/one"), root.join("d/two")).unwrap();
        fs::hard_link(root.join("d/written"), root.join("d/other")).unwrap();
        symlink("one", root.join("d/link")).unwrap();
    });
    for kind in KINDS {
        let id = scene.change(kind, std::slice::from_ref(&base), idle);
        assert_eq!(scene.listing(&id), "", "{kind:?}");
    }
    let [overlay, native] = KINDS.map(|kind| {
        let id = scene.change(kind, std::slice::from_ref(&base), |root| {
            idle(root);
            fs::rename(root.join("d/two"), root.join("d/three")).unwrap();
            fs::write(root.join("d/written"), "22").unwrap();
            fs::hard_link(root.join("d/opened"), root.join("d/opened-too")).unwrap();
        });
        scene.listing(&id)
    });
    assert_eq!(overlay, native);
    let names: Vec<_> =
        overlay.lines().filter_map(|line| line.split(' ').find(|word| word.starts_with("d/"))).collect();
    assert_eq!(names, ["d/opened", "d/opened-too", "d/three", "d/written", "d/two"], "{overlay}");
}

#[test]
fn privileged_a_sealed_layer_unpacks_to_what_it_was() {
    if !is_root() {
        return;
    }
    let scene = scene();
    let base = scene.foreign(BASE);
    let id = scene.change(SnapshotKind::Auto, std::slice::from_ref(&base), busy);
    let blob = scene.store.seal(&id, Compression::GZIP).unwrap();
    assert_eq!(scene.store.seal(&id, Compression::GZIP).unwrap(), blob);
    let diff_id = scene.store.layer_diff_id(&id).unwrap().unwrap();
    // From a blob, another compression gives the same tar.
    let zstd = scene.store.seal(&id, Compression::ZSTD).unwrap();
    assert_ne!(zstd.digest, blob.digest);
    let other = self::scene();
    let bytes = scene.store.read_blob(&zstd.digest, 1 << 20).unwrap();
    let copied: Descriptor = other.store.put_bytes(MediaType::LAYER_ZSTD, &bytes).unwrap();
    let again = other.store.import_layer(&copied, &diff_id).unwrap();
    let below = other.foreign(BASE);
    let shown = other.show(SnapshotKind::Overlay, &[below, again.clone()]);
    assert_eq!(shown, scene.show(SnapshotKind::Overlay, &[base, id.clone()]));
    assert_eq!(other.listing(&again), scene.listing(&id));
    assert!(other.store.check_layer(&again, true).unwrap().is_empty());
    assert!(scene.store.check_layer(&id, true).unwrap().is_empty());
    let victim = other.store.layer_path(&again).join("fs/made");
    fs::write(&victim, "evil").unwrap();
    assert!(!other.store.check_layer(&again, true).unwrap().is_empty());
}

#[test]
fn privileged_an_unchanged_mount_gives_an_empty_layer() {
    if !is_root() {
        return;
    }
    for kind in KINDS {
        let scene = scene();
        let base = scene.foreign("d a\nf a/x 1");
        let id = scene.change(kind, std::slice::from_ref(&base), |_| {});
        assert_eq!(scene.listing(&id), "", "{kind:?}");
        let id = scene.change(kind, &[base, id], |root| {
            fs::set_permissions(root, fs::Permissions::from_mode(0o700)).unwrap();
        });
        assert!(scene.listing(&id).starts_with("d 700 "), "{kind:?}: {}", scene.listing(&id));
    }
}

#[test]
fn privileged_two_hundred_layers() {
    if !is_root() {
        return;
    }
    let scene = scene();
    let ids: Vec<_> = (0..200).map(|n| scene.foreign(&format!("f f{n:03} {n}\nf all {n}"))).collect();
    let mount = scene.store.mount_with(SnapshotKind::Overlay, &ids, true).unwrap();
    assert_eq!(fs::read_dir(mount.root()).unwrap().count(), 201);
    assert_eq!(fs::read_to_string(mount.root().join("all")).unwrap(), "199");
}

#[test]
fn privileged_a_dropped_mount_leaves_nothing() {
    if !is_root() {
        return;
    }
    for kind in KINDS {
        let scene = scene();
        let mount = scene.store.mount_with(kind, &[], true).unwrap();
        fs::write(mount.root().join("x"), "x").unwrap();
        drop(mount);
        assert_eq!(fs::read_dir(scene.store.root().join("mounts")).unwrap().count(), 0);
    }
}

#[test]
fn built_layers_have_the_same_bytes_and_can_be_looked_into() {
    let scene = scene();
    let build = |compression| {
        let mut layer = scene.store.new_layer(compression, Some(500)).unwrap();
        for (entry, data) in entries("d a\nf a/x hello\nl a/l x") {
            layer.append(&entry, &mut data.as_bytes()).unwrap();
        }
        layer.remove(Path::new("old"), Mtime { secs: 900, nanos: 0 }).unwrap();
        layer.finish().unwrap()
    };
    let (one, two) = (build(Compression::GZIP), build(Compression::GZIP));
    assert_eq!((&one.id, &one.descriptor), (&two.id, &two.descriptor));
    assert_eq!(build(Compression::None).diff_id, one.diff_id);
    let tree = scene.store.layer_tree(std::slice::from_ref(&one.id)).unwrap();
    let record = tree.lookup(Path::new("a/x")).unwrap();
    assert_eq!(record.digest, Some(blake3_of(b"hello")));
    assert_eq!(record.entry.mtime.secs, 500);
    assert_eq!(one.listing.removed(), [PathBuf::from("old")]);
}

fn blake3_of(bytes: &[u8]) -> [u8; 32] {
    blake3::hash(bytes).into()
}

#[test]
fn a_blob_with_another_diff_id_is_refused() {
    let scene = scene();
    let bytes = TarWriter::new(Vec::new()).finish().unwrap();
    let blob = scene.store.put_bytes(MediaType::LAYER, &bytes).unwrap();
    let id = scene.store.import_layer(&blob, &Digest::of(b"a layer it is not")).unwrap();
    assert!(scene.store.unpack(std::slice::from_ref(&id)).is_err());
    assert!(!scene.store.layer_path(&id).join("fs").exists());
}

#[test]
fn a_directory_that_a_power_cut_may_have_torn_is_made_again() {
    let scene = scene();
    let id = scene.foreign("f x whole");
    scene.store.deferred().unpack(std::slice::from_ref(&id)).unwrap();
    let file = scene.store.layer_path(&id).join("fs/x");
    fs::write(&file, "").unwrap();
    let root = scene.dir.path().join("store");
    let again = |boot: &str| {
        let store = Store::open(&root, OpenOptions::new(boot, || 1_000_000)).unwrap();
        store.unpack(std::slice::from_ref(&id)).unwrap();
        fs::read_to_string(&file).unwrap()
    };
    assert_eq!(again("boot"), "", "the boot that wrote it needs no second look");
    assert_eq!(again("next boot"), "whole");
}

/// A gzipped layer tar of one file of `size` bytes: its blob, and a body of it in chunks of `step`.
fn arriving(size: usize, step: usize) -> (Descriptor, Digest, Vec<Vec<u8>>) {
    let text: Vec<u8> = (0..size).map(|i| ((i * i) >> 7) as u8).collect();
    let mut tar = TarWriter::new(LayerWriter::new(Vec::new(), Compression::GZIP, None).unwrap());
    tar.append(&entry("f", EntryKind::File { size: size as u64 }), &mut &text[..]).unwrap();
    let (blob, sums) = tar.finish().unwrap().finish().unwrap();
    let chunks = blob.chunks(step).map(<[u8]>::to_vec).collect();
    (Descriptor::of(MediaType::LAYER_GZIP, &blob), sums.diff_id, chunks)
}

/// Whether the chunks were taken for the blob; an empty one stands for a connection that breaks.
fn arrive(store: &Store, id: &LayerId, blob: &Descriptor, chunks: Vec<Vec<u8>>) -> bool {
    let broken = || cooper_oci::Error::new(cooper_oci::ErrorKind::Retry, "the connection broke");
    let chunks = chunks.into_iter().map(|chunk| if chunk.is_empty() { Err(broken()) } else { Ok(chunk.into()) });
    block_on(store.put_layer(id, blob, Box::pin(futures::stream::iter(chunks.collect::<Vec<_>>())))).is_ok()
}

#[test]
fn a_layer_is_unpacked_while_it_arrives() {
    let scene = scene();
    let (blob, diff_id, chunks) = arriving(3 << 20, 70_000);
    let id = scene.store.import_layer(&blob, &diff_id).unwrap();
    assert!(arrive(&scene.store, &id, &blob, chunks.clone()));
    assert_eq!(fs::metadata(scene.store.layer_path(&id).join("fs/f")).unwrap().len(), 3 << 20);
    assert!(scene.store.check_layer(&id, true).unwrap().is_empty());
    assert!(scene.store.has_blob(&blob.digest).unwrap());
    assert!(arrive(&scene.store, &id, &blob, chunks), "once more is no fault");
}

#[test]
fn a_layer_that_does_not_arrive_whole_leaves_nothing() {
    let scene = scene();
    let (blob, diff_id, chunks) = arriving(1 << 20, 10_000);
    let id = scene.store.import_layer(&blob, &diff_id).unwrap();
    let short = chunks[..chunks.len() - 1].to_vec();
    let mut wrong = chunks.clone();
    wrong[1] = vec![7; 10_000];
    let mut broken = short.clone();
    broken.push(Vec::new());
    for chunks in [short, wrong, broken] {
        assert!(!arrive(&scene.store, &id, &blob, chunks));
        assert!(!scene.store.has_blob(&blob.digest).unwrap());
        assert!(!scene.store.layer_path(&id).exists());
    }
}

/// The blob is right and stays, whatever it unpacks to; who mounts it is told.
#[test]
fn an_arriving_layer_that_is_not_what_it_claims_gets_no_directory() {
    let scene = scene();
    let (blob, _, chunks) = arriving(1 << 20, 10_000);
    let id = scene.store.import_layer(&blob, &Digest::of(b"another layer")).unwrap();
    assert!(arrive(&scene.store, &id, &blob, chunks));
    assert!(!scene.store.layer_path(&id).join("fs").exists());
    assert!(scene.store.unpack(&[id]).is_err());
}

#[test]
fn an_arriving_layer_that_needs_its_chain_is_only_marked() {
    let scene = scene();
    let mut tar = TarWriter::new(Vec::new());
    tar.append(&entry("a/f", EntryKind::File { size: 1 }), &mut &b"1"[..]).unwrap();
    let bytes = tar.finish().unwrap();
    let blob = Descriptor::of(MediaType::LAYER, &bytes);
    let id = scene.store.import_layer(&blob, &Digest::of(&bytes)).unwrap();
    assert!(arrive(&scene.store, &id, &blob, vec![bytes]));
    assert!(scene.store.layer_path(&id).join("chain").exists());
    assert!(!scene.store.layer_path(&id).join("fs").exists());
    assert_eq!(
        scene.show(SnapshotKind::Native, &[scene.foreign("d a"), id]),
        scene.show(SnapshotKind::Native, &[scene.foreign("d a\nf a/f 1")])
    );
}

#[test]
fn cache_mounts_are_shared_private_or_locked() {
    let scene = scene();
    let open = |sharing| scene.store.open_cache_mount("npm ../../x", sharing).unwrap();
    let (one, two) = (open(Sharing::Shared), open(Sharing::Shared));
    assert_eq!(one.path(), two.path());
    fs::write(one.path().join("kept"), "1").unwrap();
    let (first, second) = (open(Sharing::Private), open(Sharing::Private));
    assert_ne!(first.path(), second.path());
    assert_eq!(first.path(), one.path());
    let busy = second.path().to_owned();
    drop(second);
    assert_eq!(open(Sharing::Private).path(), busy);
    drop(first);
    let locked = open(Sharing::Locked);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let again = open(Sharing::Locked);
            assert!(done.load(std::sync::atomic::Ordering::SeqCst));
            fs::read_to_string(again.path().join("kept")).unwrap()
        });
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        drop(locked);
        assert_eq!(waiter.join().unwrap(), "1");
    });
}

#[test]
fn privileged_implied_directories_keep_what_they_are_below() {
    if !is_root() {
        return;
    }
    let scene = scene();
    let layers = [scene.owned(), scene.foreign("f a/x 1")];
    let mount = scene.store.mount(&layers, false).unwrap();
    let meta = fs::metadata(mount.root().join("a")).unwrap();
    assert_eq!(meta.mode() & 0o7777, 0o1777);
    assert_eq!(fs::read_to_string(mount.root().join("a/x")).unwrap(), "1");
}

#[test]
fn with_a_single_id_the_listing_has_the_owner() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = OpenOptions::new("boot", || 1_000_000);
    options.ownership = Ownership::Single;
    let store = Store::open(&dir.path().join("store"), options).unwrap();
    let scene = Scene { dir, store };
    let id = scene.owned();
    scene.store.unpack(std::slice::from_ref(&id)).unwrap();
    let meta = fs::metadata(scene.store.layer_path(&id).join("fs/a")).unwrap();
    assert_ne!(meta.uid(), 33);
    let text = String::from_utf8(scene.store.listing(&id).unwrap().text()).unwrap();
    assert!(text.starts_with("d 1777 33 34 "), "{text}");
    assert!(scene.store.check_layer(&id, true).unwrap().is_empty());
}
