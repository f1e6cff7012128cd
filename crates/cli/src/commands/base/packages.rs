//! The packages of a lock, brought into the store.
//!
//! Knows nothing of what is in them.

use cooper_base::{Lock, LockedPackage};
use cooper_store::Store;

use super::prepare::Prepare;
use crate::error::{CommandError, CommandResult};
use crate::open;
use crate::surroundings::Surroundings;

/// Brings every package of the lock into the store, each verified by its digest.
pub(crate) async fn fetch(at: &Surroundings, lock: &Lock, how: &Prepare) -> CommandResult {
    let store = open::store(at)?;
    for package in lock.packages.values().flatten() {
        if store.blob_size(&package.digest)?.is_none() {
            bring(&store, package, how)?;
        }
    }
    Ok(())
}

fn bring(store: &Store, package: &LockedPackage, how: &Prepare) -> CommandResult {
    let missing = || CommandError::failure(format!("the package {} {} is not here", package.name, package.version));
    let dir = how.deb_dir.as_ref().ok_or_else(missing)?;
    let name = package.filename.rsplit('/').next().unwrap_or_default();
    let mut file = std::fs::File::open(dir.join(name)).map_err(|e| missing().with_source(e))?;
    let mut writer = store.blob_writer()?;
    std::io::copy(&mut file, &mut writer).map_err(|e| missing().with_source(e))?;
    writer.commit(Some(&package.digest))?;
    Ok(())
}
