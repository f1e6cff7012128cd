//! Paths inside the root of a step: resolved by held descriptors, so that no link leads out of it, and mount stubs,
//! made where a target is missing and removed after the step.
//!
//! Knows nothing of what is mounted. Links are followed by their text, one component at a time, against a stack of
//! open directories: what another process does to the tree meanwhile can change the outcome, never leave the root.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use crate::{Error, ErrorKind, Result};

/// Links followed in one path, as in the kernel.
const MAX_LINKS: u32 = 40;
/// Bytes of a path, as in the kernel.
const MAX_PATH: usize = 4096;
/// Mode of directories made on the way.
const DIRECTORY_MODE: u32 = 0o755;

/// What to do where a path ends in nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Say that it does not exist.
    Refuse,
    /// Make directories that stay.
    Make,
    /// Make directories and an empty last directory, to be removed after the step.
    StubDirectory,
    /// Make directories and an empty last file, to be removed after the step.
    StubFile,
}

/// The tree a step sees, and what was added to it.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
    stubs: Vec<Stub>,
}

/// An inode that was made to mount on.
#[derive(Debug)]
struct Stub {
    parent: OwnedFd,
    name: Vec<u8>,
    id: (u64, u64),
    directory: bool,
    /// Times of the parent before and just after.
    before: Stat,
    after: Stat,
}

/// A resolved path: the inode and, unless it is a directory, where its entry is.
#[derive(Debug)]
pub(crate) struct Found {
    pub(super) fd: OwnedFd,
    entry: Option<(OwnedFd, Vec<u8>)>,
}

impl Tree {
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self { root, stubs: Vec::new() }
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Resolves `path` inside the root.
    pub(crate) fn resolve(&mut self, path: &str, missing: Missing) -> Result<Found> {
        let failed = |e: Errno| refusal(path, e);
        if path.len() > MAX_PATH {
            return Err(failed(Errno::NAMETOOLONG));
        }
        let walk = Walk { tree: self, stack: Vec::new(), links: 0, todo: Vec::new(), missing };
        walk.run(path.as_bytes()).map_err(failed)
    }

