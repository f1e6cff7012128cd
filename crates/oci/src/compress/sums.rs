//! The digests of a layer, and the thread that hashes while others compress.
//!
//! Does not know what the bytes are.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::Piece;
use crate::{Digest, Error, ErrorKind, Hasher, Result};

/// What is known of a layer once it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSums {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Its length.
    pub tar_size: u64,
    /// Digest of the blob.
    pub digest: Digest,
    /// Its length.
    pub size: u64,
    /// The pieces of the blob in order; empty for a plain tar.
    pub pieces: Vec<Piece>,
}

/// SHA-256 of a sequence of buffers, on its own thread.
#[derive(Debug)]
pub(super) struct HashThread {
    sender: SyncSender<Arc<Vec<u8>>>,
    thread: JoinHandle<Hasher>,
}

impl HashThread {
    /// Starts the thread; at most `ahead` buffers wait for it.
    pub(super) fn start(ahead: usize) -> Result<Self> {
        let (sender, receiver) = sync_channel::<Arc<Vec<u8>>>(ahead);
        let hash = move || {
            receiver.into_iter().fold(Hasher::default(), |mut hasher, bytes| {
                hasher.update(&bytes);
                hasher
            })
        };
        let thread = Builder::new()
            .name("layer-hash".into())
            .spawn(hash)
            .map_err(|error| Error::io("cannot start a thread to hash a layer", error))?;
        Ok(Self { sender, thread })
    }

    /// Hashes `bytes` after all that came before.
    pub(super) fn update(&self, bytes: Arc<Vec<u8>>) -> Result<()> {
        self.sender.send(bytes).map_err(|_| gone())
    }

    /// Digest and length of everything.
    pub(super) fn finish(self) -> Result<(Digest, u64)> {
        drop(self.sender);
        let hasher = self.thread.join().map_err(|_| gone())?;
        let size = hasher.size();
        Ok((hasher.finish(), size))
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Io, "the thread that hashes a layer ended early")
}
