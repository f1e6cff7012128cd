//! A directory tree that nobody trusts, held by one descriptor; every path is resolved beneath it by the kernel.
//!
//! Links stay inside (`openat2` with `RESOLVE_IN_ROOT`), magic links are refused, and what was looked up is used by
//! descriptor, never by its path again. Does not know what the tree is for.

pub mod attributes;
mod remove;
mod users;

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::{Error, ErrorKind, Result};
pub use attributes::{FileKind, Inode};
pub(crate) use remove::remove_tree;
pub use users::User;

/// Links followed in one path; the kernel's own limit.
pub const MAX_LINKS: usize = 40;
/// Times a look-up is repeated when the kernel says that a rename raced with it (`EAGAIN` of openat2).
const RACE_RETRIES: usize = 128;

/// A held directory. Paths are relative to it; a leading `/` means the directory itself.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Wraps a refusal of the kernel: `cannot <what> <path>`.
pub(crate) fn refused(what: &'static str, path: &Path) -> impl Fn(Errno) -> Error {
    let path = path.to_owned();
    move |errno| {
        let text = format!("cannot {what} {}", path.display());
        match errno {
            Errno::NOENT => Error::new(ErrorKind::NotFound, text).with_source(std::io::Error::from(errno)),
            _ => Error::io(text, errno),
        }
    }
}

