//! The database of rows: one SQLite file that any number of processes share.
//! Knows tables and transactions; does not know files, or what the rows are for.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::{Error, Result};

/// How long a writer waits for another: longer than any transaction of ours takes on a slow disk.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Prepared statements kept: more than this crate has.
const STATEMENTS: usize = 128;

/// statfs(2) magic numbers of file systems whose clients do not share memory maps, which WAL needs.
const NETWORK: [i64; 8] = [
    0x6969,      // nfs
    0x517b,      // smb
    0xff53_4d42, // cifs
    0xfe53_4d42, // smb2
    0x0102_1997, // 9p
    0x00c3_6400, // ceph
    0x6b41_4653, // afs
    0x0bd0_0bd0, // lustre
];

/// Every table, by topic. A fragment holds only `CREATE .. IF NOT EXISTS`.
const SCHEMA: &[&str] = &[crate::blobs::SCHEMA, crate::layer_rows::SCHEMA];

/// A connection that threads take turns on.
#[derive(Debug)]
pub(crate) struct Db {
    connection: Mutex<Connection>,
}

impl Db {
    /// Opens the database at `path`, making it and its tables if they are missing.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        let db = Self { connection: Mutex::new(connection) };
        if db.schema_version()? != schema_version() {
            db.create(path)?;
        }
        Ok(db)
    }

    /// Reads.
    pub(crate) fn read<T>(&self, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        f(&self.lock()).map_err(Error::from)
    }

    /// Writes in one transaction: all of it or nothing. Survives a killed process, not a power cut: see [`Db::write_durable`].
    pub(crate) fn write<T>(&self, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        transact(&mut self.lock(), f)
    }

    /// Writes in one transaction that survives a power cut once this returns, together with every earlier one.
    pub(crate) fn write_durable<T>(&self, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let mut connection = self.lock();
        connection.pragma_update(None, "synchronous", "FULL")?;
        let out = transact(&mut connection, f);
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        out
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic inside a transaction rolled it back when its guard was dropped: the connection is sound.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn schema_version(&self) -> Result<i32> {
        self.read(|c| c.query_row("PRAGMA user_version", [], |row| row.get(0)))
    }

    fn create(&self, path: &Path) -> Result<()> {
        let mode = if is_network(path) { "DELETE" } else { "WAL" };
        self.read(|c| c.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |_| Ok(())))?;
        self.write_durable(|c| {
            SCHEMA.iter().try_for_each(|fragment| c.execute_batch(fragment))?;
            c.pragma_update(None, "user_version", schema_version())
        })
    }
}

/// Changes whenever a fragment does, so that a new table appears in a store that exists.
fn schema_version() -> i32 {
    let mut hash = blake3::Hasher::new();
    SCHEMA.iter().for_each(|fragment| {
        hash.update(fragment.as_bytes());
    });
    let [a, b, c, d, ..] = *hash.finalize().as_bytes();
    i32::from_be_bytes([a & 0x7f, b, c, d])
}

fn transact<T>(connection: &mut Connection, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let out = f(&transaction)?;
    transaction.commit()?;
    Ok(out)
}

fn is_network(path: &Path) -> bool {
    let dir = path.parent().unwrap_or(path);
    rustix::fs::statfs(dir).is_ok_and(|stat| NETWORK.contains(&(stat.f_type as i64)))
}
