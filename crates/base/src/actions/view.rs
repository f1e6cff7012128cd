//! The files of all packages by path, links followed as far as actions need it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Component, Path, PathBuf};

use cooper_oci::EntryKind;

use crate::layers::{Item, Unpacked, merged};

/// Links followed in one look-up, as in the kernel.
const LINKS_MAX: usize = 40;

/// Files by path.
#[derive(Debug)]
pub(crate) struct View<'a> {
    items: BTreeMap<&'a Path, &'a Item>,
}

impl<'a> View<'a> {
    pub(crate) fn of(packages: &'a [Unpacked]) -> Self {
        let items = packages.iter().flat_map(|package| &package.items).map(|item| (item.path(), item));
        Self { items: items.collect() }
    }

    /// What is at a path, itself no link to be followed.
    pub(crate) fn get(&self, path: impl AsRef<Path>) -> Option<&'a Item> {
        self.items.get(path.as_ref()).copied()
    }

    /// The regular file or directory that a path leads to through links, and its own path.
    pub(crate) fn resolve(&self, path: &Path) -> Option<&'a Item> {
        let mut path = merged(path);
        for _ in 0..LINKS_MAX {
            let item = match self.get(&path) {
                Some(item) => item,
                None => {
                    // A link further up.
                    let above = path.ancestors().skip(1).find_map(|dir| self.get(dir).filter(|item| is_link(item)))?;
                    path = follow(above)?.join(path.strip_prefix(above.path()).ok()?);
                    continue;
                }
            };
            match &item.entry.kind {
                EntryKind::Symlink { .. } => path = follow(item)?,
                EntryKind::Hardlink { target } => path.clone_from(target),
                _ => return Some(item),
            }
        }
        None
    }

    /// Whether a link of the packages leads to a path, which itself may be missing.
    pub(crate) fn links_to(&self, path: &Path) -> bool {
        self.items.values().any(|item| follow(item).is_some_and(|target| target == path))
    }

    /// What is in a directory, by name.
    pub(crate) fn children(&self, dir: &Path) -> Vec<&'a Item> {
        self.below(dir).into_iter().filter(|item| item.path().parent() == Some(dir)).collect()
    }

    /// Everything below a directory, at any depth.
    pub(crate) fn below(&self, dir: &Path) -> Vec<&'a Item> {
        let after = self.items.range::<Path, _>((Bound::Excluded(dir), Bound::Unbounded));
        after.map(|(_, item)| *item).take_while(|item| item.path().starts_with(dir)).collect()
    }
}

fn is_link(item: &Item) -> bool {
    matches!(item.entry.kind, EntryKind::Symlink { .. })
}

/// Where a link leads, as a path of the image.
fn follow(link: &Item) -> Option<PathBuf> {
    let EntryKind::Symlink { target } = &link.entry.kind else { return None };
    let mut path = link.path().parent().unwrap_or(Path::new("")).to_owned();
    for part in target.components() {
        match part {
            Component::RootDir => path = PathBuf::new(),
            Component::ParentDir => drop(path.pop()),
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Some(merged(&path))
}
