//! Hostile trees: nothing outside the root is ever read, changed or removed.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

struct Scene {
    dir: tempfile::TempDir,
    root: Root,
}

/// `canary/secret` beside `root/`.
fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("canary/sub")).unwrap();
    fs::write(dir.path().join("canary/secret"), "canary").unwrap();
    fs::create_dir(dir.path().join("root")).unwrap();
    let root = Root::open(&dir.path().join("root")).unwrap();
    Scene { dir, root }
}

impl Scene {
    fn inside(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path)
    }

    fn canary_is_intact(&self) {
        assert_eq!(fs::read_to_string(self.dir.path().join("canary/secret")).unwrap(), "canary");
        assert_eq!(fs::read_dir(self.dir.path().join("canary")).unwrap().count(), 2);
        assert_eq!(fs::read_dir(self.dir.path().join("canary/sub")).unwrap().count(), 0);
    }
}

#[test]
fn links_stay_inside() {
    let scene = scene();
    let outside = scene.dir.path().join("canary");
    symlink(&outside, scene.inside("abs")).unwrap();
    symlink("../canary", scene.inside("rel")).unwrap();
    symlink("/proc/self/root", scene.inside("magic")).unwrap();
    for name in ["abs/secret", "rel/secret", "../canary/secret", "magic/etc/passwd", "/../../canary/secret"] {
        assert!(scene.root.open_file(Path::new(name)).is_err(), "{name}");
    }
    for name in ["abs/new", "rel/new", "../canary/new"] {
        assert!(scene.root.create_file(Path::new(name), 0o644).is_err(), "{name}");
        let _ = scene.root.remove_all(Path::new(name));
    }
    scene.canary_is_intact();
}

#[test]
fn resolve_follows_links_inside() {
    let scene = scene();
    fs::create_dir_all(scene.inside("usr/lib")).unwrap();
    symlink("usr/lib", scene.inside("lib")).unwrap();
    symlink("/lib/../lib", scene.inside("twice")).unwrap();
    symlink("loop", scene.inside("loop")).unwrap();
    symlink("/made/later", scene.inside("dangling")).unwrap();
    for (path, expected) in [
        ("/", ""),
        ("lib/x", "usr/lib/x"),
        ("/twice/y", "usr/lib/y"),
        ("../../lib", "usr/lib"),
        ("a/./b/../c", "a/c"),
        ("dangling/z", "made/later/z"),
    ] {
        assert_eq!(scene.root.resolve(Path::new(path)).unwrap(), Path::new(expected), "{path}");
    }
    assert!(scene.root.resolve(Path::new("loop")).is_err());
}

#[test]
fn mkdir_all_goes_through_links_and_sets_modes() {
    let scene = scene();
    symlink(scene.dir.path().join("canary"), scene.inside("out")).unwrap();
    symlink("/real", scene.inside("link")).unwrap();
    assert_eq!(scene.root.mkdir_all(Path::new("/link/a/b"), 0o750, None).unwrap(), Path::new("real/a/b"));
    assert_eq!(fs::metadata(scene.inside("real/a")).unwrap().mode() & 0o7777, 0o750);
    scene.root.mkdir_all(Path::new("out/x"), 0o755, None).unwrap();
    scene.canary_is_intact();
    fs::write(scene.inside("file"), "").unwrap();
    assert!(scene.root.mkdir_all(Path::new("file/x"), 0o755, None).is_err());
}

#[test]
fn remove_all_takes_trees_of_any_depth_and_no_link_targets() {
    let scene = scene();
    symlink(scene.dir.path().join("canary"), scene.inside("link")).unwrap();
    scene.root.mkdir_all(Path::new("top"), 0o755, None).unwrap();
    let mut held = scene.root.open_path(Path::new("top")).unwrap();
    for _ in 0..3000 {
        rustix::fs::mkdirat(&held, "d", Mode::from_raw_mode(0o755)).unwrap();
        held = rustix::fs::openat(&held, "d", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        rustix::fs::symlinkat("/", &held, "up").unwrap();
    }
    drop(held);
    scene.root.remove_all(Path::new("link")).unwrap();
    scene.root.remove_all(Path::new("top")).unwrap();
    scene.root.remove_all(Path::new("missing/too")).unwrap();
    assert!(scene.root.remove_all(Path::new("/")).is_err());
    assert!(scene.root.read_dir(Path::new("")).unwrap().is_empty());
    scene.canary_is_intact();
}

#[test]
fn remove_all_survives_a_racing_swapper() {
    let scene = scene();
    let stop = AtomicBool::new(false);
    let (real, link) = (scene.inside("t/real"), scene.inside("t/spare"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = fs::create_dir_all(real.join("sub"));
                let _ = symlink(scene.dir.path().join("canary"), &link);
                let _ = rustix::fs::renameat_with(CWD, &real, CWD, &link, rustix::fs::RenameFlags::EXCHANGE);
            }
        });
        for _ in 0..2000 {
            // Losing the race again and again is an error; leaving the root never happens.
            let _ = scene.root.remove_all(Path::new("t"));
        }
        stop.store(true, Ordering::Relaxed);
    });
    scene.root.remove_all(Path::new("t")).unwrap();
    scene.canary_is_intact();
}

