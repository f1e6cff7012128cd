//! Makes the given directory the root of this process, with everything a step expects mounted in it.
//!
//! Knows nothing of the program. Sources are opened or made before `pivot_root`, targets resolved after it: by then
//! nothing outside can be named any more, whatever links the root contains.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::thread::UnshareFlags;

use super::device::{self, INERT, Sources};
use super::tree::{Missing, Tree};
use crate::sys::{self, MountAttr};
use crate::wire::{MountSpec, SourceSpec, Spec};
use crate::{DeviceNode, Error, ErrorKind, Result};

/// Parts of /proc that tell of the host: covered.
pub(crate) const MASKED_PROC: [&str; 10] = [
    "acpi",
    "asound",
    "kcore",
    "keys",
    "latency_stats",
    "timer_list",
    "timer_stats",
    "sched_debug",
    "scsi",
    "interrupts",
];
/// Parts of /sys likewise.
pub(crate) const MASKED_SYS: [&str; 2] = ["firmware", "devices/virtual/powercap"];
/// Parts of /proc through which the host could be changed: read-only.
pub(crate) const READONLY_PROC: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Host name if none is asked for.
const HOSTNAME: &str = "cooper";
/// Bytes of a host name, as in the kernel.
const MAX_HOSTNAME: usize = 64;

/// The root of a step, while it lasts.
#[derive(Debug, Default)]
pub(super) struct Root {
    tree: Option<Tree>,
    readonly: bool,
    terminals: Option<OwnedFd>,
    cwd: Option<OwnedFd>,
}

/// What is mounted, made before the host's files go out of sight.
struct Parts {
    dev: Sources,
    proc: OwnedFd,
    sys: Option<OwnedFd>,
    /// A private tmpfs in which small files are written before they are mounted one by one.
    files: OwnedFd,
    binds: Vec<Option<OwnedFd>>,
}

/// Enters `root_fd`, which becomes `/`.
pub(super) fn enter(
    root: &mut Root,
    root_fd: OwnedFd,
    spec: &Spec,
    fds: &mut dyn Iterator<Item = OwnedFd>,
) -> Result<()> {
    rustix::process::umask(Mode::empty());
    let new_root = clone_root(&root_fd, spec)?;
    let binds = spec.mounts.iter().map(|mount| clone_bind(mount, spec.profile.masked, fds)).collect::<Result<_>>()?;
    sys::unshare(UnshareFlags::NEWNS)
        .map_err(|e| Error::caused(ErrorKind::Host, "cannot make a mount namespace for the step", e))?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|e| Error::io("cannot make mounts private", e.into()))?;
    let parts = gather(binds, spec.profile.masked)?;
    pivot(&new_root).map_err(|e| Error::io("cannot enter the root", e.into()))?;
    let tree = root.tree.insert(Tree::new(new_root));
    furnish(tree, &parts, spec)?;
    set_hostname(spec)?;
    root.cwd = Some(directory(tree, &spec.cwd)?);
    root.terminals = Some(parts.dev.into_terminals());
    if spec.readonly_root {
        root.protect(true)?;
    }
    Ok(())
}

impl Root {
    /// Where the program starts.
    pub(super) fn cwd(&self) -> Option<BorrowedFd<'_>> {
        self.cwd.as_ref().map(AsFd::as_fd)
    }

    /// The mounted devpts.
    pub(super) fn terminals(&self) -> Option<BorrowedFd<'_>> {
        self.terminals.as_ref().map(AsFd::as_fd)
    }

    /// The files of the root.
    pub(super) fn tree(&mut self) -> Option<&mut Tree> {
        self.tree.as_mut()
    }

    /// Makes the root itself read-only, or writable again.
    fn protect(&mut self, readonly: bool) -> Result<()> {
        let Some(tree) = &self.tree else { return Ok(()) };
        let flag = u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits());
        let attr = if readonly {
            MountAttr { set: flag, ..MountAttr::default() }
        } else {
            MountAttr { clear: flag, ..MountAttr::default() }
        };
        sys::mount_setattr(tree.root().as_fd(), false, attr)
            .map_err(|e| Error::io("cannot make the root read-only", e))?;
        self.readonly = readonly;
        Ok(())
    }

    /// Removes what was made to mount on. To be called when no process of the step is left.
    pub(super) fn clean_up(&mut self) {
        if self.readonly {
            // If this fails the stubs stay, as they would have to.
            let _still_readonly = self.protect(false);
        }
        self.cwd = None;
        if let Some(tree) = &mut self.tree {
            tree.remove_stubs();
        }
    }
}

