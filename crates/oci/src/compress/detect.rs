//! Tells what some bytes are from how they begin.
//!
//! File names play no part, as in BuildKit's ADD.

use std::fmt;

/// A format that can hold a tar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Gzip.
    Gzip,
    /// Bzip2.
    Bzip2,
    /// Xz.
    Xz,
    /// Zstandard.
    Zstd,
    /// A tar as it is.
    Tar,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Tar => "tar",
        })
    }
}

/// The format of bytes that begin with `head`; 512 bytes are needed to know a tar. `None` for anything else.
pub fn detect(head: &[u8]) -> Option<Format> {
    let zstd_skippable =
        |head: &[u8]| head.len() >= 4 && (0x50..=0x5f).contains(&head[0]) && head[1..4] == [0x2a, 0x4d, 0x18];
    match head {
        [0x1f, 0x8b, 8, ..] => Some(Format::Gzip),
        // "BZh", a level, and the first block or the end of an empty stream.
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31 | 0x17, ..] => Some(Format::Bzip2),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Format::Xz),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Format::Zstd),
        head if zstd_skippable(head) => Some(Format::Zstd),
        head if crate::tar::is_header(head) => Some(Format::Tar),
        _ => None,
    }
}
