//! Applies the tar of a layer to a directory and keeps its listing; order, duplicates and links are never trusted.
//!
//! Does not know where the tar comes from, nor where the directory will be kept.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use cooper_oci::tar::{TarReader, Whiteout, parse_whiteout};
use cooper_oci::{Entry, EntryKind};

use super::dir::{LayerDir, is_reserved, remember_owner};
use crate::listing::Record;
use crate::root::{Root, attributes};
use crate::{Error, ErrorKind, Listing, ListingBuilder, Result, Tree};

/// Bytes of all files of one layer: more than any disk image in use, less than a bomb.
const MAX_BYTES: u64 = 1 << 40;

/// The layers below one that depends on them: their listings and directories, base first.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) tree: Tree,
    pub(crate) dirs: Vec<PathBuf>,
}

/// A layer being applied.
pub(crate) struct Applier<'a> {
    listing: ListingBuilder,
    dir: Option<LayerDir>,
    chain: Option<&'a Chain>,
    bytes: u64,
}

/// What was applied.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) listing: Listing,
    pub(crate) warnings: Vec<String>,
}

impl<'a> Applier<'a> {
    /// Applies to `dir`, or only lists without one. With a `chain`, implied directories and links to files of lower
    /// layers are filled in from it.
    pub(crate) fn new(dir: Option<LayerDir>, chain: Option<&'a Chain>) -> Self {
        Self { listing: ListingBuilder::new(), dir, chain, bytes: 0 }
    }

    /// Applies every entry of a tar.
    pub(crate) fn read<R: Read>(mut self, tar: &mut TarReader<R>) -> Result<Applied> {
        while let Some(entry) = tar.next_entry()? {
            self.entry(entry, tar)?;
        }
        self.finish()
    }

    fn entry(&mut self, mut entry: Entry, data: &mut dyn Read) -> Result<()> {
        entry.path = self.place(&entry.path)?;
        entry.xattrs.retain(|name, _| !is_reserved(name));
        match parse_whiteout(&entry.path)? {
            Some(Whiteout::Remove(path)) => self.remove(&path),
            Some(Whiteout::Opaque(dir)) => self.set_opaque(&dir),
            None => self.put(entry, data),
        }
    }

    fn put(&mut self, entry: Entry, data: &mut dyn Read) -> Result<()> {
        self.imply(&entry.path)?;
        match &entry.kind {
            EntryKind::File { size } => {
                self.bytes = self.bytes.saturating_add(*size);
                if self.bytes > MAX_BYTES {
                    return Err(Error::new(
                        ErrorKind::TooLarge,
                        format!("the layer holds more than {MAX_BYTES} bytes"),
                    ));
                }
            }
            EntryKind::Hardlink { target } => return self.put_link(target.clone(), entry),
            // The root is a directory in every layer; anything else there is hostile.
            kind if entry.path.as_os_str().is_empty() && *kind != EntryKind::Dir => {
                return Err(Error::new(ErrorKind::Invalid, "the layer replaces its root directory"));
            }
            _ => {}
        }
        let digest = match &mut self.dir {
            Some(dir) => dir.put(&entry, data)?,
            None => list_only(&entry, data)?,
        };
        self.listing.put(Record::new(entry, digest))
    }

    fn put_link(&mut self, target: PathBuf, mut entry: Entry) -> Result<()> {
        if target == entry.path {
            return Err(Error::new(ErrorKind::Invalid, format!("{} is a hard link to itself", target.display())));
        }
        let found = self.listing.get(&target).filter(|record| !record.is_dir()).map(|record| record.entry.kind.clone());
        match found {
            Some(kind) => {
                // Always point at the name that has the content.
                let target = if let EntryKind::Hardlink { target } = kind { target } else { target };
                entry.kind = EntryKind::Hardlink { target };
                if let Some(dir) = &mut self.dir {
                    dir.put(&entry, &mut std::io::empty())?;
                }
                self.listing.put(Record::new(entry, None))
            }
            None => match self.chain {
                Some(chain) => self.copy_up(chain, &target, &entry.path),
                None => {
                    // Only the listing goes on: the directory will be made again on top of the chain.
                    self.dir = None;
                    entry.kind = EntryKind::Hardlink { target };
                    self.listing.put(Record::new(entry, None))
                }
            },
        }
    }

