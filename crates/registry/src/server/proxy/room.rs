//! What is kept and when it was used last, so that the least recently used can go when there is too much.
//!
//! The unit is a manifest with its blobs: whoever pulls an image asks for its manifest first. Order is remembered while
//! the server runs; what was there before counts as used before. Touches nothing itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cooper_oci::Digest;

/// A manifest of a repository.
pub(super) type Entry = (String, Digest);

/// A manifest that goes, and the blobs of its repository that no other manifest there names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) entry: Entry,
    pub(super) blobs: Vec<Digest>,
}

#[derive(Debug, Default)]
pub(super) struct Room {
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    tick: u64,
    entries: HashMap<Entry, Kept>,
    /// Eldest use first.
    order: BTreeMap<u64, Entry>,
    /// Blobs that are here, and their lengths.
    blobs: HashMap<Digest, u64>,
    /// Manifests that name a blob or a manifest, by repository.
    users: HashMap<Entry, usize>,
}

#[derive(Debug)]
struct Kept {
    used: u64,
    size: u64,
    parts: Vec<Digest>,
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A manifest of `size` bytes that names `parts` was used. It need not be known. The manifests of an index are used with
    /// it, and after it: it goes before them, as a backend does not let go of what an index needs.
    pub(super) fn used(&self, entry: &Entry, size: u64, parts: impl FnOnce() -> Vec<Digest>) {
        let mut books = self.lock();
        if !books.entries.contains_key(entry) {
            let parts = parts();
            for part in &parts {
                *books.users.entry((entry.0.clone(), part.clone())).or_default() += 1;
            }
            books.entries.insert(entry.clone(), Kept { used: 0, size, parts });
        }
        let parts = books.entries.get(entry).map(|kept| kept.parts.clone()).unwrap_or_default();
        books.tick(entry);
        parts.into_iter().for_each(|part| books.tick(&(entry.0.clone(), part)));
    }

    /// A blob is here.
    pub(super) fn came(&self, digest: &Digest, size: u64) {
        self.lock().blobs.insert(digest.clone(), size);
    }

    /// Bytes of all that is kept; a blob of two repositories counts once.
    pub(super) fn total(&self) -> u64 {
        let books = self.lock();
        let manifests = books.entries.values().map(|kept| kept.size);
        manifests.chain(books.blobs.values().copied()).fold(0, u64::saturating_add)
    }

    /// Takes the least recently used manifest out of the books, but never the last one used.
    pub(super) fn evict(&self) -> Option<Gone> {
        let mut books = self.lock();
        if books.order.len() < 2 {
            return None;
        }
        let (_, entry) = books.order.pop_first()?;
        let kept = books.entries.remove(&entry)?;
        let mut blobs = Vec::new();
        for part in kept.parts {
            let user = (entry.0.clone(), part.clone());
            let left = books.users.get_mut(&user).map_or(0, |count| {
                *count -= 1;
                *count
            });
            if left == 0 {
                books.users.remove(&user);
                if books.blobs.contains_key(&part) {
                    blobs.push(part);
                }
            }
        }
        for blob in &blobs {
            let is_used = books.users.keys().any(|(_, digest)| digest == blob);
            if !is_used {
                books.blobs.remove(blob);
            }
        }
        Some(Gone { entry, blobs })
    }
}

impl Books {
    /// Puts a manifest, if it is one that is kept, behind all others.
    fn tick(&mut self, entry: &Entry) {
        let Some(kept) = self.entries.get_mut(entry) else { return };
        self.tick += 1;
        let before = std::mem::replace(&mut kept.used, self.tick);
        self.order.remove(&before);
        self.order.insert(self.tick, entry.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn entry(name: &str, manifest: &str) -> Entry {
        (name.into(), digest(manifest))
    }

    #[test]
    fn the_least_recently_used_goes_with_what_only_it_had() {
        let room = Room::default();
        let parts = |names: &[&str]| names.iter().map(|name| digest(name)).collect::<Vec<_>>();
        room.used(&entry("a", "1"), 10, || parts(&["base", "x"]));
        room.used(&entry("a", "2"), 10, || parts(&["base", "y"]));
        room.used(&entry("b", "1"), 10, || parts(&["base", "x"]));
        for (blob, size) in [("base", 1000), ("x", 100), ("y", 100)] {
            room.came(&digest(blob), size);
        }
        assert_eq!(room.total(), 1230);
        // `a`'s first is used again: its second is eldest.
        room.used(&entry("a", "1"), 10, Vec::new);
        assert_eq!(room.evict(), Some(Gone { entry: entry("a", "2"), blobs: parts(&["y"]) }));
        assert_eq!(room.total(), 1120);
        assert_eq!(room.evict(), Some(Gone { entry: entry("b", "1"), blobs: parts(&["base", "x"]) }));
        assert_eq!(room.total(), 1110, "another repository has the same blobs");
        assert_eq!(room.evict(), None, "what was used last stays");
    }

    #[test]
    fn an_index_goes_before_its_manifests() {
        let room = Room::default();
        room.used(&entry("a", "child"), 10, Vec::new);
        room.used(&entry("a", "index"), 10, || vec![digest("child"), digest("absent")]);
        room.used(&entry("a", "other"), 10, Vec::new);
        assert_eq!(room.evict().map(|gone| gone.entry), Some(entry("a", "index")));
        assert_eq!(room.evict().map(|gone| gone.entry), Some(entry("a", "child")));
    }
}
