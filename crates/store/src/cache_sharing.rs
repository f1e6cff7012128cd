//! Who may use a cache mount at the same time (`RUN --mount=type=cache,sharing=`). Does not know what is cached.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use crate::{ErrorKind, Lease, NamedLock, Result, Root, Store};

/// Directories of one private cache mount: more steps at once than any machine runs.
const MAX_PRIVATE: usize = 1000;

/// How steps that run at the same time share a cache mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// All use the one directory.
    #[default]
    Shared,
    /// Each has a directory to itself; a further one is made while the others are busy.
    Private,
    /// One at a time; the others wait.
    Locked,
}

/// A cache mount in use. It is kept, and where so asked nobody else's, until dropped.
#[derive(Debug)]
pub struct CacheMount {
    path: PathBuf,
    root: Root,
    _lock: Option<NamedLock>,
    _lease: Lease,
}

impl Store {
    /// The directory of a cache mount, made if there is none. Waits for others only when [`Sharing::Locked`].
    pub fn open_cache_mount(&self, name: &str, sharing: Sharing) -> Result<CacheMount> {
        match sharing {
            Sharing::Shared => self.use_cache_mount(name, None),
            Sharing::Locked => {
                let lock = self.named_lock(&lock_name(name), true)?;
                self.use_cache_mount(name, Some(lock))
            }
            Sharing::Private => self.private_cache_mount(name),
        }
    }

    fn private_cache_mount(&self, name: &str) -> Result<CacheMount> {
        let mut number = 0;
        loop {
            // NUL: no name of a Dockerfile reaches the copies of another.
            let copy = if number == 0 { name.to_owned() } else { format!("{name}\0{number}") };
            match self.named_lock(&lock_name(&copy), false) {
                Err(error) if error.kind() == ErrorKind::Busy && number < MAX_PRIVATE => number += 1,
                lock => return self.use_cache_mount(&copy, Some(lock?)),
            }
        }
    }

    fn use_cache_mount(&self, name: &str, lock: Option<NamedLock>) -> Result<CacheMount> {
        let lease = self.lease();
        let path = self.cache_mount(name, &lease)?;
        Ok(CacheMount { root: Root::open(&path)?, path, _lock: lock, _lease: lease })
    }
}

/// The lock of whoever has a cache mount to himself.
pub(crate) fn lock_name(name: &str) -> String {
    format!("cache mount {name}")
}

impl CacheMount {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory, held: paths in it are resolved beneath it.
    pub fn root(&self) -> &Root {
        &self.root
    }
}

impl AsFd for CacheMount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}
