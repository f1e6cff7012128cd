//! Packages unpacked, put together, configured: every rule, and what breaks it.

use std::collections::BTreeMap;
use std::path::Path;

use cooper_base::manifest::{Configure, Layers, ScriptRule, User};
use cooper_base::testing::{ar, control, deb, locked};
use cooper_base::{
    Filter, Given, Item, Layer, Lock, LockedRelease, Manifest, Result, Unpacked, arrange, check_scripts,
    declared_layer, dpkg, generate, unpack,
};
use cooper_oci::testing::{dir, entry, file, tar};
use cooper_oci::{Digest, Entry, EntryKind};

type Entries = Vec<(Entry, Vec<u8>)>;

/// Compresses.
type Pack<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

fn symlink(path: &str, target: &str) -> (Entry, Vec<u8>) {
    (entry(path, EntryKind::Symlink { target: target.into() }), Vec::new())
}

fn hardlink(path: &str, target: &str) -> (Entry, Vec<u8>) {
    (entry(path, EntryKind::Hardlink { target: target.into() }), Vec::new())
}

fn unpack_with(manifest: &Manifest, deb: &[u8]) -> Result<Unpacked> {
    unpack(&locked(deb), deb, &Filter::new(manifest)?, tempfile::tempfile().unwrap())
}

/// A package unpacked, with further lines of its paragraph.
fn package(name: &str, more: &str, entries: &Entries) -> Unpacked {
    unpack_with(&Manifest::default(), &deb(&control(name, "1", more), &[], entries)).unwrap()
}

/// Path and content of everything in a layer but directories.
fn shown(layer: &Layer) -> Vec<String> {
    let text = |item: &Item| {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut item.open(), &mut text).unwrap();
        text
    };
    let one = |item: &Item| match &item.entry.kind {
        EntryKind::File { .. } => Some(format!("{}: {}", item.path().display(), text(item))),
        EntryKind::Symlink { target } => Some(format!("{} -> {}", item.path().display(), target.display())),
        EntryKind::Hardlink { target } => Some(format!("{} = {}", item.path().display(), target.display())),
        _ => None,
    };
    layer.items.iter().filter_map(one).collect()
}

fn layer_of(packages: &[Unpacked]) -> Vec<String> {
    let layers = arrange(packages, &Layers::Single).unwrap();
    assert_eq!(layers.len(), 1);
    shown(&layers[0])
}

