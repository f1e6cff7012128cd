//! A registry in memory, for tests: bytes by digest, and for each repository which of them it may show.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cooper_oci::{Algorithm, Body, Descriptor, Digest, Hasher, MediaType, Target};

use super::{Backend, Document, Part, Refusal, StoredManifest, Upload};

/// A blob may be this long.
const BLOB_MAX: usize = 1024 * 1024 * 1024;
/// Bytes handed out at once, as from a disk.
const PIECE: usize = 256 * 1024;

/// A registry in memory; nothing outlives it. Clones share what they hold.
#[derive(Clone, Debug, Default)]
pub struct MemoryBackend {
    /// One lock that is never held across a wait.
    contents: Arc<Mutex<Contents>>,
}

#[derive(Debug, Default)]
struct Contents {
    bytes: HashMap<Digest, Bytes>,
    repositories: BTreeMap<String, Repository>,
}

/// One repository: what it links to. A blob that only others link to is not shown.
#[derive(Debug, Default)]
struct Repository {
    blobs: BTreeSet<Digest>,
    manifests: BTreeMap<Digest, MediaType>,
    tags: BTreeMap<String, Digest>,
}

impl MemoryBackend {
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, Refusal> {
        Ok(following(&self.lock().repositories, after, limit))
    }

    async fn repository_size(&self, name: &str) -> Result<u64, Refusal> {
        let contents = self.lock();
        let Some(repository) = contents.repositories.get(name) else { return Ok(0) };
        let held = repository.blobs.iter().chain(repository.manifests.keys());
        Ok(held.filter_map(|digest| contents.bytes.get(digest)).map(|bytes| bytes.len() as u64).sum())
    }

    async fn tags(&self, name: &str, after: Option<&str>, limit: usize) -> Result<Option<Vec<String>>, Refusal> {
        Ok(self.lock().repositories.get(name).map(|repository| following(&repository.tags, after, limit)))
    }

    async fn manifest(&self, name: &str, target: Target<'_>) -> Result<Option<StoredManifest>, Refusal> {
        let contents = self.lock();
        let digest = match target {
            Target::Digest(digest) => Some(digest),
            Target::Tag(tag) => contents.repositories.get(name).and_then(|repository| repository.tags.get(tag)),
        };
        Ok(digest.and_then(|digest| contents.manifest(name, digest)))
    }

    async fn put_manifest(
        &self,
        name: &str,
        tags: &[String],
        manifest: &StoredManifest,
        parts: &[Part],
    ) -> Result<(), Refusal> {
        let mut contents = self.lock();
        if let Some(missing) = parts.iter().find(|part| !contents.has(name, part)) {
            return Err(Refusal::missing_part(missing));
        }
        let StoredManifest { digest, media_type, bytes } = manifest;
        contents.bytes.entry(digest.clone()).or_insert_with(|| bytes.clone());
        let repository = contents.repositories.entry(name.to_owned()).or_default();
        repository.manifests.insert(digest.clone(), media_type.clone());
        for tag in tags {
            repository.tags.insert(tag.clone(), digest.clone());
        }
        Ok(())
    }

    async fn delete_manifest(&self, name: &str, target: Target<'_>) -> Result<bool, Refusal> {
        let mut contents = self.lock();
        let Some(repository) = contents.repositories.get_mut(name) else { return Ok(false) };
        let digest = match target {
            Target::Tag(tag) => return Ok(repository.tags.remove(tag).is_some()),
            Target::Digest(digest) => digest,
        };
        let found = repository.manifests.remove(digest).is_some();
        repository.tags.retain(|_, target| target != digest);
        contents.forget(digest);
        Ok(found)
    }

    async fn referrers(&self, name: &str, subject: &Digest) -> Result<Vec<Descriptor>, Refusal> {
        let contents = self.lock();
        let Some(repository) = contents.repositories.get(name) else { return Ok(Vec::new()) };
        let manifests = repository.manifests.keys().filter_map(|digest| contents.manifest(name, digest));
        Ok(manifests.filter_map(|manifest| Document::of(&manifest)?.referrer(&manifest, subject)).collect())
    }

