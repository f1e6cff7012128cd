//! Cache mounts packed and unpacked: nothing lost, nothing twice, nothing where it does not belong.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cooper_oci::tar::TarWriter;
use cooper_oci::{Compression, Descriptor, Digest, Entry, EntryKind, LayerWriter, MediaType, Mtime};
use cooper_store::{Earlier, ErrorKind, Listing, MountState, OpenOptions, Pack, PackedMount, Sharing, Store};

const NAME: &str = "npm\u{0}0755 0:0";

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), OpenOptions::new("boot", || 4_000_000_000)).unwrap();
    (dir, store)
}

/// The directory of the mount, as a step would leave it.
fn used(store: &Store) -> PathBuf {
    store.open_cache_mount(NAME, Sharing::Shared).unwrap().path().to_owned()
}

fn pack(store: &Store, earlier: &Earlier, max: u64) -> PackedMount {
    store.pack_cache_mount(NAME, earlier, max).unwrap().unwrap().mount
}

fn everything_of(mount: PackedMount) -> Earlier {
    let there = mount.packs.iter().map(|pack| pack.blob.digest.clone()).collect();
    Earlier { mount, there }
}

/// Unpacks into `to` what `from` has the packs of.
fn unpack(from: &Store, to: &Store, state: &MountState, mount: &PackedMount) -> cooper_store::Result<bool> {
    let mut open = |blob: &Descriptor| Ok(Box::new(from.open_blob(&blob.digest)?) as Box<dyn Read + Send>);
    to.unpack_cache_mount(NAME, state, mount, &Digest::of(b"mount"), &mut open)
}

fn names(listing: &Listing) -> Vec<String> {
    listing.records().iter().map(|record| record.path().display().to_string()).collect()
}

fn set_used(path: &Path, secs: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
    let times = fs::FileTimes::new().set_accessed(time).set_modified(time);
    fs::File::open(path).unwrap().set_times(times).unwrap();
}

fn leftovers(store: &Store) -> usize {
    fs::read_dir(store.root().join("tmp")).unwrap().count()
}

