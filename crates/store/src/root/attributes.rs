//! Attributes of inodes by descriptor: read, written, compared; nothing here resolves a path of the tree.
//!
//! Does not know layers. Descriptors may be `O_PATH`: where the kernel refuses those, the call goes through
//! `/proc/self/fd`, which names the inode itself.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use cooper_oci::Mtime;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::refused;
use crate::Result;

/// Longest list of attribute names and longest value the kernel gives (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const XATTR_MAX: usize = 65536;

/// The type of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl FileKind {
    pub(crate) fn of(kind: FileType) -> Option<Self> {
        Some(match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Dir,
            FileType::Symlink => Self::Symlink,
            FileType::CharacterDevice => Self::Char,
            FileType::BlockDevice => Self::Block,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::Unknown => return None,
        })
    }
}

/// What the kernel says about an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Its type.
    pub kind: FileKind,
    /// Permission bits, `0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Modification time.
    pub mtime: Mtime,
    /// Device and inode number: equal for two names of one inode.
    pub id: (u64, u64),
    /// Number of names.
    pub links: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
}

impl Inode {
    /// From a `stat` of the kernel; `None` for an unknown type.
    pub(crate) fn from_stat(stat: &Stat) -> Option<Self> {
        Some(Self {
            kind: FileKind::of(FileType::from_raw_mode(stat.st_mode))?,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: Mtime { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 },
            id: (stat.st_dev, stat.st_ino),
            links: stat.st_nlink,
            device: (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)),
        })
    }

    /// A character device 0:0, which overlayfs takes for "removed here".
    pub fn is_whiteout(&self) -> bool {
        self.kind == FileKind::Char && self.device == (0, 0)
    }
}

/// The inode behind a descriptor; `path` is for the message.
pub fn inode(fd: BorrowedFd<'_>, path: &Path) -> Result<Inode> {
    let stat = rustix::fs::fstat(fd).map_err(refused("stat", path))?;
    Inode::from_stat(&stat).ok_or_else(|| refused("stat", path)(Errno::INVAL))
}

/// The inode at a name of a held directory, not followed.
pub(crate) fn inode_at(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<Inode> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Inode::from_stat(&stat).ok_or(Errno::INVAL)
}

fn by_proc(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Opens the inode of a descriptor once more, with other flags.
pub fn reopen(fd: BorrowedFd<'_>, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(CWD, by_proc(fd), flags | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())
}

/// The text of the link a descriptor names.
pub fn read_link(fd: BorrowedFd<'_>) -> rustix::io::Result<PathBuf> {
    let text = rustix::fs::readlinkat(fd, "", Vec::new())?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(text.into_bytes())))
}

/// Sets the owner.
pub fn set_owner(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> rustix::io::Result<()> {
    rustix::fs::chownat(fd, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH)
}

/// Sets the permission bits; not of a symbolic link, which has none.
pub fn set_mode(fd: BorrowedFd<'_>, mode: u32) -> rustix::io::Result<()> {
    rustix::fs::chmodat(CWD, by_proc(fd), Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())
}

fn times(mtime: Mtime) -> Timestamps {
    let time = Timespec { tv_sec: mtime.secs, tv_nsec: i64::from(mtime.nanos) as _ };
    Timestamps { last_access: time, last_modification: time }
}

/// Sets the modification time, and the access time to the same, so that nothing of now is left.
pub fn set_mtime(fd: BorrowedFd<'_>, mtime: Mtime) -> rustix::io::Result<()> {
    rustix::fs::utimensat(fd, "", &times(mtime), AtFlags::EMPTY_PATH)
}

/// Sets the modification time at a name of a held directory, not followed.
pub(crate) fn set_mtime_at(dir: BorrowedFd<'_>, name: &OsStr, mtime: Mtime) -> rustix::io::Result<()> {
    rustix::fs::utimensat(dir, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
}

/// Sets an extended attribute.
pub fn set_xattr(fd: BorrowedFd<'_>, name: &[u8], value: &[u8]) -> rustix::io::Result<()> {
    rustix::fs::setxattr(by_proc(fd), OsStr::from_bytes(name), value, XattrFlags::empty())
}

/// One extended attribute; `None` if missing.
pub fn xattr(fd: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Option<Vec<u8>>> {
    value(&by_proc(fd), name)
}

fn value(path: &str, name: &[u8]) -> rustix::io::Result<Option<Vec<u8>>> {
    let name = OsStr::from_bytes(name);
    let mut buf = [0; 256];
    match rustix::fs::getxattr(path, name, &mut buf) {
        Ok(len) => return Ok(Some(buf[..len].to_vec())),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
        Err(Errno::RANGE) => {}
        Err(errno) => return Err(errno),
    }
    let mut long = vec![0; XATTR_MAX];
    let len = rustix::fs::getxattr(path, name, &mut long[..])?;
    long.truncate(len);
    Ok(Some(long))
}

/// All extended attributes the caller may see.
pub fn xattrs(fd: BorrowedFd<'_>) -> rustix::io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let path = by_proc(fd);
    let mut buf = [0; 256];
    let names = match rustix::fs::listxattr(&path, &mut buf) {
        Ok(len) => buf[..len].to_vec(),
        Err(Errno::OPNOTSUPP) => return Ok(BTreeMap::new()),
        Err(Errno::RANGE) => {
            let mut long = vec![0; XATTR_MAX];
            let len = rustix::fs::listxattr(&path, &mut long[..])?;
            long.truncate(len);
            long
        }
        Err(errno) => return Err(errno),
    };
    let mut found = BTreeMap::new();
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        if let Some(value) = value(&path, name)? {
            found.insert(name.to_vec(), value);
        }
    }
    Ok(found)
}

/// Makes a device or pipe in a held directory; `mode` is subject to the umask.
pub(crate) fn make_node(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    kind: FileKind,
    mode: u32,
    device: (u32, u32),
) -> rustix::io::Result<()> {
    let kind = match kind {
        FileKind::Char => FileType::CharacterDevice,
        FileKind::Block => FileType::BlockDevice,
        FileKind::Fifo => FileType::Fifo,
        _ => return Err(Errno::INVAL),
    };
    let device = rustix::fs::makedev(device.0, device.1);
    rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(mode & 0o7777), device)
}
