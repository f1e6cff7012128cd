//! The same input gives the same image, whatever else is different: path, times and order of the files, clock, time zone,
//! processors, store, user.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]

#[expect(dead_code, reason = "the cases are for others")]
mod kit;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use kit::{BUSYBOX, cooper, obstacle};

const DOCKERFILE: &str = "FROM scratch AS base
COPY --chmod=755 busybox /bin/
RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]
FROM base AS one
RUN mkdir /one && for i in 1 2 3 4 5 6 7 8 9; do echo $i > /one/$i; done; ln /one/1 /one/link; ln -s 2 /one/symbolic
FROM base AS two
COPY tree /two/
COPY --chown=7:8 script /owned/
RUN rm /two/a/0; touch /two/new
FROM base
LABEL z=1 a=2
ENV Z=1 A=2
COPY --from=one /one /one
COPY --from=two /two /two
COPY --link big script tree /all/
WORKDIR /work
RUN find /bin /one /two /all | sort > /list
VOLUME /z /a
EXPOSE 9 1
";

/// What differs between two builds.
struct Setting {
    /// Directory of everything, below the test's.
    place: &'static str,
    /// Files are made in this order.
    reverse: bool,
    /// Age of the files in seconds.
    age: u64,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
    user: u32,
}

fn context(dir: &Path, setting: &Setting) {
    let mut files: Vec<(String, Vec<u8>, u32)> = (0..40)
        .map(|i| {
            (format!("tree/{}/{i}", ["a", "b", "c/d"][i % 3]), format!("{i}\n").repeat(i * 100).into_bytes(), 0o644)
        })
        .collect();
    files.push(("Dockerfile".into(), DOCKERFILE.into(), 0o644));
    files.push(("script".into(), b"#!/bin/sh\n".to_vec(), 0o755));
    // Several compression members, none of which compresses away.
    files.push((
        "big".into(),
        (0..3_000_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect(),
        0o600,
    ));
    files.push(("busybox".into(), fs::read(BUSYBOX).unwrap(), 0o755));
    if setting.reverse {
        files.reverse();
    }
    for (name, content, mode) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let file = File::open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 - setting.age)).unwrap();
    }
}

/// The command as another user, who needs to reach it.
fn command(setting: &Setting, root: &Path) -> Command {
    let mut command = cooper(&root.join("store"));
    if setting.user != 0 {
        let copy = root.join("cooper");
        fs::copy(env!("CARGO_BIN_EXE_cooper"), &copy).unwrap();
        command = Command::new(copy);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("COOPER_ROOT", root.join("store")).env("HOME", root);
        command.uid(setting.user).gid(setting.user);
    }
    command.envs(setting.environment.iter().copied());
    command
}

/// Digest of the image and bytes of its archive.
fn build(base: &Path, setting: &Setting) -> Result<(String, Vec<u8>), String> {
    let root = base.join(setting.place);
    context(&root.join("context"), setting);
    if setting.user != 0 {
        give(&root, setting.user);
    }
    let (archive, id): (PathBuf, PathBuf) = (root.join("out.tar"), root.join("id"));
    let mut command = command(setting, &root);
    command.args(["build", "-t", "same", "-o", &format!("type=oci,dest={}", archive.display())]);
    command.arg("--iidfile").arg(&id).args(setting.arguments).arg(root.join("context"));
    let done = command.output().unwrap();
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into_owned());
    }
    Ok((fs::read_to_string(id).unwrap(), fs::read(archive).unwrap()))
}

/// Makes `user` the owner of everything below.
fn give(path: &Path, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path(), user));
    }
}

const ROOT: Setting = Setting {
    place: "one",
    reverse: false,
    age: 10,
    arguments: &["--jobs=1"],
    environment: &[("RAYON_NUM_THREADS", "1"), ("TZ", "UTC")],
    user: 0,
};

fn same(settings: &[Setting]) {
    if let Some(why) = obstacle() {
        return eprintln!("{why}");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (id, archive) = build(dir.path(), &ROOT).unwrap();
    for setting in settings {
        // The clock shows another second.
        std::thread::sleep(Duration::from_millis(1100));
        let (other, bytes) = match build(dir.path(), setting) {
            Err(told) if setting.user != 0 && told.contains("namespace") => return eprintln!("skipped: {told}"),
            built => built.unwrap(),
        };
        assert_eq!(id, other, "{}", setting.place);
        assert!(archive == bytes, "{}: the archives differ", setting.place);
    }
}

#[test]
fn privileged_path_order_times_clock_zone_and_processors_do_not_matter() {
    same(&[
        Setting {
            place: "a/much/longer/place",
            reverse: true,
            age: 1_000_000,
            arguments: &["--jobs=4"],
            environment: &[("TZ", "Asia/Tokyo"), ("LC_ALL", "tr_TR.UTF-8"), ("COLUMNS", "7")],
            user: 0,
        },
        Setting { place: "copied", arguments: &["--snapshotter=native"], environment: &[], ..ROOT },
        Setting { place: "uncached", arguments: &["--no-cache"], ..ROOT },
    ]);
}

#[test]
fn privileged_the_user_does_not_matter() {
    same(&[Setting { place: "other", user: 54_321, ..ROOT }]);
}
