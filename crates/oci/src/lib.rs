//! The image-spec as values, and copying between places.
//!
//! Knows nothing of networks, disk layouts, runtimes or any other crate of this workspace.

mod blobs;
mod config;
mod descriptor;
mod digest;
mod error;
mod image;
mod layer;
mod platform;
mod reference;
pub mod tar;

pub use blobs::{BlobSink, Blobs, Body, body_from_bytes, read_all};
pub use config::{Config, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::{Descriptor, MediaType};
pub use digest::{Algorithm, Digest, Hasher, VerifyReader};
pub use error::{Error, ErrorKind, Result};
pub use image::{Index, Manifest};
pub use layer::{Compression, Entry, EntryKind, Mtime};
pub use platform::Platform;
pub use reference::{Reference, Target};
