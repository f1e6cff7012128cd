//! Blobs out: every byte is hashed before the last of them is given, but not once for each client. Who finds a blob unhashed
//! hashes it while reading; who comes meanwhile waits until it was hashed once, then reads without.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cooper_oci::{Body, Digest, Error, ErrorKind};
use cooper_registry::server::Refusal;
use cooper_store::Store;
use tokio::sync::{OnceCell, Semaphore};

use super::{Inner, refused};
use crate::engine::blocking;

/// Read at once. One or two of these are in memory for each client.
const CHUNK: u64 = 128 << 10;

/// Threads that read for clients: more of them cost memory and read no faster.
const READS_MAX: usize = 16;

/// A blob that was hashed so long ago is hashed again: disks rot without telling.
const HASHED_SECS: i64 = 3600;

/// What is being read and hashed.
#[derive(Debug)]
pub(super) struct Reading {
    turns: Arc<Semaphore>,
    /// By a client's own reading.
    streamed: Mutex<HashSet<Digest>>,
    /// For several clients.
    flights: Mutex<HashMap<Digest, Arc<OnceCell<bool>>>>,
}

impl Default for Reading {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(READS_MAX)), streamed: Mutex::default(), flights: Mutex::default() }
    }
}

/// Says, as long as it lives, that a client's reading hashes the blob.
struct Streaming(Arc<Inner>, Digest);

impl Drop for Streaming {
    fn drop(&mut self) {
        lock(&self.0.reading.streamed).remove(&self.1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A part of a blob; `None` when the blob turns out to be broken.
pub(super) async fn open(
    inner: &Arc<Inner>,
    digest: &Digest,
    size: u64,
    range: Range<u64>,
) -> Result<Option<Body>, Refusal> {
    if let Some(file) = hashed(&inner.store, digest, size).await {
        return plain(inner, file, range).await.map(Some);
    }
    let whole = range.start == 0 && range.end == size;
    if whole && lock(&inner.reading.streamed).insert(digest.clone()) {
        let streaming = Streaming(Arc::clone(inner), digest.clone());
        let (store, digest) = (inner.store.clone(), digest.clone());
        let reader = blocking(move || store.open_blob(&digest)).await.map_err(refused)?;
        let turns = Arc::clone(&inner.reading.turns);
        return Ok(Some(body(turns, reader, size, streaming)));
    }
    if !prove(inner, digest).await {
        return Ok(None);
    }
    match hashed(&inner.store, digest, size).await {
        Some(file) => plain(inner, file, range).await.map(Some),
        None => Ok(None),
    }
}

async fn hashed(store: &Store, digest: &Digest, size: u64) -> Option<File> {
    let (store, digest) = (store.clone(), digest.clone());
    let found = blocking(move || store.hashed_file(&digest, HASHED_SECS)).await;
    found.filter(|(_, length)| *length == size).map(|(file, _)| file)
}

/// Hashes a blob once for everybody who waits; whether it is right.
async fn prove(inner: &Arc<Inner>, digest: &Digest) -> bool {
    let flight = Arc::clone(lock(&inner.reading.flights).entry(digest.clone()).or_default());
    let (store, own) = (inner.store.clone(), digest.clone());
    let hash =
        move || store.open_blob(&own).is_ok_and(|mut blob| std::io::copy(&mut blob, &mut std::io::sink()).is_ok());
    let right = *flight.get_or_init(|| blocking(hash)).await;
    lock(&inner.reading.flights).remove(digest);
    right
}

async fn plain(inner: &Inner, mut file: File, range: Range<u64>) -> Result<Body, Refusal> {
    let start = range.start;
    let sought = blocking(move || file.seek(SeekFrom::Start(start)).map(|_| file)).await;
    let file = sought.map_err(|error| Refusal::internal(format!("cannot read a blob: {error}")))?;
    let turns = Arc::clone(&inner.reading.turns);
    Ok(body(turns, file, range.end - range.start, ()))
}

/// The next `length` bytes of `reader`; `held` lives as long as they are read.
fn body<R: Read + Send + 'static, H: Send + 'static>(turns: Arc<Semaphore>, reader: R, length: u64, held: H) -> Body {
    Box::pin(futures::stream::unfold(Some((turns, reader, length, held)), |state| async {
        let (turns, reader, left, held) = state?;
        if left == 0 {
            return None;
        }
        // Nobody closes it, so there is always a turn.
        let turn = Arc::clone(&turns).acquire_owned().await.ok();
        let (reader, chunk) = blocking(move || {
            let _turn = turn;
            read_chunk(reader, left)
        })
        .await;
        match chunk {
            Ok(chunk) => {
                let left = left - chunk.len() as u64;
                Some((Ok(chunk), Some((turns, reader, left, held))))
            }
            Err(error) => Some((Err(error), None)),
        }
    }))
}

fn read_chunk<R: Read>(mut reader: R, left: u64) -> (R, cooper_oci::Result<Bytes>) {
    let mut chunk = vec![0; usize::try_from(left.min(CHUNK)).unwrap_or_default()];
    let chunk = match reader.read(&mut chunk) {
        Ok(0) => Err(Error::new(ErrorKind::Corrupt, "a blob ended early")),
        Ok(n) => {
            chunk.truncate(n);
            Ok(chunk.into())
        }
        Err(error) => Err(Error::io("cannot read a blob", error)),
    };
    (reader, chunk)
}
