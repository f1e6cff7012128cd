//! Times and counts in the flags of HEALTHCHECK, in Go's notation (`1h30m`, `1.5s`, `300ms`).
//!
//! Does not know what they are for.

use crate::Diagnostic;
use crate::ast::{Flag, Word};

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];
/// Shorter ones than this are refused; 0 means the default.
const SHORTEST: i64 = 1_000_000;

/// The value of a time flag in nanoseconds; absent or empty is 0.
pub(super) fn flag(flags: &[Flag], name: &str) -> Result<i64, Diagnostic> {
    let Some(value) = value(flags, name) else { return Ok(0) };
    let nanoseconds = parse(&value.text).ok_or_else(|| {
        Diagnostic::error(value.span, format!("`{}` is not a duration", value.text))
            .with_hint("write a number and a unit, such as `30s`, `1m30s` or `500ms`")
    })?;
    if nanoseconds != 0 && nanoseconds < SHORTEST {
        let message = format!("`--{name}` is `{}`, but must be 0 or at least 1ms", value.text);
        return Err(Diagnostic::error(value.span, message));
    }
    Ok(nanoseconds)
}

/// The value of `--retries`; absent or empty is 0.
pub(super) fn retries(flags: &[Flag]) -> Result<i64, Diagnostic> {
    let Some(value) = value(flags, "retries") else { return Ok(0) };
    let count = value.text.parse::<i32>().ok().filter(|count| *count >= 0).ok_or_else(|| {
        Diagnostic::error(value.span, format!("`--retries` is a count, not `{}`", value.text))
            .with_hint("write a whole number, 0 for the default")
    })?;
    Ok(i64::from(count))
}

fn value<'a>(flags: &'a [Flag], name: &str) -> Option<&'a Word> {
    let flag = flags.iter().find(|flag| flag.name.text == name)?;
    flag.value.as_ref().filter(|value| !value.text.is_empty())
}

fn parse(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned == "0" {
        return Some(0);
    }
    let mut rest = unsigned;
    let mut total = 0i64;
    while !rest.is_empty() {
        let (nanoseconds, after) = one(rest)?;
        total = total.checked_add(nanoseconds)?;
        rest = after;
    }
    match (unsigned.is_empty(), text.starts_with('-')) {
        (true, _) => None,
        (_, true) => total.checked_neg(),
        _ => Some(total),
    }
}

/// A number and its unit, and what follows.
fn one(text: &str) -> Option<(i64, &str)> {
    let number_end = text.find(|ch: char| !ch.is_ascii_digit() && ch != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(number_end)?;
    let unit_end = rest.find(|ch: char| ch.is_ascii_digit() || ch == '.').unwrap_or(rest.len());
    let (unit, rest) = rest.split_at_checked(unit_end)?;
    let scale = UNITS.iter().find(|(name, _)| *name == unit)?.1;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    let nanoseconds = whole.checked_mul(scale)?.checked_add(fraction_of(fraction, scale))?;
    Some((i64::try_from(nanoseconds).ok()?, rest))
}

/// Digits after the point times the scale, rounded down.
fn fraction_of(digits: &str, scale: u64) -> u64 {
    let (mut value, mut part) = (0u128, u128::from(scale) * 1_000_000_000_000_000_000);
    for digit in digits.bytes().take(18) {
        part /= 10;
        value += part * u128::from(digit - b'0');
    }
    u64::try_from(value / 1_000_000_000_000_000_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_go_durations() {
        for (text, expect) in [
            ("30s", Some(30_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            (".5s", Some(500_000_000)),
            ("1h", Some(3_600_000_000_000)),
            ("300us", Some(300_000)),
            ("0", Some(0)),
            ("-1s", Some(-1_000_000_000)),
            ("1", None),
            ("", None),
            ("s", None),
            (".s", None),
            ("1.2.3s", None),
            ("1d", None),
            ("9999999999h", None),
            ("1s ", None),
        ] {
            assert_eq!(parse(text), expect, "{text}");
        }
    }
}
