//! An upload into the store: bytes are gathered, then written and hashed beside the runtime's own threads.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use cooper_oci::Digest;
use cooper_registry::server::{Refusal, Upload};
use cooper_store::{BlobWriter, Error, ErrorKind};

use super::refused;
use crate::engine::blocking;

/// Bytes gathered before they are written: a hop to another thread costs as much as hashing some kilobytes.
const GATHERED: usize = 256 << 10;

/// A blob on its way into a repository.
#[derive(Debug)]
pub(super) struct StoreUpload {
    repository: String,
    waiting: Vec<Bytes>,
    bytes: usize,
    writing: Arc<Mutex<Writing>>,
}

/// The file. Whoever holds the lock writes: what was taken over is written even if the request that brought it has ended.
#[derive(Debug)]
enum Writing {
    Open(BlobWriter),
    Failed(Refusal),
    Done,
}

impl StoreUpload {
    pub(super) fn new(repository: String, writer: BlobWriter) -> Self {
        Self { repository, waiting: Vec::new(), bytes: 0, writing: Arc::new(Mutex::new(Writing::Open(writer))) }
    }

    /// Starts writing what was gathered, and then does more with the file.
    async fn flush<T: Send + 'static>(
        &mut self,
        then: impl FnOnce(&mut Writing) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.bytes = 0;
        let (chunks, writing) = (std::mem::take(&mut self.waiting), Arc::clone(&self.writing));
        // Spawned before anything is awaited: a request that goes away takes no bytes with it.
        blocking(move || {
            let mut writing = writing.lock().unwrap_or_else(PoisonError::into_inner);
            writing.write(&chunks)?;
            then(&mut writing)
        })
        .await
    }
}

impl Writing {
    fn write(&mut self, chunks: &[Bytes]) -> Result<(), Refusal> {
        let writer = match self {
            Self::Open(writer) => writer,
            Self::Failed(why) => return Err(why.clone()),
            Self::Done => return Err(Refusal::internal("an upload was written to after its end")),
        };
        let written = chunks.iter().try_for_each(|chunk| writer.write_all(chunk));
        written.map_err(|error| {
            let why = refused(Error::io("cannot write an upload", error));
            // The file goes with its writer.
            *self = Self::Failed(why.clone());
            why
        })
    }

    fn commit(&mut self, digest: &Digest, repository: &str) -> Result<(), Refusal> {
        match std::mem::replace(self, Self::Done) {
            Self::Open(writer) => writer.commit_linked(digest, repository).map_err(|error| match error.kind() {
                ErrorKind::Corrupt => Refusal::wrong_digest(),
                _ => refused(error),
            }),
            Self::Failed(why) => Err(why),
            Self::Done => Err(Refusal::internal("an upload was ended twice")),
        }
    }
}

#[async_trait]
impl Upload for StoreUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Refusal> {
        self.bytes += bytes.len();
        self.waiting.push(bytes);
        if self.bytes >= GATHERED { self.flush(|_| Ok(())).await } else { Ok(()) }
    }

    async fn commit(mut self: Box<Self>, digest: &Digest) -> Result<(), Refusal> {
        let (digest, repository) = (digest.clone(), std::mem::take(&mut self.repository));
        self.flush(move |writing| writing.commit(&digest, &repository)).await
    }
}
