//! Advisory locks on files of the store: they end with the process that holds them, so there is nothing to unlock by hand.
//! Does not know what is guarded.

use std::fs::{File, OpenOptions};
use std::path::Path;

use rustix::fs::FlockOperation;

use crate::tree::private;
use crate::{Error, Result};

/// Takes a shared lock, waiting for an exclusive one to end.
pub(crate) fn shared(path: &Path) -> Result<File> {
    take(path, FlockOperation::LockShared)
}

fn take(path: &Path, operation: FlockOperation) -> Result<File> {
    let file = private(path, OpenOptions::new().read(true).write(true).create(true))
        .map_err(|error| Error::at("open", path, error))?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation))
        .map_err(|error| Error::at("lock", path, error))?;
    Ok(file)
}
