//! Finds out what this host can give, for `cooper doctor`.
//!
//! Changes nothing on the host: what must be tried is tried in a child that ends at once.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, getpid, getuid, pidfd_open};

use crate::binfmt::{self, Emulator, emulators};
use crate::cgroup::{CONTROLLERS, Host};
use crate::enter::{find, is_privileged, read};
use crate::{subid, sys};

/// Landlock version with network rules and signal scopes; older ones confine less.
const LANDLOCK_WANTED: i64 = 6;
/// Kernel with overlayfs in user namespaces and everything the mount interface needs.
const KERNEL_WANTED: (u32, u32) = (5, 12);
/// Kernel in which overlayfs takes layers one by one.
const KERNEL_GOOD: (u32, u32) = (6, 8);

/// How well something is provided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// As wanted.
    Ok,
    /// Present, but with less protection or speed.
    Weaker,
    /// Absent.
    Missing,
}

/// One thing looked at.
#[derive(Clone, Debug)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How well it is provided.
    pub ok: Strength,
    /// What was found.
    pub detail: String,
    /// What can be done about it.
    pub hint: Option<String>,
}

/// Looks at everything the executors use; programs are looked up in `search`.
pub fn probe(search: &[PathBuf]) -> Vec<Check> {
    vec![
        kernel(),
        user_namespaces(search),
        subordinate_ids(search),
        overlay(search),
        step_ids(),
        seccomp(),
        open_beneath(),
        mount_interface(),
        process_descriptors(),
        landlock(),
        cgroups(),
        runtime(search, "runc", "another executor"),
        runtime(search, "crun", "another executor"),
        binfmt(search),
    ]
}

fn check(name: &'static str, ok: Strength, detail: impl Into<String>, hint: Option<&str>) -> Check {
    let hint = hint.filter(|_| ok != Strength::Ok).map(str::to_owned);
    Check { name, ok, detail: detail.into(), hint }
}

