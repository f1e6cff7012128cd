//! From declarations and archives to a lock: verify, read, choose.
//!
//! Reads no clock. Knows nothing of what the packages hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use futures::StreamExt as _;

use crate::fetch::{Cache, Events};
use crate::index::Package;
use crate::lock::{LOCK_VERSION, Lock, LockedPackage, LockedRelease};
use crate::manifest::{Manifest, PackageSpec};
use crate::resolve::{Goal, Offer, Universe, solve};
use crate::sources::{Archive, Expectation, Index, Net, Opened, open};
use crate::{Error, ErrorKind, Result};

/// Suites read at once.
const PARALLEL: usize = 4;

/// What a lock is made with, beside the declared file.
#[derive(Debug)]
pub struct LockRequest<'a> {
    /// Archives: the declared ones, or the host's.
    pub archives: &'a [Archive],
    /// Directories whose .debs are offered too.
    pub deb_dirs: &'a [PathBuf],
    /// Debian architectures of the image.
    pub architectures: &'a [String],
    /// The lock that is replaced: releases must not be older than its.
    pub old: Option<&'a Lock>,
    /// Seconds since 1970.
    pub now: i64,
    /// Packages of the old lock change only to what a security release has.
    pub security_only: bool,
}

/// Makes a lock.
pub async fn lock(
    manifest: &Manifest,
    request: &LockRequest<'_>,
    net: &Net,
    cache: &dyn Cache,
    events: Events<'_>,
) -> Result<Lock> {
    if request.archives.is_empty() && request.deb_dirs.is_empty() {
        return Err(Error::new(ErrorKind::NotFound, "there is no source of packages")
            .with_hint("declare `sources`, or give a directory of .debs with `--deb-dir`"));
    }
    let wanted = all_architectures(request.architectures, &manifest.packages);
    let mut releases = BTreeMap::new();
    let mut offers: BTreeMap<String, Vec<Offer>> = BTreeMap::new();
    let suites = request.archives.iter().flat_map(|archive| archive.suites.iter().map(move |suite| (archive, suite)));
    let read = suites.map(|(archive, suite)| read_suite(archive, suite, &wanted, request, (net, cache, events)));
    // In the order of the declaration, whichever comes first.
    let mut read = futures::stream::iter(read).buffered(PARALLEL);
    while let Some(outcome) = read.next().await {
        let (opened, indexes) = outcome?;
        let name = release_name(&releases, &opened);
        for index in indexes {
            let offered = index.packages.into_iter().map(|package| Offer {
                package: package.into(),
                release: Some(name.clone()),
                reluctant: opened.release.not_automatic,
            });
            offers.entry(index.architecture).or_default().extend(offered);
        }
        releases.insert(name, locked_release(&opened));
    }
    for package in crate::deb_dir::packages(request.deb_dirs, cache).await? {
        let into: Vec<&String> =
            wanted.iter().filter(|name| package.architecture == "all" || package.architecture == **name).collect();
        for architecture in into {
            let offer = Offer { package: package.clone().into(), release: None, reluctant: false };
            offers.entry(architecture.clone()).or_default().push(offer);
        }
    }
    let mut packages = BTreeMap::new();
    for architecture in request.architectures {
        let mut some = offers_for(manifest, architecture, &offers);
        if let Some(old) = request.old.filter(|_| request.security_only) {
            keep_locked(&mut some, old, architecture);
        }
        packages.insert(architecture.clone(), choose(manifest, architecture, some)?);
    }
    Ok(Lock { version: LOCK_VERSION, inputs: manifest.lock_inputs(), releases, packages })
}

/// What suites are read through.
type Through<'a> = (&'a Net, &'a dyn Cache, Events<'a>);

async fn read_suite(
    archive: &Archive,
    suite: &str,
    architectures: &[String],
    request: &LockRequest<'_>,
    (net, cache, events): Through<'_>,
) -> Result<(Opened, Vec<Index>)> {
    let expected = Expectation {
        suite,
        components: &archive.components,
        architectures,
        now: request.now,
        check_valid_until: archive.check_valid_until,
        max_age_days: archive.max_age_days,
        not_before: None,
    };
    let opened = open(archive, &expected, request.old, net, events).await?;
    let indexes = opened.indexes(architectures, net, cache, events).await?;
    Ok((opened, indexes))
}

