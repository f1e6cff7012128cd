//! `cooper base`: images from packages that the tests make themselves; no archive is asked for anything.

use std::os::unix::fs::PermissionsExt;

use cooper_base::testing::{control, deb};
use cooper_oci::testing::{dir, entry, file};
use cooper_oci::{Entry, EntryKind};

use crate::harness::{Cooper, Out};

/// A declared file of two packages: a shell, and a file for it.
const DECLARED: &str = "packages: [tool, data]
users:
  - {name: root, uid: 0, home: /root}
  - {name: app, uid: 1000, home: /home/app}
files: [{path: /etc/motd, text: hello}]
links: {/bin/seq: busybox}
config: {env: {PATH: /bin}, user: app, cmd: [sh, -c, cat /etc/data]}
";

/// An image that dpkg configures; this dpkg only says that it was asked to.
const CONFIGURED: &str = "packages: [dpkg]
configure: run
path-exclude: [/usr/share/man/*]
users: [{name: app, uid: 1000}]
config: {env: {PATH: /bin}}
";

/// The copyright file of `data`.
const COPYRIGHT: (&str, &[u8]) = (
    "usr/share/doc/data/copyright",
    b"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n\
      Files: *\nCopyright: nobody\nLicense: Expat or own\n",
);

const DPKG: &str = "#!/bin/sh
echo \"$@\" > /etc/asked
echo configuring
echo \"update-alternatives: error: alternative path /usr/share/man/man1/x doesn't exist\" >&2
echo \"update-alternatives: error: alternative path /usr/bin/x doesn't exist\" >&2
[ -e /etc/passwd ] || exit 7
";

fn executable(path: &str, bytes: &[u8]) -> (Entry, Vec<u8>) {
    let (entry, bytes) = file(path, bytes);
    (Entry { mode: 0o755, ..entry }, bytes)
}

fn link(path: &str, target: &str) -> (Entry, Vec<u8>) {
    (entry(path, EntryKind::Symlink { target: target.into() }), Vec::new())
}

/// What `configure: run` needs of its packages. Debian's shell and not busybox, which would be dpkg itself.
fn dpkg(busybox: &[u8]) -> Vec<(Entry, Vec<u8>)> {
    let mut entries = vec![executable("usr/bin/dpkg", DPKG.as_bytes()), executable("bin/busybox", busybox)];
    entries.extend(["etc", "run", "var/lib/apt/lists", "var/log"].map(dir));
    entries.extend([file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n"), file("etc/group", b"root:x:0:\n")]);
    entries.extend(["rm", "find", "chmod", "grep", "ls", "cat"].map(|name| link(&format!("bin/{name}"), "busybox")));
    let libraries = std::process::Command::new("ldd").arg("/bin/dash").output().unwrap();
    let libraries = String::from_utf8(libraries.stdout).unwrap();
    for path in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        entries.push(executable(&path[1..], &std::fs::read(path).unwrap()));
    }
    entries.push(executable("bin/sh", &std::fs::read("/bin/dash").unwrap()));
    entries
}

/// A package with `arch` in the place of `all`.
fn native(name: &str, arch: &str) -> Vec<u8> {
    let text = control(name, "1", "").replace("Architecture: all", &format!("Architecture: {arch}"));
    deb(&text, &[], &[dir("etc"), file("etc/arch", arch.as_bytes())])
}

/// A world with a declared file and the packages `tool`, `data`, `rival` (one path with `data`), `scripted`, `dpkg`, and
/// `native` for two architectures.
fn world(mut cooper: Cooper) -> Cooper {
    let busybox = std::fs::read("/bin/busybox").unwrap_or_default();
    let shell = link("bin/sh", "busybox");
    let os_release = file("usr/lib/os-release", b"ID=examplix\nVERSION_ID=\"7\"\n");
    let data = [dir("etc"), file("etc/data", b"from a package\n"), os_release, file(COPYRIGHT.0, COPYRIGHT.1)];
    let script = [("postinst", "#!/bin/sh\nadduser somebody\n")];
    for (name, bytes) in [
        ("dpkg", deb(&control("dpkg", "1", ""), &[], &dpkg(&busybox))),
        ("native-amd64", native("native", "amd64")),
        ("native-arm64", native("native", "arm64")),
        ("tool", deb(&control("tool", "1", ""), &[], &[executable("bin/busybox", &busybox), shell])),
        ("data", deb(&control("data", "1", "Depends: tool\n"), &[], &data)),
        ("rival", deb(&control("rival", "1", ""), &[], &data)),
        ("scripted", deb(&control("scripted", "1", ""), &script, &[])),
    ] {
        cooper.put(&format!("../debs/{name}.deb"), bytes);
    }
    std::fs::create_dir_all(cooper.path("../apt")).unwrap();
    cooper.put("base.yaml", DECLARED);
    let apt = cooper.text("../apt");
    cooper.env.push(("COOPER_APT_DIR".into(), apt));
    cooper
}

fn build(cooper: &Cooper, args: &[&str]) -> Out {
    let debs = cooper.text("../debs");
    cooper.run(&[&["base", "build", "--deb-dir", &debs], args].concat())
}

#[test]
fn a_declared_file_becomes_an_image_that_runs() {
    let Some(cooper) = Cooper::new().map(world) else { return };
    let out = build(&cooper, &["-t", "app"]).ok();
    assert!(
        out.stderr.contains("it is made first") && out.stderr.contains("as app:latest for linux/"),
        "{}",
        out.stderr
    );
    assert_eq!(cooper.run(&["run", "app"]).ok().stdout, "from a package\n");
    let said = cooper.sh("app", "whoami; cat /etc/motd; ls -ld /bin | cut -c1-10; test -L /usr/bin/seq && seq 1");
    assert_eq!(said, "app\nhellolrwxrwxrwx\n1\n");
    assert_eq!(cooper.inspect("app")["Config"]["User"], "app");
    let names = cooper.sh("app", "ls /var/lib/dpkg/status.d");
    assert_eq!(names, "data\ntool\n");
    // From the lock alone, and found.
    let again = cooper.run(&["base", "build", "--locked", "--offline", "-t", "app"]).ok();
    assert!(again.stderr.contains("CACHED"), "{}", again.stderr);
}

#[test]
fn a_dockerfile_stands_on_a_declared_file() {
    let Some(cooper) = Cooper::new().map(world) else { return };
    build(&cooper, &["-q"]).ok();
    let dockerfile =
        "FROM base:./base.yaml AS a\nRUN echo $((6 * 7)) > /tmp/answer\nFROM other\nCOPY --from=a /tmp/answer /\n";
    let out = cooper.build(dockerfile, &["-t", "x", "--build-context", "other=base:./base.yaml"]).ok();
    assert!(out.stderr.contains("as x:latest"), "{}", out.stderr);
    assert_eq!(cooper.sh("x", "cat /answer /etc/data"), "42\nfrom a package\n");
    let outside = cooper.build("FROM base:../base.yaml\n", &[]);
    assert!(outside.fails(1).contains("cannot find the declared file of `FROM base:../base.yaml`"));
}

/// The digest of the image, built in a world of its own by a process behind `before`, words of a shell, in this time zone.
fn digest(declared: &str, before: &str, zone: &str) -> String {
    let cooper = world(Cooper::empty());
    cooper.put("base.yaml", declared);
    std::fs::set_permissions(cooper.path("base.yaml"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let script = format!("{before} \"$@\"");
    let (debs, program) = (cooper.text("../debs"), env!("CARGO_BIN_EXE_cooper"));
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", &script, "sh", program, "base", "build", "-q", "--deb-dir", &debs]);
    let like = cooper.command(&[]);
    command.current_dir(cooper.path("")).env_clear();
    command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TZ", zone);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_same_packages_give_the_same_digest() {
    let single = format!("{DECLARED}layers: single\n");
    let per_package = format!("{DECLARED}layers: per-package\n");
    for declared in [&single, &per_package] {
        let first = digest(declared, "umask 022; exec", "UTC");
        assert!(first.starts_with("sha256:"));
        // `taskset` leaves it one processor.
        assert_eq!(digest(declared, "umask 077; exec taskset -c 0", "Asia/Tokyo"), first, "{declared}");
    }
    assert_ne!(digest(&single, "exec", "UTC"), digest(&per_package, "exec", "UTC"));
}

#[test]
fn packages_that_dpkg_configures() {
    let Some(cooper) = Cooper::new().map(world) else { return };
    cooper.put("base.yaml", CONFIGURED);
    let out = build(&cooper, &["-t", "run", "--progress=plain"]).ok();
    assert!(out.stderr.contains(" configuring") && out.stderr.contains("path /usr/bin/x doesn't"), "{}", out.stderr);
    assert!(!out.stderr.contains("/usr/share/man"), "what was left out is said: {}", out.stderr);
    let said = cooper.sh("run", "cat /etc/asked; grep app /etc/passwd; cat /var/lib/dpkg/status");
    assert!(said.starts_with("--force-unsafe-io --configure --pending\napp:x:1000:"), "{said}");
    assert!(said.contains("Package: dpkg\nStatus: install ok unpacked\n"), "{said}");
    let first = digest(CONFIGURED, "umask 022; exec", "UTC");
    assert_eq!(digest(CONFIGURED, "umask 077; exec taskset -c 0", "Asia/Tokyo"), first);
    cooper.run(&["store", "check"]).ok();
    // Its exit code counts.
    cooper.put("base.yaml", CONFIGURED.replace("man/*]", "man/*, /etc/passwd]"));
    let error = build(&cooper, &["-q"]).fails(1);
    assert!(error.contains("the packages could not be configured: exit code 7"), "{error}");
}

#[test]
fn every_architecture_is_built_on_any_machine() {
    let Some(cooper) = Cooper::new().map(world) else { return };
    cooper.put("base.yaml", "packages: [native]\narchitectures: [amd64, arm64]\n");
    let out = build(&cooper, &["-t", "both"]).ok();
    assert!(out.stderr.contains("for linux/amd64, linux/arm64"), "{}", out.stderr);
    let dockerfile = "FROM base:./base.yaml\nCOPY base.yaml /\n";
    cooper.build(dockerfile, &["--platform=linux/amd64,linux/arm64", "-o", "out"]).ok();
    for arch in ["amd64", "arm64"] {
        assert_eq!(std::fs::read_to_string(cooper.path(&format!("out/linux_{arch}/etc/arch"))).unwrap(), arch);
    }
}

#[test]
fn the_list_of_packages_is_attached() {
    let cooper = world(Cooper::empty());
    build(&cooper, &["-q", "-t", "app"]).ok();
    let blobs = std::fs::read_dir(cooper.root().join("blobs/sha256")).unwrap();
    let documents = blobs.filter_map(|blob| serde_json::from_slice(&std::fs::read(blob.unwrap().path()).unwrap()).ok());
    let is_one = |value: &serde_json::Value| value["predicateType"] == "https://spdx.dev/Document";
    let all: Vec<serde_json::Value> = documents.filter(is_one).collect();
    let [statement] = &all[..] else { panic!("one statement in {all:#?}") };
    let packages = statement["predicate"]["packages"].as_array().unwrap();
    let data = packages.iter().find(|package| package["name"] == "data").unwrap();
    assert_eq!(data["licenseDeclared"], "MIT OR LicenseRef-own");
    assert_eq!(data["supplier"], "Person: Nobody (nobody@example.org)");
    assert_eq!(data["externalRefs"][0]["referenceLocator"], "pkg:deb/examplix/data@1?arch=all&distro=examplix-7");
}

#[test]
fn what_does_not_fit_is_an_error_and_makes_no_image() {
    for (packages, expect) in [
        ("[data, rival]", "packages data and rival both hold `/etc/data`"),
        ("[scripted]", "package scripted 1: its postinst script is not known"),
        ("[tool, missing]", "missing"),
    ] {
        let cooper = world(Cooper::empty());
        cooper.put("base.yaml", format!("packages: {packages}\n"));
        let error = build(&cooper, &["-q", "-t", "x"]).fails(1);
        assert!(error.contains(expect), "{error}");
        assert_eq!(cooper.run(&["images", "-q"]).ok().stdout, "", "{packages}");
    }
}

#[test]
fn a_lock_is_of_its_declared_file_and_of_its_packages() {
    let cooper = world(Cooper::empty());
    assert!(build(&cooper, &["--locked"]).fails(1).contains("there is no lock file"));
    build(&cooper, &["-q"]).ok();
    cooper.put("base.yaml", "packages: [tool]\n");
    assert!(build(&cooper, &["-q"]).fails(1).contains("the lock file does not belong to the declared file"));
    // Another package under the same name is not the one that was locked.
    let cooper = world(Cooper::empty());
    let debs = cooper.text("../debs");
    cooper.run(&["base", "lock", "--deb-dir", &debs]).ok();
    std::fs::remove_dir_all(cooper.root()).unwrap();
    cooper.put("../debs/data.deb", deb(&control("data", "1", ""), &[], &[file("etc/data", b"tampered")]));
    let error = build(&cooper, &["-q"]).fails(1);
    assert!(error.contains("data 1"), "{error}");
}

#[test]
fn presets_are_listed_and_shown() {
    let cooper = Cooper::empty();
    let list = cooper.run(&["base", "list"]).ok().stdout;
    assert!(list.lines().any(|line| line.starts_with("slim ") && line.contains("debian:bookworm-slim")), "{list}");
    let shown = cooper.run(&["base", "show", "cc"]).ok().stdout;
    assert!(shown.contains("- libstdc++6\n") && shown.contains("- tzdata\n"), "{shown}");
    assert!(cooper.run(&["base", "show", "slimm"]).fails(1).contains("did you mean `slim`?"));
}

#[test]
fn a_layer_is_made_of_its_packages_once() {
    let cooper = world(Cooper::empty());
    let made = |packages: &str, more: &str| {
        cooper.put("base.yaml", format!("packages: [{packages}]\nlayers: per-package\n{more}"));
        cooper.run(&["base", "lock", "--deb-dir", &cooper.text("../debs")]).ok();
        build(&cooper, &["--progress=plain"]).ok().stderr
    };
    let first = made("tool", "");
    assert!(!first.contains("are there already"), "{first}");
    let second = made("tool, data", "");
    assert!(second.contains("1 of 3 layers are there already"), "{second}");
    let third = made("tool, data", "path-exclude: [/etc/data]\n");
    assert!(third.contains("1 of 3 layers are there already"), "the other keeps less of its package: {third}");
}
