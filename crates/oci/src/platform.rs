//! Platforms, normalised as containerd does (`linux/arm64/v8` is `linux/arm64`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind};

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
        let this = normalise(&self.os, &self.architecture, self.variant.as_deref());
        let wanted = normalise(&wanted.os, &wanted.architecture, wanted.variant.as_deref());
        this.os == wanted.os
            && this.architecture == wanted.architecture
            && (wanted.variant.is_none() || this.variant == wanted.variant)
    }
}

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
            ["linux" | "windows" | "darwin" | "freebsd"] => Ok(normalise(parts[0], std::env::consts::ARCH, None)),
            [architecture] => Ok(normalise("linux", architecture, None)),
            [os, architecture] => Ok(normalise(os, architecture, None)),
            [os, architecture, variant] => Ok(normalise(os, architecture, Some(variant))),
            _ => Err(invalid()),
        }
    }
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
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), expect);
        }
        for text in ["", "linux/", "a/b/c/d", "linux/../x"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
