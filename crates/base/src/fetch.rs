//! Verified blobs from archives into a cache: each by its SHA-256, in parallel, resumed, bounded.
//!
//! Knows nothing of what the blobs hold.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cooper_oci::{BlobSink, Blobs, Body, Descriptor};
use futures::StreamExt as _;

use crate::lock::{Lock, LockedPackage};
use crate::sources::Net;
use crate::{Error, ErrorKind, Result};

/// .debs fetched at once.
const PARALLEL: usize = 8;

/// Where verified blobs are kept: a store.
pub trait Cache: Blobs + BlobSink {}

impl<T: Blobs + BlobSink> Cache for T {}

/// What a caller may show while it waits.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A release's signature is good and its names and dates are right.
    Verified {
        /// Address of the archive.
        uri: &'a str,
        /// Suite.
        suite: &'a str,
        /// Date of the release, seconds since 1970.
        date: i64,
        /// Fingerprints of the keys that signed.
        keys: &'a [String],
    },
    /// A download begins.
    Begun {
        /// Name of what is fetched.
        name: &'a str,
        /// Its bytes.
        size: u64,
    },
    /// Some bytes of it came.
    Progress {
        /// Name of what is fetched.
        name: &'a str,
        /// How many.
        bytes: u64,
    },
    /// It is in the cache, verified.
    Ended {
        /// Name of what is fetched.
        name: &'a str,
    },
}

/// Takes events.
pub type Events<'a> = &'a (dyn Fn(Event<'_>) + Send + Sync);

/// Where .debs are looked for.
#[derive(Clone, Debug)]
pub struct Places {
    /// The network.
    pub net: Net,
    /// Directories with .debs, looked at first.
    pub deb_dirs: Vec<PathBuf>,
    /// Addresses of mirrors by suite, tried before the one in the lock file: what is fetched is verified all the same.
    pub mirrors: BTreeMap<String, Vec<String>>,
}

/// Brings the packages of some architectures into the cache. Afterwards each [`LockedPackage::descriptor`] opens there.
pub async fn fetch(
    lock: &Lock,
    architectures: &[String],
    places: &Places,
    cache: &dyn Cache,
    events: Events<'_>,
) -> Result<()> {
    let mut packages: BTreeMap<String, &LockedPackage> = BTreeMap::new();
    for architecture in architectures {
        for package in lock.packages(architecture)? {
            packages.insert(package.digest.to_string(), package);
        }
    }
    let mut fetched = futures::stream::iter(packages.into_values())
        .map(|package| fetch_package(lock, package, places, cache, events))
        .buffer_unordered(PARALLEL);
    while let Some(outcome) = fetched.next().await {
        outcome?;
    }
    Ok(())
}

pub(crate) async fn fetch_package(
    lock: &Lock,
    package: &LockedPackage,
    places: &Places,
    cache: &dyn Cache,
    events: Events<'_>,
) -> Result<()> {
    let name = format!("{} {} ({})", package.name, package.version, package.architecture);
    let addresses = addresses(lock, package, places);
    fetch_blob(&name, &addresses, &package.descriptor(), &places.net, cache, events).await
}

fn addresses(lock: &Lock, package: &LockedPackage, places: &Places) -> Vec<String> {
    let basename = package.filename.rsplit('/').next().unwrap_or_default();
    let local = places.deb_dirs.iter().map(|dir| dir.join(basename)).filter(|path| path.is_file());
    let mut out: Vec<String> = local.filter_map(|path| url::Url::from_file_path(path).ok()).map(String::from).collect();
    if let Some(release) = package.release.as_ref().and_then(|name| lock.releases.get(name)) {
        let mirrors = places.mirrors.get(&release.suite).into_iter().flatten();
        for uri in mirrors.chain([&release.uri]) {
            out.push(format!("{}/{}", uri.trim_end_matches('/'), escaped(&package.filename)));
        }
    }
    out
}

/// A path as part of an address. apt sends `+` and `~` as they are, and mirrors expect it; `%` and spaces cannot stay.
fn escaped(path: &str) -> String {
    path.replace('%', "%25").replace(' ', "%20").replace('#', "%23").replace('?', "%3F")
}

/// Brings one blob into the cache from the first address that has it as it must be. `name` names it in errors.
pub(crate) async fn fetch_blob(
    name: &str,
    addresses: &[String],
    descriptor: &Descriptor,
    net: &Net,
    cache: &dyn Cache,
    events: Events<'_>,
) -> Result<()> {
    if cache.has(descriptor).await? {
        return Ok(());
    }
    events(Event::Begun { name, size: descriptor.size });
    let mut worst: Option<Error> = None;
    for address in addresses {
        let outcome = match net.open(address, descriptor.size).await {
            Ok(body) => put(name, body, descriptor, cache, events).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {
                events(Event::Ended { name });
                return Ok(());
            }
            // What was tampered with says more than what is not there.
            Err(error) if worst.as_ref().is_none_or(|held| held.kind() != ErrorKind::Untrusted) => worst = Some(error),
            Err(_) => {}
        }
    }
    Err(not_fetched(name, worst))
}

fn not_fetched(name: &str, cause: Option<Error>) -> Error {
    let Some(cause) = cause else {
        return Error::new(ErrorKind::NotFound, format!("{name} is in no directory of .debs, and has no address"))
            .with_hint("give the directory that has it with `--deb-dir`");
    };
    let (kind, what) = match cause.kind() {
        ErrorKind::Untrusted => (ErrorKind::Untrusted, format!("{name} is not what it must be")),
        kind => (kind, format!("cannot fetch {name}")),
    };
    let hint = match kind {
        ErrorKind::NotFound => {
            "the archive may have replaced it: lock again with `cooper base lock`, or give `--deb-dir`"
        }
        ErrorKind::Untrusted => {
            "the mirror serves something else than the release promises: do not use it, or lock again"
        }
        _ => cause.hint().unwrap_or("check the network and the proxy, and try again"),
    };
    Error::new(kind, what).with_hint(hint.to_owned()).with_source(cause)
}

/// The cache verifies size and digest, and keeps nothing else.
async fn put(name: &str, body: Body, descriptor: &Descriptor, cache: &dyn Cache, events: Events<'_>) -> Result<()> {
    // A body lives as long as it is put, but its type says forever: progress goes through a channel of its own.
    let (sender, mut receiver) = futures::channel::mpsc::unbounded();
    let counted = body.inspect(move |chunk| {
        if let Ok(bytes) = chunk {
            // The receiver goes when the transfer does.
            let _ = sender.unbounded_send(bytes.len() as u64);
        }
    });
    let put = cache.put(descriptor, Box::pin(counted));
    let report = async {
        while let Some(bytes) = receiver.next().await {
            events(Event::Progress { name, bytes });
        }
    };
    let (outcome, ()) = futures::join!(put, report);
    outcome.map_err(Error::from)
}
