//! What changes from one lock to the next, and which CVE ids the changelogs name.
//!
//! Knows nothing of how the packages were chosen.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use cooper_oci::{Limits, decompress_within};

use crate::fetch::{Cache, Events, Places, fetch_package};
use crate::lock::{Lock, LockedPackage};
use crate::{Error, Result, deb, version};

/// Bytes of a .deb that is opened for its changelog: it is held in memory.
const DEB_LIMIT: u64 = 512 << 20;

/// Bytes of a changelog.
const CHANGELOG_LIMIT: u64 = 32 << 20;

/// One package that is not in both locks alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Name.
    pub name: String,
    /// Debian architecture of the package.
    pub architecture: String,
    /// Version in the old lock.
    pub old: Option<String>,
    /// Version in the new lock.
    pub new: Option<String>,
    /// Source package.
    pub source: String,
    /// Its release is one of security updates.
    pub security: bool,
    /// CVE ids of the changelog's entries since the old version, sorted.
    pub cves: Vec<String>,
    /// The package whose changelog was read; `None` when it is not known.
    pub changelog_of: Option<String>,
}

/// What changed, sorted by name and architecture; a package of several images counts once.
pub fn changes(old: &Lock, new: &Lock) -> Vec<Change> {
    let (old, new) = (by_name(old), by_name(new));
    let keys: BTreeSet<_> = old.keys().chain(new.keys()).copied().collect();
    let change = |(name, architecture): (&str, &str)| {
        let (before, after) = (old.get(&(name, architecture)), new.get(&(name, architecture)));
        let package = after.or(before)?;
        if before.zip(after).is_some_and(|(before, after)| before.digest == after.digest) {
            return None;
        }
        Some(Change {
            name: name.to_owned(),
            architecture: architecture.to_owned(),
            old: before.map(|package| package.version.clone()),
            new: after.map(|package| package.version.clone()),
            source: package.source_name().to_owned(),
            security: after.is_some_and(|package| package.release.as_deref().is_some_and(crate::locking::is_security)),
            cves: Vec::new(),
            changelog_of: None,
        })
    };
    keys.into_iter().filter_map(change).collect()
}

fn by_name(lock: &Lock) -> BTreeMap<(&str, &str), &LockedPackage> {
    let packages = lock.packages.values().flatten();
    packages.map(|package| ((package.name.as_str(), package.architecture.as_str()), package)).collect()
}

/// Adds the CVE ids: the .debs of what was upgraded are fetched, and the changelog of the first of each source that has one
/// is read.
pub async fn name_cves(
    changes: &mut [Change],
    old: &Lock,
    new: &Lock,
    places: &Places,
    cache: &dyn Cache,
    events: Events<'_>,
) -> Result<()> {
    let (before, after) = (by_name(old), by_name(new));
    let mut known: BTreeMap<String, (Vec<String>, String)> = BTreeMap::new();
    for change in changes.iter().filter(|change| change.old.is_some() && change.new.is_some()) {
        let key = (change.name.as_str(), change.architecture.as_str());
        let (Some(from), Some(to)) = (before.get(&key), after.get(&key)) else { continue };
        let bigger = version::compare(to.source_version(), from.source_version()).is_gt();
        if known.contains_key(&change.source) || !bigger {
            continue;
        }
        fetch_package(new, to, places, cache, events).await?;
        if let Some(text) = changelog(to, cache).await? {
            let cves = cves_since(&text, from.source_version());
            known.insert(change.source.clone(), (cves, change.name.clone()));
        }
    }
    for change in changes {
        if let Some((cves, of)) = known.get(&change.source).filter(|_| change.old.is_some() && change.new.is_some()) {
            (change.cves, change.changelog_of) = (cves.clone(), Some(of.clone()));
        }
    }
    Ok(())
}

/// The changelog in a package that is in the cache; `None` when it has none of its own.
async fn changelog(package: &LockedPackage, cache: &dyn Cache) -> Result<Option<String>> {
    let named =
        |error: Error| Error::new(error.kind(), format!("package {}: {error}", package.name)).with_source(error);
    let bytes = cooper_oci::read_all(cache, &package.descriptor(), DEB_LIMIT).await?;
    let dir = Path::new("usr/share/doc").join(&package.name);
    let names = [dir.join("changelog.Debian.gz"), dir.join("changelog.gz")];
    let mut found: Option<Vec<u8>> = None;
    let mut take = |entry: cooper_oci::Entry, reader: &mut dyn Read| -> Result<()> {
        if names.contains(&entry.path) && (found.is_none() || entry.path == names[0]) {
            let mut compressed = Vec::new();
            let read = reader.take(CHANGELOG_LIMIT).read_to_end(&mut compressed);
            read.map_err(|e| Error::at("read", &entry.path, e))?;
            found = Some(compressed);
        }
        Ok(())
    };
    deb::read_deb(bytes.as_slice(), &mut take).map_err(named)?;
    let Some(compressed) = found.filter(|bytes| !bytes.is_empty()) else { return Ok(None) };
    let limits = Limits { bytes: CHANGELOG_LIMIT, ..Limits::default() };
    let mut text = Vec::new();
    let mut reader = decompress_within(compressed.as_slice(), limits).map_err(|e| named(e.into()))?;
    reader.read_to_end(&mut text).map_err(|e| named(cooper_oci::Error::io("its changelog is broken", e).into()))?;
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

/// CVE ids in the entries of a changelog (deb-changelog(5)) that are newer than a version.
fn cves_since(text: &str, old: &str) -> Vec<String> {
    let is_older = |line: &&str| entry_version(line).is_some_and(|version| version::compare(version, old).is_le());
    let newer = text.lines().take_while(|line| !is_older(line));
    let found: BTreeSet<String> = newer.flat_map(cves_in).collect();
    found.into_iter().collect()
}

/// The version of `name (version) suite; urgency=low`.
fn entry_version(line: &str) -> Option<&str> {
    if line.starts_with(char::is_whitespace) {
        return None;
    }
    let (_, rest) = line.split_once(" (")?;
    let (version, rest) = rest.split_once(')')?;
    rest.contains(';').then_some(version)
}

/// `CVE-2024-12345`, as often as it comes.
fn cves_in(line: &str) -> Vec<String> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let id = |rest: &str| {
        let year = digits(rest);
        let number = rest.get(year..)?.strip_prefix('-').map(digits)?;
        (year == 4 && number >= 4).then(|| format!("CVE-{}", &rest[..year + 1 + number]))
    };
    line.split("CVE-").skip(1).filter_map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_entries_since() {
        let text = "lib (1.0-3) s; urgency=high\n\n  * Fix CVE-2024-0002 (and CVE-2024-12345).\n  * CVE-24-1, CVE-2024-1\n\n -- A  Mon\n\n\
                    lib (1.0-2) s; urgency=high\n\n  * CVE-2024-0001, CVE-2024-0002\n\n\
                    lib (1.0-1) s; urgency=low\n\n  * CVE-2023-9999\n";
        assert_eq!(cves_since(text, "1.0-1"), ["CVE-2024-0001", "CVE-2024-0002", "CVE-2024-12345"]);
        assert_eq!(cves_since(text, "1.0-2"), ["CVE-2024-0002", "CVE-2024-12345"]);
        assert_eq!(cves_since(text, "1.0-3"), [""; 0]);
        // A version that the changelog does not have ends where older entries begin.
        assert_eq!(cves_since(text, "1.0-2~deb12"), ["CVE-2024-0001", "CVE-2024-0002", "CVE-2024-12345"]);
    }
}