fn clone_root(root: &OwnedFd, spec: &Spec) -> Result<OwnedFd> {
    let failed = |e| Error::caused(ErrorKind::Host, "cannot mount the root of the step", e);
    let tree = device::clone(root.as_fd(), true).map_err(|e| failed(e.into()))?;
    let private = MountAttr { propagation: libc::MS_PRIVATE, ..MountAttr::default() };
    sys::mount_setattr(tree.as_fd(), true, private).map_err(failed)?;
    if spec.profile.masked {
        restrict(&tree, MountAttrFlags::MOUNT_ATTR_NODEV, false).map_err(failed)?;
    }
    Ok(tree)
}

fn restrict(mount: &OwnedFd, flags: MountAttrFlags, recursive: bool) -> std::io::Result<()> {
    let attr = MountAttr { set: u64::from(flags.bits()), ..MountAttr::default() };
    sys::mount_setattr(mount.as_fd(), recursive, attr)
}

/// Takes the next descriptor for a bind mount and clones it with its flags.
fn clone_bind(mount: &MountSpec, masked: bool, fds: &mut dyn Iterator<Item = OwnedFd>) -> Result<Option<OwnedFd>> {
    let is_device = matches!(mount.source, SourceSpec::Device(_));
    if !is_device && !matches!(mount.source, SourceSpec::Bind) {
        return Ok(None);
    }
    let failed = |e| Error::io(format!("cannot mount the source of {}", mount.target), e);
    let fd = fds.next().ok_or_else(|| failed(std::io::ErrorKind::UnexpectedEof.into()))?;
    let tree = device::clone(fd.as_fd(), true).map_err(|e| failed(e.into()))?;
    let private = MountAttr { propagation: libc::MS_PRIVATE, ..MountAttr::default() };
    sys::mount_setattr(tree.as_fd(), true, private).map_err(failed)?;
    let mut flags = MountAttrFlags::empty();
    flags.set(MountAttrFlags::MOUNT_ATTR_RDONLY, mount.readonly);
    flags.set(MountAttrFlags::MOUNT_ATTR_NODEV, masked && !is_device);
    restrict(&tree, flags, true).map_err(failed)?;
    Ok(Some(tree))
}

fn gather(binds: Vec<Option<OwnedFd>>, masked: bool) -> Result<Parts> {
    let proc = device::fresh("proc", &[], INERT).map_err(|e| {
        Error::caused(ErrorKind::Host, "cannot mount a /proc for the step", e.into())
            .with_hint("in a container this needs an unmasked /proc (`--security-opt systempaths=unconfined`)")
    })?;
    let files = device::fresh("tmpfs", &[("mode", "0700")], INERT)
        .map_err(|e| Error::caused(ErrorKind::Host, "cannot mount a tmpfs", e.into()))?;
    Ok(Parts { dev: device::sources(masked)?, proc, sys: sysfs(masked), files, binds })
}

