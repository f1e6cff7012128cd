//! Tars from and for other programs, hostile tars, and the round trip of everything an entry can say.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use cooper_oci::testing::{dir, entry, file, tar};
use cooper_oci::{Entry, EntryKind, ErrorKind, Mtime, Result, TarReader, TarWriter};
use proptest::prelude::*;

type Tree = Vec<(Entry, Vec<u8>)>;

fn read(bytes: &[u8]) -> Result<Tree> {
    let mut tar = TarReader::new(bytes);
    let mut tree = Tree::new();
    while let Some(entry) = tar.next_entry()? {
        let mut content = Vec::new();
        tar.read_to_end(&mut content).map_err(|error| cooper_oci::Error::io("cannot read", error))?;
        tree.push((entry, content));
    }
    tar.finish()?;
    Ok(tree)
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        let _ = io::Write::write_all(&mut io::stderr(), format!("skipped: no {program}\n").as_bytes());
    }
    found
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A raw header block with a right checksum.
fn block(name: &[u8], flag: u8, size: &[u8], edit: impl Fn(&mut [u8; 512])) -> Vec<u8> {
    let mut block = [0u8; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..107].copy_from_slice(b"0000644");
    block[124..124 + size.len()].copy_from_slice(size);
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    edit(&mut block);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.to_vec()
}

fn plain(name: &str, flag: u8, size: usize) -> Vec<u8> {
    block(name.as_bytes(), flag, format!("{size:011o}").as_bytes(), |_| {})
}

fn special(flag: u8, text: &[u8]) -> Vec<u8> {
    let mut out = plain("special", flag, text.len());
    out.extend_from_slice(text);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let record = |(key, value): &(&str, &str)| {
        let bare = key.len() + value.len() + 3;
        let length = (1..).find(|length: &usize| *length == bare + length.to_string().len()).unwrap();
        format!("{length} {key}={value}\n")
    };
    special(b'x', records.iter().map(record).collect::<String>().as_bytes())
}

const END: [u8; 1024] = [0; 1024];

#[test]
fn every_kind_of_entry_round_trips() {
    let mut odd = file("odd", b"x");
    odd.0.mode = 0o6755;
    odd.0.uid = 3_000_000_000;
    odd.0.gid = u32::MAX;
    odd.0.mtime = Mtime { secs: -2, nanos: 500_000_000 };
    odd.0.xattrs = BTreeMap::from([
        (b"security.capability".to_vec(), vec![1, 0, 0, 2, 0x0a, b'=', 0x0a]),
        (b"user.empty".to_vec(), Vec::new()),
    ]);
    let long = "d/".repeat(60) + &"n".repeat(200);
    let tree = vec![
        dir(""),
        dir("a"),
        odd,
        file(&long, &[7; 1000]),
        file("ünï", b""),
        (entry(&"p/".repeat(60).trim_end_matches('/').replace("p/p", "p/q"), EntryKind::Dir), vec![]),
        (Entry { path: PathBuf::from(OsStr::from_bytes(b"\xff\xfe")), ..entry("", EntryKind::Fifo) }, vec![]),
        (entry("s", EntryKind::Symlink { target: "../../etc/passwd".into() }), vec![]),
        (entry("t", EntryKind::Symlink { target: "x".repeat(300).into() }), vec![]),
        (entry("h", EntryKind::Hardlink { target: long.clone().into() }), vec![]),
        (entry("c", EntryKind::Char { major: 1, minor: 3 }), vec![]),
        (entry("b", EntryKind::Block { major: 259, minor: 100_000 }), vec![]),
    ];
    let bytes = tar(&tree);
    assert_eq!(read(&bytes).unwrap(), tree);
    assert_eq!(tar(&read(&bytes).unwrap()), bytes, "same bytes again");
}

#[test]
fn data_that_changes_while_read_is_an_error() {
    for content in [&b"abc"[..], b"abcde"] {
        let mut writer = TarWriter::new(Vec::new());
        let error = writer.append(&entry("f", EntryKind::File { size: 4 }), &mut &content[..]).unwrap_err();
        assert!(error.to_string().contains("`f` changed while it was read"), "{error}");
    }
}

