//! Layers: known by diff id, held as blobs or as directories, made by builders, steps and imports.
//!
//! ```text
//! layers/<id>/fs        the layer's changes in overlayfs's form; present once unpacked
//! layers/<id>/listing   what it holds, see docs/design/layers.md
//! layers/<id>/root      empty: the attributes of the root directory are part of the layer
//! layers/<id>/chain     empty: it cannot be unpacked without the layers below; see `layers/chain-<hex>/`
//! ```
//!
//! Does not know images, steps or the network.

mod ahead;
mod apply;
mod arrive;
mod builder;
mod check;
pub(crate) mod dir;
mod known;
mod pieces;
pub(crate) mod rows;
pub(crate) mod scan;
mod seal;
mod unpack;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_oci::{Compression, Descriptor, Digest, Entry};

pub(crate) use ahead::read_ahead;
pub(crate) use apply::{Applier, Chain, dress_root};
pub use builder::{LayerBuilder, NewLayer};
pub(crate) use unpack::LIMITS;
pub use unpack::Unpacked;

use crate::listing::{Record, read_file, write_file};
use crate::root::{Root, refused, remove_tree};
use crate::{Error, ErrorKind, EventKind, LayerId, Listing, Result, Store, Tree};

/// Marks a layer that has an entry for the root directory.
pub(crate) const ROOT: &str = "root";
/// Marks a layer that depends on those below it.
pub(crate) const CHAIN: &str = "chain";
const LISTING: &str = "listing";

/// Where the changes of a layer are.
pub(crate) fn fs_of(store: &Store, id: &LayerId) -> PathBuf {
    store.layer_path(id).join("fs")
}

fn has(store: &Store, id: &LayerId, name: &str) -> bool {
    store.layer_path(id).join(name).exists()
}

/// The root directory's entry: of the topmost layer that has one, else 0755 of root.
pub(crate) fn root_of_list(store: &Store, layers: &[LayerId]) -> Result<Entry> {
    match layers.iter().rev().find(|id| has(store, id, ROOT)) {
        Some(id) => scan::root_entry(&fs_of(store, id)),
        None => Ok(Record::implied(Path::new("")).entry),
    }
}

/// A name for a layer whose content nobody has hashed: 256 random bits, so it meets no diff id.
pub(crate) fn random_id() -> Result<LayerId> {
    let words: String = (0..4).map(|_| format!("{:016x}", crate::tree::random())).collect();
    words.parse()
}

/// A layer's directory on its way; removed when dropped unpublished.
#[derive(Debug)]
pub(crate) struct Fresh(PathBuf);

impl Fresh {
    pub(crate) fn new(store: &Store) -> Result<Self> {
        let path = store.tree().temporary()?;
        fs::create_dir(&path).map_err(|error| Error::at("create", &path, error))?;
        Ok(Self(path))
    }

    /// Where its changes go; not made yet.
    pub(crate) fn fs(&self) -> PathBuf {
        self.0.join("fs")
    }

    pub(crate) fn mark(&self, name: &str) -> Result<()> {
        let path = self.0.join(name);
        File::create_new(&path).map(drop).map_err(|error| Error::at("create", &path, error))
    }

    pub(crate) fn write_listing(&self, listing: &Listing) -> Result<()> {
        write_file(listing, &self.0.join(LISTING))
    }

    /// Gives it its name, in place of an incomplete directory. Call inside the transaction that writes its row.
    pub(crate) fn publish(&self, store: &Store, id: &LayerId) -> Result<()> {
        let target = store.layer_path(id);
        remove_path(&target)?;
        store.tree().step("layer.rename")?;
        fs::rename(&self.0, &target).map_err(|error| Error::at("rename a layer to", &target, error))
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        let _ = remove_path(&self.0);
    }
}

/// Removes a tree of the store; a missing one is fine.
pub(crate) fn remove_path(path: &Path) -> Result<()> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    remove_tree(Root::open(above)?.as_fd(), name).map_err(refused("remove", path))
}

impl Store {
    /// Makes a layer of an image known, without touching its blob, which need not be here yet.
    pub fn import_layer(&self, blob: &Descriptor, diff_id: &Digest) -> Result<LayerId> {
        let id = LayerId::diff(diff_id);
        rows::insert_known(self, &id, diff_id)?;
        let compression = blob.media_type.layer_compression().unwrap_or(Compression::GZIP);
        rows::insert_blob(self, &id, compression, blob)?;
        Ok(id)
    }

    /// The diff id; `None` while the layer was never sealed.
    pub fn layer_diff_id(&self, id: &LayerId) -> Result<Option<Digest>> {
        rows::diff_id(self, id)
    }

    /// The layer's blob of a compression, if one is known; the bytes may still be elsewhere.
    pub fn layer_blob(&self, id: &LayerId, compression: Compression) -> Result<Option<Descriptor>> {
        Ok(rows::blobs(self, id, Some(compression))?.into_iter().next())
    }

    /// Every blob of a layer that is known, the cheapest to read first.
    pub fn layer_blobs(&self, id: &LayerId) -> Result<Vec<Descriptor>> {
        rows::blobs(self, id, None)
    }

    /// What a layer holds; read from its directory or blob if nobody has yet.
    pub fn listing(&self, id: &LayerId) -> Result<Listing> {
        let path = self.layer_path(id).join(LISTING);
        let found = read_file(&path);
        if let Some(error) = found.as_ref().err().filter(|error| error.kind() != ErrorKind::NotFound) {
            self.record_event(EventKind::Quarantined, id.as_str(), &error.to_string());
        }
        match found {
            // A broken listing is made again.
            Err(_) if self.is_unpacked(id)? => {
                let listing = scan::list(&fs_of(self, id))?;
                self.keep_listing(id, &listing)?;
                Ok(listing)
            }
            Err(_) => self.list_blob(id),
            listing => listing,
        }
    }

    /// The tree that layers show, base first, without mounting them.
    pub fn layer_tree(&self, layers: &[LayerId]) -> Result<Tree> {
        let listings: Result<Vec<_>> = layers.iter().map(|id| self.listing(id).map(Arc::new)).collect();
        Ok(Tree::new(listings?))
    }

    /// Writes the listing beside the layer's directory.
    fn keep_listing(&self, id: &LayerId, listing: &Listing) -> Result<()> {
        let temporary = self.tree().temporary()?;
        write_file(listing, &temporary)?;
        let path = self.layer_path(id).join(LISTING);
        fs::rename(&temporary, &path).map_err(|error| Error::at("rename a listing to", &path, error))
    }
}
