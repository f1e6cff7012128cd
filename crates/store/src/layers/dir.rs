//! Writes the entries of a layer into a directory of its own, in overlayfs's form: removals are 0:0 devices, opaque
//! directories carry an attribute.
//!
//! Never follows a link of the layer: parents are opened beneath the held directory, attributes set by descriptor.
//! Does not know tar, nor whether an entry is allowed where it stands (the listing decides).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use cooper_oci::{Entry, EntryKind, Mtime};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::listing::ContentDigest;
use crate::root::{FileKind, attributes, refused, remove_tree};
use crate::{Error, Ownership, Result};

/// The attribute of an opaque directory, in overlayfs mounted with `userxattr`, which needs no privilege.
pub(crate) const OPAQUE: &[u8] = b"user.overlay.opaque";
/// Attributes that would steer overlayfs: taken from no image and written into no layer.
const RESERVED: [&[u8]; 2] = [b"user.overlay.", b"trusted.overlay."];
/// Bytes copied at once.
const BUFFER: usize = 128 << 10;
/// Warnings kept of one layer; more of the same do not help.
const MAX_WARNINGS: usize = 20;

/// An attribute that belongs to overlayfs, not to the file.
pub(crate) fn is_reserved(name: &[u8]) -> bool {
    RESERVED.iter().any(|prefix| name.starts_with(prefix))
}

/// A layer directory being written.
#[derive(Debug)]
pub(crate) struct LayerDir {
    root: OwnedFd,
    ownership: Ownership,
    /// The parent used last: entries of a tar mostly come directory by directory.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Times of directories, set at the end because every entry beneath changes them.
    times: BTreeMap<PathBuf, Mtime>,
    buffer: Vec<u8>,
    /// What this host could not represent on disk (the listing still has it).
    pub(crate) warnings: Vec<String>,
}

