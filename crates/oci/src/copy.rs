//! Copies an image between two places: what it names first, itself last, so that no place ever holds a name without its blobs.
//!
//! Does not know what kind of places they are; retries belong to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};

use crate::document::{DOCUMENT_LIMIT, Document, parse_document};
use crate::platform::best;
use crate::{
    BlobSink, Blobs, Body, Descriptor, Digest, Error, ErrorKind, Manifest, Platform, Result, body_from_bytes,
    from_sources, read_all,
};

/// Indexes within indexes. Three are known in the wild (index, index of a platform, manifest); each level multiplies.
pub const DEPTH_LIMIT: usize = 4;

/// Blobs in flight unless said otherwise: enough to fill a link, few enough for any registry.
const CONCURRENCY: usize = 4;

/// Documents of one copy: bounds what nested indexes can multiply to.
const DOCUMENTS_LIMIT: usize = 10_000;

/// Told of each blob and how many of its bytes have been copied; the last call of a blob gives its size.
pub type Progress = Arc<dyn Fn(&Descriptor, u64) + Send + Sync>;

/// How to copy.
#[derive(Clone)]
pub struct CopyOptions {
    /// Blobs in flight.
    pub concurrency: usize,
    /// Only the manifest for this platform, without the index it is found in.
    pub platform: Option<Platform>,
    /// Copy foreign (non-distributable) layers too.
    pub foreign: bool,
    /// Told of every step.
    pub progress: Option<Progress>,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self { concurrency: CONCURRENCY, platform: None, foreign: false, progress: None }
    }
}

impl fmt::Debug for CopyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyOptions")
            .field("concurrency", &self.concurrency)
            .field("platform", &self.platform)
            .field("foreign", &self.foreign)
            .finish_non_exhaustive()
    }
}

/// Copies `root` and all it names. Blobs that `to` has are left alone.
pub async fn copy(root: &Descriptor, from: &dyn Blobs, to: &dyn BlobSink, options: &CopyOptions) -> Result<()> {
    let root = match &options.platform {
        Some(platform) => choose(root, platform, from).await?,
        None => root.clone(),
    };
    let plan = plan(&root, from).await?;
    let mut work = Vec::<BoxFuture<'_, Result<()>>>::new();
    for leaf in plan.leaves.values() {
        if options.foreign || !is_foreign(leaf) {
            work.push(Box::pin(copy_blob(leaf, from, to, options)));
        }
    }
    in_parallel(options, work).await?;
    for level in plan.documents.iter().rev() {
        let mut work = Vec::<BoxFuture<'_, Result<()>>>::new();
        for (document, bytes) in level {
            work.push(Box::pin(put_document(document, bytes, to, options)));
        }
        in_parallel(options, work).await?;
    }
    Ok(())
}

/// The manifest for `platform` that `root` leads to; `root` itself when it is no index.
pub async fn choose(root: &Descriptor, platform: &Platform, from: &dyn Blobs) -> Result<Descriptor> {
    let mut current = root.clone();
    for _ in 0..DEPTH_LIMIT {
        if !current.media_type.is_index() {
            return Ok(current);
        }
        let bytes = read_all(from, &current, DOCUMENT_LIMIT).await?;
        let document = parse_document(&current.media_type, &bytes)?;
        current = best(&document.children(), platform).cloned().ok_or_else(|| {
            let there: Vec<String> =
                document.children().iter().filter_map(|d| d.platform.as_ref()).map(Platform::to_string).collect();
            Error::new(ErrorKind::NotFound, format!("{} has no image for {platform}", root.digest))
                .with_hint(format!("it has {}", there.join(", ")))
        })?;
    }
    Err(too_deep(root))
}

/// Every blob below a root.
pub(crate) struct Plan {
    /// Manifests and indexes by distance from the root, the root first. Each is in its deepest level only.
    pub(crate) documents: Vec<Vec<(Descriptor, Vec<u8>)>>,
    /// Configs, layers and all else.
    pub(crate) leaves: BTreeMap<Digest, Descriptor>,
}

pub(crate) async fn plan(root: &Descriptor, from: &dyn Blobs) -> Result<Plan> {
    let mut plan = Plan { documents: Vec::new(), leaves: BTreeMap::new() };
    let mut level = vec![root.clone()];
    let mut count = 0;
    while !level.is_empty() {
        if plan.documents.len() > DEPTH_LIMIT {
            return Err(too_deep(root));
        }
        count += level.len();
        if count > DOCUMENTS_LIMIT {
            return Err(Error::new(ErrorKind::TooLarge, format!("{} leads to too many manifests", root.digest)));
        }
        let (documents, next) = read_level(&level, from, &mut plan.leaves).await?;
        let deeper: BTreeSet<Digest> = documents.iter().map(|(descriptor, _)| descriptor.digest.clone()).collect();
        plan.documents
            .iter_mut()
            .for_each(|above| above.retain(|(descriptor, _)| !deeper.contains(&descriptor.digest)));
        plan.documents.push(documents);
        level = next;
    }
    Ok(plan)
}

