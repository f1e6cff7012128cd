//! Base images from signed distribution packages: declared in one file, locked, verified, reproducible.
//!
//! Knows nothing of solvers, executors and terminals, nor of any crate of ours but `oci`.

mod actions;
mod architecture;
pub mod control;
mod deb;
mod deb_dir;
mod described;
pub mod dpkg;
mod error;
mod fetch;
mod image;
pub mod index;
mod layers;
mod licence;
mod lock;
mod locking;
pub mod manifest;
mod nearest;
pub mod pgp;
pub mod presets;
pub mod relation;
pub mod resolve;
mod sbom;
mod show;
pub mod sources;
pub mod testing;
mod update;
pub mod version;

pub use actions::{Given, check_scripts, generate};
pub use architecture::{architecture_of, architectures, platform_of};
pub use deb::Control;
pub use described::Described;
pub use error::{Error, ErrorKind, Result};
pub use fetch::{Cache, Event, Events, Places, fetch};
pub use image::image_config;
pub use layers::{Content, Filter, Item, Layer, Unpacked, arrange, declared_layer, unpack};
pub use lock::{DEB_MEDIA_TYPE, LOCK_VERSION, Lock, LockedPackage, LockedRelease};
pub use locking::{LockRequest, lock};
pub use manifest::{Manifest, Origin};
pub use sbom::{Subject, spdx};
pub use update::{Change, changes, name_cves};
