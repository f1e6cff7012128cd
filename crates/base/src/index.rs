//! A package index (`Packages`): what an archive offers. Knows nothing of where it came from or how packages are chosen.

use cooper_oci::Digest;

use crate::control::{Paragraph, paragraphs};
use crate::manifest::{is_architecture, is_package_name};
use crate::relation::{Operator, Relation, parse};
use crate::{Error, ErrorKind, Result};

/// Packages of one index; Debian's largest have some 70,000.
const PACKAGES_MAX: usize = 1_000_000;

/// Bytes of a .deb; the largest of Debian have 2 GB.
const DEB_MAX: u64 = 16 << 30;

/// What other architectures may do with a package (`Multi-Arch`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MultiArch {
    /// Nothing.
    #[default]
    No,
    /// Installed for several architectures at once, in one version.
    Same,
    /// Satisfies packages of any architecture.
    Foreign,
    /// Satisfies those that ask for `:any`.
    Allowed,
}

/// `Priority`, most wanted first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Needed for a system that works at all.
    Required,
    /// Expected on any system.
    Important,
    /// A character-mode system.
    Standard,
    /// All the rest.
    #[default]
    Optional,
}

/// One package of an index.
#[derive(Clone, Debug)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Debian architecture, or `all`.
    pub architecture: String,
    /// `Essential: yes`.
    pub essential: bool,
    /// Priority.
    pub priority: Priority,
    /// Multi-Arch.
    pub multi_arch: MultiArch,
    /// Pre-Depends, then Depends.
    pub depends: Vec<Vec<Relation>>,
    /// Recommends.
    pub recommends: Vec<Vec<Relation>>,
    /// Conflicts and Breaks.
    pub conflicts: Vec<Relation>,
    /// Virtual packages, with the version provided.
    pub provides: Vec<(String, Option<String>)>,
    /// Source package, when its name differs.
    pub source: Option<String>,
    /// Version of the source package, when it differs.
    pub source_version: Option<String>,
    /// Path relative to the archive's address.
    pub filename: String,
    /// Bytes of the .deb.
    pub size: u64,
    /// SHA-256 of the .deb.
    pub digest: Digest,
}

/// Reads an index. `what` names it in errors.
pub fn parse_index(text: &str, what: &str) -> Result<Vec<Package>> {
    let mut out = Vec::new();
    for paragraph in paragraphs(text, what) {
        if out.len() == PACKAGES_MAX {
            return Err(Error::new(ErrorKind::TooLarge, format!("{what} has more than {PACKAGES_MAX} packages")));
        }
        out.push(parse_package(&paragraph?, what)?);
    }
    Ok(out)
}

fn parse_package(paragraph: &Paragraph<'_>, what: &str) -> Result<Package> {
    let filename = paragraph.need("Filename", what)?.trim_start_matches("./").to_owned();
    let size = paragraph.need("Size", what)?;
    let sha256 = paragraph.need("SHA256", what)?;
    let name = paragraph.need("Package", what)?;
    let fault =
        |why: &str| Error::new(ErrorKind::Invalid, format!("{what}, line {}: package `{name}`: {why}", paragraph.line));
    let digest = format!("sha256:{}", sha256.to_ascii_lowercase()).parse().map_err(|_| fault("its SHA256 is none"))?;
    let size = size.parse().ok().filter(|size| *size <= DEB_MAX).ok_or_else(|| fault("its Size is no size"))?;
    if filename.split('/').any(|part| matches!(part, "" | "." | "..")) || filename.contains(['\0', '\\']) {
        return Err(fault("its Filename leaves the archive"));
    }
    Ok(Package { filename, size, digest, ..parse_control(paragraph, what)? })
}

