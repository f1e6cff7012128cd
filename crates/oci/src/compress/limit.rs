//! Stops a decompression bomb: a bound on the bytes that come out, in all and for each byte that went in.
//!
//! Does not know the formats.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, ErrorKind};

/// How much may come out of compressed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub bytes: u64,
    /// Before the ratio counts.
    pub free: u64,
    /// For each compressed byte after that.
    pub ratio: u64,
}

impl Default for Limits {
    /// Any size, 1000:1 past 64 MiB. Deflate reaches 1032:1 on zeros alone; real layers stay below 100:1.
    fn default() -> Self {
        Self { bytes: u64::MAX, free: 64 << 20, ratio: 1000 }
    }
}

/// Reads decompressed bytes until a limit is crossed, which is an error.
#[derive(Debug)]
pub struct Limited<R> {
    inner: R,
    read: u64,
    compressed: Arc<AtomicU64>,
    limits: Limits,
}

impl<R> Limited<R> {
    /// Limits what `inner` gives, where `compressed` counts the bytes it took (see [`Counted`]).
    pub(super) fn new(inner: R, compressed: Arc<AtomicU64>, limits: Limits) -> Self {
        Self { inner, read: 0, compressed, limits }
    }

    fn check(&self) -> io::Result<()> {
        let Limits { bytes, free, ratio } = self.limits;
        let error = |why: String| Err(Error::new(ErrorKind::TooLarge, why).into());
        if self.read > bytes {
            return error(format!("the archive has more than {bytes} bytes uncompressed"));
        }
        let compressed = self.compressed.load(Ordering::Relaxed);
        if self.read > free.saturating_add(compressed.saturating_mul(ratio)) {
            return error(format!("the archive expands more than {ratio} times"));
        }
        Ok(())
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        self.check()?;
        Ok(read)
    }
}

/// Counts the bytes read through it.
#[derive(Debug)]
pub(super) struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    pub(super) fn new(inner: R) -> (Self, Arc<AtomicU64>) {
        let count = Arc::new(AtomicU64::new(0));
        (Self { inner, count: count.clone() }, count)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
