//! Caches that builders share: read before a step is run, written after a build. A cache is an image-like artifact at a
//! registry or in an OCI layout, or part of an image (inline); blobs travel by `oci::copy`, and only those that are missing.
//!
//! Nothing of a cache is trusted beyond its digests: whoever may write it decides what a step is taken to have made, so it is
//! read only from where the user said. A cache that is missing, slow or broken is a miss and a warning, never a failed build.

mod document;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cooper_oci::{
    BlobSink, Blobs, Body, CopyOptions, Descriptor, Digest, Hasher, ImageConfig, Layout, Manifest, MediaType,
    Reference, copy, read_all,
};
use cooper_registry::{Client, Repository};
use cooper_solver::{Key, RecordId};
use cooper_store::{LayerId, Record, Store};
use futures::StreamExt;

use self::document::{Document, Known, MEDIA_TYPE, Records, merge};
pub(crate) use self::document::{INLINE_FIELD, Inline, InlineEntry};
use crate::error::{from_oci, from_store};
use crate::filesystem::Filesystem;
use crate::seal::Seals;
use crate::source::Remotes;
use crate::{Engine, Error, ErrorKind, Event, EventSink, Result, StepId, StepState};

/// Largest document read: five thousand records with ten keys each are a tenth of it.
const DOCUMENT_MAX: u64 = 32 * 1024 * 1024;

/// A cache that has not said what it holds by then is taken as missing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Attempts at adding to a cache that others add to at the same time.
const MERGES_MAX: usize = 5;

/// `--cache-from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheFrom {
    /// A cache, or an image with an inline one, at a registry.
    Registry(Reference),
    /// An OCI layout, and the tag or digest in it.
    Local(PathBuf, String),
}

/// `--cache-to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheTo {
    /// Where to.
    pub place: CachePlace,
    /// Every step's result, not only those the image consists of.
    pub max: bool,
    /// A cache that cannot be written is a warning.
    pub ignore_error: bool,
}

/// Where a cache is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CachePlace {
    /// Into the image itself.
    Inline,
    /// At a registry.
    Registry(Reference),
    /// Into an OCI layout, under a tag.
    Local(PathBuf, String),
}

/// The caches of one build, through all its attempts.
#[derive(Debug, Default)]
pub(crate) struct SharedCaches {
    imports: Vec<Import>,
    /// Records this build used or made.
    used: Mutex<BTreeSet<[u8; 32]>>,
}

/// What one `--cache-from` holds.
#[derive(Debug)]
struct Import {
    name: String,
    keys: HashMap<String, RecordId>,
    records: HashMap<[u8; 32], Known>,
    place: Arc<Watched>,
}

/// A place that remembers when it could not give what it promised.
#[derive(Debug)]
struct Watched {
    place: Arc<dyn Blobs>,
    failed: Arc<AtomicBool>,
    /// Its failure was told, and it is not asked again.
    dropped: AtomicBool,
}