/// Reads what a package says about itself, in an index or in its own control file: all but file name, size and digest.
pub(crate) fn parse_control(paragraph: &Paragraph<'_>, what: &str) -> Result<Package> {
    let name = paragraph.need("Package", what)?;
    let fault =
        |why: &str| Error::new(ErrorKind::Invalid, format!("{what}, line {}: package `{name}`: {why}", paragraph.line));
    let architecture = paragraph.need("Architecture", what)?;
    if !is_package_name(name) || !is_architecture(architecture) {
        return Err(fault("its name or architecture is not one"));
    }
    let version = paragraph.need("Version", what)?;
    if version.contains(char::is_whitespace) {
        return Err(fault("its version has spaces"));
    }
    let field = |name: &str| parse(paragraph.get(name).unwrap_or_default()).map_err(|e| fault(&e.to_string()));
    let both = |first: &str, second: &str| -> Result<Vec<Vec<Relation>>> {
        Ok([field(first)?, field(second)?].into_iter().flatten().collect())
    };
    let provides = field("Provides")?.into_iter().flatten().map(|provided| {
        let version = provided.version.filter(|(operator, _)| *operator == Operator::Equal).map(|(_, version)| version);
        (provided.name, version)
    });
    let (source, source_version) = source_of(paragraph);
    Ok(Package {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: architecture.to_owned(),
        essential: paragraph.get("Essential") == Some("yes"),
        priority: priority(paragraph),
        multi_arch: multi_arch(paragraph),
        depends: both("Pre-Depends", "Depends")?,
        recommends: field("Recommends")?,
        conflicts: both("Conflicts", "Breaks")?.into_iter().flatten().collect(),
        provides: provides.collect(),
        source: source.filter(|source| *source != name).map(str::to_owned),
        source_version: source_version.filter(|other| *other != version).map(str::to_owned),
        filename: String::new(),
        size: 0,
        digest: Digest::of(b""),
    })
}

/// `Source: name (version)`.
fn source_of<'a>(paragraph: &Paragraph<'a>) -> (Option<&'a str>, Option<&'a str>) {
    let Some(text) = paragraph.get("Source") else { return (None, None) };
    match text.split_once('(') {
        Some((name, version)) => (Some(name.trim()), Some(version.trim_end_matches(')').trim())),
        None => (Some(text), None),
    }
}

fn priority(paragraph: &Paragraph<'_>) -> Priority {
    match paragraph.get("Priority") {
        Some("required") => Priority::Required,
        Some("important") => Priority::Important,
        Some("standard") => Priority::Standard,
        _ => Priority::Optional,
    }
}

fn multi_arch(paragraph: &Paragraph<'_>) -> MultiArch {
    match paragraph.get("Multi-Arch") {
        Some("same") => MultiArch::Same,
        Some("foreign") => MultiArch::Foreign,
        Some("allowed") => MultiArch::Allowed,
        _ => MultiArch::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn stanza(more: &str) -> String {
        let base = "Package: xx\nVersion: 1\nArchitecture: amd64\n";
        let place = format!("Filename: pool/xx.deb\nSize: 3\nSHA256: {HEX}\n");
        format!("{base}{place}{more}")
    }

    #[test]
    fn a_package_is_read() {
        let text = stanza("Source: src (2)\nProvides: vv (= 3), ww\nPre-Depends: aa\nDepends: bb\nBreaks: cc\n");
        let packages = parse_index(&text, "index").unwrap();
        let package = &packages[0];
        assert_eq!((package.source.as_deref(), package.source_version.as_deref()), (Some("src"), Some("2")));
        assert_eq!(package.provides, [("vv".to_owned(), Some("3".to_owned())), ("ww".to_owned(), None)]);
        assert_eq!((package.depends.len(), package.conflicts.len(), package.size), (2, 1, 3));
    }

    #[test]
    fn hostile_packages_are_refused_by_name() {
        for (from, to) in [
            ("pool/xx.deb", "../xx.deb"),
            ("pool/xx.deb", "/etc/xx.deb"),
            ("Size: 3", "Size: -3"),
            ("Size: 3", "Size: 99999999999999999999"),
            (HEX, "abc"),
            ("Package: xx", "Package: ../xx"),
            ("Architecture: amd64", "Architecture: a/b"),
        ] {
            let error = parse_index(&stanza("").replacen(from, to, 1), "index").unwrap_err().to_string();
            assert!(error.contains("xx`") && error.contains("line 1"), "{to}: {error}");
        }
    }
}
