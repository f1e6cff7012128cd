//! Layers shown by overlayfs, mounted through the file-descriptor interface of the kernel.
//!
//! Does not know what layers are; only directories.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, move_mount, unmount,
};

use super::{Mounted, Snapshotter, View, root_of};
use crate::layers::dress_root;
use crate::root::refused;
use crate::{Error, ErrorKind, Result};

/// Lower directories the kernel stacks (`OVL_MAX_STACK`).
pub(crate) const MAX_LOWERS: usize = 499;
/// Bytes of options that mount(2) takes: one page.
const MAX_OPTIONS: usize = 4095;

/// The overlayfs snapshotter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overlay;

#[derive(Debug)]
struct Mounting {
    work: PathBuf,
    attached: bool,
}

impl Snapshotter for Overlay {
    fn mount(&self, view: View<'_>) -> Result<Box<dyn Mounted>> {
        let target = root_of(view.work);
        make_dir(&target)?;
        let lowers = lowers(&view)?;
        let upper = if view.readonly { None } else { Some(upper(&view)?) };
        attach(&lowers, upper.as_ref(), &target).map_err(|errno| failed(errno, lowers.len(), &target))?;
        Ok(Box::new(Mounting { work: view.work.to_owned(), attached: true }))
    }
}

fn failed(errno: Errno, lowers: usize, target: &Path) -> Error {
    refused("mount overlayfs at", target)(errno)
        .with_hint(format!("{lowers} layers; `cooper doctor` tells what this kernel and filesystem allow"))
}

impl Mounted for Mounting {
    fn commit(mut self: Box<Self>) -> Result<PathBuf> {
        let target = root_of(&self.work);
        // Not lazily: a process that still writes would change the layer behind our back.
        unmount(&target, UnmountFlags::NOFOLLOW).map_err(refused("unmount", &target))?;
        self.attached = false;
        Ok(self.work.join("upper"))
    }
}

impl Drop for Mounting {
    fn drop(&mut self) {
        if self.attached {
            let _ = unmount(root_of(&self.work), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        }
    }
}

fn make_dir(path: &Path) -> Result<()> {
    std::fs::create_dir(path).map_err(|error| Error::at("create", path, error))
}

/// A descriptor that names a directory in 20 bytes, whatever its path is and holds: option strings are short, and
/// `:` and `,` have meanings in them.
#[derive(Debug)]
struct Named(OwnedFd);

impl Named {
    fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path, flags, Mode::empty()).map(Self).map_err(refused("open layer", path))
    }

    fn name(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_fd().as_raw_fd())
    }
}

/// The lower directories, topmost first. A directory that appears twice would be refused by the kernel; only the
/// upper of the two can be seen. A view that is not written to shows the root directory's attributes by an empty
/// layer on top; overlayfs needs at least one lower directory, and two without an upper one.
fn lowers(view: &View<'_>) -> Result<Vec<Named>> {
    let mut paths: Vec<&Path> = Vec::new();
    for lower in view.lowers.iter().rev() {
        if !paths.contains(&lower.as_path()) {
            paths.push(lower);
        }
    }
    let mut named = Vec::with_capacity(paths.len() + 2);
    if view.readonly {
        let top = view.work.join("top");
        make_dir(&top)?;
        dress_root(&top, view.root, view.owners)?;
        named.push(Named::open(&top)?);
    }
    for path in &paths {
        named.push(Named::open(path)?);
    }
    if paths.is_empty() {
        let bottom = view.work.join("bottom");
        make_dir(&bottom)?;
        named.push(Named::open(&bottom)?);
    }
    match named.len() > MAX_LOWERS {
        true => Err(Error::new(ErrorKind::TooLarge, format!("overlayfs stacks at most {MAX_LOWERS} layers"))),
        false => Ok(named),
    }
}

/// The upper and work directories.
fn upper(view: &View<'_>) -> Result<(Named, Named)> {
    let (upper, work) = (view.work.join("upper"), view.work.join("work"));
    make_dir(&upper)?;
    make_dir(&work)?;
    dress_root(&upper, view.root, view.owners)?;
    Ok((Named::open(&upper)?, Named::open(&work)?))
}

fn attach(lowers: &[Named], upper: Option<&(Named, Named)>, target: &Path) -> rustix::io::Result<()> {
    let mounted = match configure(lowers, upper) {
        Err(Errno::INVAL | Errno::NOSYS) => return attach_old(lowers, upper, target),
        result => result?,
    };
    move_mount(mounted, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// A detached mount by the new interface (Linux 6.5 for `lowerdir+`).
fn configure(lowers: &[Named], upper: Option<&(Named, Named)>) -> rustix::io::Result<OwnedFd> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "source", "cooper")?;
    // Works without privilege, and keeps redirects and partial copies off: both would need other overlay mounts to read.
    fsconfig_set_flag(&fs, "userxattr")?;
    for lower in lowers {
        fsconfig_set_string(&fs, "lowerdir+", lower.name())?;
    }
    if let Some((upper, work)) = upper {
        fsconfig_set_string(&fs, "upperdir", upper.name())?;
        fsconfig_set_string(&fs, "workdir", work.name())?;
        // A step's fsync need not reach the disk: the layer is made durable as a whole by one syncfs, or dropped.
        fsconfig_set_flag(&fs, "volatile")?;
    }
    // As docker and BuildKit: hard links of lower layers part when one name is written to. Older kernels lack the option.
    let _ = fsconfig_set_string(&fs, "index", "off");
    fsconfig_create(&fs)?;
    let readonly = if upper.is_none() { MountAttrFlags::MOUNT_ATTR_RDONLY } else { MountAttrFlags::empty() };
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, readonly)
}

/// By mount(2), for kernels before 6.5: some 200 layers.
fn attach_old(lowers: &[Named], upper: Option<&(Named, Named)>, target: &Path) -> rustix::io::Result<()> {
    let names: Vec<_> = lowers.iter().map(Named::name).collect();
    let mut options = format!("userxattr,lowerdir={}", names.join(":"));
    let mut flags = MountFlags::RDONLY;
    if let Some((upper, work)) = upper {
        options.push_str(&format!(",upperdir={},workdir={}", upper.name(), work.name()));
        flags = MountFlags::empty();
    }
    if options.len() > MAX_OPTIONS {
        return Err(Errno::TOOBIG);
    }
    let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
    mount("cooper", target, "overlay", flags, options.as_c_str())
}
