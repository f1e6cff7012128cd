//! Records of finished steps, and the keys that name them. Does not know what a step is or what its keys are made of.

use cooper_oci::Digest;
use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Key, LayerId, RecordId, Result, Store};

/// `layers` are ids separated by spaces, base first. `inputs` is JSON. `state` is as in `blobs`.
pub(crate) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS records(
    id BLOB PRIMARY KEY, layers TEXT NOT NULL, inputs TEXT NOT NULL, detail TEXT, step TEXT NOT NULL,
    created INTEGER NOT NULL, used INTEGER NOT NULL, trace BLOB, state TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS records_state ON records(state) WHERE state <> 'durable';
CREATE INDEX IF NOT EXISTS records_step ON records(step, created);
CREATE TABLE IF NOT EXISTS keys(key BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS keys_record ON keys(record);
";

/// Level of side files: their text compresses tenfold at any level, so the fastest usual one.
const DETAIL_LEVEL: i32 = 3;

/// A list of a million selected files with their digests; more is not a build.
const DETAIL_MAX: u64 = 256 << 20;

/// Rows that `records_of_step` returns: the nearest earlier record is among the last.
const NEAREST_MAX: i64 = 64;

/// One input of a key, as `explain` compares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInputRow {
    /// What it is (`argument FOO`, `file src/main.rs`).
    pub name: String,
    /// Its value or digest.
    pub value: String,
}

/// A finished step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its id.
    pub id: RecordId,
    /// The filesystem it made, base first.
    pub layers: Vec<LayerId>,
    /// What its key was made of, in order.
    pub inputs: Vec<KeyInputRow>,
    /// A side file with the rest of the inputs: see [`Store::put_detail`].
    pub detail: Option<Digest>,
    /// Which step of which build description it is, so that `explain` finds its predecessors.
    pub step: String,
    /// Seconds since 1970.
    pub created: i64,
    /// What the step read, if it was traced.
    pub trace: Option<Vec<u8>>,
}

impl Store {
    /// The record a key names. One that an earlier boot left unsynced does not count.
    pub fn lookup(&self, key: &Key) -> Result<Option<RecordId>> {
        let sql = "SELECT records.id, state, used FROM keys JOIN records ON records.id = keys.record WHERE key = ?1";
        let row: Option<(Vec<u8>, String, i64)> = self.db().read(|c| {
            let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            c.prepare_cached(sql)?.query_row([&key.0[..]], row).optional()
        })?;
        let Some((id, _, used)) = row.filter(|(_, state, _)| self.is_current(state)) else { return Ok(None) };
        let id = RecordId::from_slice(&id)?;
        self.touch("records", &id.to_string(), used);
        Ok(Some(id))
    }

    /// A record by its id.
    pub fn record(&self, id: &RecordId) -> Result<Option<Record>> {
        let sql = "SELECT id, layers, inputs, detail, step, created, trace, state FROM records WHERE id = ?1";
        let row = self.db().read(|c| c.prepare_cached(sql)?.query_row([&id.0[..]], raw).optional())?;
        row.filter(|row| self.is_current(&row.state)).map(RawRecord::parse).transpose()
    }

