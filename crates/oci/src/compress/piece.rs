//! One piece of a layer: compressed alone, with bytes that depend on nothing but its content, the method and the level.
//!
//! Does not know where compressed pieces are kept between builds; a store answers for that through [`Pieces`].

use std::fmt;

use libdeflater::{CompressionLvl, Compressor};

use crate::{Compression, Error, ErrorKind, Result};

/// Enters every key: what made the bytes. Changes with the library, whose next version may find other matches.
const GZIP_NAME: &str = "libdeflater-1.26.1 gzip";
const ZSTD_NAME: &str = "zstd-1.5.7 frame";

/// Names the compressed form of a piece: BLAKE3 over compressor, level and content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceKey(pub [u8; 32]);

impl fmt::Display for PieceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PieceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a piece lies in a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What to ask [`Pieces`] for.
    pub key: PieceKey,
    /// First byte in the blob.
    pub offset: u64,
    /// Compressed length.
    pub len: u32,
    /// BLAKE3 of the compressed bytes: whoever keeps pieces checks it before giving one out.
    pub sum: [u8; 32],
}

/// Compressed pieces of earlier layers.
pub trait Pieces: fmt::Debug + Send + Sync {
    /// The compressed bytes of a piece and their BLAKE3, which whoever kept them verified; `None` when unknown or damaged.
    fn get(&self, key: &PieceKey) -> Option<(Vec<u8>, [u8; 32])>;
}

/// How pieces are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Gzip(u8),
    Zstd(u8),
}

impl Method {
    /// `None` for a plain tar.
    pub(super) fn new(compression: Compression) -> Result<Option<Self>> {
        match compression {
            Compression::None => Ok(None),
            Compression::Gzip(level @ 0..=12) => Ok(Some(Self::Gzip(level))),
            Compression::Zstd(level @ 1..=22) => Ok(Some(Self::Zstd(level))),
            Compression::Gzip(level) => Err(bad_level("gzip", level, "0 to 12")),
            Compression::Zstd(level) => Err(bad_level("zstd", level, "1 to 22")),
        }
    }

    pub(super) fn key(self, piece: &[u8]) -> PieceKey {
        let (name, level) = match self {
            Self::Gzip(level) => (GZIP_NAME, level),
            Self::Zstd(level) => (ZSTD_NAME, level),
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(name.as_bytes()).update(&[0, level]).update(piece);
        PieceKey(hasher.finalize().into())
    }

    pub(super) fn compress(self, piece: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Gzip(level) => gzip(piece, level),
            Self::Zstd(level) => zstd(piece, level).map_err(|error| Error::io("cannot compress a layer", error)),
        }
    }

    /// Kept bytes can be the piece: cheap, and enough to notice a store that mixes pieces up.
    pub(super) fn fits(self, compressed: &[u8], piece: &[u8]) -> bool {
        match self {
            Self::Gzip(_) => compressed.last_chunk::<8>().is_some_and(|trailer| {
                trailer[..4] == libdeflater::crc32(piece).to_le_bytes()
                    && trailer[4..] == (piece.len() as u32).to_le_bytes()
            }),
            Self::Zstd(_) => {
                zstd::zstd_safe::get_frame_content_size(compressed).ok().flatten() == Some(piece.len() as u64)
            }
        }
    }
}

fn bad_level(name: &str, level: u8, range: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("{name} has no compression level {level}"))
        .with_hint(format!("levels are {range}"))
}

/// One gzip member: no name, no time, OS unknown. A fresh compressor each time, so that no state leaks between pieces.
fn gzip(piece: &[u8], level: u8) -> Result<Vec<u8>> {
    let level = CompressionLvl::new(i32::from(level)).map_err(|_| bad_level("gzip", level, "0 to 12"))?;
    let mut compressor = Compressor::new(level);
    let mut out = vec![0; compressor.gzip_compress_bound(piece.len())];
    let length = compressor
        .gzip_compress(piece, &mut out)
        .map_err(|error| Error::new(ErrorKind::Io, "cannot compress a layer").with_source(error))?;
    out.truncate(length);
    out.shrink_to_fit();
    Ok(out)
}

/// One frame with its content size, by one thread.
fn zstd(piece: &[u8], level: u8) -> std::io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(i32::from(level))?;
    compressor.include_checksum(true)?;
    compressor.compress(piece)
}
