//! Builds a layer from entries: tar, digests, compression and listing in one pass; no directory is made.
//!
//! Does not know where the entries come from.

use std::io::Read;
use std::path::Path;

use cooper_oci::tar::TarWriter;
use cooper_oci::{Compression, Descriptor, Digest, Entry, Mtime};

use super::scan::{Sealing, Visit};
use super::seal::Sink;
use super::{Fresh, has, rows};
use crate::{LayerId, Listing, ListingBuilder, Result, Store};

/// A layer being built.
#[derive(Debug)]
pub struct LayerBuilder {
    store: Store,
    compression: Compression,
    clamp: Option<i64>,
    tar: TarWriter<Sink>,
    listing: ListingBuilder,
}

/// A layer that was built.
#[derive(Clone, Debug)]
pub struct NewLayer {
    /// Its name in the store.
    pub id: LayerId,
    /// Digest of its tar.
    pub diff_id: Digest,
    /// Its blob.
    pub descriptor: Descriptor,
    /// What it holds.
    pub listing: Listing,
}

impl Store {
    /// Begins a layer. Times of entries later than `clamp` (seconds since 1970) are set to it.
    pub fn new_layer(&self, compression: Compression, clamp: Option<i64>) -> Result<LayerBuilder> {
        let tar = TarWriter::new(self.layer_sink(compression)?);
        Ok(LayerBuilder { store: self.clone(), compression, clamp, tar, listing: ListingBuilder::new() })
    }
}

impl LayerBuilder {
    /// Adds an entry; `data` is read for a regular file. Entries stand in the tar in the order of the calls.
    pub fn append(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<()> {
        let mut entry = entry.clone();
        entry.mtime = self.clamped(entry.mtime);
        let is_file = matches!(entry.kind, cooper_oci::EntryKind::File { .. });
        self.sealing(|sealing| sealing.entry(entry, is_file.then_some(data)))
    }

    /// Removes a path of the layers below.
    pub fn remove(&mut self, path: &Path, mtime: Mtime) -> Result<()> {
        let mtime = self.clamped(mtime);
        self.sealing(|sealing| sealing.removed(path, mtime))
    }

    /// Hides what the layers below hold in a directory, which must have been added.
    pub fn set_opaque(&mut self, dir: &Path, mtime: Mtime) -> Result<()> {
        let mtime = self.clamped(mtime);
        self.sealing(|sealing| sealing.opaque(dir, mtime))
    }

    fn clamped(&self, mtime: Mtime) -> Mtime {
        self.clamp.map_or(mtime, |secs| mtime.min(Mtime { secs, nanos: 0 }))
    }

    fn sealing(&mut self, add: impl FnOnce(&mut dyn Visit) -> Result<()>) -> Result<()> {
        let listing = std::mem::take(&mut self.listing);
        let mut sealing = Sealing { tar: &mut self.tar, listing };
        let result = add(&mut sealing);
        self.listing = sealing.listing;
        result
    }

    /// Publishes the layer.
    pub fn finish(self) -> Result<NewLayer> {
        let listing = self.listing.finish();
        let (descriptor, sums) = self.store.publish_layer_blob(self.tar.finish()?, self.compression)?;
        let id = LayerId::diff(&sums.diff_id);
        if !has(&self.store, &id, super::LISTING) {
            let fresh = Fresh::new(&self.store)?;
            fresh.write_listing(&listing)?;
            if listing.needs_chain() {
                fresh.mark(super::CHAIN)?;
            }
            rows::publish_packed(&self.store, &id, &sums.diff_id, || match has(&self.store, &id, super::LISTING) {
                true => Ok(()),
                false => fresh.publish(&self.store, &id),
            })?;
        }
        rows::insert_known(&self.store, &id, &sums.diff_id)?;
        rows::insert_blob(&self.store, &id, self.compression, &descriptor)?;
        Ok(NewLayer { id, diff_id: sums.diff_id, descriptor, listing })
    }
}
