//! Advisory locks on files of the store: they end with the process that holds them, so there is nothing to unlock by hand.
//! Does not know what is guarded.

use std::fs::{File, OpenOptions};
use std::path::Path;

use rustix::fs::FlockOperation;

use crate::tree::private;
use crate::{Error, ErrorKind, Result, Store};

/// A lock on a name, held until dropped. The kernel drops it when the process dies.
#[derive(Debug)]
pub struct NamedLock {
    _file: File,
}

impl Store {
    /// Locks `name` against every other holder in any process or thread. Waits when `blocking`; else [`ErrorKind::Busy`].
    pub fn named_lock(&self, name: &str, blocking: bool) -> Result<NamedLock> {
        // The name comes from outside: only its hash becomes a file name.
        let path = self.tree().join("locks").join(blake3::hash(name.as_bytes()).to_hex().as_str());
        let file = open(&path)?;
        let operation = if blocking { FlockOperation::LockExclusive } else { FlockOperation::NonBlockingLockExclusive };
        if flock(&file, operation).map_err(|error| Error::at("lock", &path, error))? {
            return Ok(NamedLock { _file: file });
        }
        Err(Error::new(ErrorKind::Busy, format!("`{name}` is in use by another build")))
    }
}

/// Takes a shared lock, waiting for an exclusive one to end.
pub(crate) fn shared(path: &Path) -> Result<File> {
    let file = open(path)?;
    flock(&file, FlockOperation::LockShared).map_err(|error| Error::at("lock", path, error))?;
    Ok(file)
}

/// Takes an exclusive lock on a file, waiting for others to end.
pub(crate) fn exclusive(path: &Path) -> Result<File> {
    let file = open(path)?;
    flock(&file, FlockOperation::LockExclusive).map_err(|error| Error::at("lock", path, error))?;
    Ok(file)
}

/// Takes an exclusive lock on a file, or returns `None` while others hold it.
pub(crate) fn exclusive_now(path: &Path) -> Result<Option<File>> {
    let file = open(path)?;
    Ok(try_exclusive(&file)?.then_some(file))
}

/// Takes an exclusive lock, or returns `false` while another holds it.
pub(crate) fn try_exclusive(file: &File) -> Result<bool> {
    flock(file, FlockOperation::NonBlockingLockExclusive).map_err(|error| Error::io("cannot lock a file", error))
}

fn open(path: &Path) -> Result<File> {
    private(path, OpenOptions::new().read(true).write(true).create(true))
        .map_err(|error| Error::at("open", path, error))
}

fn flock(file: &File, operation: FlockOperation) -> rustix::io::Result<bool> {
    match rustix::io::retry_on_intr(|| rustix::fs::flock(file, operation)) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error),
    }
}
