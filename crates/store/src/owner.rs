//! A process as other processes see it: a file in `leases/` that is locked as long as the process lives.
//! Does not know what the process holds.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::lock;
use crate::tree::{private, random};
use crate::{Error, Result};

/// This process, alive until dropped.
#[derive(Debug)]
pub(crate) struct Owner {
    name: String,
    path: PathBuf,
    _file: File,
}

impl Owner {
    /// Announces this process in the directory `leases`.
    pub(crate) fn new(leases: &Path) -> Result<Self> {
        loop {
            // The process id is for people; the random number makes it unique where process ids repeat (containers, reboots).
            let name = format!("{}-{:016x}", std::process::id(), random());
            let path = leases.join(&name);
            let file = private(&path, OpenOptions::new().read(true).write(true).create_new(true))
                .map_err(|error| Error::at("create", &path, error))?;
            // A collector may have locked and removed it before we could lock it.
            if lock::try_exclusive(&file)? && is_at(&file, &path) {
                return Ok(Self { name, path, _file: file });
            }
        }
    }

    /// Its name: of its lease file, of its rows, and before the dot of its temporary files.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The process called `name` is alive, in any PID namespace. Removes the file of one that is not.
pub(crate) fn is_alive(leases: &Path, name: &str) -> Result<bool> {
    let path = leases.join(name);
    let file = match private(&path, OpenOptions::new().read(true).write(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::at("open", &path, error)),
    };
    if !lock::try_exclusive(&file)? {
        return Ok(true);
    }
    let _ = fs::remove_file(&path);
    Ok(false)
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => open.ino() == named.ino() && open.dev() == named.dev(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_alive_until_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let owner = Owner::new(dir.path()).unwrap();
        let name = owner.name().to_owned();
        assert!(is_alive(dir.path(), &name).unwrap());
        drop(owner);
        assert!(!is_alive(dir.path(), &name).unwrap());
    }

    #[test]
    fn the_file_of_a_dead_owner_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("1-dead"), b"").unwrap();
        assert!(!is_alive(dir.path(), "1-dead").unwrap());
        assert!(!dir.path().join("1-dead").exists());
    }
}
