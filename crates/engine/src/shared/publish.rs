//! Writes a cache to its place, adding to what others wrote there.
//!
//! Does not know what kind of place it is, nor where records and mounts come from.

use std::collections::BTreeMap;

use cooper_oci::{Blobs, CopyOptions, Descriptor, Index, Manifest, MediaType, copy};
use cooper_store::Store;

use super::document::{Document, MEDIA_TYPE, Records, merge};
use super::held::Held;
use super::place::Place;
use crate::Result;
use crate::error::from_oci;

/// Attempts at adding to a cache that others add to at the same time.
const MERGES_MAX: usize = 5;

/// What is added to a cache.
#[derive(Debug, Default)]
pub(crate) struct Ours {
    pub(crate) records: Records,
    /// Manifests of cache mounts, which are at the place already.
    pub(crate) mounts: BTreeMap<String, Descriptor>,
}

impl Ours {
    /// All of it is there; of a mount perhaps what somebody wrote after us.
    fn is_in(&self, held: &Held) -> bool {
        self.records.keys().all(|id| held.records.contains_key(id))
            && self.mounts.keys().all(|key| held.mounts.contains_key(key))
    }
}

/// Adds `ours` to what the place holds. Layers come from `source`.
pub(crate) async fn publish(place: &Place, store: &Store, source: &dyn Blobs, ours: &Ours) -> Result<()> {
    if ours.records.is_empty() && ours.mounts.is_empty() {
        return Ok(());
    }
    let failed = |error| from_oci(error, &format!("cannot write the cache to {}", place.shown));
    for _ in 0..MERGES_MAX {
        let held = place.held().await?;
        let before = held.root.clone();
        let (root, bytes) = write(place, store, source, ours, held).await.map_err(failed)?;
        if before.as_ref().is_some_and(|before| before.descriptor.digest == root.digest) {
            return Ok(());
        }
        // Another builder may have written in between: then what it wrote is taken in, and so on.
        if place.set_root(&root, bytes, before.as_ref()).await? && ours.is_in(&place.held().await?) {
            return Ok(());
        }
    }
    Ok(())
}

/// Writes everything but the root: a manifest, or an index where there are cache mounts.
async fn write(
    place: &Place,
    store: &Store,
    source: &dyn Blobs,
    ours: &Ours,
    held: Held,
) -> cooper_oci::Result<(Descriptor, Vec<u8>)> {
    let mut caches = held.caches;
    let mut bytes = Vec::new();
    if !ours.records.is_empty() {
        let mut all = ours.records.clone();
        merge(&mut all, held.records);
        let (descriptor, json) = write_records(place, store, source, &all).await?;
        (caches, bytes) = (vec![descriptor], json);
    }
    let mut mounts = held.mounts;
    mounts.extend(ours.mounts.clone());
    if let ([cache], true) = (&caches[..], mounts.is_empty())
        && !bytes.is_empty()
    {
        return Ok((cache.clone(), bytes));
    }
    let mut index = Index::new(caches.into_iter().chain(mounts.into_values()).collect());
    index.artifact_type = Some(MEDIA_TYPE.into());
    let bytes = json(&index)?;
    Ok((Descriptor::of(MediaType::INDEX, &bytes), bytes))
}

/// Writes the blobs of `records`, their document and its manifest.
async fn write_records(
    place: &Place,
    store: &Store,
    source: &dyn Blobs,
    records: &Records,
) -> cooper_oci::Result<(Descriptor, Vec<u8>)> {
    let (document, blobs) = Document::of(records);
    let config = store.put_bytes(MEDIA_TYPE, &json(&document)?)?;
    let mut manifest = Manifest::new(config, blobs);
    manifest.artifact_type = Some(MEDIA_TYPE.into());
    let bytes = json(&manifest)?;
    let mut manifest = store.put_bytes(MediaType::MANIFEST, &bytes)?;
    copy(&manifest, source, &*place.sink, &CopyOptions::default()).await?;
    manifest.artifact_type = Some(MEDIA_TYPE.into());
    Ok((manifest, bytes))
}

pub(crate) fn json(value: &impl serde::Serialize) -> cooper_oci::Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| {
        cooper_oci::Error::new(cooper_oci::ErrorKind::Invalid, "cannot write a document as JSON").with_source(e)
    })
}
