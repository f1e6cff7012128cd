//! Words of the declared file that have a grammar of their own: packages, modes, layers.
//!
//! Knows nothing of the rest of the file.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::{Error, ErrorKind, Result};

/// One entry of `packages`: `name[:architecture][=version]`, or several of them with `|` between, first choice first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackageSpec {
    /// The choices; never empty.
    pub choices: Vec<Wanted>,
}

/// One choice of a [`PackageSpec`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Package name, real or virtual.
    pub name: String,
    /// Debian architecture; `None` is the image's own (or `all`).
    pub architecture: Option<String>,
    /// Exact version; a trailing `*` stands for any rest, as in apt.
    pub version: Option<String>,
}

impl FromStr for PackageSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let choices = text.split('|').map(|choice| choice.trim().parse()).collect::<Result<_>>()?;
        Ok(Self { choices })
    }
}

impl FromStr for Wanted {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |what: &str| {
            Error::new(ErrorKind::Invalid, format!("`{text}` is not a package: {what}"))
                .with_hint("write `name`, `name=version` or `name:architecture`")
        };
        let (rest, version) = match text.split_once('=') {
            Some((rest, version)) => (rest.trim(), Some(version.trim())),
            None => (text, None),
        };
        let (name, architecture) = match rest.split_once(':') {
            Some((name, architecture)) => (name, Some(architecture)),
            None => (rest, None),
        };
        if !is_package_name(name) {
            return Err(invalid("names have two or more of a-z, 0-9, `+`, `-` and `.`"));
        }
        if architecture.is_some_and(|word| !is_architecture(word)) {
            return Err(invalid("the architecture is not a word of a-z and 0-9"));
        }
        if version.is_some_and(|word| word.is_empty() || word.contains(char::is_whitespace)) {
            return Err(invalid("the version is empty or has spaces"));
        }
        let owned = |word: Option<&str>| word.map(str::to_owned);
        Ok(Self { name: name.to_owned(), architecture: owned(architecture), version: owned(version) })
    }
}

/// Follows Debian Policy 5.6.1.
pub(crate) fn is_package_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    first
        && name.len() >= 2
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte))
}

pub(crate) fn is_architecture(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

impl fmt::Display for PackageSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, choice) in self.choices.iter().enumerate() {
            let between = if index == 0 { "" } else { " | " };
            write!(f, "{between}{choice}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(architecture) = &self.architecture {
            write!(f, ":{architecture}")?;
        }
        if let Some(version) = &self.version {
            write!(f, "={version}")?;
        }
        Ok(())
    }
}

impl Serialize for PackageSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PackageSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Permission bits, written as octal digits: `"0755"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub u32);

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:04o}", self.0))
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Octal;
        impl Visitor<'_> for Octal {
            type Value = Mode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("up to four octal digits in quotes (\"0755\")")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Mode, E> {
                let octal = (1..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
                let mode = octal.then(|| u32::from_str_radix(text, 8).ok()).flatten();
                mode.map(Mode).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Octal)
    }
}

/// How packages are spread over layers; the files that are no package's are always a layer of their own, the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Layers {
    /// One for all packages.
    #[default]
    Single,
    /// One for each package.
    PerPackage,
    /// One for each source package.
    PerSource,
    /// One for each list of package names, and one for the rest, first.
    Groups(Vec<Vec<String>>),
}

/// The words of [`Layers`] that stand alone.
const LAYERS: &[(&str, Layers)] =
    &[("single", Layers::Single), ("per-package", Layers::PerPackage), ("per-source", Layers::PerSource)];

impl Serialize for Layers {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Single => serializer.serialize_str("single"),
            Self::PerPackage => serializer.serialize_str("per-package"),
            Self::PerSource => serializer.serialize_str("per-source"),
            Self::Groups(groups) => groups.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Layers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct WordOrGroups;
        impl<'de> Visitor<'de> for WordOrGroups {
            type Value = Layers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`single`, `per-package`, `per-source` or lists of package names")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Layers, E> {
                let known = LAYERS.iter().find(|(word, _)| *word == text);
                known
                    .map(|(_, layers)| layers.clone())
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, groups: A) -> std::result::Result<Layers, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(groups)).map(Layers::Groups)
            }
        }
        deserializer.deserialize_any(WordOrGroups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<PackageSpec>().unwrap_err().to_string()
    }

    #[test]
    fn packages_are_read_and_written_alike() {
        for text in ["libc6", "libc6:i386", "python3=3.11.2-1+b1", "mawk | gawk:amd64=1:5.2*"] {
            assert_eq!(text.parse::<PackageSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_package_is_refused() {
        for text in ["", "A", "-x", "a b", "libc6:", "libc6=", "libc6 |", "../etc", "libc6=1 2"] {
            assert!(refused(text).contains("is not a package"), "{text}");
        }
    }
}
