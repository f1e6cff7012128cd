//! One `--cache-from`: what it holds, read once, and the place that layers and packs come from when something needs them.
//!
//! Does not know what is done with records and mounts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cooper_oci::{Blobs, Body, Descriptor, Hasher};
use cooper_solver::RecordId;
use futures::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};

use super::document::Known;
use super::held::Held;
use super::mounts::MountChoice;
use super::place::{CachePlace, Place};
use crate::{Engine, Error, ErrorKind, Result};

/// A cache that has not said what it holds by then is taken as missing; one whose blob has not begun by then is dropped.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes a second that a cache must give at least: slower than almost any line, and than doing the work again.
const RATE_MIN: u64 = 128 * 1024;

/// `--cache-from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheFrom {
    /// Where it is.
    pub place: CachePlace,
    /// The cache mounts that are restored from it.
    pub mounts: MountChoice,
}

/// What one `--cache-from` holds.
#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) name: String,
    pub(crate) keys: HashMap<String, RecordId>,
    pub(crate) records: HashMap<[u8; 32], Known>,
    /// Entries of cache mounts by the store's ids of them.
    pub(crate) mounts: BTreeMap<String, Descriptor>,
    pub(crate) choice: MountChoice,
    pub(crate) place: Arc<Watched>,
    /// The same place, for packs: what cannot be restored is no reason to distrust the records.
    pub(crate) packs: Arc<Watched>,
}

impl Import {
    /// Reads what a cache holds.
    pub(crate) async fn open(engine: &Engine, from: &CacheFrom) -> Result<Self> {
        let reading = async {
            let place = Place::open(engine, &from.place, false).await?;
            let root = place.root().await?.ok_or_else(|| Error::new(ErrorKind::NotFound, "there is none"))?;
            let held = Held::read(&*place.blobs, root).await?;
            Ok((place, held))
        };
        let slow = |_| Error::new(ErrorKind::Retry, format!("no answer within {} seconds", PATIENCE.as_secs()));
        let (place, held) = tokio::time::timeout(PATIENCE, reading).await.map_err(slow)??;
        let mut import = Self {
            name: place.shown,
            keys: HashMap::new(),
            records: HashMap::new(),
            mounts: held.mounts,
            choice: from.mounts.clone(),
            packs: Arc::new(Watched::new(place.blobs.clone())),
            place: Arc::new(Watched::new(place.blobs)),
        };
        for (id, known) in held.records {
            let Ok(id) = id.parse::<cooper_store::RecordId>() else { continue };
            import.keys.extend(known.keys.iter().map(|key| (key.clone(), RecordId(id.0))));
            import.records.insert(id.0, known);
        }
        Ok(import)
    }
}

/// A place that remembers when it could not give what it promised, and does not wait for ever.
#[derive(Debug)]
pub(crate) struct Watched {
    place: Arc<dyn Blobs>,
    pub(crate) failed: Arc<AtomicBool>,
    /// Its failure was told, and it is not asked again.
    pub(crate) dropped: AtomicBool,
    patience: Duration,
}

impl Watched {
    fn new(place: Arc<dyn Blobs>) -> Self {
        Self { place, failed: Arc::default(), dropped: AtomicBool::new(false), patience: PATIENCE }
    }

    /// When the last byte of a blob must have come.
    fn deadline(&self, size: u64) -> Instant {
        Instant::now() + self.patience + Duration::from_secs(size / RATE_MIN)
    }
}

#[async_trait]
impl Blobs for Watched {
    async fn open(&self, descriptor: &Descriptor) -> cooper_oci::Result<Body> {
        let failed = self.failed.clone();
        let (digest, size) = (descriptor.digest.clone(), descriptor.size);
        let deadline = self.deadline(size);
        let opening = timeout_at(deadline, self.place.open(descriptor)).await;
        let opened = opening.unwrap_or_else(|_| Err(too_slow(descriptor)));
        let opened = opened.inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        let mut hasher = Some(Hasher::new(digest.algorithm()));
        // Whoever takes the bytes verifies them; here it is only noted whose they were.
        Ok(Box::pin(in_time(opened, deadline, descriptor.clone()).inspect(move |piece| {
            let Some(open) = &mut hasher else { return };
            match piece {
                Ok(bytes) => open.update(bytes),
                Err(_) => failed.store(true, Ordering::Relaxed),
            }
            if open.size() >= size
                && let Some(full) = hasher.take()
            {
                let right = full.size() == size && full.finish() == digest;
                failed.fetch_or(!right, Ordering::Relaxed);
            }
        })))
    }

    fn sources(&self) -> usize {
        self.place.sources()
    }
}

/// The body until the deadline, then an error.
fn in_time(body: Body, deadline: Instant, descriptor: Descriptor) -> Body {
    Box::pin(stream::unfold(Some((body, descriptor)), move |open| async move {
        let (mut body, descriptor) = open?;
        match timeout_at(deadline, body.next()).await {
            Ok(piece) => piece.map(|piece| (piece, Some((body, descriptor)))),
            Err(_) => Some((Err(too_slow(&descriptor)), None)),
        }
    }))
}

fn too_slow(descriptor: &Descriptor) -> cooper_oci::Error {
    let what = format!("{} comes more slowly than {} KiB a second", descriptor.digest, RATE_MIN / 1024);
    cooper_oci::Error::new(cooper_oci::ErrorKind::Retry, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Stalling;

    #[async_trait]
    impl Blobs for Stalling {
        async fn open(&self, _: &Descriptor) -> cooper_oci::Result<Body> {
            let first = stream::once(async { Ok(bytes::Bytes::from_static(b"ab")) });
            Ok(Box::pin(first.chain(stream::pending())))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_stalls_is_given_up_in_bounded_time() {
        let watched = Watched::new(Arc::new(Stalling));
        let blob = Descriptor::of("application/x", b"abc");
        let started = Instant::now();
        let error = cooper_oci::read_all(&watched, &blob, 100).await.unwrap_err();
        assert_eq!(error.kind(), cooper_oci::ErrorKind::Retry);
        assert_eq!(started.elapsed().as_secs(), PATIENCE.as_secs());
        assert!(watched.failed.load(Ordering::Relaxed));
    }
}
