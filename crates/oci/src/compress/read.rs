//! Reads compressed bytes by their magic, and layers with both digests verified.
//!
//! Every format is read to its last byte: what follows the end of the compressed data is an error, never ignored.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;

use super::limit::Counted;
use super::{Format, Limited, Limits, detect};
use crate::tar::BLOCK;
use crate::{Descriptor, Digest, Error, ErrorKind, Result, VerifyReader};

/// Largest zstd window taken: 128 MiB, what `zstd --long=27` writes. A frame can claim 2 GiB and more.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Memory an xz stream may ask for; `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;

/// Compressed bytes read at once.
const BUFFER: usize = 128 << 10;

type Source<'a> = BufReader<Box<dyn Read + Send + 'a>>;

/// A decoder that insists on the end of its source.
enum Decoder<'a> {
    Plain(Source<'a>),
    Gzip(MultiGzDecoder<Source<'a>>),
    Bzip2(MultiBzDecoder<Source<'a>>),
    Xz(XzDecoder<Source<'a>>),
    Zstd(zstd::Decoder<'static, Source<'a>>),
}

impl<'a> Decoder<'a> {
    fn new(mut source: Source<'a>) -> io::Result<Self> {
        let head = peek(&mut source)?;
        Ok(match detect(&head) {
            Some(Format::Gzip) => Self::Gzip(MultiGzDecoder::new(source)),
            Some(Format::Bzip2) => Self::Bzip2(MultiBzDecoder::new(source)),
            Some(Format::Xz) => {
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
                Self::Xz(XzDecoder::new_stream(source, stream))
            }
            Some(Format::Zstd) => {
                let mut decoder = zstd::Decoder::with_buffer(source)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Self::Zstd(decoder)
            }
            Some(Format::Tar) | None => Self::Plain(source),
        })
    }

    fn source(&mut self) -> &mut Source<'a> {
        match self {
            Self::Plain(source) => source,
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Bzip2(decoder) => decoder.get_mut(),
            Self::Xz(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.get_mut(),
        }
    }
}

/// The first bytes of a source: as many as its buffer got at once, which is all [`detect()`] needs of compressed data.
fn peek(source: &mut impl BufRead) -> io::Result<Vec<u8>> {
    loop {
        match source.fill_buf() {
            Ok(head) => return Ok(head[..head.len().min(BLOCK)].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self {
            Self::Plain(source) => source.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Bzip2(decoder) => decoder.read(buffer),
            Self::Xz(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }?;
        if read == 0 && !buffer.is_empty() && !self.source().fill_buf()?.is_empty() {
            return Err(Error::new(ErrorKind::Corrupt, "bytes follow the end of the compressed data").into());
        }
        Ok(read)
    }
}

/// Reads what `reader` holds, decompressed by its magic; anything unknown is passed on as it is.
pub fn decompress<'a>(reader: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>> {
    decompress_within(reader, Limits::default())
}

/// [`decompress`] with limits of the caller's.
pub fn decompress_within<'a>(reader: impl Read + Send + 'a, limits: Limits) -> Result<Box<dyn Read + Send + 'a>> {
    Ok(Box::new(limited(Box::new(reader), limits)?))
}

fn limited<'a>(reader: Box<dyn Read + Send + 'a>, limits: Limits) -> Result<Limited<Decoder<'a>>> {
    let (counted, count) = Counted::new(Chunks { inner: reader, pending: None });
    let source: Source<'a> = BufReader::with_capacity(BUFFER, Box::new(counted));
    let decoder = Decoder::new(source).map_err(|error| Error::io("cannot read the compressed data", error))?;
    Ok(Limited::new(decoder, count, limits))
}

/// Fills each read as far as the source goes: the magic must not be split by a source that gives a byte at a time.
struct Chunks<'a> {
    inner: Box<dyn Read + Send + 'a>,
    /// An error met behind bytes that are delivered first.
    pending: Option<io::Error>,
}

impl Read for Chunks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.pending.take() {
            return Err(error);
        }
        let wanted = buffer.len().min(BLOCK);
        let mut filled = 0;
        while filled < wanted {
            match self.inner.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if filled > 0 => {
                    self.pending = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// The tar of a layer. Fails at its end, never later, unless the blob is the one its descriptor names and the tar is the
/// one the image config names.
pub struct LayerReader<'a> {
    inner: VerifyReader<Limited<Decoder<'a>>>,
}

impl fmt::Debug for LayerReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerReader").finish_non_exhaustive()
    }
}

impl<'a> LayerReader<'a> {
    /// Reads the blob `descriptor` from `raw`, whose tar has the digest `diff_id`.
    pub fn new(raw: impl Read + Send + 'a, descriptor: &Descriptor, diff_id: &Digest) -> Result<Self> {
        Self::with_limits(raw, descriptor, diff_id, Limits::default())
    }

    /// [`LayerReader::new`] with limits of the caller's: blobs this program made itself may hold any ratio.
    pub fn with_limits(
        raw: impl Read + Send + 'a,
        descriptor: &Descriptor,
        diff_id: &Digest,
        limits: Limits,
    ) -> Result<Self> {
        let blob = VerifyReader::new(raw, descriptor.digest.clone(), Some(descriptor.size));
        let tar = limited(Box::new(blob), limits)?;
        Ok(Self { inner: VerifyReader::new(tar, diff_id.clone(), None) })
    }
}

impl Read for LayerReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer)
    }
}
