//! Words, sizes and dates as the page shows them. Whatever an image or a client says goes through [`foreign`] or
//! `instruction`, so that it is neither markup nor able to show something else than it is.
//!
//! Knows nothing of registries.

use maud::{Markup, Render, html};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Characters of one value that are shown; the whole is in the JSON view.
const VALUE_MAX: usize = 4000;

/// A piece of text from outside: escaped, isolated in direction, with what cannot be seen spelt out.
pub(super) fn foreign(text: &str) -> Markup {
    let (shown, rest) = cut(text, VALUE_MAX);
    html! { bdi { (Visible(shown)) } @if rest > 0 { span.note { " … " (count(rest, "byte")) " more" } } }
}

/// The first `max` characters, and how many bytes follow.
pub(super) fn cut(text: &str, max: usize) -> (&str, usize) {
    let end = text.char_indices().nth(max).map_or(text.len(), |(end, _)| end);
    (text.get(..end).unwrap_or_default(), text.len() - end)
}

/// Escaped text in which control and direction characters are written as their code points.
pub(super) struct Visible<'a>(pub(super) &'a str);

impl Render for Visible<'_> {
    fn render_to(&self, out: &mut String) {
        let mut plain = 0;
        for (at, c) in self.0.char_indices().filter(|(_, c)| is_hidden(*c)) {
            self.0.get(plain..at).unwrap_or_default().render_to(out);
            html! { span.odd { "U+" (format!("{:04X}", u32::from(c))) } }.render_to(out);
            plain = at + c.len_utf8();
        }
        self.0.get(plain..).unwrap_or_default().render_to(out);
    }
}

/// The text without what cannot be seen: for attributes and titles, which take no markup.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !is_hidden(*c) && !c.is_control()).collect()
}

/// Controls but for line feeds and tabs, zero-width characters, and those that change the direction of text.
fn is_hidden(c: char) -> bool {
    let format = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    format || (c.is_control() && !matches!(c, '\n' | '\t'))
}

/// Bytes in decimal units, three significant digits: `1.24 GB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 99.95 { 0 } else { if value >= 9.995 { 1 } else { 2 } };
    format!("{value:.digits$} {}", UNITS.get(unit).unwrap_or(&"B"))
}

/// The size, with its exact number of bytes on hovering.
pub(super) fn sized(bytes: u64) -> Markup {
    html! { data.size value=(bytes) title={ (grouped(bytes)) " bytes" } { (size(bytes)) } }
}

/// `12,345`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 layer`, `2 layers`.
pub(super) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number as u64))
}

/// An RFC 3339 date in UTC, to the minute; one that is none is shown as it is.
pub(super) fn date(text: &str) -> Markup {
    let Some(moment) = utc(text) else { return foreign(text) };
    let (date, time) = (moment.date(), moment.time());
    let day = format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day());
    let minute = format!("{:02}:{:02}", time.hour(), time.minute());
    html! {
        time datetime={ (day) "T" (minute) "Z" } title={ (day) " " (minute) " UTC" } { (day) span.note { " " (minute) } }
    }
}

fn utc(text: &str) -> Option<OffsetDateTime> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    moment.checked_to_offset(time::UtcOffset::UTC).filter(|moment| (0..=9999).contains(&moment.year()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_neither_markup_nor_hidden() {
        for (text, expect) in [
            ("</script><b a='\">", "&lt;/script&gt;&lt;b a='&quot;&gt;"),
            ("a&amp;b", "a&amp;amp;b"),
            ("a\u{202e}b\u{200b}", "a<span class=\"odd\">U+202E</span>b<span class=\"odd\">U+200B</span>"),
            ("\u{0}\u{1b}[31m\n\t", "<span class=\"odd\">U+0000</span><span class=\"odd\">U+001B</span>[31m\n\t"),
            ("", ""),
        ] {
            assert_eq!(foreign(text).into_string(), format!("<bdi>{expect}</bdi>"));
        }
        let long = foreign(&"é".repeat(VALUE_MAX + 1)).into_string();
        assert!(long.ends_with("… 2 bytes more</span>"), "{long}");
    }

    #[test]
    fn sizes_counts_and_dates() {
        for (bytes, expect) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (12_345, "12.3 kB"),
            (999_999, "1.00 MB"),
            (u64::MAX, "18447 PB"),
        ] {
            assert_eq!(size(bytes), expect);
        }
        assert_eq!(
            (count(1, "tag"), count(0, "tag"), count(1_234_567, "tag")),
            ("1 tag".into(), "0 tags".into(), "1,234,567 tags".into())
        );
        for (text, expect) in [
            ("2024-02-29T23:59:59.123456789+02:00", "2024-02-29T21:59Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00Z"),
        ] {
            assert!(date(text).into_string().contains(&format!("datetime=\"{expect}\"")), "{text}");
        }
        for text in ["yesterday", "", "9999-12-31T23:59:59-23:59", "0000-01-01T00:00:00+23:59"] {
            assert!(date(text).into_string().starts_with("<bdi>"), "{text}");
        }
    }
}
