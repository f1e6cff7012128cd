//! The engine's side of the solver: keys of operations, content of inputs, records, and running things.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use cooper_dockerfile::BaseKey;
use cooper_llb::{
    Definition, Exec, FileOp, Ignore, KeyInput, Op, Paths, Selection, Source, SourceLocation, Vertex, VertexId,
    op_digest,
};
use cooper_oci::Compression;
use cooper_solver::{Edge, Graph, Key, KeyHasher, Node, NodeId, Part, RecordId, Saved, Worker};
use cooper_store::{KeyInputRow, LayerId, Record, StatCache, Store};
use tokio::sync::{OnceCell, Semaphore};

use crate::copy::{content_key, content_lines};
use crate::engine::blocking;
use crate::error::{SharedError, from_store};
use crate::files::{Files, LayerFiles, LocalFiles};
use crate::filesystem::Filesystem;
use crate::ops::{self, ExecWork, FileWork, KillSwitch, OutputSink, is_bound};
use crate::seal::Seals;
use crate::shared::SharedCaches;
use crate::source::{Images, Notice, Outside, Remotes};
use crate::{Engine, Error, ErrorKind, Event, EventSink, Place, Request, Result, Session, StepId, StepState};
use crate::{journal, journal::Journal};

type Shared<T> = Arc<OnceCell<T>>;

/// Everything one build works with.
#[derive(Debug)]
pub(crate) struct BuildWorker {
    pub(crate) engine: Engine,
    pub(crate) request: Arc<Request>,
    pub(crate) session: Arc<dyn Session>,
    pub(crate) events: Arc<dyn EventSink>,
    pub(crate) outside: Arc<Outside>,
    pub(crate) definition: Definition,
    /// Number of each vertex that is shown as a step.
    pub(crate) steps: HashMap<VertexId, StepId>,
    pub(crate) images: Arc<Images>,
    pub(crate) remotes: Arc<Remotes>,
    pub(crate) seals: Arc<Seals>,
    pub(crate) caches: Arc<SharedCaches>,
    pub(crate) compression: Compression,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) journal: Mutex<Journal>,
    pub(crate) before: Option<Journal>,
    pub(crate) locals: Mutex<HashMap<String, Shared<Arc<LocalFiles>>>>,
    pub(crate) contents: Mutex<HashMap<(String, Paths), Shared<Key>>>,
    pub(crate) nonce: AtomicU64,
}

/// The graph as the solver sees it.
pub(crate) fn graph(definition: &Definition) -> Graph<Paths> {
    let node = |vertex: &Vertex| match &vertex.op {
        Op::Source(_) => Node::Source,
        op => {
            let edge = |(index, input): (usize, &cooper_llb::Input)| Edge {
                from: NodeId(input.vertex.0),
                selector: match op.selection(index) {
                    Selection::Paths(paths) => Some(paths),
                    Selection::Whole => None,
                },
            };
            Node::Step { inputs: vertex.inputs.iter().enumerate().map(edge).collect(), no_cache: vertex.meta.no_cache }
        }
    };
    Graph { nodes: definition.vertices.iter().map(node).collect() }
}

impl BuildWorker {
    fn vertex(&self, node: NodeId) -> &Vertex {
        self.definition.vertex(VertexId(node.0))
    }

    /// Place of a step in the journal.
    fn index(&self, step: StepId) -> usize {
        (step.0 - 1) as usize
    }

    /// The files of a context, wherever they come from.
    async fn context(&self, name: &str) -> Result<Arc<dyn Files>> {
        match self.outside.context(name, &self.notice(None)).await? {
            Some(context) => Ok(context.files),
            None => Ok(self.local(name).await?),
        }
    }

    /// Tells of what is fetched as the step of a vertex.
    fn notice(&self, vertex: Option<VertexId>) -> Notice {
        Notice { events: self.events.clone(), step: vertex.and_then(|id| self.steps.get(&id).copied()) }
    }

