//! The binary as root, with subordinate ids and with a single id: the same images, and clear words where that cannot be.
//!
//! Needs root (to become others), a static busybox, setpriv and unshare; says so when it skips. Other users are made in
//! a mount namespace of their own, never on the host.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const BUSYBOX: &str = "/bin/busybox";
/// Ids nobody on the machine has.
const RANGER: u32 = 41_234;
const LONER: u32 = 41_235;
/// Makes /etc say who has which ids, then becomes the user; all in this mount namespace.
const BECOME: &str = "for f in passwd:passwd subid:subuid subid:subgid; do \
    mount --bind $0/etc/${f%:*} /etc/${f#*:} || exit 99; done; \
    exec setpriv --reuid $1 --regid $1 --clear-groups --inh-caps=-all \"$@\"";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Root,
    Range,
    Single,
}

struct Bench {
    dir: TempDir,
}

fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

fn on_path(program: &str) -> bool {
    ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"]
        .iter()
        .any(|dir| Path::new(dir).join(program).exists())
}

impl Bench {
    fn new() -> Option<Self> {
        let missing = ["setpriv", "unshare", "newuidmap", "tar"].into_iter().find(|program| !on_path(program));
        if !rustix::process::geteuid().is_root() || !Path::new(BUSYBOX).exists() || missing.is_some() {
            skip(&format!("needs root, a static busybox and {}", missing.unwrap_or("nothing else")));
            return None;
        }
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        open_to_all(bench.dir.path());
        for name in ["etc", "context", "stores"] {
            fs::create_dir(bench.at(name)).unwrap();
        }
        fs::write(
            bench.at("etc/passwd"),
            format!("root:x:0:0::/:\nranger:x:{RANGER}:{RANGER}::/:\nloner:x:{LONER}:{LONER}::/:\n"),
        )
        .unwrap();
        fs::write(bench.at("etc/subid"), "ranger:500000:65536\n").unwrap();
        fs::copy(env!("CARGO_BIN_EXE_cooper"), bench.at("cooper")).unwrap();
        bench.base();
        Some(bench)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A base with many owners, as distributions are.
    fn base(&self) {
        let tree = self.at("tree");
        for dir in ["bin", "etc", "home/ada", "srv/old", "srv/again", "tmp"] {
            fs::create_dir_all(tree.join(dir)).unwrap();
        }
        fs::copy(BUSYBOX, tree.join("bin/busybox")).unwrap();
        for applet in "sh cat ls id touch mkdir rm mv ln chmod chown stat sleep echo true".split(' ') {
            symlink("busybox", tree.join("bin").join(applet)).unwrap();
        }
        fs::write(tree.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nada:x:1000:100::/home/ada:/bin/sh\n").unwrap();
        fs::write(tree.join("etc/group"), "root:x:0:\nusers:x:100:\nwheel:x:10:ada\n").unwrap();
        for (name, uid, gid) in [
            ("home/ada/x", 1000, 100),
            ("srv/f", 33, 34),
            ("srv/lock", 0, 42),
            ("srv/old/a", 65_534, 65_534),
            ("srv/again/b", 7, 8),
        ] {
            fs::write(tree.join(name), name).unwrap();
            chown(tree.join(name), Some(uid), Some(gid)).unwrap();
        }
        fs::hard_link(tree.join("srv/f"), tree.join("srv/g")).unwrap();
        chown(tree.join("home/ada"), Some(1000), Some(100)).unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&tree).args(["--numeric-owner", "-cf"]).arg(self.at("context/base.tar")).arg(".");
        assert!(tar.status().unwrap().success());
    }

    fn dockerfile(&self, text: &str) {
        fs::write(self.at("context/Dockerfile"), format!("FROM scratch AS base\nADD base.tar /\nFROM base\n{text}"))
            .unwrap();
    }

    /// The store of a user, in a directory the user owns.
    fn store(&self, mode: Mode, name: &str) -> PathBuf {
        let dir = self.at("stores").join(name);
        if !dir.exists() {
            fs::create_dir(&dir).unwrap();
            let owner = match mode {
                Mode::Root => 0,
                Mode::Range => RANGER,
                Mode::Single => LONER,
            };
            chown(&dir, Some(owner), Some(owner)).unwrap();
        }
        dir.join("store")
    }

    fn cooper(&self, mode: Mode, store: &Path, args: &[&str]) -> Command {
        let mut command = match mode {
            Mode::Root => Command::new(self.at("cooper")),
            Mode::Range => self.become_user(RANGER),
            Mode::Single => self.become_user(LONER),
        };
        command.arg("--root").arg(store).args(args).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).current_dir(self.at("context"));
        command
    }

