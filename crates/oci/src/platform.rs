//! Platforms, normalised as containerd does (`linux/arm64/v8` is `linux/arm64`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Descriptor, Error, ErrorKind};

/// Operating system, architecture and variant an image runs on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Architecture, in Go's words (`amd64`).
    pub architecture: String,
    /// Operating system, in Go's words (`linux`).
    pub os: String,
    /// OS version, for Windows.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// OS features, for Windows.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// CPU variant (`v7`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// A platform without variant.
    pub fn new(os: &str, architecture: &str) -> Self {
        Self {
            architecture: architecture.into(),
            os: os.into(),
            os_version: None,
            os_features: Vec::new(),
            variant: None,
        }
    }

    /// The platform this program runs on.
    pub fn host() -> Self {
        normalise("linux", std::env::consts::ARCH, None)
    }

    /// An image for `self` can serve a request for `wanted`: same OS and architecture, and the variant asked for, if one is.
    pub fn serves(&self, wanted: &Platform) -> bool {
        let (this, wanted) = (self.normalised(), wanted.normalised());
        this.os == wanted.os
            && this.architecture == wanted.architecture
            && (wanted.variant.is_none() || this.variant == wanted.variant)
    }

    /// The processor of `self` executes programs of `other` itself, without an emulator.
    pub fn executes(&self, other: &Platform) -> bool {
        let (this, other) = (self.normalised(), other.normalised());
        // A variant is a promise about the processor that only the program can put to the test.
        let family = |platform: &Platform| match platform.architecture.as_str() {
            "386" => "amd64".to_owned(),
            name => name.to_owned(),
        };
        let narrower = this.architecture == "386" && other.architecture == "amd64";
        let narrow_arm = this.architecture == "arm64" && other.architecture == "arm";
        this.os == other.os && !narrower && (family(&this) == family(&other) || narrow_arm)
    }

    /// OS and architecture are words of Go's list, and so is the variant of those that have some.
    pub fn is_known(&self) -> bool {
        let variant = self.variant.as_deref();
        let known_variant = match self.architecture.as_str() {
            "amd64" => matches!(variant, None | Some("v2" | "v3" | "v4")),
            "arm" => matches!(variant, Some("v5" | "v6" | "v7" | "v8")),
            "arm64" => variant.is_none_or(|text| ARM64_VARIANTS.iter().any(|(name, ..)| *name == major(text))),
            _ => true,
        };
        OPERATING_SYSTEMS.contains(&self.os.as_str())
            && ARCHITECTURES.contains(&self.architecture.as_str())
            && known_variant
    }

    fn normalised(&self) -> Self {
        normalise(&self.os, &self.architecture, self.variant.as_deref())
    }

    /// The platforms whose images run where `self` is wanted, best first: containerd's order (platforms, `Only`).
    fn acceptable(&self) -> Vec<Self> {
        let this = self.normalised();
        let with = |architecture: &str, variant: Option<String>| normalise(&this.os, architecture, variant.as_deref());
        let number = this.variant.as_deref().and_then(|v| v.strip_prefix('v')?.parse::<u32>().ok());
        match (this.architecture.as_str(), number) {
            ("amd64", number) => {
                let lower = (1..number.unwrap_or(1).min(VARIANT_MAX)).rev();
                let lower = lower.map(|n| with("amd64", Some(format!("v{n}"))));
                std::iter::once(this.clone()).chain(lower).chain([with("386", None)]).collect()
            }
            ("arm", Some(number)) => {
                let lower = (5..number.min(VARIANT_MAX)).rev().map(|n| with("arm", Some(format!("v{n}"))));
                std::iter::once(this.clone()).chain(lower).collect()
            }
            ("arm64", _) => {
                let arm = (5..=8).rev().map(|n| with("arm", Some(format!("v{n}"))));
                arm64_variants(this.variant.as_deref()).into_iter().map(|v| with("arm64", Some(v))).chain(arm).collect()
            }
            _ => vec![this],
        }
    }
}