    /// Reads a regular file of at most `max` bytes; `None` if there is none.
    pub(crate) fn read(&mut self, path: &str, max: u64) -> Result<Option<Vec<u8>>> {
        let found = match self.resolve(path, Missing::Refuse) {
            Ok(found) => found,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let odd = || Error::new(ErrorKind::Process, format!("{path} is not a regular file of at most {max} bytes"));
        let stat = rustix::fs::fstat(&found.fd).map_err(|e| refusal(path, e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_size.unsigned_abs() > max {
            return Err(odd());
        }
        let mut content = Vec::new();
        let file = found.reopen(&stat).map_err(|e| refusal(path, e))?;
        file.take(max + 1).read_to_end(&mut content).map_err(|e| Error::io(format!("cannot read {path}"), e))?;
        if content.len() as u64 > max { Err(odd()) } else { Ok(Some(content)) }
    }

    /// The first `max` bytes of a regular file; nothing if it cannot be read.
    pub(crate) fn head(&mut self, path: &str, max: u64) -> Option<Vec<u8>> {
        let found = self.resolve(path, Missing::Refuse).ok()?;
        let stat = rustix::fs::fstat(&found.fd).ok()?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return None;
        }
        let mut content = Vec::new();
        found.reopen(&stat).ok()?.take(max).read_to_end(&mut content).ok()?;
        Some(content)
    }

    /// Takes the stubs away again, with whatever this mount namespace has on them. What the step has put into one
    /// stays. Changes the working directory.
    pub(super) fn remove_stubs(&mut self) {
        for stub in &self.stubs {
            // Later ones are below earlier ones: taking these off takes all off.
            let _not_mounted = stub.unmount();
        }
        self.remove_unmounted_stubs();
    }

    /// The same where nothing is mounted on them (any more) in this mount namespace.
    pub(crate) fn remove_unmounted_stubs(&mut self) {
        while let Some(stub) = self.stubs.pop() {
            // A stub the step has filled, moved or removed is left as it is: it is the step's now.
            let _kept = stub.remove();
        }
    }
}

impl Found {
    /// Opens for reading what was only named so far, if it still is the same.
    fn reopen(&self, expected: &Stat) -> std::result::Result<File, Errno> {
        let (parent, name) = self.entry.as_ref().ok_or(Errno::ISDIR)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name.as_slice(), flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        if id(&stat) == id(expected) { Ok(fd.into()) } else { Err(Errno::STALE) }
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.entry.is_none()
    }
}

impl Stub {
    fn remove(&self) -> std::result::Result<(), Errno> {
        let stat = rustix::fs::statat(&self.parent, self.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
        if id(&stat) != self.id || (!self.directory && stat.st_size != 0) {
            return Err(Errno::STALE);
        }
        let now = rustix::fs::fstat(&self.parent)?;
        let flags = if self.directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        rustix::fs::unlinkat(&self.parent, self.name.as_slice(), flags)?;
        if mtime(&now) == mtime(&self.after) { self.restore_times() } else { Ok(()) }
    }

    fn unmount(&self) -> std::result::Result<(), Errno> {
        use rustix::mount::{UnmountFlags, unmount};
        rustix::process::fchdir(&self.parent)?;
        loop {
            match unmount(self.name.as_slice(), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
                Ok(()) => {}
                Err(Errno::INVAL) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }

    fn restore_times(&self) -> std::result::Result<(), Errno> {
        let stat = &self.before;
        let times = Timestamps {
            last_access: Timespec { tv_sec: stat.st_atime as _, tv_nsec: stat.st_atime_nsec as _ },
            last_modification: Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ },
        };
        rustix::fs::utimensat(&self.parent, c".", &times, AtFlags::SYMLINK_NOFOLLOW)
    }
}

/// One resolution under way.
struct Walk<'t> {
    tree: &'t mut Tree,
    /// Directories from the root to here, the root left out.
    stack: Vec<OwnedFd>,
    links: u32,
    /// Components still to go, last first.
    todo: Vec<Vec<u8>>,
    missing: Missing,
}

impl Walk<'_> {
    fn run(mut self, path: &[u8]) -> std::result::Result<Found, Errno> {
        self.push(path);
        while let Some(name) = self.todo.pop() {
            if name == b".." {
                self.stack.pop();
            } else if let Some(file) = self.enter(name)? {
                return if self.todo.is_empty() { Ok(file) } else { Err(Errno::NOTDIR) };
            }
        }
        let fd = match self.stack.pop() {
            Some(fd) => fd,
            None => rustix::io::fcntl_dupfd_cloexec(&self.tree.root, 3)?,
        };
        Ok(Found { fd, entry: None })
    }

    fn push(&mut self, path: &[u8]) {
        let names = path.split(|b| *b == b'/').rev().filter(|name| !name.is_empty() && *name != b".");
        self.todo.extend(names.map(<[u8]>::to_vec));
    }

    fn here(&self) -> &OwnedFd {
        self.stack.last().unwrap_or(&self.tree.root)
    }

    /// Goes one component further; gives back what is not a directory.
    fn enter(&mut self, name: Vec<u8>) -> std::result::Result<Option<Found>, Errno> {
        let fd = match self.open(&name) {
            Err(Errno::NOENT) if self.missing != Missing::Refuse => {
                self.make(&name)?;
                self.open(&name)?
            }
            other => other?,
        };
        match FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
            FileType::Directory => self.stack.push(fd),
            FileType::Symlink => self.follow(&fd)?,
            _ => {
                let parent = rustix::io::fcntl_dupfd_cloexec(self.here(), 3)?;
                return Ok(Some(Found { fd, entry: Some((parent, name)) }));
            }
        }
        Ok(None)
    }

    fn open(&self, name: &[u8]) -> std::result::Result<OwnedFd, Errno> {
        rustix::fs::openat(self.here(), name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }

    /// Replaces a link by its text. Those of the proc filesystem are refused: they name what their text does not say.
    fn follow(&mut self, link: &OwnedFd) -> std::result::Result<(), Errno> {
        self.links += 1;
        let proc = rustix::fs::fstatfs(link)?.f_type == rustix::fs::PROC_SUPER_MAGIC;
        if self.links > MAX_LINKS || proc {
            return Err(Errno::LOOP);
        }
        let text = rustix::fs::readlinkat(link, c"", Vec::new())?;
        if text.as_bytes().first() == Some(&b'/') {
            self.stack.clear();
        }
        self.push(text.as_bytes());
        Ok(())
    }

    fn make(&mut self, name: &[u8]) -> std::result::Result<(), Errno> {
        let file = self.missing == Missing::StubFile && self.todo.is_empty();
        let parent = rustix::io::fcntl_dupfd_cloexec(self.here(), 3)?;
        let before = rustix::fs::fstat(&parent)?;
        if file {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644))?;
        } else {
            rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(DIRECTORY_MODE))?;
        }
        if self.missing != Missing::Make {
            let made = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let after = rustix::fs::fstat(&parent)?;
            let stub = Stub { parent, name: name.to_vec(), id: id(&made), directory: !file, before, after };
            self.tree.stubs.push(stub);
        }
        Ok(())
    }
}

