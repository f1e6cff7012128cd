//! The filesystem that a list of layers shows, looked up in their listings without mounting or merging them.
//!
//! Does not know where listings come from. Each look-up is a few binary searches per layer.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_oci::EntryKind;

use super::{Listing, Record};
use crate::root::{MAX_LINKS, parts};
use crate::{Error, ErrorKind, Result};

/// Layers seen as one tree, base first.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    layers: Vec<Arc<Listing>>,
}

/// What one layer says about a path.
enum Says<'a> {
    /// This is it; `true`: unless a lower layer has a directory there, whose attributes count.
    Here(&'a Record, bool),
    /// Not here, and nothing below counts.
    Gone,
    /// Ask the next layer.
    Below,
}

impl Tree {
    /// A tree of layers, base first.
    pub fn new(layers: Vec<Arc<Listing>>) -> Self {
        Self { layers }
    }

    /// The layers, base first.
    pub fn layers(&self) -> &[Arc<Listing>] {
        &self.layers
    }

    /// The inode at a path, whose links are not followed. The root is found only if some layer has an entry for it.
    pub fn lookup(&self, path: &Path) -> Option<&Record> {
        self.find(path).map(|(_, record)| record)
    }

    /// As [`Tree::lookup`], with the index of the layer that holds the record.
    pub fn find(&self, path: &Path) -> Option<(usize, &Record)> {
        let mut implied = None;
        for (index, layer) in self.layers.iter().enumerate().rev() {
            match says(layer, path) {
                Says::Here(record, false) if implied.is_none() || record.is_dir() => return Some((index, record)),
                // The implied directory covers a file below.
                Says::Here(_, false) | Says::Gone => break,
                Says::Here(record, true) => {
                    implied.get_or_insert((index, record));
                    if hidden_above(layer, path) {
                        break;
                    }
                }
                Says::Below => {}
            }
        }
        implied
    }

    /// The inode at a path with hard links followed to the record that has the content, and its layer.
    pub fn inode(&self, path: &Path) -> Option<(usize, &Record)> {
        let (mut index, mut record) = self.find(path)?;
        for _ in 0..MAX_LINKS {
            let EntryKind::Hardlink { target } = &record.entry.kind else { return Some((index, record)) };
            // A link names the inode as it was when its layer was made: later layers do not count.
            (index, record) = match self.layers.get(index)?.get(target) {
                Some(found) if found.path() != record.path() => (index, found),
                _ => Self { layers: self.layers[..index].to_vec() }
                    .find(target)
                    .map(|(found, _)| found)
                    .and_then(|found| self.layers.get(found)?.get(target).map(|record| (found, record)))?,
            };
        }
        None
    }

    /// The path with every link replaced by what it points to inside the root. Missing names stay as they are.
    pub fn resolve(&self, path: &Path) -> Result<PathBuf> {
        let mut todo: VecDeque<OsString> = parts(path);
        let mut done = PathBuf::new();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == ".." {
                done.pop();
                continue;
            }
            done.push(&name);
            let Some(EntryKind::Symlink { target }) = self.lookup(&done).map(|record| &record.entry.kind) else {
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(Error::new(ErrorKind::Invalid, format!("too many links in {}", path.display())));
            }
            done.pop();
            if target.is_absolute() {
                done = PathBuf::new();
            }
            parts(target).into_iter().rev().for_each(|part| todo.push_front(part));
        }
        Ok(done)
    }

    /// What a directory holds, sorted by name. Links in `dir` are not followed.
    pub fn children(&self, dir: &Path) -> Vec<&Record> {
        let mut found: BTreeMap<&OsStr, Option<&Record>> = BTreeMap::new();
        for layer in self.layers.iter().rev() {
            if layer.get(dir).is_some_and(|record| !record.is_dir()) {
                break;
            }
            for record in layer.children(dir) {
                let Some(name) = record.path().file_name() else { continue };
                found.entry(name).or_insert_with(|| match record.implied {
                    true => self.lookup(record.path()),
                    false => Some(record),
                });
            }
            for name in removed_in(layer, dir) {
                found.entry(name).or_insert(None);
            }
            if layer.is_opaque(dir) || layer.removes(dir) || hidden_above(layer, dir) {
                break;
            }
        }
        found.into_values().flatten().collect()
    }

    /// Everything beneath a directory, and the directory itself if listed: parents first, sorted.
    pub fn walk(&self, dir: &Path) -> Vec<&Record> {
        let mut out: Vec<&Record> = self.lookup(dir).into_iter().collect();
        let mut todo = self.children(dir);
        todo.reverse();
        while let Some(record) = todo.pop() {
            out.push(record);
            if record.is_dir() {
                todo.extend(self.children(record.path()).into_iter().rev());
            }
        }
        out
    }
}

fn says<'a>(layer: &'a Listing, path: &Path) -> Says<'a> {
    match layer.get(path) {
        Some(record) => Says::Here(record, record.implied),
        None if layer.removes(path) || hidden_above(layer, path) => Says::Gone,
        None => Says::Below,
    }
}

/// This layer removes or replaces a parent of `path`, so that nothing of lower layers shows there.
fn hidden_above(layer: &Listing, path: &Path) -> bool {
    path.ancestors().skip(1).any(|parent| {
        layer.is_opaque(parent) || layer.removes(parent) || layer.get(parent).is_some_and(|record| !record.is_dir())
    })
}

fn removed_in<'a>(layer: &'a Listing, dir: &Path) -> impl Iterator<Item = &'a OsStr> {
    let start = layer.removed.partition_point(|path| path.as_path() <= dir);
    layer.removed[start..]
        .iter()
        .take_while(move |path| path.starts_with(dir))
        .filter(move |path| path.parent() == Some(dir))
        .filter_map(|path| path.file_name())
}
