//! The file form of a listing: text in one zstd frame. Does not know where the file is.
//!
//! Bytes are specified in docs/design/layers.md.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use cooper_oci::{Entry, EntryKind, Mtime};

use super::{Listing, MAX_ENTRIES, Record, check_path};
use crate::{Error, ErrorKind, Result};

const HEAD: &str = "cooper-listing 1";
/// Bytes of the text: 10^7 entries with paths of ordinary length.
const MAX_TEXT: u64 = 4 << 30;
/// Level of compression: speed counts more than the few kilobytes.
const LEVEL: i32 = 1;

impl Listing {
    /// One inode a line, without head and sum.
    pub fn text(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.records.len() * 128);
        self.records.iter().for_each(|record| write_record(&mut out, record));
        for (tag, paths) in [(b'w', &self.removed), (b'o', &self.opaque)] {
            for path in paths {
                out.extend_from_slice(&[tag, b' ']);
                escape(&mut out, path.as_os_str().as_bytes());
                out.push(b'\n');
            }
        }
        out
    }

    /// The bytes of the file form.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let body = self.text();
        let chain = if self.needs_chain { " chain" } else { "" };
        let mut head = format!("{HEAD}{chain}\n").into_bytes();
        head.extend_from_slice(&body);
        let sum = blake3::hash(&head).to_hex();
        head.extend_from_slice(format!("sum {sum}\n").as_bytes());
        zstd::encode_all(&head[..], LEVEL).map_err(|error| Error::io("cannot compress a listing", error))
    }

    /// Reads the file form; anything but what [`Listing::encode`] writes is [`ErrorKind::Corrupt`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Self::decode_within(bytes, MAX_TEXT)
    }

    /// As [`Listing::decode`], for bytes from elsewhere: at most `limit` bytes of text.
    pub fn decode_within(bytes: &[u8], limit: u64) -> Result<Self> {
        let mut text = Vec::new();
        let decoder = zstd::Decoder::new(bytes).map_err(|_| corrupt("is not zstd"))?;
        decoder.take(limit.saturating_add(1)).read_to_end(&mut text).map_err(|_| corrupt("is not whole"))?;
        if text.len() as u64 > limit {
            return Err(corrupt("is too long"));
        }
        let body = checked(&text)?;
        let mut lines = body.split(|&byte| byte == b'\n');
        let needs_chain = match lines.next().and_then(|head| head.strip_prefix(HEAD.as_bytes())) {
            Some(b"") => false,
            Some(b" chain") => true,
            _ => return Err(corrupt("has another version")),
        };
        let mut listing = Self { needs_chain, ..Self::default() };
        for line in lines.filter(|line| !line.is_empty()) {
            read_line(&mut listing, line).ok_or_else(|| corrupt(&format!("has the line {}", line.escape_ascii())))?;
        }
        check_order(&listing)?;
        Ok(listing)
    }
}

fn corrupt(why: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the listing of a layer {why}"))
}

/// The text before its last line, whose sum must match.
fn checked(text: &[u8]) -> Result<&[u8]> {
    let (body, sum) = text
        .len()
        .checked_sub("sum \n".len() + 64)
        .and_then(|at| text.split_at_checked(at))
        .ok_or_else(|| corrupt("is too short"))?;
    let expected = format!("sum {}\n", blake3::hash(body).to_hex());
    if sum == expected.as_bytes() { Ok(body) } else { Err(corrupt("has a wrong sum")) }
}

/// Look-ups are binary searches: order is part of the format.
fn check_order(listing: &Listing) -> Result<()> {
    let sorted = listing.records.is_sorted_by(|a, b| a.path() < b.path())
        && listing.removed.is_sorted_by(|a, b| a < b)
        && listing.opaque.is_sorted_by(|a, b| a < b);
    if !sorted {
        return Err(corrupt("is not sorted"));
    }
    let paths = listing.records.iter().map(Record::path);
    paths.chain(listing.removed.iter().chain(&listing.opaque).map(PathBuf::as_path)).try_for_each(check_path)
}

fn write_record(out: &mut Vec<u8>, record: &Record) {
    let entry = &record.entry;
    let tag = match &entry.kind {
        EntryKind::File { .. } => 'f',
        EntryKind::Dir if record.implied => 'i',
        EntryKind::Dir => 'd',
        EntryKind::Symlink { .. } => 'l',
        EntryKind::Hardlink { .. } => 'h',
        EntryKind::Char { .. } => 'c',
        EntryKind::Block { .. } => 'b',
        EntryKind::Fifo => 'p',
    };
    let Mtime { secs, nanos } = entry.mtime;
    let _ = write!(out, "{tag} {:o} {} {} {secs}.{nanos:09} ", entry.mode, entry.uid, entry.gid);
    escape(out, entry.path.as_os_str().as_bytes());
    match &entry.kind {
        EntryKind::File { size } => {
            let _ = write!(out, " {size} ");
            match record.digest {
                Some(digest) => out.extend_from_slice(blake3::Hash::from(digest).to_hex().as_bytes()),
                None => out.push(b'-'),
            }
        }
        EntryKind::Symlink { target } | EntryKind::Hardlink { target } => {
            out.push(b' ');
            escape(out, target.as_os_str().as_bytes());
        }
        EntryKind::Char { major, minor } | EntryKind::Block { major, minor } => {
            let _ = write!(out, " {major}:{minor}");
        }
        EntryKind::Dir | EntryKind::Fifo => {}
    }
    for (name, value) in &entry.xattrs {
        out.push(b' ');
        escape(out, name);
        out.push(b'=');
        escape(out, value);
    }
    out.push(b'\n');
}