    async fn blob_size(&self, name: &str, digest: &Digest) -> Result<Option<u64>, Refusal> {
        Ok(self.lock().blob(name, digest).map(|bytes| bytes.len() as u64))
    }

    async fn open_blob(&self, name: &str, digest: &Digest, range: Range<u64>) -> Result<Option<Body>, Refusal> {
        let Some(bytes) = self.lock().blob(name, digest) else { return Ok(None) };
        let end = usize::try_from(range.end).unwrap_or(usize::MAX).min(bytes.len());
        let start = usize::try_from(range.start).unwrap_or(usize::MAX).min(end);
        let pieces = (start..end).step_by(PIECE).map(move |at| Ok(bytes.slice(at..end.min(at + PIECE))));
        Ok(Some(Box::pin(futures::stream::iter(pieces))))
    }

    async fn holders(&self, digest: &Digest) -> Result<Vec<String>, Refusal> {
        let contents = self.lock();
        let has = |repository: &Repository| repository.blobs.contains(digest);
        Ok(contents
            .repositories
            .iter()
            .filter(|(_, repository)| has(repository))
            .map(|(name, _)| name.clone())
            .collect())
    }

    async fn mount_blob(&self, from: &str, name: &str, digest: &Digest) -> Result<bool, Refusal> {
        let mut contents = self.lock();
        let Some(bytes) = contents.blob(from, digest) else { return Ok(false) };
        contents.add_blob(name, digest, bytes);
        Ok(true)
    }

    async fn delete_blob(&self, name: &str, digest: &Digest) -> Result<bool, Refusal> {
        let mut contents = self.lock();
        let found = contents.repositories.get_mut(name).is_some_and(|repository| repository.blobs.remove(digest));
        contents.forget(digest);
        Ok(found)
    }

    async fn upload(&self, name: &str, _: Algorithm) -> Result<Box<dyn Upload>, Refusal> {
        Ok(Box::new(MemoryUpload { backend: self.clone(), name: name.to_owned(), bytes: BytesMut::new() }))
    }
}

/// Bytes that have come so far, for one repository.
#[derive(Debug)]
struct MemoryUpload {
    backend: MemoryBackend,
    name: String,
    bytes: BytesMut,
}

#[async_trait]
impl Upload for MemoryUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Refusal> {
        if self.bytes.len() + bytes.len() > BLOB_MAX {
            return Err(Refusal::new(413, "SIZE_INVALID", format!("more than {BLOB_MAX} bytes")));
        }
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn commit(self: Box<Self>, digest: &Digest) -> Result<(), Refusal> {
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&self.bytes);
        if hasher.finish() != *digest {
            return Err(Refusal::wrong_digest());
        }
        self.backend.lock().add_blob(&self.name, digest, self.bytes.freeze());
        Ok(())
    }
}

impl Contents {
    fn blob(&self, name: &str, digest: &Digest) -> Option<Bytes> {
        self.repositories.get(name).filter(|repository| repository.blobs.contains(digest))?;
        self.bytes.get(digest).cloned()
    }

    fn manifest(&self, name: &str, digest: &Digest) -> Option<StoredManifest> {
        let media_type = self.repositories.get(name)?.manifests.get(digest)?.clone();
        Some(StoredManifest { digest: digest.clone(), media_type, bytes: self.bytes.get(digest)?.clone() })
    }

    fn has(&self, name: &str, part: &Part) -> bool {
        match part {
            Part::Blob(digest) => self.blob(name, digest).is_some(),
            Part::Manifest(digest) => self.manifest(name, digest).is_some(),
        }
    }

    fn add_blob(&mut self, name: &str, digest: &Digest, bytes: Bytes) {
        self.bytes.entry(digest.clone()).or_insert(bytes);
        self.repositories.entry(name.to_owned()).or_default().blobs.insert(digest.clone());
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

fn following<V>(map: &BTreeMap<String, V>, after: Option<&str>, limit: usize) -> Vec<String> {
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    map.range::<str, _>((start, Bound::Unbounded)).take(limit).map(|(key, _)| key.clone()).collect()
}