#[async_trait]
impl Blobs for Watched {
    async fn open(&self, descriptor: &Descriptor) -> cooper_oci::Result<Body> {
        let failed = self.failed.clone();
        let opened = self.place.open(descriptor).await.inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        let (digest, size) = (descriptor.digest.clone(), descriptor.size);
        let mut hasher = Some(Hasher::new(digest.algorithm()));
        // Whoever takes the bytes verifies them; here it is only noted whose they were.
        Ok(Box::pin(opened.inspect(move |piece| {
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

impl SharedCaches {
    /// Reads what the caches hold; their layers stay where they are.
    pub(crate) async fn open(engine: &Engine, from: &[CacheFrom], events: &dyn EventSink) -> Self {
        let opened = futures::future::join_all(from.iter().map(|from| Import::open(engine, from))).await;
        let mut imports = Vec::new();
        for (from, opened) in from.iter().zip(opened) {
            match opened {
                Ok(import) => imports.push(import),
                Err(error) => warn(events, format!("no cache from {}: {error}", from.name())),
            }
        }
        Self { imports, used: Mutex::default() }
    }

    fn imports(&self) -> impl Iterator<Item = &Import> {
        self.imports.iter().filter(|import| !import.place.dropped.load(Ordering::Relaxed))
    }

    /// The record that a key names in any of the caches.
    pub(crate) fn lookup(&self, key: &Key) -> Option<RecordId> {
        if self.imports.is_empty() {
            return None;
        }
        let key = key.to_string();
        self.imports().find_map(|import| import.keys.get(&key).copied())
    }

    /// The filesystem of a record of a cache. The store learns of it; the bytes come when something needs them.
    pub(crate) fn load(&self, id: &RecordId, store: &Store, remotes: &Remotes) -> Option<Filesystem> {
        let (import, known) = self.imports().find_map(|import| Some((import, import.records.get(&id.0)?)))?;
        let mut layers = Vec::new();
        for (blob, diff_id) in &known.layers {
            let layer = store.import_layer(blob, diff_id).ok()?;
            if !store.hold_layer(&layer).ok()? {
                return None;
            }
            remotes.add(layer.clone(), blob, import.place.clone());
            layers.push(layer);
        }
        let record = Record {
            id: cooper_store::RecordId(id.0),
            layers: layers.clone(),
            inputs: Vec::new(),
            detail: None,
            step: known.step.clone(),
            created: known.created,
            trace: None,
        };
        let keys: Vec<cooper_store::Key> = known.keys.iter().filter_map(|key| key.parse().ok()).collect();
        store.save(&record, &keys).ok()?;
        Some(Filesystem::Layers(layers.into()))
    }

    /// The build used or made this record.
    pub(crate) fn note(&self, id: &RecordId) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(id.0);
    }

    /// Drops the caches that could not give what they promised, and what the store believed of them; whether there were any.
    pub(crate) fn drop_failed(&self, store: &Store, events: &dyn EventSink) -> bool {
        let mut any = false;
        for import in self.imports().filter(|import| import.place.failed.load(Ordering::Relaxed)) {
            import.place.dropped.store(true, Ordering::Relaxed);
            any = true;
            for id in import.records.keys() {
                // One that is gone already is as good as forgotten.
                let _ = store.forget(&cooper_store::RecordId(*id));
            }
            warn(events, format!("the cache from {} cannot give what it lists; it is not used", import.name));
        }
        any
    }

    /// The records of this build that a cache is made of: those whose layers are the lowest of `images`, or all.
    async fn records(&self, work: &Export<'_>, max: bool) -> Result<Records> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut records = Records::new();
        for id in used {
            let id = cooper_store::RecordId(id);
            let what = "cannot read the results for the cache";
            let Some(record) = work.store.record(&id).map_err(|e| from_store(e, what))? else { continue };
            let is_part = work.images.iter().any(|image| image.starts_with(&record.layers));
            let wanted = !record.layers.is_empty() && (max || is_part);
            if !wanted || !record.layers.iter().all(|layer| work.has(layer)) {
                continue;
            }
            let keys = work.store.keys_of(&id).map_err(|e| from_store(e, what))?;
            let mut layers = Vec::new();
            for layer in &record.layers {
                layers.push(work.layer(layer).await?);
            }
            let keys = keys.iter().map(ToString::to_string).collect();
            let known = Known { keys, layers, step: record.step, created: record.created };
            records.insert(id.to_string(), known);
        }
        Ok(records)
    }

    /// The inline cache for an image of these layers.
    pub(crate) async fn inline(&self, store: &Store, layers: &[LayerId]) -> Result<Inline> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut entries = Vec::new();
        for id in used {
            let id = cooper_store::RecordId(id);
            let what = "cannot read the results for the inline cache";
            let Some(record) = store.record(&id).map_err(|e| from_store(e, what))? else { continue };
            if !record.layers.is_empty() && layers.starts_with(&record.layers) {
                let mut keys = store.keys_of(&id).map_err(|e| from_store(e, what))?;
                keys.sort_unstable();
                let keys = keys.iter().map(ToString::to_string).collect();
                entries.push(InlineEntry { id: id.to_string(), keys, layers: record.layers.len() });
            }
        }
        Ok(Inline(entries))
    }

    /// Writes the caches that were asked for; the first one has step number `first`.
    pub(crate) async fn write(&self, all: &[CacheTo], work: &Export<'_>, first: u32) -> Result<()> {
        for (step, to) in (first..).map(StepId).zip(all) {
            let started = Instant::now();
            work.events.event(Event::Started { step, why: None });
            let result = self.export(to, work).await;
            let state = result.as_ref().map_or_else(|e| StepState::Failed(e.what.clone()), |()| StepState::Done);
            work.events.event(Event::Finished { step, state, took: started.elapsed() });
            match result {
                Err(error) if to.ignore_error => warn(work.events, error.to_string()),
                result => result?,
            }
        }
        Ok(())
    }

    /// Writes one cache, adding to what is there.
    async fn export(&self, to: &CacheTo, work: &Export<'_>) -> Result<()> {
        let records = self.records(work, to.max).await?;
        let failed = |error| from_oci(error, &format!("cannot write the cache to {}", to.place.name()));
        match &to.place {
            CachePlace::Inline => Ok(()),
            CachePlace::Registry(reference) => {
                let repository = work.client.repository(reference);
                for attempt in 1..=MERGES_MAX {
                    let mut all = records.clone();
                    merge(&mut all, held(&repository).await?);
                    let written = work.write(&all, &repository).await.map_err(failed)?;
                    let bytes = read_all(work.store, &written, DOCUMENT_MAX).await.map_err(failed)?;
                    let put = repository.put_manifest(reference.target(), written.media_type.clone(), bytes).await;
                    put.map_err(|e| failed(e.into()))?;
                    // Another builder may have written in between: then what it wrote is taken in, and so on.
                    let there = held(&repository).await?;
                    if attempt == MERGES_MAX || records.keys().all(|id| there.contains_key(id)) {
                        break;
                    }
                }
                Ok(())
            }
            CachePlace::Local(dir, tag) => {
                let layout = Layout::create(dir).map_err(failed)?;
                let mut all = records;
                if let Ok(root) = layout.find(Some(tag))
                    && let Ok(there) = read_cache(&layout, &root).await
                {
                    merge(&mut all, there);
                }
                let written = work.write(&all, &layout).await.map_err(failed)?;
                let name = format!("cache.invalid/cache:{tag}").parse().map_err(failed)?;
                layout.add(&written, &[name]).map_err(failed)
            }
        }
    }
}

/// What a registry's reference holds; nothing when there is none, or something else.
async fn held(repository: &Repository) -> Result<Records> {
    let root = match repository.resolve().await {
        Ok(root) => root,
        Err(error) if error.kind() == cooper_registry::ErrorKind::NotFound => return Ok(Records::new()),
        Err(error) => return Err(from_oci(error.into(), "cannot read the cache that is there")),
    };
    Ok(read_cache(repository, &root).await.unwrap_or_default())
}

/// What writing a cache needs of the build.
pub(crate) struct Export<'a> {
    pub(crate) store: &'a Store,
    pub(crate) client: &'a Client,
    pub(crate) remotes: &'a Arc<Remotes>,
    pub(crate) seals: &'a Seals,
    /// The layers of the images built.
    pub(crate) images: Vec<&'a [LayerId]>,
    pub(crate) events: &'a dyn EventSink,
}

impl Export<'_> {
    fn has(&self, layer: &LayerId) -> bool {
        self.remotes.knows(layer) || self.store.layer_is_here(layer).unwrap_or(false)
    }

    /// A layer's blob, the one its base came in if there is one, and its diff id.
    async fn layer(&self, layer: &LayerId) -> Result<(Descriptor, Digest)> {
        let blob = match self.remotes.blob_of(layer) {
            Some(blob) => blob,
            None => self.seals.any_blob(layer).await?,
        };
        let what = "cannot describe a layer for the cache";
        let diff_id = self.store.layer_diff_id(layer).map_err(|e| from_store(e, what))?;
        Ok((blob, diff_id.ok_or_else(|| Error::new(ErrorKind::Io, format!("{what}: it has no diff id")))?))
    }

    /// Writes the blobs of `records` and the document to `to`; the manifest is named by the caller.
    async fn write(&self, records: &Records, to: &dyn BlobSink) -> cooper_oci::Result<Descriptor> {
        let (document, blobs) = Document::of(records);
        let put =
            |media_type: &str, bytes: &[u8]| self.store.put_bytes(media_type, bytes).map_err(cooper_oci::Error::from);
        let config = put(MEDIA_TYPE, &json(&document)?)?;
        let mut manifest = Manifest::new(config, blobs);
        manifest.artifact_type = Some(MEDIA_TYPE.into());
        let manifest = put(MediaType::MANIFEST, &json(&manifest)?)?;
        copy(&manifest, &**self.remotes, to, &CopyOptions::default()).await?;
        Ok(manifest)
    }
}

fn json(value: &impl serde::Serialize) -> cooper_oci::Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| {
        cooper_oci::Error::new(cooper_oci::ErrorKind::Invalid, "cannot write a document as JSON").with_source(e)
    })
}

