//! What an image is made of: the blobs its manifests name, and the layers its config names. Blobs that the store does not
//! have are named all the same. Does not know what is kept.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use cooper_oci::{Descriptor, Digest, ImageConfig, Index, Manifest};

use crate::images::{MANIFEST_MAX, from_json, tagged};
use crate::{LayerId, Result, Store};

/// An index in an index in an index is beyond what any tool writes.
const DEPTH_MAX: u32 = 4;

/// An image config is far below this.
const CONFIG_MAX: u64 = 16 << 20;

/// Blobs and layer ids of one image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    pub(crate) blobs: HashSet<String>,
    pub(crate) layers: HashSet<String>,
    /// Manifests among the blobs that may be missing: those of an index of which another one is here. A cache of a registry
    /// keeps the platforms that were asked for.
    pub(crate) spare: HashSet<String>,
}

/// Contents of every image of the store, adding to what is known.
pub(crate) fn of_images(store: &Store, known: &mut HashMap<String, Contents>) -> Result<()> {
    for (digest, _, json) in store.db().read(tagged)? {
        if let Entry::Vacant(unknown) = known.entry(digest) {
            let mut contents = Contents::default();
            contents.add(store, &from_json(&json)?, DEPTH_MAX);
            unknown.insert(contents);
        }
    }
    Ok(())
}

impl Contents {
    /// A document that is missing or broken names nothing: collecting must work on a store that lacks some.
    fn add(&mut self, store: &Store, descriptor: &Descriptor, depth: u32) {
        if !self.blobs.insert(descriptor.digest.to_string()) || depth == 0 {
            return;
        }
        let kind = &descriptor.media_type;
        if !kind.is_index() && !kind.is_manifest() {
            return;
        }
        let Ok(bytes) = store.read_blob(&descriptor.digest, MANIFEST_MAX) else { return };
        if kind.is_index() {
            let children = serde_json::from_slice::<Index>(&bytes).map(|index| index.manifests).unwrap_or_default();
            children.iter().for_each(|child| self.add(store, child, depth - 1));
            let is_here = |child: &Descriptor| store.has_blob(&child.digest).unwrap_or(false);
            if children.iter().any(is_here) {
                self.spare.extend(children.iter().map(|child| child.digest.to_string()));
            }
        } else if let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) {
            self.add_manifest(store, &manifest);
        }
    }

    fn add_manifest(&mut self, store: &Store, manifest: &Manifest) {
        self.blobs.extend(manifest.layers.iter().chain([&manifest.config]).map(|blob| blob.digest.to_string()));
        let Ok(bytes) = store.read_blob(&manifest.config.digest, CONFIG_MAX) else { return };
        let Ok(config) = serde_json::from_slice::<ImageConfig>(&bytes) else { return };
        let mut chain: Option<Digest> = None;
        for diff_id in &config.rootfs.diff_ids {
            let next =
                chain.map_or_else(|| diff_id.clone(), |below| Digest::of(format!("{below} {diff_id}").as_bytes()));
            self.layers.insert(LayerId::diff(diff_id).to_string());
            self.layers.insert(LayerId::chain(&next).to_string());
            chain = Some(next);
        }
    }
}
