//! What a cache holds, as it is read: records, and the cache mounts beside them.
//!
//! Layers and packs stay where they are.

use std::collections::BTreeMap;

use cooper_oci::{Blobs, Descriptor, ImageConfig, Index, Manifest, read_all};

use super::document::{Document, INLINE_FIELD, Inline, MEDIA_TYPE, Records, merge};
use super::mounts::{self, KEY};
use super::place::Root;
use crate::error::from_oci;
use crate::{Error, ErrorKind, Result};

/// Largest document read: five thousand records with ten keys each are a tenth of it.
pub(crate) const DOCUMENT_MAX: u64 = 32 * 1024 * 1024;

/// What a cache holds.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// What the name stands for.
    pub(crate) root: Option<Root>,
    /// The manifests whose records these are.
    pub(crate) caches: Vec<Descriptor>,
    /// Records of all of them.
    pub(crate) records: Records,
    /// Manifests of cache mounts, by the store's ids of them.
    pub(crate) mounts: BTreeMap<String, Descriptor>,
    /// The name stands for something else.
    pub(crate) is_other: bool,
    /// The records, or some of them, are an image's.
    pub(crate) is_image: bool,
}

impl Held {
    /// Reads a cache, or the inline caches of an image, of every platform of an index.
    pub(crate) async fn read(place: &dyn Blobs, root: Root) -> Result<Self> {
        let what = "cannot read it";
        let mut held = Self { root: Some(root.clone()), ..Self::default() };
        let root = &root.descriptor;
        let manifests = match root.media_type.is_index() {
            false => vec![root.clone()],
            true => {
                let bytes = read_all(place, root, DOCUMENT_MAX).await.map_err(|e| from_oci(e, what))?;
                let index: Index = parsed(&bytes)?;
                index.manifests.into_iter().filter(|manifest| manifest.media_type.is_manifest()).collect()
            }
        };
        for descriptor in manifests {
            match descriptor.annotations.get(KEY).filter(|_| mounts::is_mount(&descriptor)) {
                Some(key) => drop(held.mounts.insert(key.clone(), descriptor)),
                None => held.read_manifest(place, descriptor).await?,
            }
        }
        match held.caches.is_empty() && held.mounts.is_empty() {
            true => Err(Error::new(ErrorKind::User, "there is an image or artifact, but no cache of cooper's in it")),
            false => Ok(held),
        }
    }

    async fn read_manifest(&mut self, place: &dyn Blobs, descriptor: Descriptor) -> Result<()> {
        let what = "cannot read it";
        let bytes = read_all(place, &descriptor, DOCUMENT_MAX).await.map_err(|e| from_oci(e, what))?;
        let manifest: Manifest = parsed(&bytes)?;
        let config = read_all(place, &manifest.config, DOCUMENT_MAX).await.map_err(|e| from_oci(e, what))?;
        if manifest.config.media_type.as_str() == MEDIA_TYPE {
            merge(&mut self.records, parsed::<Document>(&config)?.records(&manifest.layers)?);
            self.caches.push(descriptor);
        } else if let Ok(config) = parsed::<ImageConfig>(&config)
            && let Some(inline) = config.other.get(INLINE_FIELD)
        {
            let inline: Inline = serde_json::from_value(inline.clone()).map_err(not_understood)?;
            merge(&mut self.records, inline.records(&manifest, &config.rootfs.diff_ids));
            self.is_image = true;
            self.caches.push(descriptor);
        }
        Ok(())
    }
}

/// Reads JSON of a cache.
pub(crate) fn parsed<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(not_understood)
}

fn not_understood(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::User, "the cache is not well formed").with_source(error)
}
