//! Leases: what a running process uses, so that no collector takes it away; they end with the process.
//! Does not know what is collected, or when.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cooper_oci::Digest;
use rusqlite::{Connection, params};

use crate::{LayerId, Result, Store, owner};

pub(crate) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS leases(
    owner TEXT NOT NULL, lease INTEGER NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL,
    PRIMARY KEY(owner, lease, kind, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS leases_id ON leases(kind, id);
";

/// What kind of thing a lease holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Held {
    Layer,
    Blob,
    CacheMount,
}

impl Held {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Blob => "blob",
            Self::CacheMount => "cachemount",
        }
    }
}

/// Holds layers, blobs and cache mounts of the store until dropped.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    number: i64,
    held: Mutex<HashSet<(Held, String)>>,
}

impl Store {
    /// A lease that holds nothing yet.
    pub fn lease(&self) -> Lease {
        let number = self.inner.leases.fetch_add(1, Ordering::Relaxed);
        Lease { store: self.synced(), number, held: Mutex::default() }
    }

    /// Drops the rows of processes that are gone.
    pub(crate) fn drop_dead_leases(&self) -> Result<()> {
        let owners: Vec<String> = self.db().read(|c| {
            let mut statement = c.prepare("SELECT DISTINCT owner FROM leases")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect()
        })?;
        for name in owners {
            if !self.is_owner_alive(&name)? {
                self.db().write(|c| c.execute("DELETE FROM leases WHERE owner = ?1", [&name]))?;
            }
        }
        Ok(())
    }

    /// The process that a lease, a temporary file or a mount names is alive.
    pub(crate) fn is_owner_alive(&self, name: &str) -> Result<bool> {
        if self.tree().owner().is_ok_and(|owner| owner.name() == name) {
            return Ok(true);
        }
        owner::is_alive(&self.tree().join("leases"), name)
    }
}

impl Lease {
    /// Its number, which tells it from the others of this process.
    pub(crate) fn number(&self) -> i64 {
        self.number
    }

    /// Keeps a layer. `false` when the store does not know it (yet): it is held from its first moment on.
    pub fn hold(&self, layer: &LayerId) -> Result<bool> {
        self.insert(Held::Layer, layer.as_str(), "SELECT 1 FROM layers WHERE id = ?1")
    }

    /// Keeps a blob. `false` when the store does not have it (yet).
    pub fn hold_blob(&self, digest: &Digest) -> Result<bool> {
        self.insert(Held::Blob, &digest.to_string(), "SELECT 1 FROM blobs WHERE digest = ?1")
    }

    /// Keeps a cache mount. `false` when there is none of this id (yet).
    pub(crate) fn hold_cache_mount(&self, id: &str) -> Result<bool> {
        self.insert(Held::CacheMount, id, "SELECT 1 FROM cache_mounts WHERE id = ?1")
    }

    /// Holding and looking are one transaction, so that no collector comes in between.
    fn insert(&self, kind: Held, id: &str, exists: &str) -> Result<bool> {
        if self.held().contains(&(kind, id.to_owned())) {
            return self.store.db().read(|c| c.prepare_cached(exists)?.exists([id]));
        }
        let found = self.store.db().write_with(false, |c| {
            self.insert_row(c, kind, id)?;
            Ok(c.prepare_cached(exists)?.exists([id])?)
        })?;
        self.held().insert((kind, id.to_owned()));
        Ok(found)
    }

    /// Holds something inside a transaction of the caller's.
    pub(crate) fn insert_row(&self, c: &Connection, kind: Held, id: &str) -> Result<()> {
        let owner = self.store.tree().owner()?.name();
        c.prepare_cached("INSERT OR IGNORE INTO leases(owner, lease, kind, id) VALUES(?1, ?2, ?3, ?4)")?
            .execute(params![owner, self.number, kind.as_str(), id])?;
        self.used();
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, HashSet<(Held, String)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lease that never held anything has nothing to drop; the empty name stands for what a caller inserted itself.
    fn used(&self) {
        self.held().insert((Held::Blob, String::new()));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A row that stays behind is dropped by the next collector once this process is gone.
        if self.held().is_empty() {
            return;
        }
        let Ok(owner) = self.store.tree().owner() else { return };
        let _ = self.store.db().write(|c| {
            c.prepare_cached("DELETE FROM leases WHERE owner = ?1 AND lease = ?2")?
                .execute(params![owner.name(), self.number])
        });
    }
}
