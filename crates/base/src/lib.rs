//! Base images from signed distribution packages: declared in one file, locked, verified, reproducible.
//!
//! Knows nothing of solvers, executors and terminals, nor of any crate of ours but `oci`.

mod actions;
mod architecture;
mod deb;
pub mod dpkg;
mod error;
mod image;
mod layers;
mod lock;
pub mod manifest;
mod nearest;
pub mod presets;
mod sbom;
mod show;

pub use actions::{Given, check_scripts, generate};
pub use architecture::{architecture_of, architectures, platform_of};
pub use deb::Control;
pub use error::{Error, ErrorKind, Result};
pub use image::image_config;
pub use layers::{Content, Filter, Item, Layer, Unpacked, arrange, declared_layer, unpack};
pub use lock::{DEB_MEDIA_TYPE, LOCK_VERSION, Lock, LockedPackage, LockedRelease};
pub use manifest::{Manifest, Origin};
pub use sbom::{Subject, spdx};
