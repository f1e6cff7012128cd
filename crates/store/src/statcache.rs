//! Digests of context files by inode and times, so that a build reads only files that changed.
//! Does not know what the digests are used for, or which files a build selects.
//!
//! One file `stat/<hex of the context's key>`, little endian:
//!
//! ```text
//! 8     "CSTAT\0\0\1"
//! 4     number of entries, n
//! 4     bytes of paths, p
//! 88*n  entries, sorted by path: path offset u32, path length u32, dev, ino, size u64, mtime, ctime i64 (ns),
//!       mode u32, saves since it was last seen u32, digest [32]
//! p     paths, without separators
//! 32    BLAKE3 of all before
//! ```
//!
//! Entries are searched where they lie: loading is one read and one hash.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::{Error, EventKind, Result, Store};

const MAGIC: &[u8; 8] = b"CSTAT\0\0\x01";
const HEADER: usize = 16;
const ENTRY: usize = 88;
const SUM: usize = 32;

/// A million files with long names; more is read afresh each time.
const FILE_MAX: u64 = 256 << 20;

/// As git's racy entries: a file changed twice within the file system's clock tick has equal times, and FAT ticks every 2 s.
const RACY_NS: i64 = 2_000_000_000;

/// Saves after which an entry that nobody asked for goes: builds of other targets of the context alternate with this one.
const UNSEEN_MAX: u32 = 8;

/// What stat(2) says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Device.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Length in bytes.
    pub size: u64,
    /// Modification, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Change of the inode, nanoseconds since 1970.
    pub ctime_ns: i64,
    /// Type and permissions.
    pub mode: u32,
}

impl From<&std::fs::Metadata> for Stat {
    fn from(meta: &std::fs::Metadata) -> Self {
        let ns = |secs: i64, nanos: i64| secs.saturating_mul(1_000_000_000).saturating_add(nanos);
        Self {
            dev: meta.dev(),
            ino: meta.ino(),
            size: meta.size(),
            mtime_ns: ns(meta.mtime(), meta.mtime_nsec()),
            ctime_ns: ns(meta.ctime(), meta.ctime_nsec()),
            mode: meta.mode(),
        }
    }
}

/// Entries put since loading, by path.
type Fresh = BTreeMap<Vec<u8>, (Stat, [u8; 32])>;

/// The digests of one context. Shared by threads.
#[derive(Debug)]
pub struct StatCache {
    store: Store,
    name: String,
    bytes: Vec<u8>,
    count: usize,
    seen: Vec<AtomicBool>,
    fresh: Mutex<Fresh>,
}

impl StatCache {
    /// Loads the digests of a context. A missing or broken file is an empty cache.
    pub fn load(store: &Store, context_key: &[u8]) -> Self {
        let name = blake3::hash(context_key).to_hex().to_string();
        let path = store.tree().join("stat").join(&name);
        let size = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        let bytes = if size <= FILE_MAX { std::fs::read(&path).unwrap_or_default() } else { Vec::new() };
        let whole = check(&bytes);
        if whole.is_none() && !bytes.is_empty() {
            let why = "its checksum is wrong; the files are read again";
            store.record_event(EventKind::Quarantined, &format!("stat/{name}"), why);
        }
        let (bytes, count) = whole.map_or((Vec::new(), 0), |count| (bytes, count));
        let seen = (0..count).map(|_| AtomicBool::new(false)).collect();
        Self { store: store.clone(), name, bytes, count, seen, fresh: Mutex::default() }
    }

    /// Number of entries that were loaded.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Nothing was loaded.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The digest of the file at a relative path, if it has not changed since it was put.
    pub fn get(&self, path: &Path, stat: &Stat) -> Option<[u8; 32]> {
        let path = path.as_os_str().as_bytes();
        let index = self.find(path)?;
        let entry = self.entry(index)?;
        self.seen.get(index)?.store(true, Ordering::Relaxed);
        (entry.stat == *stat).then_some(entry.digest)
    }

    /// Remembers the digest of a file, read after `stat` was taken. One that changed within the last two seconds is not
    /// remembered: it may change again without its times telling.
    pub fn put(&self, path: &Path, stat: &Stat, digest: [u8; 32]) {
        let now = self.store.now().saturating_mul(1_000_000_000);
        if now.saturating_sub(stat.mtime_ns.max(stat.ctime_ns)) < RACY_NS {
            return;
        }
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.insert(path.as_os_str().as_bytes().to_vec(), (*stat, digest));
    }

