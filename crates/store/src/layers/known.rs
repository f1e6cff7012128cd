//! Whether a layer is known, whatever form it has.

use rusqlite::{OptionalExtension, params};

use super::has;
use crate::{LayerId, Result, Store};

impl Store {
    /// The store knows the layer: as a directory, as a blob, or as a blob that is still elsewhere.
    pub fn layer_exists(&self, id: &LayerId) -> Result<bool> {
        let found = self.db().read(|c| {
            c.prepare_cached("SELECT 1 FROM layers WHERE id = ?1")?
                .query_row(params![id.as_str()], |_| Ok(()))
                .optional()
        })?;
        Ok(found.is_some())
    }

    /// As [`Store::layer_exists`], and of a build's handle it is kept from then on: see [`Store::deferred`].
    pub fn hold_layer(&self, id: &LayerId) -> Result<bool> {
        match &self.build {
            Some(lease) => lease.hold(id),
            None => self.layer_exists(id),
        }
    }

    /// The layer's files can be had without asking anyone: its directory is here, or the bytes of one of its blobs.
    pub fn layer_is_here(&self, id: &LayerId) -> Result<bool> {
        Ok(self.is_unpacked(id)? || self.local_blob(id).is_ok())
    }

    /// The layer has its directory, whole. What an earlier boot did not make durable may have lost the bytes of its files
    /// and does not count.
    pub(super) fn is_unpacked(&self, id: &LayerId) -> Result<bool> {
        let state: Option<String> = self.db().read(|c| {
            c.prepare_cached("SELECT state FROM layers WHERE id = ?1 AND unpacked = 1")?
                .query_row(params![id.as_str()], |row| row.get(0))
                .optional()
        })?;
        Ok(state.is_some_and(|state| self.is_current(&state)) && has(self, id, "fs"))
    }
}
