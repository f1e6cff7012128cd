//! Makes everything written so far survive a power cut, with one sync of the file system.
//! Does not know what the rows stand for, only their `state`.

use std::fs::File;

use rusqlite::Connection;
use rusqlite::types::Value;

use crate::rebuild::FOUND as SUSPECT;
use crate::{Error, Result, Store};

/// Tables whose rows are volatile first, and their keys.
const TABLES: [(&str, &str); 3] = [("blobs", "digest"), ("layers", "id"), ("records", "id")];

impl Store {
    /// Makes blobs, layers and records durable: call it before success is reported. Costs nothing when nothing is waiting.
    pub fn durable(&self) -> Result<()> {
        let volatile = self.volatile();
        // Only what is complete now is made durable: rows that appear during the sync may stand for bytes it missed.
        let waiting = self.db().read(|c| {
            TABLES.iter().map(|(table, key)| keys(c, table, key, &volatile)).collect::<rusqlite::Result<Vec<_>>>()
        })?;
        if waiting.iter().all(Vec::is_empty) {
            return Ok(());
        }
        if let Err(error) = self.sync_all() {
            // The kernel tells of a lost write once: a second sync would succeed without it. What may be lost must be
            // verified, or made again.
            self.db().write_durable(|c| settle_all(c, &waiting, &volatile, SUSPECT))?;
            return Err(error);
        }
        self.tree().step("durable.rows")?;
        self.db().write_durable(|c| settle_all(c, &waiting, &volatile, "durable"))?;
        self.inner.flush_touched();
        Ok(())
    }

    fn sync_all(&self) -> Result<()> {
        self.tree().step("durable.sync")?;
        let root = File::open(self.root()).map_err(|error| Error::at("open", self.root(), error))?;
        rustix::fs::syncfs(&root).map_err(|error| Error::at("sync the file system of", self.root(), error))
    }
}

fn settle_all(c: &Connection, waiting: &[Vec<Value>], from: &str, to: &str) -> rusqlite::Result<()> {
    TABLES.iter().zip(waiting).try_for_each(|((table, key), keys)| {
        let sql = format!("UPDATE {table} SET state = ?3 WHERE {key} = ?1 AND state = ?2");
        let mut statement = c.prepare_cached(&sql)?;
        keys.iter().try_for_each(|key| statement.execute((key, from, to)).map(drop))
    })
}

fn keys(c: &Connection, table: &str, key: &str, state: &str) -> rusqlite::Result<Vec<Value>> {
    let sql = format!("SELECT {key} FROM {table} WHERE state <> 'durable' AND state = ?1");
    let mut statement = c.prepare_cached(&sql)?;
    let rows = statement.query_map([state], |row| row.get(0))?;
    rows.collect()
}
