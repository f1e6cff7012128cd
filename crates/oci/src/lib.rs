//! The image-spec as values, and copying between places.
//!
//! Knows nothing of networks, disk layouts, runtimes or any other crate of this workspace.

mod archive;
mod blobs;
pub mod compress;
mod config;
mod copy;
mod descriptor;
mod digest;
mod directory;
mod document;
mod error;
mod image;
mod layer;
mod layout;
mod memory;
mod platform;
mod reference;
pub mod tar;
pub mod testing;
mod validate;

pub use archive::{Archive, Named, read_archive, write_docker_archive, write_oci_archive};
pub use blobs::{BlobSink, Blobs, Body, body_from_bytes, from_sources, read_all};
pub use compress::{
    Format, LayerReader, LayerSums, LayerWriter, Limited, Limits, Piece, PieceKey, Pieces, decompress,
    decompress_within, detect,
};
pub use config::{Config, Healthcheck, History, ImageConfig, RootFs};
pub use copy::{CopyOptions, DEPTH_LIMIT, Progress, choose, copy};
pub use descriptor::{Descriptor, MediaType};
pub use digest::{Algorithm, Digest, Hasher, VerifyReader};
pub use directory::Directory;
pub use document::{CHILDREN_LIMIT, DOCUMENT_LIMIT, Document, parse_document};
pub use error::{Error, ErrorKind, Result};
pub use image::{Index, Manifest};
pub use layer::{Compression, Entry, EntryKind, Mtime};
pub use layout::{IMAGE_NAME, Layout, REF_NAME, body_from_reader};
pub use memory::MemoryBlobs;
pub use platform::{COMMON_PLATFORMS, Platform, best};
pub use reference::{Reference, Target};
pub use tar::{TarReader, TarWriter, Whiteout, opaque_name, parse_whiteout, whiteout_name};
pub use validate::validate;