    fn become_user(&self, uid: u32) -> Command {
        let mut command = Command::new("unshare");
        let script = BECOME.replace("$1", &uid.to_string());
        command.args(["-m", "sh", "-c", &script]).arg(self.dir.path()).arg(self.at("cooper"));
        command
    }

    fn run(&self, mode: Mode, store: &Path, args: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.cooper(mode, store, args).output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (status.code().unwrap_or(-1), text(&stdout), text(&stderr))
    }

    fn ok(&self, mode: Mode, store: &Path, args: &[&str]) -> String {
        let (code, out, err) = self.run(mode, store, args);
        assert_eq!(code, 0, "{mode:?} {args:?}: {out}{err}");
        out
    }

    /// Owners in the archive of an image: `uid:gid name` of every entry, base first.
    fn owners(&self, mode: Mode, store: &Path, image: &str) -> Vec<String> {
        let out = self.at("out");
        let _ = fs::remove_dir_all(&out);
        fs::create_dir(&out).unwrap();
        let archive = fs::File::create(out.join("image.tar")).unwrap();
        assert!(self.cooper(mode, store, &["save", image]).stdout(archive).status().unwrap().success());
        let script =
            "tar -xf image.tar; for f in blobs/sha256/*; do tar --numeric-owner -tvf $f 2>/dev/null; done; true";
        let listing = Command::new("sh").args(["-c", script]).current_dir(&out).output().unwrap();
        let text = String::from_utf8(listing.stdout).unwrap();
        let mut lines: Vec<String> = text
            .lines()
            .filter_map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                Some(format!("{} {}", words.get(1)?.replace('/', ":"), words.get(5)?.trim_start_matches("./")))
            })
            .collect();
        lines.sort();
        lines
    }
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// Everything a layer can say, without an owner that needs more than one id.
const CHANGES: &str = "\
RUN : >> /srv/lock; rm -r /srv/old /srv/again && mkdir /srv/again && touch /srv/again/new && mv /etc/group /etc/groups
RUN chmod 600 /srv/f && ln /etc/passwd /etc/passwd2 && touch /home/ada/y && chmod 1777 /tmp && ln -s x /tmp/link
COPY --chown=42:43 --chmod=640 Dockerfile /opt/d
RUN echo more >> /opt/d && touch /opt/n
RUN --mount=type=bind,target=/ctx --mount=type=tmpfs,target=/scratch touch /scratch/x && cat /ctx/Dockerfile > /opt/copy
";

#[test]
fn privileged_every_mode_and_snapshotter_and_runtime_builds_the_same_image() {
    let Some(bench) = Bench::new() else { return };
    bench.dockerfile(CHANGES);
    let mut expect = None;
    for mode in [Mode::Root, Mode::Range, Mode::Single] {
        for snapshotter in ["overlay", "native"] {
            for runtime in ["own", "runc"] {
                if runtime != "own" && !on_path(runtime) {
                    skip("no runc here");
                    continue;
                }
                let store = bench.store(mode, &format!("{mode:?}-{snapshotter}-{runtime}"));
                let args = ["build", "-q", "-t", "x", "--snapshotter", snapshotter, "--runtime", runtime, "."];
                let id = bench.ok(mode, &store, &args);
                let owners = bench.owners(mode, &store, "x");
                let expect = expect.get_or_insert_with(|| (id.clone(), owners.clone()));
                assert_eq!((&id, &owners), (&expect.0, &expect.1), "{mode:?} {snapshotter} {runtime}");
            }
        }
    }
    let (_, owners) = expect.unwrap();
    for line in ["1000:100 home/ada/", "1000:100 home/ada/x", "33:34 srv/f", "42:43 opt/d", "0:0 opt/n"] {
        assert!(owners.iter().any(|found| found == line), "{line} in {owners:#?}");
    }
    // Also where a step made a file in the directory, or wrote to the file.
    for name in ["home/ada/", "opt/d", "srv/f"] {
        let of: Vec<_> = owners.iter().filter(|line| line.ends_with(&format!(" {name}"))).collect();
        assert!(of.len() > 1 && of.iter().all(|line| *line == of[0]), "{of:?}");
    }
}

