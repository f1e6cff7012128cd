//! One package, unpacked: its files at their place in a merged-/usr tree, without what is left out.
//!
//! Knows nothing of other packages.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_oci::{Entry, EntryKind};

use super::filter::absolute;
use super::links;
use super::{Content, Filter, Item};
use crate::deb::{Control, read_deb};
use crate::{Error, ErrorKind, LockedPackage, Result};

/// Top directories that are links into /usr (Debian's merged /usr).
pub(crate) const MERGED_DIRS: &[&str] = &["bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin"];

/// A package, unpacked.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// What it is.
    pub package: LockedPackage,
    /// Its control files.
    pub control: Control,
    /// Its files, those that stay.
    pub items: Vec<Item>,
    /// Paths as the package has them, in its order, whether they stay or not: dpkg's list of the package.
    pub listed: Vec<PathBuf>,
}

/// Unpacks a package; the contents of its files go into `spool`, an empty file.
///
/// # Errors
/// A package that is broken or hostile, or one that is another than its name in the lock says.
pub fn unpack(package: &LockedPackage, source: impl Read + Send, filter: &Filter, spool: File) -> Result<Unpacked> {
    let told = |error: Error| named(package, error);
    let mut unpacking = Unpacking { writer: spool.try_clone().map_err(|e| told(unspooled(e)))?, end: 0, found: vec![] };
    let control = read_deb(source, &mut |entry, data| unpacking.take(entry, data)).map_err(told)?;
    check_name(package, &control).map_err(told)?;
    let spool = Arc::new(spool);
    let listed = unpacking.found.iter().map(|(entry, _)| entry.path.clone()).collect();
    let to_item = |(mut entry, offset): (Entry, u64)| {
        let is_file = matches!(entry.kind, EntryKind::File { .. });
        entry.path = merged(&entry.path);
        if let EntryKind::Hardlink { target } = &mut entry.kind {
            *target = merged(target);
        }
        Item { entry, content: if is_file { Content::Spool { file: spool.clone(), offset } } else { Content::None } }
    };
    let all: Vec<Item> = unpacking.found.into_iter().map(to_item).filter(|item| !is_merged_link(item)).collect();
    check_merged(&all).map_err(told)?;
    let items = links::settle(&all, |item| keeps(filter, package, item));
    Ok(Unpacked { package: package.clone(), control, items: without_empty(items, filter, package), listed })
}

struct Unpacking {
    writer: File,
    end: u64,
    found: Vec<(Entry, u64)>,
}

impl Unpacking {
    fn take(&mut self, entry: Entry, data: &mut dyn Read) -> Result<()> {
        let offset = self.end;
        if let EntryKind::File { size } = entry.kind {
            let copied = std::io::copy(data, &mut self.writer)
                .map_err(|e| Error::from(cooper_oci::Error::io(format!("`/{}`", entry.path.display()), e)))?;
            debug_assert_eq!(copied, size, "a tar reader gives as much as the entry says");
            self.end += copied;
        }
        self.found.push((entry, offset));
        Ok(())
    }
}

fn unspooled(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot write its files aside").with_source(error)
}

/// An error of one package.
pub(crate) fn named(package: &LockedPackage, error: Error) -> Error {
    let hint = error.hint().map(str::to_owned);
    let what = format!("package {} {}: {error}", package.name, package.version);
    let out = Error::new(error.kind(), what).with_source(error);
    hint.into_iter().fold(out, Error::with_hint)
}

/// The digest of a lock may be right and its name wrong: a lock file can come from anyone.
fn check_name(package: &LockedPackage, control: &Control) -> Result<()> {
    let fields = [("Package", &package.name), ("Version", &package.version), ("Architecture", &package.architecture)];
    for (field, expected) in fields {
        let found = control.field(field).unwrap_or_default();
        if found != *expected {
            let what = format!("it says `{field}: {found}` of itself, the lock file says `{expected}`");
            return Err(Error::new(ErrorKind::Untrusted, what));
        }
    }
    Ok(())
}

/// Where a path is when `/bin`, `/lib` and their like are links into /usr.
pub(crate) fn merged(path: &Path) -> PathBuf {
    let first = path.components().next().and_then(|part| part.as_os_str().to_str());
    match first.is_some_and(|first| MERGED_DIRS.contains(&first)) {
        true => Path::new("usr").join(path),
        false => path.to_owned(),
    }
}

/// `lib -> usr/lib`, as newer base-files bring it: at its merged place it would point to itself.
fn is_merged_link(item: &Item) -> bool {
    let EntryKind::Symlink { target } = &item.entry.kind else { return false };
    let name = item.path().strip_prefix("usr").unwrap_or(item.path());
    let is_top = name.to_str().is_some_and(|name| MERGED_DIRS.contains(&name));
    is_top && (target == &Path::new("usr").join(name) || target == &Path::new("/usr").join(name))
}

/// A package may not bring both `/lib/x` and `/usr/lib/x`.
fn check_merged(items: &[Item]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for item in items.iter().filter(|item| item.entry.kind != EntryKind::Dir) {
        if !seen.insert(item.path()) {
            let what = format!("`/{}` is there twice once /bin and /lib are links into /usr", item.path().display());
            return Err(Error::new(ErrorKind::Invalid, what));
        }
    }
    Ok(())
}

fn keeps(filter: &Filter, package: &LockedPackage, item: &Item) -> bool {
    let is_link = matches!(item.entry.kind, EntryKind::Symlink { .. });
    // Whether a directory stays is known when its files are.
    item.entry.kind == EntryKind::Dir || filter.keeps(&package.name, &absolute(item.path()), is_link)
}

/// Drops directories that are excluded and hold nothing that stays.
fn without_empty(items: Vec<Item>, filter: &Filter, package: &LockedPackage) -> Vec<Item> {
    let wanted =
        |item: &&Item| item.entry.kind != EntryKind::Dir || filter.keeps(&package.name, &absolute(item.path()), false);
    let needed: BTreeSet<PathBuf> =
        items.iter().filter(wanted).flat_map(|item| item.path().ancestors().map(Path::to_owned)).collect();
    let stays = |item: &Item| item.entry.kind != EntryKind::Dir || needed.contains(item.path());
    items.into_iter().filter(stays).collect()
}
