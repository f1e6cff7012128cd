//! Reads a tar stream entry by entry: every dialect in use, extended headers applied, names made clean.
//!
//! Where two headers of one entry disagree the archive is refused, so that no two readers see different files.
//! Does not know whiteouts (see [`super::parse_whiteout`]) nor what a link resolves to.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};

use super::header::{Dialect, Header};
use super::pax::{self, Records};
use super::sparse::{Expansion, Map};
use super::{BLOCK, PATH_LIMIT, invalid, padding, path, too_large};
use crate::{Entry, EntryKind, Error, Mtime, Result};

/// Entries of one archive; the largest images have some 10^6 files.
const ENTRIES_LIMIT: u64 = 10_000_000;

/// What a global header may set. Attributes for a whole archive are written by nobody, and would be copied to every entry.
const GLOBAL: [&[u8]; 3] = [b"mtime", b"uid", b"gid"];

/// Bytes taken from the source at once; headers are small and many.
const BUFFER: usize = 128 << 10;

/// Extended headers one entry may have: a PAX header, a long name and a long link.
const EXTENDED_LIMIT: usize = 3;

/// A tar stream. After [`TarReader::next_entry`] the reader itself yields the data of that entry.
#[derive(Debug)]
pub struct TarReader<R> {
    inner: BufReader<R>,
    /// Bytes taken from `inner`.
    offset: u64,
    /// Bytes of the current entry still in the stream.
    left: u64,
    /// Filler after them.
    padding: u64,
    sparse: Option<Expansion>,
    global: BTreeMap<Vec<u8>, Vec<u8>>,
    entries: u64,
    ended: bool,
}

/// Extended headers collected for the next entry.
#[derive(Debug, Default)]
struct Extended {
    pax: Option<Records>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: Read> TarReader<R> {
    /// Reads a tar from `inner`, which need not be buffered.
    pub fn new(inner: R) -> Self {
        Self {
            inner: BufReader::with_capacity(BUFFER, inner),
            offset: 0,
            left: 0,
            padding: 0,
            sparse: None,
            global: BTreeMap::new(),
            entries: 0,
            ended: false,
        }
    }

    /// The next entry, skipping what is unread of the current one; `None` at the end of the archive.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut extended = Extended::default();
        loop {
            self.skip_rest()?;
            let Some(header) = self.read_header()? else {
                return match extended.count() {
                    0 => Ok(None),
                    _ => Err(invalid("an extended header at the end describes no entry")),
                };
            };
            if !self.take_extended(&header, &mut extended)? {
                return self.entry(&header, extended).map(Some);
            }
        }
    }

    /// Reads the stream to its end, so that whoever verifies it sees all of it, and gives the source back.
    pub fn finish(mut self) -> Result<R> {
        io::copy(&mut self.inner, &mut io::sink()).map_err(broken)?;
        Ok(self.inner.into_inner())
    }

    /// Offset in the stream of the next byte, and whether the data of the current entry lies there as it is.
    pub(crate) fn position(&self) -> (u64, bool) {
        (self.offset, self.sparse.is_none())
    }

    fn skip_rest(&mut self) -> Result<()> {
        let skip = self.left + self.padding;
        let skipped = io::copy(&mut (&mut self.inner).take(skip), &mut io::sink()).map_err(broken)?;
        self.offset += skipped;
        if skipped != skip {
            return Err(invalid("the archive ends inside an entry"));
        }
        (self.left, self.padding, self.sparse) = (0, 0, None);
        Ok(())
    }

    /// The next header block, or `None` at the end: a zero block or a clean end of file.
    fn read_header(&mut self) -> Result<Option<Header>> {
        if self.ended {
            return Ok(None);
        }
        let Some(block) = self.read_block()? else {
            self.ended = true;
            return Ok(None);
        };
        if block.iter().any(|byte| *byte != 0) {
            return Header::parse(block).map(Some);
        }
        self.ended = true;
        match self.read_block()? {
            Some(second) if second.iter().any(|byte| *byte != 0) => {
                Err(invalid("a single zero block is followed by more"))
            }
            _ => Ok(None),
        }
    }

