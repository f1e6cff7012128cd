//! Base images, archives and contexts made by an enemy: every byte outside stays as it was, and the command neither
//! panics nor hangs.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::place::{Done, Place, skip_if_missing};
use crate::tars::{Item, Layer, Layout, dir, file, hardlink, special, symlink, tar};

/// Seconds after which a command counts as hanging; all of them take a fraction of one.
const HANGS: &str = "60";

/// Address space of a command, in bytes: many times what one needs, a fraction of what a bomb wants.
const MEMORY: &str = "4000000000";

/// Something outside that must stay as it is.
struct Canary {
    dir: PathBuf,
    before: Vec<String>,
}

impl Canary {
    fn new(place: &Place) -> Self {
        let dir = place.dir.path().join("canary");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("secret"), "do not touch").unwrap();
        std::fs::create_dir(dir.join("sub")).unwrap();
        let before = Self::state(&dir);
        Self { dir, before }
    }

    fn state(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.push(dir.to_owned());
        names.sort();
        let line = |path: &PathBuf| {
            let m = path.symlink_metadata().unwrap();
            let content = std::fs::read(path).unwrap_or_default();
            let times = (m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
            format!("{path:?} {} {:o} {} {}:{} {times:?} {content:?}", m.ino(), m.mode(), m.nlink(), m.uid(), m.gid())
        };
        names.iter().map(line).collect()
    }

    #[track_caller]
    fn untouched(&self, what: &str) {
        assert_eq!(Self::state(&self.dir), self.before, "{what}");
    }
}

/// The command within limits of time and memory.
fn limited(place: &Place, args: &[&str]) -> Done {
    let command = place.command(args);
    let mut limited = std::process::Command::new("timeout");
    limited.args(["-s", "KILL", HANGS, "prlimit", &format!("--as={MEMORY}")]).arg(command.get_program()).args(args);
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(place.dir.path());
    let done = Done::of(limited.stdin(std::process::Stdio::null()).output().unwrap()).no_panic();
    assert!(done.code.is_some_and(|code| code < 124), "{args:?}: {done:?}");
    done
}

fn build_on_base(place: &Place, dockerfile: &str) -> Done {
    place.write("Dockerfile", dockerfile);
    let base = format!("base=oci-layout://{}", place.dir.path().join("layout").display());
    let args = ["build", "--progress", "plain", "--build-context", &base, "-o", "type=local,dest=out", "context"];
    let _ = std::fs::remove_dir_all(place.dir.path().join("out"));
    limited(place, &args)
}

/// Targets that lead outside if anything follows them.
fn ways_out(canary: &Path) -> Vec<String> {
    let path = canary.to_str().unwrap();
    let up = "../".repeat(14);
    vec![
        path.to_owned(),
        format!("{up}{}", path.trim_start_matches('/')),
        format!("/proc/self/root{path}"),
        format!("/proc/self/cwd/../canary"),
        format!("/proc/1/root{path}"),
    ]
}

/// What an enemy writes through a link that the archive or a layer below has made.
fn through(link: &str) -> Vec<Vec<Item>> {
    let below = |name: &str| format!("{link}/{name}");
    vec![
        vec![file(&below("new"), "x")],
        vec![file(&below("secret"), "x")],
        vec![dir(&below("sub"))],
        vec![dir(link), file(&below("secret"), "x")],
        vec![dir(&format!("{link}/"))],
        vec![hardlink("hard", &below("secret")), file("hard", "x")],
        vec![symlink(&below("secret"), "foo")],
        vec![file(&below(".wh.secret"), "")],
        vec![file(&below(".wh..wh..opq"), "")],
        vec![special(b'3', &below("secret"))],
        vec![special(b'6', &below("pipe"))],
        vec![file(link, "x")],
        vec![symlink("second", link), file("second/secret", "x")],
        vec![hardlink("again", link), file("again/secret", "x")],
    ]
}

