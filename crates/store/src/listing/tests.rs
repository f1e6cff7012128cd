//! Listings and trees as text.

use super::*;

/// `d a`, `f a/x`, `l a/l ../b`, `h new old`, `w gone`, `o dir`: one a line; modes and owners do not matter here.
fn listing(text: &str) -> Listing {
    let mut builder = ListingBuilder::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut fields = line.split(' ');
        let (tag, path) = (fields.next().unwrap(), Path::new(fields.next().unwrap()));
        let target = || PathBuf::from(line.rsplit(' ').next().unwrap());
        let kind = match tag {
            "w" => {
                builder.remove(path).unwrap();
                continue;
            }
            "o" => {
                builder.set_opaque(path).unwrap();
                continue;
            }
            "d" => EntryKind::Dir,
            "l" => EntryKind::Symlink { target: target() },
            "h" => EntryKind::Hardlink { target: target() },
            _ => EntryKind::File { size: 1 },
        };
        let mut record = Record::implied(path);
        record.implied = false;
        record.entry.kind = kind;
        record.entry.mode = fields.next().and_then(|mode| u32::from_str_radix(mode, 8).ok()).unwrap_or(0o755);
        builder.put(record).unwrap();
    }
    builder.finish()
}

fn short(listing: &Listing) -> String {
    let text = String::from_utf8(listing.text()).unwrap();
    let line = |line: &str| {
        let fields: Vec<_> = line.split(' ').collect();
        if fields.len() == 2 { line.to_owned() } else { format!("{} {}", fields[0], fields[5]) }
    };
    text.lines().map(line).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_builder_settles_order_and_duplicates() {
    for (input, expected) in [
        ("f a/b/c", "i a, i a/b, f a/b/c"),
        ("f a/b\nd a", "d a, f a/b"),
        ("d a\nf a/b\nf a", "f a"),
        ("f a\nf a/b", "i a, f a/b, o a"),
        ("l a /etc\nf a/passwd", "i a, f a/passwd, o a"),
        ("w a\nf a", "f a"),
        ("w a\nd a", "d a, o a"),
        ("d a\nw a", "d a, o a"),
        ("f a\nw a", "f a"),
        ("w a/b", "i a, w a/b"),
        ("o a", "i a, o a"),
        ("f a\nh b a\nh c a\nf a", "f a, f b, h c"),
        ("d d\nf d/a\nh b d/a\nf d", "f b, f d"),
        ("f a\nh b a\nd a", "d a, f b, o a"),
        ("f b\nf a.b\nd a\nf a/b", "d a, f a/b, f a.b, f b"),
    ] {
        assert_eq!(short(&listing(input)), expected, "{input}");
    }
}

#[test]
fn a_layer_knows_whether_it_needs_its_chain() {
    for (input, needs) in [
        ("d a\nf a/b", false),
        ("f a/b", true),
        ("f a\nh b a", false),
        ("h b a", true),
        ("w a", false),
        ("w a/b", true),
    ] {
        assert_eq!(listing(input).needs_chain(), needs, "{input}");
    }
}

#[test]
fn hostile_paths_are_refused() {
    for path in ["../x", "/x", "a/../b", "./a\0", &"a".repeat(256), &"a/".repeat(3000)] {
        assert!(ListingBuilder::new().remove(Path::new(path)).is_err(), "{path}");
        assert!(ListingBuilder::new().put(Record::implied(Path::new(path))).is_err(), "{path}");
    }
}

#[test]
fn the_file_form_round_trips() {
    let mut listing = listing("d a\nf a/b\nl a/l ../b\nh a/h a/b\nw gone\no a");
    let odd = PathBuf::from("a/\u{1} \\=\n");
    let mut record = listing.records[1].clone();
    record.entry.path = odd;
    record.entry.mtime = Mtime { secs: -1, nanos: 5 };
    record.entry.xattrs.insert(b"user.a=b c".to_vec(), vec![]);
    record.entry.xattrs.insert(b"security.capability".to_vec(), vec![0, 10, 255]);
    record.digest = Some([7; 32]);
    listing.records.push(record);
    listing.records.sort_by(|a, b| a.path().cmp(b.path()));
    let bytes = listing.encode().unwrap();
    assert_eq!(Listing::decode(&bytes).unwrap(), listing);
}

#[test]
fn damaged_file_forms_are_corrupt_and_never_panic() {
    let whole = listing("d a\nf a/b");
    let bytes = whole.encode().unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x15;
        match Listing::decode(&damaged) {
            // Some bits of a zstd header change nothing that is read.
            Ok(found) => assert_eq!(found, whole, "byte {at}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}"),
        }
        assert!(Listing::decode(&bytes[..at]).is_err());
    }
    for body in [
        "cooper-listing 2\n",
        "cooper-listing 1\nf 644\n",
        "cooper-listing 1\nw b\nw a\n",
        "cooper-listing 1\nw ../a\n",
    ] {
        let text = format!("{body}sum {}\n", blake3::hash(body.as_bytes()).to_hex());
        assert!(Listing::decode(&zstd::encode_all(text.as_bytes(), 1).unwrap()).is_err(), "{body}");
    }
}