    fn read_block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.inner.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(invalid("the archive ends inside a block")),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(error)),
            }
        }
        self.offset += BLOCK as u64;
        Ok(Some(block))
    }

    /// Consumes `header` if it is an extended one.
    fn take_extended(&mut self, header: &Header, extended: &mut Extended) -> Result<bool> {
        let again = match header.kind() {
            b'x' => extended.pax.replace(pax::parse(&self.read_special(header, pax::HEADER_LIMIT)?)?).is_some(),
            b'L' => extended.name.replace(self.read_name(header)?).is_some(),
            b'K' => extended.link.replace(self.read_name(header)?).is_some(),
            b'g' => {
                let records = pax::parse(&self.read_special(header, pax::HEADER_LIMIT)?)?;
                self.add_global(records)?;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        if again || extended.count() > EXTENDED_LIMIT {
            return Err(invalid("an entry has two extended headers of one kind"));
        }
        Ok(true)
    }

    fn add_global(&mut self, records: Records) -> Result<()> {
        for (key, value) in records {
            // Readers differ on these in a global header; a confused reader is a way in.
            if matches!(key.as_slice(), b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse.") {
                return Err(invalid(format!("a global header sets `{}`", String::from_utf8_lossy(&key))));
            }
            if GLOBAL.contains(&key.as_slice()) {
                self.global.insert(key, value);
            }
        }
        Ok(())
    }

    fn read_special(&mut self, header: &Header, limit: u64) -> Result<Vec<u8>> {
        let size = header.size()?;
        if size > limit {
            return Err(too_large(format!("an extended header has {size} bytes")));
        }
        (self.left, self.padding) = (size, padding(size));
        let mut text = Vec::new();
        self.read_to_end(&mut text).map_err(broken)?;
        Ok(text)
    }

    fn read_name(&mut self, header: &Header) -> Result<Vec<u8>> {
        let mut name = self.read_special(header, pax::HEADER_LIMIT)?;
        if let Some(end) = name.iter().position(|byte| *byte == 0) {
            name.truncate(end);
        }
        if name.len() > PATH_LIMIT {
            return Err(too_large(format!("a name is longer than {PATH_LIMIT} bytes")));
        }
        Ok(name)
    }

    fn entry(&mut self, header: &Header, extended: Extended) -> Result<Entry> {
        self.entries += 1;
        if self.entries > ENTRIES_LIMIT {
            return Err(too_large(format!("more than {ENTRIES_LIMIT} entries")));
        }
        let fields = Fields::new(header, extended, &self.global)?;
        let kind = self.kind(header, &fields)?;
        let path = path::clean(&fields.name)?;
        if path.as_os_str().is_empty() && kind != EntryKind::Dir {
            return Err(invalid("an entry that is no directory has no name"));
        }
        Ok(Entry {
            path,
            kind,
            mode: header.mode()?,
            uid: fields.id("uid", header.uid())?,
            gid: fields.id("gid", header.gid())?,
            mtime: fields.mtime(header)?,
            xattrs: fields.xattrs(),
        })
    }

    fn kind(&mut self, header: &Header, fields: &Fields) -> Result<EntryKind> {
        let size = fields.size(header)?;
        let kind = match header.kind() {
            // Before directories had a type of their own, a trailing slash said so.
            b'0' | 0 if fields.name.ends_with(b"/") => EntryKind::Dir,
            b'7' | b'S' if fields.name.ends_with(b"/") => {
                return Err(invalid(format!("the file `{}` has the name of a directory", fields.shown())));
            }
            b'0' | 0 | b'7' => return self.file(header, fields, size),
            b'S' if header.dialect == Dialect::Gnu => return self.file(header, fields, size),
            b'1' => EntryKind::Hardlink { target: fields.hardlink()? },
            b'2' => EntryKind::Symlink { target: path::link_target(&fields.link)? },
            b'3' => header.device().map(|(major, minor)| EntryKind::Char { major, minor })?,
            b'4' => header.device().map(|(major, minor)| EntryKind::Block { major, minor })?,
            b'5' => EntryKind::Dir,
            b'6' => EntryKind::Fifo,
            other => return Err(invalid(format!("`{}` has the unknown type `{}`", fields.shown(), other as char))),
        };
        if size != 0 {
            return Err(invalid(format!("`{}` is no file and yet has {size} bytes of data", fields.shown())));
        }
        Ok(kind)
    }

    fn file(&mut self, header: &Header, fields: &Fields, stored: u64) -> Result<EntryKind> {
        (self.left, self.padding) = (stored, padding(stored));
        let (map, size) = match fields.sparse(header)? {
            None => return Ok(EntryKind::File { size: stored }),
            Some(Sparse::Gnu) => self.gnu_map(header)?,
            Some(Sparse::Known(map, size)) => (map, size),
            Some(Sparse::InData(size)) => {
                let start = self.left;
                let map = Map::from_lines(|| self.map_line())?;
                self.skip_to_block(start)?;
                (map, size)
            }
        };
        self.sparse = Some(map.expand(size, self.left)?);
        Ok(EntryKind::File { size })
    }

    /// Old GNU: the map begins in the header and goes on in blocks that the size does not count.
    fn gnu_map(&mut self, header: &Header) -> Result<(Map, u64)> {
        let (slots, mut more, size) = header.gnu_sparse()?;
        let mut map = Map::default();
        map.push_slots(slots)?;
        while more {
            let block = self.read_block()?.ok_or_else(|| invalid("the archive ends inside a sparse map"))?;
            map.push_slots(&block[..504])?;
            more = block[504] != 0;
        }
        Ok((map, size))
    }

    fn map_line(&mut self) -> Result<u64> {
        let mut text = Vec::new();
        loop {
            let mut byte = [0];
            self.read_exact(&mut byte).map_err(broken)?;
            match byte[0] {
                b'\n' => return pax::decimal("sparse map", &text),
                byte if text.len() < 20 => text.push(byte),
                _ => return Err(invalid("a sparse map is not made of numbers")),
            }
        }
    }

    /// Skips what fills the last block of a map that lies at the head of the data.
    fn skip_to_block(&mut self, start: u64) -> Result<()> {
        let filler = padding(start - self.left);
        let skipped = io::copy(&mut self.by_ref().take(filler), &mut io::sink()).map_err(broken)?;
        if skipped != filler {
            return Err(invalid("a sparse map is cut off"));
        }
        Ok(())
    }
}

impl Extended {
    fn count(&self) -> usize {
        usize::from(self.pax.is_some()) + usize::from(self.name.is_some()) + usize::from(self.link.is_some())
    }
}

/// Data of the current entry; ends where the entry ends.
impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stored = Stored { inner: &mut self.inner, left: &mut self.left, offset: &mut self.offset };
        match &mut self.sparse {
            Some(sparse) => sparse.read(&mut stored, buffer),
            None => stored.read(buffer),
        }
    }
}

