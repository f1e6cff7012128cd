//! The thread at the end of a layer: it waits for the pieces in their order, writes them and hashes what it writes.
//!
//! Does not know how a piece is made.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::{Piece, PieceKey};
use crate::{Error, ErrorKind, Hasher, Result};

/// A compressed piece.
pub(super) struct Packed {
    pub(super) key: PieceKey,
    pub(super) sum: [u8; 32],
    pub(super) bytes: Vec<u8>,
}

/// What is written next.
pub(super) enum Part {
    /// Bytes of a plain tar, whose one digest is made elsewhere.
    Plain(Arc<Vec<u8>>),
    /// A piece that is still being compressed.
    Piece(Receiver<Result<Packed>>),
}

/// What was written.
pub(super) struct Written<W> {
    pub(super) out: W,
    pub(super) pieces: Vec<Piece>,
    /// Of the pieces; nothing of a plain tar.
    pub(super) hasher: Hasher,
}

/// The thread, and how many parts it has before it.
pub(super) struct Output<W> {
    parts: Option<Sender<Part>>,
    landed: Receiver<()>,
    waiting: usize,
    thread: Option<JoinHandle<Result<Written<W>>>>,
}

impl<W: Write + Send + 'static> Output<W> {
    /// Starts the thread, which writes to `out`.
    pub(super) fn start(out: W) -> Result<Self> {
        let (parts, receiver) = channel();
        let (sender, landed) = channel();
        let thread = Builder::new()
            .name("layer-output".into())
            .spawn(move || write_all(out, &receiver, &sender))
            .map_err(|error| Error::io("cannot start a thread to write a layer", error))?;
        Ok(Self { parts: Some(parts), landed, waiting: 0, thread: Some(thread) })
    }

    /// Hands a part over, once fewer than `ahead` are before it.
    pub(super) fn send(&mut self, part: Part, ahead: usize) -> Result<()> {
        while self.waiting >= ahead {
            self.wait()?;
        }
        self.waiting += 1;
        match self.parts.as_ref().map(|parts| parts.send(part)) {
            Some(Ok(())) => Ok(()),
            _ => Err(self.failure()),
        }
    }

    /// Waits until all is written.
    pub(super) fn finish(mut self) -> Result<Written<W>> {
        self.join()
    }

    /// Waits for a part to be written.
    fn wait(&mut self) -> Result<()> {
        if !landed(&self.landed) {
            return Err(self.failure());
        }
        self.waiting -= 1;
        Ok(())
    }

    /// Why the thread ended before its time.
    fn failure(&mut self) -> Error {
        self.join().err().unwrap_or_else(lost)
    }
}

impl<W> Output<W> {
    fn join(&mut self) -> Result<Written<W>> {
        self.parts = None;
        // Parts may wait for the thread of the pool that this is.
        while self.waiting > 0 && landed(&self.landed) {
            self.waiting -= 1;
        }
        let thread = self.thread.take().ok_or_else(lost)?;
        thread.join().map_err(|_| lost())?
    }
}

/// What was to be written is let go of when the writer is: a file of its own is gone then.
impl<W> Drop for Output<W> {
    fn drop(&mut self) {
        let _ = self.join();
    }
}

fn write_all<W: Write>(mut out: W, parts: &Receiver<Part>, landed: &Sender<()>) -> Result<Written<W>> {
    let (mut pieces, mut hasher) = (Vec::new(), Hasher::default());
    for part in parts {
        match part {
            Part::Plain(bytes) => out.write_all(&bytes).map_err(unwritten)?,
            Part::Piece(packed) => {
                let packed = packed.recv().map_err(|_| lost())??;
                let len = u32::try_from(packed.bytes.len()).map_err(|_| lost())?;
                out.write_all(&packed.bytes).map_err(unwritten)?;
                pieces.push(Piece { key: packed.key, offset: hasher.size(), len, sum: packed.sum });
                hasher.update(&packed.bytes);
            }
        }
        // Nobody listens once the writer was dropped; what it wrote is nobody's then.
        let _ = landed.send(());
    }
    out.flush().map_err(unwritten)?;
    Ok(Written { out, pieces, hasher })
}

/// Waits for a sign, `false` when none will come. A thread of the pool works meanwhile: it may be the only one there is.
fn landed(receiver: &Receiver<()>) -> bool {
    while rayon::current_thread_index().is_some() {
        match receiver.try_recv() {
            Ok(()) => return true,
            Err(TryRecvError::Disconnected) => return false,
            Err(TryRecvError::Empty) if rayon::yield_now() == Some(rayon::Yield::Executed) => {}
            Err(TryRecvError::Empty) => match receiver.recv_timeout(Duration::from_millis(1)) {
                Ok(()) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => {}
            },
        }
    }
    receiver.recv().is_ok()
}

fn lost() -> Error {
    Error::new(ErrorKind::Io, "a piece of a layer could not be compressed")
}

fn unwritten(error: io::Error) -> Error {
    Error::io("cannot write a layer", error)
}