impl CacheFrom {
    fn name(&self) -> String {
        match self {
            Self::Registry(reference) => reference.familiar(),
            Self::Local(dir, tag) => format!("{}:{tag}", dir.display()),
        }
    }
}

/// What is shown while a cache is written.
pub(crate) fn title(to: &CacheTo) -> String {
    format!("writing the cache to {}", to.place.name())
}

impl CachePlace {
    fn name(&self) -> String {
        match self {
            Self::Inline => "the image".into(),
            Self::Registry(reference) => reference.familiar(),
            Self::Local(dir, tag) => format!("{}:{tag}", dir.display()),
        }
    }
}

impl Import {
    async fn open(engine: &Engine, from: &CacheFrom) -> Result<Self> {
        let reading = async {
            let (place, root): (Arc<dyn Blobs>, Descriptor) = match from {
                CacheFrom::Registry(reference) => {
                    let repository = engine.client.repository(reference);
                    let root = repository.resolve().await.map_err(|e| from_oci(e.into(), "cannot find it"))?;
                    (Arc::new(repository), root)
                }
                CacheFrom::Local(dir, tag) => {
                    let layout = Layout::open(dir).map_err(|e| from_oci(e, "cannot open it"))?;
                    let root = layout.find(Some(tag)).map_err(|e| from_oci(e, "cannot find it"))?;
                    (Arc::new(layout), root)
                }
            };
            let records = read_cache(&*place, &root).await?;
            Ok((place, records))
        };
        let slow = |_| Error::new(ErrorKind::Retry, format!("no answer within {} seconds", PATIENCE.as_secs()));
        let (place, records) = tokio::time::timeout(PATIENCE, reading).await.map_err(slow)??;
        let mut import = Self {
            name: from.name(),
            keys: HashMap::new(),
            records: HashMap::new(),
            place: Arc::new(Watched { place, failed: Arc::default(), dropped: AtomicBool::new(false) }),
        };
        for (id, known) in records {
            let Ok(id) = id.parse::<cooper_store::RecordId>() else { continue };
            import.keys.extend(known.keys.iter().map(|key| (key.clone(), RecordId(id.0))));
            import.records.insert(id.0, known);
        }
        Ok(import)
    }
}

