//! Makes directories of layers that are blobs: side by side, and on top of their chain only where a layer needs it.
//!
//! Does not know what is mounted.

use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cooper_oci::tar::TarReader;
use cooper_oci::{Descriptor, Digest, Limits, VerifyReader, decompress_within};

use super::ahead::read_ahead;
use super::apply::Applied;
use super::dir::LayerDir;
use super::{Applier, CHAIN, Chain, Fresh, ROOT, dress_root, fs_of, has, rows};
use crate::{Error, ErrorKind, LayerId, Listing, Ownership, Result, Store, Tree};

/// Layers unpacked at once: each reads, decompresses and writes by itself.
const MAX_THREADS: usize = 8;

/// What unpacking a layer may come to. Files of zeros are real (databases, disk images) and zstd packs them 20,000:1, so
/// the ratio counts only for layers larger than almost all; a small bomb ends at this size, or on a full disk before.
pub(crate) const LIMITS: Limits = Limits { bytes: 1 << 40, free: 8 << 30, ratio: 1000 };

/// Layers as directories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Where each layer asked for is, base first: itself, or its form on top of the chain.
    pub layers: Vec<LayerId>,
    /// What this host could not represent.
    pub warnings: Vec<String>,
}

impl Store {
    /// Unpacks what is not yet of a list of layers, base first.
    pub fn unpack(&self, layers: &[LayerId]) -> Result<Unpacked> {
        let mut out = Unpacked::default();
        let mut missing = Vec::new();
        for id in layers {
            if !missing.contains(id) && !has(self, id, CHAIN) && !self.is_unpacked(id)? {
                missing.push(id.clone());
            }
        }
        out.warnings = self.unpack_side_by_side(&missing)?;
        for id in layers {
            let id = match self.is_unpacked(id)? {
                true => id.clone(),
                false => self.unpack_on(id, &out.layers, &mut out.warnings)?,
            };
            out.layers.push(id);
        }
        Ok(out)
    }

    fn unpack_side_by_side(&self, missing: &[LayerId]) -> Result<Vec<String>> {
        let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || {
            while let Some(id) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                let result = self.unpack_alone(id);
                results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS).min(missing.len());
        std::thread::scope(|scope| {
            // A thread that cannot be had is done without: this one does all there is.
            let spawn = |_| drop(std::thread::Builder::new().spawn_scoped(scope, work));
            (1..threads).for_each(spawn);
            work();
        });
        let results: Result<Vec<_>> =
            results.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect();
        Ok(results?.concat())
    }

    fn unpack_alone(&self, id: &LayerId) -> Result<Vec<String>> {
        let _lock = self.named_lock(&format!("layer {id}"), true)?;
        if self.is_unpacked(id)? || has(self, id, CHAIN) {
            return Ok(Vec::new());
        }
        let diff_id = self.known_diff_id(id)?;
        self.with_blob(id, |tar| self.unpack_from(id, &diff_id, tar))
    }

    /// The layer whose tar has this digest, as a directory; `tar` is read unless it has one.
    ///
    /// # Errors
    /// The tar has another digest, or does not unpack by itself.
    pub fn unpack_tar(&self, diff_id: &Digest, tar: impl Read + Send) -> Result<LayerId> {
        let id = LayerId::diff(diff_id);
        let _lock = self.named_lock(&format!("layer {id}"), true)?;
        if !self.is_unpacked(&id)? {
            self.unpack_from(&id, diff_id, tar)?;
        }
        rows::insert_known(self, &id, diff_id)?;
        Ok(id)
    }

    /// Unpacks a layer by itself; the caller holds its lock. Of a layer that needs its chain only the listing is kept.
    pub(super) fn unpack_from(&self, id: &LayerId, diff_id: &Digest, tar: impl Read + Send) -> Result<Vec<String>> {
        let fresh = Fresh::new(self)?;
        let applied = self.apply(tar, diff_id, &fresh, None)?;
        if applied.listing.needs_chain() {
            super::remove_path(&fresh.fs())?;
            fresh.mark(CHAIN)?;
            return rows::publish_packed(self, id, diff_id, || fresh.publish(self, id)).map(|()| Vec::new());
        }
        rows::publish(self, id, Some(diff_id), applied.listing.size(), None, || fresh.publish(self, id))?;
        Ok(applied.warnings)
    }

