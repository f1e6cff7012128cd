//! Tags whose images are not whole yet. A backend may rely on what has a name being whole: a cache gives the name when
//! the last part has come.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cooper_oci::Digest;

/// Tags that wait at once; of more than that, all are forgotten, and come again with the next request.
const MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Digests by tag, by repository.
    tags: Mutex<HashMap<String, HashMap<String, Digest>>>,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, HashMap<String, Digest>>> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, name: &str, tag: &str, digest: &Digest) {
        let mut tags = self.lock();
        if tags.values().map(HashMap::len).sum::<usize>() >= MAX {
            tags.clear();
        }
        tags.entry(name.to_owned()).or_default().insert(tag.to_owned(), digest.clone());
    }

    /// The tags of a repository that wait.
    pub(super) fn of(&self, name: &str) -> Vec<(String, Digest)> {
        let tags = self.lock();
        tags.get(name).into_iter().flatten().map(|(tag, digest)| (tag.clone(), digest.clone())).collect()
    }

    pub(super) fn remove(&self, name: &str, tag: &str) {
        let mut tags = self.lock();
        let Some(of) = tags.get_mut(name) else { return };
        of.remove(tag);
        if of.is_empty() {
            tags.remove(name);
        }
    }
}