/// The bytes of an entry as they lie in the stream. Their early end is an error, not an end of file.
struct Stored<'a, R> {
    inner: &'a mut BufReader<R>,
    left: &'a mut u64,
    offset: &'a mut u64,
}

impl<R: Read> Read for Stored<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(*self.left).unwrap_or(usize::MAX).min(buffer.len());
        if length == 0 {
            return Ok(0);
        }
        let read = self.inner.read(&mut buffer[..length])?;
        if read == 0 {
            return Err(invalid("the archive ends inside an entry").into());
        }
        *self.left -= read as u64;
        *self.offset += read as u64;
        Ok(read)
    }
}

/// What the headers of one entry say together.
struct Fields {
    name: Vec<u8>,
    link: Vec<u8>,
    records: Records,
    values: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Where the map of a sparse file is.
enum Sparse {
    Gnu,
    Known(Map, u64),
    InData(u64),
}

impl Fields {
    fn new(header: &Header, extended: Extended, global: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<Self> {
        let records = extended.pax.unwrap_or_default();
        let values = merge(&records, global)?;
        let name = one("path", values.get(&b"path"[..]), extended.name)?.unwrap_or_else(|| header.path());
        let name = values.get(&b"GNU.sparse.name"[..]).cloned().unwrap_or(name);
        let link = one("linkpath", values.get(&b"linkpath"[..]), extended.link)?.unwrap_or_else(|| header.link());
        let fields = Self { name, link, records, values };
        fields.check_sparse(header)?;
        Ok(fields)
    }

    /// Records of a sparse file belong to a sparse file: readers that do not look for them would see another name.
    fn check_sparse(&self, header: &Header) -> Result<()> {
        let any = self.values.keys().any(|key| key.starts_with(b"GNU.sparse."));
        let format = self.value("GNU.sparse.major").is_some() || self.value("GNU.sparse.size").is_some();
        let file = matches!(header.kind(), b'0' | 0 | b'7') && !self.name.ends_with(b"/");
        if any && !(format && file) {
            return Err(invalid(format!("`{}` is half a sparse file", self.shown())));
        }
        Ok(())
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    fn value(&self, key: &str) -> Option<&[u8]> {
        self.values.get(key.as_bytes()).map(Vec::as_slice)
    }

    fn decimal(&self, key: &str) -> Result<Option<u64>> {
        self.value(key).map(|value| pax::decimal(key, value)).transpose()
    }

    /// Stored bytes: the PAX record wins, as in every reader that knows PAX (CVE-2025-62518 was one that forgot).
    fn size(&self, header: &Header) -> Result<u64> {
        let size = match self.decimal("size")? {
            Some(size) => size,
            None => header.size()?,
        };
        if size > i64::MAX as u64 - BLOCK as u64 {
            return Err(too_large(format!("`{}` has {size} bytes", self.shown())));
        }
        Ok(size)
    }

    fn id(&self, key: &str, header: Result<i64>) -> Result<u32> {
        let id = match self.decimal(key)? {
            Some(id) => i64::try_from(id).unwrap_or(i64::MAX),
            None => header?,
        };
        u32::try_from(id).map_err(|_| invalid(format!("`{}` has a {key} out of range", self.shown())))
    }

    fn mtime(&self, header: &Header) -> Result<Mtime> {
        match self.value("mtime") {
            Some(value) => pax::time(value),
            None => Ok(Mtime { secs: header.mtime()?, nanos: 0 }),
        }
    }

    fn xattrs(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let named = |(key, value): (&Vec<u8>, &Vec<u8>)| Some((key.strip_prefix(XATTR)?.to_vec(), value.clone()));
        self.values.iter().filter_map(named).filter(|(name, _)| !name.is_empty()).collect()
    }

    fn hardlink(&self) -> Result<std::path::PathBuf> {
        let target = path::clean(&self.link)?;
        if target.as_os_str().is_empty() {
            return Err(invalid(format!("the hard link `{}` has no target", self.shown())));
        }
        Ok(target)
    }

    fn sparse(&self, header: &Header) -> Result<Option<Sparse>> {
        let missing = || invalid(format!("the sparse file `{}` has no size", self.shown()));
        if header.kind() == b'S' {
            return Ok(Some(Sparse::Gnu));
        }
        if let Some(major) = self.decimal("GNU.sparse.major")? {
            if (major, self.decimal("GNU.sparse.minor")?) != (1, Some(0)) {
                return Err(invalid(format!("`{}` has an unknown sparse format", self.shown())));
            }
            return Ok(Some(Sparse::InData(self.decimal("GNU.sparse.realsize")?.ok_or_else(missing)?)));
        }
        let Some(size) = self.decimal("GNU.sparse.size")? else { return Ok(None) };
        let map = match self.value("GNU.sparse.map") {
            Some(list) => Map::from_list(list)?,
            None => Map::from_records(&self.records)?,
        };
        Ok(Some(Sparse::Known(map, size)))
    }
}

/// The keyword of an extended attribute, as star, GNU, bsdtar and Go write it.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// The records of one entry over those of the archive. An empty value takes a keyword back; an empty attribute is a value.
fn merge(records: &Records, global: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut own = BTreeMap::new();
    for (key, value) in records {
        let repeats = matches!(key.as_slice(), b"GNU.sparse.offset" | b"GNU.sparse.numbytes");
        if own.insert(key.clone(), value.clone()).is_some() && !repeats {
            return Err(invalid(format!("a PAX header sets `{}` twice", String::from_utf8_lossy(key))));
        }
    }
    let mut values = global.clone();
    values.extend(own);
    values.retain(|key, value| !value.is_empty() || key.starts_with(XATTR));
    Ok(values)
}

/// The one value two extended headers agree on.
fn one(key: &str, pax: Option<&Vec<u8>>, gnu: Option<Vec<u8>>) -> Result<Option<Vec<u8>>> {
    match (pax, gnu) {
        (Some(pax), Some(gnu)) if *pax != gnu => Err(invalid(format!("two headers of one entry give another `{key}`"))),
        (Some(pax), _) => Ok(Some(pax.clone())),
        (None, gnu) => Ok(gnu),
    }
}

/// An error of the source; one of ours inside keeps its kind and text.
fn broken(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(error) => Error::io("cannot read the archive", error),
    }
}
