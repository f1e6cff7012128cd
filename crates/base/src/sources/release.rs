//! Release files (the repository format of Debian's wiki): what they must say to be believed, and what they list.
//!
//! Knows nothing of signatures or of how the text was fetched.

use std::collections::HashMap;

use cooper_oci::Digest;
use time::{Date, Month, OffsetDateTime, Time};

use crate::control::{self, Paragraph};
use crate::{Error, ErrorKind, Result};

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

/// Files a release may list; Debian's list some 1,500.
const FILES_MAX: usize = 200_000;

/// Compressions of an index, best first, as oci reads them.
const EXTENSIONS: &[&str] = &[".xz", ".zst", ".gz", ""];

/// What a release is held against.
#[derive(Clone, Debug)]
pub struct Expectation<'a> {
    /// Suite or codename asked for.
    pub suite: &'a str,
    /// Components asked for.
    pub components: &'a [String],
    /// Debian architectures asked for.
    pub architectures: &'a [String],
    /// Seconds since 1970.
    pub now: i64,
    /// `Valid-Until` counts.
    pub check_valid_until: bool,
    /// Oldest date taken where there is no `Valid-Until`.
    pub max_age_days: Option<u32>,
    /// Date of the release that was last believed.
    pub not_before: Option<i64>,
}

/// A release that was signed, read.
#[derive(Clone, Debug)]
pub struct Release {
    /// `Origin`.
    pub origin: Option<String>,
    /// `Suite`.
    pub suite: Option<String>,
    /// `Codename`.
    pub codename: Option<String>,
    /// `Date`, seconds since 1970.
    pub date: i64,
    /// `Valid-Until`, likewise.
    pub valid_until: Option<i64>,
    /// `Architectures`.
    pub architectures: Vec<String>,
    /// `Components`.
    pub components: Vec<String>,
    /// `Acquire-By-Hash: yes`.
    pub by_hash: bool,
    /// `NotAutomatic: yes`: its packages are taken only where no other release has them.
    pub not_automatic: bool,
    /// Indexes of an architecture hold the packages of `all` too.
    all_is_inside: bool,
    /// Digest and size of the files beside it.
    files: HashMap<String, (Digest, u64)>,
}

impl Release {
    /// Reads a release. `what` names it in errors.
    pub fn parse(text: &str, what: &str) -> Result<Self> {
        let paragraph = control::single(text, what)?;
        let owned = |name: &str| paragraph.get(name).map(str::to_owned);
        let list = |name: &str| paragraph.words(name).map(str::to_owned).collect::<Vec<_>>();
        let architectures = list("Architectures");
        let no_separate = paragraph.words("No-Support-for-Architecture-all").any(|word| word == "Packages");
        Ok(Self {
            origin: owned("Origin"),
            suite: owned("Suite"),
            codename: owned("Codename"),
            date: parse_date(paragraph.need("Date", what)?, what)?,
            valid_until: paragraph.get("Valid-Until").map(|text| parse_date(text, what)).transpose()?,
            all_is_inside: no_separate || !architectures.iter().any(|name| name == "all"),
            architectures,
            components: list("Components"),
            by_hash: paragraph.get("Acquire-By-Hash") == Some("yes"),
            not_automatic: paragraph.get("NotAutomatic") == Some("yes"),
            files: files(&paragraph, what)?,
        })
    }

    /// An error unless the release is what was asked for, and of the right time.
    pub fn check(&self, expected: &Expectation<'_>, what: &str) -> Result<()> {
        self.check_names(expected, what)?;
        self.check_dates(expected, what)
    }