#[test]
fn every_compression_of_a_package_is_read() {
    let control_tar = tar(&[file("control", control("p", "1", "").as_bytes())]);
    let data_tar = tar(&[file("f", b"x")]);
    let gzip = |bytes: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut out, bytes).unwrap();
        out.finish().unwrap()
    };
    let xz = |bytes: &[u8]| {
        let mut out = liblzma::write::XzEncoder::new(Vec::new(), 1);
        std::io::Write::write_all(&mut out, bytes).unwrap();
        out.finish().unwrap()
    };
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let plain = |bytes: &[u8]| bytes.to_vec();
    let ways: [(&str, Pack<'_>); 4] = [("", &plain), (".gz", &gzip), (".xz", &xz), (".zst", &zstd)];
    for (extension, pack) in ways {
        let names = (format!("control.tar{extension}"), format!("data.tar{extension}"));
        let members = [("debian-binary", &b"2.0\n"[..]), (&names.0, &pack(&control_tar)), (&names.1, &pack(&data_tar))];
        assert_eq!(layer_of(&[unpack_with(&Manifest::default(), &ar(&members)).unwrap()]), ["f: x"], "{extension}");
    }
}

/// The error of a .deb that the lock calls `p` 1.
fn refused(bytes: &[u8]) -> String {
    let mut package = locked(&deb(&control("p", "1", ""), &[], &[]));
    package.digest = Digest::of(bytes);
    let outcome = unpack(&package, bytes, &Filter::default(), tempfile::tempfile().unwrap());
    outcome.map(|unpacked| panic!("{:?}", unpacked.items)).unwrap_err().to_string()
}

#[test]
fn what_is_no_package_is_refused_with_its_name() {
    let whole = deb(&control("p", "1", ""), &[], &[file("f", b"x")]);
    let (control_tar, data_tar) = (tar(&[file("control", b"Package: p\n")]), tar(&[]));
    let members = |rest: &[(&str, &[u8])]| ar(&[&[("debian-binary", &b"2.0\n"[..])], rest].concat());
    for (deb, expect) in [
        (Vec::new(), "too short for a package"),
        (b"PK\x03\x04 a zip file".to_vec(), "not an ar archive"),
        (whole[..whole.len() - 1800].to_vec(), "data.tar"),
        (ar(&[("debian-binary", b"3.0\n")]), "not version 2"),
        (members(&[("data.tar", &data_tar)]), "`data.tar` where control.tar should be"),
        (members(&[("control.tar", &control_tar)]), "has no data.tar"),
        (members(&[("control.tar.lzma", &control_tar)]), "`control.tar.lzma` where"),
        (members(&[("control.tar", &data_tar), ("data.tar", &data_tar)]), "no control file"),
        (members(&[("control.tar.xz", b"\xfd7zXZ\0broken"), ("data.tar", b"")]), "control.tar"),
        (deb(&control("q", "1", ""), &[], &[]), "it says `Package: q` of itself, the lock file says `p`"),
        (deb(&control("p", "2", ""), &[], &[]), "it says `Version: 2`"),
    ] {
        let error = refused(&deb);
        assert!(error.starts_with("package p 1: ") && error.contains(expect), "{error} for {expect}");
    }
}

#[test]
fn hostile_entries_are_refused() {
    let device = (entry("dev/x", EntryKind::Char { major: 1, minor: 3 }), Vec::new());
    for (entries, expect) in [
        (vec![device], "`/dev/x` is a device"),
        (vec![(entry("p", EntryKind::Fifo), Vec::new())], "`/p` is a device or a pipe"),
        (vec![symlink("etc", "/tmp"), file("etc/passwd", b"x")], "`/etc/passwd` lies below `/etc`"),
        (vec![file("a", b""), file("a/b", b"x")], "`/a/b` lies below `/a`"),
        (vec![file("a", b"1"), file("a", b"2")], "`/a` is there twice"),
        (vec![dir("a"), symlink("a", "/etc")], "`/a` is there twice"),
        (vec![hardlink("a", "etc/shadow")], "`/a` is a link to no file before it"),
        (vec![symlink("a", "/etc/shadow"), hardlink("b", "a")], "`/b` is a link to no file before it"),
        (
            vec![file("lib/x", b"1"), file("usr/lib/x", b"2")],
            "`/usr/lib/x` is there twice once /bin and /lib are links",
        ),
    ] {
        let error = refused(&deb(&control("p", "1", ""), &[], &entries));
        assert!(error.contains(expect), "{error} for {expect}");
    }
}

#[test]
fn paths_are_those_of_a_merged_usr() {
    let entries = vec![
        dir("lib"),
        dir("bin"),
        file("bin/sh", b"sh"),
        hardlink("bin/dash", "bin/sh"),
        file("lib/ld.so", b"ld"),
        file("usr/bin/x", b"x"),
    ];
    let items = layer_of(&[package("p", "", &entries)]);
    assert_eq!(items, ["usr/bin/dash: sh", "usr/bin/sh = usr/bin/dash", "usr/bin/x: x", "usr/lib/ld.so: ld"]);
}

#[test]
fn the_links_of_newer_base_files_are_the_ones_that_are_made() {
    let entries = vec![symlink("lib", "usr/lib"), symlink("bin", "usr/bin"), file("usr/bin/x", b"x")];
    assert_eq!(layer_of(&[package("base-files", "", &entries)]), ["usr/bin/x: x"]);
}

#[test]
fn what_is_left_out_takes_its_links_and_directories_along() {
    let manifest = Manifest { path_exclude: vec!["/usr/share/doc/*".into()], ..Manifest::default() };
    let entries = vec![
        dir("usr/share/doc/p/examples"),
        file("usr/share/doc/p/README", b"r"),
        hardlink("usr/share/p.txt", "usr/share/doc/p/README"),
        file("usr/share/doc/p/copyright", b"c"),
    ];
    let unpacked = unpack_with(&manifest, &deb(&control("p", "1", ""), &[], &entries)).unwrap();
    let layers = arrange(std::slice::from_ref(&unpacked), &Layers::Single).unwrap();
    assert_eq!(shown(&layers[0]), ["usr/share/doc/p/copyright: c", "usr/share/p.txt: r"]);
    assert!(layers[0].items.iter().all(|item| !item.path().ends_with("examples")));
}

#[test]
fn one_path_of_two_packages_is_an_error_by_dpkgs_rules() {
    let entries = |content: &str| vec![file("etc/x", content.as_bytes())];
    let error = |a: Unpacked, b: Unpacked| arrange(&[a, b], &Layers::Single).unwrap_err().to_string();
    let with = |name: &str, entry: (Entry, Vec<u8>)| package(name, "", &vec![entry]);
    let same = error(package("aa", "", &entries("1")), package("bb", "", &entries("1")));
    assert_eq!(same, "packages aa and bb both hold `/etc/x`");
    let disagree = "packages aa and bb do not agree on what is at `/etc`";
    assert_eq!(error(with("aa", symlink("etc", "/tmp")), package("bb", "", &entries("1"))), disagree);
    assert_eq!(error(with("aa", file("etc", b"")), with("bb", dir("etc"))), disagree);
    // One replaces the other's files, in versions up to the one named.
    for (more_a, more_b, expect) in [("Replaces: bb\n", "", "a"), ("", "Replaces: xx, aa (<< 2)\n", "b")] {
        let both = [package("aa", more_a, &entries("a")), package("bb", more_b, &entries("b"))];
        assert_eq!(layer_of(&both), [format!("etc/x: {expect}")]);
    }
    let old = package("bb", "Replaces: aa (<< 1)\n", &entries("b"));
    assert!(error(package("aa", "", &entries("a")), old).contains("both hold"));
}

#[test]
fn layers_as_declared_and_each_with_its_directories() {
    let packages = ["b", "a", "c"].map(|name| package(name, "", &vec![file(&format!("usr/{name}"), name.as_bytes())]));
    let of = |layers: Layers| {
        let layers = arrange(&packages, &layers).unwrap();
        assert!(layers.iter().all(|layer| layer.items[0].path() == Path::new("usr")));
        layers.iter().map(|layer| format!("{}: {}", layer.title, shown(layer).join(" "))).collect::<Vec<_>>()
    };
    assert_eq!(of(Layers::Single), ["packages: usr/a: a usr/b: b usr/c: c"]);
    assert_eq!(of(Layers::PerPackage), ["a 1: usr/a: a", "b 1: usr/b: b", "c 1: usr/c: c"]);
    assert_eq!(of(Layers::PerSource), of(Layers::PerPackage));
    assert_eq!(of(Layers::Groups(vec![vec!["a".into()]])), ["packages: usr/b: b usr/c: c", "a: usr/a: a"]);
}

#[test]
fn an_empty_directory_has_those_above_it() {
    let layers = arrange(&[package("p", "", &vec![dir("var/lib/x")])], &Layers::Single).unwrap();
    let paths: Vec<_> = layers[0].items.iter().map(|item| item.path().display().to_string()).collect();
    assert_eq!(paths, ["var", "var/lib", "var/lib/x"]);
}

#[test]
fn base_files_says_what_a_directory_is() {
    let with_mode = |mode| {
        let (entry, data) = dir("tmp");
        vec![(Entry { mode, ..entry }, data)]
    };
    let packages = [package("a", "", &with_mode(0o755)), package("base-files", "", &with_mode(0o1777))];
    for layers in [Layers::Single, Layers::PerPackage] {
        for layer in arrange(&packages, &layers).unwrap() {
            assert_eq!(layer.items[0].entry.mode, 0o1777);
        }
    }
}

#[test]
fn declared_files_take_the_place_of_scripts() {
    let zone = package("tzdata", "", &vec![file("usr/share/zoneinfo/Etc/UTC", b"TZif")]);
    let pem = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
    let pems = ["b", "a"].map(|name| file(&format!("usr/share/ca-certificates/{name}.crt"), pem));
    let manifest = Manifest {
        timezone: Some("Etc/UTC".into()),
        links: BTreeMap::from([("/bin/x".into(), "x-{architecture}".into())]),
        alternatives: BTreeMap::from([("zone".into(), "/usr/share/zoneinfo/Etc/UTC".into())]),
        ..Manifest::default()
    };
    let packages = [zone, package("ca-certificates", "", &pems.into())];
    let items = generate(&manifest, "amd64", &packages, &Given::default()).unwrap();
    let files = shown(&declared_layer("declared", items, &packages));
    for expect in [
        "bin -> usr/bin",
        "etc/localtime -> /usr/share/zoneinfo/Etc/UTC",
        "etc/timezone: Etc/UTC\n",
        "etc/alternatives/zone -> /usr/share/zoneinfo/Etc/UTC",
        "usr/bin/zone -> /etc/alternatives/zone",
        "usr/bin/x -> x-amd64",
        "usr/lib/ssl/cert.pem -> /etc/ssl/certs/ca-certificates.crt",
    ] {
        assert!(files.iter().any(|file| file == expect), "{expect} in {files:#?}");
    }
    let has = |start: &str| files.iter().any(|file| file.starts_with(start));
    assert!(has("var/lib/dpkg/status.d/tzdata: Package: tzdata\n") && has("etc/nsswitch.conf: "));
    let bundle = files.iter().find(|file| file.starts_with("etc/ssl/certs/ca-certificates.crt")).unwrap();
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(!has("etc/ld.so.cache") && !has("etc/ssl/certs/java"));
}

#[test]
fn what_cannot_be_declared_is_refused() {
    let zone = |zone: &str| Manifest { timezone: Some(zone.into()), ..Manifest::default() };
    let pair = |a: &str, b: &str| BTreeMap::from([(a.to_owned(), b.to_owned())]);
    let alternative = |name: &str, path: &str| Manifest { alternatives: pair(name, path), ..Manifest::default() };
    let link = |path: &str| Manifest { links: pair(path, "x"), ..Manifest::default() };
    let packages = [package("p", "", &vec![file("usr/share/zoneinfo/UTC", b""), file("usr/bin/taken", b"")])];
    for (manifest, expect) in [
        (zone("Mars/Base"), "there is no such zone"),
        (zone("../../../etc/passwd"), "there is no such zone"),
        (alternative("a/b", "/usr/bin/taken"), "it is a name, not a path"),
        (alternative("editor", "/usr/bin/vi"), "`/usr/bin/vi` is in no package"),
        (alternative("taken", "/usr/bin/taken"), "a package holds /usr/bin of that name"),
        (link("relative"), "`relative` is not an absolute path"),
        (link("/a/../../b"), "is not an absolute path"),
        (Manifest { byte_compile: Some(true), ..Manifest::default() }, "`byte-compile` needs Python to run"),
    ] {
        let error = generate(&manifest, "amd64", &packages, &Given::default()).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }
}

#[test]
fn an_unknown_script_names_its_package() {
    let script = [("postinst", "#!/bin/sh\nadduser somebody\n")];
    let unpacked = unpack_with(&Manifest::default(), &deb(&control("p", "1", ""), &script, &[])).unwrap();
    let error = check_scripts(&Manifest::default(), std::slice::from_ref(&unpacked)).unwrap_err();
    assert_eq!(error.to_string(), "package p 1: its postinst script is not known (1 lines that do something)");
    let scripts = BTreeMap::from([("p".to_owned(), ScriptRule::Ignore)]);
    check_scripts(&Manifest { scripts, ..Manifest::default() }, &[unpacked]).unwrap();
}

fn empty_lock() -> Lock {
    Lock { version: 1, inputs: Digest::of(b""), releases: BTreeMap::new(), packages: BTreeMap::new() }
}

fn run_manifest() -> Manifest {
    let user = User { name: "app".into(), uid: 7, gid: None, home: None, shell: None, gecos: None };
    Manifest { configure: Some(Configure::Run), users: vec![user], ..Manifest::default() }
}

/// What `configure: run` needs of its packages, and a package with everything that dpkg notes.
fn dpkg_packages() -> Vec<Unpacked> {
    let text = control("p", "1", "Multi-Arch: same\n");
    let scripts = [
        ("conffiles", "/etc/p.conf\n"),
        ("preinst", "#!/bin/sh\n"),
        ("triggers", "interest-noawait /etc/p.d\ninterest named\nactivate-noawait ldconfig\nactivate named\n"),
    ];
    let files = [file("etc/p.conf", b"x\n"), dir("etc/p.d"), file("etc/p.d/q", b"")];
    let p = unpack_with(&Manifest::default(), &deb(&text, &scripts, &files)).unwrap();
    vec![p, package("dpkg", "", &vec![file("bin/sh", b""), file("usr/bin/dpkg", b"")])]
}

#[test]
fn dpkg_finds_packages_unpacked() {
    let packages = dpkg_packages();
    let items = dpkg::items(&run_manifest(), "amd64", &empty_lock(), &packages, &Given::default()).unwrap();
    let files = shown(&declared_layer("", items, &packages));
    let file = |name: &str| {
        let start = format!("var/lib/dpkg/{name}: ");
        files.iter().find_map(|file| file.strip_prefix(&start)).unwrap_or_else(|| panic!("{name} in {files:#?}"))
    };
    let status = file("status");
    assert!(status.starts_with("Package: p\nStatus: install ok unpacked\nVersion: 1\n"), "{status}");
    // The sum is `printf 'x\n' | md5sum`.
    let conffiles = "Conffiles:\n /etc/p.conf 401b30e3b8b5d629635a5c613cdb7919\n\nPackage: dpkg\n";
    assert!(status.contains(conffiles), "{status}");
    assert_eq!(file("info/p:all.list"), "/.\n/etc/p.conf\n/etc/p.d\n/etc/p.d/q\n");
    assert_eq!(file("triggers/File"), "/etc/p.d p:all/noawait\n");
    assert_eq!(file("triggers/named"), "p:all\n");
}

#[test]
fn apts_sources_are_those_of_the_lock() {
    let release = LockedRelease {
        uri: "http://mirror".into(),
        suite: "noble".into(),
        origin: Some("Ubuntu".into()),
        components: vec!["main".into()],
        date: 0,
        digest: Digest::of(b""),
        signed_by: vec![],
    };
    let lock = Lock { releases: BTreeMap::from([("noble".into(), release)]), ..empty_lock() };
    let keyring = "usr/share/keyrings/ubuntu-archive-keyring.gpg";
    let mut packages = dpkg_packages();
    packages.push(package("apt", "", &vec![file("usr/bin/apt-get", b""), file(keyring, b"")]));
    let items = dpkg::items(&run_manifest(), "amd64", &lock, &packages, &Given::default()).unwrap();
    let expect = format!(
        "etc/apt/sources.list.d/ubuntu.sources: Types: deb\nURIs: http://mirror\nSuites: noble\nComponents: main\n\
         Signed-By: /{keyring}\n"
    );
    let files = shown(&declared_layer("", items, &packages));
    assert!(files.contains(&expect), "{files:#?}");
}

#[test]
fn what_unpacking_would_have_started_is_run() {
    let script = dpkg::configure_step(&dpkg_packages(), &run_manifest()).unwrap().script;
    for expect in ["/var/lib/dpkg/info/'p:all'.preinst install", "'/etc/p.d'\n", "'named'\n", "--configure --pending"] {
        assert!(script.contains(expect), "{expect} in {script}");
    }
    // Nobody waits for it.
    assert!(!script.contains("'ldconfig'"));
    assert!(script.contains("printf '%s\\n' 'app:x:7:7:app:/nonexistent:/usr/sbin/nologin' >> /etc/passwd"));
}

#[test]
fn dpkg_needs_itself_and_a_shell() {
    let packages = [package("p", "", &vec![])];
    let error = dpkg::items(&run_manifest(), "amd64", &empty_lock(), &packages, &Given::default()).unwrap_err();
    assert_eq!(error.to_string(), "`configure: run` needs a shell and dpkg among the packages");
}

#[test]
fn presets_are_read_with_all_they_extend() {
    for name in cooper_base::presets::NAMES {
        let manifest = Manifest::load(&cooper_base::Origin::Preset(name)).unwrap();
        let own_name = format!("base/{name}");
        assert!(manifest.tags.contains(&own_name) && manifest.to_yaml().unwrap().contains("suite: bookworm"), "{name}");
    }
}
