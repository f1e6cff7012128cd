//! What images are made of: their manifests and blobs by digest. A digest says it for good, so it is read once.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use cooper_oci::{Descriptor, Digest, Document, MediaType, parse_document};
use cooper_store::Store;

use super::DOCUMENT_MAX;

/// Images remembered: some kilobytes each.
const IMAGES_MAX: usize = 4096;

/// An index in an index in an index is beyond what any tool writes.
const DEPTH_MAX: u32 = 4;

/// Manifests and blobs of one image.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) manifests: HashMap<Digest, MediaType>,
    pub(super) blobs: HashSet<Digest>,
    /// A manifest is not in the store, as when one platform of several was pulled: it may yet come.
    lacks: bool,
}

/// The parts of images, remembered.
#[derive(Debug, Default)]
pub(super) struct Shown {
    known: Mutex<HashMap<Digest, Arc<Parts>>>,
}

impl Shown {
    /// What the image or index is made of, as far as its manifests are in the store.
    pub(super) fn parts(&self, store: &Store, root: &Descriptor) -> Arc<Parts> {
        if let Some(parts) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&root.digest) {
            return Arc::clone(parts);
        }
        let mut parts = Parts::default();
        parts.add(store, root, DEPTH_MAX);
        let parts = Arc::new(parts);
        if !parts.lacks {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= IMAGES_MAX {
                known.clear();
            }
            known.insert(root.digest.clone(), Arc::clone(&parts));
        }
        parts
    }
}

impl Parts {
    fn add(&mut self, store: &Store, descriptor: &Descriptor, depth: u32) {
        let kind = &descriptor.media_type;
        if !kind.is_index() && !kind.is_manifest() {
            self.blobs.insert(descriptor.digest.clone());
            return;
        }
        if depth == 0 || self.manifests.contains_key(&descriptor.digest) {
            return;
        }
        let Ok(bytes) = store.read_blob(&descriptor.digest, DOCUMENT_MAX) else {
            self.lacks = true;
            return;
        };
        self.manifests.insert(descriptor.digest.clone(), kind.clone());
        match parse_document(kind, &bytes) {
            Ok(Document::Index(index)) => index.manifests.iter().for_each(|child| self.add(store, child, depth - 1)),
            Ok(document) => self.blobs.extend(document.children().into_iter().map(|child| child.digest.clone())),
            // It names nothing that anybody could ask for.
            Err(_) => {}
        }
    }
}
