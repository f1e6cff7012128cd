//! What a repository may still hold. Uploads that are open count as if they were there.

use std::collections::BTreeSet;

use cooper_oci::{Descriptor, Target};

use super::{Backend, Document, Refusal, Shared};

/// Tags and manifests looked at to find the size of a repository.
const LOOKED_AT: usize = 10_000;

/// What may still come by an upload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Bytes of the blob, and how many are allowed in all.
    blob: Option<(u64, u64)>,
    /// Bytes of the repository, and how many are allowed in all.
    repository: Option<(u64, u64)>,
}

impl Room {
    /// The room for a blob of which `bytes` came before.
    pub(super) async fn of(shared: &Shared, name: &str, bytes: u64) -> Result<Self, Refusal> {
        let limits = shared.front.limits();
        let repository = match limits.quotas.of(name) {
            Some(quota) => Some((held(shared, name).await?, quota)),
            None => None,
        };
        Ok(Self { blob: limits.upload_bytes.map(|max| (bytes, max)), repository })
    }

    /// Whether there is room for so many bytes more.
    pub(super) fn check(&self, more: u64) -> Result<(), Refusal> {
        let over = |limit: Option<(u64, u64)>| limit.filter(|(held, max)| held.saturating_add(more) > *max);
        if let Some((_, max)) = over(self.blob) {
            return Err(Refusal::new(413, "SIZE_INVALID", format!("blobs of more than {max} bytes are not taken")));
        }
        match over(self.repository) {
            // Waiting would not help, so it is none of 429.
            Some((_, quota)) => Err(Refusal::denied(format!("the repository's quota of {quota} bytes is used up"))),
            None => Ok(()),
        }
    }

    /// Whether all that came in the meantime, by others too, left room; `more` bytes belong to no upload that is open.
    pub(super) async fn check_end(&self, shared: &Shared, name: &str, more: u64) -> Result<(), Refusal> {
        match self.repository {
            Some((_, quota)) => {
                let held = held(shared, name).await?;
                Self { blob: None, repository: Some((held, quota)) }.check(more)
            }
            None => Ok(()),
        }
    }
}

async fn held(shared: &Shared, name: &str) -> Result<u64, Refusal> {
    Ok(shared.backend.repository_size(name).await?.saturating_add(shared.sessions.size_of(name)))
}

/// The bytes of a repository as its tags show it: each manifest, config and layer once.
pub(super) async fn size_by_tags<B: Backend + ?Sized>(backend: &B, name: &str) -> Result<u64, Refusal> {
    let mut seen = BTreeSet::new();
    let mut bytes = 0_u64;
    let tags = backend.tags(name, None, LOOKED_AT).await?.unwrap_or_default();
    for tag in tags {
        let mut left = vec![backend.manifest(name, Target::Tag(&tag)).await?];
        while let Some(manifest) = left.pop() {
            let Some(manifest) = manifest.filter(|manifest| seen.insert(manifest.digest.clone())) else { continue };
            bytes = bytes.saturating_add(manifest.bytes.len() as u64);
            if seen.len() >= LOOKED_AT {
                return Ok(bytes);
            }
            match Document::of(&manifest) {
                Some(Document::Manifest(manifest)) => {
                    let local = |part: &&Descriptor| part.urls.is_empty();
                    let parts = [&manifest.config].into_iter().chain(manifest.layers.iter().filter(local));
                    for part in parts.filter(|part| seen.insert(part.digest.clone())) {
                        bytes = bytes.saturating_add(part.size);
                    }
                }
                Some(Document::Index(index)) => {
                    for part in &index.manifests {
                        left.push(backend.manifest(name, Target::Digest(&part.digest)).await?);
                    }
                }
                None => {}
            }
        }
    }
    Ok(bytes)
}
