//! What the registry holds: bytes by digest, and for each repository which of them it may show. Knows no HTTP.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use cooper_oci::Digest;

/// Everything, behind one lock that is never held across a wait.
#[derive(Debug, Default)]
pub(super) struct State {
    contents: Mutex<Contents>,
}

impl State {
    pub(super) fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
pub(super) struct Contents {
    bytes: HashMap<Digest, Bytes>,
    repositories: BTreeMap<String, Repository>,
    pub(super) uploads: HashMap<String, Upload>,
}

/// One repository: what it links to. A blob that only others link to is not shown.
#[derive(Debug, Default)]
pub(super) struct Repository {
    blobs: BTreeSet<Digest>,
    /// Media type by digest.
    pub(super) manifests: BTreeMap<Digest, String>,
    pub(super) tags: BTreeMap<String, Digest>,
}

/// Bytes that have come so far, for one repository.
#[derive(Debug, Default)]
pub(super) struct Upload {
    pub(super) name: String,
    pub(super) bytes: BytesMut,
}

impl Contents {
    pub(super) fn repository(&self, name: &str) -> Option<&Repository> {
        self.repositories.get(name)
    }

    pub(super) fn blob(&self, name: &str, digest: &Digest) -> Option<Bytes> {
        self.repositories.get(name).filter(|repository| repository.blobs.contains(digest))?;
        self.bytes.get(digest).cloned()
    }

    /// Media type and bytes.
    pub(super) fn manifest(&self, name: &str, digest: &Digest) -> Option<(String, Bytes)> {
        let media_type = self.repositories.get(name)?.manifests.get(digest)?;
        Some((media_type.clone(), self.bytes.get(digest)?.clone()))
    }

    pub(super) fn add_blob(&mut self, name: &str, digest: Digest, bytes: Bytes) {
        self.bytes.entry(digest.clone()).or_insert(bytes);
        self.repositories.entry(name.to_owned()).or_default().blobs.insert(digest);
    }

    pub(super) fn add_manifest(&mut self, name: &str, digest: &Digest, media_type: &str, bytes: Bytes) {
        self.bytes.entry(digest.clone()).or_insert(bytes);
        let repository = self.repositories.entry(name.to_owned()).or_default();
        repository.manifests.insert(digest.clone(), media_type.to_owned());
    }

    pub(super) fn tag(&mut self, name: &str, tag: &str, digest: Digest) {
        self.repositories.entry(name.to_owned()).or_default().tags.insert(tag.to_owned(), digest);
    }

    pub(super) fn remove_blob(&mut self, name: &str, digest: &Digest) -> bool {
        let found = self.repositories.get_mut(name).is_some_and(|repository| repository.blobs.remove(digest));
        self.forget(digest);
        found
    }

    /// Removes a manifest and the tags that point to it.
    pub(super) fn remove_manifest(&mut self, name: &str, digest: &Digest) -> bool {
        let Some(repository) = self.repositories.get_mut(name) else { return false };
        let found = repository.manifests.remove(digest).is_some();
        repository.tags.retain(|_, target| target != digest);
        self.forget(digest);
        found
    }

    pub(super) fn remove_tag(&mut self, name: &str, tag: &str) -> bool {
        self.repositories.get_mut(name).is_some_and(|repository| repository.tags.remove(tag).is_some())
    }

    /// Drops bytes that nothing links to any more.
    fn forget(&mut self, digest: &Digest) {
        let linked =
            |repository: &Repository| repository.blobs.contains(digest) || repository.manifests.contains_key(digest);
        if !self.repositories.values().any(linked) {
            self.bytes.remove(digest);
        }
    }
}