#[test]
fn everything_comes_back_as_it_was() {
    let (_a, store) = store();
    let dir = used(&store);
    fs::create_dir_all(dir.join("deep/er")).unwrap();
    fs::write(dir.join("deep/er/file"), "content").unwrap();
    fs::write(dir.join("deep/same"), "content").unwrap();
    fs::write(dir.join("empty"), "").unwrap();
    fs::write(dir.join("name with \n odd \\ bytes"), "x").unwrap();
    fs::hard_link(dir.join("deep/er/file"), dir.join("hard")).unwrap();
    symlink("../../etc/passwd", dir.join("link")).unwrap();
    fs::set_permissions(dir.join("empty"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(dir.join("deep"), fs::Permissions::from_mode(0o700)).unwrap();
    set_used(&dir.join("deep/er/file"), 1234);
    set_used(&dir.join("deep/er"), 77);
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();

    let packed = pack(&store, &Earlier::default(), u64::MAX);
    let bytes = packed.listing.encode().unwrap();
    let packed = PackedMount { listing: Listing::decode(&bytes).unwrap(), ..packed };
    let (_b, other) = self::store();
    assert!(unpack(&store, &other, &MountState::Empty, &packed).unwrap());
    let copy = other.cache_mounts().unwrap().remove(0);
    assert_eq!((copy.name.as_str(), copy.id), (NAME, Store::cache_mount_id(NAME)));
    let again = other.pack_cache_mount(NAME, &Earlier::default(), u64::MAX).unwrap().unwrap().mount;
    let text = String::from_utf8(again.listing.text()).unwrap();
    assert_eq!(text, String::from_utf8(packed.listing.text()).unwrap());
    assert_eq!(again.packs, packed.packs, "the same bytes on every machine");
    for (part, why) in
        [("h ", "a hard link"), ("l ", "a link"), ("4751", "bits"), (" 1234.", "a time"), (" 77.", "a directory's")]
    {
        assert!(text.contains(part), "{why}: {text}");
    }
    assert!(!text.contains("socket"), "{text}");
    let dir = other.root().join("cache-mounts").join(Store::cache_mount_id(NAME));
    assert_eq!(fs::metadata(dir.join("hard")).unwrap().ino(), fs::metadata(dir.join("deep/er/file")).unwrap().ino());
    assert_eq!(leftovers(&other), 0);
}

#[test]
fn only_new_contents_are_packed_and_dead_packs_go() {
    let (_dir, store) = store();
    let dir = used(&store);
    fs::write(dir.join("a"), vec![b'a'; 1000]).unwrap();
    fs::write(dir.join("b"), vec![b'b'; 1000]).unwrap();
    let first = pack(&store, &Earlier::default(), u64::MAX);
    assert_eq!((first.packs.len(), first.packs[0].size), (1, 2000));

    fs::write(dir.join("c"), vec![b'c'; 500]).unwrap();
    fs::write(dir.join("a again"), vec![b'a'; 1000]).unwrap();
    set_used(&dir.join("b"), 5);
    let second = pack(&store, &everything_of(first.clone()), u64::MAX);
    assert_eq!(second.packs[0], first.packs[0], "what only got another time or name is not sent again");
    assert_eq!((second.packs.len(), second.packs[1].size), (2, 500));
    assert_eq!(second.places, [0, 0, 1]);

    fs::remove_file(dir.join("a")).unwrap();
    fs::remove_file(dir.join("a again")).unwrap();
    let half = pack(&store, &everything_of(second.clone()), u64::MAX);
    assert_eq!(half.packs, second.packs, "half of it is needed");
    fs::write(dir.join("b"), "changed").unwrap();
    let third = pack(&store, &everything_of(half), u64::MAX);
    assert_eq!(third.packs[0], second.packs[1], "the pack that nothing needs is gone");
    assert_eq!((third.packs.len(), third.packs[1].size), (2, 7));

    let lost = Earlier { mount: third.clone(), there: [third.packs[1].blob.digest.clone()].into() };
    let fourth = pack(&store, &lost, u64::MAX);
    assert_eq!(fourth.packs[0], third.packs[1]);
    assert_eq!(fourth.packs[1].size, 500, "what the place has lost is packed again");
}

#[test]
fn many_small_packs_become_one() {
    let (_dir, store) = store();
    let dir = used(&store);
    let mut earlier = Earlier::default();
    let mut most = 0;
    for round in 0..12 {
        fs::write(dir.join(format!("{round}")), format!("round {round}")).unwrap();
        let mount = pack(&store, &earlier, u64::MAX);
        most = most.max(mount.packs.len());
        earlier = everything_of(mount);
    }
    assert_eq!((most, earlier.mount.packs.len()), (9, 3));
    let (_other, other) = self::store();
    assert!(unpack(&store, &other, &MountState::Empty, &earlier.mount).unwrap());
}

#[test]
fn over_its_size_a_mount_loses_what_was_used_least_recently() {
    let (_dir, store) = store();
    let dir = used(&store);
    for (name, size, used) in [("old", 400, 10), ("new", 400, 30), ("middle", 400, 20), ("huge", 5000, 40)] {
        fs::write(dir.join(name), vec![name.as_bytes()[0]; size]).unwrap();
        set_used(&dir.join(name), used);
    }
    fs::hard_link(dir.join("old"), dir.join("old too")).unwrap();
    let packed = pack(&store, &Earlier::default(), 1000);
    assert_eq!(names(&packed.listing), ["", "middle", "new"]);
    assert_eq!(packed.left_out, (3, 5400));
}

#[test]
fn a_mount_is_a_copy_until_a_step_opens_it() {
    let (_dir, store) = store();
    assert_eq!(store.cache_mount_state(NAME).unwrap(), MountState::Empty);
    let dir = used(&store);
    assert_eq!(store.cache_mount_state(NAME).unwrap(), MountState::Empty);
    fs::write(dir.join("a"), "a").unwrap();
    assert_eq!(store.cache_mount_state(NAME).unwrap(), MountState::Own);
    let digest = Digest::of(b"kept");
    let packing = store.pack_cache_mount(NAME, &Earlier::default(), u64::MAX).unwrap().unwrap();
    packing.kept_as(&digest).unwrap();
    assert_eq!(store.cache_mount_state(NAME).unwrap(), MountState::CopyOf(digest.clone()));

    // Replaced by another one, because nobody used it.
    let packed = PackedMount { ..packing.mount.clone() };
    drop(packing);
    let (_other, other) = self::store();
    fs::write(used(&other).join("b"), "b").unwrap();
    let newer = pack(&other, &Earlier::default(), u64::MAX);
    assert!(unpack(&other, &store, &MountState::CopyOf(digest.clone()), &newer).unwrap());
    assert_eq!(fs::read_to_string(dir.join("b")).unwrap(), "b");
    assert!(!dir.join("a").exists());
    assert_eq!(leftovers(&store), 0);

    // Not what the caller saw any more.
    assert!(!unpack(&store, &store, &MountState::CopyOf(digest), &packed).unwrap());
    drop(used(&store));
    assert_eq!(store.cache_mount_state(NAME).unwrap(), MountState::Own);
}

#[test]
fn a_mount_in_use_is_neither_replaced_nor_taken_for_a_copy() {
    let (_dir, store) = store();
    fs::write(used(&store).join("a"), "a").unwrap();
    let open = store.open_cache_mount(NAME, Sharing::Shared).unwrap();
    let packing = store.pack_cache_mount(NAME, &Earlier::default(), u64::MAX).unwrap().unwrap();
    packing.kept_as(&Digest::of(b"kept")).unwrap();
    assert_eq!(store.cache_mount_state(NAME).unwrap(), MountState::Own);
    let packed = packing.mount.clone();
    drop(packing);
    assert!(!unpack(&store, &store, &MountState::Own, &packed).unwrap());
    drop(open);
    assert!(unpack(&store, &store, &MountState::Own, &packed).unwrap());
}

/// A pack made by hand.
fn forged(store: &Store, files: &[(&str, &str)]) -> Pack {
    let mut tar = TarWriter::new(LayerWriter::new(Vec::new(), Compression::ZSTD, None).unwrap());
    for (name, content) in files {
        let kind = EntryKind::File { size: content.len() as u64 };
        let mtime = Mtime::default();
        let entry = Entry { path: name.into(), kind, mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Default::default() };
        tar.append(&entry, &mut content.as_bytes()).unwrap();
    }
    let (bytes, _) = tar.finish().unwrap().finish().unwrap();
    Pack { blob: store.put_bytes(MediaType::LAYER_ZSTD, &bytes).unwrap(), size: 1 }
}

/// A listing with these lines, whatever they are.
fn forged_listing(lines: &str) -> Listing {
    let mut text = format!("cooper-listing 1\n{lines}").into_bytes();
    let sum = blake3::hash(&text).to_hex();
    text.extend_from_slice(format!("sum {sum}\n").as_bytes());
    Listing::decode(&zstd::encode_all(&text[..], 1).unwrap()).unwrap()
}

#[test]
fn hostile_packs_stay_in_the_mount_or_are_refused() {
    let (dir, store) = store();
    fs::create_dir(dir.path().join("canary")).unwrap();
    let canary = dir.path().join("canary");
    let hash = blake3::hash(b"evil").to_hex().to_string();
    let good = forged(&store, &[(&hash, "evil"), ("etc/passwd", "evil")]);
    let wrong = forged(&store, &[(&hash, "good")]);
    let out = canary.display();
    let cases: [(&str, String, &Pack, bool); 7] = [
        ("through a link", format!("l 777 0 0 1.000000000 a {out}\nf 644 0 0 1.000000000 a/x 4 {hash}\n"), &good, true),
        (
            "hard link out",
            format!("f 644 0 0 1.000000000 f 4 {hash}\nh 644 0 0 1.000000000 h ../../../canary\n"),
            &good,
            false,
        ),
        ("a device", "c 666 0 0 1.000000000 null 1:3\n".into(), &good, false),
        ("another content", format!("f 644 0 0 1.000000000 f 4 {hash}\n"), &wrong, false),
        ("a missing content", format!("f 644 0 0 1.000000000 f 4 {}\n", "0".repeat(64)), &good, false),
        (
            "too large",
            format!("f 644 0 0 1.000000000 f {} {hash}\nf 644 0 0 1.000000000 g 9 {hash}\n", u64::MAX),
            &good,
            false,
        ),
        ("another size", format!("f 644 0 0 1.000000000 f 9 {hash}\n"), &good, false),
    ];
    for (why, lines, pack, works) in cases {
        let (_other, other) = self::store();
        let mount =
            PackedMount { listing: forged_listing(&lines), packs: vec![pack.clone()], ..PackedMount::default() };
        let result = unpack(&store, &other, &MountState::Empty, &mount);
        assert_eq!(result.is_ok(), works, "{why}: {result:?}");
        assert_eq!(fs::read_dir(&canary).unwrap().count(), 0, "{why}");
        assert_eq!(leftovers(&other), 0, "{why}");
        if !works {
            assert_eq!(other.cache_mount_state(NAME).unwrap(), MountState::Empty, "{why}");
        }
    }
}

#[test]
fn a_pack_with_wrong_bytes_is_refused() {
    let (_dir, store) = store();
    fs::write(used(&store).join("a"), "a").unwrap();
    let packed = pack(&store, &Earlier::default(), u64::MAX);
    let (_other, other) = self::store();
    let size = packed.packs[0].blob.size as usize;
    let mut open = |_: &Descriptor| Ok(Box::new(std::io::Cursor::new(vec![0_u8; size])) as Box<dyn Read + Send>);
    let digest = Digest::of(b"x");
    let error = other.unpack_cache_mount(NAME, &MountState::Empty, &packed, &digest, &mut open).unwrap_err();
    assert_ne!(error.kind(), ErrorKind::Busy);
    assert_eq!(other.cache_mount_state(NAME).unwrap(), MountState::Empty);
    assert_eq!(leftovers(&other), 0);
}
