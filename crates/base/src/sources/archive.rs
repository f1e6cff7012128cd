//! Opens an archive's suite: the signed release, verified and held against what was asked, then its package indexes.
//!
//! Knows nothing of which packages are wanted.

use std::io::{Cursor, Read as _};

use cooper_oci::{Descriptor, Digest, Limits, MediaType, decompress_within};
use futures::StreamExt as _;

use super::{Archive, Expectation, Net, Release};
use crate::fetch::{Cache, Event, Events, fetch_blob};
use crate::index::{Package, parse_index};
use crate::lock::Lock;
use crate::pgp::Signed;
use crate::{Error, ErrorKind, Result};

/// Bytes of an InRelease; Debian's have 150 kB.
const RELEASE_LIMIT: u64 = 16 << 20;

/// Bytes of a detached signature.
const SIGNATURE_LIMIT: u64 = 1 << 20;

/// Bytes of a compressed index; Debian's largest have 12 MB.
const INDEX_LIMIT: u64 = 128 << 20;

/// An index uncompressed: at most this, and at most 200 bytes for each compressed one past the first 16 MiB.
const INDEX_EXPANDED: Limits = Limits { bytes: 512 << 20, free: 16 << 20, ratio: 200 };

/// Media type of an index in a store.
const INDEX_MEDIA_TYPE: &str = "application/vnd.debian.packages";

/// Indexes fetched at once.
const PARALLEL: usize = 8;

/// A suite whose release was believed.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The address that served it.
    pub uri: String,
    /// Suite as asked for.
    pub suite: String,
    /// Components asked for.
    pub components: Vec<String>,
    /// The release.
    pub release: Release,
    /// SHA-256 of the signed text as served.
    pub digest: Digest,
    /// Keys whose signatures are good.
    pub keys: Vec<String>,
}

/// The packages of one index.
#[derive(Debug)]
pub struct Index {
    /// Debian architecture that was asked for.
    pub architecture: String,
    /// Its packages.
    pub packages: Vec<Package>,
}

/// Opens one suite: the first address of the archive that serves a release is taken, and has to be good.
///
/// `old` is the lock that is replaced: a release of this suite from there, or one signed by the same key, must not be newer.
pub async fn open(
    archive: &Archive,
    expected: &Expectation<'_>,
    old: Option<&Lock>,
    net: &Net,
    events: Events<'_>,
) -> Result<Opened> {
    let mut last = None;
    for uri in &archive.uris {
        match fetch_release(archive, uri, expected, net).await {
            Err(error) if matches!(error.kind(), ErrorKind::Retry | ErrorKind::NotFound | ErrorKind::Io) => {
                last = Some(error)
            }
            Err(error) => return Err(error),
            Ok((signed, digest)) => {
                let what = format!("release {} of {uri}", expected.suite);
                let release = Release::parse(&signed.text, &what)?;
                let not_before = expected.not_before.max(newest_before(old, uri, expected.suite, &signed.keys));
                release.check(&Expectation { not_before, ..expected.clone() }, &what)?;
                events(Event::Verified { uri, suite: expected.suite, date: release.date, keys: &signed.keys });
                return Ok(Opened {
                    uri: uri.trim_end_matches('/').to_owned(),
                    suite: expected.suite.to_owned(),
                    components: expected.components.to_vec(),
                    release,
                    digest,
                    keys: signed.keys,
                });
            }
        }
    }
    let none = || Error::new(ErrorKind::Invalid, format!("no address serves {}", expected.suite));
    Err(last.unwrap_or_else(none))
}

/// Date of the newest release of a lock that this one takes the place of.
fn newest_before(old: Option<&Lock>, uri: &str, suite: &str, keys: &[String]) -> Option<i64> {
    let releases = old.into_iter().flat_map(|old| old.releases.values());
    let same = releases.filter(|release| {
        let shares_key = release.signed_by.iter().any(|key| keys.contains(key));
        release.suite == suite && (release.uri == uri.trim_end_matches('/') || shares_key)
    });
    same.map(|release| release.date).max()
}