    /// The files of a context that is a directory, walked once a build.
    async fn local(&self, name: &str) -> Result<Arc<LocalFiles>> {
        let cell =
            self.locals.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone();
        cell.get_or_try_init(|| self.walk(name)).await.cloned()
    }

    async fn walk(&self, name: &str) -> Result<Arc<LocalFiles>> {
        let root = self.session.context(name).await?;
        let is_main = name == "context";
        let text = match &self.request.ignore {
            Some((text, _)) if is_main => text.clone(),
            _ if is_main => String::new(),
            _ => self.request.context_ignores.get(name).cloned().unwrap_or_default(),
        };
        let (store, key) = (self.engine.store.clone(), format!("{}\0{}", self.request.context_key, root.display()));
        let called = if is_main { "build context".to_owned() } else { format!("context `{name}`") };
        blocking(move || {
            let (ignore, errors) = Ignore::parse(&text);
            if let Some(error) = errors.first() {
                return Err(Error::new(ErrorKind::User, format!("the ignore file of the {called} has an {error}")));
            }
            LocalFiles::open(&root, &called, ignore, StatCache::load(&store, key.as_bytes()))
        })
        .await
    }

    /// Keeps what was learned about the contexts for the next build.
    pub(crate) fn save_contexts(&self) {
        let locals = self.locals.lock().unwrap_or_else(PoisonError::into_inner);
        for error in locals.values().filter_map(|cell| cell.get()).filter_map(|files| files.save().err()) {
            self.emit(Event::Warning { message: error.to_string(), diagnostic: None });
        }
    }

    /// The files of a realized input.
    async fn files(&self, input: &Filesystem) -> Result<Arc<dyn Files>> {
        match input {
            Filesystem::Local(name) => self.context(name).await,
            Filesystem::Layers(layers) => {
                self.remotes.fetch(layers).await?;
                self.seals.wait(layers).await?;
                let (store, layers) = (self.engine.store.clone(), layers.clone());
                Ok(blocking(move || LayerFiles::open(&store, &layers)).await?)
            }
        }
    }

    async fn local_content(&self, name: &str, paths: &Paths) -> Result<Key> {
        let key = (name.to_owned(), paths.clone());
        let cell = self.contents.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone();
        let compute = || async {
            let (files, paths) = (self.context(name).await?, paths.clone());
            blocking(move || content_key(&*files, &paths)).await
        };
        cell.get_or_try_init(compute).await.copied()
    }

    /// Puts the place in the Dockerfile on an error that has none: that of the vertex, else of the first that reads it.
    fn placed(&self, vertex: &Vertex, mut error: Error) -> Error {
        let vertices = &self.definition.vertices;
        let reads =
            |user: &&Vertex| user.inputs.iter().any(|input| std::ptr::eq(self.definition.vertex(input.vertex), vertex));
        let location = vertex.meta.location.or_else(|| vertices.iter().find(reads).and_then(|user| user.meta.location));
        let place = |l: SourceLocation| Place { first_line: l.first_line, last_line: l.last_line };
        error.place = error.place.or_else(|| location.map(place));
        if let Some(step) = error.step.as_mut().filter(|step| step.0.is_empty()) {
            step.0.clone_from(&vertex.meta.name);
        }
        error
    }

    /// The first vertex that selects `paths` from an input like this.
    fn user(&self, paths: &Paths, input_like: impl Fn(&cooper_llb::Input) -> bool) -> Option<&Vertex> {
        let selects = |vertex: &&Vertex| {
            vertex.inputs.iter().enumerate().any(|(i, input)| {
                input_like(input) && matches!(vertex.op.selection(i), Selection::Paths(selected) if selected == *paths)
            })
        };
        self.definition.vertices.iter().find(selects)
    }

    fn emit(&self, event: Event) {
        self.events.event(event);
    }

    /// Takes down what `node` is made from and says why it has to run.
    async fn explain(&self, node: NodeId) -> Option<String> {
        let index = self.index(*self.steps.get(&VertexId(node.0))?);
        self.note_files(node, index, true).await;
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let step = journal.steps.get_mut(index)?;
        step.state = journal::State::Ran;
        let step = step.clone();
        let read = |digest: &str| read_detail(&self.engine.store, digest);
        // The first build of a thing says nothing of each step: there is nothing it could have been found by.
        self.before.as_ref()?;
        journal::reasons(&step, &journal, self.before.as_ref(), &read).into_iter().next()
    }