impl LayerDir {
    /// Writes into an existing directory of ours.
    pub(crate) fn open(path: &Path, ownership: Ownership) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(refused("open directory", path))?;
        let (parent, times) = (None, BTreeMap::new());
        Ok(Self { root, ownership, parent, times, buffer: vec![0; BUFFER], warnings: Vec::new() })
    }

    /// Writes one entry, replacing what is there; `data` is read only for a regular file, whose digest is given back.
    pub(crate) fn put(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<Option<ContentDigest>> {
        let path = &entry.path;
        match &entry.kind {
            EntryKind::File { size } => return self.put_file(entry, *size, data).map(Some),
            EntryKind::Dir => self.put_dir(entry)?,
            EntryKind::Symlink { target } => {
                self.place(path, |dir, name| rustix::fs::symlinkat(target, dir, name))?;
                self.dress(entry)?;
            }
            EntryKind::Hardlink { target } => self.link(target, path)?,
            EntryKind::Fifo => self.put_node(entry, FileKind::Fifo, (0, 0))?,
            EntryKind::Char { major, minor } => self.put_node(entry, FileKind::Char, (*major, *minor))?,
            EntryKind::Block { major, minor } => self.put_node(entry, FileKind::Block, (*major, *minor))?,
        }
        Ok(None)
    }

    /// Marks a path of lower layers as removed; what this layer holds there stays (a directory becomes opaque).
    pub(crate) fn remove(&mut self, path: &Path) -> Result<()> {
        let (dir, name) = self.parent(path)?;
        match attributes::make_node(dir, name, FileKind::Char, 0, (0, 0)) {
            Err(Errno::EXIST) => {}
            result => return result.map_err(refused("make the whiteout of", path)),
        }
        match self.beneath(path, OFlags::DIRECTORY) {
            Ok(_) => self.set_opaque(path),
            Err(_) => Ok(()),
        }
    }

    /// Removes what is at a path, without a trace.
    pub(crate) fn erase(&mut self, path: &Path) -> Result<()> {
        let (dir, name) = self.parent(path)?;
        remove_tree(dir, name).map_err(refused("remove", path))?;
        self.parent = None;
        Ok(())
    }

    /// Makes a directory opaque, and makes it first if it is missing.
    pub(crate) fn set_opaque(&mut self, dir: &Path) -> Result<()> {
        let fd = self.directory(dir).map_err(refused("open directory", dir))?;
        attributes::set_xattr(fd.as_fd(), OPAQUE, b"y").map_err(refused("make opaque", dir))
    }

    /// Sets what could not be set before: the times of directories.
    pub(crate) fn finish(mut self) -> Result<Vec<String>> {
        for (path, mtime) in std::mem::take(&mut self.times) {
            // It may have been replaced by something else since.
            if let Ok(fd) = self.beneath(&path, OFlags::DIRECTORY) {
                attributes::set_mtime(fd.as_fd(), mtime).map_err(refused("set the time of", &path))?;
            }
        }
        Ok(self.warnings)
    }

    /// Opens a path beneath the layer without following any link.
    fn beneath(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = flags | OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
    }

    /// Opens a directory, making it and its parents; what is in the way goes.
    fn directory(&mut self, path: &Path) -> rustix::io::Result<OwnedFd> {
        match self.beneath(path, OFlags::DIRECTORY) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            result => return result,
        }
        let mut held = self.beneath(Path::new(""), OFlags::DIRECTORY)?;
        for name in path.components() {
            held = make_dir(held.as_fd(), name.as_os_str())?;
        }
        Ok(held)
    }

    fn parent<'p>(&mut self, path: &'p Path) -> Result<(BorrowedFd<'_>, &'p OsStr)> {
        let above = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().ok_or_else(|| refused("replace", path)(Errno::INVAL))?;
        if self.parent.as_ref().is_none_or(|(held, _)| held != above) {
            let fd = self.directory(above).map_err(refused("make directory", above))?;
            self.parent = Some((above.to_owned(), fd));
        }
        let (_, fd) = self.parent.as_ref().ok_or_else(|| refused("open", above)(Errno::NOENT))?;
        Ok((fd.as_fd(), name))
    }

    /// Makes something new at a path, removing what is there.
    fn place<T>(&mut self, path: &Path, make: impl Fn(BorrowedFd<'_>, &OsStr) -> rustix::io::Result<T>) -> Result<T> {
        let (dir, name) = self.parent(path)?;
        match make(dir, name) {
            Err(Errno::EXIST) => remove_tree(dir, name).map_err(refused("replace", path))?,
            result => return result.map_err(refused("make", path)),
        }
        let made = make(dir, name).map_err(refused("make", path));
        // The cached parent may have been beneath what is gone.
        self.parent = None;
        made
    }

    fn put_file(&mut self, entry: &Entry, size: u64, data: &mut dyn Read) -> Result<ContentDigest> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let fd = self.place(&entry.path, |dir, name| rustix::fs::openat(dir, name, flags, mode))?;
        let mut file = File::from(fd);
        let digest = copy(data, &mut file, size, &mut self.buffer)
            .map_err(|error| Error::io(format!("cannot write {} of a layer", entry.path.display()), error))?;
        self.attributes(file.as_fd(), entry)?;
        Ok(digest)
    }

    /// Writes a regular file with the content of `from`, which is shared on disk where the filesystem can.
    pub(crate) fn put_copy(&mut self, entry: &Entry, from: &File) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let fd = self.place(&entry.path, |dir, name| rustix::fs::openat(dir, name, flags, mode))?;
        let (mut from, mut file) = (from, File::from(fd));
        if rustix::fs::ioctl_ficlone(&file, from).is_err() {
            std::io::copy(&mut from, &mut file).map_err(|error| Error::at("copy", &entry.path, error))?;
        }
        self.attributes(file.as_fd(), entry)
    }

    fn put_dir(&mut self, entry: &Entry) -> Result<()> {
        let fd = self.directory(&entry.path).map_err(refused("make directory", &entry.path))?;
        self.attributes(fd.as_fd(), entry)?;
        self.times.insert(entry.path.clone(), entry.mtime);
        // It may have replaced a file, or hold the cached parent.
        self.parent = None;
        Ok(())
    }

    fn put_node(&mut self, entry: &Entry, kind: FileKind, device: (u32, u32)) -> Result<()> {
        let make = |dir: BorrowedFd<'_>, name: &OsStr| attributes::make_node(dir, name, kind, entry.mode, device);
        // A 0:0 device of an image would read as a removal.
        let fake = kind == FileKind::Char && device == (0, 0);
        let made = if fake { Err(Errno::PERM) } else { self.place(&entry.path, |dir, name| Ok(make(dir, name)))? };
        match made {
            Ok(()) => {}
            Err(Errno::EXIST) => self.place(&entry.path, make)?,
            Err(Errno::PERM | Errno::ACCESS) => {
                self.warn(format!("{}: no device could be made; an empty file stands for it", entry.path.display()));
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                self.place(&entry.path, |dir, name| {
                    rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600)).map(drop)
                })?;
            }
            Err(errno) => return Err(refused("make node", &entry.path)(errno)),
        }
        self.dress(entry)
    }

    /// Sets the attributes of what was just made at the entry's path.
    fn dress(&mut self, entry: &Entry) -> Result<()> {
        let fd = self.beneath(&entry.path, OFlags::empty()).map_err(refused("open", &entry.path))?;
        self.attributes(fd.as_fd(), entry)
    }

    fn attributes(&mut self, fd: BorrowedFd<'_>, entry: &Entry) -> Result<()> {
        let failed = |what| refused(what, &entry.path);
        if self.ownership == Ownership::All {
            attributes::set_owner(fd, entry.uid, entry.gid).map_err(failed("set the owner of"))?;
        }
        for (name, value) in entry.xattrs.iter().filter(|(name, _)| !is_reserved(name)) {
            match attributes::set_xattr(fd, name, value) {
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::ACCESS) => {
                    let name = name.escape_ascii();
                    self.warn(format!("{}: attribute {name} cannot be set on this host", entry.path.display()));
                }
                result => result.map_err(failed("set an attribute of"))?,
            }
        }
        // The mode after the owner, whose change clears setuid; the time last.
        if !matches!(entry.kind, EntryKind::Symlink { .. }) {
            attributes::set_mode(fd, entry.mode).map_err(failed("set the mode of"))?;
        }
        attributes::set_mtime(fd, entry.mtime).map_err(failed("set the time of"))
    }

    /// A further name of a file of this layer, found without following links.
    fn link(&mut self, target: &Path, path: &Path) -> Result<()> {
        let above = target.parent().unwrap_or(Path::new(""));
        let name = target.file_name().ok_or_else(|| refused("link to", target)(Errno::INVAL))?;
        let from = self.beneath(above, OFlags::DIRECTORY).map_err(refused("link to", target))?;
        self.place(path, |dir, to| rustix::fs::linkat(&from, name, dir, to, AtFlags::empty()))
    }

    fn warn(&mut self, text: String) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(text);
        }
    }
}

/// Opens a child directory; made if missing, and opaque if it takes the place of something else.
fn make_dir(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(dir, name, flags, Mode::empty());
    let replaced = match open() {
        Err(Errno::NOENT) => false,
        Err(Errno::NOTDIR | Errno::LOOP) => {
            rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
            true
        }
        result => return result,
    };
    rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755))?;
    let fd = open()?;
    attributes::set_mode(fd.as_fd(), 0o755)?;
    if replaced {
        attributes::set_xattr(fd.as_fd(), OPAQUE, b"y")?;
    }
    Ok(fd)
}

/// Copies exactly `size` bytes, hashing them.
pub(crate) fn copy(
    from: &mut dyn Read,
    to: &mut dyn Write,
    size: u64,
    buffer: &mut [u8],
) -> std::io::Result<ContentDigest> {
    let mut hash = blake3::Hasher::new();
    let mut copied = 0;
    loop {
        let read = match from.read(buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let Some(bytes) = buffer.get(..read) else { break };
        hash.update(bytes);
        to.write_all(bytes)?;
        copied += read as u64;
    }
    if copied != size {
        return Err(std::io::Error::other(format!("{copied} bytes where {size} were announced")));
    }
    Ok(hash.finalize().into())
}
