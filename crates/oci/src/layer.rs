//! What a layer holds, as values: one [`Entry`] an inode (image-spec, layer.md).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How a layer's tar is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Compression {
    /// A plain tar.
    None,
    /// Gzip, level 1 to 12 as libdeflate counts them.
    Gzip(u8),
    /// Zstandard, level 1 to 22.
    Zstd(u8),
}

impl Compression {
    /// Gzip at the default level: the last step that costs little, in bytes as large as those of `gzip -6`. Measured on two
    /// cores, writing 516 MB of `/usr` (20,000 files) and 263 MB of text, in 1 MiB pieces:
    ///
    /// | level | `/usr` bytes | seconds | text bytes | seconds |
    /// |---|---|---|---|---|
    /// | 1 | 141,497,145 | | | |
    /// | 4 | 131,249,297 | 1.65 | | |
    /// | 5 | 127,916,469 | 1.81 | 77,879,487 | 0.96 |
    /// | 6 | 126,515,267 | 2.11 | 77,310,695 | 1.10 |
    /// | `gzip -6`, one thread | 127,973,015 | 11.4 | 77,665,326 | |
    ///
    /// On 1 GB of libraries a whole build took 12.3 s of processor time at 5, 14.9 s at 6 and 11.9 s at 4, whose archive is
    /// 2.2 % larger than that of 5. zstd 3 writes `/usr` in 1.6 s as 109,086,028 bytes.
    pub const GZIP: Self = Self::Gzip(5);
    /// Zstd at the default level.
    pub const ZSTD: Self = Self::Zstd(3);
}

/// Seconds and nanoseconds since 1970, either side of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mtime {
    /// Whole seconds, rounded down.
    pub secs: i64,
    /// Nanoseconds past `secs`, below 10^9.
    pub nanos: u32,
}

/// One inode of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Clean relative path: no leading `/` or `./`, no `..`, no trailing `/`; empty for the root directory. Bytes need not be UTF-8.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky: `mode & 0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Mtime,
    /// Extended attributes by full name (`security.capability`).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The type of an [`Entry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file of `size` bytes.
    File {
        /// Length in bytes.
        size: u64,
    },
    /// A directory.
    Dir,
    /// A symbolic link; the target is any text.
    Symlink {
        /// What it points to.
        target: PathBuf,
    },
    /// Another name of an earlier entry of this layer or of a layer below.
    Hardlink {
        /// Clean relative path of that entry.
        target: PathBuf,
    },
    /// A character device.
    Char {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}
