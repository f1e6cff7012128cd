//! Writes a layer: tar bytes in, compressed bytes out, in pieces that are cut by content and compressed in parallel.
//!
//! The output is the concatenation of independent gzip members or zstd frames in the order of the tar, so it does not
//! depend on how many threads worked. Does not know whether what it is given is a tar.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use super::chunk::{Cutter, PIECE_MIN};
use super::output::{Output, Packed, Part};
use super::piece::Method;
use super::sums::HashThread;
use super::{LayerSums, Pieces};
use crate::{Compression, Result};

/// Pieces in flight for each thread: enough to keep all busy while the oldest one is waited for.
const AHEAD_PER_THREAD: usize = 2;

/// Bytes a plain tar is hashed and written in.
const PLAIN_PIECE: usize = 1 << 20;

/// A layer being written. The caller's thread cuts, the pool compresses, one thread hashes the tar, another writes and
/// hashes the blob.
pub struct LayerWriter<W> {
    method: Option<Method>,
    known: Option<Arc<dyn Pieces>>,
    cutter: Cutter,
    current: Vec<u8>,
    ahead: usize,
    empty: bool,
    raw: HashThread,
    output: Output<W>,
}

impl<W> fmt::Debug for LayerWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerWriter").field("method", &self.method).finish_non_exhaustive()
    }
}

impl<W: Write + Send + 'static> LayerWriter<W> {
    /// Writes a layer to `out`. Pieces that `pieces` knows are not compressed again.
    pub fn new(out: W, compression: Compression, pieces: Option<Arc<dyn Pieces>>) -> Result<Self> {
        let ahead = AHEAD_PER_THREAD * rayon::current_num_threads().max(1);
        Ok(Self {
            method: Method::new(compression)?,
            known: pieces,
            cutter: Cutter::default(),
            current: Vec::with_capacity(2 * PLAIN_PIECE),
            ahead,
            empty: true,
            raw: HashThread::start(ahead)?,
            output: Output::start(out)?,
        })
    }

    /// Writes what is left; the sink, and what is known of the layer now.
    pub fn finish(mut self) -> Result<(W, LayerSums)> {
        // An empty tar is one piece too.
        if !self.current.is_empty() || self.empty {
            self.cut()?;
        }
        let written = self.output.finish()?;
        let (diff_id, tar_size) = self.raw.finish()?;
        let (digest, size) = match self.method {
            Some(_) => {
                let size = written.hasher.size();
                (written.hasher.finish(), size)
            }
            None => (diff_id.clone(), tar_size),
        };
        Ok((written.out, LayerSums { diff_id, tar_size, digest, size, pieces: written.pieces }))
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
        self.empty = false;
        self.raw.update(piece.clone())?;
        let Some(method) = self.method else {
            return self.output.send(Part::Plain(piece), self.ahead);
        };
        let known = self.known.clone();
        let (sender, receiver) = sync_channel(1);
        self.output.send(Part::Piece(receiver), self.ahead)?;
        // A writer that was dropped no longer listens; its last pieces are nobody's loss.
        rayon::spawn(move || drop(sender.send(pack(method, known.as_deref(), &piece))));
        Ok(())
    }
}

impl<W: Write + Send + 'static> Write for LayerWriter<W> {
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
    if let Some((bytes, sum)) = known.and_then(|known| known.get(&key)).filter(|(bytes, _)| method.fits(bytes, piece)) {
        return Ok(Packed { key, sum, bytes });
    }
    let bytes = method.compress(piece)?;
    Ok(Packed { key, sum: blake3::hash(&bytes).into(), bytes })
}
