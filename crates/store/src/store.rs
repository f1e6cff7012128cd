//! The store itself: one directory, its database, and this process's share in them.
//! Does not know blobs, records or layers; they are added by the modules beside it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_oci::Digest;

use crate::db::Db;
use crate::tree::Tree;
use crate::{LayerId, Result};

/// Whose ids the files of layers can carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ownership {
    /// Any id: the process is root, or has subordinate ids.
    #[default]
    All,
    /// Only the id of the process: ownership is remembered beside the files.
    Single,
}

/// What a store is opened with.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Names this boot of the machine (`/proc/sys/kernel/random/boot_id`): what was not made durable is valid in it only.
    pub boot_id: String,
    /// The clock: seconds since 1970.
    pub now: fn() -> i64,
    /// Whose ids the files of layers can carry.
    pub ownership: Ownership,
}

/// A store. Cheap to clone; any number of threads and processes may use one at once.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

/// What the clones of a [`Store`] share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) tree: Tree,
    pub(crate) db: Db,
    pub(crate) options: OpenOptions,
    /// Shared flock on `lock`: repair waits until nobody holds it.
    _lock: File,
}

impl Store {
    /// Opens the store at `root`, creating it if there is none.
    pub fn open(root: &Path, options: OpenOptions) -> Result<Self> {
        let tree = Tree::open(root)?;
        let lock = crate::lock::shared(&tree.join("lock"))?;
        let db = Db::open(&tree.join("db.sqlite"))?;
        Ok(Self { inner: Arc::new(Inner { tree, db, options, _lock: lock }) })
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        self.inner.tree.root()
    }

    /// Where a blob is, or would be. Bytes read from there are not verified: see `open_blob`.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.inner.tree.blob(digest)
    }

    /// Where a layer is unpacked, or would be.
    pub fn layer_path(&self, id: &LayerId) -> PathBuf {
        self.inner.tree.layer(id)
    }

    /// Whose ids the files of layers can carry.
    pub fn ownership(&self) -> Ownership {
        self.inner.options.ownership
    }

    /// Seconds since 1970, by the clock the store was opened with.
    pub(crate) fn now(&self) -> i64 {
        (self.inner.options.now)()
    }

    /// What the `state` column says of something this boot wrote and has not made durable.
    pub(crate) fn volatile(&self) -> String {
        format!("volatile:{}", self.inner.options.boot_id)
    }

    pub(crate) fn db(&self) -> &Db {
        &self.inner.db
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.inner.tree
    }
}
