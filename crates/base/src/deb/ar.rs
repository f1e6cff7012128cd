//! The ar container of a .deb (deb(5)): members in their order, each read once.
//!
//! Knows nothing of what the members hold.

use std::io::{self, Read};

use crate::{Error, ErrorKind, Result};

const MAGIC: &[u8] = b"!<arch>\n";

/// Bytes of a member's header.
const HEADER: usize = 60;

/// What every header ends with.
const HEADER_END: &[u8] = b"`\n";

/// An archive being read; reads yield the bytes of the current member.
#[derive(Debug)]
pub(super) struct Ar<R> {
    inner: R,
    /// Bytes of the current member not yet read.
    left: u64,
    /// One byte of filler follows an odd length.
    odd: bool,
}

impl<R: Read> Ar<R> {
    /// Reads the magic.
    pub(super) fn new(mut inner: R) -> Result<Self> {
        let mut magic = [0; MAGIC.len()];
        inner.read_exact(&mut magic).map_err(cut)?;
        match magic == MAGIC {
            true => Ok(Self { inner, left: 0, odd: false }),
            false => Err(invalid("it is not an ar archive")),
        }
    }

    /// Name and length of the next member; `None` at the end.
    pub(super) fn next_member(&mut self) -> Result<Option<(String, u64)>> {
        let rest = self.left + u64::from(self.odd);
        let skipped = io::copy(&mut (&mut self.inner).take(rest), &mut io::sink()).map_err(unreadable)?;
        // Some writers leave out the filler of the last member.
        if skipped < self.left {
            return Err(invalid("it ends within a member"));
        }
        (self.left, self.odd) = (0, false);
        let mut header = Vec::with_capacity(HEADER);
        (&mut self.inner).take(HEADER as u64).read_to_end(&mut header).map_err(unreadable)?;
        if header.is_empty() {
            return Ok(None);
        }
        let (name, size) = parse(&header).ok_or_else(|| invalid("a header of its ar archive is broken"))?;
        (self.left, self.odd) = (size, size % 2 == 1);
        Ok(Some((name, size)))
    }
}

impl<R: Read> Read for Ar<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&mut self.inner).take(self.left).read(buffer)?;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the package ends within a member"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// Name and size of a header: 16 bytes of name, then mtime, uid, gid, mode, 10 digits of size.
fn parse(header: &[u8]) -> Option<(String, u64)> {
    if header.len() != HEADER || !header.ends_with(HEADER_END) {
        return None;
    }
    let name = std::str::from_utf8(&header[..16]).ok()?.trim_end_matches(' ');
    let size = std::str::from_utf8(&header[48..58]).ok()?.trim_end_matches(' ');
    let digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit());
    let size = digits.then(|| size.parse().ok()).flatten()?;
    // dpkg's own archives have no slash there; those of ar(1) do.
    Some((name.strip_suffix('/').unwrap_or(name).to_owned(), size))
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::Invalid, what)
}

fn cut(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => invalid("it is too short for a package"),
        _ => unreadable(error),
    }
}

fn unreadable(error: io::Error) -> Error {
    cooper_oci::Error::io("it cannot be read", error).into()
}