/// `openat2` beneath `dir`, repeated while renames race with it.
fn open_beneath(
    dir: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..RACE_RETRIES {
        match rustix::fs::openat2(dir, path, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) => continue,
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

impl Root {
    /// Holds the directory at a path of ours (not of the tree).
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(refused("open directory", path))?;
        Ok(Self { fd })
    }

    /// Holds a directory that is open already.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Holds a directory of the tree as a root of its own.
    pub fn subroot(&self, path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        self.at(path, flags).map(Self::from_fd).map_err(refused("open directory", path))
    }

    fn at(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        open_beneath(self.as_fd(), path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
    }

    /// A descriptor that only names the inode (`O_PATH`), links followed inside the root.
    pub fn open_path(&self, path: &Path) -> Result<OwnedFd> {
        self.at(path, OFlags::PATH).map_err(refused("find", path))
    }

    /// As [`Root::open_path`], but a link at the end is itself what is named.
    pub fn open_link(&self, path: &Path) -> Result<OwnedFd> {
        self.at(path, OFlags::PATH | OFlags::NOFOLLOW).map_err(refused("find", path))
    }

    /// Opens a regular file to read. Anything else (a pipe would block, a device would act) is refused unopened.
    pub fn open_file(&self, path: &Path) -> Result<File> {
        let fd = self.open_path(path)?;
        if attributes::inode(fd.as_fd(), path)?.kind != FileKind::File {
            return Err(Error::new(ErrorKind::Invalid, format!("{} is not a regular file", path.display())));
        }
        attributes::reopen(fd.as_fd(), OFlags::RDONLY).map(File::from).map_err(refused("open", path))
    }

    /// Opens a directory to list it.
    pub fn open_dir(&self, path: &Path) -> Result<OwnedFd> {
        self.at(path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(refused("open directory", path))
    }

    /// Makes a new file and opens it to write; something of that name already there is an error.
    pub fn create_file(&self, path: &Path, mode: u32) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(mode & 0o7777);
        open_beneath(self.as_fd(), path, flags, mode, ResolveFlags::IN_ROOT)
            .map(File::from)
            .map_err(refused("create", path))
    }

    /// What a name is, a link at its end not followed.
    pub fn lstat(&self, path: &Path) -> Result<Inode> {
        attributes::inode(self.open_link(path)?.as_fd(), path)
    }

    /// What a name is, links followed inside the root.
    pub fn stat(&self, path: &Path) -> Result<Inode> {
        attributes::inode(self.open_path(path)?.as_fd(), path)
    }

    /// The text of a symbolic link.
    pub fn read_link(&self, path: &Path) -> Result<PathBuf> {
        attributes::read_link(self.open_link(path)?.as_fd()).map_err(refused("read link", path))
    }

    /// Names in a directory with their kinds, sorted by bytes.
    pub fn read_dir(&self, path: &Path) -> Result<Vec<(OsString, FileKind)>> {
        names(self.open_dir(path)?.as_fd()).map_err(refused("list", path))
    }

    /// The path with every link replaced by what it points to inside the root. Missing names stay as they are, `..`
    /// at the top stays at the top. Relative, without `.` and `..`; empty for the root.
    pub fn resolve(&self, path: &Path) -> Result<PathBuf> {
        let mut todo: VecDeque<OsString> = parts(path);
        let mut done = PathBuf::new();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == ".." {
                done.pop();
                continue;
            }
            done.push(&name);
            let Some(target) = self.link_at(&done)? else { continue };
            links += 1;
            if links > MAX_LINKS {
                return Err(Error::new(ErrorKind::Invalid, format!("too many links in {}", path.display())));
            }
            done.pop();
            if target.is_absolute() {
                done = PathBuf::new();
            }
            parts(&target).into_iter().rev().for_each(|part| todo.push_front(part));
        }
        Ok(done)
    }

    /// The target of the link at a resolved path; `None` for what is missing or not a link.
    fn link_at(&self, resolved: &Path) -> Result<Option<PathBuf>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        match open_beneath(
            self.as_fd(),
            resolved,
            flags,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        ) {
            Ok(fd) if attributes::inode(fd.as_fd(), resolved)?.kind == FileKind::Symlink => {
                attributes::read_link(fd.as_fd()).map(Some).map_err(refused("read link", resolved))
            }
            // ELOOP: a parent became a link just now. The resolved path is only ever used without following links.
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(refused("find", resolved)(errno)),
        }
    }

    /// Makes a directory and its missing parents, each with `mode` and `owner`; what exists stays as it is. Links on
    /// the way are followed inside the root, also dangling ones. Gives back what it is called without links.
    pub fn mkdir_all(&self, path: &Path, mode: u32, owner: Option<(u32, u32)>) -> Result<PathBuf> {
        let resolved = self.resolve(path)?;
        let mut held = self.at(Path::new(""), OFlags::PATH | OFlags::DIRECTORY).map_err(refused("open", path))?;
        for name in resolved.components() {
            let name = Path::new(name.as_os_str());
            held = mkdir_below(held.as_fd(), name, mode, owner).map_err(refused("make directory", path))?;
        }
        Ok(resolved)
    }

    /// The held parent of a path and its last name; links in the parent are followed inside the root.
    fn parent<'p>(&self, path: &'p Path) -> Result<(OwnedFd, &'p OsStr)> {
        let name = match path.components().next_back() {
            Some(Component::Normal(name)) => name,
            _ => return Err(Error::new(ErrorKind::Invalid, format!("{} names no entry", path.display()))),
        };
        let above = path.parent().unwrap_or(Path::new(""));
        let dir = self.at(above, OFlags::PATH | OFlags::DIRECTORY).map_err(refused("find", above))?;
        Ok((dir, name))
    }

    /// Removes a name and everything beneath it; a missing one is fine. Links are removed, never followed, and a
    /// directory swapped for a link meanwhile is not entered.
    pub fn remove_all(&self, path: &Path) -> Result<()> {
        match self.parent(path) {
            Ok((dir, name)) => remove_tree(dir.as_fd(), name).map_err(refused("remove", path)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives the inode at `old` (a link at its end not followed) the further name `new`.
    pub fn hardlink(&self, old: &Path, new: &Path) -> Result<()> {
        let (from, from_name) = self.parent(old)?;
        let (to, to_name) = self.parent(new)?;
        rustix::fs::linkat(from, from_name, to, to_name, AtFlags::empty()).map_err(refused("link", new))
    }

    /// Makes a symbolic link with any text.
    pub fn symlink(&self, target: &Path, path: &Path) -> Result<()> {
        let (dir, name) = self.parent(path)?;
        rustix::fs::symlinkat(target, dir, name).map_err(refused("make link", path))
    }

    /// Makes a device or pipe.
    pub fn mknod(&self, path: &Path, kind: FileKind, mode: u32, device: (u32, u32)) -> Result<()> {
        let (dir, name) = self.parent(path)?;
        attributes::make_node(dir.as_fd(), name, kind, mode, device).map_err(refused("make node", path))
    }
}

/// Opens a child directory, made first if missing, without following a link.
fn mkdir_below(dir: BorrowedFd<'_>, name: &Path, mode: u32, owner: Option<(u32, u32)>) -> rustix::io::Result<OwnedFd> {
    let open = || {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        open_beneath(dir, name, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
    };
    match open() {
        Err(Errno::NOENT) => {}
        result => return result,
    }
    match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(mode & 0o7777)) {
        Err(Errno::EXIST) => return open(),
        result => result?,
    }
    let fd = open()?;
    if let Some((uid, gid)) = owner {
        attributes::set_owner(fd.as_fd(), uid, gid)?;
    }
    // After the owner, which clears setuid; and past the umask.
    attributes::set_mode(fd.as_fd(), mode)?;
    Ok(fd)
}

/// The names of a path in order, `/` and `.` left out.
pub(crate) fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

/// Names in an open directory, sorted by bytes.
pub(crate) fn names(dir: BorrowedFd<'_>) -> rustix::io::Result<Vec<(OsString, FileKind)>> {
    let mut found = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let kind = match FileKind::of(entry.file_type()) {
            Some(kind) => kind,
            None => kind_at(dir, OsStr::from_bytes(name))?,
        };
        found.push((OsString::from_vec(name.to_vec()), kind));
    }
    found.sort_unstable();
    Ok(found)
}

/// For filesystems that do not tell the kind in the listing.
fn kind_at(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<FileKind> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    FileKind::of(rustix::fs::FileType::from_raw_mode(stat.st_mode)).ok_or(Errno::INVAL)
}

#[cfg(test)]
mod tests;