fn tree(layers: &[&str]) -> Tree {
    Tree::new(layers.iter().map(|text| std::sync::Arc::new(listing(text))).collect())
}

fn walk(tree: &Tree) -> String {
    let names = tree.walk(Path::new("")).into_iter().map(|record| record.path().display().to_string());
    names.collect::<Vec<_>>().join(" ")
}

#[test]
fn trees_merge_as_overlayfs_does() {
    for (layers, expected) in [
        (&["d a\nf a/x\nf b", "d a\nf a/y"][..], "a a/x a/y b"),
        (&["d a\nf a/x", "w a/x\nd a"], "a"),
        (&["d a\nf a/x\nd a/d\nf a/d/e", "d a\no a\nf a/y"], "a a/y"),
        (&["d a\nf a/x", "w a", "d a\nf a/z"], "a a/z"),
        (&["d a\nf a/x", "f a", "d a\nf a/z"], "a a/z"),
        (&["d a\nd a/b\nf a/b/c", "f a/b/d"], "a a/b a/b/c a/b/d"),
        (&["f x", "", "w x"], ""),
    ] {
        let tree = tree(layers);
        assert_eq!(walk(&tree), expected, "{layers:?}");
        for record in tree.walk(Path::new("")) {
            assert_eq!(tree.lookup(record.path()), Some(record), "{layers:?}");
        }
    }
}

#[test]
fn hidden_paths_are_not_found() {
    let tree = tree(&["d a\nd a/b\nf a/b/c\nf z", "w a\nl z /", "f other"]);
    for path in ["a", "a/b", "a/b/c", "z/a", "none"] {
        assert!(tree.lookup(Path::new(path)).is_none(), "{path}");
    }
    assert!(tree.children(Path::new("a")).is_empty());
}

#[test]
fn implied_directories_take_the_attributes_below() {
    let tree = tree(&["d a 700", "f a/x", "f a/y"]);
    assert_eq!(tree.lookup(Path::new("a")).unwrap().entry.mode, 0o700);
    let covered = self::tree(&["f a", "f a/x"]);
    assert!(covered.lookup(Path::new("a")).unwrap().implied);
}

#[test]
fn links_are_followed_inside() {
    let tree =
        tree(&["d usr\nd usr/lib\nf usr/lib/x\nl lib usr/lib\nl loop loop", "l app /lib/../lib\nl up ../../../lib"]);
    for (path, expected) in [
        ("/lib/x", "usr/lib/x"),
        ("app/x", "usr/lib/x"),
        ("up/./x", "usr/lib/x"),
        ("none/../lib/y", "usr/lib/y"),
        ("/", ""),
    ] {
        assert_eq!(tree.resolve(Path::new(path)).unwrap(), Path::new(expected), "{path}");
    }
    assert!(tree.resolve(Path::new("loop/x")).is_err());
}

#[test]
fn hard_links_lead_to_their_content_even_when_the_name_is_gone() {
    let tree = tree(&["f a", "h b a", "w a", "h c b"]);
    let (layer, record) = tree.inode(Path::new("c")).unwrap();
    assert_eq!((layer, record.path()), (0, Path::new("a")));
    assert!(self::tree(&["h a b\nh b a"]).inode(Path::new("a")).is_none());
}
