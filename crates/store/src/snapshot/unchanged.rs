//! Drops directories from a layer that say nothing new: those copied up for a file that came and went.
//!
//! Does not know who touched them; only directories in overlayfs's form. BuildKit leaves them out of layers as well.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::{Errno, Result as IoResult};

use crate::Result;
use crate::layers::dir::{OPAQUE, is_reserved};
use crate::root::{FileKind, Inode, attributes, names, refused};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes every empty directory below `upper` that `lowers` (base first) show with the same attributes. Its time does
/// not count: that a file came and went says nothing of the result.
pub(super) fn drop_directories(upper: &Path, lowers: &[PathBuf]) -> Result<()> {
    let root = rustix::fs::openat(CWD, upper, DIRECTORY, Mode::empty()).map_err(refused("open directory", upper))?;
    let mut pruning = Pruning { lowers, path: Vec::new() };
    pruning.below(root.as_fd()).map(drop).map_err(refused("look through", upper))
}

#[derive(Debug)]
struct Pruning<'a> {
    lowers: &'a [PathBuf],
    path: Vec<OsString>,
}

impl Pruning<'_> {
    /// Says whether the directory is empty now; its time stays what it was.
    fn below(&mut self, dir: BorrowedFd<'_>) -> IoResult<bool> {
        let (mut kept, mut dropped) = (false, false);
        let before = attributes::inode_at(dir, ".".as_ref())?;
        for (name, kind) in names(dir)? {
            if kind != FileKind::Dir {
                kept = true;
                continue;
            }
            let child = rustix::fs::openat(dir, &name, DIRECTORY, Mode::empty())?;
            self.path.push(name.clone());
            let gone = self.below(child.as_fd())? && self.is_unchanged(child.as_fd())?;
            self.path.pop();
            if gone {
                rustix::fs::unlinkat(dir, &name, AtFlags::REMOVEDIR)?;
            }
            (kept, dropped) = (kept || !gone, dropped || gone);
        }
        if dropped {
            attributes::set_mtime(dir, before.mtime)?;
        }
        Ok(!kept)
    }

    fn is_unchanged(&self, dir: BorrowedFd<'_>) -> IoResult<bool> {
        let below = self.shown()?;
        let Some(top) = below.first() else { return Ok(false) };
        if is_opaque(dir)? && !all_empty(&below)? {
            return Ok(false);
        }
        Ok(looks(dir)? == looks(top.as_fd())?)
    }

    /// The directories that the lower layers merge at the path, topmost first.
    fn shown(&self) -> IoResult<Vec<OwnedFd>> {
        let mut seen = Vec::with_capacity(self.lowers.len());
        for lower in self.lowers.iter().rev() {
            seen.push(rustix::fs::openat(CWD, lower, DIRECTORY, Mode::empty())?);
        }
        for name in &self.path {
            seen = step(&seen, name)?;
        }
        Ok(seen)
    }
}

/// One name further: the directories that are merged there, topmost first. Anything else hides what is below it.
fn step(dirs: &[OwnedFd], name: &OsString) -> IoResult<Vec<OwnedFd>> {
    let mut seen = Vec::new();
    for dir in dirs {
        match rustix::fs::openat(dir, name, DIRECTORY, Mode::empty()) {
            Ok(child) => {
                let last = is_opaque(child.as_fd())?;
                seen.push(child);
                if last {
                    break;
                }
            }
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR | Errno::LOOP) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(seen)
}

fn is_opaque(dir: BorrowedFd<'_>) -> IoResult<bool> {
    Ok(attributes::xattr(dir, OPAQUE)?.as_deref() == Some(b"y"))
}

fn all_empty(dirs: &[OwnedFd]) -> IoResult<bool> {
    for dir in dirs {
        if !names(dir.as_fd())?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Everything that a layer would say of a directory, but the time.
fn looks(dir: BorrowedFd<'_>) -> IoResult<impl PartialEq> {
    let Inode { mode, uid, gid, .. } = attributes::inode_at(dir, ".".as_ref())?;
    let mut xattrs = attributes::xattrs(dir)?;
    xattrs.retain(|name, _| !is_reserved(name));
    Ok((mode, uid, gid, xattrs))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn only_empty_directories_that_are_the_same_below_go() {
        let dir = tempfile::tempdir().unwrap();
        let [upper, base, middle] = ["upper", "base", "middle"].map(|name| dir.path().join(name));
        for path in ["base/etc/net", "base/kept", "base/mode", "base/hidden", "middle", "upper/etc/net", "upper/kept"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        for path in ["upper/mode", "upper/hidden", "upper/new/deep"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        fs::write(upper.join("kept/file"), "").unwrap();
        fs::set_permissions(upper.join("mode"), fs::Permissions::from_mode(0o700)).unwrap();
        // What a lower layer replaced is new again.
        symlink("etc", middle.join("hidden")).unwrap();
        drop_directories(&upper, &[base, middle]).unwrap();
        let left: Vec<bool> =
            ["etc", "kept/file", "mode", "hidden", "new/deep"].map(|path| upper.join(path).exists()).to_vec();
        assert_eq!(left, [false, true, true, true, true]);
    }
}
