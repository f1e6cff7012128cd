//! The image config a stage ends with, and its history in BuildKit's words.
//!
//! Knows nothing of instructions' syntax; it is told what they mean.

use std::fmt::Write;

use cooper_oci::{Healthcheck, History, ImageConfig, Platform};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// PATH of an image that sets none.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Clamp of layers without a datable base: 1980-01-01, the oldest time that zip files can hold.
pub(crate) const DEFAULT_CLAMP: i64 = 315_532_800;

/// Comment of history entries made from instructions.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// Comment of history entries for layers without an instruction.
const INVENTED_COMMENT: &str = "buildkit.exporter.image.v0";

/// The config of a stage that starts from nothing.
pub(crate) fn empty_image(platform: &Platform) -> ImageConfig {
    let mut image = ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        os_version: platform.os_version.clone(),
        os_features: platform.os_features.clone(),
        ..ImageConfig::default()
    };
    image.config.working_dir = "/".into();
    image.config.env = vec![format!("PATH={DEFAULT_PATH}")];
    image
}

/// A base image's config as a stage inherits it: without date, layers, triggers, and fields that only describe the base.
pub(crate) fn inherited(base: &ImageConfig) -> ImageConfig {
    let mut image = base.clone();
    image.created = None;
    image.rootfs.diff_ids.clear();
    image.other.clear();
    image.config.other.clear();
    image.config.on_build.clear();
    image
}

/// PATH is always set.
pub(crate) fn ensure_path(env: &mut Vec<String>) {
    if !env.iter().any(|line| line.starts_with("PATH=")) {
        env.push(format!("PATH={DEFAULT_PATH}"));
    }
}

/// Sets a variable of an image config in its place.
pub(crate) fn set_env(env: &mut Vec<String>, name: &str, value: &str) {
    let line = format!("{name}={value}");
    match env.iter_mut().find(|old| old.split('=').next() == Some(name)) {
        Some(old) => *old = line,
        None => env.push(line),
    }
}

/// Adds a line of history. Its date is set when the image is lowered.
pub(crate) fn commit(image: &mut ImageConfig, created_by: String, layer: bool) {
    image.history.push(History { created_by, comment: COMMENT.into(), empty_layer: !layer, ..History::default() });
}

/// Adds a line of history for a layer that no instruction made.
pub(crate) fn commit_invented(image: &mut ImageConfig) {
    image.history.push(History { comment: INVENTED_COMMENT.into(), ..History::default() });
}

/// The clamp of layers on top of a base: its date, or 1980 if it has none or an older one.
pub(crate) fn base_clamp(base: &ImageConfig) -> i64 {
    let created = base.created.as_deref().and_then(|date| OffsetDateTime::parse(date, &Rfc3339).ok());
    created.map_or(DEFAULT_CLAMP, |date| date.unix_timestamp().max(DEFAULT_CLAMP))
}

/// RFC 3339 in whole seconds; the nearest representable date for seconds out of range.
pub(crate) fn rfc3339(seconds: i64) -> String {
    // RFC 3339 has four digits for the year.
    const YEAR_0: i64 = -62_167_219_200;
    const YEAR_9999: i64 = 253_402_300_799;
    OffsetDateTime::from_unix_timestamp(seconds.clamp(YEAR_0, YEAR_9999))
        .ok()
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// Go's `%q` of a list: `["a" "b"]`.
pub(crate) fn quoted(list: &[String]) -> String {
    let quoted: Vec<String> = list.iter().map(|text| quote(text)).collect();
    format!("[{}]", quoted.join(" "))
}

/// Go's `strconv.Quote`.
fn quote(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if c.is_control() || (c.is_whitespace() && c != ' ') => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Go's `%v` of a list: `[a b]`.
pub(crate) fn plain(list: &[String]) -> String {
    format!("[{}]", list.join(" "))
}

/// Go's `%+v` of a health check.
pub(crate) fn health_text(health: &Healthcheck) -> String {
    format!(
        "{{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        plain(&health.test),
        duration(health.interval),
        duration(health.timeout),
        duration(health.start_period),
        duration(health.start_interval),
        health.retries
    )
}

/// Go's text of a duration: `1h0m0s`, `1.5s`, `300ms`, `0s`.
fn duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let (unit, name) = match total {
        0 => return "0s".into(),
        1..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => return format!("{sign}{}", long_duration(total)),
    };
    format!("{sign}{}{name}", decimal(total, unit))
}

fn long_duration(total: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    let (hours, minutes) = (total / (3600 * SECOND), total / (60 * SECOND) % 60);
    let seconds = decimal(total % (60 * SECOND), SECOND);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// `value / unit` without trailing zeros.
fn decimal(value: u64, unit: u64) -> String {
    let width = unit.ilog10() as usize;
    let fraction = format!("{:0width$}", value % unit);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { (value / unit).to_string() } else { format!("{}.{fraction}", value / unit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (nanoseconds, expect) in [
            (0, "0s"),
            (30_000_000_000, "30s"),
            (1_500_000_000, "1.5s"),
            (300_000_000, "300ms"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (1_500, "1.5µs"),
            (7, "7ns"),
        ] {
            assert_eq!(duration(nanoseconds), expect);
        }
    }

    #[test]
    fn quotes_are_gos() {
        assert_eq!(quoted(&["a\"b".into(), "\n\u{1}\\".into(), "é☺".into()]), "[\"a\\\"b\" \"\\n\\x01\\\\\" \"é☺\"]");
    }

    #[test]
    fn dates_and_clamps() {
        let at = |date: &str| base_clamp(&ImageConfig { created: Some(date.into()), ..ImageConfig::default() });
        assert_eq!(at("2024-01-02T03:04:05.678Z"), 1_704_164_645);
        assert_eq!(at("2024-01-02T03:04:05+01:00"), 1_704_161_045);
        assert_eq!(at("0001-01-01T00:00:00Z"), DEFAULT_CLAMP);
        assert_eq!(at("yesterday"), DEFAULT_CLAMP);
        assert_eq!(base_clamp(&ImageConfig::default()), DEFAULT_CLAMP);
        assert_eq!(rfc3339(DEFAULT_CLAMP), "1980-01-01T00:00:00Z");
        assert_eq!(rfc3339(i64::MAX), "9999-12-31T23:59:59Z");
    }
}