fn kernel() -> Check {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let ok = match version(&release) {
        Some(version) if version >= KERNEL_GOOD => Strength::Ok,
        Some(version) if version >= KERNEL_WANTED => Strength::Weaker,
        _ => Strength::Missing,
    };
    check("kernel", ok, release, Some("5.12 is needed; from 6.8 on images of any number of layers can be mounted"))
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// Tried by `unshare(1)` in a child: making one here would change this program.
fn user_namespaces(search: &[PathBuf]) -> Check {
    let (ok, detail) = match succeeds(search, "unshare", &["-U", "-r", "true"]) {
        Some(true) => (Strength::Ok, "can be made".to_owned()),
        Some(false) if is_privileged() => (Strength::Weaker, "cannot be made; not needed by root".to_owned()),
        Some(false) => (Strength::Missing, forbidding_setting()),
        None => (Strength::Weaker, format!("not tried: no unshare program; {}", forbidding_setting())),
    };
    let hint = "sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0, \
        user.max_user_namespaces above 0; in a container, a seccomp profile that allows them";
    check("user namespaces", ok, detail, Some(hint))
}

fn forbidding_setting() -> String {
    let value = |path: &str| read(path).trim().to_owned();
    for (path, forbids) in [
        ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
        ("/proc/sys/user/max_user_namespaces", "0"),
    ] {
        if value(path) == forbids {
            return format!("{path} is {forbids}");
        }
    }
    "no setting forbids them".to_owned()
}

fn succeeds(search: &[PathBuf], program: &str, args: &[&str]) -> Option<bool> {
    let program = find(search, program)?;
    let null = Stdio::null;
    let status = Command::new(program).args(args).stdin(null()).stdout(null()).stderr(null()).status();
    status.ok().map(|status| status.success())
}

fn subordinate_ids(search: &[PathBuf]) -> Check {
    let uid = getuid().as_raw();
    if uid == 0 {
        return check("subordinate ids", Strength::Ok, "not needed by root", None);
    }
    let login = subid::login(&read("/etc/passwd"), uid);
    let count = |file: &str| subid::range(&read(file), login.as_deref(), uid).map_or(0, |range| range.count);
    let ids = count("/etc/subuid").min(count("/etc/subgid"));
    let programs = ["newuidmap", "newgidmap"].iter().all(|name| find(search, name).is_some());
    let ok = if programs && ids >= 65_535 { Strength::Ok } else { Strength::Weaker };
    let without =
        if ok == Strength::Ok { "" } else { "; without them steps cannot change owners, nor run as another user" };
    let detail = format!("{ids} ids, newuidmap {}{without}", if programs { "found" } else { "not found" });
    check(
        "subordinate ids",
        ok,
        detail,
        Some("install uidmap and give this user a range in /etc/subuid and /etc/subgid"),
    )
}

fn overlay(search: &[PathBuf]) -> Check {
    let known = read("/proc/filesystems").lines().any(|line| line.trim_start_matches("nodev").trim() == "overlay");
    let script = "mount -t tmpfs none /tmp && mkdir /tmp/l /tmp/u /tmp/w /tmp/m && \
        mount -t overlay none -o lowerdir=/tmp/l,upperdir=/tmp/u,workdir=/tmp/w,userxattr /tmp/m";
    let (ok, detail) = match succeeds(search, "unshare", &["-U", "-r", "-m", "sh", "-c", script]) {
        Some(true) => (Strength::Ok, "also in user namespaces"),
        _ if known && getuid().is_root() => (Strength::Ok, "known to the kernel"),
        _ if known => (Strength::Weaker, "known to the kernel, refused in a user namespace"),
        _ => (Strength::Missing, "not known to the kernel"),
    };
    check("overlayfs", ok, detail, Some("modprobe overlay; without it steps work on copies"))
}

/// What the executor does not do, said where it is looked for.
fn step_ids() -> Check {
    let detail = match is_privileged() {
        true => "steps share the ids of this program: root in a step is root here, within its sandbox",
        false => "steps have ids that are nobody's here",
    };
    let ok = if is_privileged() { Strength::Weaker } else { Strength::Ok };
    check("step isolation", ok, detail, Some("run as an ordinary user: root in a step is then not root here"))
}

fn seccomp() -> Check {
    let actions = read("/proc/sys/kernel/seccomp/actions_avail");
    let foreign = "; 32-bit programs get system calls only in a step that starts with one";
    let ok = if actions.split_whitespace().any(|action| action == "errno") { Strength::Ok } else { Strength::Missing };
    check("seccomp", ok, format!("{}{foreign}", actions.trim()), Some("the kernel needs CONFIG_SECCOMP_FILTER"))
}

fn present(errno: std::result::Result<(), Errno>) -> Strength {
    match errno {
        Err(Errno::NOSYS) => Strength::Missing,
        // A filter of a container answers so, and so does the kernel where the right is missing.
        Err(Errno::PERM) => Strength::Weaker,
        _ => Strength::Ok,
    }
}

fn open_beneath() -> Check {
    let opened =
        rustix::fs::openat2(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_MAGICLINKS);
    let ok = present(opened.map(drop));
    check("openat2", ok, "resolves paths inside a directory", Some("needs kernel 5.6 and a container that allows it"))
}

fn mount_interface() -> Check {
    let flags = rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC;
    let ok = present(rustix::mount::fsopen("tmpfs", flags).map(drop));
    let ok = if getuid().is_root() || ok == Strength::Missing { ok } else { Strength::Ok };
    check("mount interface", ok, "fsopen, move_mount, mount_setattr", Some("a container needs CAP_SYS_ADMIN for it"))
}

fn process_descriptors() -> Check {
    let ok = present(pidfd_open(getpid(), PidfdFlags::empty()).map(drop));
    check("pidfd", ok, "names processes without races", Some("needs kernel 5.3"))
}

fn landlock() -> Check {
    let (ok, detail) = match sys::landlock_abi() {
        Ok(abi) if abi >= LANDLOCK_WANTED => (Strength::Ok, format!("version {abi}")),
        Ok(abi) => (Strength::Weaker, format!("version {abi}")),
        Err(e) => (Strength::Missing, e.to_string()),
    };
    check("landlock", ok, detail, Some("add landlock to the kernel's lsm= parameter"))
}

/// Which limits steps can be given, controller by controller.
fn cgroups() -> Check {
    let host = Host::look();
    let found: Vec<_> = CONTROLLERS.iter().map(|name| (*name, host.usable(name))).collect();
    let tell = |(name, usable): &(&str, std::result::Result<u8, String>)| match usable {
        Ok(version) => format!("{name} (version {version})"),
        Err(why) => format!("no {name}: {why}"),
    };
    let ok = match found.iter().all(|(_, usable)| usable.is_ok()) {
        true => Strength::Ok,
        false => Strength::Weaker,
    };
    let hint = "without a controller its limits are refused (`--resource`), and without pids steps may start any \
        number of processes";
    check("limits of steps", ok, found.iter().map(tell).collect::<Vec<_>>().join(", "), Some(hint))
}

fn runtime(search: &[PathBuf], name: &'static str, purpose: &str) -> Check {
    match find(search, name) {
        Some(path) => check(name, Strength::Ok, path.display().to_string(), None),
        None => check(name, Strength::Weaker, format!("not found; only needed as {purpose}"), None),
    }
}

fn binfmt(search: &[PathBuf]) -> Check {
    let shown = |emulator: &Emulator| {
        let held = if emulator.fixed { "" } else { ", shown to steps at this path" };
        format!("{} ({}{held})", emulator.architecture, emulator.interpreter.display())
    };
    let registered: Vec<String> = emulators().iter().map(shown).collect();
    let installed = binfmt::available(search);
    let (ok, detail) = match (registered.is_empty(), installed.is_empty()) {
        (false, _) => (Strength::Ok, registered.join(", ")),
        (true, false) => (Strength::Weaker, format!("none registered; installed: {}", installed.join(", "))),
        (true, true) => (Strength::Weaker, "no other processor's programs can be run".to_owned()),
    };
    let hint = "to run steps of other platforms: apt-get install qemu-user-static binfmt-support, or \
        docker run --privileged --rm tonistiigi/binfmt --install all; \
        for an ordinary user (Linux 6.7) it is enough that qemu-user-static is installed";
    check("binfmt", ok, detail, Some(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version("6.18.44-fc"), Some((6, 18)));
        assert_eq!(version("5.4"), Some((5, 4)));
        assert_eq!(version("next"), None);
    }

    #[test]
    fn every_lack_has_a_hint_and_nothing_found_is_not_an_error() {
        for check in probe(&[]) {
            assert!(!check.detail.is_empty(), "{check:?}");
            let optional = ["runc", "crun"].contains(&check.name);
            assert!(optional || check.ok == Strength::Ok || check.hint.is_some(), "{check:?}");
        }
    }
}