    fn check_names(&self, expected: &Expectation<'_>, what: &str) -> Result<()> {
        let untrusted = |why: String| Error::new(ErrorKind::Untrusted, format!("{what}: {why}"));
        let is_it = |name: &String| {
            name == expected.suite || expected.suite.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))
        };
        let names: Vec<&String> = self.suite.iter().chain(&self.codename).collect();
        if !names.iter().any(|name| is_it(name)) {
            let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
            return Err(untrusted(format!("it is the release of {}, not of {}", names.join(" and "), expected.suite)));
        }
        let has = |component: &String| {
            // Security archives write `updates/main`.
            self.components.iter().any(|known| known == component || known.ends_with(&format!("/{component}")))
        };
        if let Some(component) = expected.components.iter().find(|component| !has(component)) {
            let what = format!("{what}: it has no component {component}");
            return Err(
                Error::new(ErrorKind::NotFound, what).with_hint(format!("it has {}", self.components.join(", ")))
            );
        }
        if let Some(name) = expected.architectures.iter().find(|name| !self.architectures.contains(name)) {
            let what = format!("{what}: it has no packages for {name}");
            return Err(
                Error::new(ErrorKind::NotFound, what).with_hint(format!("it has {}", self.architectures.join(", ")))
            );
        }
        Ok(())
    }

    fn check_dates(&self, expected: &Expectation<'_>, what: &str) -> Result<()> {
        let untrusted =
            |why: String, hint: &str| Err(Error::new(ErrorKind::Untrusted, format!("{what}: {why}")).with_hint(hint));
        let date = format_date(self.date);
        if self.date > expected.now + DAY {
            return untrusted(format!("it is from the future ({date})"), "check the clock");
        }
        if let Some(newest) = expected.not_before.filter(|newest| self.date < *newest) {
            let why = format!(
                "it is of {date}, older than the one in the lock file ({}): it was rolled back",
                format_date(newest)
            );
            return untrusted(why, "wait for the mirror, or remove the lock file if that is meant");
        }
        match self.valid_until {
            Some(until) if expected.check_valid_until && until < expected.now => {
                let why = format!("it was valid until {}", format_date(until));
                untrusted(why, "use a mirror that is up to date; for a snapshot set `check-valid-until: false`")
            }
            None if expected.max_age_days.is_some_and(|days| self.date + i64::from(days) * DAY < expected.now) => {
                untrusted(
                    format!("it is of {date}, older than `max-age-days` allows"),
                    "use a mirror that is up to date",
                )
            }
            _ => Ok(()),
        }
    }

    /// The package indexes of an architecture: path, digest and size of the best compressed form of each. An error when the
    /// architecture's own is not listed.
    pub fn indexes(&self, component: &str, architecture: &str, what: &str) -> Result<Vec<(String, Digest, u64)>> {
        let of = |architecture: &str| {
            let path = format!("{component}/binary-{architecture}/Packages");
            EXTENSIONS.iter().find_map(|extension| {
                let path = format!("{path}{extension}");
                self.files.get(&path).map(|(digest, size)| (path, digest.clone(), *size))
            })
        };
        let Some(own) = of(architecture) else {
            let what = format!("{what}: it lists no index of {component} for {architecture} by SHA-256");
            return Err(Error::new(ErrorKind::Untrusted, what));
        };
        let all = if self.all_is_inside { None } else { of("all") };
        Ok(std::iter::once(own).chain(all).collect())
    }
}

/// `SHA256`: lines of digest, size, path.
fn files(paragraph: &Paragraph<'_>, what: &str) -> Result<HashMap<String, (Digest, u64)>> {
    let lines = paragraph.get("SHA256").unwrap_or_default().lines().map(str::trim).filter(|line| !line.is_empty());
    let mut out = HashMap::new();
    for line in lines {
        let fault = || Error::new(ErrorKind::Invalid, format!("{what}: `{line}` is not a line of SHA256"));
        let mut words = line.split_whitespace();
        let (Some(hex), Some(size), Some(path), None) = (words.next(), words.next(), words.next(), words.next()) else {
            return Err(fault());
        };
        let digest = format!("sha256:{}", hex.to_ascii_lowercase()).parse().map_err(|_| fault())?;
        out.insert(path.to_owned(), (digest, size.parse().map_err(|_| fault())?));
        if out.len() > FILES_MAX {
            return Err(Error::new(ErrorKind::TooLarge, format!("{what} lists more than {FILES_MAX} files")));
        }
    }
    if out.is_empty() {
        let what = format!("{what}: it lists no files by SHA-256; weaker digests are not taken");
        return Err(Error::new(ErrorKind::Untrusted, what));
    }
    Ok(out)
}

/// `Sat, 09 Nov 2026 09:41:17 UTC`.
fn parse_date(text: &str, what: &str) -> Result<i64> {
    let fault = || Error::new(ErrorKind::Invalid, format!("{what}: `{text}` is not a date"));
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, clock, "UTC" | "GMT" | "+0000" | "Z"] = words.as_slice() else { return Err(fault()) };
    const MONTHS: &[&str] = &["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.iter().position(|name| name == month).ok_or_else(fault)? as u8 + 1;
    let month = Month::try_from(month).map_err(|_| fault())?;
    let (year, day) = (year.parse().map_err(|_| fault())?, day.parse().map_err(|_| fault())?);
    let date = Date::from_calendar_date(year, month, day).map_err(|_| fault())?;
    let clock: Vec<u8> =
        clock.split(':').map(str::parse).collect::<std::result::Result<_, _>>().map_err(|_| fault())?;
    let [hour, minute, second] = clock.as_slice() else { return Err(fault()) };
    let time = Time::from_hms(*hour, *minute, *second).map_err(|_| fault())?;
    Ok(date.with_time(time).assume_utc().unix_timestamp())
}