/// Packages with owners of their own, and a script instead of dpkg.
fn base_packages(debs: &Path) {
    use cooper_base::testing::{control, deb};
    use cooper_oci::testing::{dir, entry, file};
    let with = |mode, owner, (entry, bytes): (cooper_oci::Entry, Vec<u8>)| {
        (cooper_oci::Entry { mode, uid: owner, gid: owner, ..entry }, bytes)
    };
    let mut tool = vec![
        with(0o755, 0, file("bin/busybox", &fs::read(BUSYBOX).unwrap())),
        with(0o755, 0, file("usr/bin/dpkg", b"#!/bin/sh\n[ -e /etc/fails ] && exit 3\nid -u > /etc/configured\n")),
        with(0o2755, 42, dir("srv/shared")),
        with(0o4750, 42, file("srv/program", b"x")),
    ];
    tool.extend(["etc", "run", "var/lib/apt/lists", "var/log"].map(dir));
    let link = |name: &str| entry(&format!("bin/{name}"), cooper_oci::EntryKind::Symlink { target: "busybox".into() });
    tool.extend(["id", "rm", "find", "chmod"].map(|name| (link(name), Vec::new())));
    // Debian's shell and not busybox, which would be dpkg itself.
    let libraries = Command::new("ldd").arg("/bin/dash").output().unwrap();
    let libraries = String::from_utf8(libraries.stdout).unwrap();
    for path in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        tool.push(with(0o755, 0, file(&path[1..], &fs::read(path).unwrap())));
    }
    tool.push(with(0o755, 0, file("bin/sh", &fs::read("/bin/dash").unwrap())));
    fs::create_dir(debs).unwrap();
    fs::write(debs.join("tool.deb"), deb(&control("tool", "1", ""), &[], &tool)).unwrap();
}

#[test]
fn privileged_every_mode_makes_the_same_base() {
    let Some(bench) = Bench::new() else { return };
    let (debs, apt) = (bench.at("debs"), bench.at("apt"));
    base_packages(&debs);
    fs::create_dir(&apt).unwrap();
    for configure in ["declared", "run"] {
        let text =
            format!("packages: [tool]\nconfigure: {configure}\nusers: [{{name: ada, uid: 1000, home: /home/ada}}]\n");
        fs::write(bench.at("context/base.yaml"), text).unwrap();
        let mut expect = None;
        for mode in [Mode::Root, Mode::Range, Mode::Single] {
            let store = bench.store(mode, &format!("{mode:?}-{configure}"));
            let mut command = bench.cooper(mode, &store, &["base", "build", "-q", "-t", "x", "--deb-dir"]);
            let Output { status, stdout, stderr } = command.arg(&debs).env("COOPER_APT_DIR", &apt).output().unwrap();
            assert!(status.success(), "{mode:?} {configure}: {}", String::from_utf8_lossy(&stderr));
            let owners = bench.owners(mode, &store, "x");
            let expect = expect.get_or_insert_with(|| (stdout.clone(), owners.clone()));
            assert_eq!((&stdout, &owners), (&expect.0, &expect.1), "{mode:?} {configure}");
        }
        let (_, owners) = expect.unwrap();
        for line in ["42:42 srv/program", "1000:1000 home/ada/"] {
            assert!(owners.iter().any(|found| found == line), "{line} in {owners:#?}");
        }
    }
    let text = "packages: [tool]\nconfigure: run\nfiles: [{path: /etc/fails, text: x}]\n";
    fs::write(bench.at("context/base.yaml"), text).unwrap();
    let mut command = bench.cooper(Mode::Single, &bench.store(Mode::Single, "Single-run"), &["base", "build"]);
    let Output { status, stderr, .. } = command.env("COOPER_APT_DIR", &apt).output().unwrap();
    let err = String::from_utf8_lossy(&stderr);
    assert!(
        !status.success() && err.contains("exit code 3") && err.contains("hint: steps of this build have one"),
        "{err}"
    );
}

