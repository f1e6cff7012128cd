//! The layers of a stage as [`Files`]: looked up in their listings, read from a mount that is made when first needed.

use std::io::Read;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use cooper_oci::{Entry, EntryKind};
use cooper_store::listing::{Record, Tree};
use cooper_store::{LayerId, Mount, Root, Store};

use super::{Files, resolve};
use crate::error::from_store;
use crate::{Error, ErrorKind, Result};

/// Layers seen as one tree.
#[derive(Debug)]
pub(crate) struct LayerFiles {
    store: Store,
    layers: Vec<LayerId>,
    /// What messages call it.
    called: String,
    tree: Tree,
    mount: OnceLock<std::result::Result<Mount, String>>,
}

impl LayerFiles {
    /// The tree of `layers`, whose blobs are in the store.
    pub(crate) fn open(store: &Store, layers: &[LayerId]) -> Result<Arc<Self>> {
        Self::named(store, layers, "the files of the stage or image")
    }

    /// The same, as messages call it.
    pub(crate) fn named(store: &Store, layers: &[LayerId], called: &str) -> Result<Arc<Self>> {
        let called = called.to_owned();
        let tree = store.layer_tree(layers).map_err(|e| from_store(e, "cannot list the files of a stage"))?;
        Ok(Arc::new(Self { store: store.clone(), layers: layers.to_vec(), called, tree, mount: OnceLock::new() }))
    }

    fn mount(&self) -> Result<&Mount> {
        let made = self.mount.get_or_init(|| self.store.mount(&self.layers, false).map_err(|e| e.to_string()));
        made.as_ref().map_err(|e| Error::new(ErrorKind::Io, format!("cannot mount the files of a stage: {e}")))
    }

    /// Another name of a file is that file.
    fn entry(&self, record: &Record) -> Entry {
        let mut entry = record.entry.clone();
        if matches!(entry.kind, EntryKind::Hardlink { .. })
            && let Some((_, inode)) = self.tree.inode(&entry.path)
        {
            entry = Entry { path: entry.path, ..inode.entry.clone() };
        }
        entry
    }
}

impl Files for LayerFiles {
    fn lookup(&self, path: &Path) -> Result<Option<Entry>> {
        Ok(self.tree.lookup(path).map(|record| self.entry(record)))
    }

    fn children(&self, dir: &Path) -> Result<Vec<Entry>> {
        Ok(self.tree.children(dir).into_iter().map(|record| self.entry(record)).collect())
    }

    fn digest(&self, entry: &Entry) -> Result<[u8; 32]> {
        let digest = self.tree.inode(&entry.path).and_then(|(_, record)| record.digest);
        let missing = || Error::new(ErrorKind::Io, format!("the listing has no digest of `/{}`", entry.path.display()));
        digest.ok_or_else(missing)
    }

    fn open(&self, entry: &Entry) -> Result<Box<dyn Read + Send>> {
        let what = "cannot read a file of a stage";
        let root = Root::open(self.mount()?.root()).map_err(|e| from_store(e, what))?;
        let file = root.open_file(&entry.path).map_err(|e| from_store(e, what))?;
        Ok(Box::new(file))
    }

    fn called(&self) -> String {
        self.called.clone()
    }

    /// The directory of a layer has rotted: the store forgets it, and the build makes it again.
    fn differs(&self, entry: &Entry) -> Error {
        let what = format!("`/{}` of a stage is not what was written there", entry.path.display());
        let error = Error::new(ErrorKind::Retry, what);
        match self.layers.iter().try_for_each(|layer| self.store.mend_layer(layer).map(drop)) {
            Ok(()) => error.with_hint("what was broken has been moved aside; build again"),
            Err(source) => error.with_source(source).with_hint("`cooper store repair` mends it"),
        }
    }

    fn explain_missing(&self, path: &Path) -> Vec<String> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let Ok(children) = resolve(self, parent).and_then(|parent| self.children(&parent)) else { return Vec::new() };
        let names: Vec<_> =
            children.iter().filter_map(|entry| entry.path.file_name()).map(|name| name.to_string_lossy()).collect();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let near = cooper_dockerfile::nearest(&name, names.iter().map(AsRef::as_ref));
        near.map(|near| vec![format!("did you mean `/{}`?", parent.join(near).display())]).unwrap_or_default()
    }
}
