//! Bytes in and out of blobs: a reader that never ends well on wrong bytes, and a writer that leaves nothing half done.
//! Does not know which blobs there are.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::PoisonError;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_oci::{Algorithm, BlobSink, Blobs, Body, Descriptor, Digest, Hasher};
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};
use rusqlite::{Connection, params};

use crate::blobs;
use crate::db::column;
use crate::leases::Held;
use crate::tree::{private, sync_dir};
use crate::{Error, ErrorKind, Result, Store};

/// Chunk of a body: large enough that hashing dominates, small enough to stay in the second-level cache.
const CHUNK_BYTES: usize = 256 << 10;

/// Blobs this process hashed that it remembers: more than any image has layers; a server hashes without end.
const HASHED_MAX: usize = 8192;

/// A blob being read. The last bytes are given only after all of them proved right.
#[derive(Debug)]
pub struct BlobReader {
    store: Option<Store>,
    file: File,
    digest: Digest,
    size: u64,
    hasher: Option<Hasher>,
    /// What the file was like before the first byte was read.
    stamp: Option<Stamp>,
}

impl BlobReader {
    /// Reads `file`; a fault is reported to `store`.
    pub(crate) fn new(store: Store, file: File, digest: Digest, size: u64) -> Self {
        Self { store: Some(store), ..Self::unwatched(file, digest, size) }
    }

    /// Reads `file`; a fault is only an error.
    pub(crate) fn unwatched(file: File, digest: Digest, size: u64) -> Self {
        let hasher = Some(Hasher::new(digest.algorithm()));
        let stamp = Stamp::of(&file);
        Self { store: None, file, digest, size, hasher, stamp }
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn wrong(&mut self, why: String) -> io::Error {
        let what = format!("blob {} is corrupt: {why}", self.digest);
        if let Some(store) = self.store.take() {
            store.blob_was_wrong(&self.digest, &why);
        }
        Error::new(ErrorKind::Corrupt, what).with_hint("it has been moved aside; run the command again").into()
    }

    /// Called with the last bytes read and not yet given.
    fn verify(&mut self) -> io::Result<()> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let found = hasher.finish();
        if found != self.digest {
            return Err(self.wrong(format!("its content has digest {found}")));
        }
        if self.file.read(&mut [0])? != 0 {
            return Err(self.wrong(format!("its file is longer than its {} bytes", self.size)));
        }
        let (now, store) = (Stamp::of(&self.file), self.store.as_ref());
        if let (Some(stamp), Some(store)) = (self.stamp.filter(|stamp| now == Some(*stamp)), store) {
            store.remember(&self.digest, stamp);
        }
        Ok(())
    }
}

impl Read for BlobReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(seen) = self.hasher.as_ref().map(Hasher::size) else { return Ok(0) };
        if buf.is_empty() {
            return Ok(0);
        }
        let want = usize::try_from(self.size - seen).unwrap_or(usize::MAX).min(buf.len());
        let n = self.file.read(&mut buf[..want])?;
        if n == 0 && seen < self.size {
            return Err(self.wrong(format!("expected {} bytes, found {seen}", self.size)));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buf[..n]);
        }
        if seen + n as u64 == self.size {
            self.verify()?;
        }
        Ok(n)
    }
}

/// A blob being written, to a temporary file that is removed when this is dropped.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    file: File,
    path: PathBuf,
    hasher: Option<Hasher>,
    size: u64,
}

impl BlobWriter {
    pub(crate) fn new(store: Store, hasher: Option<Hasher>) -> Result<Self> {
        let path = store.tree().temporary()?;
        store.tree().step("blob.create")?;
        let file = private(&path, OpenOptions::new().read(true).write(true).create_new(true))
            .map_err(|error| Error::at("create", &path, error))?;
        Ok(Self { store, file, path, hasher, size: 0 })
    }

    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Publishes the blob under the digest of what was written, which must be `expected` if that is given.
    pub fn commit(mut self, expected: Option<&Digest>) -> Result<(Digest, u64)> {
        let found = self.hashed()?;
        if let Some(expected) = expected.filter(|expected| **expected != found) {
            return Err(wrong_digest(expected, &found));
        }
        self.publish(&found, |_| Ok(()))?;
        Ok((found, self.size))
    }