#[test]
fn plain_entries_need_no_pax() {
    let path = "a/".repeat(70) + "file";
    let bytes = tar(&[file(&path, b"x")]);
    assert_eq!(bytes.len(), 512 * 4);
    assert_eq!(bytes[156], b'0');
}

#[test]
fn hostile_entries_are_errors() {
    let large = "9".repeat(30);
    for (what, bytes) in [
        ("leaves", plain("a/../../b", b'0', 0)),
        ("leaves", [pax(&[("path", "../x")]), plain("a", b'0', 0)].concat()),
        ("leaves", block(b"a", b'1', b"00000000000", |b| b[157..161].copy_from_slice(b"../x"))),
        ("no target", plain("a", b'1', 0)),
        ("target is empty", plain("a", b'2', 0)),
        ("NUL", [pax(&[("path", "a\0b")]), plain("a", b'0', 0)].concat()),
        ("unknown type", plain("a", b'Q', 0)),
        ("no file and yet", plain("a", b'6', 512)),
        ("checksum", vec![1; 512]),
        ("inside a block", plain("a", b'0', 0)[..100].to_vec()),
        ("inside an entry", plain("a", b'0', 10)),
        ("not a number", block(b"a", b'0', b"0000000009x", |_| {})),
        ("negative", block(b"a", b'0', &[0xff; 12], |_| {})),
        ("two extended", [pax(&[("uid", "1")]), pax(&[("uid", "2")]), plain("a", b'0', 0)].concat()),
        ("give another", [special(b'L', b"x\0"), pax(&[("path", "y")]), plain("a", b'0', 0)].concat()),
        ("describes no entry", [pax(&[("path", "y")]), END.to_vec()].concat()),
        ("malformed", [special(b'x', b"99 path=x\n"), plain("a", b'0', 0)].concat()),
        ("not a number", [pax(&[("size", &large)]), plain("a", b'0', 0)].concat()),
        ("not a number", [pax(&[("uid", "-1")]), plain("a", b'0', 0)].concat()),
        ("sets `path` twice", [pax(&[("path", "x"), ("path", "y")]), plain("a", b'0', 0)].concat()),
        ("half a sparse", [pax(&[("GNU.sparse.name", "x")]), plain("a", b'0', 0)].concat()),
        ("half a sparse", [pax(&[("GNU.sparse.name", "x"), ("GNU.sparse.size", "0")]), plain("a", b'5', 0)].concat()),
        ("name of a directory", plain("a/", b'7', 0)),
        ("device number", block(b"a", b'0', b"0", |b| b[330] = b'x')),
        ("mtime", [pax(&[("mtime", "1")]), block(b"a", b'0', b"0", |b| b[140] = b'x')].concat()),
        ("has no name", plain("", b'0', 0)),
        ("unknown type", plain("a", b'X', 0)),
        (
            "more than 1000000 regions",
            [
                pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "9")]),
                plain("a", b'0', 512),
                b"1000001\n".to_vec(),
                vec![0; 504],
            ]
            .concat(),
        ),
        ("global header sets", special(b'g', b"10 path=x\n")),
        ("followed by more", [vec![0; 512], plain("a", b'0', 0)].concat()),
        ("longer than", [special(b'L', &[b'a'; 5000]), plain("a", b'0', 0)].concat()),
        ("extended header has", plain("a", b'x', 2 << 20)),
        ("overlap", sparse("4,4,0,4", 8)),
        ("does not fit", sparse("0,9", 8)),
        ("too long", sparse("18446744073709551615,8", 8)),
        ("odd count", sparse("0,4,8", 8)),
        (
            "expands to",
            [pax(&[("GNU.sparse.size", "9000000000000"), ("GNU.sparse.map", "0,0")]), plain("a", b'0', 0)].concat(),
        ),
    ] {
        let error = read(&bytes).expect_err(what);
        assert!(format!("{error} {:?}", error).contains(what), "{error:?}, expected {what}");
    }
}

fn sparse(map: &str, size: usize) -> Vec<u8> {
    let records = [("GNU.sparse.size", "10"), ("GNU.sparse.map", map)];
    [pax(&records), plain("a", b'0', size), vec![b'x'; 512], END.to_vec()].concat()
}

