//! All packages in one tree, then cut into layers. Two packages with one path is an error, by dpkg's rules.
//!
//! Does not know what is in the files, except where two packages for several architectures share one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cooper_oci::{Digest, Entry, EntryKind};

use super::{Item, Unpacked, links};
use crate::manifest::Layers;
use crate::relation;
use crate::{Error, ErrorKind, LockedPackage, Result};

/// A layer: a name for people, and its files, sorted, with every directory on the way to them.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Packages it is made of, for the image's history.
    pub title: String,
    /// Its files.
    pub items: Vec<Item>,
    /// The packages that all of its files' bytes are from; none if some are from elsewhere.
    pub packages: Vec<Digest>,
}

/// The package whose directories count: it brings the top of the tree with the right modes.
const FIRST: &str = "base-files";

/// Puts packages into one tree and cuts it as declared. Layers come in the order of their first package's name.
///
/// # Errors
/// A path of two packages, unless one replaces the other or both are the same file for several architectures.
pub fn arrange(packages: &[Unpacked], layers: &Layers) -> Result<Vec<Layer>> {
    let packages = ordered(packages);
    let tree = Tree::of(&packages)?;
    let groups = groups(&packages, layers);
    Ok(groups.into_iter().map(|(title, members)| tree.layer(title, &members, &packages)).collect())
}

/// A layer of files that no package holds; of two for one path the later one counts.
pub fn declared_layer(title: &str, items: Vec<Item>, packages: &[Unpacked]) -> Layer {
    let mut dirs = BTreeMap::new();
    for item in ordered(packages).into_iter().flat_map(|package| &package.items) {
        if item.entry.kind == EntryKind::Dir {
            dirs.entry(item.path()).or_insert(&item.entry);
        }
    }
    let tree = Tree { dirs, files: BTreeMap::new() };
    let mut all: BTreeMap<PathBuf, Item> = BTreeMap::new();
    for item in items {
        let parents = item.path().ancestors().skip(1).filter(|path| !path.as_os_str().is_empty());
        for parent in parents {
            all.entry(parent.to_owned()).or_insert_with(|| tree.dir(parent));
        }
        all.insert(item.path().to_owned(), item);
    }
    Layer { title: title.to_owned(), items: all.into_values().collect(), packages: Vec::new() }
}

fn ordered(packages: &[Unpacked]) -> Vec<&Unpacked> {
    let mut packages: Vec<&Unpacked> = packages.iter().collect();
    packages.sort_by(|a, b| order(&a.package).cmp(&order(&b.package)));
    packages
}

/// dpkg keeps what a directory was when its first package came: here base-files, then by name.
fn order(package: &LockedPackage) -> (bool, &str, &str) {
    (package.name != FIRST, &package.name, &package.architecture)
}

/// Who has which path.
struct Tree<'a> {
    dirs: BTreeMap<&'a Path, &'a Entry>,
    /// Index of the package, and its item.
    files: BTreeMap<&'a Path, (usize, &'a Item)>,
}