#[test]
fn privileged_a_range_has_every_owner_and_can_remove_what_it_made() {
    let Some(bench) = Bench::new() else { return };
    bench.dockerfile("RUN mkdir /home/bob && chown 1234:65535 /home/bob && chmod 700 /home/bob\nUSER ada\nRUN touch /home/ada/mine && id\n");
    let store = bench.store(Mode::Range, "range");
    bench.ok(Mode::Range, &store, &["build", "-t", "x", "."]);
    let owners = bench.owners(Mode::Range, &store, "x");
    for line in ["1234:65535 home/bob/", "1000:100 home/ada/mine", "65534:65534 srv/old/a"] {
        assert!(owners.iter().any(|found| found == line), "{line} in {owners:#?}");
    }
    let id = "uid=1000(ada) gid=100(users) groups=10(wheel),100(users)\n";
    assert_eq!(bench.ok(Mode::Range, &store, &["run", "x", "id"]), id);
    bench.ok(Mode::Range, &store, &["store", "check"]);
    bench.ok(Mode::Range, &store, &["rmi", "x"]);
    bench.ok(Mode::Range, &store, &["prune", "--all", "--force"]);
    let left: Vec<_> = fs::read_dir(store.join("layers")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn privileged_a_single_id_says_what_it_cannot_do() {
    let Some(bench) = Bench::new() else { return };
    let store = bench.store(Mode::Single, "single");
    let warning = "warning: steps have one user id here (/etc/subuid has no range for user loner)";
    for (text, code, words) in [
        ("RUN true\n", 0, &[][..]),
        ("RUN chown 5:5 /srv/f\n", 1, &["exit code 1", "hint: steps of this build have one user id", "/etc/subuid"]),
        ("USER ada\nRUN true\n", 1, &["cannot run as 1000:100", "Dockerfile:5", "subordinate ids"]),
        ("USER nobody-here\nRUN true\n", 1, &["no user \"nobody-here\""]),
    ] {
        bench.dockerfile(text);
        let (found, _, err) = bench.run(Mode::Single, &store, &["build", "."]);
        assert!((found == 0) == (code == 0), "{text}: {err}");
        assert_eq!(err.matches(warning).count(), 1, "{text}: {err}");
        for word in words {
            assert!(err.contains(word), "{word} in {err}");
        }
    }
    let (_, doctor, _) = bench.run(Mode::Single, &store, &["doctor"]);
    let line = doctor.lines().find(|line| line.starts_with("subordinate ids")).unwrap();
    assert!(line.contains("weaker") && line.contains("owner"), "{line}");
}

/// `newuidmap` has done its half when `newgidmap` fails: what is left is a single id, not an error.
#[test]
fn privileged_half_a_mapping_is_a_single_id() {
    let Some(bench) = Bench::new() else { return };
    let programs = bench.at("programs");
    fs::create_dir(&programs).unwrap();
    fs::write(programs.join("newgidmap"), "#!/bin/sh\necho no such luck >&2; exit 1\n").unwrap();
    open_to_all(&programs.join("newgidmap"));
    bench.dockerfile(CHANGES);
    let root = bench.ok(Mode::Root, &bench.store(Mode::Root, "root"), &["build", "-q", "."]);
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display());
    let store = bench.store(Mode::Range, "half");
    let id = store.with_file_name("id");
    let mut command = bench.cooper(Mode::Range, &store, &["build", "--iidfile", id.to_str().unwrap(), "."]);
    let Output { status, stderr, .. } = command.env("PATH", path).output().unwrap();
    let err = String::from_utf8_lossy(&stderr);
    assert!(status.success() && err.contains("newgidmap failed: no such luck"), "{err}");
    assert_eq!(fs::read_to_string(id).unwrap().trim(), root.trim());
}

/// In a user namespace somebody else made: one id, or several of them.
#[test]
fn privileged_in_a_foreign_user_namespace() {
    let Some(bench) = Bench::new() else { return };
    bench.dockerfile(CHANGES);
    let root = bench.ok(Mode::Root, &bench.store(Mode::Root, "root"), &["build", "-q", "."]);
    let store = bench.store(Mode::Single, "nested");
    let inner = bench.cooper(Mode::Single, &store, &["build", "-q", "."]);
    let mut outer = Command::new("setpriv");
    let id = LONER.to_string();
    outer.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--inh-caps=-all", "unshare", "-r"]);
    outer.arg(bench.at("cooper")).args(["build", "-q", ".", "--root"]).arg(&store);
    let output = outer.current_dir(inner.get_current_dir().unwrap()).stdin(Stdio::null()).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{err}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), root);
}