/// `InRelease`, or `Release` and its signature beside it.
async fn fetch_release(
    archive: &Archive,
    uri: &str,
    expected: &Expectation<'_>,
    net: &Net,
) -> Result<(Signed, Digest)> {
    let base = format!("{}/dists/{}", uri.trim_end_matches('/'), expected.suite);
    let address = format!("{base}/InRelease");
    match net.read(&address, RELEASE_LIMIT).await {
        Ok(bytes) => Ok((archive.keyring.open_clearsigned(&bytes, &address, expected.now)?, Digest::of(&bytes))),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let address = format!("{base}/Release");
            // What is missing is told as the InRelease that ought to be there.
            let Ok(bytes) = net.read(&address, RELEASE_LIMIT).await else { return Err(error) };
            let signature = net
                .read(&format!("{address}.gpg"), SIGNATURE_LIMIT)
                .await
                .map_err(|e| Error::new(ErrorKind::Untrusted, format!("{address} is not signed")).with_source(e))?;
            Ok((archive.keyring.open_detached(&bytes, &signature, &address, expected.now)?, Digest::of(&bytes)))
        }
        Err(error) => Err(error),
    }
}

impl Opened {
    /// Fetches and reads the indexes of some architectures, from the cache where they are there.
    pub async fn indexes(
        &self,
        architectures: &[String],
        net: &Net,
        cache: &dyn Cache,
        events: Events<'_>,
    ) -> Result<Vec<Index>> {
        let what = format!("release {} of {}", self.suite, self.uri);
        let mut wanted = Vec::new();
        for architecture in architectures {
            for component in &self.components {
                for (path, digest, size) in self.release.indexes(component, architecture, &what)? {
                    if size > INDEX_LIMIT {
                        return Err(Error::new(ErrorKind::TooLarge, format!("{what}: {path} has {size} bytes")));
                    }
                    wanted.push((
                        architecture.clone(),
                        path,
                        Descriptor::new(MediaType::from(INDEX_MEDIA_TYPE), digest, size),
                    ));
                }
            }
        }
        let fetched = wanted.into_iter().map(|(architecture, path, descriptor)| async move {
            let packages = self.index(&path, &descriptor, net, cache, events).await?;
            Ok(Index { architecture, packages })
        });
        let outcomes: Vec<Result<Index>> = futures::stream::iter(fetched).buffered(PARALLEL).collect().await;
        outcomes.into_iter().collect()
    }

    async fn index(
        &self,
        path: &str,
        descriptor: &Descriptor,
        net: &Net,
        cache: &dyn Cache,
        events: Events<'_>,
    ) -> Result<Vec<Package>> {
        let base = format!("{}/dists/{}", self.uri, self.suite);
        let plain = format!("{base}/{path}");
        let by_hash = path.rsplit_once('/').filter(|_| self.release.by_hash);
        let by_hash = by_hash.map(|(dir, _)| format!("{base}/{dir}/by-hash/SHA256/{}", descriptor.digest.hex()));
        let addresses: Vec<String> = by_hash.into_iter().chain([plain.clone()]).collect();
        fetch_blob(&plain, &addresses, descriptor, net, cache, events).await?;
        let bytes = cooper_oci::read_all(cache, descriptor, INDEX_LIMIT).await?;
        read_index(bytes, &plain)
    }
}

fn read_index(bytes: Vec<u8>, what: &str) -> Result<Vec<Package>> {
    let fault = |error: cooper_oci::Error| {
        let is_bomb = error.kind() == cooper_oci::ErrorKind::TooLarge;
        let kind = if is_bomb { ErrorKind::TooLarge } else { ErrorKind::Untrusted };
        Error::new(kind, format!("cannot decompress {what}")).with_source(error)
    };
    let mut text = String::new();
    let mut reader = decompress_within(Cursor::new(bytes), INDEX_EXPANDED).map_err(fault)?;
    let read = reader.read_to_string(&mut text);
    read.map_err(|error| fault(cooper_oci::Error::io("cannot read it", error)))?;
    parse_index(&text, what)
}
