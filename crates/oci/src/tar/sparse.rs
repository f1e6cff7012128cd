//! Sparse files in their four encodings, read back as the full content they stand for.
//!
//! Knows nothing of holes on a disk: whoever writes the content decides how.

use std::io::{self, Read};

use super::header::number;
use super::pax::{Records, decimal};
use super::{invalid, too_large};
use crate::Result;

/// Regions of one file: 16 MiB of map. More would be a memory bomb (CVE-2025-58183).
const REGIONS_LIMIT: usize = 1_000_000;

/// Expanded size of one sparse file. A few bytes of map can claim 2^63; no layer writer in use makes one near this.
const EXPANDED_LIMIT: u64 = 1 << 36;

/// One stretch of stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Region {
    offset: u64,
    length: u64,
}

/// Where the stored bytes lie in the file.
#[derive(Debug, Default)]
pub(super) struct Map {
    regions: Vec<Region>,
}

impl Map {
    fn push(&mut self, offset: u64, length: u64) -> Result<()> {
        if self.regions.len() == REGIONS_LIMIT {
            return Err(too_large(format!("a sparse file has more than {REGIONS_LIMIT} regions")));
        }
        self.regions.push(Region { offset, length });
        Ok(())
    }

    /// Old GNU: slots of two twelve-byte numbers; an empty slot ends the block. Returns whether all slots were used.
    pub(super) fn push_slots(&mut self, slots: &[u8]) -> Result<()> {
        for slot in slots.chunks_exact(24) {
            if slot[0] == 0 && slot[12] == 0 {
                break;
            }
            let part = |field: &[u8]| {
                number(field)
                    .and_then(|n| u64::try_from(n).ok())
                    .ok_or_else(|| invalid("a sparse map is not made of numbers"))
            };
            self.push(part(&slot[..12])?, part(&slot[12..])?)?;
        }
        Ok(())
    }

    /// PAX 0.1: `offset,length,offset,length`.
    pub(super) fn from_list(list: &[u8]) -> Result<Self> {
        let mut map = Self::default();
        if list.is_empty() {
            return Ok(map);
        }
        let mut numbers = list.split(|byte| *byte == b',');
        while let Some(offset) = numbers.next() {
            let length = numbers.next().ok_or_else(|| invalid("a sparse map has an odd count of numbers"))?;
            map.push(decimal("GNU.sparse.map", offset)?, decimal("GNU.sparse.map", length)?)?;
        }
        Ok(map)
    }

    /// PAX 0.0: repeated `GNU.sparse.offset` and `GNU.sparse.numbytes` records.
    pub(super) fn from_records(records: &Records) -> Result<Self> {
        let mut map = Self::default();
        let mut offset = None;
        for (key, value) in records {
            match (key.as_slice(), offset.take()) {
                (b"GNU.sparse.offset", None) => offset = Some(decimal("GNU.sparse.offset", value)?),
                (b"GNU.sparse.numbytes", Some(start)) => map.push(start, decimal("GNU.sparse.numbytes", value)?)?,
                (b"GNU.sparse.offset" | b"GNU.sparse.numbytes", _) => {
                    return Err(invalid("a sparse map does not alternate offsets and lengths"));
                }
                (_, pending) => offset = pending,
            }
        }
        if offset.is_some() {
            return Err(invalid("a sparse map ends with an offset"));
        }
        Ok(map)
    }

    /// PAX 1.0: a count and pairs of numbers, one a line, at the head of the data. `line` reads the next one.
    pub(super) fn from_lines(mut line: impl FnMut() -> Result<u64>) -> Result<Self> {
        let count = line()?;
        if count > REGIONS_LIMIT as u64 {
            return Err(too_large(format!("a sparse file has more than {REGIONS_LIMIT} regions")));
        }
        let mut map = Self::default();
        for _ in 0..count {
            let offset = line()?;
            map.push(offset, line()?)?;
        }
        Ok(map)
    }

    /// Checks the map against the size of the file and of the stored bytes, and makes it readable.
    pub(super) fn expand(self, size: u64, stored: u64) -> Result<Expansion> {
        if size > EXPANDED_LIMIT {
            return Err(too_large(format!("a sparse file expands to {size} bytes")));
        }
        let mut end = 0;
        let mut sum = 0u64;
        for region in &self.regions {
            if region.offset < end {
                return Err(invalid("the regions of a sparse file overlap"));
            }
            end = region.offset.checked_add(region.length).ok_or_else(|| invalid("a sparse region is too long"))?;
            sum = sum.saturating_add(region.length);
        }
        if end > size || sum != stored {
            return Err(invalid("a sparse map does not fit its file"));
        }
        Ok(Expansion { regions: self.regions.into_iter(), current: None, position: 0, size })
    }
}

/// A place in the content of a sparse file.
#[derive(Debug)]
pub(super) struct Expansion {
    regions: std::vec::IntoIter<Region>,
    current: Option<Region>,
    position: u64,
    size: u64,
}

impl Expansion {
    /// Reads content: zeros between regions, stored bytes inside them.
    pub(super) fn read(&mut self, stored: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
        let position = self.position;
        while self.current.is_none_or(|region| region.offset + region.length <= position) {
            match self.regions.next() {
                Some(region) => self.current = Some(region),
                None => break,
            }
        }
        let region = self.current.filter(|region| region.offset + region.length > position);
        let (in_hole, until) = match region {
            Some(region) if region.offset <= position => (false, region.offset + region.length),
            Some(region) => (true, region.offset),
            None => (true, self.size),
        };
        let length = usize::try_from(until - position).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..length];
        let read = if in_hole {
            buffer.fill(0);
            length
        } else {
            stored.read(buffer)?
        };
        self.position += read as u64;
        Ok(read)
    }
}