#[test]
fn privileged_where_user_namespaces_are_forbidden_the_setting_is_named() {
    let Some(bench) = Bench::new() else { return };
    // The limit of a user namespace of ours: the host's is left alone.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces || exit 98; \
        exec setpriv --inh-caps=-all --bounding-set=-all \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-U", "-r", "sh", "-c", script, "sh"]);
    command.arg(bench.at("cooper")).args(["images", "--root"]).arg(bench.at("stores/none"));
    let output = command.output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(98) || err.contains("unshare:") || err.contains("setpriv:") {
        return skip(&err);
    }
    assert!(!output.status.success());
    assert!(err.contains("no user namespace can be made either") && err.contains("max_user_namespaces"), "{err}");
}

#[test]
fn privileged_crun_on_a_hybrid_host_is_refused_clearly_or_works() {
    let Some(bench) = Bench::new() else { return };
    if !on_path("crun") {
        return skip("no crun here");
    }
    bench.dockerfile("RUN true\n");
    let store = bench.store(Mode::Root, "crun");
    let (code, _, err) = bench.run(Mode::Root, &store, &["build", "--runtime", "crun", "."]);
    assert!(
        code == 0 || (err.contains("crun refused the step") && err.contains("hint: this crun needs a pure cgroup")),
        "{err}"
    );
}

/// In a container without rights: said at once.
#[test]
fn privileged_in_a_container_of_its_own_it_says_what_lacks() {
    let Some(bench) = Bench::new() else { return };
    bench.dockerfile("RUN true\n");
    let store = bench.store(Mode::Root, "outer");
    bench.ok(Mode::Root, &store, &["build", "-t", "x", "."]);
    let program = format!("{}:/cooper:ro", bench.at("cooper").display());
    // The libraries of a program that is not static.
    let libraries = ["/lib:/lib:ro", "/lib64:/lib64:ro", "/usr/lib:/usr/lib:ro"];
    let inside = |verb: &str| {
        let mut args = vec!["run", "-v", &program];
        let here = |volume: &&&str| volume.split(':').next().is_some_and(|dir| Path::new(dir).exists());
        libraries.iter().filter(here).for_each(|volume| args.extend(["-v", *volume]));
        args.extend(["x", "/cooper", "--root", "/tmp/s", verb]);
        bench.run(Mode::Root, &store, &args)
    };
    let (code, _, err) = inside("images");
    if err.contains("needs the interpreter") || err.contains("does not exist") {
        return skip("cooper is linked to libraries the base lacks");
    }
    assert!(code != 0 && err.contains("no user namespace can be made either") && err.contains("seccomp"), "{err}");
}

/// Killed without a chance to tidy up: its mounts and processes go with it, and the next command finds a sound store.
#[test]
fn privileged_nothing_outlives_a_killed_build() {
    let Some(bench) = Bench::new() else { return };
    for mode in [Mode::Root, Mode::Range, Mode::Single] {
        let naps = 700_000 + mode as u32;
        bench.dockerfile(&format!("RUN (sleep {naps} &); echo it-is-up; sleep {naps}\n"));
        let store = bench.store(mode, &format!("{mode:?}"));
        let mut command = bench.cooper(mode, &store, &["build", "--progress=plain", "."]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with("it-is-up")), "{mode:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        // Ends only when nobody holds the pipe any more.
        lines.for_each(drop);
        while sleepers(naps) > 0 {
            std::thread::yield_now();
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(store.to_str().unwrap()), "{mounts}");
        bench.ok(mode, &store, &["store", "check"]);
        bench.ok(mode, &store, &["prune", "--all", "--force"]);
        let left: Vec<_> = fs::read_dir(store.join("layers")).unwrap().collect();
        assert!(left.is_empty(), "{mode:?}: {left:?}");
    }
}

/// Processes that are `sleep naps`.
fn sleepers(naps: u32) -> usize {
    let wanted = format!("sleep\0{naps}\0");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes())).count()
}
