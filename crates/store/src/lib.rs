//! Blobs, layers and records in one directory that any number of processes share.
//!
//! Knows nothing of Dockerfiles, build graphs, the solver or the network. The directory:
//!
//! ```text
//! <root>/                    0700, owned by its user
//!   version                  format number; written last when a store is made, so a tree that has it is whole
//!   oci-layout, index.json   with blobs/: an OCI layout that other tools can read
//!   blobs/sha256/<hex>       blobs, and blobs/sha512/<hex>
//!   layers/<id>/             unpacked layers
//!   mounts/<owner>.<random>/ mounts of running steps
//!   cache-mounts/<id>/       directories of RUN --mount=type=cache
//!   stat/<hex>               digests of context files by inode and times
//!   tmp/<owner>.<random>     on their way; removed when their owner is gone
//!   quarantine/              what was found broken; removed by the next prune
//!   leases/<owner>           locked by a process as long as it lives
//!   locks/<hex>              named locks
//!   db.sqlite (-wal, -shm)   rows
//!   lock                     shared to use, exclusive to replace the database
//!   reserve, reserve.1 ..    space and inodes given back first when the disk is full
//! ```
//!
//! Two rules keep it whole. *Appearing:* a file is complete before it gets its name, and gets its name inside the write
//! transaction that writes its row. *Disappearing:* the row goes first, durably; then a collector removes what has no row,
//! inside write transactions as well. So a collector and a writer never see half of each other's work.

mod blob_io;
mod blobs;
mod builds;
mod cache_mounts;
mod check;
mod db;
mod du;
mod durable;
mod error;
mod events;
mod gc;
mod ids;
mod images;
mod images_index;
mod layer_rows;
mod leases;
mod links;
mod lock;
mod owner;
mod rebuild;
mod records;
mod repair;
mod statcache;
mod store;
mod tree;

#[cfg(test)]
mod tests;

pub use blob_io::{BlobReader, BlobWriter};
pub use builds::Build;
pub use check::{Problem, ProblemKind};
pub use du::DuRow;
pub use error::{Error, ErrorKind, Result};
pub use events::{Event, EventKind};
pub use gc::{Kind, PruneOptions, Removed, Report};
pub use ids::{Key, LayerId, RecordId};
pub use images::Image;
pub use leases::Lease;
pub use links::{Link, NewManifest, NewPart};
pub use lock::NamedLock;
pub use records::{KeyInputRow, Record};
pub use repair::Action;
pub use statcache::{Stat, StatCache};
pub use store::{OpenOptions, Ownership, Store};
pub use tree::Failpoint;

mod cache_packs;
mod cache_sharing;
mod layers;
pub mod listing;
pub mod root;
pub mod snapshot;

pub use cache_packs::{CacheMountRow, Earlier, MountState, OpenPack, Pack, PackedMount, Packing};
pub use cache_sharing::{CacheMount, Sharing};
pub use layers::{LayerBuilder, NewLayer, Unpacked};
pub use listing::{ContentDigest, Listing, ListingBuilder, Tree};
pub use root::{FileKind, Inode, Root, User};
pub use snapshot::{Mount, SnapshotKind};
