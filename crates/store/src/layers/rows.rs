//! Queries on the tables of layers. Does not know directories.

use cooper_oci::{Compression, Descriptor, Digest};
use rusqlite::{Connection, OptionalExtension, params};

use crate::leases::Held;
use crate::{Error, ErrorKind, LayerId, Result, Store};

/// What the compression column says; levels do not matter to whoever reads.
fn column(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "none",
        Compression::Gzip(_) => "gzip",
        Compression::Zstd(_) => "zstd",
    }
}

/// What a build makes is held until the build ends: nothing refers to it yet.
fn hold(store: &Store, c: &Connection, id: &LayerId) -> Result<()> {
    store.build.as_ref().map_or(Ok(()), |lease| lease.insert_row(c, Held::Layer, id.as_str()))
}

/// A layer whose directory is complete; `publish` gives it its name in the same transaction, as collectors expect.
pub(crate) fn publish(
    store: &Store,
    id: &LayerId,
    diff_id: Option<&Digest>,
    size: u64,
    chain: Option<&str>,
    publish: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let (now, state) = (store.now(), store.volatile());
    store.db().write_with(false, |c| {
        hold(store, c, id)?;
        c.prepare_cached(
            "INSERT INTO layers(id, diff_id, size, created, used, unpacked, state, parent_chain)
             VALUES(?1, ?2, ?3, ?4, ?4, 1, ?5, ?6)
             ON CONFLICT(id) DO UPDATE SET unpacked = 1, size = excluded.size, used = excluded.used, state = excluded.state",
        )?
        .execute(params![id.as_str(), diff_id.map(Digest::to_string), crate::db::column(size), now, state, chain])?;
        publish()
    })
}

/// A layer that has a listing but no directory.
pub(crate) fn publish_packed(
    store: &Store,
    id: &LayerId,
    diff_id: &Digest,
    publish: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let (now, state) = (store.now(), store.volatile());
    store.db().write_with(false, |c| {
        hold(store, c, id)?;
        c.prepare_cached(
            "INSERT INTO layers(id, diff_id, size, created, used, unpacked, state) VALUES(?1, ?2, 0, ?3, ?3, 0, ?4)
             ON CONFLICT(id) DO UPDATE SET used = excluded.used",
        )?
        .execute(params![id.as_str(), diff_id.to_string(), now, state])?;
        publish()
    })
}

/// A layer known by its diff id; nothing changes if it is there already.
pub(crate) fn insert_known(store: &Store, id: &LayerId, diff_id: &Digest) -> Result<()> {
    let (now, state) = (store.now(), store.volatile());
    store.db().write_with(false, |c| {
        hold(store, c, id)?;
        c.prepare_cached(
            "INSERT INTO layers(id, diff_id, size, created, used, unpacked, state) VALUES(?1, ?2, 0, ?3, ?3, 0, ?4)
             ON CONFLICT(id) DO UPDATE SET used = excluded.used",
        )?
        .execute(params![id.as_str(), diff_id.to_string(), now, state])?;
        Ok(())
    })
}

/// The diff id of a layer became known.
pub(crate) fn set_diff_id(store: &Store, id: &LayerId, diff_id: &Digest) -> Result<()> {
    store.db().write(|c| {
        c.prepare_cached("UPDATE layers SET diff_id = ?2 WHERE id = ?1")?
            .execute(params![id.as_str(), diff_id.to_string()])
            .map(drop)
    })
}

/// A layer has a blob.
pub(crate) fn insert_blob(store: &Store, id: &LayerId, compression: Compression, blob: &Descriptor) -> Result<()> {
    store.db().write(|c| {
        c.prepare_cached(
            "INSERT OR REPLACE INTO layer_blobs(layer, compression, digest, size, media_type) VALUES(?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            id.as_str(),
            column(compression),
            blob.digest.to_string(),
            crate::db::column(blob.size),
            blob.media_type.as_str()
        ])
        .map(drop)
    })
}

/// The diff id; an error if the store has no such layer.
pub(crate) fn diff_id(store: &Store, id: &LayerId) -> Result<Option<Digest>> {
    let found: Option<Option<String>> = store.db().read(|c| {
        c.prepare_cached("SELECT diff_id FROM layers WHERE id = ?1")?
            .query_row([id.as_str()], |row| row.get(0))
            .optional()
    })?;
    let text = found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("the store has no layer {id}")))?;
    text.map(|text| text.parse()).transpose().map_err(Error::from)
}

/// Blobs of a layer by compression (`None`: any, the cheapest to read first).
pub(crate) fn blobs(store: &Store, id: &LayerId, compression: Option<Compression>) -> Result<Vec<Descriptor>> {
    let rows: Vec<(String, i64, String)> = store.db().read(|c| {
        let mut statement = c.prepare_cached(
            "SELECT digest, size, media_type FROM layer_blobs WHERE layer = ?1 AND (?2 IS NULL OR compression = ?2)
             ORDER BY CASE compression WHEN 'none' THEN 0 WHEN 'zstd' THEN 1 ELSE 2 END",
        )?;
        let rows = statement.query_map(params![id.as_str(), compression.map(column)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        rows.collect()
    })?;
    rows.into_iter()
        .map(|(digest, size, kind)| {
            Ok(Descriptor::new(kind.as_str(), digest.parse()?, u64::try_from(size).unwrap_or(0)))
        })
        .collect()
}
