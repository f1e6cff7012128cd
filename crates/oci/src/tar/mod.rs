//! Tar streams: the formats a layer can arrive in, and the one form this program writes.
//!
//! Knows nothing of compression, of disks, or of what a layer means.

mod header;
mod path;
mod pax;
mod read;
mod sparse;
mod whiteout;
mod write;

pub use read::TarReader;
pub use whiteout::{OPAQUE_NAME, WHITEOUT_PREFIX, Whiteout, opaque_name, parse_whiteout, whiteout_name};
pub use write::TarWriter;

pub(crate) use header::is_header;

use crate::{Error, ErrorKind};

/// Tar counts in blocks of this many bytes.
pub(crate) const BLOCK: usize = 512;

/// Linux's PATH_MAX: a longer path cannot be created by any unpacker.
pub(crate) const PATH_LIMIT: usize = 4096;

fn invalid(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, format!("invalid tar: {why}"))
}

fn too_large(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::TooLarge, format!("tar crosses a limit: {why}"))
}

/// Bytes that fill the last block of `size` bytes of data.
fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}
