//! `index.json`: the store's images as other OCI tools find them. Does not know where the images come from.

use cooper_oci::{Descriptor, Index, Reference};

use rusqlite::Connection;

use crate::images::{from_json, tagged};
use crate::{Error, ErrorKind, Result, Store};

/// image-spec, annotations.md: the name of an image in a layout.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// What containerd and BuildKit call it.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// A layout written by others may be large, but not without end.
const INDEX_MAX: u64 = 64 << 20;

/// Writes `index.json` from the rows. Processes take turns, and each writes what it then sees: the last one is right.
pub(crate) fn write(store: &Store) -> Result<()> {
    let _turn = store.named_lock("index.json", true)?;
    let (changed, rows) = store.db().read(|c| Ok((state(c)?.0, tagged(c)?)))?;
    let mut manifests = Vec::with_capacity(rows.len());
    for (_, name, json) in rows {
        let mut descriptor = from_json(&json)?;
        if let Some(name) = name {
            descriptor.annotations.insert(REF_NAME.into(), name.clone());
            descriptor.annotations.insert(IMAGE_NAME.into(), name);
        }
        manifests.push(descriptor);
    }
    let bytes = serde_json::to_vec(&Index::new(manifests))
        .map_err(|error| Error::new(ErrorKind::Invalid, "cannot write index.json").with_source(error))?;
    store.tree().write_file(&store.tree().join("index.json"), &bytes)?;
    store.db().write(|c| c.execute("UPDATE index_state SET written = ?1", [changed]).map(drop))
}

/// Says, inside the transaction that changes images, that the file is behind the rows.
pub(crate) fn mark(c: &Connection) -> rusqlite::Result<()> {
    c.prepare_cached("UPDATE index_state SET changed = changed + 1")?.execute([]).map(drop)
}

/// Writes the file if whoever changed the images did not live to do it. A store on a full disk opens all the same.
pub(crate) fn catch_up(store: &Store) -> Result<()> {
    let (changed, written) = store.db().read(state)?;
    if changed != written {
        let _ = write(store);
    }
    Ok(())
}

fn state(c: &Connection) -> rusqlite::Result<(i64, i64)> {
    let sql = "SELECT changed, written FROM index_state";
    c.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Images and their names, if they have one that is well formed.
pub(crate) fn read(store: &Store) -> Result<Vec<(Option<Reference>, Descriptor)>> {
    let path = store.tree().join("index.json");
    let size = std::fs::metadata(&path).map_err(|error| Error::at("read", &path, error))?.len();
    if size > INDEX_MAX {
        return Err(Error::new(ErrorKind::TooLarge, format!("{} has {size} bytes", path.display())));
    }
    let bytes = std::fs::read(&path).map_err(|error| Error::at("read", &path, error))?;
    let index: Index = serde_json::from_slice(&bytes).map_err(|error| {
        Error::new(ErrorKind::Corrupt, format!("{} is not an image index", path.display())).with_source(error)
    })?;
    Ok(index.manifests.into_iter().map(named).collect())
}

fn named(mut descriptor: Descriptor) -> (Option<Reference>, Descriptor) {
    let first = descriptor.annotations.remove(REF_NAME);
    let name = descriptor.annotations.remove(IMAGE_NAME).or(first);
    (name.and_then(|name| name.parse().ok()), descriptor)
}
