//! A mounted list of layers, with the lease that keeps them and the work directory that goes away with it.
//!
//! Does not know what runs in it.

use std::path::{Path, PathBuf};

use super::overlay::MAX_LOWERS;
use super::{Mounted, Native, Overlay, SnapshotKind, Snapshotter, View, clamp, root_of, same};
use crate::layers::{self, rows, scan};
use crate::{Error, ErrorKind, LayerId, Lease, Ownership, Result, Store};

/// Layers shown as one directory. Dropping it removes the view and every change that was not committed.
#[derive(Debug)]
pub struct Mount {
    store: Store,
    work: PathBuf,
    root: PathBuf,
    before: cooper_oci::Entry,
    lowers: Vec<PathBuf>,
    readonly: bool,
    mounted: Option<Box<dyn Mounted>>,
    warnings: Vec<String>,
    _lease: Lease,
}

impl Store {
    /// Shows layers, base first, as one directory; those that are only blobs are unpacked, side by side. `writable`
    /// changes can be committed.
    pub fn mount(&self, layers: &[LayerId], writable: bool) -> Result<Mount> {
        self.mount_with(self.inner.options.snapshots, layers, writable)
    }

    /// As [`Store::mount`], in a way of the caller's choice.
    pub fn mount_with(&self, kind: SnapshotKind, layers: &[LayerId], writable: bool) -> Result<Mount> {
        let lease = self.lease();
        for layer in layers {
            if !lease.hold(layer)? {
                return Err(Error::new(ErrorKind::NotFound, format!("the store has no layer {layer}")));
            }
        }
        let unpacked = self.unpack(layers)?;
        for layer in &unpacked.layers {
            lease.hold(layer)?;
        }
        let lowers: Vec<_> = unpacked.layers.iter().map(|id| layers::fs_of(self, id)).collect();
        let before = layers::root_of_list(self, &unpacked.layers)?;
        let work = self.mount_path()?;
        make_private(&work)?;
        let mut mount = Mount {
            store: self.clone(),
            root: root_of(&work),
            work,
            before,
            lowers: lowers.clone(),
            readonly: !writable,
            mounted: None,
            warnings: unpacked.warnings,
            _lease: lease,
        };
        mount.show(kind, &lowers)?;
        Ok(mount)
    }
}

impl Mount {
    /// The directory that shows the layers.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What could not be unpacked faithfully on this host.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn show(&mut self, kind: SnapshotKind, lowers: &[PathBuf]) -> Result<()> {
        let owners = self.store.ownership() == Ownership::All;
        let view = View { lowers, work: &self.work, root: &self.before, owners, readonly: self.readonly };
        let mut note = None;
        let shown = match kind {
            SnapshotKind::Overlay => Overlay.mount(view),
            SnapshotKind::Native => Native.mount(view),
            SnapshotKind::Auto if lowers.len() > MAX_LOWERS => Native.mount(view),
            SnapshotKind::Auto => Overlay.mount(view).or_else(|error| {
                note = Some(format!("files are copied: {}", chain_of(&error)));
                // What the attempt made is in the way.
                layers::remove_path(&self.work)?;
                make_private(&self.work)?;
                Native.mount(view)
            }),
        };
        self.mounted = Some(shown?);
        self.warnings.extend(note);
        Ok(())
    }

    /// Ends the view and keeps what was changed in it as a layer: parents of what changed included, sockets not.
    /// Times later than `clamp` (seconds since 1970) are set to it. The layer is valid for this boot until the store
    /// makes it durable.
    pub fn commit(mut self, clamp: Option<i64>) -> Result<LayerId> {
        let mounted =
            self.mounted.take().filter(|_| !self.readonly).ok_or_else(|| {
                Error::new(ErrorKind::Invalid, format!("{} was mounted read-only", self.root.display()))
            })?;
        let changed = mounted.commit()?;
        same::drop_same(&changed, &self.lowers)?;
        let after = scan::root_entry(&changed)?;
        let size = clamp::clamp_tree(&changed, clamp)?;
        let id = layers::random_id()?;
        let dir = layers::Fresh::new(&self.store)?;
        let fs = dir.fs();
        std::fs::rename(&changed, &fs).map_err(|error| Error::at("move", &changed, error))?;
        if !same_root(&self.before, &after) {
            dir.mark(layers::ROOT)?;
        }
        rows::publish(&self.store, &id, None, size, None, || dir.publish(&self.store, &id))?;
        Ok(id)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(self.mounted.take());
        // What stays behind is swept once this process is gone.
        let _ = layers::remove_path(&self.work);
    }
}

/// An error with its cause in one line.
fn chain_of(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The root's time changes with every step and is no change of its own.
fn same_root(before: &cooper_oci::Entry, after: &cooper_oci::Entry) -> bool {
    (before.mode, before.uid, before.gid, &before.xattrs) == (after.mode, after.uid, after.gid, &after.xattrs)
}

fn make_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    // Nobody else of the host may walk into a root filesystem with setuid programs; whoever needs to passes a descriptor.
    std::fs::DirBuilder::new().mode(0o700).create(path).map_err(|error| Error::at("create", path, error))
}
