//! Numbers and tables as people read them: sizes, ages, times, columns.
//!
//! Knows nothing of what the values mean.

use std::time::Duration;

use unicode_width::UnicodeWidthStr;

/// Size in docker's decimal units, three significant digits: `1.24GB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 99.95 { 0 } else { if value >= 9.995 { 1 } else { 2 } };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", UNITS[unit])
}

/// Reads a size as docker writes it: `512`, `20kB`, `1.5GB`, `2g`, `1GiB`.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let unit = unit.trim().to_ascii_lowercase();
    let (prefix, binary) = match unit.strip_suffix("ib") {
        Some(prefix) => (prefix, true),
        None => (unit.strip_suffix('b').unwrap_or(&unit), false),
    };
    let power = match prefix {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let bytes = number * if binary { 1024f64 } else { 1000f64 }.powi(power);
    (bytes.is_finite() && bytes <= u64::MAX as f64).then_some(bytes as u64)
}

/// Reads a duration as Go writes it (`24h`, `1h30m`, `90s`, `500ms`), with `d` and `w` besides.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let mut total = 0f64;
    let mut rest = text;
    while !rest.is_empty() {
        let split = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest.get(..split)?.parse().ok()?;
        rest = rest.get(split..)?;
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (unit, after) = rest.split_at(end);
        total += number
            * match unit {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                "w" => 604_800.0,
                _ => return None,
            };
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(total).ok())?
}

/// Age in docker's words: `3 hours`.
pub(crate) fn age(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (count, unit) = match seconds {
        0 => return "less than a second".into(),
        1..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => (seconds / 3600, "hour"),
        172_800..1_209_600 => (seconds / 86_400, "day"),
        1_209_600..5_184_000 => (seconds / 604_800, "week"),
        5_184_000..63_072_000 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    match (count, unit) {
        (1, "minute") => "about a minute".into(),
        (1, "hour") => "about an hour".into(),
        (1, _) => format!("1 {unit}"),
        _ => format!("{count} {unit}s"),
    }
}

/// Age of a moment, both in seconds since 1970, as tables show it.
pub(crate) fn ago(then: Option<i64>, now: i64) -> String {
    then.map_or_else(|| "N/A".to_owned(), |then| format!("{} ago", age(now.saturating_sub(then))))
}

/// A number of things: `1 file`, `2 files`.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Seconds with one decimal: `3.2s`.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

/// Cuts a text to at most `width` columns, ending in an ellipsis if something was lost.
pub(crate) fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let columns = unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
        if used + columns + 1 > width {
            break;
        }
        used += columns;
        out.push(c);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// A table with docker's three spaces between columns; the last column is not padded.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let mut out = table_line(head.iter().copied(), &widths);
    for row in rows {
        out.push_str(&table_line(row.iter().map(String::as_str), &widths));
    }
    out
}

fn table_line<'a>(cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
    let mut out = String::new();
    for (cell, width) in cells.zip(widths) {
        out.push_str(cell);
        out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width()) + 3));
    }
    let mut line = out.trim_end().to_owned();
    line.push('\n');
    line
}

/// RFC 3339 to seconds since 1970.
pub(crate) fn parse_date(text: &str) -> Option<i64> {
    let format = &time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::parse(text, format).ok().map(time::OffsetDateTime::unix_timestamp)
}

/// Seconds since 1970 to RFC 3339.
pub(crate) fn date(seconds: i64) -> String {
    let format = &time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|t| t.format(format).ok()).unwrap_or_default()
}

/// The time.
#[expect(clippy::disallowed_methods, reason = "the command line is where time enters the program")]
pub(crate) fn system_time() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

/// Seconds since 1970 now.
pub(crate) fn now() -> i64 {
    let since = system_time().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_many() {
        assert_eq!([0, 1, 2].map(|n| counted(n, "file")), ["0 files", "1 file", "2 files"]);
    }

    #[test]
    fn sizes() {
        for (bytes, expect) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.23kB"),
            (12_345, "12.3kB"),
            (123_456, "123kB"),
            (999_999, "1MB"),
            (7_800_000, "7.8MB"),
            (1_240_000_000, "1.24GB"),
            (u64::MAX, "18447PB"),
        ] {
            assert_eq!(size(bytes), expect);
        }
    }

    #[test]
    fn reads_sizes_and_durations() {
        for (text, expect) in [
            ("512", Some(512)),
            ("20kB", Some(20_000)),
            ("1.5GB", Some(1_500_000_000)),
            ("2g", Some(2_000_000_000)),
            ("1GiB", Some(1 << 30)),
            ("", None),
            ("x", None),
            ("1x", None),
            ("1e400", None),
        ] {
            assert_eq!(parse_size(text), expect, "{text}");
        }
        for (text, expect) in [
            ("24h", Some(86_400_000)),
            ("1h30m", Some(5_400_000)),
            ("500ms", Some(500)),
            ("2d", Some(172_800_000)),
            ("", None),
            ("5", None),
            ("h", None),
            ("5y", None),
        ] {
            assert_eq!(parse_duration(text).map(|d| d.as_millis()), expect, "{text}");
        }
    }

    #[test]
    fn ages() {
        for (seconds, expect) in [
            (-5, "less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (61, "about a minute"),
            (3600, "about an hour"),
            (7200, "2 hours"),
            (200_000, "2 days"),
            (1_300_000, "2 weeks"),
            (6_000_000, "2 months"),
            (100_000_000, "3 years"),
        ] {
            assert_eq!(age(seconds), expect, "{seconds}");
        }
    }

    #[test]
    fn tables_line_up_by_columns_not_bytes() {
        let rows = [vec!["中文".into(), "1".into()], vec!["a".into(), "22".into()]];
        assert_eq!(table(&["NAME", "N"], &rows), "NAME   N\n中文   1\na      22\n");
    }

    #[test]
    fn fits_columns() {
        for (text, width, expect) in [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("中文字", 4, "中…"), ("abc", 0, "")]
        {
            assert_eq!(fit(text, width), expect);
        }
    }
}