    /// Unpacks a layer that depends on the (unpacked) layers below it, under a name for this very chain.
    fn unpack_on(&self, id: &LayerId, below: &[LayerId], warnings: &mut Vec<String>) -> Result<LayerId> {
        let diff_id = self.known_diff_id(id)?;
        let names: Vec<_> = below.iter().chain([id]).map(LayerId::as_str).collect();
        let chained = LayerId::chain(&Digest::of(names.join("\n").as_bytes()));
        let _lock = self.named_lock(&format!("layer {chained}"), true)?;
        if self.is_unpacked(&chained)? {
            return Ok(chained);
        }
        let listings: Result<Vec<_>> = below.iter().map(|id| self.listing(id).map(Arc::new)).collect();
        let dirs = below.iter().map(|id| fs_of(self, id)).collect();
        let chain = Chain { tree: Tree::new(listings?), dirs };
        let fresh = Fresh::new(self)?;
        let applied = self.with_blob(id, |tar| self.apply(tar, &diff_id, &fresh, Some(&chain)))?;
        let size = applied.listing.size();
        rows::publish(self, &chained, Some(&diff_id), size, Some(&names.join(" ")), || fresh.publish(self, &chained))?;
        warnings.extend(applied.warnings);
        Ok(chained)
    }

    /// Reads a layer's tar into `fresh`; all of it has proved right when this returns well.
    fn apply(&self, tar: impl Read + Send, diff_id: &Digest, fresh: &Fresh, chain: Option<&Chain>) -> Result<Applied> {
        let fs = fresh.fs();
        std::fs::create_dir(&fs).map_err(|error| Error::at("create", &fs, error))?;
        let owners = self.ownership() == Ownership::All;
        dress_root(&fs, &crate::listing::Record::implied(std::path::Path::new("")).entry, owners)?;
        let dir = LayerDir::open(&fs, self.ownership())?;
        let applied = read_into(tar, diff_id, Applier::new(Some(dir), chain))?;
        fresh.write_listing(&applied.listing)?;
        if applied.listing.get(std::path::Path::new("")).is_some() {
            fresh.mark(ROOT)?;
        }
        Ok(applied)
    }

    /// Gives the tar in a layer's blob to `read`; it ends in an error unless the blob is right. A wrong one is moved aside.
    fn with_blob<T>(&self, id: &LayerId, read: impl FnOnce(Box<dyn Read + Send>) -> Result<T>) -> Result<T> {
        let blob = self.local_blob(id)?;
        let path = self.blob_path(&blob.digest);
        let file = File::open(&path).map_err(|error| Error::at("open", &path, error))?;
        let verified = VerifyReader::new(file, blob.digest.clone(), Some(blob.size));
        read(decompress_within(verified, LIMITS)?).inspect_err(|error| {
            if error.kind() == ErrorKind::Corrupt {
                self.blob_was_wrong(&blob.digest, "it does not unpack to what its digests name");
            }
        })
    }

    /// A blob of the layer whose bytes are here.
    pub(super) fn local_blob(&self, id: &LayerId) -> Result<Descriptor> {
        for blob in rows::blobs(self, id, None)? {
            if self.blob_size(&blob.digest)? == Some(blob.size) {
                return Ok(blob);
            }
        }
        Err(Error::new(ErrorKind::NotFound, format!("no blob of layer {id} is in the store")))
    }

    pub(super) fn known_diff_id(&self, id: &LayerId) -> Result<Digest> {
        rows::diff_id(self, id)?
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("layer {id} has lost its directory")))
    }

    /// The listing of a layer that is only a blob.
    pub(super) fn list_blob(&self, id: &LayerId) -> Result<Listing> {
        let diff_id = self.known_diff_id(id)?;
        let listing = self.with_blob(id, |tar| read_into(tar, &diff_id, Applier::new(None, None)))?.listing;
        let _lock = self.named_lock(&format!("layer {id}"), true)?;
        if !self.is_unpacked(id)? {
            let fresh = Fresh::new(self)?;
            fresh.write_listing(&listing)?;
            if listing.needs_chain() {
                fresh.mark(CHAIN)?;
            }
            rows::publish_packed(self, id, &diff_id, || fresh.publish(self, id))?;
        }
        Ok(listing)
    }
}

/// Inflating is half of the work, so it has a thread; hashing what comes out goes with writing it.
fn read_into(tar: impl Read + Send, diff_id: &Digest, applier: Applier<'_>) -> Result<Applied> {
    read_ahead(tar, |ahead| {
        let mut tar = TarReader::new(VerifyReader::new(ahead, diff_id.clone(), None));
        let applied = applier.read(&mut tar)?;
        // What follows the end of the archive counts for the digests too.
        tar.finish()?;
        Ok(applied)
    })
}
