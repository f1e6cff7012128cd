//! Writes a layer: tar bytes in, compressed bytes out, in pieces that are cut by content and compressed in parallel.
//!
//! The output is the concatenation of independent gzip members or zstd frames in the order of the tar, so it does not
//! depend on how many threads worked. Does not know whether what it is given is a tar.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::time::Duration;

use super::chunk::{Cutter, PIECE_MIN};
use super::piece::Method;
use super::sums::HashThread;
use super::{LayerSums, Piece, PieceKey, Pieces};
use crate::{Compression, Error, ErrorKind, Result};

/// Pieces in flight for each thread: enough to keep all busy while the oldest one is waited for.
const AHEAD_PER_THREAD: usize = 2;

/// Bytes a plain tar is hashed and written in.
const PLAIN_PIECE: usize = 1 << 20;

/// A layer being written.
pub struct LayerWriter<W> {
    out: W,
    method: Option<Method>,
    known: Option<Arc<dyn Pieces>>,
    cutter: Cutter,
    current: Vec<u8>,
    flying: VecDeque<Receiver<Result<Packed>>>,
    ahead: usize,
    raw: HashThread,
    /// Hashes the output; a plain tar has one digest and needs no second thread.
    packed: Option<HashThread>,
    pieces: Vec<Piece>,
    size: u64,
}

impl<W> fmt::Debug for LayerWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerWriter").field("method", &self.method).field("size", &self.size).finish_non_exhaustive()
    }
}

/// A compressed piece on its way to the output.
struct Packed {
    key: PieceKey,
    sum: [u8; 32],
    bytes: Vec<u8>,
}

impl<W: Write> LayerWriter<W> {
    /// Writes a layer to `out`. Pieces that `pieces` knows are not compressed again.
    pub fn new(out: W, compression: Compression, pieces: Option<Arc<dyn Pieces>>) -> Result<Self> {
        let method = Method::new(compression)?;
        let ahead = AHEAD_PER_THREAD * rayon::current_num_threads().max(1);
        Ok(Self {
            out,
            method,
            known: pieces,
            cutter: Cutter::default(),
            current: Vec::with_capacity(2 * PLAIN_PIECE),
            flying: VecDeque::new(),
            ahead,
            raw: HashThread::start(ahead)?,
            packed: method.map(|_| HashThread::start(ahead)).transpose()?,
            pieces: Vec::new(),
            size: 0,
        })
    }

    /// Writes what is left; the sink, and what is known of the layer now.
    pub fn finish(mut self) -> Result<(W, LayerSums)> {
        if !self.current.is_empty() || (self.pieces.is_empty() && self.flying.is_empty()) {
            self.cut()?;
        }
        while !self.flying.is_empty() {
            self.land()?;
        }
        self.out.flush().map_err(unwritten)?;
        let (diff_id, tar_size) = self.raw.finish()?;
        let (digest, size) = match self.packed {
            Some(packed) => packed.finish()?,
            None => (diff_id.clone(), tar_size),
        };
        Ok((self.out, LayerSums { diff_id, tar_size, digest, size, pieces: self.pieces }))
    }

    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if self.method.is_none() {
            self.current.extend_from_slice(bytes);
            return if self.current.len() >= PLAIN_PIECE { self.cut() } else { Ok(()) };
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (used, cut) = self.cutter.scan(rest);
            let (piece, after) = rest.split_at(used);
            self.current.extend_from_slice(piece);
            rest = after;
            if cut {
                self.cut()?;
            }
        }
        Ok(())
    }

    /// Sends the current piece on its way.
    fn cut(&mut self) -> Result<()> {
        let next = Vec::with_capacity(self.current.len().max(PIECE_MIN));
        let piece = Arc::new(std::mem::replace(&mut self.current, next));
        self.raw.update(piece.clone())?;
        let Some(method) = self.method else {
            self.size += piece.len() as u64;
            return self.out.write_all(&piece).map_err(unwritten);
        };
        while self.flying.len() >= self.ahead {
            self.land()?;
        }
        let known = self.known.clone();
        let (sender, receiver) = sync_channel(1);
        // A writer that was dropped no longer listens; its last pieces are nobody's loss.
        rayon::spawn(move || drop(sender.send(pack(method, known.as_deref(), &piece))));
        self.flying.push_back(receiver);
        Ok(())
    }

    /// Writes the oldest piece in flight.
    fn land(&mut self) -> Result<()> {
        let Some(receiver) = self.flying.pop_front() else { return Ok(()) };
        let packed = wait(&receiver)??;
        let len = u32::try_from(packed.bytes.len()).map_err(|_| lost())?;
        self.out.write_all(&packed.bytes).map_err(unwritten)?;
        self.pieces.push(Piece { key: packed.key, offset: self.size, len, sum: packed.sum });
        self.size += u64::from(len);
        self.packed.as_ref().map_or(Ok(()), |hash| hash.update(Arc::new(packed.bytes)))
    }
}

impl<W: Write> Write for LayerWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // Cutting here would make the bytes depend on when somebody flushed.
        Ok(())
    }
}

fn pack(method: Method, known: Option<&dyn Pieces>, piece: &[u8]) -> Result<Packed> {
    let key = method.key(piece);
    let kept = known.and_then(|known| known.get(&key)).filter(|bytes| method.fits(bytes, piece));
    let bytes = kept.map_or_else(|| method.compress(piece), Ok)?;
    Ok(Packed { key, sum: blake3::hash(&bytes).into(), bytes })
}

/// Waits for a piece. A thread of the pool works meanwhile: it may be the only one there is.
fn wait<T>(receiver: &Receiver<T>) -> Result<T> {
    while rayon::current_thread_index().is_some() {
        match receiver.try_recv() {
            Ok(value) => return Ok(value),
            Err(TryRecvError::Disconnected) => return Err(lost()),
            Err(TryRecvError::Empty) if rayon::yield_now() == Some(rayon::Yield::Executed) => {}
            Err(TryRecvError::Empty) => match receiver.recv_timeout(Duration::from_millis(1)) {
                Ok(value) => return Ok(value),
                Err(RecvTimeoutError::Disconnected) => return Err(lost()),
                Err(RecvTimeoutError::Timeout) => {}
            },
        }
    }
    receiver.recv().map_err(|_| lost())
}

fn lost() -> Error {
    Error::new(ErrorKind::Io, "a piece of a layer could not be compressed")
}

fn unwritten(error: io::Error) -> Error {
    Error::io("cannot write a layer", error)
}