    /// A link to a file of a lower layer: a copy of that file, as no two directories can share an inode safely.
    fn copy_up(&mut self, chain: &Chain, target: &Path, path: &Path) -> Result<()> {
        let missing =
            || Error::new(ErrorKind::Invalid, format!("hard link to {}, which no layer holds", target.display()));
        let (index, record) = chain.tree.inode(&chain.tree.resolve(target)?).ok_or_else(missing)?;
        let source = Root::open(chain.dirs.get(index).ok_or_else(missing)?)?;
        let mut entry = record.entry.clone();
        entry.path = path.to_owned();
        let digest = match &mut self.dir {
            None => record.digest,
            Some(dir) if matches!(entry.kind, EntryKind::File { .. }) => {
                let mut file = source.open_file(record.path())?;
                dir.put(&entry, &mut file)?
            }
            Some(dir) => dir.put(&entry, &mut std::io::empty())?,
        };
        self.listing.put(Record::new(entry, digest))
    }

    fn remove(&mut self, path: &Path) -> Result<()> {
        self.imply(path)?;
        if let Some(dir) = &mut self.dir {
            dir.remove(path)?;
        }
        self.listing.remove(path)
    }

    fn set_opaque(&mut self, path: &Path) -> Result<()> {
        self.imply(&path.join("x"))?;
        if let Some(dir) = &mut self.dir {
            dir.set_opaque(path)?;
        }
        self.listing.set_opaque(path)
    }

    /// Where an entry belongs: a parent that is a link in the layers below, and that this layer does not replace,
    /// leads to the directory it points to, as it would if the layer were applied on top of them.
    fn place(&self, path: &Path) -> Result<PathBuf> {
        let Some(chain) = self.chain else { return Ok(path.to_owned()) };
        let Some(name) = path.file_name() else { return Ok(path.to_owned()) };
        let mut dir = PathBuf::new();
        for part in path.parent().unwrap_or(Path::new("")).components() {
            dir.push(part);
            let link =
                chain.tree.lookup(&dir).is_some_and(|record| matches!(record.entry.kind, EntryKind::Symlink { .. }));
            if self.listing.get(&dir).is_none() && link {
                dir = chain.tree.resolve(&dir)?;
            }
        }
        Ok(dir.join(name))
    }

    /// In a chain, gives missing parents the attributes that they have below.
    fn imply(&mut self, path: &Path) -> Result<()> {
        let Some(chain) = self.chain else { return Ok(()) };
        let mut missing: Vec<_> = path.ancestors().skip(1).take_while(|dir| self.listing.get(dir).is_none()).collect();
        missing.retain(|dir| !dir.as_os_str().is_empty());
        for dir in missing.into_iter().rev() {
            let below = chain.tree.lookup(dir).filter(|record| record.is_dir());
            let mut entry = below.map_or_else(|| Record::implied(dir).entry, |record| record.entry.clone());
            entry.path = dir.to_owned();
            if let Some(target) = &mut self.dir {
                target.put(&entry, &mut std::io::empty())?;
            }
            self.listing.put(Record::new(entry, None))?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Applied> {
        let warnings = self.dir.map_or(Ok(Vec::new()), LayerDir::finish)?;
        Ok(Applied { listing: self.listing.finish(), warnings })
    }
}

fn list_only(entry: &Entry, data: &mut dyn Read) -> Result<Option<[u8; 32]>> {
    if !matches!(entry.kind, EntryKind::File { .. }) {
        return Ok(None);
    }
    let mut hash = blake3::Hasher::new();
    std::io::copy(data, &mut hash)
        .map_err(|error| Error::io(format!("cannot read {}", entry.path.display()), error))?;
    Ok(Some(hash.finalize().into()))
}

/// The attributes of a layer's root directory, set on `path`.
pub(crate) fn dress_root(path: &Path, entry: &Entry, all: bool) -> Result<()> {
    let root = Root::open(path)?;
    let failed = |what| crate::root::refused(what, path);
    if all {
        attributes::set_owner(root.as_fd(), entry.uid, entry.gid).map_err(failed("set the owner of"))?;
    } else {
        remember_owner(root.as_fd(), entry);
    }
    attributes::set_mode(root.as_fd(), entry.mode).map_err(failed("set the mode of"))?;
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| !is_reserved(name)) {
        // Best effort, as when the layer itself was unpacked.
        let _ = attributes::set_xattr(root.as_fd(), name, value);
    }
    attributes::set_mtime(root.as_fd(), entry.mtime).map_err(failed("set the time of"))
}
