//! A layer being drafted: what is new, seen on top of the layers it will lie on.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_oci::{Entry, EntryKind, Mtime};

use super::place::Spooled;
use crate::files::Files;
use crate::{Error, ErrorKind, Result};

/// Where an entry's bytes come from.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    /// It has none.
    None,
    /// They are here.
    Bytes(Arc<[u8]>),
    /// A file of a tree.
    File(Arc<dyn Files>, Entry),
    /// A range of a spool file: offset and length.
    Spooled(Arc<Spooled>, u64, u64),
}

impl Data {
    /// Opens the bytes.
    pub(crate) fn open(&self) -> Result<Box<dyn Read + Send>> {
        match self {
            Data::None => Ok(Box::new(std::io::empty())),
            Data::Bytes(bytes) => Ok(Box::new(std::io::Cursor::new(bytes.clone()))),
            Data::File(files, entry) => files.open(entry),
            Data::Spooled(spool, offset, size) => Ok(Box::new(spool.range(*offset, *size))),
        }
    }
}

/// Attributes of the directories that have to be made on the way to a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
}

impl Made {
    /// 0755, with this owner.
    pub(crate) fn by(owner: (u32, u32)) -> Self {
        Self { mode: 0o755, owner }
    }
}

/// New entries over a base.
#[derive(Debug)]
pub(crate) struct Draft {
    base: Arc<dyn Files>,
    new: BTreeMap<PathBuf, (Entry, Data)>,
    /// The directory made last, with all above it: thousands of files in a row may go there.
    made: Option<PathBuf>,
    /// Time given to everything made; `None` keeps the sources' and gives the rest `now`.
    clamp: Option<Mtime>,
    now: Mtime,
}

impl Draft {
    /// An empty draft on `base`.
    pub(crate) fn new(base: Arc<dyn Files>, clamp: Option<Mtime>, now: Mtime) -> Self {
        Self { base, new: BTreeMap::new(), made: None, clamp, now }
    }

    /// Everything new, parents first.
    pub(crate) fn into_entries(self) -> impl Iterator<Item = (Entry, Data)> {
        self.new.into_values()
    }

    /// The time an entry gets that had `mtime` at its source.
    pub(crate) fn time(&self, mtime: Mtime) -> Mtime {
        self.clamp.unwrap_or(mtime)
    }

    /// Puts an entry, and the directories above it where they are missing.
    pub(crate) fn put(&mut self, entry: Entry, data: Data, made: Made) -> Result<()> {
        if let Some(parent) = entry.path.parent() {
            self.make_dir(parent, made)?;
        }
        let old = self.lookup(&entry.path)?;
        let (was_dir, is_dir) =
            (old.as_ref().is_some_and(|old| old.kind == EntryKind::Dir), entry.kind == EntryKind::Dir);
        match old {
            Some(_) if was_dir && !is_dir => return Err(conflict("replace the directory", &entry.path, "with a file")),
            Some(_) if is_dir && !was_dir => return Err(conflict("replace the file", &entry.path, "with a directory")),
            _ => {}
        }
        self.new.insert(entry.path.clone(), (entry, data));
        Ok(())
    }

    /// Puts an entry over whatever is there, as unpacking an archive does.
    pub(crate) fn replace(&mut self, entry: Entry, data: Data, made: Made) -> Result<()> {
        let old = self.lookup(&entry.path)?;
        if old.is_some_and(|old| (old.kind == EntryKind::Dir) != (entry.kind == EntryKind::Dir)) {
            self.new.retain(|path, _| !path.starts_with(&entry.path));
            self.made = None;
            if let Some(parent) = entry.path.parent() {
                self.make_dir(parent, made)?;
            }
            self.new.insert(entry.path.clone(), (entry, data));
            return Ok(());
        }
        self.put(entry, data, made)
    }

    /// Makes a directory and those above it where they are missing. Existing ones are carried into the layer as
    /// they are, so that the layer can be unpacked without knowing what lies below it.
    pub(crate) fn make_dir(&mut self, path: &Path, made: Made) -> Result<()> {
        if self.made.as_deref() == Some(path) {
            return Ok(());
        }
        let parents: Vec<&Path> = path.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
        for dir in parents.into_iter().rev() {
            if self.new.contains_key(dir) && self.new[dir].0.kind == EntryKind::Dir {
                continue;
            }
            let entry = match self.lookup(dir)? {
                Some(old) if old.kind == EntryKind::Dir => Entry { mtime: self.time(self.now), ..old },
                Some(_) => return Err(conflict("make the directory", dir, "because a file is there")),
                None => self.fresh_dir(dir, made),
            };
            self.new.insert(dir.to_owned(), (entry, Data::None));
        }
        self.made = Some(path.to_owned());
        Ok(())
    }

    fn fresh_dir(&self, path: &Path, Made { mode, owner: (uid, gid) }: Made) -> Entry {
        let (mtime, xattrs) = (self.time(self.now), BTreeMap::new());
        Entry { path: path.to_owned(), kind: EntryKind::Dir, mode, uid, gid, mtime, xattrs }
    }
}

fn conflict(what: &str, path: &Path, how: &str) -> Error {
    Error::new(ErrorKind::User, format!("cannot {what} `/{}` {how}", path.display()))
}

impl Files for Draft {
    fn called(&self) -> String {
        "the files so far".to_owned()
    }

    fn lookup(&self, path: &Path) -> Result<Option<Entry>> {
        match self.new.get(path) {
            Some((entry, _)) => Ok(Some(entry.clone())),
            None => self.base.lookup(path),
        }
    }

    fn children(&self, dir: &Path) -> Result<Vec<Entry>> {
        let mut all: BTreeMap<PathBuf, Entry> =
            self.base.children(dir)?.into_iter().map(|entry| (entry.path.clone(), entry)).collect();
        let new = self.new.values().filter(|(entry, _)| entry.path.parent() == Some(dir));
        all.extend(new.map(|(entry, _)| (entry.path.clone(), entry.clone())));
        Ok(all.into_values().collect())
    }

    fn digest(&self, entry: &Entry) -> Result<[u8; 32]> {
        self.base.digest(entry)
    }

    fn differs(&self, entry: &Entry) -> Error {
        self.base.differs(entry)
    }

    fn open(&self, entry: &Entry) -> Result<Box<dyn Read + Send>> {
        match self.new.get(&entry.path) {
            Some((_, data)) => data.open(),
            None => self.base.open(entry),
        }
    }
}