    /// Writes the digests down, if there are new ones. Of two processes that save at once, one wins.
    pub fn save(&self) -> Result<()> {
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        if fresh.is_empty() {
            return Ok(());
        }
        let bytes = self.merge(&fresh);
        drop(fresh);
        let path = self.store.tree().join("stat").join(&self.name);
        let temporary = self.store.temporary()?;
        self.store.tree().step("stat.write")?;
        // Not synced: a torn file fails its checksum and is an empty cache.
        std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, &path)).map_err(|error| {
            let _ = std::fs::remove_file(&temporary);
            Error::at("write", &path, error)
        })
    }

    fn merge(&self, fresh: &Fresh) -> Vec<u8> {
        let mut out = Builder::default();
        let mut fresh = fresh.iter().peekable();
        for index in 0..self.count {
            let (Some(entry), Some(path)) = (self.entry(index), self.path(index)) else { continue };
            while let Some((path, (stat, digest))) = fresh.next_if(|(new, _)| new.as_slice() < path) {
                out.push(path, stat, 0, digest);
            }
            if fresh.peek().is_some_and(|(new, _)| new.as_slice() == path) {
                continue;
            }
            let seen = self.seen.get(index).is_some_and(|seen| seen.load(Ordering::Relaxed));
            let unseen = if seen { 0 } else { entry.unseen + 1 };
            if unseen <= UNSEEN_MAX {
                out.push(path, &entry.stat, unseen, &entry.digest);
            }
        }
        fresh.for_each(|(path, (stat, digest))| out.push(path, stat, 0, digest));
        out.finish()
    }

    fn find(&self, path: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.path(middle)?.cmp(path) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    fn path(&self, index: usize) -> Option<&[u8]> {
        let entry = self.raw(index)?;
        let (offset, len) = (u32_at(entry, 0)? as usize, u32_at(entry, 4)? as usize);
        let paths = self.bytes.get(HEADER + self.count * ENTRY..self.bytes.len().checked_sub(SUM)?)?;
        paths.get(offset..offset.checked_add(len)?)
    }

    fn entry(&self, index: usize) -> Option<Entry> {
        let raw = self.raw(index)?;
        let stat = Stat {
            dev: u64_at(raw, 8)?,
            ino: u64_at(raw, 16)?,
            size: u64_at(raw, 24)?,
            mtime_ns: u64_at(raw, 32)? as i64,
            ctime_ns: u64_at(raw, 40)? as i64,
            mode: u32_at(raw, 48)?,
        };
        Some(Entry { stat, unseen: u32_at(raw, 52)?, digest: raw.get(56..88)?.try_into().ok()? })
    }

    fn raw(&self, index: usize) -> Option<&[u8]> {
        let start = HEADER + index * ENTRY;
        self.bytes.get(start..start + ENTRY)
    }
}

#[derive(Debug)]
struct Entry {
    stat: Stat,
    unseen: u32,
    digest: [u8; 32],
}

#[derive(Debug, Default)]
struct Builder {
    count: u32,
    entries: Vec<u8>,
    paths: Vec<u8>,
}

impl Builder {
    fn push(&mut self, path: &[u8], stat: &Stat, unseen: u32, digest: &[u8; 32]) {
        let (Ok(offset), Ok(len)) = (u32::try_from(self.paths.len()), u32::try_from(path.len())) else { return };
        let out = &mut self.entries;
        out.extend(offset.to_le_bytes());
        out.extend(len.to_le_bytes());
        for word in [stat.dev, stat.ino, stat.size, stat.mtime_ns as u64, stat.ctime_ns as u64] {
            out.extend(word.to_le_bytes());
        }
        out.extend(stat.mode.to_le_bytes());
        out.extend(unseen.to_le_bytes());
        out.extend(digest);
        self.paths.extend(path);
        self.count += 1;
    }

    fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + self.entries.len() + self.paths.len() + SUM);
        out.extend(MAGIC);
        out.extend(self.count.to_le_bytes());
        out.extend((self.paths.len() as u32).to_le_bytes());
        out.extend(self.entries);
        out.extend(self.paths);
        let sum = blake3::hash(&out);
        out.extend(sum.as_bytes());
        out
    }
}

/// The number of entries of a file that is whole.
fn check(bytes: &[u8]) -> Option<usize> {
    let body = bytes.get(..bytes.len().checked_sub(SUM)?)?;
    if body.get(..8)? != MAGIC {
        return None;
    }
    let (count, paths) = (u32_at(body, 8)? as usize, u32_at(body, 12)? as usize);
    let expected = HEADER.checked_add(count.checked_mul(ENTRY)?)?.checked_add(paths)?;
    (expected == body.len() && blake3::hash(body).as_bytes()[..] == bytes[body.len()..]).then_some(count)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