    /// Takes down the content keys of the contexts that a step reads, and the list of files where it is not known yet.
    async fn note_files(&self, node: NodeId, index: usize, lists: bool) {
        let vertex = self.vertex(node);
        self.note_bases(vertex, index).await;
        for (i, input) in vertex.inputs.iter().enumerate() {
            let (Op::Source(Source::Local { name }), Selection::Paths(paths)) =
                (&self.definition.vertex(input.vertex).op, vertex.op.selection(i))
            else {
                continue;
            };
            let Ok(key) = self.local_content(name, &paths).await else { continue };
            let list = match self.known_list(index, name, key) {
                Some(list) => Some(list),
                None if lists => self.list(name, paths).await,
                None => None,
            };
            let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(step) = journal.steps.get_mut(index) {
                step.files.insert(name.clone(), (key.to_string(), list));
            }
        }
    }

    /// Takes down which images a step stands on: a base that moved is the commonest reason to run again.
    async fn note_bases(&self, vertex: &Vertex, index: usize) {
        for input in &vertex.inputs {
            let Op::Source(source) = &self.definition.vertex(input.vertex).op else { continue };
            let Some(key) = base_key(source) else { continue };
            let Ok(image) = self.images.pin(&key).await else { continue };
            let name = match key {
                BaseKey::Image { reference, .. } => format!("{} {}", journal::BASE, reference.familiar()),
                BaseKey::OciLayout { name, .. } => format!("{} {name}", journal::BASE),
            };
            let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(step) = journal.steps.get_mut(index).filter(|step| step.inputs.iter().all(|i| i.name != name)) {
                step.inputs.push(KeyInput { name, value: image.manifest.to_string() });
            }
        }
    }

    /// The list that an earlier build made of the same content.
    fn known_list(&self, index: usize, name: &str, key: Key) -> Option<String> {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let own = journal
            .steps
            .get(index)
            .and_then(|step| step.files.get(name))
            .filter(|(known, _)| *known == key.to_string());
        let before = || self.before.iter().flat_map(|before| &before.steps).filter_map(|step| step.files.get(name));
        let found = own.or_else(|| before().find(|(known, list)| *known == key.to_string() && list.is_some()));
        found.and_then(|(_, list)| list.clone())
    }

    async fn list(&self, name: &str, paths: Paths) -> Option<String> {
        let (files, store) = (self.context(name).await.ok()?, self.engine.store.clone());
        let digest = blocking(move || store.put_detail(content_lines(&*files, &paths).ok()?.as_bytes()).ok()).await?;
        Some(digest.to_string())
    }

    /// Takes down what the steps that were found are made from, for the next build to compare with.
    pub(crate) async fn finish_journal(&self) {
        let steps: Vec<(VertexId, StepId)> = self.steps.iter().map(|(vertex, step)| (*vertex, *step)).collect();
        for (vertex, step) in steps {
            self.note_files(NodeId(vertex.0), self.index(step), true).await;
        }
    }

    async fn source(&self, source: &Source, vertex: Option<VertexId>) -> Result<Filesystem> {
        let notice = self.notice(vertex);
        let key = match source {
            Source::Scratch => return Ok(Filesystem::Layers(Arc::new([]))),
            Source::Local { name } => {
                let context = self.outside.context(name, &notice).await?;
                let layers = context.map(|context| Filesystem::Layers(context.layers));
                return Ok(layers.unwrap_or_else(|| Filesystem::Local(name.clone())));
            }
            source => base_key(source),
        };
        if let Some(layer) = self.outside.layer(source, &notice).await? {
            return Ok(Filesystem::Layers(Arc::new([layer])));
        }
        let image = self.images.pin(&key.ok_or_else(|| Error::new(ErrorKind::Io, "unknown source"))?).await?;
        Ok(Filesystem::Layers(image.layers))
    }

