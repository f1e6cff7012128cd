//! Drops from what was changed whatever is as the layers below have it: overlayfs copies a file that is only opened to
//! write or given the mode it had, and every snapshotter must give the same layer for the same step.
//!
//! Does not know how the changes were found.

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use cooper_oci::{Entry, EntryKind, Mtime};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::layers::dir::OPAQUE;
use crate::layers::scan::{describe, kind_of};
use crate::root::{FileKind, Inode, attributes, names, refused};
use crate::{ErrorKind, Result, Root};

/// Bytes compared at once.
const BLOCK: usize = 64 << 10;
/// How a directory of the changes is opened.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Drops the unchanged from a directory in overlayfs's form; `lowers` are the layers below it, base first.
pub(crate) fn drop_same(upper: &Path, lowers: &[PathBuf]) -> Result<()> {
    let lowers = lowers.iter().rev().map(|path| Root::open(path)).collect::<Result<Vec<_>>>()?;
    let dir = rustix::fs::openat(CWD, upper, DIRECTORY, Mode::empty()).map_err(refused("open directory", upper))?;
    drop_in(dir.as_fd(), Path::new(""), &lowers.iter().collect::<Vec<_>>())
}

/// `below` are the layers that show through here, topmost first; `path` is a directory in each of them.
fn drop_in(dir: BorrowedFd<'_>, path: &Path, below: &[&Root]) -> Result<()> {
    let before = attributes::inode(dir, path)?.mtime;
    let mut dropped = false;
    for (name, kind) in names(dir).map_err(refused("list", path))? {
        let path = path.join(&name);
        dropped |= match kind {
            FileKind::Dir => drop_dir(dir, &name, &path, below)?,
            _ => drop_file(dir, &name, &path, below)?,
        };
    }
    match dropped {
        true => attributes::set_mtime(dir, before).map_err(refused("set the time of", path)),
        false => Ok(()),
    }
}

fn drop_dir(dir: BorrowedFd<'_>, name: &OsStr, path: &Path, below: &[&Root]) -> Result<bool> {
    let upper = rustix::fs::openat(dir, name, DIRECTORY, Mode::empty()).map_err(refused("open directory", path))?;
    if is_opaque(upper.as_fd(), path)? {
        return Ok(false);
    }
    let (through, top) = directories(path, below)?;
    let Some(top) = top else { return Ok(false) };
    drop_in(upper.as_fd(), path, &through)?;
    let empty = names(upper.as_fd()).map_err(refused("list", path))?.is_empty();
    // Its time does not count: that a file came and went says nothing of the result. BuildKit leaves it out as well.
    let timeless = |fd| whole(fd, path).map(|entry| Entry { mtime: Mtime::default(), ..entry });
    if !empty || timeless(upper.as_fd())? != timeless(top.as_fd())? {
        return Ok(false);
    }
    drop(upper);
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR).map(|()| true).map_err(refused("remove", path))
}

/// The layers in which `path` is a directory that shows through, and the topmost of these directories.
fn directories<'r>(path: &Path, below: &[&'r Root]) -> Result<(Vec<&'r Root>, Option<OwnedFd>)> {
    let (mut through, mut top) = (Vec::new(), None);
    for root in below {
        let Some(found) = find(root, path)? else { continue };
        if attributes::inode(found.as_fd(), path)?.kind != FileKind::Dir {
            break;
        }
        let opaque = is_opaque(found.as_fd(), path)?;
        through.push(*root);
        top.get_or_insert(found);
        if opaque {
            break;
        }
    }
    Ok((through, top))
}

/// A file with several names stays: the others are linked to it.
fn drop_file(dir: BorrowedFd<'_>, name: &OsStr, path: &Path, below: &[&Root]) -> Result<bool> {
    let inode = attributes::inode_at(dir, name).map_err(refused("stat", path))?;
    if inode.is_whiteout() || inode.kind == FileKind::Socket || inode.links > 1 {
        return Ok(false);
    }
    let Some(lower) = topmost(path, below)? else { return Ok(false) };
    if !alike(&inode, &attributes::inode(lower.as_fd(), path)?) {
        return Ok(false);
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let upper = rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(refused("open", path))?;
    if whole(upper.as_fd(), path)? != whole(lower.as_fd(), path)? {
        return Ok(false);
    }
    if inode.kind == FileKind::File && !same_content(upper.as_fd(), lower.as_fd(), path)? {
        return Ok(false);
    }
    rustix::fs::unlinkat(dir, name, AtFlags::empty()).map(|()| true).map_err(refused("remove", path))
}

/// What `path` is in the topmost layer that has it.
fn topmost(path: &Path, below: &[&Root]) -> Result<Option<OwnedFd>> {
    below.iter().find_map(|root| find(root, path).transpose()).transpose()
}

fn find(root: &Root, path: &Path) -> Result<Option<OwnedFd>> {
    match root.open_link(path) {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_opaque(dir: BorrowedFd<'_>, path: &Path) -> Result<bool> {
    let value = attributes::xattr(dir, OPAQUE).map_err(refused("read an attribute of", path))?;
    Ok(value.as_deref() == Some(b"y"))
}

/// Cheap to ask, and what nearly every change changes.
fn alike(a: &Inode, b: &Inode) -> bool {
    (a.kind, a.mode, a.uid, a.gid, a.size, a.mtime) == (b.kind, b.mode, b.uid, b.gid, b.size, b.mtime)
}

/// Everything a layer says of an inode but its content.
fn whole(fd: BorrowedFd<'_>, path: &Path) -> Result<Entry> {
    let inode = attributes::inode(fd, path)?;
    let kind = if inode.kind == FileKind::Dir { EntryKind::Dir } else { kind_of(fd, &inode, path)? };
    describe(fd, path, &inode, kind)
}

fn same_content(a: BorrowedFd<'_>, b: BorrowedFd<'_>, path: &Path) -> Result<bool> {
    let open = |fd| attributes::reopen(fd, OFlags::RDONLY).map(std::fs::File::from).map_err(refused("open", path));
    let (mut a, mut b) = (open(a)?, open(b)?);
    let (mut left, mut right) = (Vec::with_capacity(BLOCK), Vec::with_capacity(BLOCK));
    loop {
        left.clear();
        right.clear();
        for (file, block) in [(&mut a, &mut left), (&mut b, &mut right)] {
            file.take(BLOCK as u64).read_to_end(block).map_err(|error| crate::Error::at("read", path, error))?;
        }
        if left != right || left.is_empty() {
            return Ok(left == right);
        }
    }
}