/// `2026-11-09 09:41:17 UTC`.
pub(crate) fn format_date(seconds: i64) -> String {
    match OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(at) => format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        ),
        Err(_) => format!("second {seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const DATE: &str = "Sat, 09 Nov 2024 09:41:17 UTC";
    const NOW: i64 = 1_731_145_277;

    fn text(more: &str) -> String {
        format!(
            "Suite: stable\nCodename: bookworm\nDate: {DATE}\nArchitectures: all amd64 arm64\nComponents: main contrib\n\
             {more}SHA256:\n {HEX} 7 main/binary-amd64/Packages.xz\n {HEX} 9 main/binary-amd64/Packages\n \
             {HEX} 8 main/binary-all/Packages.gz\n"
        )
    }

    fn expectation<'a>(suite: &'a str, components: &'a [String], architectures: &'a [String]) -> Expectation<'a> {
        Expectation {
            suite,
            components,
            architectures,
            now: NOW,
            check_valid_until: true,
            max_age_days: None,
            not_before: None,
        }
    }

    fn outcome(more: &str, change: impl FnOnce(&mut Expectation<'_>)) -> String {
        let (components, architectures) = (["main".to_owned()], ["amd64".to_owned()]);
        let mut expected = expectation("bookworm", &components, &architectures);
        change(&mut expected);
        let checked =
            Release::parse(&text(more), "InRelease").and_then(|release| release.check(&expected, "InRelease"));
        checked.map_or_else(|e| e.to_string(), |()| "good".to_owned())
    }

    #[test]
    fn dates() {
        assert_eq!(parse_date(DATE, "x").unwrap(), NOW);
        assert_eq!(format_date(NOW), "2024-11-09 09:41:17 UTC");
        for bad in
            ["", "Sat, 09 Nov 2024 09:41:17 CET", "Sat, 31 Feb 2024 09:41:17 UTC", "Sat, 09 Nov 2024 25:41:17 UTC"]
        {
            assert!(parse_date(bad, "x").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_release_is_believed_or_refused_with_the_reason() {
        let late = "Valid-Until: Sat, 09 Nov 2024 09:41:16 UTC\n";
        assert_eq!(outcome("", |_| {}), "good");
        assert_eq!(outcome("", |e| e.suite = "stable"), "good");
        assert_eq!(outcome("", |e| e.suite = "bookworm/updates"), "good");
        assert_eq!(
            outcome("", |e| e.suite = "trixie"),
            "InRelease: it is the release of stable and bookworm, not of trixie"
        );
        assert_eq!(
            outcome("", |e| e.suite = "bookworm-security"),
            "InRelease: it is the release of stable and bookworm, not of bookworm-security"
        );
        assert_eq!(outcome(late, |_| {}), "InRelease: it was valid until 2024-11-09 09:41:16 UTC");
        assert_eq!(outcome(late, |e| e.check_valid_until = false), "good");
        assert_eq!(outcome("", |e| (e.max_age_days, e.now) = (Some(1), NOW + DAY)), "good");
        assert!(
            outcome("", |e| (e.max_age_days, e.now) = (Some(1), NOW + DAY + 1)).contains("older than `max-age-days`")
        );
        assert!(outcome("", |e| e.now = NOW - DAY - 1).contains("from the future"));
        assert_eq!(outcome("", |e| e.not_before = Some(NOW)), "good");
        assert!(outcome("", |e| e.not_before = Some(NOW + 1)).contains("it was rolled back"));
        let (i386, free) = (["i386".to_owned()], ["non-free".to_owned()]);
        let release = Release::parse(&text(""), "x").unwrap();
        let main = ["main".to_owned()];
        assert!(
            release
                .check(&expectation("bookworm", &main, &i386), "x")
                .unwrap_err()
                .to_string()
                .contains("no packages for i386")
        );
        assert!(
            release
                .check(&expectation("bookworm", &free, &[]), "x")
                .unwrap_err()
                .to_string()
                .contains("no component non-free")
        );
    }

    #[test]
    fn the_best_form_of_each_index() {
        let paths = |more: &str| {
            let indexes = Release::parse(&text(more), "x").unwrap().indexes("main", "amd64", "x").unwrap();
            indexes.into_iter().map(|(path, _, _)| path).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(paths(""), "main/binary-amd64/Packages.xz main/binary-all/Packages.gz");
        assert_eq!(paths("No-Support-for-Architecture-all: Packages\n"), "main/binary-amd64/Packages.xz");
        let release = Release::parse(&text(""), "x").unwrap();
        assert!(release.indexes("main", "arm64", "x").unwrap_err().to_string().contains("no index of main for arm64"));
    }

    #[test]
    fn weak_digests_alone_are_refused() {
        let weak = text("").replace("SHA256:", "MD5Sum:");
        assert!(Release::parse(&weak, "x").unwrap_err().to_string().contains("weaker digests"));
    }
}