    async fn step(&self, vertex: &Vertex, inputs: Vec<Filesystem>, output: OutputSink) -> Result<Filesystem> {
        match &vertex.op {
            Op::Exec(exec) => self.exec(exec, inputs, output).await,
            Op::File(file) => self.file(file, inputs).await,
            Op::Merge => Ok(Filesystem::Layers(inputs.iter().flat_map(|input| input.layers().to_vec()).collect())),
            Op::Diff => {
                let skip = inputs.first().map_or(0, |lower| lower.layers().len());
                let upper = inputs.get(1).map(Filesystem::layers).unwrap_or_default();
                Ok(Filesystem::Layers(upper.iter().skip(skip).cloned().collect()))
            }
            Op::Source(source) => self.source(source, None).await,
        }
    }

    async fn file(&self, op: &FileOp, inputs: Vec<Filesystem>) -> Result<Filesystem> {
        let base = inputs.first().cloned().unwrap_or(Filesystem::Layers(Arc::new([])));
        let mut files = Vec::new();
        for input in &inputs {
            files.push(self.files(input).await?);
        }
        let (op, store, now) = (op.clone(), self.engine.store.clone(), (self.engine.clock)());
        let (compression, first) = (self.compression, files.first().cloned());
        let layer = blocking(move || {
            let base = first.ok_or_else(|| Error::new(ErrorKind::Io, "a copy has no filesystem to go to"))?;
            ops::file(&op, &FileWork { store: &store, base, inputs: files, compression, now })
        });
        Ok(base.with(layer.await?))
    }

    async fn exec(&self, op: &Exec, inputs: Vec<Filesystem>, output: OutputSink) -> Result<Filesystem> {
        let asked = ops::ask(op, &*self.session).await?;
        let mut layers = Vec::new();
        for (index, input) in inputs.iter().enumerate() {
            self.remotes.fetch_to_mount(input.layers()).await?;
            layers.push(match input {
                Filesystem::Local(_) if is_bound(op, index) => vec![self.context_layer(op, index, input).await?],
                input => input.layers().to_vec(),
            });
        }
        let told = |line: String| (output.0)(true, line.as_bytes());
        self.caches.restore_mounts(&ops::cache_names(op, &layers), &self.engine.store, &*self.events, &told).await;
        let base = inputs.first().cloned().unwrap_or(Filesystem::Layers(Arc::new([])));
        let kill = Arc::new(KillSwitch::default());
        let _throw = ThrowOnDrop(kill.clone());
        let (op, engine, request) = (op.clone(), self.engine.clone(), self.request.clone());
        let layer = blocking(move || {
            let mounts = ops::prepare(&op, asked, &layers, &engine.store, &engine.devices)?;
            ops::exec(
                &op,
                ExecWork {
                    store: engine.store.clone(),
                    executor: engine.executor.clone(),
                    layers: layers.into_iter().next().unwrap_or_default(),
                    mounts,
                    resolv_conf: engine.resolv_conf.clone(),
                    search: engine.search.clone(),
                    extra_hosts: request.add_hosts.clone(),
                    output,
                    kill,
                },
            )
        })
        .await?;
        drop(self.seals.start(&layer));
        Ok(base.with(layer))
    }

    /// What a step binds from a context, as a layer: the ignore file applies, and the step cannot touch the caller's files.
    async fn context_layer(&self, op: &Exec, index: usize, input: &Filesystem) -> Result<LayerId> {
        let Selection::Paths(paths) = Op::Exec(op.clone()).selection(index) else {
            return Err(Error::new(ErrorKind::Io, "a mount selects nothing"));
        };
        let files = self.files(input).await?;
        let store = self.engine.store.clone();
        blocking(move || ops::layer_of(&store, &files, &paths)).await
    }

    fn output_sink(&self, step: Option<StepId>) -> OutputSink {
        let events = self.events.clone();
        OutputSink(Arc::new(move |stderr, data: &[u8]| {
            if let Some(step) = step {
                events.event(Event::Output { step, stderr, data: data.to_vec() });
            }
        }))
    }

