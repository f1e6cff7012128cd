//! Shows layers as one directory, takes what was changed in it as a new layer.
//!
//! Does not know steps, processes or how layers came to be.

mod clamp;
mod mount;
mod native;
mod overlay;
mod same;

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use cooper_oci::Entry;

use crate::Result;
pub use mount::Mount;
pub use native::Native;
pub use overlay::Overlay;

/// Which [`Snapshotter`] shows layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotKind {
    /// Overlayfs where the kernel and the filesystem allow it, else copies.
    #[default]
    Auto,
    /// Overlayfs; an error where it cannot be mounted.
    Overlay,
    /// Copies of all files: slow, works everywhere.
    Native,
}

/// What is to be shown.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Directories of the layers, base first, in overlayfs's form.
    pub lowers: &'a [PathBuf],
    /// A fresh directory of ours on the same filesystem; the view appears at `root` in it.
    pub work: &'a Path,
    /// Attributes of the root directory.
    pub root: &'a Entry,
    /// Owners can be set.
    pub owners: bool,
    /// Writes are refused, and there is nothing to commit.
    pub readonly: bool,
}

/// A way to show layers.
pub trait Snapshotter: Debug + Send + Sync {
    /// Shows the layers at `work/root`.
    fn mount(&self, view: View<'_>) -> Result<Box<dyn Mounted>>;
}

/// Layers being shown. Dropping it ends the view; the work directory is its owner's to remove.
pub trait Mounted: Debug + Send + Sync {
    /// Ends the view and gives the directory, beneath the work directory, that holds exactly what was changed, in
    /// overlayfs's form.
    fn commit(self: Box<Self>) -> Result<PathBuf>;
}

/// Where the view appears.
pub(crate) fn root_of(work: &Path) -> PathBuf {
    work.join("root")
}
