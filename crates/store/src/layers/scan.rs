//! Reads a layer directory back: its changes in tar order, whiteouts and opaque directories in overlayfs's form.
//!
//! Each file is read once: tar, digests and listing come from the same pass. Does not know what is done with the tar.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use cooper_oci::tar::{TarWriter, opaque_name, whiteout_name};
use cooper_oci::{Entry, EntryKind, Mtime};
use rustix::fs::{CWD, Mode, OFlags};

use super::dir::{OPAQUE, OWNER, is_reserved};
use crate::listing::ContentDigest;
use crate::listing::Record;
use crate::root::{FileKind, Inode, attributes, names, refused};
use crate::{Error, ErrorKind, Listing, ListingBuilder, Result};

/// Levels of directories: PATH_MAX allows no more.
pub(crate) const MAX_DEPTH: usize = 2048;
/// Attributes that describe this host, not the file.
const HOST_ATTRIBUTES: [&[u8]; 1] = [b"security.selinux"];

/// What a scan meets, in order: parents first, names sorted by bytes.
pub(crate) trait Visit {
    /// An entry; of a regular file with its content, whose digest is given back.
    fn entry(&mut self, entry: Entry, data: Option<&mut dyn Read>) -> Result<()>;
    /// A path of the layers below is removed; the time is that of the whiteout.
    fn removed(&mut self, path: &Path, mtime: Mtime) -> Result<()>;
    /// A directory shows nothing of the layers below.
    fn opaque(&mut self, dir: &Path, mtime: Mtime) -> Result<()>;
}

/// Visits everything in a layer directory except its root.
pub(crate) fn scan(path: &Path, visit: &mut dyn Visit) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(refused("open directory", path))?;
    Scan { seen: HashMap::new(), visit }.dir(root.as_fd(), Path::new(""), 0)
}

/// The entry of a layer's root directory.
pub(crate) fn root_entry(path: &Path) -> Result<Entry> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(refused("open directory", path))?;
    let inode = attributes::inode(root.as_fd(), path)?;
    describe(root.as_fd(), Path::new(""), &inode, EntryKind::Dir)
}

struct Scan<'a> {
    /// First name of each inode with several.
    seen: HashMap<(u64, u64), PathBuf>,
    visit: &'a mut dyn Visit,
}

impl Scan<'_> {
    fn dir(&mut self, dir: BorrowedFd<'_>, path: &Path, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Error::new(ErrorKind::TooLarge, format!("{} is nested too deeply", path.display())));
        }
        for (name, _) in names(dir).map_err(refused("list", path))? {
            self.name(dir, &name, path.join(&name), depth)?;
        }
        Ok(())
    }

    fn name(&mut self, dir: BorrowedFd<'_>, name: &OsStr, path: PathBuf, depth: usize) -> Result<()> {
        let inode = attributes::inode_at(dir, name).map_err(refused("stat", &path))?;
        if inode.is_whiteout() {
            return self.visit.removed(&path, inode.mtime);
        }
        if inode.kind == FileKind::Socket {
            return Ok(());
        }
        if inode.kind != FileKind::Dir && inode.links > 1 {
            if let Some(target) = self.seen.get(&inode.id) {
                let kind = EntryKind::Hardlink { target: target.clone() };
                let fd = open(dir, name, &inode).map_err(refused("open", &path))?;
                let mut entry = describe(fd.as_fd(), &path, &inode, kind)?;
                entry.xattrs.clear();
                return self.visit.entry(entry, None);
            }
            self.seen.insert(inode.id, path.clone());
        }
        let fd = open(dir, name, &inode).map_err(refused("open", &path))?;
        let kind = kind_of(fd.as_fd(), &inode, &path)?;
        let entry = describe(fd.as_fd(), &path, &inode, kind)?;
        match inode.kind {
            FileKind::Dir => self.subdir(fd, entry, &path, depth),
            FileKind::File => self.visit.entry(entry, Some(&mut File::from(fd))),
            _ => self.visit.entry(entry, None),
        }
    }

    fn subdir(&mut self, fd: OwnedFd, entry: Entry, path: &Path, depth: usize) -> Result<()> {
        let mtime = entry.mtime;
        self.visit.entry(entry, None)?;
        let opaque = attributes::xattr(fd.as_fd(), OPAQUE).map_err(refused("read an attribute of", path))?;
        if opaque.as_deref() == Some(b"y") {
            self.visit.opaque(path, mtime)?;
        }
        self.dir(fd.as_fd(), path, depth + 1)
    }
}