    /// The result of a record of the store, if all of it can be had.
    fn load_here(&self, record: &RecordId) -> Option<Filesystem> {
        let store = &self.engine.store;
        let record = store.record(&cooper_store::RecordId(record.0)).ok().flatten()?;
        // A layer that the store knows but has lost is made again, unless a base brings it.
        let present = |layer: &LayerId| {
            store.hold_layer(layer).unwrap_or(false)
                && (self.remotes.knows(layer) || store.layer_is_here(layer).unwrap_or(false))
        };
        record.layers.iter().all(present).then(|| Filesystem::Layers(record.layers.into()))
    }

    fn mark(&self, step: Option<StepId>, state: journal::State) {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(step) = step.and_then(|step| journal.steps.get_mut(self.index(step))) {
            step.state = state;
        }
    }
}

/// Ends a step whose future is dropped.
struct ThrowOnDrop(Arc<KillSwitch>);

impl Drop for ThrowOnDrop {
    fn drop(&mut self) {
        self.0.throw();
    }
}

/// The text of a side file, if it is still there.
pub(crate) fn read_detail(store: &Store, digest: &str) -> Option<String> {
    String::from_utf8(store.detail(&digest.parse().ok()?).ok()?).ok()
}

/// The image a source names.
pub(crate) fn base_key(source: &Source) -> Option<BaseKey> {
    match source {
        Source::Image { reference, platform, .. } => {
            Some(BaseKey::Image { reference: reference.clone(), platform: platform.clone() })
        }
        Source::OciLayout { name, target, platform } => {
            Some(BaseKey::OciLayout { name: name.clone(), target: target.clone(), platform: platform.clone() })
        }
        _ => None,
    }
}

fn named(kind: &str, parts: impl IntoIterator<Item = String>) -> Key {
    let mut hasher = KeyHasher::new(kind);
    parts.into_iter().for_each(|part| {
        hasher.part(part.as_bytes());
    });
    hasher.key()
}

#[async_trait]
impl Worker for BuildWorker {
    type Selector = Paths;
    type Output = Filesystem;
    type Error = SharedError;

    async fn op_key(&self, node: NodeId) -> std::result::Result<Key, SharedError> {
        let vertex = self.vertex(node);
        Ok(match &vertex.op {
            Op::Source(Source::Scratch) => named("scratch", []),
            Op::Source(Source::Local { name }) => named("local", [name.clone()]),
            Op::Source(source @ (Source::Git(_) | Source::Http(_))) => {
                let key = self.outside.key(source, &self.notice(Some(VertexId(node.0)))).await;
                let unknown = || SharedError::from(Error::new(ErrorKind::Io, "unknown source"));
                key.map_err(|e| self.placed(vertex, e))?.ok_or_else(unknown)?
            }
            Op::Source(source) => {
                let key = base_key(source).ok_or_else(|| Error::new(ErrorKind::Io, "unknown source"))?;
                let image = self.images.pin(&key).await.map_err(|e| self.placed(vertex, e))?;
                // By content, not by manifest: a base that was only compressed anew still hits.
                named("image", image.config.rootfs.diff_ids.iter().map(ToString::to_string))
            }
            op => {
                let platform = vertex.meta.platform.as_ref().map(ToString::to_string).unwrap_or_default();
                let digest = op_digest(&op.key_inputs());
                let mut hasher = KeyHasher::new("op");
                hasher.part(&digest).part(platform.as_bytes()).key()
            }
        })
    }

    async fn source_content(&self, source: NodeId, paths: &Paths) -> std::result::Result<Option<Key>, SharedError> {
        let vertex = self.vertex(source);
        let Op::Source(Source::Local { name }) = &vertex.op else { return Ok(None) };
        let of_source = |input: &cooper_llb::Input| input.vertex.0 == source.0;
        let place = self.user(paths, of_source).unwrap_or(vertex);
        self.local_content(name, paths).await.map(Some).map_err(|e| self.placed(place, e).into())
    }

