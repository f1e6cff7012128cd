//! Base images from signed distribution packages: declared in one file, locked, verified, reproducible.
//!
//! Knows nothing of solvers, executors and terminals, nor of any crate of ours but `oci`.

mod architecture;
mod error;
mod lock;
pub mod manifest;
mod nearest;
pub mod presets;

pub use architecture::{architecture_of, architectures, platform_of};
pub use error::{Error, ErrorKind, Result};
pub use lock::{DEB_MEDIA_TYPE, LOCK_VERSION, Lock, LockedPackage, LockedRelease};
pub use manifest::{Manifest, Origin};