/// Escapes what would end a field. The empty text is `\-`, so that no field is empty.
fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.is_empty() {
        out.extend_from_slice(b"\\-");
    }
    for &byte in bytes {
        if byte <= b' ' || matches!(byte, b'\\' | b'=' | 0x7f) {
            let mut hex = String::with_capacity(4);
            let _ = write!(hex, "\\x{byte:02x}");
            out.extend_from_slice(hex.as_bytes());
        } else {
            out.push(byte);
        }
    }
}

fn unescape(mut field: &[u8]) -> Option<Vec<u8>> {
    if field == b"\\-" {
        return Some(Vec::new());
    }
    let mut out = Vec::with_capacity(field.len());
    while let Some((&byte, rest)) = field.split_first() {
        field = rest;
        if byte == b'\\' {
            let (hex, rest) = rest.strip_prefix(b"x")?.split_at_checked(2)?;
            out.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
            field = rest;
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

fn path(field: Option<&[u8]>) -> Option<PathBuf> {
    unescape(field?).map(|bytes| PathBuf::from(OsString::from_vec(bytes)))
}

fn number<T: std::str::FromStr>(field: Option<&[u8]>) -> Option<T> {
    std::str::from_utf8(field?).ok()?.parse().ok()
}

fn read_line(listing: &mut Listing, line: &[u8]) -> Option<()> {
    let mut fields = line.split(|&byte| byte == b' ');
    let tag = fields.next()?;
    match tag {
        b"w" => listing.removed.push(path(fields.next())?),
        b"o" => listing.opaque.push(path(fields.next())?),
        _ if listing.records.len() >= MAX_ENTRIES => return None,
        _ => listing.records.push(read_record(tag, fields)?),
    }
    Some(())
}

fn read_record<'a>(tag: &[u8], mut fields: impl Iterator<Item = &'a [u8]>) -> Option<Record> {
    let mode = u32::from_str_radix(std::str::from_utf8(fields.next()?).ok()?, 8).ok()?;
    let (uid, gid) = (number(fields.next())?, number(fields.next())?);
    let mtime = read_mtime(fields.next()?)?;
    let path_field = path(fields.next())?;
    let mut digest = None;
    let kind = match tag {
        b"f" => {
            let size = number(fields.next())?;
            digest = read_digest(fields.next()?)?;
            EntryKind::File { size }
        }
        b"d" | b"i" => EntryKind::Dir,
        b"l" => EntryKind::Symlink { target: path(fields.next())? },
        b"h" => EntryKind::Hardlink { target: path(fields.next())? },
        b"c" | b"b" => read_device(tag, fields.next()?)?,
        b"p" => EntryKind::Fifo,
        _ => return None,
    };
    let xattrs = fields.map(read_xattr).collect::<Option<BTreeMap<_, _>>>()?;
    let entry = Entry { path: path_field, kind, mode, uid, gid, mtime, xattrs };
    Some(Record { entry, digest, implied: tag == b"i" })
}

fn read_mtime(field: &[u8]) -> Option<Mtime> {
    let (secs, nanos) = std::str::from_utf8(field).ok()?.split_once('.')?;
    let nanos = nanos.parse().ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Mtime { secs: secs.parse().ok()?, nanos })
}

fn read_digest(field: &[u8]) -> Option<Option<[u8; 32]>> {
    match field {
        b"-" => Some(None),
        hex => blake3::Hash::from_hex(hex).ok().map(|hash| Some(hash.into())),
    }
}

fn read_device(tag: &[u8], field: &[u8]) -> Option<EntryKind> {
    let (major, minor) = std::str::from_utf8(field).ok()?.split_once(':')?;
    let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
    Some(if tag == b"c" { EntryKind::Char { major, minor } } else { EntryKind::Block { major, minor } })
}

fn read_xattr(field: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let at = field.iter().position(|&byte| byte == b'=')?;
    Some((unescape(&field[..at])?, unescape(&field[at + 1..])?))
}

/// Writes the file form to a new file.
pub(crate) fn write_file(listing: &Listing, path: &Path) -> Result<()> {
    let bytes = listing.encode()?;
    let mut file = std::fs::File::create_new(path).map_err(|error| Error::at("create", path, error))?;
    file.write_all(&bytes).map_err(|error| Error::at("write", path, error))
}

/// Reads the file form.
pub(crate) fn read_file(path: &Path) -> Result<Listing> {
    let bytes = std::fs::read(path).map_err(|error| Error::at("read", path, error))?;
    Listing::decode(&bytes)
}
