//! What repositories need no more: manifests without a tag, an index or a subject that keeps them, and blobs of no manifest.
//!
//! A link is marked when nothing is found to need it, and goes when a later look finds the same and the time is over. Whoever
//! asks for a marked blob or names it in a manifest takes the mark away, so clients push while this goes on.

use std::collections::{HashMap, HashSet};

use cooper_oci::{Digest, MediaType};
use cooper_registry::server::{Document, Part};
use cooper_store::{Link, Result};

use super::{Inner, StoreBackend};
use crate::engine::blocking;
use crate::error::from_store;

/// What a collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Links to manifests and blobs that were dropped.
    pub links: usize,
    /// Blobs that were removed.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl StoreBackend {
    /// Drops what no repository has needed for `grace_secs`, or, with `None`, only what was deleted; and removes the blobs that
    /// nothing else in the store needs.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn collect(&self, grace_secs: Option<i64>) -> crate::Result<Collected> {
        let inner = self.inner.clone();
        let collected = blocking(move || inner.collect(grace_secs)).await;
        collected.map_err(|error| from_store(error, "cannot collect what no repository needs"))
    }
}

impl Inner {
    fn collect(&self, grace_secs: Option<i64>) -> Result<Collected> {
        let mut links = 0;
        if let Some(grace_secs) = grace_secs {
            for repository in self.store.linking_repositories()? {
                links += self.settle(&repository, grace_secs)?;
            }
        }
        let (blobs, bytes) = self.store.collect_unlinked()?;
        Ok(Collected { links, blobs, bytes })
    }

    fn settle(&self, repository: &str, grace_secs: i64) -> Result<usize> {
        // Links first: an image that is named after they were read keeps more than is known here, never less.
        let links = self.store.links(repository)?;
        let needed = self.needed(repository, &links)?;
        let looked: Vec<(Link, bool)> = links
            .into_iter()
            .map(|link| {
                let is_needed = needed.contains(&(link.digest.clone(), link.media_type.is_some()));
                (link, is_needed)
            })
            .collect();
        self.store.settle_links(repository, &looked, grace_secs)
    }

    /// Manifests (`true`) and blobs that the tagged images of a repository need, and what is said about them.
    fn needed(&self, repository: &str, links: &[Link]) -> Result<HashSet<(Digest, bool)>> {
        let mut needed = HashSet::new();
        for (registry, path) in self.names.of(repository) {
            for image in self.store.images_of(&registry, Some(&path))? {
                let parts = self.shown.parts(&self.store, &image.descriptor);
                needed.extend(parts.blobs.iter().map(|digest| (digest.clone(), false)));
                needed.extend(parts.manifests.keys().map(|digest| (digest.clone(), true)));
            }
        }
        let mut about: HashMap<&Digest, Vec<Digest>> = HashMap::new();
        let mut linked: HashMap<&Digest, &MediaType> = HashMap::new();
        for link in links {
            linked.extend(link.media_type.as_ref().map(|media_type| (&link.digest, media_type)));
            if let Some(subject) = &link.subject {
                about.entry(subject).or_default().push(link.digest.clone());
            }
        }
        // A list and no recursion: indexes may be nested as deep as somebody likes to push them.
        let mut waiting: Vec<Digest> =
            needed.iter().filter(|(_, is_manifest)| *is_manifest).map(|(d, _)| d.clone()).collect();
        while let Some(digest) = waiting.pop() {
            let mut more = about.remove(&digest).unwrap_or_default();
            if let Some(media_type) = linked.remove(&digest) {
                let manifest = self.read_manifest(&digest, media_type)?;
                let parts = manifest.and_then(|manifest| Document::of(&manifest)).map(|document| document.parts());
                for part in parts.into_iter().flatten() {
                    match part {
                        Part::Blob(digest) => drop(needed.insert((digest, false))),
                        Part::Manifest(digest) => more.push(digest),
                    }
                }
            }
            waiting.extend(more.into_iter().filter(|digest| needed.insert((digest.clone(), true))));
        }
        Ok(needed)
    }
}
