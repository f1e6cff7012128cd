//! The 512-byte header block in its four dialects: v7, ustar, star and old GNU.
//!
//! Knows nothing of extended headers, which may override what a block says.

use super::{BLOCK, invalid};
use crate::Result;

/// Which dialect a block is written in: it decides what the bytes after offset 257 mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    V7,
    Ustar,
    Star,
    Gnu,
}

/// A header block whose checksum is right.
#[derive(Clone)]
pub(super) struct Header {
    block: [u8; BLOCK],
    pub(super) dialect: Dialect,
}

impl Header {
    /// Checks the checksum and finds the dialect.
    pub(super) fn parse(block: [u8; BLOCK]) -> Result<Self> {
        let stored = number(&block[148..156]).ok_or_else(|| invalid("the checksum of a header is not a number"))?;
        let (unsigned, signed) = checksums(&block);
        // Some old writers summed signed characters; every reader accepts both.
        if stored != unsigned && stored != signed {
            return Err(invalid("the checksum of a header is wrong"));
        }
        let dialect = match &block[257..265] {
            b"ustar  \0" => Dialect::Gnu,
            magic if magic.starts_with(b"ustar\0") && &block[508..512] == b"tar\0" => Dialect::Star,
            magic if magic.starts_with(b"ustar\0") => Dialect::Ustar,
            _ => Dialect::V7,
        };
        let header = Self { block, dialect };
        header.check_numbers()?;
        Ok(header)
    }

    /// Go refuses a header with any field that is no number, even one that something else overrides; so do we, that no
    /// archive looks right here and broken elsewhere.
    fn check_numbers(&self) -> Result<()> {
        self.mode()?;
        self.uid()?;
        self.gid()?;
        self.size()?;
        self.mtime()?;
        if self.dialect == Dialect::V7 { Ok(()) } else { self.device().map(drop) }
    }

    pub(super) fn kind(&self) -> u8 {
        self.block[156]
    }

    /// Name with the prefix of the dialects that have one.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = until_nul(&self.block[0..100]);
        let prefix = match self.dialect {
            Dialect::Ustar => until_nul(&self.block[345..500]),
            Dialect::Star => until_nul(&self.block[345..476]),
            Dialect::V7 | Dialect::Gnu => &[],
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        until_nul(&self.block[157..257]).to_vec()
    }

    pub(super) fn mode(&self) -> Result<u32> {
        // Writers put the file type above the permission bits; the type flag is what counts.
        Ok((self.field("mode", 100..108)? & 0o7777) as u32)
    }

    pub(super) fn uid(&self) -> Result<i64> {
        self.field("uid", 108..116)
    }

    pub(super) fn gid(&self) -> Result<i64> {
        self.field("gid", 116..124)
    }

    pub(super) fn size(&self) -> Result<u64> {
        u64::try_from(self.field("size", 124..136)?).map_err(|_| invalid("a size is negative"))
    }

    pub(super) fn mtime(&self) -> Result<i64> {
        self.field("mtime", 136..148)
    }

    /// Device numbers; v7 has none.
    pub(super) fn device(&self) -> Result<(u32, u32)> {
        if self.dialect == Dialect::V7 {
            return Err(invalid("a device without device numbers"));
        }
        let part = |range| {
            u32::try_from(self.field("device number", range)?).map_err(|_| invalid("a device number is out of range"))
        };
        Ok((part(329..337)?, part(337..345)?))
    }

    /// Old GNU sparse: four map slots, whether more follow, and the real size.
    pub(super) fn gnu_sparse(&self) -> Result<(&[u8], bool, u64)> {
        let size = u64::try_from(self.field("real size", 483..495)?).map_err(|_| invalid("a size is negative"))?;
        Ok((&self.block[386..482], self.block[482] != 0, size))
    }

    fn field(&self, name: &str, range: std::ops::Range<usize>) -> Result<i64> {
        number(&self.block[range]).ok_or_else(|| invalid(format!("the {name} of a header is not a number")))
    }
}

/// The checksum of a block as unsigned and as signed characters, its own field counted as spaces.
fn checksums(block: &[u8; BLOCK]) -> (i64, i64) {
    let byte = |(at, byte): (usize, &u8)| if (148..156).contains(&at) { b' ' } else { *byte };
    let unsigned = block.iter().enumerate().map(|b| i64::from(byte(b))).sum();
    let signed = block.iter().enumerate().map(|b| i64::from(byte(b) as i8)).sum();
    (unsigned, signed)
}

/// Puts the checksum into a block that is otherwise complete.
pub(super) fn seal(block: &mut [u8; BLOCK]) {
    let (sum, _) = checksums(block);
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// `bytes` starts with a tar header: the checksum is right, and some of it is not zero.
pub(crate) fn is_header(bytes: &[u8]) -> bool {
    bytes
        .first_chunk::<BLOCK>()
        .is_some_and(|block| block.iter().any(|byte| *byte != 0) && Header::parse(*block).is_ok())
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number of a header: octal text between blanks, or GNU's base-256 when the top bit is set.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base256(field),
        _ => octal(field),
    }
}

fn octal(field: &[u8]) -> Option<i64> {
    let text = field.trim_ascii_start();
    let start = text.iter().position(|byte| *byte != 0).unwrap_or(text.len());
    let text = until_nul(&text[start..]).trim_ascii();
    text.iter().try_fold(0i64, |sum, byte| match byte {
        b'0'..=b'7' => sum.checked_mul(8).and_then(|sum| sum.checked_add(i64::from(byte - b'0'))),
        _ => None,
    })
}

/// Two's complement, big endian, without the marker bit.
fn base256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let first = i128::from(field[0] & 0x7f) | if negative { !0x7f } else { 0 };
    let value = field[1..]
        .iter()
        .try_fold(first, |sum, byte| sum.checked_mul(256).and_then(|sum| sum.checked_add(i128::from(*byte))))?;
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers() {
        for (field, expect) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"    644 ", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"00000008", None),
            (b"-0000001", None),
            (&[0x80, 0, 0, 0, 0xb2, 0xd0, 0x5e, 0], Some(3_000_000_000)),
            (&[0xff; 12], Some(-1)),
            (&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], None),
        ] {
            assert_eq!(number(field), expect, "{field:?}");
        }
    }
}
