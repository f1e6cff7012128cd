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

fn executable(path: &str, bytes: &[u8]) -> (Entry, Vec<u8>) {
    let (entry, bytes) = file(path, bytes);
    (Entry { mode: 0o755, ..entry }, bytes)
}

/// A world with a declared file and the packages `tool`, `data`, `rival` (one path with `data`) and `scripted`.
fn world(mut cooper: Cooper) -> Cooper {
    let busybox = std::fs::read("/bin/busybox").unwrap_or_default();
    let shell = (entry("bin/sh", EntryKind::Symlink { target: "busybox".into() }), Vec::new());
    let data = [dir("etc"), file("etc/data", b"from a package\n")];
    let script = [("postinst", "#!/bin/sh\nadduser somebody\n")];
    for (name, bytes) in [
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

/// The digest of the image, built in a world of its own by a process with this umask and time zone.
fn digest(layers: &str, umask: &str, zone: &str) -> String {
    let cooper = world(Cooper::empty());
    cooper.put("base.yaml", format!("{DECLARED}layers: {layers}\n"));
    std::fs::set_permissions(cooper.path("base.yaml"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let script = format!("umask {umask}; exec \"$@\"");
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
    for layers in ["single", "per-package"] {
        let first = digest(layers, "022", "UTC");
        assert!(first.starts_with("sha256:"));
        assert_eq!(digest(layers, "077", "Asia/Tokyo"), first, "{layers}");
    }
    assert_ne!(digest("single", "022", "UTC"), digest("per-package", "022", "UTC"));
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