/// Names and targets that lead outside by themselves.
fn names(canary: &Path) -> Vec<Vec<Item>> {
    let path = canary.to_str().unwrap();
    let up = format!("{}{}", "../".repeat(14), path.trim_start_matches('/'));
    let mut out = Vec::new();
    let long = "n".repeat(5000);
    for place in
        [path, &up, &format!("a/{up}"), &format!("./{up}"), &format!("a/./../{up}"), &format!("//{path}"), ".."]
    {
        let secret = format!("{place}/secret");
        out.push(vec![file(&secret, "x")]);
        out.push(vec![dir(place)]);
        out.push(vec![hardlink("h", &secret), file("h", "x")]);
        out.push(vec![symlink(&secret, "foo")]);
        out.push(vec![file(&format!("{place}/.wh.secret"), "")]);
        out.push(vec![file(&format!("{place}/.wh..wh..opq"), "")]);
    }
    for name in ["", ".", "..", "/", "a/..", ".wh.", ".wh..", ".wh...", ".wh..wh.", "a/.wh...", ".wh..wh..opq/x", &long]
    {
        out.push(vec![file(name, "x")]);
        out.push(vec![hardlink("h", name)]);
    }
    // The directory's mode is set after it has become a link.
    out.push(vec![dir("d"), symlink("d", path)]);
    out.push(vec![Item(b'5', "d".into(), Vec::new(), 0o4777, Vec::new()), symlink("d", path), dir("d/sub")]);
    out.push(vec![symlink("loop", "loop"), file("loop/x", "x")]);
    out.push(vec![special(b'3', "dev/zero"), special(b'4', "dev/disk"), special(b'6', "pipe"), special(b'9', "odd")]);
    out.push(vec![Item(b'0', "setuid".into(), Vec::new(), 0o6755, b"x".to_vec())]);
    out
}

#[test]
fn privileged_hostile_layers_and_archives_touch_nothing_outside() {
    skip_if_missing!("prlimit", "timeout");
    let place = Place::new();
    let canary = Canary::new(&place);
    let layout = place.dir.path().join("layout");
    let one = |layers: &[Vec<Item>]| {
        let what = format!("{layers:?}");
        Layout::new(&layout).image(&layers.iter().map(|items| Layer::of(items)).collect::<Vec<_>>());
        build_on_base(&place, "FROM base\nCOPY a /l/copied\nWORKDIR /l/made\nADD a /second/\n");
        canary.untouched(&what);
        let all = layers.concat();
        std::fs::write(place.context().join("x.tar"), tar(&all)).unwrap();
        build_on_base(&place, "FROM scratch\nADD x.tar /\nADD x.tar /l/\nADD x.tar /l/\n");
        canary.untouched(&what);
    };
    for target in ways_out(&canary.dir) {
        for items in through("l") {
            let mut together = vec![symlink("l", &target)];
            together.extend(items.clone());
            one(&[together]);
            one(&[vec![symlink("l", &target)], items]);
        }
    }
    names(&canary.dir).into_iter().for_each(|items| one(&[items]));
    limited(&place, &["prune", "-a", "-f"]).ok();
    canary.untouched("prune");
}

#[test]
fn privileged_images_that_lie_are_refused() {
    skip_if_missing!("prlimit", "timeout");
    let place = Place::new();
    let at = place.dir.path().join("layout");
    let honest = Layer::of(&[file("f", "content")]);
    let other = Layer::of(&[file("g", "other")]);
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    let lies = [
        Layer { diff_id: other.diff_id.clone(), ..honest.clone() },
        Layer { size: Some(1), ..honest.clone() },
        Layer { size: Some(1 << 60), ..honest.clone() },
        Layer { media_type: gzip, blob: b"\x1f\x8b\x08 and no more".to_vec(), ..honest.clone() },
        Layer { media_type: "application/x-unknown", ..honest.clone() },
        Layer { blob: honest.blob[..700].to_vec(), ..honest.clone() },
    ];
    for lie in lies {
        Layout::new(&at).image(&[other.clone(), lie.clone()]);
        // A layer that is known already is not read again: then the lie has no effect.
        if build_on_base(&place, "FROM base\nCOPY a /a\n").code == Some(0) {
            assert_eq!(std::fs::read_to_string(place.dir.path().join("out/g")).unwrap(), "other");
            let what = format!("{} {:?} {}", lie.media_type, lie.size, lie.blob.len());
            assert!(lie.diff_id == other.diff_id && !place.dir.path().join("out/f").exists(), "{what}");
        }
        limited(&place, &["load", "-i", "layout"]);
        // The layer that the liar named is still what it was.
        Layout::new(&at).image(std::slice::from_ref(&other));
        build_on_base(&place, "FROM base\nCOPY a /a\n").ok();
        assert_eq!(std::fs::read_to_string(place.dir.path().join("out/g")).unwrap(), "other");
    }
}