type Level = Vec<(Descriptor, Vec<u8>)>;

/// Reads the documents of one level; what they name is leaves and the next level.
async fn read_level(
    level: &[Descriptor],
    from: &dyn Blobs,
    leaves: &mut BTreeMap<Digest, Descriptor>,
) -> Result<(Level, Vec<Descriptor>)> {
    let mut documents = Level::new();
    let mut next = BTreeMap::new();
    let (read, other): (Vec<_>, Vec<_>) = level.iter().cloned().partition(is_document);
    leaves.extend(other.into_iter().map(|leaf| (leaf.digest.clone(), leaf)));
    let reads = read.into_iter().map(|descriptor| read_document(descriptor, from));
    let mut reads = stream::iter(reads).buffered(CONCURRENCY);
    while let Some((descriptor, bytes)) = reads.try_next().await? {
        let document = parse_document(&descriptor.media_type, &bytes)?;
        documents.push((descriptor, bytes));
        for child in document.children() {
            let list = if is_document(child) { &mut next } else { &mut *leaves };
            list.entry(child.digest.clone()).or_insert_with(|| child.clone());
        }
    }
    Ok((documents, next.into_values().collect()))
}

async fn read_document(descriptor: Descriptor, from: &dyn Blobs) -> Result<(Descriptor, Vec<u8>)> {
    let bytes = read_all(from, &descriptor, DOCUMENT_LIMIT).await?;
    Ok((descriptor, bytes))
}

fn is_document(descriptor: &Descriptor) -> bool {
    descriptor.media_type.is_index() || descriptor.media_type.is_manifest()
}

fn too_deep(root: &Descriptor) -> Error {
    Error::new(ErrorKind::TooLarge, format!("{} nests indexes more than {DEPTH_LIMIT} deep", root.digest))
}

/// A layer its owner does not allow to be pushed to other registries.
pub(crate) fn is_foreign(descriptor: &Descriptor) -> bool {
    let text = descriptor.media_type.as_str();
    text.contains("layer.nondistributable.") || text.contains("rootfs.foreign.diff")
}

async fn in_parallel(options: &CopyOptions, work: Vec<BoxFuture<'_, Result<()>>>) -> Result<()> {
    stream::iter(work).buffer_unordered(options.concurrency.max(1)).try_collect::<()>().await
}

async fn copy_blob(blob: &Descriptor, from: &dyn Blobs, to: &dyn BlobSink, options: &CopyOptions) -> Result<()> {
    if !to.has(blob).await? {
        let from = Watched { from, progress: options.progress.clone(), furthest: Arc::default() };
        from_sources(&from, || to.take(blob, &from)).await?;
    }
    report(blob, options);
    Ok(())
}

async fn put_document(document: &Descriptor, bytes: &[u8], to: &dyn BlobSink, options: &CopyOptions) -> Result<()> {
    if !to.has(document).await? {
        to.put(document, body_from_bytes(bytes.to_vec())).await?;
    }
    report(document, options);
    Ok(())
}

fn report(blob: &Descriptor, options: &CopyOptions) {
    if let Some(progress) = &options.progress {
        progress(blob, blob.size);
    }
}

/// A place that tells how far a blob has been read. One that is opened again is told of only where it gets further.
struct Watched<'a> {
    from: &'a dyn Blobs,
    progress: Option<Progress>,
    furthest: Arc<AtomicU64>,
}

impl fmt::Debug for Watched<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.from.fmt(f)
    }
}

#[async_trait]
impl Blobs for Watched<'_> {
    async fn open(&self, blob: &Descriptor) -> Result<Body> {
        let body = self.from.open(blob).await?;
        let Some(progress) = self.progress.clone() else { return Ok(body) };
        let (blob, furthest, mut done) = (blob.clone(), self.furthest.clone(), 0);
        Ok(Box::pin(body.inspect_ok(move |bytes| {
            done += bytes.len() as u64;
            if furthest.fetch_max(done, Ordering::Relaxed) < done {
                progress(&blob, done.min(blob.size));
            }
        })))
    }

    fn known_file(&self, blob: &Descriptor) -> Option<File> {
        self.from.known_file(blob)
    }

    fn sources(&self) -> usize {
        self.from.sources()
    }
}

/// Reads and parses a manifest.
pub(crate) async fn read_manifest(descriptor: &Descriptor, from: &dyn Blobs) -> Result<Manifest> {
    let bytes = read_all(from, descriptor, DOCUMENT_LIMIT).await?;
    match parse_document(&descriptor.media_type, &bytes)? {
        Document::Manifest(manifest) => Ok(manifest),
        _ => Err(Error::new(ErrorKind::Invalid, format!("{} is no image manifest", descriptor.digest))),
    }
}
