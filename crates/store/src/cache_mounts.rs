//! Directories that outlive a step (`RUN --mount=type=cache`): named by whoever asks, found by the name's hash.
//! Does not know who shares one with whom.

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use rusqlite::{Connection, params};

use crate::{Error, Lease, Result, Store};

/// `id` is the first 16 bytes of the name's BLAKE3 in hex, and the directory's name.
pub(crate) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS cache_mounts(
    id TEXT PRIMARY KEY, name TEXT NOT NULL, created INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
";

/// Half a BLAKE3: enough that nobody finds two names of one directory, short enough for `du`.
const ID_DIGITS: usize = 32;

/// What the cache mount of a name is found by. The name comes from a Dockerfile: only its hash becomes a path.
pub(crate) fn id_of(name: &str) -> String {
    blake3::hash(name.as_bytes()).to_hex().chars().take(ID_DIGITS).collect()
}

/// Makes the mount known, or notes its use.
pub(crate) fn note_use(c: &Connection, id: &str, name: &str, now: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO cache_mounts(id, name, created, used) VALUES(?1, ?2, ?3, ?3)
               ON CONFLICT(id) DO UPDATE SET used = excluded.used";
    c.prepare_cached(sql)?.execute(params![id, name, now]).map(drop)
}

impl Store {
    /// What the cache mount of a name is found by: its id in [`Store::cache_mounts`], whether there is one or not.
    pub fn cache_mount_id(name: &str) -> String {
        id_of(name)
    }

    /// The directory of the cache mount called `name`, made if there is none and kept as long as `lease`.
    pub fn cache_mount(&self, name: &str, lease: &Lease) -> Result<PathBuf> {
        let id = id_of(name);
        lease.hold_cache_mount(&id)?;
        let path = self.tree().join("cache-mounts").join(&id);
        let now = self.now();
        self.db().write(|c| {
            // Whoever opens it may write to it.
            c.prepare_cached("DELETE FROM cache_mount_copies WHERE id = ?1")?.execute([&id])?;
            note_use(c, &id, name, now)
        })?;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&path)
            .map_err(|error| Error::at("create", &path, error))?;
        Ok(path)
    }
}
