//! Cache mounts that travel: one becomes a listing of its files and packs of their contents, and is made from them again.
//!
//! A pack is a layer tar whose files are named by the BLAKE3 of their content. Once written it never changes: what a later
//! listing still needs of it stays where it is, and only new contents go into new packs. Does not know where packs are kept.

mod pack;
mod unpack;
mod walk;

pub use pack::{Earlier, Packing};
pub use unpack::OpenPack;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use cooper_oci::{Descriptor, Digest, EntryKind};
use rusqlite::{OptionalExtension, params};

use crate::cache_mounts::id_of;
use crate::listing::{ContentDigest, Record};
use crate::{Lease, Listing, Result, Store};

/// Which cache mounts are copies of something kept elsewhere, untouched since: what they are a copy of, by digest. While one
/// is being packed, a random word stands there instead.
pub(crate) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS cache_mount_copies(id TEXT PRIMARY KEY, of TEXT NOT NULL) WITHOUT ROWID;
";

/// Contents of files, in one blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    /// The blob: a layer tar, compressed.
    pub blob: Descriptor,
    /// Bytes of the contents in it, uncompressed.
    pub size: u64,
}

/// A cache mount, packed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedMount {
    /// Its files; the root directory is among them.
    pub listing: Listing,
    /// The packs.
    pub packs: Vec<Pack>,
    /// For each content, in the order of its first file in the listing, the number of its pack.
    pub places: Vec<u32>,
    /// Files that did not go with it because of the size limit, and their bytes.
    pub left_out: (usize, u64),
}

impl PackedMount {
    /// The pack of each content. A place that there is no pack for is left out.
    fn placed(&self) -> HashMap<ContentDigest, u32> {
        let known = |(_, pack): &(_, u32)| (*pack as usize) < self.packs.len();
        contents(&self.listing).map(|(digest, _)| digest).zip(self.places.iter().copied()).filter(known).collect()
    }
}

/// Each content of a listing once, with its size, in the order of the files.
fn contents(listing: &Listing) -> impl Iterator<Item = (ContentDigest, u64)> {
    let mut seen = HashSet::new();
    listing.records().iter().filter_map(move |record| {
        let digest = record.digest.filter(|_| is_file(record))?;
        seen.insert(digest).then_some((digest, record.size()))
    })
}

fn is_file(record: &Record) -> bool {
    matches!(record.entry.kind, EntryKind::File { .. })
}

/// A cache mount of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMountRow {
    /// Its id in `du`, and its directory's name.
    pub id: String,
    /// The name it was made with.
    pub name: String,
    /// Last use, seconds since 1970.
    pub used: i64,
    /// Bytes on disk.
    pub size: u64,
}

/// What a cache mount is to this store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountState {
    /// There is none, or nothing in it.
    Empty,
    /// As it was packed or unpacked under this digest.
    CopyOf(Digest),
    /// Opened by a step since, or never anything but this store's own.
    Own,
}

impl Store {
    /// The cache mounts of the store, by name.
    pub fn cache_mounts(&self) -> Result<Vec<CacheMountRow>> {
        let mut rows: Vec<CacheMountRow> = self.db().read(|c| {
            let mut statement = c.prepare_cached("SELECT id, name, used FROM cache_mounts ORDER BY name")?;
            let rows = statement
                .query_map([], |r| Ok(CacheMountRow { id: r.get(0)?, name: r.get(1)?, used: r.get(2)?, size: 0 }))?;
            rows.collect()
        })?;
        for row in &mut rows {
            row.size = crate::gc::sweep::disk_usage(&self.mount_dir(&row.id));
        }
        Ok(rows)
    }

    /// What the cache mount of this name is to the store.
    pub fn cache_mount_state(&self, name: &str) -> Result<MountState> {
        let id = id_of(name);
        let is_empty = std::fs::read_dir(self.mount_dir(&id)).map_or(true, |mut entries| entries.next().is_none());
        if is_empty {
            return Ok(MountState::Empty);
        }
        let copy_of: Option<String> = self.db().read(|c| {
            let sql = "SELECT of FROM cache_mount_copies WHERE id = ?1";
            c.prepare_cached(sql)?.query_row([&id], |row| row.get(0)).optional()
        })?;
        Ok(copy_of.and_then(|of| of.parse().ok()).map_or(MountState::Own, MountState::CopyOf))
    }

    fn mount_dir(&self, id: &str) -> PathBuf {
        self.tree().join("cache-mounts").join(id)
    }

    /// Somebody besides `lease` uses the mount.
    fn is_in_use(&self, c: &rusqlite::Connection, id: &str, lease: &Lease) -> Result<bool> {
        let sql = "SELECT 1 FROM leases WHERE kind = 'cachemount' AND id = ?1 AND NOT (owner = ?2 AND lease = ?3)";
        Ok(c.prepare_cached(sql)?.exists(params![id, self.tree().owner()?.name(), lease.number()])?)
    }
}
