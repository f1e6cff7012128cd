//! Removes a tree that others may be changing: by held directories, without following a link, at any depth.
//!
//! Does not know what the tree was.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{FileKind, names};

/// Levels entered at once. Deeper directories are first moved to the top, so that descriptors and stack stay bounded
/// however deep a build step nested them.
const MAX_DEPTH: usize = 64;
/// Passes over a directory that others keep filling, before giving up; passes that reached new depths do not count.
const MAX_PASSES: usize = 1000;

/// Removes `name` of a held directory with all beneath it; a missing one is fine.
pub(crate) fn remove_tree(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
    let (mut passes, mut moved) = (0, 0);
    while passes < MAX_PASSES {
        passes += 1;
        match unlink(dir, name) {
            Err(Errno::ISDIR) => {}
            result => return result,
        }
        match open(dir, name) {
            Ok(top) => {
                let before = moved;
                empty(top.as_fd(), top.as_fd(), 0, &mut moved)?;
                if moved > before {
                    passes = 0;
                }
            }
            // It became something else between the two calls: look again.
            Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => continue,
            Err(errno) => return Err(errno),
        }
        match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::NOTEMPTY)
}

fn open(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

fn unlink(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        // Linux says EISDIR; POSIX allows EPERM.
        Err(Errno::PERM) if is_dir(dir, name) => Err(Errno::ISDIR),
        result => result,
    }
}

fn is_dir(dir: BorrowedFd<'_>, name: &OsStr) -> bool {
    super::kind_at(dir, name) == Ok(FileKind::Dir)
}

/// Removes what is in `dir`. What cannot be removed because others raced is left to the next pass.
fn empty(top: BorrowedFd<'_>, dir: BorrowedFd<'_>, depth: usize, moved: &mut u64) -> rustix::io::Result<()> {
    for (name, kind) in names(dir)? {
        if kind != FileKind::Dir {
            match unlink(dir, &name) {
                Ok(()) | Err(Errno::ISDIR) => continue,
                Err(errno) => return Err(errno),
            }
        }
        if depth >= MAX_DEPTH {
            move_up(top, dir, &name, moved)?;
            continue;
        }
        match open(dir, &name) {
            Ok(child) => empty(top, child.as_fd(), depth + 1, moved)?,
            Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => continue,
            Err(errno) => return Err(errno),
        }
        match rustix::fs::unlinkat(dir, &name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn move_up(top: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &OsStr, moved: &mut u64) -> rustix::io::Result<()> {
    *moved += 1;
    match rustix::fs::renameat(dir, name, top, format!(".deep-{moved}")) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST | Errno::ISDIR | Errno::NOTDIR) => Ok(()),
        Err(errno) => Err(errno),
    }
}
