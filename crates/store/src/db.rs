//! The database of rows: one SQLite file that any number of processes share.
//! Knows tables and transactions; does not know files, or what the rows are for.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::tree::sync_dir;
use crate::{Error, Result, lock};

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

/// Every table, by topic. A fragment can be run again: `CREATE .. IF NOT EXISTS`, `INSERT OR IGNORE`.
const SCHEMA: &[&str] = &[
    crate::blobs::SCHEMA,
    crate::builds::SCHEMA,
    crate::cache_mounts::SCHEMA,
    crate::cache_packs::SCHEMA,
    crate::events::SCHEMA,
    crate::images::SCHEMA,
    crate::layer_rows::SCHEMA,
    crate::leases::SCHEMA,
    crate::links::SCHEMA,
    crate::records::SCHEMA,
];

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
        // A full disk has no room for temporary files.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
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

    /// Reads, for a closure that can fail in other ways.
    pub(crate) fn read_with<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        f(&self.lock())
    }

    /// Moves the log into the database file and gives its space back; on a full disk that makes room for the next step.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        self.read(|c| c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())))
    }

    /// What SQLite's own check finds; empty when all is well.
    pub(crate) fn faults(&self) -> Result<Vec<String>> {
        self.read(|c| {
            let mut statement = c.prepare("PRAGMA integrity_check(20)")?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            rows.filter(|row| !row.as_ref().is_ok_and(|text| text == "ok")).collect()
        })
    }

    /// Writes in one transaction: all of it or nothing. Survives a killed process, not a power cut: see [`Db::write_durable`].
    pub(crate) fn write<T>(&self, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        transact(&mut self.lock(), f)
    }

    /// Writes in one transaction that survives a power cut once this returns, together with every earlier one.
    pub(crate) fn write_durable<T>(&self, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        self.synced(f)
    }

    /// As [`Db::write`] or [`Db::write_durable`], for a closure that does more than rows: what it does is done alone among
    /// all processes.
    pub(crate) fn write_with<T>(&self, durable: bool, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        if durable { self.synced(f) } else { transact(&mut self.lock(), f) }
    }

    fn synced<T, E>(&self, f: impl FnOnce(&Connection) -> std::result::Result<T, E>) -> Result<T>
    where
        Error: From<E>,
    {
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
        // SQLite does not wait for others when the journal's mode changes.
        let _turn = lock::exclusive(&path.with_file_name("locks").join("create"))?;
        let mode = if is_network(path) { "DELETE" } else { "WAL" };
        self.read(|c| c.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |_| Ok(())))?;
        self.write_durable(|c| {
            SCHEMA.iter().try_for_each(|fragment| c.execute_batch(fragment))?;
            c.pragma_update(None, "user_version", schema_version())
        })?;
        sync_dir(path.parent().unwrap_or(path))
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

fn transact<T, E>(connection: &mut Connection, f: impl FnOnce(&Connection) -> std::result::Result<T, E>) -> Result<T>
where
    Error: From<E>,
{
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let out = f(&transaction)?;
    transaction.commit()?;
    Ok(out)
}

/// A column that holds a length. A negative one is no length, and nothing has it.
pub(crate) fn length(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
}

/// A length as a column: no file is longer than `i64::MAX`.
pub(crate) fn column(length: u64) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn is_network(path: &Path) -> bool {
    let dir = path.parent().unwrap_or(path);
    rustix::fs::statfs(dir).is_ok_and(|stat| NETWORK.iter().any(|magic| i128::from(*magic) == i128::from(stat.f_type)))
}
