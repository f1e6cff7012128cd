//! What one layer changes, as a sorted list: entries with the digests of their content, removals and opaque directories.
//!
//! The file form (`layers/<id>/listing`, see docs/design/layers.md) is text, one inode a line, in one zstd frame. Does
//! not know how a layer is kept on disk, nor other layers: [`Tree`] stacks listings.

mod text;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use cooper_oci::{Entry, EntryKind, Mtime};

use crate::{Error, ErrorKind, Result};
pub(crate) use text::{read_file, write_file};
pub use tree::Tree;

/// Entries of one layer: twenty times the largest public images.
pub const MAX_ENTRIES: usize = 10_000_000;
/// Bytes of one path: the kernel's PATH_MAX.
pub const MAX_PATH: usize = 4096;
/// Bytes of one name: NAME_MAX of every filesystem we know.
pub const MAX_NAME: usize = 255;

/// BLAKE3 of a file's content.
pub type ContentDigest = [u8; 32];

/// One inode of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Path, kind and attributes.
    pub entry: Entry,
    /// Of a regular file, BLAKE3 of its content.
    pub digest: Option<ContentDigest>,
    /// A directory that the layer only implies: its attributes are those of the layers below, else 0755 of root.
    pub implied: bool,
}

impl Record {
    /// An entry that the layer really holds.
    pub fn new(entry: Entry, digest: Option<ContentDigest>) -> Self {
        Self { entry, digest, implied: false }
    }

    /// A directory that entries beneath it imply.
    pub fn implied(path: &Path) -> Self {
        let entry = Entry {
            path: path.to_owned(),
            kind: EntryKind::Dir,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            xattrs: BTreeMap::new(),
        };
        Self { entry, digest: None, implied: true }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.entry.path
    }

    /// It is a directory.
    pub fn is_dir(&self) -> bool {
        self.entry.kind == EntryKind::Dir
    }

    /// Bytes of content.
    pub fn size(&self) -> u64 {
        match self.entry.kind {
            EntryKind::File { size } => size,
            _ => 0,
        }
    }
}

/// What one layer changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    pub(crate) records: Vec<Record>,
    pub(crate) removed: Vec<PathBuf>,
    pub(crate) opaque: Vec<PathBuf>,
    pub(crate) needs_chain: bool,
}

impl Listing {
    /// The entries, sorted by path, name by name.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Paths of lower layers that this one removes, sorted.
    pub fn removed(&self) -> &[PathBuf] {
        &self.removed
    }

    /// Directories that show nothing of lower layers, sorted.
    pub fn opaque(&self) -> &[PathBuf] {
        &self.opaque
    }

    /// The layer cannot be unpacked without those below it: it implies directories, or links to files it does not hold.
    pub fn needs_chain(&self) -> bool {
        self.needs_chain
    }

    /// Bytes of all content.
    pub fn size(&self) -> u64 {
        self.records.iter().map(Record::size).fold(0, u64::saturating_add)
    }

    /// The entry at a path of this layer.
    pub fn get(&self, path: &Path) -> Option<&Record> {
        let index = self.records.binary_search_by(|record| record.path().cmp(path)).ok()?;
        self.records.get(index)
    }

    /// The inode at a path: hard links of this layer followed.
    pub fn inode(&self, path: &Path) -> Option<&Record> {
        let record = self.get(path)?;
        match &record.entry.kind {
            EntryKind::Hardlink { target } => self.get(target).filter(|record| !is_hardlink(record)),
            _ => Some(record),
        }
    }

    /// Lower layers do not show through at `path`, as far as this layer's own removals say.
    pub(crate) fn removes(&self, path: &Path) -> bool {
        holds(&self.removed, path)
    }

    pub(crate) fn is_opaque(&self, path: &Path) -> bool {
        holds(&self.opaque, path)
    }

    /// The entries directly in a directory.
    pub(crate) fn children<'a>(&'a self, dir: &Path) -> impl Iterator<Item = &'a Record> {
        let mut rest = &self.records[self.records.partition_point(|record| record.path() <= dir)..];
        std::iter::from_fn(move || {
            let (first, _) = rest.split_first()?;
            if !first.path().starts_with(dir) {
                return None;
            }
            // Beneath a child that is not listed itself nothing can be: every parent is at least implied.
            rest = &rest[rest.partition_point(|record| record.path().starts_with(first.path()))..];
            Some(first)
        })
    }
}

pub(crate) fn is_hardlink(record: &Record) -> bool {
    matches!(record.entry.kind, EntryKind::Hardlink { .. })
}

fn holds(sorted: &[PathBuf], path: &Path) -> bool {
    sorted.binary_search_by(|found| found.as_path().cmp(path)).is_ok()
}

/// Refuses a path that an unpacked layer could not hold, or that is not clean.
pub(crate) fn check_path(path: &Path) -> Result<()> {
    use std::path::Component;
    let invalid = |why: &str| Err(Error::new(ErrorKind::Invalid, format!("layer path {path:?} {why}")));
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.len() > MAX_PATH {
        return Err(Error::new(ErrorKind::TooLarge, format!("a layer path has {} bytes", bytes.len())));
    }
    if bytes.contains(&0) {
        return invalid("holds a NUL");
    }
    for part in path.components() {
        match part {
            Component::Normal(name) if name.len() <= MAX_NAME => {}
            Component::Normal(_) => return invalid("holds a name that is too long"),
            _ => return invalid("is not a clean relative path"),
        }
    }
    Ok(())
}

