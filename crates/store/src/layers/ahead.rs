//! Reads on one thread what another uses: inflating and hashing a layer beside writing its files.
//!
//! Does not know what is read.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes handed over at once.
const BLOCK: usize = 256 << 10;
/// Blocks that may wait: with [`BLOCK`], 2 MiB a layer.
const WAITING: usize = 8;

/// Runs `user` on a reader that is fed from `source` by a thread of its own. An error of the source, the one at its end
/// too, is read where it stands.
pub(crate) fn read_ahead<T>(source: impl Read + Send, user: impl FnOnce(&mut Ahead) -> T) -> T {
    std::thread::scope(|scope| {
        let (sender, blocks) = sync_channel(WAITING);
        // Without the thread nothing is sent, which the reader tells from an end.
        let _feeder = std::thread::Builder::new().spawn_scoped(scope, move || feed(source, &sender));
        user(&mut Ahead { blocks, block: Vec::new(), at: 0, ended: false })
    })
}

fn feed(mut source: impl Read, sender: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut block = Vec::with_capacity(BLOCK);
        let read = source.by_ref().take(BLOCK as u64).read_to_end(&mut block);
        let last = !matches!(read, Ok(n) if n > 0);
        // What was read before an error comes before it.
        if read.is_err() && !block.is_empty() && sender.send(Ok(std::mem::take(&mut block))).is_err() {
            return;
        }
        if sender.send(read.map(|_| block)).is_err() || last {
            return;
        }
    }
}

/// The reader's end.
#[derive(Debug)]
pub(crate) struct Ahead {
    blocks: Receiver<io::Result<Vec<u8>>>,
    block: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Read for Ahead {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() && !self.ended {
            let stopped = || io::Error::other("the thread that reads ahead could not run");
            self.block = self.blocks.recv().map_err(|_| stopped())??;
            self.at = 0;
            self.ended = self.block.is_empty();
        }
        let n = buf.len().min(self.block.len() - self.at);
        buf[..n].copy_from_slice(&self.block[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some bytes, then an error.
    struct Broken(usize);

    impl Read for Broken {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = buf.len().min(self.0);
            self.0 -= n;
            if n == 0 { Err(io::Error::other("broken")) } else { Ok(n) }
        }
    }

    #[test]
    fn gives_the_bytes_and_the_end() {
        let bytes: Vec<u8> = (0..3 * BLOCK + 17).map(|i| i as u8).collect();
        let mut out = Vec::new();
        read_ahead(&bytes[..], |reader| reader.read_to_end(&mut out)).unwrap();
        assert!(out == bytes);
    }

    #[test]
    fn gives_the_error_after_the_bytes_before_it() {
        let mut out = Vec::new();
        let error = read_ahead(Broken(BLOCK + 5), |reader| reader.read_to_end(&mut out)).unwrap_err();
        assert_eq!((out.len(), error.to_string().as_str()), (BLOCK + 5, "broken"));
    }

    #[test]
    fn a_user_that_stops_early_stops_the_feeder() {
        let endless = io::repeat(7);
        let mut first = [0; 3];
        read_ahead(endless, |reader| reader.read_exact(&mut first)).unwrap();
        assert_eq!(first, [7, 7, 7]);
    }
}
