//! Writes a tar stream whose bytes depend on nothing but the entries: ustar, with PAX records only where ustar cannot say it.
//!
//! The same choices as Go's `archive/tar` makes, so that layers look as other tools write them. No access times, no user names.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::header::seal;
use super::{BLOCK, invalid, padding, pax};
use crate::{Entry, EntryKind, Error, ErrorKind, Result};

/// A tar stream being written.
pub struct TarWriter<W> {
    inner: W,
    /// Data the current entry still owes.
    left: u64,
    padding: u64,
    buffer: Vec<u8>,
}

impl<W> fmt::Debug for TarWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TarWriter").field("left", &self.left).finish_non_exhaustive()
    }
}

/// Bytes copied at once from the data of an entry.
const BUFFER: usize = 256 << 10;

impl<W: Write> TarWriter<W> {
    /// Writes a tar to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, left: 0, padding: 0, buffer: Vec::new() }
    }

    /// Adds one entry with its data, which must have exactly the size the entry gives.
    pub fn append(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<()> {
        self.start(entry)?;
        self.buffer.resize(BUFFER, 0);
        loop {
            let read = match data.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::io(format!("cannot read `{}`", entry.path.display()), error)),
            };
            if read as u64 > self.left {
                return Err(changed(&entry.path));
            }
            self.inner.write_all(&self.buffer[..read]).map_err(unwritten)?;
            self.left -= read as u64;
        }
        if self.left != 0 {
            return Err(changed(&entry.path));
        }
        self.end()
    }

    /// Adds a regular file whose data is that of `file`, from its start; the kernel copies it where it can.
    pub fn append_file(&mut self, entry: &Entry, file: &File) -> Result<()> {
        self.start(entry)?;
        let copied = io::copy(&mut file.take(self.left), &mut self.inner).map_err(unwritten)?;
        self.left -= copied;
        if self.left != 0 {
            return Err(changed(&entry.path));
        }
        self.end()
    }

    /// Writes the headers of an entry; its data follows through [`Write`], then [`TarWriter::end`].
    pub fn start(&mut self, entry: &Entry) -> Result<()> {
        self.end()?;
        let mut header = Block::new(entry)?;
        if !header.records.is_empty() {
            let records = std::mem::take(&mut header.records);
            self.write_records(&entry.path, &records)?;
        }
        seal(&mut header.bytes);
        self.inner.write_all(&header.bytes).map_err(unwritten)?;
        if let EntryKind::File { size } = entry.kind {
            (self.left, self.padding) = (size, padding(size));
        }
        Ok(())
    }

    /// Ends the current entry; an error if it owes data.
    pub fn end(&mut self) -> Result<()> {
        if self.left != 0 {
            return Err(Error::new(ErrorKind::Corrupt, format!("an entry ends {} bytes early", self.left)));
        }
        let filler = [0; BLOCK];
        let length = std::mem::take(&mut self.padding) as usize;
        self.inner.write_all(&filler[..length]).map_err(unwritten)
    }

    /// Writes the end of the archive and gives the sink back.
    pub fn finish(mut self) -> Result<W> {
        self.end()?;
        self.inner.write_all(&[0; 2 * BLOCK]).map_err(unwritten)?;
        Ok(self.inner)
    }

    fn write_records(&mut self, path: &Path, records: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        let mut text = Vec::new();
        records.iter().for_each(|(key, value)| pax::push(&mut text, key, value));
        if text.len() as u64 > pax::HEADER_LIMIT {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("the attributes of `{}` do not fit a tar", path.display()),
            ));
        }
        let name =
            path.parent().unwrap_or(Path::new("")).join("PaxHeaders.0").join(path.file_name().unwrap_or_default());
        let mut block = [0; BLOCK];
        copy_ascii(&mut block[..100], name.as_os_str().as_bytes());
        for field in [100..108, 108..116, 116..124, 136..148] {
            octal(&mut block[field], 0);
        }
        octal(&mut block[124..136], text.len() as u64);
        block[156] = b'x';
        block[257..265].copy_from_slice(b"ustar\x0000");
        seal(&mut block);
        self.inner.write_all(&block).map_err(unwritten)?;
        text.resize(text.len() + padding(text.len() as u64) as usize, 0);
        self.inner.write_all(&text).map_err(unwritten)
    }
}

/// Data of the entry started last; more than its size is an error.
impl<W: Write> Write for TarWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(Error::new(ErrorKind::Corrupt, "an entry has more data than its size").into());
        }
        let written = self.inner.write(bytes)?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn changed(path: &Path) -> Error {
    Error::new(ErrorKind::Retry, format!("`{}` changed while it was read", path.display()))
}

fn unwritten(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(error) => Error::io("cannot write the archive", error),
    }
}