    /// The latest records of a step, newest first: what `explain` compares a miss with.
    pub fn records_of_step(&self, step: &str) -> Result<Vec<Record>> {
        let sql = "SELECT id, layers, inputs, detail, step, created, trace, state FROM records
                   WHERE step = ?1 ORDER BY created DESC LIMIT ?2";
        let rows = self.db().read(|c| {
            let mut statement = c.prepare_cached(sql)?;
            let rows = statement.query_map(params![step, NEAREST_MAX], raw)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter().filter(|row| self.is_current(&row.state)).map(RawRecord::parse).collect()
    }

    /// Saves a record under its keys. It counts in this boot at once, and in later ones after [`Store::durable`].
    pub fn save(&self, record: &Record, keys: &[Key]) -> Result<()> {
        let layers = record.layers.iter().map(LayerId::as_str).collect::<Vec<_>>().join(" ");
        let inputs = serde_json::to_string(&record.inputs)
            .map_err(|error| Error::new(ErrorKind::Invalid, "cannot write key inputs as JSON").with_source(error))?;
        let detail = record.detail.as_ref().map(ToString::to_string);
        self.tree().step("record.row")?;
        self.db().write(|c| {
            c.prepare_cached(
                "INSERT OR REPLACE INTO records(id, layers, inputs, detail, step, created, used, trace, state)
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8)",
            )?
            .execute(params![
                &record.id.0[..],
                layers,
                inputs,
                detail,
                record.step,
                record.created,
                record.trace,
                self.volatile()
            ])?;
            let mut statement = c.prepare_cached("INSERT OR REPLACE INTO keys(key, record) VALUES(?1, ?2)")?;
            keys.iter().try_for_each(|key| statement.execute([&key.0[..], &record.id.0[..]]).map(drop))
        })
    }

    /// Names an existing record by more keys.
    pub fn add_keys(&self, id: &RecordId, keys: &[Key]) -> Result<()> {
        self.db().write(|c| {
            let mut statement = c.prepare_cached("INSERT OR REPLACE INTO keys(key, record) VALUES(?1, ?2)")?;
            keys.iter().try_for_each(|key| statement.execute([&key.0[..], &id.0[..]]).map(drop))
        })
    }

    /// The keys that name a record, in no order.
    pub fn keys_of(&self, id: &RecordId) -> Result<Vec<Key>> {
        let rows = self.db().read(|c| {
            let mut statement = c.prepare_cached("SELECT key FROM keys WHERE record = ?1")?;
            let rows = statement.query_map([&id.0[..]], |row| row.get::<_, Vec<u8>>(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let key = |row: Vec<u8>| row.try_into().map(Key);
        Ok(rows.into_iter().filter_map(|row| key(row).ok()).collect())
    }

    /// Drops a record that proved wrong, with its keys.
    pub fn forget(&self, id: &RecordId) -> Result<()> {
        self.db().write(|c| {
            c.prepare_cached("DELETE FROM keys WHERE record = ?1")?.execute([&id.0[..]])?;
            c.prepare_cached("DELETE FROM records WHERE id = ?1")?.execute([&id.0[..]]).map(drop)
        })
    }

    /// Stores a side file, compressed; it lives as long as a record names it.
    pub fn put_detail(&self, bytes: &[u8]) -> Result<Digest> {
        let packed =
            zstd::encode_all(bytes, DETAIL_LEVEL).map_err(|error| Error::io("cannot compress a side file", error))?;
        Ok(self.put_bytes("application/zstd", &packed)?.digest)
    }

    /// Reads a side file.
    pub fn detail(&self, digest: &Digest) -> Result<Vec<u8>> {
        let packed = self.read_blob(digest, DETAIL_MAX)?;
        let mut out = Vec::new();
        let corrupt =
            |error| Error::new(ErrorKind::Corrupt, format!("side file {digest} cannot be unpacked")).with_source(error);
        let reader = zstd::Decoder::new(&packed[..]).map_err(corrupt)?;
        let mut reader = std::io::Read::take(reader, DETAIL_MAX + 1);
        std::io::Read::read_to_end(&mut reader, &mut out).map_err(corrupt)?;
        if out.len() as u64 > DETAIL_MAX {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("side file {digest} is longer than {DETAIL_MAX} bytes"),
            ));
        }
        Ok(out)
    }
}

struct RawRecord {
    id: Vec<u8>,
    layers: String,
    inputs: String,
    detail: Option<String>,
    step: String,
    created: i64,
    trace: Option<Vec<u8>>,
    state: String,
}

fn raw(row: &Row<'_>) -> rusqlite::Result<RawRecord> {
    Ok(RawRecord {
        id: row.get(0)?,
        layers: row.get(1)?,
        inputs: row.get(2)?,
        detail: row.get(3)?,
        step: row.get(4)?,
        created: row.get(5)?,
        trace: row.get(6)?,
        state: row.get(7)?,
    })
}

impl RawRecord {
    fn parse(self) -> Result<Record> {
        let inputs = serde_json::from_str(&self.inputs).map_err(|error| {
            Error::new(ErrorKind::Corrupt, "the inputs of a record are not JSON").with_source(error)
        })?;
        Ok(Record {
            id: RecordId::from_slice(&self.id)?,
            layers: self.layers.split_whitespace().map(str::parse).collect::<Result<_>>()?,
            inputs,
            detail: self.detail.map(|digest| digest.parse()).transpose()?,
            step: self.step,
            created: self.created,
            trace: self.trace,
        })
    }
}