/// A /sys, read-only if `masked`: of our own network namespace, else the host's if that may be shown, else none.
fn sysfs(masked: bool) -> Option<OwnedFd> {
    let mut flags = INERT;
    flags.set(MountAttrFlags::MOUNT_ATTR_RDONLY, masked);
    if let Ok(own) = device::fresh("sysfs", &[], flags) {
        return Some(own);
    }
    let host = rustix::fs::open("/sys", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let tree = device::clone(host.as_fd(), true).ok()?;
    restrict(&tree, flags, true).ok()?;
    Some(tree)
}

fn pivot(root: &OwnedFd) -> std::result::Result<(), Errno> {
    let here = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    device::attach(root.as_fd(), here.as_fd())?;
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::fchdir(root)?;
    rustix::process::chroot(".")
}

/// Mounts everything into the new root.
fn furnish(tree: &mut Tree, parts: &Parts, spec: &Spec) -> Result<()> {
    place(tree, &parts.proc, "/proc")?;
    if let Some(sys) = &parts.sys {
        place(tree, sys, "/sys")?;
    }
    place(tree, &parts.dev.dev, "/dev")?;
    device::fill(&parts.dev)?;
    if spec.profile.masked {
        mask(parts).map_err(|e| Error::caused(ErrorKind::Host, "cannot mask parts of /proc and /sys", e))?;
    }
    let mut files = Files::open(parts)?;
    let mut mounts = host_files(spec, &mut files)?;
    for (mount, bind) in spec.mounts.iter().zip(&parts.binds) {
        mounts.push((mount.target.as_str(), source(mount, bind.as_ref(), &mut files)?));
    }
    files.close(parts)?;
    mounts.iter().try_for_each(|(target, mount)| place(tree, mount, target))
}

/// Mounts `mount` on `target`, which is made if missing.
fn place(tree: &mut Tree, mount: &OwnedFd, target: &str) -> Result<()> {
    let failed = |e: Errno| Error::caused(ErrorKind::Process, format!("cannot mount on {target}"), e.into());
    if !target.starts_with('/') {
        return Err(Error::new(ErrorKind::Process, format!("the mount target {target:?} is not absolute")));
    }
    let kind = FileType::from_raw_mode(rustix::fs::fstat(mount).map_err(failed)?.st_mode);
    let directory = kind == FileType::Directory;
    let found = tree.resolve(target, if directory { Missing::StubDirectory } else { Missing::StubFile })?;
    if found.is_directory() != directory {
        let what = if directory { "a directory on the file" } else { "a file on the directory" };
        return Err(Error::new(ErrorKind::Process, format!("cannot mount {what} {target}")));
    }
    let at = rustix::fs::fstat(&found.fd).map_err(failed)?;
    let root = rustix::fs::fstat(tree.root()).map_err(failed)?;
    if (at.st_dev, at.st_ino) == (root.st_dev, root.st_ino) {
        return Err(Error::new(ErrorKind::Process, format!("cannot mount on {target}: it is the root itself")));
    }
    device::attach(mount.as_fd(), found.fd.as_fd()).map_err(failed)
}

/// Covers what tells of the host and protects what changes it. Everything is reached through the mounts just made.
fn mask(parts: &Parts) -> std::io::Result<()> {
    let flags = INERT | MountAttrFlags::MOUNT_ATTR_RDONLY;
    let empty = device::fresh("tmpfs", &[("mode", "0755"), ("size", "4k")], flags)?;
    let null = parts.dev.null().ok_or(std::io::ErrorKind::NotFound)?;
    let mut cover = Cover { empty, placed: false, null };
    for name in MASKED_PROC {
        cover.put(&parts.proc, name)?;
    }
    for name in MASKED_SYS {
        if let Some(sys) = &parts.sys {
            cover.put(sys, name)?;
        }
    }
    READONLY_PROC.iter().try_for_each(|name| freeze(&parts.proc, name))
}

/// An empty directory and a null device to lay over things.
struct Cover<'p> {
    empty: OwnedFd,
    placed: bool,
    null: BorrowedFd<'p>,
}

impl Cover<'_> {
    fn put(&mut self, base: &OwnedFd, name: &str) -> std::io::Result<()> {
        let Some(target) = beneath(base, name)? else { return Ok(()) };
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&target)?.st_mode);
        if kind != FileType::Directory {
            return Ok(device::attach(device::clone(self.null, false)?.as_fd(), target.as_fd())?);
        }
        // The mount itself goes on the first directory; only from there older kernels let it be cloned.
        if std::mem::replace(&mut self.placed, true) {
            return Ok(device::attach(device::clone(self.empty.as_fd(), false)?.as_fd(), target.as_fd())?);
        }
        Ok(device::attach(self.empty.as_fd(), target.as_fd())?)
    }
}