/// The entry that serves `wanted` best; an only entry may go without a platform.
pub fn best<'a>(entries: &[&'a Descriptor], wanted: &Platform) -> Option<&'a Descriptor> {
    let acceptable = wanted.acceptable();
    let place = |entry: &&'a Descriptor| {
        let own = entry.platform.as_ref()?.normalised();
        let rank = acceptable.iter().position(|other| {
            (&other.os, &other.architecture, &other.variant) == (&own.os, &own.architecture, &own.variant)
        })?;
        Some((rank, *entry))
    };
    let ranked = entries.iter().filter_map(place).min_by_key(|(rank, _)| *rank);
    let only = || entries.first().copied().filter(|entry| entries.len() == 1 && entry.platform.is_none());
    ranked.map(|(_, entry)| entry).or_else(only)
}

/// No processor has more variants; a larger number is not counted down from.
const VARIANT_MAX: u32 = 16;

/// Versions of the 64-bit ARM architecture: name, and its last minor version of which every lower one is part.
const ARM64_VARIANTS: [(&str, u32); 2] = [("v8", 9), ("v9", 7)];

fn major(variant: &str) -> &str {
    variant.split('.').next().unwrap_or(variant)
}

/// A variant and all that are part of it, the highest first. Version 9.n has all of 8.(n + 5).
fn arm64_variants(variant: Option<&str>) -> Vec<String> {
    let variant = variant.unwrap_or("v8");
    let minor: u32 = variant.split_once('.').and_then(|(_, minor)| minor.parse().ok()).unwrap_or(0);
    let known = |name: &str| ARM64_VARIANTS.iter().find(|(known, _)| *known == name).map(|(_, last)| *last);
    let Some(last) = known(major(variant)).filter(|last| minor <= *last) else { return vec![variant.to_owned()] };
    let minor = minor.min(last);
    let down = |name: &'static str, from: u32| {
        (0..=from).rev().map(move |n| if n == 0 { name.to_owned() } else { format!("{name}.{n}") })
    };
    match major(variant) {
        "v9" => down("v9", minor).chain(down("v8", (minor + 5).min(9))).collect(),
        _ => down("v8", minor).collect(),
    }
}

/// GOOS of the Go distribution, and WASI's.
const OPERATING_SYSTEMS: [&str; 19] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasi",
    "wasip1",
    "windows",
    "zos",
];

/// GOARCH of the Go distribution.
const ARCHITECTURES: [&str; 24] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "arm64",
    "arm64be",
    "armbe",
    "loong64",
    "mips",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "mipsle",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

/// Platforms that images are commonly made for: what a mistyped one may have meant.
pub const COMMON_PLATFORMS: [&str; 19] = [
    "linux/amd64",
    "linux/amd64/v2",
    "linux/amd64/v3",
    "linux/arm64",
    "linux/arm/v5",
    "linux/arm/v6",
    "linux/arm/v7",
    "linux/386",
    "linux/riscv64",
    "linux/ppc64le",
    "linux/s390x",
    "linux/mips64le",
    "linux/loong64",
    "windows/amd64",
    "windows/arm64",
    "darwin/amd64",
    "darwin/arm64",
    "freebsd/amd64",
    "wasi/wasm",
];

fn normalise(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
    let os = match os.to_ascii_lowercase().as_str() {
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    };
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant.map(str::to_ascii_lowercase);
    let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
        ("x86_64" | "x86-64" | "amd64", v) => ("amd64", v.filter(|v| *v != "v1")),
        ("aarch64" | "arm64", v) => ("arm64", v.filter(|v| *v != "8" && *v != "v8")),
        ("i386" | "i486" | "i586" | "i686" | "386" | "x86", _) => ("386", None),
        ("armhf", _) => ("arm", Some("v7")),
        ("armel", _) => ("arm", Some("v6")),
        ("arm", None | Some("7")) => ("arm", Some("v7")),
        ("arm", Some("5")) => ("arm", Some("v5")),
        ("arm", Some("6")) => ("arm", Some("v6")),
        ("arm", Some("8")) => ("arm", Some("v8")),
        (other, v) => (other, v),
    };
    let mut platform = Platform::new(&os, architecture);
    platform.variant = variant.map(str::to_owned);
    platform
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || {
            Error::new(ErrorKind::Invalid, format!("invalid platform `{text}`"))
                .with_hint("write it as os/arch[/variant], such as linux/arm64")
        };
        let ok = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(|part| ok(part)) {
            return Err(invalid());
        }
        match parts[..] {
            [word] => one_word(word).ok_or_else(invalid),
            [os, architecture] => Ok(normalise(os, architecture, None)),
            [os, architecture, variant] => Ok(normalise(os, architecture, Some(variant))),
            _ => Err(invalid()),
        }
    }
}