    /// As [`BlobWriter::commit`] under `digest`, whatever its algorithm; `also` writes more with the same transaction.
    pub(crate) fn commit_hashed(mut self, digest: &Digest, also: impl FnOnce(&Connection) -> Result<()>) -> Result<()> {
        let mut found = self.hashed()?;
        if found.algorithm() != digest.algorithm() {
            found = self.hash_again(digest.algorithm())?;
        }
        if found != *digest {
            return Err(wrong_digest(digest, &found));
        }
        self.publish(digest, also)
    }

    /// Publishes the blob under a digest that the caller has computed from the very bytes it wrote.
    pub fn commit_known(self, digest: &Digest, size: u64) -> Result<()> {
        self.commit_with(digest, size, |_| Ok(()))
    }

    /// As [`BlobWriter::commit_known`]; `also` writes more with the same transaction.
    pub(crate) fn commit_with(
        self,
        digest: &Digest,
        size: u64,
        also: impl FnOnce(&Connection) -> Result<()>,
    ) -> Result<()> {
        if size != self.size {
            let what = format!("blob {digest} is corrupt: expected {size} bytes, {} were written", self.size);
            return Err(Error::new(ErrorKind::Corrupt, what));
        }
        self.publish(digest, also)
    }

    fn hashed(&mut self) -> Result<Digest> {
        self.hasher.take().map(Hasher::finish).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "a writer that does not hash needs the digest its caller computed")
        })
    }

    fn hash_again(&mut self, algorithm: Algorithm) -> Result<Digest> {
        let mut hasher = Hasher::new(algorithm);
        let read = self.file.rewind().and_then(|()| io::copy(&mut self.file, &mut hasher));
        read.map_err(|error| Error::at("read", &self.path, error))?;
        Ok(hasher.finish())
    }

    /// The file appears inside the transaction that writes its row: a collector, which removes files without rows and
    /// also works inside a transaction, sees both or neither.
    fn publish(&self, digest: &Digest, also: impl FnOnce(&Connection) -> Result<()>) -> Result<()> {
        let store = &self.store;
        let synced = store.build.is_none();
        if synced {
            store.tree().step("blob.sync")?;
            self.file.sync_data().map_err(|error| Error::at("sync", &self.path, error))?;
        }
        store.db().write_with(synced, |c| {
            if let Some(lease) = &store.build {
                lease.insert_row(c, Held::Blob, &digest.to_string())?;
            }
            also(c)?;
            if blobs::row(c, digest)?.is_some_and(|row| self.is_there(digest, &row)) {
                return Ok(());
            }
            let path = store.blob_path(digest);
            store.tree().step("blob.rename")?;
            fs::rename(&self.path, &path).map_err(|error| Error::at("rename a blob to", &path, error))?;
            if synced {
                store.tree().step("blob.sync-dir")?;
                sync_dir(path.parent().unwrap_or(store.root()))?;
            }
            store.tree().step("blob.row")?;
            // What layers are known to be this blob stays known: a pull knows that before it has the bytes.
            let state = if synced { "durable".to_owned() } else { store.volatile() };
            let sql = "INSERT OR REPLACE INTO blobs(digest, size, created, used, state) VALUES(?1, ?2, ?3, ?3, ?4)";
            c.prepare_cached(sql)?.execute(params![digest.to_string(), column(self.size), store.now(), state])?;
            if let Some(stamp) = Stamp::of(&self.file) {
                store.remember(digest, stamp);
            }
            Ok(())
        })
    }

    /// Another writer was first, and what it wrote is at least as safe as this would be.
    fn is_there(&self, digest: &Digest, row: &blobs::BlobRow) -> bool {
        let safe = if self.store.build.is_some() { self.store.is_current(&row.state) } else { row.state == "durable" };
        safe && fs::metadata(self.store.blob_path(digest)).is_ok_and(|meta| meta.len() == row.size)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.store.tree().step("blob.write")?;
        let n = self.file.write(bytes)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes[..n]);
        }
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        // After a rename there is nothing of this name any more.
        let _ = fs::remove_file(&self.path);
    }
}

#[async_trait]
impl Blobs for Store {
    /// Reads block the thread for a chunk at a time: local files give no better, and a hop to another thread costs more.
    async fn open(&self, descriptor: &Descriptor) -> cooper_oci::Result<Body> {
        let reader = self.open_blob(&descriptor.digest)?;
        if reader.size() != descriptor.size {
            let what = format!("{} has {} bytes, not {}", descriptor.digest, reader.size(), descriptor.size);
            return Err(cooper_oci::Error::new(cooper_oci::ErrorKind::Corrupt, what));
        }
        Ok(Box::pin(futures::stream::unfold(Some(reader), |reader| async { next_chunk(reader?) })))
    }