/// Makes `name` below `base` read-only by a mount of itself.
fn freeze(base: &OwnedFd, name: &str) -> std::io::Result<()> {
    let Some(target) = beneath(base, name)? else { return Ok(()) };
    let tree = device::clone(target.as_fd(), true)?;
    restrict(&tree, INERT | MountAttrFlags::MOUNT_ATTR_RDONLY, true)?;
    Ok(device::attach(tree.as_fd(), target.as_fd())?)
}

fn beneath(base: &OwnedFd, name: &str) -> std::result::Result<Option<OwnedFd>, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(base, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Small files in memory, mounted one by one. The tmpfs that holds them is mounted on /dev/shm while they are written
/// (older kernels clone only what is mounted) and is reachable by nobody afterwards.
struct Files<'p> {
    store: &'p OwnedFd,
    count: u32,
}

impl<'p> Files<'p> {
    fn open(parts: &'p Parts) -> Result<Self> {
        device::put(&parts.files, parts.dev.dev.as_fd(), "shm").map_err(Self::failed)?;
        Ok(Self { store: &parts.files, count: 0 })
    }

    fn failed(e: Errno) -> Error {
        Error::io("cannot make a file in memory", e.into())
    }

    /// A read-only mount of a file with this content, mode and owner.
    fn add(&mut self, content: &[u8], mode: u32, uid: u32, gid: u32) -> Result<OwnedFd> {
        use std::io::Write;
        let name = self.count.to_string();
        self.count += 1;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.store, &name, flags, Mode::empty()).map_err(Self::failed)?;
        let owner = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        rustix::fs::fchown(&fd, Some(owner.0), Some(owner.1)).map_err(|e| {
            let what = format!("cannot give a mounted file to {uid}:{gid}: these ids are not available here");
            Error::caused(ErrorKind::Host, what, e.into())
        })?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode & 0o7777)).map_err(Self::failed)?;
        std::fs::File::from(fd).write_all(content).map_err(|e| Error::io("cannot write a file in memory", e))?;
        let path = rustix::fs::openat(self.store, &name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let mount = path.and_then(|fd| device::clone(fd.as_fd(), false)).map_err(Self::failed)?;
        // A here-document that is a program is run from here.
        let clear = if mode & 0o111 == 0 { MountAttrFlags::empty() } else { MountAttrFlags::MOUNT_ATTR_NOEXEC };
        let set = (INERT | MountAttrFlags::MOUNT_ATTR_RDONLY).difference(clear);
        let attr = MountAttr { set: u64::from(set.bits()), clear: u64::from(clear.bits()), ..MountAttr::default() };
        sys::mount_setattr(mount.as_fd(), false, attr)
            .map_err(|e| Error::io("cannot make a file in memory read-only", e))?;
        Ok(mount)
    }

    /// A mount of a new node for the device `host` is one of, with the permissions and owner of `node`.
    fn add_device(&mut self, host: &OwnedFd, node: &DeviceNode) -> Result<OwnedFd> {
        let refused = |e: Errno| {
            Error::caused(ErrorKind::Host, "cannot give a device other permissions than the host's", e.into())
                .with_hint("only root of the host can; leave them out of the device's description")
        };
        let stat = rustix::fs::fstat(host).map_err(Self::failed)?;
        let name = self.count.to_string();
        self.count += 1;
        let mode = Mode::from_raw_mode(node.mode.unwrap_or(stat.st_mode) & 0o7777);
        let kind = FileType::from_raw_mode(stat.st_mode);
        rustix::fs::mknodat(self.store, &name, kind, mode, stat.st_rdev).map_err(refused)?;
        let path = rustix::fs::openat(self.store, &name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let path = path.map_err(Self::failed)?;
        let (uid, gid) = (node.uid.unwrap_or(stat.st_uid), node.gid.unwrap_or(stat.st_gid));
        let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        rustix::fs::chownat(&path, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH).map_err(refused)?;
        let mount = device::clone(path.as_fd(), false).map_err(Self::failed)?;
        let clear = u64::from(MountAttrFlags::MOUNT_ATTR_NODEV.bits());
        sys::mount_setattr(mount.as_fd(), false, MountAttr { clear, ..MountAttr::default() })
            .map_err(|e| Error::io("cannot show a device", e))?;
        Ok(mount)
    }

    fn close(self, parts: &Parts) -> Result<()> {
        rustix::process::fchdir(self.store).map_err(Self::failed)?;
        unmount(".", UnmountFlags::DETACH).map_err(Self::failed)?;
        rustix::process::chdir("/").map_err(Self::failed)?;
        let shm = device::fresh("tmpfs", &[("mode", "1777"), ("size", "65536k")], INERT).map_err(Self::failed)?;
        device::put(&shm, parts.dev.dev.as_fd(), "shm").map_err(Self::failed)
    }
}