/// Reads a cache, or the inline caches of an image, of every platform of an index.
async fn read_cache(place: &dyn Blobs, root: &Descriptor) -> Result<Records> {
    let what = "cannot read it";
    let mut records = Records::new();
    let mut found = 0;
    let manifests = match root.media_type.is_index() {
        false => vec![root.clone()],
        true => {
            let bytes = read_all(place, root, DOCUMENT_MAX).await.map_err(|e| from_oci(e, what))?;
            let index: cooper_oci::Index = parsed(&bytes)?;
            index.manifests.into_iter().filter(|manifest| manifest.media_type.is_manifest()).collect()
        }
    };
    for manifest in manifests {
        let bytes = read_all(place, &manifest, DOCUMENT_MAX).await.map_err(|e| from_oci(e, what))?;
        let manifest: Manifest = parsed(&bytes)?;
        let config = read_all(place, &manifest.config, DOCUMENT_MAX).await.map_err(|e| from_oci(e, what))?;
        if manifest.config.media_type.as_str() == MEDIA_TYPE {
            merge(&mut records, parsed::<Document>(&config)?.records(&manifest.layers)?);
            found += 1;
        } else if let Ok(config) = parsed::<ImageConfig>(&config)
            && let Some(inline) = config.other.get(INLINE_FIELD)
        {
            let inline: Inline = serde_json::from_value(inline.clone()).map_err(not_understood)?;
            merge(&mut records, inline.records(&manifest, &config.rootfs.diff_ids));
            found += 1;
        }
    }
    match found {
        0 => Err(Error::new(ErrorKind::User, "there is an image or artifact, but no cache of cooper's in it")),
        _ => Ok(records),
    }
}

fn parsed<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(not_understood)
}

fn not_understood(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::User, "the cache is not well formed").with_source(error)
}

fn warn(events: &dyn EventSink, message: String) {
    events.event(Event::Warning { message, diagnostic: None });
}
