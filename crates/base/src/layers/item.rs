//! One file on its way into a layer: its entry, and where its content is.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_oci::{Entry, EntryKind, Mtime};

/// Where the content of a regular file is.
#[derive(Clone, Debug)]
pub enum Content {
    /// It has none, or is no regular file.
    None,
    /// In a file that holds the contents of a package one after another.
    Spool {
        /// That file.
        file: Arc<File>,
        /// Where the content begins; its length is in the entry.
        offset: u64,
    },
    /// In memory.
    Bytes(Arc<[u8]>),
}

/// One file with its content.
#[derive(Clone, Debug)]
pub struct Item {
    /// What it is. Its path is that in the image.
    pub entry: Entry,
    /// Its content.
    pub content: Content,
}

impl Item {
    /// An entry of root's without content.
    pub(crate) fn bare(path: impl Into<PathBuf>, kind: EntryKind, mode: u32) -> Self {
        let (path, mtime) = (path.into(), Mtime::default());
        let entry = Entry { path, kind, mode, uid: 0, gid: 0, mtime, xattrs: Default::default() };
        Self { entry, content: Content::None }
    }

    /// A regular file of root's.
    pub(crate) fn file(path: impl Into<PathBuf>, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes: Vec<u8> = bytes.into();
        let item = Self::bare(path, EntryKind::File { size: bytes.len() as u64 }, mode);
        Self { content: Content::Bytes(bytes.into()), ..item }
    }

    /// A symbolic link.
    pub(crate) fn symlink(path: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self::bare(path, EntryKind::Symlink { target: target.into() }, 0o777)
    }

    /// A directory of root's.
    pub(crate) fn dir(path: impl Into<PathBuf>, mode: u32) -> Self {
        Self::bare(path, EntryKind::Dir, mode)
    }

    /// Where it is in the image.
    pub fn path(&self) -> &Path {
        &self.entry.path
    }

    /// The length of its content.
    pub fn size(&self) -> u64 {
        match self.entry.kind {
            EntryKind::File { size } => size,
            _ => 0,
        }
    }

    /// Reads its content.
    pub fn open(&self) -> Box<dyn Read + '_> {
        match &self.content {
            Content::None => Box::new(io::empty()),
            Content::Bytes(bytes) => Box::new(&**bytes),
            Content::Spool { file, offset } => Box::new(Slice { file, at: *offset, left: self.size() }),
        }
    }

    /// Bytes of the content from `at` on, at most `len`.
    pub(crate) fn part(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let left = self.size().saturating_sub(at).min(len as u64) as usize;
        match &self.content {
            Content::None => Ok(Vec::new()),
            Content::Bytes(bytes) => Ok(bytes.iter().skip(at as usize).take(left).copied().collect()),
            Content::Spool { file, offset } => {
                let mut out = vec![0; left];
                file.read_exact_at(&mut out, offset + at)?;
                Ok(out)
            }
        }
    }

    /// The whole content; no more than `limit` bytes of it.
    pub(crate) fn bytes(&self, limit: usize) -> io::Result<Vec<u8>> {
        self.part(0, limit)
    }
}

/// A part of a file, read without moving the file's own position.
struct Slice<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Slice<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}
