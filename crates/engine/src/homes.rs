//! Which repositories were seen to have which blobs, so that a push mounts them from there and sends no bytes.
//!
//! Knows nothing of how a blob is mounted. What was forgotten, or is true no more, costs a request and nothing else; so a store
//! that cannot remember is no failure.

use std::sync::{Arc, Mutex, PoisonError};

use cooper_oci::{Descriptor, Digest, Progress, Reference};
use cooper_registry::Repository;
use cooper_store::Store;

use crate::Engine;

/// The repository of `to`; blobs are mounted there from `first`, and from where the store saw them, if that is the same registry.
pub(crate) fn repository(engine: &Engine, to: &Reference, first: Option<&Reference>) -> Repository {
    let first = first.filter(|first| first.registry() == to.registry()).map(|first| first.repository().to_owned());
    let (store, registry) = (engine.store.clone(), to.registry().to_owned());
    let neighbours = move |digest: &Digest| {
        let seen = store.origins(digest).unwrap_or_default();
        let seen = seen.into_iter().filter(|(other, _)| *other == registry).map(|(_, name)| name);
        first.iter().cloned().chain(seen.filter(|name| Some(name) != first.as_ref())).collect()
    };
    engine.client.repository(to).with_mounts(Arc::new(neighbours))
}

/// Remembers that the repository of `at` has these blobs.
pub(crate) fn remember<'a>(store: &Store, blobs: impl IntoIterator<Item = &'a Descriptor>, at: &Reference) {
    let is_blob = |blob: &&Descriptor| !blob.media_type.is_manifest() && !blob.media_type.is_index();
    let digests: Vec<Digest> = blobs.into_iter().filter(is_blob).map(|blob| blob.digest.clone()).collect();
    let _ = store.add_origins(&digests, at.registry(), at.repository());
}

/// The blobs that a copy says it has dealt with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<Descriptor>>>);

impl Seen {
    /// Notes what `progress`, if there is one, is told of too.
    pub(crate) fn noting(&self, progress: Option<Progress>) -> Progress {
        let seen = self.0.clone();
        Arc::new(move |blob: &Descriptor, done| {
            if done == blob.size {
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(blob.clone());
            }
            if let Some(progress) = &progress {
                progress(blob, done);
            }
        })
    }

    /// Remembers that they are all at these places.
    pub(crate) fn remember<'a>(&self, store: &Store, places: impl IntoIterator<Item = &'a Reference>) {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.into_iter().for_each(|place| remember(store, seen.iter(), place));
    }
}