/// CVE-2025-62518: the size of the PAX header decides where the next header is.
#[test]
fn pax_size_leaves_no_hidden_entries() {
    let hidden = plain("hidden", b'0', 0);
    let bytes =
        [pax(&[("size", "512")]), plain("a", b'0', 0), hidden.clone(), plain("b", b'0', 0), END.to_vec()].concat();
    let tree = read(&bytes).unwrap();
    let names: Vec<_> = tree.iter().map(|(entry, _)| entry.path.to_str().unwrap()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(tree[0].1, hidden);
}

#[test]
fn gentle_oddities_are_read() {
    for (bytes, path, kind) in [
        (plain("/abs", b'0', 0), "abs", EntryKind::File { size: 0 }),
        (plain("old/", 0, 0), "old", EntryKind::Dir),
        (plain("./", b'5', 0), "", EntryKind::Dir),
        (
            block(b"l", b'1', b"", |b| b[157..161].copy_from_slice(b"/etc")),
            "l",
            EntryKind::Hardlink { target: "etc".into() },
        ),
        (block(b"v7", b'0', b"0", |b| b[257..].fill(0)), "v7", EntryKind::File { size: 0 }),
        (block(b"n", b'0', b"", |b| b[345..350].copy_from_slice(b"pre/x")), "pre/x/n", EntryKind::File { size: 0 }),
        ([special(b'g', b"13 comment=x\n"), plain("g", b'7', 0)].concat(), "g", EntryKind::File { size: 0 }),
        ([pax(&[("path", "")]), plain("kept", b'0', 0)].concat(), "kept", EntryKind::File { size: 0 }),
    ] {
        let tree = read(&bytes).unwrap();
        assert_eq!((tree[0].0.path.as_path(), &tree[0].0.kind), (Path::new(path), &kind));
    }
}

#[test]
fn sparse_files_are_expanded() {
    let bytes = [
        pax(&[("GNU.sparse.size", "10"), ("GNU.sparse.map", "1,2,6,3")]),
        plain("a", b'0', 5),
        b"abcde".iter().copied().chain(std::iter::repeat_n(0, 507)).collect(),
        plain("b", b'0', 0),
        END.to_vec(),
    ]
    .concat();
    let tree = read(&bytes).unwrap();
    assert_eq!(tree[0].1, b"\0ab\0\0\0cde\0");
    assert_eq!(tree[1].0.path, Path::new("b"));
}

/// A tree that GNU tar finds hard: long names, links, holes, attributes.
fn hard_tree(root: &Path) {
    let deep = root.join("d".repeat(120)).join("e".repeat(120));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("f".repeat(100)), b"deep").unwrap();
    std::fs::hard_link(deep.join("f".repeat(100)), root.join("hard")).unwrap();
    std::os::unix::fs::symlink("t".repeat(150), root.join("soft")).unwrap();
    let holes = std::fs::File::create(root.join("holes")).unwrap();
    for number in 0..40u64 {
        std::os::unix::fs::FileExt::write_all_at(&holes, b"data", number * 200_000).unwrap();
    }
    holes.set_len(9_000_001).unwrap();
}

#[test]
fn reads_what_gnu_tar_writes() {
    if !has("tar") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    hard_tree(scratch.path());
    let holes = std::fs::read(scratch.path().join("holes")).unwrap();
    for options in [
        &["--format=gnu"][..],
        &["--format=gnu", "--sparse"],
        &["--format=posix"],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &["--format=posix", "--sparse", "--sparse-version=1.0"],
        &["--format=posix", "--xattrs", "--sparse"],
    ] {
        let bytes =
            run(Command::new("tar").args(options).args(["--sort=name", "-cf", "-", "."]).current_dir(scratch.path()));
        let tree = read(&bytes).unwrap_or_else(|error| panic!("{options:?}: {error}"));
        let find = |name: &str| {
            tree.iter()
                .find(|(entry, _)| entry.path == Path::new(name))
                .unwrap_or_else(|| panic!("{options:?}: {name}"))
        };
        assert_eq!(find("holes").1, holes, "{options:?}");
        assert_eq!(find("soft").0.kind, EntryKind::Symlink { target: "t".repeat(150).into() });
        let deep = PathBuf::from("d".repeat(120)).join("e".repeat(120)).join("f".repeat(100));
        assert_eq!(find(deep.to_str().unwrap()).1, b"deep");
        assert_eq!(find("hard").0.kind, EntryKind::Hardlink { target: deep });
        assert_eq!(tree.len(), 7, "{options:?}");
    }
}

