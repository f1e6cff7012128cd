//! Hard links after files were left out or sorted: the first name in order is the file, the others link to it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cooper_oci::EntryKind;

use super::Item;

/// The items that `stays` keeps, sorted by path, with their hard links set right.
pub(super) fn settle(items: &[Item], stays: impl Fn(&Item) -> bool) -> Vec<Item> {
    let files: BTreeMap<&std::path::Path, &Item> =
        items.iter().filter(|item| matches!(item.entry.kind, EntryKind::File { .. })).map(|i| (i.path(), i)).collect();
    let mut kept: BTreeMap<PathBuf, &Item> = BTreeMap::new();
    for item in items.iter().filter(|item| stays(item)) {
        kept.entry(item.path().to_owned()).or_insert(item);
    }
    // Where the file itself is in the result, by where it was in the package.
    let mut moved: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    let mut out = Vec::with_capacity(kept.len());
    for (path, item) in kept {
        let origin = origin(items, item, &files);
        let item = match origin.and_then(|origin| Some((origin, moved.get(origin.path())?))) {
            Some((origin, first)) => link(origin, path, first.clone()),
            None => {
                let file = origin.unwrap_or(item);
                moved.insert(file.path().to_owned(), path.clone());
                Item { entry: cooper_oci::Entry { path, ..file.entry.clone() }, content: file.content.clone() }
            }
        };
        out.push(item);
    }
    out
}

/// The regular file that an item is a name of. Links to links lead to it in the end.
fn origin<'a>(items: &'a [Item], item: &'a Item, files: &BTreeMap<&std::path::Path, &'a Item>) -> Option<&'a Item> {
    let mut target = match &item.entry.kind {
        EntryKind::File { .. } => return Some(item),
        EntryKind::Hardlink { target } => target,
        _ => return None,
    };
    // Each link points to an earlier entry, so there are no cycles; the bound is for what did not come from a reader.
    for _ in 0..items.len() {
        if let Some(file) = files.get(target.as_path()) {
            return Some(file);
        }
        let next = items.iter().find(|other| other.path() == target)?;
        let EntryKind::Hardlink { target: further } = &next.entry.kind else { return None };
        target = further;
    }
    None
}

fn link(file: &Item, path: PathBuf, target: PathBuf) -> Item {
    let kind = EntryKind::Hardlink { target };
    let entry = cooper_oci::Entry { path, kind, xattrs: Default::default(), ..file.entry.clone() };
    Item { entry, content: super::Content::None }
}
