//! The store itself: one directory, its database, and this process's share in them.
//! Does not know blobs, records or layers; they are added by the modules beside it.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};

use cooper_oci::Digest;

use rusqlite::params;

use crate::blob_io::Stamp;
use crate::db::Db;
use crate::snapshot::SnapshotKind;
use crate::tree::{Failpoint, Tree};
use crate::{ErrorKind, Event, LayerId, Lease, Result, images_index, lock, rebuild};

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
    /// How layers are shown as one directory.
    pub snapshots: SnapshotKind,
    /// A hook for tests; `None` in programs.
    pub failpoint: Option<Failpoint>,
}

impl OpenOptions {
    /// The options of a program: `boot_id` and the clock, all ids, no hook.
    pub fn new(boot_id: impl Into<String>, now: fn() -> i64) -> Self {
        Self { boot_id: boot_id.into(), now, ownership: Ownership::All, snapshots: SnapshotKind::Auto, failpoint: None }
    }
}

/// A use is written down only when the last one known is older than this: a build with nothing to do writes nothing.
const TOUCH_AFTER_SECS: i64 = 3600;

/// A store. Cheap to clone; any number of threads and processes may use one at once.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
    /// A build's handle: its writes wait for [`Store::durable`], and are held until its last clone is gone.
    pub(crate) build: Option<Arc<Lease>>,
}

/// What the clones of a [`Store`] share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) tree: Tree,
    pub(crate) db: Db,
    pub(crate) options: OpenOptions,
    pub(crate) events: Mutex<Vec<Event>>,
    /// Blobs this process hashed, writing or reading them, and when.
    pub(crate) hashed: Mutex<HashMap<Digest, (Stamp, i64)>>,
    /// Numbers of leases given out by this process.
    pub(crate) leases: AtomicI64,
    /// Times of use that are not written down yet, by table and key.
    touched: Mutex<HashMap<(&'static str, String), i64>>,
    /// Shared lock on `lock`: repair waits until nobody holds it.
    _lock: File,
}

impl Store {
    /// Opens the store at `root`, creating it if there is none. A database that is lost or cannot be read is moved aside,
    /// and its rows are found again from the files.
    pub fn open(root: &Path, options: OpenOptions) -> Result<Self> {
        let tree = Tree::open(root, options.failpoint)?;
        rebuild::notice_loss(&tree)?;
        let path = tree.join("lock");
        let lock = lock::shared(&path)?;
        let (db, lock) = match open_db(&tree) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                drop(lock);
                rebuild::set_aside_alone(&tree, error)?;
                let lock = lock::shared(&path)?;
                (open_db(&tree)?, lock)
            }
            other => (other?, lock),
        };
        tree.finish()?;
        let store = Self::with(tree, db, options, lock);
        store.rebuild_if_lost()?;
        images_index::catch_up(&store)?;
        Ok(store)
    }

    fn with(tree: Tree, db: Db, options: OpenOptions, lock: File) -> Self {
        let inner = Inner {
            tree,
            db,
            options,
            events: Mutex::default(),
            hashed: Mutex::default(),
            leases: AtomicI64::new(0),
            touched: Mutex::default(),
            _lock: lock,
        };
        Self { inner: Arc::new(inner), build: None }
    }

    /// A handle for a build: what it writes is not synced at once but by [`Store::durable`], all together; and what it
    /// writes or was told is there stays until the handle and its clones are gone.
    #[must_use]
    pub fn deferred(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), build: Some(Arc::new(self.lease())) }
    }

    /// The handle of no build.
    pub(crate) fn synced(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), build: None }
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        self.inner.tree.root()
    }

    /// Where a blob is, or would be. Bytes read from there are not verified: see [`Store::open_blob`].
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.inner.tree.blob(digest)
    }

    /// Where a layer is unpacked, or would be.
    pub fn layer_path(&self, id: &LayerId) -> PathBuf {
        self.inner.tree.layer(id)
    }

    /// A fresh name below `tmp/` for a file or directory on its way to its place. What is there is removed by the next
    /// collector once this process is gone.
    pub fn temporary(&self) -> Result<PathBuf> {
        self.inner.tree.temporary()
    }

    /// A fresh name below `mounts/`, removed like [`Store::temporary`].
    pub fn mount_path(&self) -> Result<PathBuf> {
        let path = self.inner.tree.temporary()?;
        let name = path.file_name().unwrap_or_default();
        Ok(self.inner.tree.join("mounts").join(name))
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

    /// What a row of this `state` stands for is as it was written: synced, or of this boot.
    pub(crate) fn is_current(&self, state: &str) -> bool {
        state == "durable" || state.strip_prefix("volatile:") == Some(&self.inner.options.boot_id)
    }

    /// Notes a use for the collector, now and then.
    pub(crate) fn touch(&self, table: &'static str, key: &str, last: i64) {
        let now = self.now();
        if now.saturating_sub(last) > TOUCH_AFTER_SECS {
            self.inner.touched.lock().unwrap_or_else(PoisonError::into_inner).insert((table, key.to_owned()), now);
        }
    }

    pub(crate) fn db(&self) -> &Db {
        &self.inner.db
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.inner.tree
    }
}

impl Inner {
    /// Writes the times of use down. They only order what is collected first: losing some is no fault.
    pub(crate) fn flush_touched(&self) {
        let touched = std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner));
        if touched.is_empty() {
            return;
        }
        let _ = self.db.write(|c| {
            touched.iter().try_for_each(|((table, key), used)| {
                let key_is = match *table {
                    "blobs" => "digest = ?2",
                    "records" => "id = unhex(?2)",
                    _ => "id = ?2",
                };
                let sql = format!("UPDATE {table} SET used = ?1 WHERE {key_is}");
                c.prepare_cached(&sql)?.execute(params![used, key.as_str()]).map(drop)
            })
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.flush_touched();
    }
}

/// On a full disk the database cannot even be opened for reading (its shared index is a file): the reserve makes room.
fn open_db(tree: &Tree) -> Result<Db> {
    let path = tree.join("db.sqlite");
    match Db::open(&path) {
        Err(error) if error.kind() != ErrorKind::Corrupt && tree.join("reserve").exists() => {
            tree.free_reserve();
            Db::open(&path).map_err(|_| error)
        }
        done => done,
    }
}