    fn known_file(&self, descriptor: &Descriptor) -> Option<File> {
        let (file, size) = self.hashed_file(&descriptor.digest, i64::MAX)?;
        (size == descriptor.size).then_some(file)
    }
}

/// What tells that a file was not touched: any write, truncation or replacement changes one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    id: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> Option<Self> {
        let meta = file.metadata().ok()?;
        Some(Self {
            id: (meta.dev(), meta.ino()),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

type Chunk = (cooper_oci::Result<Bytes>, Option<BlobReader>);

fn next_chunk(mut reader: BlobReader) -> Option<Chunk> {
    let left = reader.hasher.as_ref().map_or(0, |hasher| reader.size - hasher.size());
    let mut buf = vec![0; usize::try_from(left).unwrap_or(CHUNK_BYTES).clamp(1, CHUNK_BYTES)];
    match reader.read(&mut buf) {
        Ok(0) => None,
        Ok(n) => {
            buf.truncate(n);
            Some((Ok(buf.into()), Some(reader)))
        }
        Err(error) => Some((Err(cooper_oci::Error::io(format!("cannot read {}", reader.digest), error)), None)),
    }
}

#[async_trait]
impl BlobSink for Store {
    async fn has(&self, descriptor: &Descriptor) -> cooper_oci::Result<bool> {
        if let Some(lease) = &self.build {
            lease.hold_blob(&descriptor.digest)?;
        }
        Ok(self.blob_size(&descriptor.digest)? == Some(descriptor.size))
    }

    async fn put(&self, descriptor: &Descriptor, body: Body) -> cooper_oci::Result<()> {
        Ok(self.write_body(descriptor, body, None).await?)
    }
}

impl Store {
    /// Notes what a file was like while its bytes were hashed: as long as it stays so, it holds them.
    fn remember(&self, digest: &Digest, stamp: Stamp) {
        let mut hashed = self.inner.hashed.lock().unwrap_or_else(PoisonError::into_inner);
        if hashed.len() >= HASHED_MAX {
            hashed.clear();
        }
        hashed.insert(digest.clone(), (stamp, self.now()));
    }

    /// The blob as a file whose bytes this very process hashed within `since_secs`, and that nobody touched since, with its
    /// length: a server need not hash what it has just hashed.
    pub fn hashed_file(&self, digest: &Digest, since_secs: i64) -> Option<(File, u64)> {
        let known = self.inner.hashed.lock().unwrap_or_else(PoisonError::into_inner).get(digest).copied();
        let (stamp, _) = known.filter(|(_, at)| self.now().saturating_sub(*at) <= since_secs)?;
        let file = File::open(self.blob_path(digest)).ok()?;
        (Stamp::of(&file) == Some(stamp)).then_some((file, stamp.size))
    }

    /// Stores a body, verified; its chunks go to `copy` too, as long as somebody listens there.
    pub(crate) async fn write_body(
        &self,
        descriptor: &Descriptor,
        mut body: Body,
        mut copy: Option<&mut mpsc::Sender<Bytes>>,
    ) -> Result<()> {
        let mut writer = BlobWriter::new(self.clone(), Some(Hasher::new(descriptor.digest.algorithm())))?;
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            if writer.size() + chunk.len() as u64 > descriptor.size {
                return Err(wrong_size(descriptor, "more"));
            }
            // Before it is written here, so that both go on at once; an empty chunk would mean the end.
            if let Some(copy) = copy.as_mut().filter(|_| !chunk.is_empty()) {
                let _ = copy.send(chunk.clone()).await;
            }
            writer
                .write_all(&chunk)
                .map_err(|error| Error::io(format!("cannot write blob {}", descriptor.digest), error))?;
        }
        if writer.size() != descriptor.size {
            return Err(wrong_size(descriptor, "fewer"));
        }
        writer.commit(Some(&descriptor.digest)).map(drop)
    }
}

fn wrong_digest(expected: &Digest, found: &Digest) -> Error {
    Error::new(ErrorKind::Corrupt, format!("blob {expected} is corrupt: its content has digest {found}"))
}

fn wrong_size(descriptor: &Descriptor, how: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("blob {} has {how} than its {} bytes", descriptor.digest, descriptor.size))
}
