//! PAX extended headers (POSIX pax, "Extended Header"): `length keyword=value\n` records, framed by length alone.
//!
//! A value may hold any byte, newlines included; only the length says where it ends. Knows nothing of what keywords mean,
//! except how a time is written.

use super::{invalid, too_large};
use crate::{Mtime, Result};

/// Go's limit for a special header; attributes of one inode are below 64 KiB each.
pub(super) const HEADER_LIMIT: u64 = 1 << 20;

/// Keywords of one header. A file has a dozen, a PAX 0.0 sparse map has two a region.
const RECORDS_LIMIT: usize = 100_000;

/// Records in the order they are written.
pub(super) type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// Splits a header into records.
pub(super) fn parse(mut text: &[u8]) -> Result<Records> {
    let mut records = Records::new();
    while !text.is_empty() {
        let (record, rest) = split_record(text)?;
        if records.len() == RECORDS_LIMIT {
            return Err(too_large(format!("a PAX header has more than {RECORDS_LIMIT} records")));
        }
        records.push(record);
        text = rest;
    }
    Ok(records)
}

type Split<'a> = ((Vec<u8>, Vec<u8>), &'a [u8]);

fn split_record(text: &[u8]) -> Result<Split<'_>> {
    let bad = || invalid("a PAX record is malformed");
    let space = text.iter().take(8).position(|byte| *byte == b' ').ok_or_else(bad)?;
    let digits = &text[..space];
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(bad());
    }
    let length = digits.iter().fold(0usize, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    if length <= space + 1 || length > text.len() {
        return Err(bad());
    }
    let (record, rest) = text.split_at(length);
    let body = record[space + 1..].strip_suffix(b"\n").ok_or_else(bad)?;
    let equals = body.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
    let (key, value) = (&body[..equals], &body[equals + 1..]);
    if key.is_empty() || key.contains(&0) {
        return Err(bad());
    }
    Ok(((key.to_vec(), value.to_vec()), rest))
}

/// Appends one record.
pub(super) fn push(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let bare = key.len() + value.len() + 3;
    let mut length = bare + 1;
    // The length counts its own digits.
    while length != bare + length.to_string().len() {
        length = bare + length.to_string().len();
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// A decimal number of a record.
pub(super) fn decimal(key: &str, value: &[u8]) -> Result<u64> {
    std::str::from_utf8(value)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| invalid(format!("the PAX record `{key}` is not a number")))
}

/// `[-]seconds[.fraction]`; digits past nanoseconds are cut off.
pub(super) fn time(value: &[u8]) -> Result<Mtime> {
    let bad = || invalid("a PAX time is not a number");
    let text = std::str::from_utf8(value).map_err(|_| bad())?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let secs: i64 = whole.parse().map_err(|_| bad())?;
    let nanos = fraction.bytes().chain(std::iter::repeat(b'0')).take(9).fold(0, |n, d| n * 10 + u32::from(d - b'0'));
    Ok(match (negative, nanos) {
        (false, nanos) => Mtime { secs, nanos },
        (true, 0) => Mtime { secs: -secs, nanos: 0 },
        (true, nanos) => Mtime { secs: -secs - 1, nanos: 1_000_000_000 - nanos },
    })
}

/// The shortest text [`time()`] reads back.
pub(super) fn time_text(time: Mtime) -> String {
    let (sign, secs, nanos) = match (time.secs < 0, time.nanos) {
        (true, nanos) if nanos > 0 => ("-", (time.secs + 1).unsigned_abs(), 1_000_000_000 - nanos),
        (true, _) => ("-", time.secs.unsigned_abs(), 0),
        (false, nanos) => ("", time.secs.unsigned_abs(), nanos),
    };
    if nanos == 0 {
        return format!("{sign}{secs}");
    }
    format!("{sign}{secs}.{nanos:09}").trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_any_value() {
        let cases: [&[u8]; 5] = [b"", b"\n", b"a=b\n12 path=x\n", &[0, 1, 0x0a, 0xff], &[b'x'; 989]];
        for value in cases {
            let mut text = Vec::new();
            push(&mut text, b"SCHILY.xattr.user.a", value);
            push(&mut text, b"path", b"p");
            let records = parse(&text).unwrap();
            assert_eq!(records.len(), 2);
            assert_eq!(records[0].1, value);
        }
    }

    #[test]
    fn refuses_bad_frames() {
        for text in
            ["", "x", "5 a=b\n", "6 ab\n", "99 a=b\n", "07a a=b\n", " 6 a=b\n", "6 =ab\n", "-6 a=b\n", "0 a=b\n"]
        {
            assert_eq!(parse(text.as_bytes()).is_err(), !text.is_empty(), "{text:?}");
        }
    }

    #[test]
    fn times_round_trip() {
        for (text, secs, nanos) in [
            ("0", 0, 0),
            ("1.5", 1, 500_000_000),
            ("-1.5", -2, 500_000_000),
            ("-0.000000001", -1, 999_999_999),
            ("-7", -7, 0),
            ("1700000000.123456789", 1_700_000_000, 123_456_789),
        ] {
            let value = Mtime { secs, nanos };
            assert_eq!(time(text.as_bytes()).unwrap(), value, "{text}");
            assert_eq!(time_text(value), text);
        }
        for text in ["", "-", ".5", "1e3", "1.2.3", "99999999999999999999", "+1"] {
            assert!(time(text.as_bytes()).is_err(), "{text}");
        }
    }
}
