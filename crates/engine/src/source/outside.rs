//! What a build takes from outside that is no image. Each thing is fetched once a build, whoever asks for it.
//!
//! Knows nothing of how things are fetched; what was fetched before is found among the store's records.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use cooper_llb::{GitSource, HttpSource, Source};
use cooper_oci::{Compression, Entry};
use cooper_solver::{Key, KeyHasher};
use cooper_store::{KeyInputRow, LayerId, Record};
use tokio::sync::OnceCell;

use super::context::Context;
use super::git::{Checkout, Commit};
use super::http::Download;
use crate::error::from_store;
use crate::{Engine, Event, EventSink, Request, Result, Session, StepId, StepState};

/// Fetches, and remembers what it fetched.
#[derive(Debug)]
pub(crate) struct Outside {
    pub(crate) engine: Engine,
    pub(crate) session: Arc<dyn Session>,
    pub(crate) request: Arc<Request>,
    pub(super) files: Memo<HttpSource, Download>,
    pub(super) commits: Memo<GitSource, Commit>,
    pub(super) checkouts: Memo<GitSource, Checkout>,
    pub(super) contexts: Memo<String, Context>,
    /// The archive that the caller sent, which cannot be asked for again.
    pub(super) archive: OnceCell<LayerId>,
}

/// Values that are made once for each key. A failure is not kept.
pub(super) type Memo<K, T> = Mutex<HashMap<K, Arc<OnceCell<T>>>>;

/// The value of `key`, made by the first who asks.
pub(super) async fn once<K, T, F>(memo: &Memo<K, T>, key: &K, make: impl FnOnce() -> F) -> Result<T>
where
    K: Clone + Eq + Hash,
    T: Clone,
    F: Future<Output = Result<T>>,
{
    let cell = memo.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().clone();
    cell.get_or_try_init(make).await.cloned()
}

/// Tells of a fetch as a step of the build, if it is one.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) events: Arc<dyn EventSink>,
    pub(crate) step: Option<StepId>,
}

impl Notice {
    /// Tells when `fetch` starts and how it ends.
    pub(super) async fn during<T>(&self, fetch: impl Future<Output = Result<T>>) -> Result<T> {
        let Some(step) = self.step else { return fetch.await };
        let started = Instant::now();
        self.events.event(Event::Started { step, why: None });
        let result = fetch.await;
        let state = match &result {
            Ok(_) => StepState::Done,
            Err(e) => StepState::Failed(e.what.clone()),
        };
        self.events.event(Event::Finished { step, state, took: started.elapsed() });
        result
    }

    /// Tells how far a download has come.
    pub(super) fn progress(&self, what: &str, done: u64, total: Option<u64>) {
        if let Some(step) = self.step {
            self.events.event(Event::Progress { step, what: what.to_owned(), done, total });
        }
    }
}

impl Outside {
    pub(crate) fn new(engine: Engine, request: Arc<Request>, session: Arc<dyn Session>) -> Self {
        let (files, commits, checkouts) = (Memo::default(), Memo::default(), Memo::default());
        Self {
            engine,
            session,
            request,
            files,
            commits,
            checkouts,
            contexts: Memo::default(),
            archive: OnceCell::new(),
        }
    }

    /// The same for another attempt: what the store lost meanwhile is fetched again.
    pub(crate) fn renewed(&self) -> Self {
        let fresh = Self::new(self.engine.clone(), self.request.clone(), self.session.clone());
        Self { archive: self.archive.clone(), ..fresh }
    }

    /// What names the content of a source without fetching more than that needs.
    pub(crate) async fn key(&self, source: &Source, notice: &Notice) -> Result<Option<Key>> {
        Ok(match source {
            Source::Git(git) => Some(self.git_key(git).await?),
            Source::Http(http) => Some(self.http_key(http, notice).await?),
            _ => None,
        })
    }

    /// The layer of a source.
    pub(crate) async fn layer(&self, source: &Source, notice: &Notice) -> Result<Option<LayerId>> {
        Ok(match source {
            Source::Git(git) => Some(self.checkout(git, notice).await?.layer),
            Source::Http(http) => Some(self.download(http, notice).await?.layer),
            _ => None,
        })
    }

    /// What an earlier build kept under `key`: a layer that is still here, and the notes beside it.
    pub(super) fn known(&self, key: Key) -> Option<(LayerId, Notes)> {
        let store = &self.engine.store;
        let id = store.lookup(&cooper_store::Key(key.0)).ok().flatten()?;
        let record = store.record(&id).ok().flatten()?;
        let [layer] = &record.layers[..] else { return None };
        let here = store.hold_layer(layer).unwrap_or(false) && store.layer_is_here(layer).unwrap_or(false);
        here.then(|| (layer.clone(), Notes(record.inputs)))
    }

    /// Keeps a layer under `key` for later builds. `step` is what lists of the store call it.
    pub(super) fn keep(&self, key: Key, step: String, layer: &LayerId, notes: Notes) -> Result<()> {
        let record = Record {
            id: cooper_store::RecordId(key.0),
            layers: vec![layer.clone()],
            inputs: notes.0,
            detail: None,
            step,
            created: (self.engine.clock)(),
            trace: None,
        };
        let kept = self.engine.store.save(&record, &[cooper_store::Key(key.0)]);
        kept.map_err(|e| from_store(e, "cannot keep what was fetched"))
    }
}

/// What is kept beside a fetched layer, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes(Vec<KeyInputRow>);

impl Notes {
    pub(super) fn with(mut self, name: &str, value: Option<String>) -> Self {
        self.0.extend(value.map(|value| KeyInputRow { name: name.to_owned(), value }));
        self
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|note| note.name == name).map(|note| note.value.as_str())
    }
}

pub(super) fn key_of<'a>(kind: &str, parts: impl IntoIterator<Item = &'a str>) -> Key {
    let mut hasher = KeyHasher::new(kind);
    parts.into_iter().for_each(|part| {
        hasher.part(part.as_bytes());
    });
    hasher.key()
}

/// A layer of one file.
pub(super) fn file_layer(engine: &Engine, entry: &Entry, data: &mut dyn std::io::Read) -> Result<LayerId> {
    let what = "cannot keep a file that was fetched";
    let mut layer = engine.store.new_layer(Compression::None, None).map_err(|e| from_store(e, what))?;
    layer.append(entry, data).map_err(|e| from_store(e, what))?;
    Ok(layer.finish().map_err(|e| from_store(e, what))?.id)
}