#[test]
fn privileged_documents_that_are_not_what_they_say_are_refused() {
    skip_if_missing!("prlimit", "timeout");
    let place = Place::new();
    let layout = Layout::new(&place.dir.path().join("layout"));
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let index = "application/vnd.oci.image.index.v1+json";
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let zero = format!("sha256:{}", "0".repeat(64));
    let descriptor = format!(r#"{{"mediaType":"{manifest}","digest":"{zero}","size":3}}"#);
    let texts = [
        r#"{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}"#.to_owned(),
        format!(r#"{{"schemaVersion":2,"config":{descriptor},"layers":[{descriptor}],"manifests":[{descriptor}]}}"#),
        format!(r#"{{"schemaVersion":2,"config":{descriptor},"layers":[{descriptor}]}}"#),
        r#"{"schemaVersion":2}"#.to_owned(),
        r#"{"config":{"digest":"sha256:../../../etc/passwd","size":1,"mediaType":"x"},"layers":[]}"#.to_owned(),
        r#"{"config":{"digest":"sha256:zz","size":-1,"mediaType":"x"},"layers":[]}"#.to_owned(),
        "null".to_owned(),
        "{".to_owned(),
        deep,
    ];
    for text in texts {
        for kind in [manifest, index, "application/json", ""] {
            layout.index(&[layout.blob(kind, text.as_bytes())]);
            let shown: String = text.chars().take(200).collect();
            let done = build_on_base(&place, "FROM base\nCOPY a /a\n");
            assert_ne!(done.code, Some(0), "build {kind} {shown}: {done:?}");
            let done = limited(&place, &["load", "-i", "layout"]);
            assert_ne!(done.code, Some(0), "load {kind} {shown}: {done:?}");
        }
    }
    for text in ["", "[]", "{\"manifests\":[{}]}", "\0", "{\"manifests\":[{\"digest\":\"sha256:/../x\"}]}"] {
        std::fs::write(layout.0.join("index.json"), text).unwrap();
        build_on_base(&place, "FROM base\nCOPY a /a\n").refused();
        limited(&place, &["load", "-i", "layout"]).refused();
    }
}

/// A layer with the shell of the context.
fn shell(place: &Place) -> Layer {
    let busybox = std::fs::read(place.context().join("busybox")).unwrap();
    Layer::of(&[dir("bin"), Item(b'0', "bin/busybox".into(), Vec::new(), 0o755, busybox)])
}

#[test]
fn privileged_hostile_user_databases_are_refused_at_once() {
    skip_if_missing!("prlimit", "timeout");
    let place = Place::new();
    let canary = Canary::new(&place);
    std::fs::write(canary.dir.join("secret"), "evil:x:0:0::/:/bin/sh\n").unwrap();
    let canary = Canary { before: Canary::state(&canary.dir), ..canary };
    let secret = canary.dir.join("secret");
    let huge = "x:".repeat(20 << 20);
    for name in ["etc/passwd", "etc/group"] {
        for item in [
            special(b'6', name),
            special(b'3', name),
            dir(name),
            symlink(name, "/dev/zero"),
            symlink(name, secret.to_str().unwrap()),
            symlink(name, "/proc/self/root/etc/passwd"),
            symlink(name, name),
            file(name, &huge),
            file(name, "evil:x:4294967296:99999999999999\nevil:x:-1:-1::/:\n"),
        ] {
            let what = format!("{} {}", item.0 as char, String::from_utf8_lossy(&item.2));
            Layout::new(&place.dir.path().join("layout")).image(&[shell(&place), Layer::of(&[dir("etc"), item])]);
            for user in ["evil", "evil:evil"] {
                let step = r#"RUN ["/bin/busybox", "id"]"#;
                let done = build_on_base(&place, &format!("FROM base\nUSER {user}\n{step}\n"));
                assert_ne!(done.code, Some(0), "{what}: {}", done.stderr);
                let done = build_on_base(&place, &format!("FROM base\nCOPY --chown={user} a /a\n"));
                assert_ne!(done.code, Some(0), "{what}: {}", done.stderr);
            }
            canary.untouched(&what);
        }
    }
}

#[test]
fn privileged_paths_through_links_of_the_base_stay_inside() {
    skip_if_missing!("prlimit", "timeout");
    let place = Place::new();
    let canary = Canary::new(&place);
    for target in ways_out(&canary.dir) {
        let links: Vec<Item> =
            ["l", "dev", "proc", "sys", "etc", "tmp", "run"].iter().map(|name| symlink(name, &target)).collect();
        Layout::new(&place.dir.path().join("layout")).image(&[shell(&place), Layer::of(&links)]);
        let mut steps = String::from("FROM base\n");
        steps += "COPY a tree /l/\nCOPY a /l/secret\nWORKDIR /l/sub/made\nWORKDIR /l\n";
        build_on_base(&place, &steps);
        canary.untouched(&target);
        for mount in [
            "type=cache,target=/l/sub",
            "type=cache,target=/l/new",
            "type=cache,id=../../../canary,target=/c",
            "type=bind,target=/l/new",
            "type=bind,source=../canary,target=/c",
            "type=bind,source=/l,from=base,target=/c",
            "type=cache,from=base,source=/l,target=/c",
            "type=tmpfs,target=/l/sub",
            "type=bind,source=a,target=/l/secret,rw",
        ] {
            let step = r#"["/bin/busybox", "sh", "-c", "echo x > /l/secret; echo x > /c/secret; echo x > /c/sub/x"]"#;
            build_on_base(&place, &format!("FROM base\nRUN --mount={mount} {step}\n"));
            canary.untouched(&format!("{target} {mount}"));
        }
    }
}

#[test]
fn privileged_a_bomb_ends_in_an_error_and_leaves_nothing() {
    skip_if_missing!("prlimit", "timeout", "mount", "gzip");
    let place = Place::new();
    let gzipped = |command: &str| {
        let output = std::process::Command::new("sh").arg("-c").arg(format!("{command} | gzip -9")).output().unwrap();
        output.stdout
    };
    // Members of zeros after a header that promises them, about 1000:1.
    let head = tar(&[Item(b'0', b"bomb".to_vec(), Vec::new(), 0o644, Vec::new())])[..512].to_vec();
    let mut header = head;
    header[124..135].copy_from_slice(format!("{:011o}", 4_u64 << 30).as_bytes());
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let path = place.dir.path().join("header");
    std::fs::write(&path, header).unwrap();
    let mut blob = gzipped(&format!("cat {}", path.display()));
    let member = gzipped("head -c 64M /dev/zero");
    (0..65).for_each(|_| blob.extend_from_slice(&member));
    let many: Vec<Item> = (0..200_000).map(|_| file("same", "")).collect();
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    let bomb = Layer { blob, media_type: gzip, ..Layer::of(&[]) };
    std::fs::create_dir_all(&place.store).unwrap();
    let mount = ["-t", "tmpfs", "-o", "size=100m,mode=700", "none", place.store.to_str().unwrap()];
    assert!(std::process::Command::new("mount").args(mount).status().unwrap().success());
    for layers in [vec![bomb], vec![Layer::of(&many), Layer { size: Some(5), ..Layer::of(&[]) }]] {
        Layout::new(&place.dir.path().join("layout")).image(&layers);
        build_on_base(&place, "FROM base\nCOPY a /a\n").refused();
        limited(&place, &["prune", "-a", "-f"]).ok();
        place.prune_leaves_nothing();
    }
    let umount = std::process::Command::new("umount").arg("-l").arg(&place.store).status().unwrap();
    assert!(umount.success());
}

#[test]
fn privileged_a_large_file_of_zeros_is_no_bomb() {
    skip_if_missing!();
    let place = Place::new();
    let zeros = "RUN head -c 150000000 /dev/zero > /zeros\n";
    place.write("Dockerfile", &format!("{}{zeros}", crate::place::DOCKERFILE));
    for compression in ["zstd", "gzip"] {
        let output = format!("type=oci,dest={compression}.tar,compression={compression}");
        place.build(&["-t", "zeros", "-o", &output]).ok();
    }
    for compression in ["zstd", "gzip"] {
        let (archive, other) = (format!("{compression}.tar"), tempfile::tempdir().unwrap());
        let mut load = place.command(&["load", "-i", &archive]);
        Done::of(load.env("COOPER_ROOT", other.path()).output().unwrap()).ok();
        let args = ["run", "--rm", "zeros", "/bin/busybox", "wc", "-c", "/zeros"];
        let ran = Done::of(place.command(&args).env("COOPER_ROOT", other.path()).output().unwrap()).ok();
        assert!(ran.stdout.contains("150000000"), "{ran:?}");
    }
}