    async fn content(&self, output: &Filesystem, paths: &Paths) -> std::result::Result<Key, SharedError> {
        let (files, selected) = (self.files(output).await?, paths.clone());
        let key = blocking(move || content_key(&*files, &selected)).await;
        Ok(key.map_err(|error| match self.user(paths, |_| true) {
            Some(user) => self.placed(user, error),
            None => error,
        })?)
    }

    async fn lookup(&self, key: &Key) -> Option<RecordId> {
        let found = self.engine.store.lookup(&cooper_store::Key(key.0));
        found
            .unwrap_or_else(|e| {
                self.emit(Event::Warning { message: format!("cache look-up failed: {e}"), diagnostic: None });
                None
            })
            .map(|id| RecordId(id.0))
            .or_else(|| self.caches.lookup(key))
    }

    async fn load(&self, record: &RecordId) -> Option<Filesystem> {
        let found = self.load_here(record).or_else(|| self.caches.load(record, &self.engine.store, &self.remotes));
        found.inspect(|_| self.caches.note(record))
    }

    fn found(&self, node: NodeId, _record: &RecordId) {
        if let Some(step) = self.steps.get(&VertexId(node.0)) {
            self.emit(Event::Finished { step: *step, state: StepState::Cached, took: Default::default() });
        }
    }
    async fn run(
        &self,
        node: NodeId,
        inputs: Vec<Filesystem>,
        _missed: &[Part],
    ) -> std::result::Result<Filesystem, SharedError> {
        let vertex = self.vertex(node);
        if let Op::Source(source) = &vertex.op {
            return self.source(source, Some(VertexId(node.0))).await.map_err(|e| self.placed(vertex, e).into());
        }
        let permit =
            self.permits.acquire().await.map_err(|_| Error::new(ErrorKind::Cancelled, "the build was stopped"))?;
        let step = self.steps.get(&VertexId(node.0)).copied();
        let why = self.explain(node).await;
        let started = Instant::now();
        if let Some(step) = step {
            self.emit(Event::Started { step, why });
        }
        let result = self.step(vertex, inputs, self.output_sink(step)).await;
        drop(permit);
        let state = match &result {
            Ok(_) => StepState::Done,
            Err(e) => StepState::Failed(e.what.clone()),
        };
        if result.is_err() {
            self.mark(step, journal::State::Failed);
        }
        if let Some(step) = step {
            self.emit(Event::Finished { step, state, took: started.elapsed() });
        }
        result.map_err(|e| self.placed(vertex, e).into())
    }

    async fn save(&self, node: NodeId, saved: &Saved, output: &Filesystem) {
        let vertex = self.vertex(node);
        let inputs = vertex.op.key_inputs();
        let record = Record {
            id: cooper_store::RecordId(saved.id.0),
            layers: output.layers().to_vec(),
            inputs: inputs.into_iter().map(|KeyInput { name, value }| KeyInputRow { name, value }).collect(),
            detail: None,
            step: vertex.meta.name.clone(),
            created: (self.engine.clock)(),
            trace: None,
        };
        let names: Vec<cooper_store::Key> = saved.names.iter().map(|key| cooper_store::Key(key.0)).collect();
        self.caches.note(&saved.id);
        if let Err(e) = self.engine.store.save(&record, &names) {
            let e = from_store(e, "the step's result was not kept for the next build");
            self.emit(Event::Warning { message: e.to_string(), diagnostic: None });
        }
    }

    async fn alias(&self, name: &Key, record: &RecordId) {
        let saved = self.engine.store.add_keys(&cooper_store::RecordId(record.0), &[cooper_store::Key(name.0)]);
        if let Err(e) = saved {
            self.emit(Event::Warning { message: format!("a cache key was not kept: {e}"), diagnostic: None });
        }
    }

    fn fresh(&self) -> Key {
        // The journal's id is unique to the build; the counter to the call.
        let id = self.journal.lock().unwrap_or_else(PoisonError::into_inner).id.clone();
        named("fresh", [id, self.nonce.fetch_add(1, Ordering::Relaxed).to_string()])
    }
}