/// Collects a listing from entries in any order, the later winning, as a layer's tar may hold them.
#[derive(Debug, Default)]
pub struct ListingBuilder {
    records: BTreeMap<PathBuf, Record>,
    removed: BTreeSet<PathBuf>,
    opaque: BTreeSet<PathBuf>,
    /// Names of hard links by the path they were made from; some may be gone.
    links: BTreeMap<PathBuf, Vec<PathBuf>>,
}

impl ListingBuilder {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry. What it replaces goes away, with everything beneath it unless both are directories; a parent
    /// that is not a directory is replaced by one.
    pub fn put(&mut self, record: Record) -> Result<()> {
        let path = record.entry.path.clone();
        check_path(&path)?;
        if self.records.len() >= MAX_ENTRIES {
            return Err(Error::new(ErrorKind::TooLarge, format!("the layer has more than {MAX_ENTRIES} entries")));
        }
        self.imply_parents(&path);
        if record.is_dir() {
            if self.removed.remove(&path) {
                self.opaque.insert(path.clone());
            }
            if self.records.get(&path).is_some_and(|old| !old.is_dir()) {
                self.opaque.insert(path.clone());
            }
        } else {
            self.removed.remove(&path);
            self.drop_beneath(&path);
        }
        if let EntryKind::Hardlink { target } = &record.entry.kind {
            self.links.entry(target.clone()).or_default().push(path.clone());
        }
        if let Some(old) = self.records.insert(path, record) {
            self.hand_over(old);
        }
        Ok(())
    }

    /// The name that had the content of hard links is gone: the first of them has it from now on.
    fn hand_over(&mut self, old: Record) {
        let Some(names) = self.links.remove(old.path()) else { return };
        let is_link =
            |record: &Record| matches!(&record.entry.kind, EntryKind::Hardlink { target } if target == old.path());
        let mut names = names.into_iter().filter(|name| self.records.get(name).is_some_and(is_link));
        let Some(heir) = names.next() else { return };
        let others: Vec<_> = names.collect();
        for name in &others {
            if let Some(record) = self.records.get_mut(name) {
                record.entry.kind = EntryKind::Hardlink { target: heir.clone() };
            }
        }
        let mut record = old;
        record.entry.path = heir.clone();
        self.records.insert(heir.clone(), record);
        self.links.insert(heir, others);
    }

    /// Removes a path of the lower layers; what this layer itself holds there stays.
    pub fn remove(&mut self, path: &Path) -> Result<()> {
        check_path(path)?;
        self.imply_parents(path);
        match self.records.get(path) {
            Some(record) if record.is_dir() => {
                self.opaque.insert(path.to_owned());
            }
            Some(_) => {}
            None => {
                self.removed.insert(path.to_owned());
            }
        }
        Ok(())
    }

    /// Hides what lower layers hold in a directory.
    pub fn set_opaque(&mut self, dir: &Path) -> Result<()> {
        check_path(dir)?;
        self.imply_parents(dir);
        self.imply(dir);
        self.opaque.insert(dir.to_owned());
        Ok(())
    }

    /// The entry at a path so far.
    pub fn get(&self, path: &Path) -> Option<&Record> {
        self.records.get(path)
    }

    fn imply_parents(&mut self, path: &Path) {
        // The root is never implied: it exists in every layer.
        let mut parents: Vec<_> = path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()).collect();
        parents.reverse();
        parents.into_iter().for_each(|parent| self.imply(parent));
    }

    fn imply(&mut self, dir: &Path) {
        let replaced = match self.records.get(dir) {
            Some(record) if record.is_dir() => return,
            found => found.is_some(),
        };
        if dir.as_os_str().is_empty() {
            return;
        }
        // A directory in place of what was removed, or of a file, shows nothing of the directory below.
        if self.removed.remove(dir) || replaced {
            self.opaque.insert(dir.to_owned());
        }
        if let Some(old) = self.records.insert(dir.to_owned(), Record::implied(dir)) {
            self.hand_over(old);
        }
    }

    /// Forgets everything beneath a path.
    fn drop_beneath(&mut self, path: &Path) {
        let range = (Bound::Excluded(path), Bound::Unbounded);
        let gone: Vec<_> = self
            .records
            .range::<Path, _>(range)
            .map(|(found, _)| found)
            .take_while(|found| found.starts_with(path))
            .cloned()
            .collect();
        let gone: Vec<_> = gone.iter().filter_map(|found| self.records.remove(found)).collect();
        gone.into_iter().for_each(|old| self.hand_over(old));
        self.removed.retain(|found| !found.starts_with(path));
        self.opaque.retain(|found| !found.starts_with(path));
    }

    /// The sorted listing. Knows now whether the layer depends on those below it.
    pub fn finish(self) -> Listing {
        let orphan = |record: &Record| match &record.entry.kind {
            EntryKind::Hardlink { target } => self.records.get(target).is_none_or(|found| found.is_dir()),
            _ => record.implied,
        };
        let needs_chain = self.records.values().any(orphan);
        Listing {
            needs_chain,
            records: self.records.into_values().collect(),
            removed: self.removed.into_iter().collect(),
            opaque: self.opaque.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests;
