//! Caches that builders share: read before a step is run, written after a build. A cache is an image-like artifact at a
//! registry or in an OCI layout, or part of an image (inline); blobs travel by `oci::copy`, and only those that are missing.
//!
//! Nothing of a cache is trusted beyond its digests: whoever may write it decides what a step is taken to have made, so it is
//! read only from where the user said. A cache that is missing, slow or broken is a miss and a warning, never a failed build.

mod document;
mod held;
mod import;
mod mounts;
mod objects;
mod place;
mod publish;
mod verbs;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use cooper_oci::{Descriptor, Digest};
use cooper_solver::{Key, RecordId};
use cooper_store::{LayerId, Record, Store};
use tokio::sync::OnceCell;

pub(crate) use self::document::{INLINE_FIELD, Inline, InlineEntry};
use self::document::{Known, Records};
pub use self::import::CacheFrom;
use self::import::Import;
pub use self::mounts::MountChoice;
pub use self::objects::gha::GhaOptions;
pub use self::objects::s3::S3Options;
pub use self::place::CachePlace;
use self::place::Place;
use self::publish::{Ours, publish};
pub use self::verbs::{ListedMount, MountDate, export_mounts, import_mounts, list_kept_mounts, list_mounts};
use crate::engine::blocking;
use crate::error::from_store;
use crate::filesystem::Filesystem;
use crate::seal::Seals;
use crate::source::Remotes;
use crate::{Engine, Error, ErrorKind, Event, EventSink, Result, StepId, StepState};

/// `--cache-to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheTo {
    /// Where to.
    pub place: CachePlace,
    /// Every step's result, not only those the image consists of.
    pub max: bool,
    /// The cache mounts that go with it.
    pub mounts: MountChoice,
    /// Bytes of files that one cache mount may have there; those used last go first.
    pub mounts_max_size: u64,
    /// A cache that cannot be written is a warning.
    pub ignore_error: bool,
}

/// The caches of one build, through all its attempts.
#[derive(Debug, Default)]
pub(crate) struct SharedCaches {
    imports: Vec<Import>,
    /// Records this build used or made.
    used: Mutex<BTreeSet<[u8; 32]>>,
    /// Cache mounts that were looked for in the caches, by name: once each.
    restored: Mutex<HashMap<String, Arc<OnceCell<()>>>>,
}

impl SharedCaches {
    /// Reads what the caches hold; their layers stay where they are.
    pub(crate) async fn open(engine: &Engine, from: &[CacheFrom], events: &dyn EventSink) -> Self {
        let opened = futures::future::join_all(from.iter().map(|from| Import::open(engine, from))).await;
        let mut imports = Vec::new();
        for (from, opened) in from.iter().zip(opened) {
            match opened {
                Ok(import) => imports.push(import),
                Err(error) => warn(events, format!("no cache from {}: {error}", from.place.shown())),
            }
        }
        Self { imports, ..Self::default() }
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
        if to.place == CachePlace::Inline {
            return Ok(());
        }
        let records = self.records(work, to.max).await?;
        let place = Place::open(work.engine, &to.place, true).await?;
        let mounts = send_mounts(to, work, &place).await?;
        let ours =
            Ours { records, mounts: mounts.iter().map(|(key, packed)| (key.clone(), packed.entry.clone())).collect() };
        publish(&place, work.store, &**work.remotes, &ours).await?;
        mounts.iter().try_for_each(|(_, packed)| packed.is_named())
    }

    /// Brings the cache mounts of these names from the cache that has the newest, before a step opens them: once in a build.
    /// `told` gets a line about each that was restored.
    pub(crate) async fn restore_mounts(
        &self,
        names: &[String],
        store: &Store,
        events: &dyn EventSink,
        told: &(dyn Fn(String) + Sync),
    ) {
        let restoring = names.iter().map(|name| async move {
            let once =
                self.restored.lock().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_default().clone();
            once.get_or_init(|| self.restore_mount(name, store, events, told)).await;
        });
        futures::future::join_all(restoring).await;
    }

    async fn restore_mount(&self, name: &str, store: &Store, events: &dyn EventSink, told: &(dyn Fn(String) + Sync)) {
        let Some(id) = mounts::id_of(name) else { return };
        let key = Store::cache_mount_id(name);
        let caches = self.imports().filter(|import| import.choice.takes(id));
        let kept = caches.filter_map(|import| Some((import.mounts.get(&key)?, import)));
        for (entry, import) in mounts::newest_first(kept) {
            let begin = |bytes: u64| {
                let size = bytes.div_ceil(1_000_000);
                told(format!("restoring the cache mount `{id}` ({size} MB) from {}\n", import.name));
            };
            match mounts::restore(store, name, import.packs.clone(), (entry, false), &begin).await {
                Ok(Some(_)) => return told(format!("restored the cache mount `{id}`\n")),
                Ok(None) => return,
                Err(error) => {
                    warn(events, format!("the cache mount `{id}` is not restored from {}: {error}", import.name))
                }
            }
        }
    }
}

/// Sends the cache mounts that go with a cache; by the store's ids of them. One that cannot be packed stays behind.
async fn send_mounts(to: &CacheTo, work: &Export<'_>, place: &Place) -> Result<Vec<(String, mounts::Packed)>> {
    if to.mounts == MountChoice::None {
        return Ok(Vec::new());
    }
    if let MountChoice::Ids(ids) = &to.mounts {
        for id in ids.iter().filter(|id| !work.mounts.contains(*id)) {
            warn(work.events, format!("no step of this build has a cache mount `{id}`"));
        }
    }
    let held = place.held().await?;
    let store = work.store.clone();
    let rows =
        blocking(move || store.cache_mounts()).await.map_err(|e| from_store(e, "cannot list the cache mounts"))?;
    let mut all = Vec::new();
    for row in rows {
        let Some(id) = mounts::id_of(&row.name).filter(|id| to.mounts.takes(id) && work.mounts.contains(*id)) else {
            continue;
        };
        let limits = (to.mounts_max_size, (work.engine.clock)());
        match mounts::pack(work.store, &row.name, limits, held.mounts.get(&row.id), place).await {
            Ok(None) => {}
            Ok(Some(packed)) => {
                packed.send(work.store, place).await?;
                tell_left_out(work.events, id, packed.left_out);
                all.push((row.id.clone(), packed));
            }
            Err(error) => warn(work.events, error.to_string()),
        }
    }
    Ok(all)
}

/// Tells of files that stayed behind.
fn tell_left_out(events: &dyn EventSink, id: &str, (files, bytes): (usize, u64)) {
    if files > 0 {
        let noun = if files == 1 { "file" } else { "files" };
        let size = bytes.div_ceil(1_000_000);
        let what = format!("{files} {noun} ({size} MB) of the cache mount `{id}` stay behind");
        warn(events, format!("{what}: it is over its size limit, and they were used least recently"));
    }
}

/// What writing a cache needs of the build.
pub(crate) struct Export<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) store: &'a Store,
    pub(crate) remotes: &'a Arc<Remotes>,
    pub(crate) seals: &'a Seals,
    /// The layers of the images built.
    pub(crate) images: Vec<&'a [LayerId]>,
    /// Ids of the cache mounts of its steps.
    pub(crate) mounts: BTreeSet<String>,
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
}

/// What is shown while a cache is written.
pub(crate) fn title(to: &CacheTo) -> String {
    format!("writing the cache to {}", to.place.shown())
}

fn warn(events: &dyn EventSink, message: String) {
    events.event(Event::Warning { message, diagnostic: None });
}