#[test]
fn python_reads_what_is_written() {
    if !has("python3") {
        return;
    }
    let mut odd = file(&"long/".repeat(80), b"hello");
    odd.0.xattrs = BTreeMap::from([(b"user.a".to_vec(), b"1\n2".to_vec())]);
    odd.0.mtime = Mtime { secs: -5, nanos: 250_000_000 };
    odd.0.uid = 3_000_000_000;
    let bytes = tar(&[dir("d"), odd, (entry("s", EntryKind::Symlink { target: "é".into() }), vec![])]);
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("x.tar");
    std::fs::write(&path, bytes).unwrap();
    let script = "import tarfile,sys\nfor m in tarfile.open(sys.argv[1]): print(m.name[-9:], m.type, m.size, m.uid, m.mtime, repr(m.linkname), repr(m.pax_headers.get('SCHILY.xattr.user.a')))";
    let out = run(Command::new("python3").env("PYTHONIOENCODING", "utf-8").arg("-c").arg(script).arg(&path));
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "d b'5' 0 0 1700000000 '' None\nlong/long b'0' 5 3000000000 -4.75 '' '1\\n2'\ns b'2' 0 0 1700000000 'é' None\n"
    );
}

fn any_entry() -> impl Strategy<Value = (Entry, Vec<u8>)> {
    let name = proptest::collection::vec("[a-zA-Z0-9 .é\n=-]{1,60}", 1..8)
        .prop_filter("dot names are not clean", |parts| parts.iter().all(|part| part != "." && part != ".."))
        .prop_map(|parts| parts.join("/"));
    let target = "[a-z/.é\n]{1,150}";
    let kind = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..1500)
            .prop_map(|data| (EntryKind::File { size: data.len() as u64 }, data)),
        Just((EntryKind::Dir, vec![])),
        target.prop_map(|target| (EntryKind::Symlink { target: target.into() }, vec![])),
        name.clone().prop_map(|target| (EntryKind::Hardlink { target: target.into() }, vec![])),
        (0u32..1 << 21, 0u32..1 << 21).prop_map(|(major, minor)| (EntryKind::Char { major, minor }, vec![])),
    ];
    let xattrs = proptest::collection::btree_map(
        "user\\.[a-z]{1,20}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..50),
        0..3,
    );
    let mtime = (-10_000_000_000i64..20_000_000_000, prop_oneof![Just(0), 0..1_000_000_000u32]);
    (name, kind, 0u32..0o10000, any::<(u32, u32)>(), mtime, xattrs).prop_map(
        |(name, (kind, data), mode, (uid, gid), (secs, nanos), xattrs)| {
            (Entry { path: name.into(), kind, mode, uid, gid, mtime: Mtime { secs, nanos }, xattrs }, data)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(tree in proptest::collection::vec(any_entry(), 0..6)) {
        prop_assert_eq!(read(&tar(&tree)).unwrap(), tree);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(
        tree in proptest::collection::vec(any_entry(), 0..4),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        reseal: bool,
    ) {
        let mut bytes = tar(&tree);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
            if reseal {
                let block = &mut bytes[at / 512 * 512..][..512];
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        if let Err(error) = read(&bytes) {
            prop_assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::TooLarge), "{:?}", error);
        }
    }
}

/// T05: headers that only describe other headers take no memory, and end in an error or the end.
#[test]
fn floods_of_headers_are_read_in_place() {
    let global = special(b'g', b"15 mtime=12345\n20 comment=anything\n");
    let mut bytes = global.repeat(2_000);
    bytes.extend(plain("a", b'0', 0));
    let tree = read(&bytes).unwrap();
    assert_eq!(tree[0].0.mtime, Mtime { secs: 12345, nanos: 0 });
    assert!(read(&special(b'L', b"name\0").repeat(1_000)).is_err());
}
