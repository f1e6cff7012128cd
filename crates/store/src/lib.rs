//! Blobs, layers and records in one directory that any number of processes share.
//!
//! Knows nothing of Dockerfiles, build graphs, the solver or the network.

mod blobs;
mod db;
mod error;
mod ids;
mod layer_rows;
mod lock;
mod store;
mod tree;

pub use error::{Error, ErrorKind, Result};
pub use ids::{Key, LayerId, RecordId};
pub use store::{OpenOptions, Ownership, Store};

pub mod listing;
pub mod root;

pub use listing::{ContentDigest, Listing, ListingBuilder, Record, Tree};
pub use root::{FileKind, Inode, Root, User};
mod layers;