#[test]
fn only_regular_files_are_opened() {
    let scene = scene();
    scene.root.mknod(Path::new("pipe"), FileKind::Fifo, 0o644, (0, 0)).unwrap();
    symlink("/dev/zero", scene.inside("zero")).unwrap();
    for name in ["pipe", "zero", ""] {
        assert!(scene.root.open_file(Path::new(name)).is_err(), "{name}");
    }
}

#[test]
fn attributes_by_descriptor() {
    let scene = scene();
    fs::write(scene.inside("f"), "x").unwrap();
    symlink("f", scene.inside("l")).unwrap();
    let time = Mtime { secs: -5, nanos: 7 };
    for name in ["f", "l"] {
        let fd = scene.root.open_link(Path::new(name)).unwrap();
        attributes::set_mtime(fd.as_fd(), time).unwrap();
        assert_eq!(scene.root.lstat(Path::new(name)).unwrap().mtime, time, "{name}");
    }
    let fd = scene.root.open_link(Path::new("f")).unwrap();
    attributes::set_mode(fd.as_fd(), 0o4711).unwrap();
    assert_eq!(scene.root.lstat(Path::new("f")).unwrap().mode, 0o4711);
    let long = vec![7; 3000];
    attributes::set_xattr(fd.as_fd(), b"user.long", &long).unwrap();
    attributes::set_xattr(fd.as_fd(), b"user.empty", b"").unwrap();
    let found = attributes::xattrs(fd.as_fd()).unwrap();
    assert_eq!(found.get(&b"user.long"[..]), Some(&long));
    assert_eq!(found.get(&b"user.empty"[..]), Some(&vec![]));
    assert_eq!(scene.root.read_link(Path::new("l")).unwrap(), Path::new("f"));
    assert_eq!(attributes::xattr(fd.as_fd(), b"user.none").unwrap(), None);
}

fn with_accounts(passwd: &str, group: &str) -> Scene {
    let scene = scene();
    fs::create_dir(scene.inside("etc")).unwrap();
    fs::write(scene.inside("etc/passwd"), passwd).unwrap();
    fs::write(scene.inside("etc/group"), group).unwrap();
    scene
}

#[test]
fn users_are_looked_up_in_the_root() {
    let scene = with_accounts(
        "root:x:0:0::/root:/bin/sh\nbroken\nweb:x:33:34::/srv:/bin/sh\n2147483648:x:0:0::/:\n-1:x:0:0::/:\n0x0:x:0:0::/:\n",
        "root:x:0:\nweb:x:34:\nlog:x:50:a,web\nadm:x:4:web\n",
    );
    let who = |spec| scene.root.lookup_user(spec).map(|user| (user.uid, user.gid, user.groups));
    assert_eq!(who("").unwrap(), (0, 0, vec![]));
    assert_eq!(who("web").unwrap(), (33, 34, vec![4, 50]));
    assert_eq!(who("33").unwrap(), (33, 34, vec![4, 50]));
    assert_eq!(who("web:log").unwrap(), (33, 50, vec![]));
    assert_eq!(who("web:7").unwrap(), (33, 7, vec![]));
    assert_eq!(who("2147483647").unwrap(), (2147483647, 0, vec![]));
    for spec in ["2147483648", "4294967295", "4294967296", "-1", "00", "0x0", "1 0", "nobody", "web:none", "web:-1"] {
        assert!(who(spec).is_err(), "{spec}");
    }
}

#[test]
fn hostile_account_files_are_refused() {
    let scene = scene();
    fs::create_dir(scene.inside("etc")).unwrap();
    scene.root.mknod(Path::new("etc/passwd"), FileKind::Fifo, 0o644, (0, 0)).unwrap();
    assert!(scene.root.lookup_user("web").is_err());
    fs::remove_file(scene.inside("etc/passwd")).unwrap();
    fs::File::create(scene.inside("etc/passwd")).unwrap().set_len(1 << 32).unwrap();
    assert_eq!(scene.root.lookup_user("web").unwrap_err().kind(), ErrorKind::TooLarge);
    fs::remove_file(scene.inside("etc/passwd")).unwrap();
    fs::write(scene.dir.path().join("canary/passwd"), "web:x:0:0::/:\n").unwrap();
    symlink("../../canary/passwd", scene.inside("etc/passwd")).unwrap();
    assert!(scene.root.lookup_user("web").is_err());
}

use cooper_oci::Mtime;