impl<'a> Tree<'a> {
    fn of(packages: &[&'a Unpacked]) -> Result<Self> {
        let mut tree = Self { dirs: BTreeMap::new(), files: BTreeMap::new() };
        for (index, package) in packages.iter().enumerate() {
            for item in &package.items {
                tree.add(index, item, packages)?;
            }
        }
        tree.check_dirs(packages)?;
        Ok(tree)
    }

    fn add(&mut self, index: usize, item: &'a Item, packages: &[&Unpacked]) -> Result<()> {
        if item.entry.kind == EntryKind::Dir {
            self.dirs.entry(item.path()).or_insert(&item.entry);
            return Ok(());
        }
        let Some((other, there)) = self.files.get(item.path()).copied() else {
            self.files.insert(item.path(), (index, item));
            return Ok(());
        };
        let (one, two) = (packages[other], packages[index]);
        if replaces(two, one) {
            self.files.insert(item.path(), (index, item));
        } else if !replaces(one, two) && !shared(one, there, two, item) {
            return Err(conflict(item.path(), &one.package, &two.package, "both hold"));
        }
        Ok(())
    }

    /// A path that is a directory of one package and something else of another, or that lies below something else.
    fn check_dirs(&self, packages: &[&Unpacked]) -> Result<()> {
        let parents = self.files.keys().flat_map(|path| path.ancestors().skip(1));
        for path in self.dirs.keys().copied().chain(parents) {
            if let Some((other, _)) = self.files.get(path) {
                let other = &packages[*other].package;
                let holds = |package: &&&Unpacked| package.items.iter().any(|item| item.path().starts_with(path));
                let dir = packages.iter().filter(|package| package.package.name != other.name).find(holds);
                let dir = dir.map_or(other, |dir| &dir.package);
                return Err(conflict(path, other, dir, "do not agree on what is at"));
            }
        }
        Ok(())
    }

    fn layer(&self, title: String, members: &BTreeSet<usize>, packages: &[&Unpacked]) -> Layer {
        // Of two members with one path the owner's stays.
        let owns = |index: usize, item: &&Item| self.files.get(item.path()).is_some_and(|(owner, _)| *owner == index);
        let of = |index: usize| packages[index].items.iter().map(move |item| (index, item));
        let owned = members.iter().flat_map(|index| of(*index)).filter(|(index, item)| owns(*index, item));
        let items: Vec<Item> = owned.map(|(_, item)| item.clone()).collect();
        let mut settled = links::settle(&items, |_| true);
        let dirs = members.iter().flat_map(|index| &packages[*index].items);
        let dirs = dirs.filter(|item| item.entry.kind == EntryKind::Dir).flat_map(|item| item.path().ancestors());
        let parents = settled.iter().flat_map(|item| item.path().ancestors().skip(1));
        let wanted: BTreeSet<PathBuf> = dirs.chain(parents).map(Path::to_owned).collect();
        settled.extend(wanted.iter().filter(|path| !path.as_os_str().is_empty()).map(|path| self.dir(path)));
        settled.sort_by(|a, b| a.path().cmp(b.path()));
        let packages = members.iter().map(|index| packages[*index].package.digest.clone()).collect();
        Layer { title, items: settled, packages }
    }

    fn dir(&self, path: &Path) -> Item {
        match self.dirs.get(path) {
            Some(entry) => Item { entry: (*entry).clone(), content: super::Content::None },
            None => Item::dir(path, 0o755),
        }
    }
}

/// One package says that it replaces files of the other (deb-control(5), Replaces).
fn replaces(one: &Unpacked, other: &Unpacked) -> bool {
    one.control.field("Replaces").is_some_and(|field| names(&field, &other.package))
}

/// Whether a list of relations accepts a package.
fn names(field: &str, package: &LockedPackage) -> bool {
    // A field that cannot be read replaces nothing: the conflict is told.
    let relations = relation::parse(field).unwrap_or_default();
    relations.iter().flatten().any(|relation| relation.name == package.name && relation.accepts(&package.version))
}

/// The same file of a `Multi-Arch: same` package for two architectures.
fn shared(one: &Unpacked, a: &Item, two: &Unpacked, b: &Item) -> bool {
    let same_package = one.package.name == two.package.name && one.package.version == two.package.version;
    let is_same = |of: &Unpacked| of.control.field("Multi-Arch").as_deref() == Some("same");
    same_package && is_same(one) && a.entry.kind == b.entry.kind && equal(a, b)
}

fn equal(a: &Item, b: &Item) -> bool {
    let all = |item: &Item| item.bytes(usize::MAX).ok();
    a.size() == b.size() && all(a).is_some_and(|bytes| Some(bytes) == all(b))
}

fn conflict(path: &Path, one: &LockedPackage, two: &LockedPackage, verb: &str) -> Error {
    let what = format!("packages {} and {} {verb} `/{}`", one.name, two.name, path.display());
    Error::new(ErrorKind::Unsatisfiable, what)
        .with_hint("leave one of them out, or the path with `path-exclude` or `slices`")
}

/// Names of layers and the packages in each.
fn groups(packages: &[&Unpacked], layers: &Layers) -> Vec<(String, BTreeSet<usize>)> {
    let all = 0..packages.len();
    let by = |key: &dyn Fn(&LockedPackage) -> String| {
        let mut groups: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        all.clone().for_each(|i| {
            groups.entry(key(&packages[i].package)).or_default().insert(i);
        });
        groups.into_iter().collect::<Vec<_>>()
    };
    match layers {
        Layers::Single => by(&|_| "packages".to_owned()),
        Layers::PerPackage => by(&|package| format!("{} {}", package.name, package.version)),
        Layers::PerSource => by(&|package| format!("{} {}", package.source_name(), package.source_version())),
        Layers::Groups(lists) => {
            let place = |package: &LockedPackage| lists.iter().position(|list| list.contains(&package.name));
            let mut groups: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
            for i in all {
                groups.entry(place(&packages[i].package).map_or(0, |at| at + 1)).or_default().insert(i);
            }
            let title = |at: usize| if at == 0 { "packages".to_owned() } else { lists[at - 1].join(" ") };
            groups.into_iter().map(|(at, members)| (title(at), members)).collect()
        }
    }
}