fn id(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn mtime(stat: &Stat) -> (i64, u64) {
    (stat.st_mtime as _, stat.st_mtime_nsec as _)
}

fn is_absent(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|e| e.downcast_ref::<std::io::Error>());
    source.is_some_and(|e| matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory))
}

fn refusal(path: &str, errno: Errno) -> Error {
    let what = match errno {
        Errno::LOOP => format!("{path} goes through too many links, or one of the proc filesystem"),
        _ => format!("cannot use {path} in the root"),
    };
    Error::caused(ErrorKind::Process, what, errno.into())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree(dir: &std::path::Path) -> Tree {
        Tree::new(rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap())
    }

    fn same(a: impl AsFd, path: &std::path::Path) -> bool {
        id(&rustix::fs::fstat(a).unwrap()) == id(&rustix::fs::stat(path).unwrap())
    }

    #[test]
    fn no_link_leads_out_of_the_root() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        std::fs::create_dir_all(root.join("real/deep")).unwrap();
        std::fs::create_dir(outer.path().join("real")).unwrap();
        for (name, text) in [("up", "../../../real"), ("abs", "/real"), ("chain", "abs"), ("dot", "./real/../up")] {
            symlink(text, root.join(name)).unwrap();
        }
        for path in ["/up", "abs", "/chain", "/dot", "/../real", "/real/deep/../../../../real", "//real/."] {
            let found = tree(&root).resolve(path, Missing::Refuse).unwrap();
            assert!(found.is_directory() && same(&found.fd, &root.join("real")), "{path}");
        }
    }

    #[test]
    fn loops_and_proc_links_are_refused() {
        let root = tempfile::tempdir().unwrap();
        symlink("b", root.path().join("a")).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        for missing in [Missing::Refuse, Missing::Make, Missing::StubFile] {
            let error = tree(root.path()).resolve("/a/x", missing).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Process);
        }
        for path in ["/proc/self/cwd", "/proc/self/root/etc", "/proc/1/root"] {
            assert!(tree("/".as_ref()).resolve(path, Missing::Refuse).is_err(), "{path}");
        }
    }

    #[test]
    fn hostile_paths_are_errors() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("file"), "").unwrap();
        for path in ["/a\0b", &"x/".repeat(MAX_PATH), &"y".repeat(300), "/file/x", "/file/.."] {
            assert!(tree(root.path()).resolve(path, Missing::Make).is_err(), "{path:?}");
        }
    }

    #[test]
    fn stubs_vanish_with_their_parents_and_times_come_back() {
        let root = tempfile::tempdir().unwrap();
        let before = rustix::fs::stat(root.path()).unwrap();
        let mut tree = tree(root.path());
        tree.resolve("/etc/net/hosts", Missing::StubFile).unwrap();
        tree.resolve("/proc", Missing::StubDirectory).unwrap();
        assert!(root.path().join("etc/net/hosts").is_file() && root.path().join("proc").is_dir());
        tree.remove_stubs();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
        assert_eq!(mtime(&rustix::fs::stat(root.path()).unwrap()), mtime(&before));
    }

    #[test]
    fn a_filled_or_swapped_stub_stays() {
        let root = tempfile::tempdir().unwrap();
        let canary = tempfile::tempdir().unwrap();
        std::fs::write(canary.path().join("hosts"), "").unwrap();
        let mut tree = tree(root.path());
        tree.resolve("/etc/hosts", Missing::StubFile).unwrap();
        tree.resolve("/full", Missing::StubDirectory).unwrap();
        std::fs::write(root.path().join("full/of"), "life").unwrap();
        std::fs::rename(root.path().join("etc"), root.path().join("moved")).unwrap();
        symlink(canary.path(), root.path().join("etc")).unwrap();
        tree.remove_stubs();
        assert!(canary.path().join("hosts").exists() && root.path().join("full/of").exists());
        assert!(!root.path().join("moved/hosts").exists());
    }

    #[test]
    fn only_regular_files_of_a_sane_size_are_read() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("big"), [0; 11]).unwrap();
        std::fs::write(root.path().join("small"), "ok").unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, root.path().join("fifo"), FileType::Fifo, 0o644.into(), 0).unwrap();
        symlink("/dev/zero", root.path().join("zero")).unwrap();
        let mut tree = tree(root.path());
        assert_eq!(tree.read("/small", 10).unwrap().unwrap(), b"ok");
        assert_eq!(tree.read("/none", 10).unwrap(), None);
        assert_eq!(tree.read("/zero", 10).unwrap(), None, "resolved in the root, where there is none");
        assert!(tree.read("/big", 10).is_err() && tree.read("/fifo", 10).is_err());
    }
}