/// The source of a mount, ready to be placed.
fn source(mount: &MountSpec, bind: Option<&OwnedFd>, files: &mut Files<'_>) -> Result<OwnedFd> {
    let failed = |e: Errno| Error::io(format!("cannot make the source of {}", mount.target), e.into());
    match (&mount.source, bind) {
        (SourceSpec::Bind, Some(fd)) => rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(failed),
        (SourceSpec::Device(node), Some(fd)) if *node == DeviceNode::default() => {
            rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(failed)
        }
        (SourceSpec::Device(node), Some(fd)) => files.add_device(fd, node),
        (SourceSpec::Bind | SourceSpec::Device(_), None) => Err(failed(Errno::BADF)),
        (SourceSpec::Bytes { content, mode, uid, gid }, _) => files.add(content, *mode, *uid, *gid),
        (SourceSpec::Tmpfs(size), _) => {
            let mut flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
            flags.set(MountAttrFlags::MOUNT_ATTR_RDONLY, mount.readonly);
            let size = size.map(|bytes| bytes.to_string());
            let mut options = vec![("mode", "1777")];
            options.extend(size.as_deref().map(|bytes| ("size", bytes)));
            device::fresh("tmpfs", &options, flags).map_err(failed)
        }
    }
}

/// /etc/hosts, /etc/hostname and, if given, /etc/resolv.conf.
fn host_files(spec: &Spec, files: &mut Files<'_>) -> Result<Vec<(&'static str, OwnedFd)>> {
    let mut all = vec![
        ("/etc/hosts", files.add(hosts(spec)?.as_bytes(), 0o644, 0, 0)?),
        ("/etc/hostname", files.add(format!("{}\n", hostname(spec)).as_bytes(), 0o644, 0, 0)?),
    ];
    if let Some(content) = &spec.resolv_conf {
        all.push(("/etc/resolv.conf", files.add(content, 0o644, 0, 0)?));
    }
    Ok(all)
}

pub(crate) fn hostname(spec: &Spec) -> &str {
    if spec.hostname.is_empty() { HOSTNAME } else { &spec.hostname }
}

pub(crate) fn hosts(spec: &Spec) -> Result<String> {
    let name = hostname(spec);
    let mut text = format!("127.0.0.1\tlocalhost {name}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (host, address) in &spec.extra_hosts {
        if [host, address].iter().any(|s| s.is_empty() || s.contains(|c: char| c.is_whitespace() || c.is_control())) {
            return Err(Error::new(ErrorKind::Process, format!("{host:?} {address:?} is no line of /etc/hosts")));
        }
        text.push_str(&format!("{address}\t{host}\n"));
    }
    Ok(text)
}

fn set_hostname(spec: &Spec) -> Result<()> {
    let name = hostname(spec);
    if name.len() > MAX_HOSTNAME || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Error::new(
            ErrorKind::Process,
            format!("{name:?} is no host name of at most {MAX_HOSTNAME} bytes"),
        ));
    }
    rustix::system::sethostname(name.as_bytes()).map_err(|e| Error::io("cannot set the host name", e.into()))
}

/// Opens the working directory, made if missing.
fn directory(tree: &mut Tree, path: &str) -> Result<OwnedFd> {
    if !path.starts_with('/') {
        return Err(Error::new(ErrorKind::Process, format!("the working directory {path:?} is not absolute")));
    }
    let found = tree.resolve(path, Missing::Make)?;
    if found.is_directory() {
        Ok(found.fd)
    } else {
        Err(Error::new(ErrorKind::Process, format!("the working directory {path} is a file")))
    }
}