/// The image's architectures, and those that packages are asked for by name (`libc6:i386`).
fn all_architectures(own: &[String], packages: &[PackageSpec]) -> Vec<String> {
    let foreign = packages.iter().flat_map(|spec| &spec.choices).filter_map(|wanted| wanted.architecture.clone());
    let all: BTreeSet<String> = own.iter().cloned().chain(foreign.filter(|name| name != "all")).collect();
    all.into_iter().collect()
}

/// The suite; numbered when several archives have one of that name.
fn release_name(taken: &BTreeMap<String, LockedRelease>, opened: &Opened) -> String {
    let numbered = (2..).map(|number| format!("{}.{number}", opened.suite));
    let mut names = std::iter::once(opened.suite.clone()).chain(numbered);
    names.find(|name| !taken.contains_key(name)).unwrap_or_default()
}

fn locked_release(opened: &Opened) -> LockedRelease {
    let mut components = opened.components.clone();
    components.sort();
    LockedRelease {
        uri: opened.uri.clone(),
        suite: opened.suite.clone(),
        origin: opened.release.origin.clone(),
        components,
        date: opened.release.date,
        digest: opened.digest.clone(),
        signed_by: opened.keys.clone(),
    }
}

fn offers_for(manifest: &Manifest, architecture: &str, offers: &BTreeMap<String, Vec<Offer>>) -> Vec<Offer> {
    // The image's own architecture first: of equal versions of `all` the first is taken.
    let foreign = all_architectures(&[], &manifest.packages);
    let names =
        std::iter::once(architecture).chain(foreign.iter().map(String::as_str).filter(|name| *name != architecture));
    let mut out = Vec::new();
    for name in names {
        let some = offers.get(name).into_iter().flatten();
        out.extend(some.filter(|offer| name == architecture || offer.package.architecture != "all").cloned());
    }
    out
}

/// Leaves, of each package that was locked, the version locked and what security releases offer. A package whose locked
/// version is offered nowhere any more keeps all its offers.
fn keep_locked(offers: &mut Vec<Offer>, old: &Lock, architecture: &str) {
    let locked = old.packages.get(architecture).into_iter().flatten();
    let locked: BTreeMap<(&str, &str), &LockedPackage> =
        locked.map(|package| ((package.name.as_str(), package.architecture.as_str()), package)).collect();
    let key = |offer: &Offer| (offer.package.name.clone(), offer.package.architecture.clone());
    let is_locked = |offer: &Offer| {
        let held = locked.get(&(offer.package.name.as_str(), offer.package.architecture.as_str()));
        held.is_some_and(|held| held.version == offer.package.version)
    };
    let still_offered: BTreeSet<(String, String)> = offers.iter().filter(|offer| is_locked(offer)).map(key).collect();
    offers.retain(|offer| {
        let from_security = offer.release.as_deref().is_some_and(is_security);
        !still_offered.contains(&key(offer)) || is_locked(offer) || from_security
    });
}

/// `bookworm-security`, `noble-security`, and the older `buster/updates`.
pub(crate) fn is_security(suite: &str) -> bool {
    suite.contains("-security") || suite.ends_with("/updates")
}

fn choose(manifest: &Manifest, architecture: &str, offers: Vec<Offer>) -> Result<Vec<LockedPackage>> {
    let universe = Universe::new(offers, architecture, &manifest.packages, &manifest.omit);
    let goal = Goal {
        packages: &manifest.packages,
        variant: manifest.variant.unwrap_or_default(),
        recommends: manifest.recommends.unwrap_or(false),
    };
    let ids = solve(&universe, &goal)?;
    Ok(ids.into_iter().map(|id| locked_package(universe.offer(id))).collect())
}

fn locked_package(offer: &Offer) -> LockedPackage {
    let package = Package::clone(&offer.package);
    LockedPackage {
        name: package.name,
        version: package.version,
        architecture: package.architecture,
        source: package.source,
        source_version: package.source_version,
        release: offer.release.clone(),
        filename: package.filename,
        size: package.size,
        digest: package.digest,
    }
}