/// A header block and the records it needs beside it, sorted by keyword.
struct Block {
    bytes: [u8; BLOCK],
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Block {
    fn new(entry: &Entry) -> Result<Self> {
        let mut this = Self { bytes: [0; BLOCK], records: Vec::new() };
        octal(&mut this.bytes[100..108], u64::from(entry.mode & 0o7777));
        this.number("uid", 108..116, u64::from(entry.uid));
        this.number("gid", 116..124, u64::from(entry.gid));
        this.number("size", 124..136, if let EntryKind::File { size } = entry.kind { size } else { 0 });
        this.mtime(entry);
        this.bytes[257..265].copy_from_slice(b"ustar\x0000");
        this.kind(entry)?;
        this.path(entry)?;
        for (name, value) in &entry.xattrs {
            if name.is_empty() || name.contains(&b'=') || name.contains(&0) {
                return Err(invalid(format!("`{}` has an attribute whose name tar cannot hold", entry.path.display())));
            }
            this.record(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }
        this.records.sort();
        Ok(this)
    }

    fn record(&mut self, key: &[u8], value: &[u8]) {
        self.records.push((key.to_vec(), value.to_vec()));
    }

    /// A number in octal, or zero and a record beside it when it has too many digits.
    fn number(&mut self, key: &str, field: std::ops::Range<usize>, value: u64) {
        if !octal(&mut self.bytes[field.clone()], value) {
            octal(&mut self.bytes[field], 0);
            self.record(key.as_bytes(), value.to_string().as_bytes());
        }
    }

    fn mtime(&mut self, entry: &Entry) {
        let whole = u64::try_from(entry.mtime.secs).ok();
        let fits = whole.is_some_and(|secs| octal(&mut self.bytes[136..148], secs));
        if !fits {
            octal(&mut self.bytes[136..148], 0);
        }
        if !fits || entry.mtime.nanos != 0 {
            self.record(b"mtime", pax::time_text(entry.mtime).as_bytes());
        }
    }

    fn kind(&mut self, entry: &Entry) -> Result<()> {
        let (flag, link, device) = match &entry.kind {
            EntryKind::File { .. } => (b'0', None, (0, 0)),
            EntryKind::Hardlink { target } => (b'1', Some(target), (0, 0)),
            EntryKind::Symlink { target } => (b'2', Some(target), (0, 0)),
            EntryKind::Char { major, minor } => (b'3', None, (*major, *minor)),
            EntryKind::Block { major, minor } => (b'4', None, (*major, *minor)),
            EntryKind::Dir => (b'5', None, (0, 0)),
            EntryKind::Fifo => (b'6', None, (0, 0)),
        };
        self.bytes[156] = flag;
        if !octal(&mut self.bytes[329..337], device.0.into()) || !octal(&mut self.bytes[337..345], device.1.into()) {
            return Err(invalid(format!("the device numbers of `{}` do not fit a tar", entry.path.display())));
        }
        match link {
            Some(target) => self.link(target),
            None => Ok(()),
        }
    }

    fn link(&mut self, target: &Path) -> Result<()> {
        let target = target.as_os_str().as_bytes();
        if target.is_empty() || target.contains(&0) {
            return Err(invalid("a link target is empty or contains a NUL"));
        }
        copy_ascii(&mut self.bytes[157..257], target);
        if target.len() > 100 || !target.is_ascii() {
            self.record(b"linkpath", target);
        }
        Ok(())
    }

    fn path(&mut self, entry: &Entry) -> Result<()> {
        let mut path = entry.path.as_os_str().as_bytes().to_vec();
        if path.contains(&0) {
            return Err(invalid("a path contains a NUL"));
        }
        match (&entry.kind, path.is_empty()) {
            (EntryKind::Dir, true) => path = b"./".to_vec(),
            (_, true) => return Err(invalid("the root of a layer is not a directory")),
            (EntryKind::Dir, false) => path.push(b'/'),
            (_, false) => {}
        }
        if path.len() <= 100 && path.is_ascii() {
            copy_ascii(&mut self.bytes[..100], &path);
        } else if let Some((prefix, name)) = split(&path) {
            copy_ascii(&mut self.bytes[345..500], prefix);
            copy_ascii(&mut self.bytes[..100], name);
        } else {
            copy_ascii(&mut self.bytes[..100], &path);
            self.record(b"path", &path);
        }
        Ok(())
    }
}

/// ustar's prefix and name: cut at the last slash that leaves a prefix of at most 155 bytes.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if !path.is_ascii() || path.len() > 256 {
        return None;
    }
    let head = &path[..path.len().saturating_sub(1).min(156)];
    let slash = head.iter().rposition(|byte| *byte == b'/').filter(|slash| *slash > 0)?;
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    (name.len() <= 100 && prefix.len() <= 155).then_some((prefix, name))
}

/// Copies the ASCII part of a name, as much as fits: what a reader without PAX shows.
fn copy_ascii(field: &mut [u8], name: &[u8]) {
    field.iter_mut().zip(name.iter().filter(|byte| byte.is_ascii())).for_each(|(to, from)| *to = *from);
}

/// Writes `value` in octal with a closing NUL; false, and nothing written, when it does not fit.
fn octal(field: &mut [u8], value: u64) -> bool {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}\0");
    let fits = text.len() == field.len();
    if fits {
        field.copy_from_slice(text.as_bytes());
    }
    fits
}
