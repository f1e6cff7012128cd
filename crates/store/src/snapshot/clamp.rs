//! Lowers modification times in a directory tree to a bound, so that layers do not depend on when they were made, and drops what no tar can hold.
//!
//! Does not know why a bound was chosen.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use cooper_oci::Mtime;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::Result;
use crate::root::{FileKind, attributes, names, refused};

/// Lowers every time later than `clamp` (seconds since 1970; `None` lowers nothing), the root directory's included.
/// Gives the bytes that the tree takes on disk.
pub(crate) fn clamp_tree(path: &Path, clamp: Option<i64>) -> Result<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(refused("open directory", path))?;
    let bound = clamp.map(|secs| Mtime { secs, nanos: 0 });
    let size = clamp_below(root.as_fd(), bound).map_err(refused("set times in", path))?;
    let inode = attributes::inode(root.as_fd(), path)?;
    if let Some(bound) = bound.filter(|bound| inode.mtime > *bound) {
        attributes::set_mtime(root.as_fd(), bound).map_err(refused("set the time of", path))?;
    }
    Ok(size)
}

/// Sockets go: a tar has none, so a later step must not see one merely because the layer was never a blob.
fn clamp_below(dir: BorrowedFd<'_>, bound: Option<Mtime>) -> rustix::io::Result<u64> {
    let mut size = 0;
    for (name, _) in names(dir)? {
        let inode = attributes::inode_at(dir, &name)?;
        // Several names share their bytes evenly.
        size += inode.size / inode.links.max(1);
        match inode.kind {
            FileKind::Socket => {
                rustix::fs::unlinkat(dir, &name, AtFlags::empty())?;
                continue;
            }
            FileKind::Dir => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let child = rustix::fs::openat(dir, &name, flags, Mode::empty())?;
                size += clamp_below(child.as_fd(), bound)?;
            }
            _ => {}
        }
        // After what is beneath: a socket that went has changed the time of its directory.
        let wanted = bound.map_or(inode.mtime, |bound| inode.mtime.min(bound));
        if wanted != inode.mtime || inode.kind == FileKind::Dir {
            attributes::set_mtime_at(dir, &name, wanted)?;
        }
    }
    Ok(size)
}
