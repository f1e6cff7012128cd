//! Everything in a cache mount, with what stat(2) says of it. Files may come and go meanwhile: what is gone is not there.
//!
//! Does not read contents.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cooper_oci::{Entry, EntryKind};
use rustix::fs::OFlags;

use crate::layers::scan::{MAX_DEPTH, describe, kind_of, open};
use crate::listing::check_path;
use crate::root::{FileKind, Root, attributes, names, refused};
use crate::{Error, ErrorKind, Result, Stat};

/// One inode of a mount.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) entry: Entry,
    pub(super) stat: Stat,
    /// When it was last read or written, as far as the filesystem notes it: seconds since 1970.
    pub(super) used: i64,
    /// Bytes of content; also of a further name of a file, whose content counts once.
    pub(super) size: u64,
}

/// Everything in the directory, itself first; names sorted. Devices and sockets belong to the machine and are left out.
pub(super) fn walk(root: &Root) -> Result<Vec<Found>> {
    let top = Path::new("");
    let dir = root.open_dir(top)?;
    let mut walk = Walk { names: HashMap::new(), found: Vec::new() };
    walk.add(File::from(dir.try_clone().map_err(|error| Error::at("open", top, error))?), top, EntryKind::Dir)?;
    walk.dir(dir.as_fd(), top, 0)?;
    Ok(walk.found)
}

struct Walk {
    /// First name of each inode with several.
    names: HashMap<(u64, u64), PathBuf>,
    found: Vec<Found>,
}

impl Walk {
    fn dir(&mut self, dir: BorrowedFd<'_>, path: &Path, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Error::new(ErrorKind::TooLarge, format!("{} is nested too deeply", path.display())));
        }
        for (name, _) in names(dir).map_err(refused("list", path))? {
            match self.name(dir, &name, &path.join(&name), depth) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => result?,
            }
        }
        Ok(())
    }

    fn name(&mut self, dir: BorrowedFd<'_>, name: &OsStr, path: &Path, depth: usize) -> Result<()> {
        let inode = attributes::inode_at(dir, name).map_err(refused("stat", path))?;
        if !matches!(inode.kind, FileKind::File | FileKind::Dir | FileKind::Symlink | FileKind::Fifo) {
            return Ok(());
        }
        check_path(path)?;
        let fd = open(dir, name, &inode).map_err(refused("open", path))?;
        if inode.kind != FileKind::Dir && inode.links > 1 {
            if let Some(target) = self.names.get(&inode.id).cloned() {
                return self.add(File::from(fd), path, EntryKind::Hardlink { target });
            }
            self.names.insert(inode.id, path.to_owned());
        }
        let kind = kind_of(fd.as_fd(), &inode, path)?;
        let is_dir = kind == EntryKind::Dir;
        let below = is_dir.then(|| attributes::reopen(fd.as_fd(), OFlags::RDONLY | OFlags::DIRECTORY));
        self.add(File::from(fd), path, kind)?;
        match below {
            Some(fd) => self.dir(fd.map_err(refused("open", path))?.as_fd(), path, depth + 1),
            None => Ok(()),
        }
    }

    fn add(&mut self, file: File, path: &Path, kind: EntryKind) -> Result<()> {
        let inode = attributes::inode(file.as_fd(), path)?;
        let meta = file.metadata().map_err(|error| Error::at("stat", path, error))?;
        let mut entry = describe(file.as_fd(), path, &inode, kind)?;
        match &mut entry.kind {
            EntryKind::Hardlink { .. } => entry.xattrs.clear(),
            // What was opened counts, not what was there before.
            EntryKind::File { size } => *size = inode.size,
            _ => {}
        }
        let size = if inode.kind == FileKind::File { inode.size } else { 0 };
        self.found.push(Found { entry, stat: Stat::from(&meta), used: meta.atime().max(meta.mtime()), size });
        Ok(())
    }
}