/// An operating system on this machine's architecture, or an architecture under Linux.
fn one_word(word: &str) -> Option<Platform> {
    let system = normalise(word, std::env::consts::ARCH, None);
    let under_linux = normalise("linux", word, None);
    if OPERATING_SYSTEMS.contains(&system.os.as_str()) {
        return Some(system);
    }
    ARCHITECTURES.contains(&under_linux.architecture.as_str()).then_some(under_linux)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises() {
        for (text, expect) in [
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/x86_64", "linux/amd64"),
            ("arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v2", "linux/amd64/v2"),
            ("i386", "linux/386"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), expect);
        }
        for text in ["", "linux/", "a/b/c/d", "linux/../x", "lunix", "amd46"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    fn chosen(wanted: &str, there: &[&str]) -> Option<String> {
        let entry = |text: &&str| {
            let platform = Some(text.parse::<Platform>().unwrap());
            Descriptor { platform, ..Descriptor::of("x/y", text.as_bytes()) }
        };
        let entries: Vec<Descriptor> = there.iter().map(entry).collect();
        let entries: Vec<&Descriptor> = entries.iter().collect();
        best(&entries, &wanted.parse().unwrap()).map(|entry| entry.platform.as_ref().unwrap().to_string())
    }

    #[test]
    fn the_best_entry_is_the_platform_itself_else_the_next_lower_variant() {
        for (wanted, there, expect) in [
            ("linux/amd64", &["linux/arm64", "linux/amd64"][..], Some("linux/amd64")),
            ("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], Some("linux/amd64/v2")),
            ("linux/amd64/v2", &["linux/amd64"], Some("linux/amd64")),
            ("linux/amd64", &["linux/amd64/v2"], None),
            ("linux/amd64", &["linux/386"], Some("linux/386")),
            ("linux/386", &["linux/amd64"], None),
            ("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6"], Some("linux/arm/v6")),
            ("linux/arm/v6", &["linux/arm/v7"], None),
            ("linux/arm64", &["linux/arm/v7", "linux/arm64/v8"], Some("linux/arm64")),
            ("linux/arm64", &["linux/arm/v6", "linux/arm/v7"], Some("linux/arm/v7")),
            ("linux/arm64/v9", &["linux/arm64", "linux/arm64/v8.5", "linux/arm64/v8.6"], Some("linux/arm64/v8.5")),
            ("linux/arm64", &["linux/arm64/v9"], None),
            ("linux/s390x", &["linux/amd64", "windows/amd64"], None),
            ("windows/amd64", &["linux/amd64", "windows/amd64"], Some("windows/amd64")),
        ] {
            assert_eq!(chosen(wanted, there).as_deref(), expect, "{wanted} of {there:?}");
        }
        let nameless = Descriptor::of("x/y", b"");
        assert!(best(&[&nameless], &Platform::host()).is_some(), "an only entry may go without a platform");
        assert!(best(&[&nameless, &nameless], &Platform::host()).is_none());
    }

    #[test]
    fn known_words() {
        for (text, expect) in [
            ("linux/amd64", true),
            ("linux/arm/v6", true),
            ("linux/arm64/v8.2", true),
            ("windows/amd64", true),
            ("linux/amd46", false),
            ("lunix/amd64", false),
            ("linux/amd64/v9", false),
            ("linux/arm/v9", false),
            ("linux/arm64/v7", false),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().is_known(), expect, "{text}");
        }
        assert!(COMMON_PLATFORMS.iter().all(|text| text.parse::<Platform>().unwrap().is_known()));
    }

    #[test]
    fn a_processor_executes_its_own_family() {
        let executes = |this: &str, other: &str| {
            let parse = |text: &str| text.parse::<Platform>().unwrap();
            parse(this).executes(&parse(other))
        };
        for (this, other, expect) in [
            ("linux/amd64", "linux/386", true),
            ("linux/386", "linux/amd64", false),
            ("linux/amd64", "linux/amd64/v3", true),
            ("linux/amd64", "linux/arm64", false),
            ("linux/arm64", "linux/arm/v7", true),
            ("linux/arm/v7", "linux/arm64", false),
            ("linux/amd64", "windows/amd64", false),
        ] {
            assert_eq!(executes(this, other), expect, "{other} on {this}");
        }
    }
}
