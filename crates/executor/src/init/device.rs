//! The /dev of a step: a fresh tmpfs with the harmless devices of the host, a pts of its own, shm and mqueue.
//!
//! Knows nothing of the root it is mounted in.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, makedev};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string,
    fsmount, fsopen, move_mount, open_tree,
};

use crate::{Error, ErrorKind, Result};

/// Devices a program may expect, with the numbers that prove them to be what their names say.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// What a step that is not masked gets besides, as far as the host has it: BuildKit's list, with the first loop devices.
pub(crate) const FURTHER: [&str; 14] = [
    "kmsg",
    "cuse",
    "fuse",
    "kvm",
    "net/tun",
    "loop-control",
    "loop0",
    "loop1",
    "loop2",
    "loop3",
    "loop4",
    "loop5",
    "loop6",
    "loop7",
];

const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Group of terminals in every distribution.
const TTY_GROUP: &str = "5";

/// Attributes of filesystems that hold no programs.
pub(super) const INERT: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV).union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// What [`fill`] mounts, made while the host's /dev is still in sight.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) dev: OwnedFd,
    nodes: Vec<(&'static str, OwnedFd)>,
    pts: OwnedFd,
    mqueue: Option<OwnedFd>,
}

/// A new filesystem, not mounted anywhere yet.
pub(super) fn fresh(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> std::result::Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(&context, *key, *value)?;
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Mounts `mount` on the directory or file `target` is open on.
pub(crate) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", flags)
}

/// A second mount of what `fd` is open on, with what is mounted below it if `recursive`.
pub(crate) fn clone(fd: BorrowedFd<'_>, recursive: bool) -> std::result::Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(fd, c"", flags)
}

/// Gathers what /dev is made of.
pub(super) fn sources(masked: bool) -> Result<Sources> {
    let failed = |e: Errno| Error::caused(ErrorKind::Host, "cannot make /dev for the step", e.into());
    let dev = fresh("tmpfs", &[("mode", "0755"), ("size", "65536k")], MountAttrFlags::MOUNT_ATTR_NOSUID);
    let mut nodes = DEVICES.iter().map(|device| Ok((device.0, node(device)?))).collect::<Result<Vec<_>>>()?;
    if !masked {
        nodes.extend(FURTHER.iter().filter_map(|name| Some((*name, further(name)?))));
    }
    let mqueue = match fresh("mqueue", &[], INERT) {
        Ok(fd) => Some(fd),
        // A kernel without POSIX message queues.
        Err(Errno::NODEV) => None,
        Err(e) => return Err(failed(e)),
    };
    Ok(Sources { dev: dev.map_err(failed)?, nodes, pts: terminals().map_err(failed)?, mqueue })
}

/// A mount of one device of the host, proved by its number.
fn node((name, major, minor): &(&'static str, u32, u32)) -> Result<OwnedFd> {
    let path = format!("/dev/{name}");
    let failed = |e: Errno| Error::caused(ErrorKind::Host, format!("cannot use the host's {path}"), e.into());
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(&path, flags, Mode::empty()).map_err(failed)?;
    let stat = rustix::fs::fstat(&fd).map_err(failed)?;
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if !is_device || stat.st_rdev != makedev(*major, *minor) {
        return Err(Error::new(ErrorKind::Host, format!("the host's {path} is not device {major}:{minor}")));
    }
    clone(fd.as_fd(), false).map_err(failed)
}

/// A mount of a device of the host, if it is there.
fn further(name: &str) -> Option<OwnedFd> {
    let path = format!("/dev/{name}");
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd).ok()?.st_mode);
    if !kind.is_char_device() && !kind.is_block_device() {
        return None;
    }
    clone(fd.as_fd(), false).ok()
}

/// A devpts of its own. Group 5 may have no id here (a namespace of one id); the default then is as good.
fn terminals() -> std::result::Result<OwnedFd, Errno> {
    let options = [("mode", "0620"), ("ptmxmode", "0666"), ("gid", TTY_GROUP)];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fresh("devpts", &options, attributes).or_else(|_| fresh("devpts", &options[..2], attributes))
}

/// Fills the mounted tmpfs `dev`. Nothing else can change it yet: the step does not run.
pub(super) fn fill(sources: &Sources) -> Result<()> {
    let dev = sources.dev.as_fd();
    let failed = |e: Errno| Error::io("cannot fill /dev", e.into());
    if sources.nodes.iter().any(|(name, _)| name.starts_with("net/")) {
        rustix::fs::mkdirat(dev, "net", Mode::from_raw_mode(0o755)).map_err(failed)?;
    }
    for (name, node) in &sources.nodes {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        rustix::fs::openat(dev, *name, flags, Mode::from_raw_mode(0o644)).map_err(failed)?;
        put(node, dev, name).map_err(failed)?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, dev, name).map_err(failed)?;
    }
    for name in ["pts", "shm", "mqueue"] {
        rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(0o755)).map_err(failed)?;
    }
    put(&sources.pts, dev, "pts").map_err(failed)?;
    match &sources.mqueue {
        Some(mqueue) => put(mqueue, dev, "mqueue").map_err(failed),
        None => rustix::fs::unlinkat(dev, "mqueue", rustix::fs::AtFlags::REMOVEDIR).map_err(failed),
    }
}

/// Mounts `mount` on the entry `name` of a /dev that nobody else can reach yet.
pub(super) fn put(mount: &OwnedFd, dev: BorrowedFd<'_>, name: &str) -> std::result::Result<(), Errno> {
    move_mount(mount, c"", dev, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

impl Sources {
    /// The null device inside the step, to cover files with.
    pub(super) fn null(&self) -> Option<BorrowedFd<'_>> {
        self.nodes.first().map(|(_, fd)| fd.as_fd())
    }

    /// The terminals of the step.
    pub(super) fn into_terminals(self) -> OwnedFd {
        self.pts
    }
}
