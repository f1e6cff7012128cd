//! Unpacks a layer while its blob arrives: inflating and writing files beside the download.
//!
//! The stored blob is what counts. The directory is an extra that is given up at the first difficulty: it is then made
//! from the blob by whoever needs it, who is told the error too. Does not know where the blob comes from.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use cooper_oci::{Body, Descriptor, decompress_within};
use futures::SinkExt;
use futures::channel::{mpsc, oneshot};
use futures::executor::{BlockingStream, block_on_stream};

use super::{CHAIN, has};
use crate::{LayerId, Result, Store};

/// Chunks that may wait to be inflated. A chunk of a connection has at most some 400 KiB.
const WAITING: usize = 8;

impl Store {
    /// Stores the blob of a layer that was made known ([`Store::import_layer`]) and unpacks it on the way, unless that is
    /// done or being done elsewhere. Gives what this host could not represent. The layer gets its directory only after
    /// both its digests proved right.
    ///
    /// # Errors
    /// As of `put`: the bytes are not the blob's, or cannot be kept. That the blob cannot be unpacked is none: the next
    /// [`Store::mount`] says so.
    pub async fn put_layer(&self, layer: &LayerId, blob: &Descriptor, body: Body) -> Result<Vec<String>> {
        let mut unpacking = Unpacking::start(self, layer);
        self.write_body(blob, body, unpacking.as_mut().map(|unpacking| &mut unpacking.chunks)).await?;
        match unpacking {
            Some(unpacking) => Ok(unpacking.finish().await),
            None => Ok(Vec::new()),
        }
    }

    /// Reads a layer's blob from `arriving` and publishes its directory.
    fn unpack_arriving(&self, id: &LayerId, arriving: Arriving) -> Result<Vec<String>> {
        // Not waited for: whoever holds it is unpacking the same layer.
        let _lock = self.named_lock(&format!("layer {id}"), false)?;
        if self.is_unpacked(id)? || has(self, id, CHAIN) {
            return Ok(Vec::new());
        }
        let diff_id = self.known_diff_id(id)?;
        self.unpack_from(id, &diff_id, decompress_within(arriving, super::unpack::LIMITS)?)
    }
}

/// A layer being unpacked on a thread of its own.
struct Unpacking {
    chunks: mpsc::Sender<Bytes>,
    done: oneshot::Receiver<Vec<String>>,
}

impl Unpacking {
    /// `None` when there is nothing to unpack, or no thread to be had.
    fn start(store: &Store, id: &LayerId) -> Option<Self> {
        if store.is_unpacked(id).unwrap_or(false) || has(store, id, CHAIN) {
            return None;
        }
        let (chunks, receiver) = mpsc::channel(WAITING);
        let (sender, done) = oneshot::channel();
        let (store, id) = (store.clone(), id.clone());
        let arriving = Arriving { chunks: block_on_stream(receiver), chunk: Bytes::new(), ended: false };
        let work = move || drop(sender.send(store.unpack_arriving(&id, arriving).unwrap_or_default()));
        std::thread::Builder::new().name("unpack".into()).spawn(work).ok()?;
        Some(Self { chunks, done })
    }

    /// Says that the blob is whole and kept, and waits for the directory.
    async fn finish(mut self) -> Vec<String> {
        let _ = self.chunks.send(Bytes::new()).await;
        self.done.await.unwrap_or_default()
    }
}

/// The blob as it comes. An empty chunk says that all of it came and was right; without one the end is an error.
struct Arriving {
    chunks: BlockingStream<mpsc::Receiver<Bytes>>,
    chunk: Bytes,
    ended: bool,
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() && !self.ended {
            self.chunk = self.chunks.next().ok_or_else(|| io::Error::other("the blob did not come to its end"))?;
            self.ended = self.chunk.is_empty();
        }
        let n = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}