pub(crate) fn open(dir: BorrowedFd<'_>, name: &OsStr, inode: &Inode) -> rustix::io::Result<OwnedFd> {
    let how = match inode.kind {
        FileKind::File => OFlags::RDONLY | OFlags::NONBLOCK,
        FileKind::Dir => OFlags::RDONLY | OFlags::DIRECTORY,
        _ => OFlags::PATH,
    };
    rustix::fs::openat(dir, name, how | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

pub(crate) fn kind_of(fd: BorrowedFd<'_>, inode: &Inode, path: &Path) -> Result<EntryKind> {
    let (major, minor) = inode.device;
    Ok(match inode.kind {
        FileKind::File => EntryKind::File { size: inode.size },
        FileKind::Dir => EntryKind::Dir,
        FileKind::Symlink => {
            EntryKind::Symlink { target: attributes::read_link(fd).map_err(refused("read link", path))? }
        }
        FileKind::Char => EntryKind::Char { major, minor },
        FileKind::Block => EntryKind::Block { major, minor },
        FileKind::Fifo => EntryKind::Fifo,
        FileKind::Socket => return Err(Error::new(ErrorKind::Invalid, format!("{} is a socket", path.display()))),
    })
}

pub(crate) fn describe(fd: BorrowedFd<'_>, path: &Path, inode: &Inode, kind: EntryKind) -> Result<Entry> {
    let mut xattrs = attributes::xattrs(fd).map_err(refused("read the attributes of", path))?;
    let remembered = xattrs.get(OWNER).and_then(|text| owner_of(text));
    xattrs.retain(|name, _| !is_reserved(name) && !HOST_ATTRIBUTES.contains(&name.as_slice()));
    // The mode bits of a link are the kernel's choice, and the same everywhere.
    let mode = if inode.kind == FileKind::Symlink { 0o777 } else { inode.mode };
    // Only what nobody else can write an attribute to: files of root stand for those of owners this host lacks.
    let (uid, gid) = remembered.filter(|_| (inode.uid, inode.gid) == (0, 0)).unwrap_or((inode.uid, inode.gid));
    let mtime = inode.mtime;
    Ok(Entry { path: path.to_owned(), kind, mode, uid, gid, mtime, xattrs })
}

/// The owner in an [`OWNER`] attribute.
fn owner_of(text: &[u8]) -> Option<(u32, u32)> {
    let (uid, gid) = std::str::from_utf8(text).ok()?.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

/// Hashes what is read through it.
#[derive(Debug)]
pub(crate) struct Hashing<'a> {
    inner: &'a mut dyn Reading,
    hash: blake3::Hasher,
}

/// `Read` that can be shown in debug output.
trait Reading: Read {}
impl<R: Read + ?Sized> Reading for R {}

impl std::fmt::Debug for dyn Reading + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("reader")
    }
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// Hashes the content on its way to `write`.
pub(crate) fn hashed<T>(
    mut data: &mut dyn Read,
    write: impl FnOnce(&mut dyn Read) -> Result<T>,
) -> Result<ContentDigest> {
    let mut hashing = Hashing { inner: &mut data, hash: blake3::Hasher::new() };
    write(&mut hashing)?;
    Ok(hashing.hash.finalize().into())
}

/// Writes what a scan meets as a layer's tar and keeps the listing.
pub(crate) struct Sealing<'w, W: Write> {
    pub(crate) tar: &'w mut TarWriter<W>,
    pub(crate) listing: ListingBuilder,
}

impl<W: Write> Sealing<'_, W> {
    fn whiteout(&mut self, path: PathBuf, mtime: Mtime) -> Result<()> {
        let kind = EntryKind::File { size: 0 };
        let entry = Entry { path, kind, mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Default::default() };
        Ok(self.tar.append(&entry, &mut io::empty())?)
    }
}

impl<W: Write> Visit for Sealing<'_, W> {
    fn entry(&mut self, entry: Entry, data: Option<&mut dyn Read>) -> Result<()> {
        let digest = match data {
            Some(data) => Some(hashed(data, |data| Ok(self.tar.append(&entry, data)?))?),
            None => {
                self.tar.append(&entry, &mut io::empty())?;
                None
            }
        };
        self.listing.put(Record::new(entry, digest))
    }

    fn removed(&mut self, path: &Path, mtime: Mtime) -> Result<()> {
        self.whiteout(whiteout_name(path), mtime)?;
        self.listing.remove(path)
    }

    fn opaque(&mut self, dir: &Path, mtime: Mtime) -> Result<()> {
        self.whiteout(opaque_name(dir), mtime)?;
        self.listing.set_opaque(dir)
    }
}

/// Only lists, digests included.
#[derive(Debug, Default)]
pub(crate) struct Listed(pub(crate) ListingBuilder);

impl Visit for Listed {
    fn entry(&mut self, entry: Entry, data: Option<&mut dyn Read>) -> Result<()> {
        let digest = match data {
            Some(data) => Some(hashed(data, |data| {
                io::copy(data, &mut io::sink()).map_err(|error| Error::at("read", &entry.path, error))
            })?),
            None => None,
        };
        self.0.put(Record::new(entry, digest))
    }

    fn removed(&mut self, path: &Path, _: Mtime) -> Result<()> {
        self.0.remove(path)
    }

    fn opaque(&mut self, dir: &Path, _: Mtime) -> Result<()> {
        self.0.set_opaque(dir)
    }
}

/// The listing of a layer directory.
pub(crate) fn list(path: &Path) -> Result<Listing> {
    let mut listed = Listed::default();
    scan(path, &mut listed)?;
    Ok(listed.0.finish())
}
