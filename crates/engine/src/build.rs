//! The journey of a build: this file is the table of contents.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::error::Error as _;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cooper_dockerfile::{
    Args, Bases, Diagnostic, Evaluation, Lowered, Named, Severity, Stages,
    ast::{Dockerfile, Instruction, InstructionKind},
    evaluate, lower, parse,
};
use cooper_llb::{Op, VertexId};
use cooper_oci::{Compression, Descriptor, Platform, Reference};
use cooper_solver::{KeyHasher, NodeId, Solver};
use cooper_store::EventKind;
use futures::future::try_join_all;
use tokio::sync::Semaphore;

use crate::entitle::entitle;
use crate::error::from_store;
use crate::export::{CANNOT_SYNC, Exported, Exporter, title};
use crate::filesystem::Filesystem;
use crate::join::{Joined, join};
use crate::journal::{self, Journal};
use crate::seal::Seals;
use crate::shared::{self, SharedCaches};
use crate::source::{Image, Images, MAIN_CONTEXT, Notice, Outside, Remotes};
use crate::worker::{BuildWorker, graph};
use crate::{
    Engine, Error, ErrorKind, Event, EventSink, ExportKind, NamedContext, Outcome, Place, Request, Result, Session,
    StepId, Timestamps,
};

/// Evaluation asks for bases again and again only if ONBUILD triggers bring new ones; this many rounds is beyond any real chain.
const ROUNDS_MAX: usize = 64;

/// One attempt finds one broken thing of each layer at worst; a disk with more than that is to be told of, not worked around.
const HEALS_MAX: usize = 16;

/// A build ready to be solved: one graph of all platforms, and the image of each.
struct Planned {
    worker: Arc<BuildWorker>,
    graph: Joined,
    lowered: Vec<Lowered>,
}

/// One platform's result.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) platform: Platform,
    pub(crate) lowered: Lowered,
    pub(crate) filesystem: Filesystem,
    pub(crate) bases: Vec<Image>,
}

/// Builds what `request` asks for.
///
/// # Errors
/// The first thing that went wrong, with its place in the Dockerfile. What had been finished by then stays in the cache.
pub async fn build(
    engine: &Engine,
    request: Request,
    session: Arc<dyn Session>,
    events: Arc<dyn EventSink>,
) -> Result<Outcome> {
    start_pool()?;
    // One handle for all of the build's work: what any of it uses stays until the build is over.
    let engine = Engine { store: engine.store.deferred(), ..engine.clone() };
    let outside = Outside::new(engine, Arc::new(request), session);
    let given = located(&outside, &events).await?;
    let name = (given.dockerfile_name.clone(), given.dockerfile.clone());
    let attach = |mut error: Error| {
        error.dockerfile = error.dockerfile.or(Some(Box::new(name)));
        error
    };
    healing(&outside, &Arc::new(given), &events).await.map_err(attach)
}

/// The request with its Dockerfile, which may have to be fetched.
async fn located(outside: &Outside, events: &Arc<dyn EventSink>) -> Result<Request> {
    let notice = Notice { events: events.clone(), step: None };
    let mut request = (*outside.request).clone();
    if let Some((name, text)) = outside.dockerfile(&notice).await? {
        (request.dockerfile_name, request.dockerfile) = (name, text);
    }
    Ok(request)
}

/// Builds, and builds again when what broke the build was moved aside by the store: then it is a miss and is made again.
async fn healing(outside: &Outside, request: &Arc<Request>, events: &Arc<dyn EventSink>) -> Result<Outcome> {
    let engine = &outside.engine;
    let caches = Arc::new(SharedCaches::open(engine, &request.cache_from, &**events).await);
    // What went to standard output cannot be taken back.
    let repeatable = request.exports.iter().all(|export| export.dest.is_some() || needs_no_dest(export.kind));
    let mut seen = HashSet::new();
    for _ in 0..HEALS_MAX {
        let build = Build::new(outside.renewed(), request.clone(), events.clone(), caches.clone());
        let result = build.run().await;
        let mended = tell_mended(engine, &**events, &mut seen);
        let healed = (result.is_err() && caches.drop_failed(&engine.store, &**events)) || mended;
        if result.is_ok() || !healed || !repeatable {
            return result;
        }
    }
    Build::new(outside.renewed(), request.clone(), events.clone(), caches).run().await
}

/// Tells what the store found broken and moved aside; whether any of it was not `seen` before.
fn tell_mended(engine: &Engine, events: &dyn EventSink, seen: &mut HashSet<String>) -> bool {
    let mut new = false;
    for event in engine.store.take_events() {
        let done = match event.kind {
            EventKind::Quarantined => "was broken and has been moved aside",
            EventKind::Rebuilt => "was rebuilt",
        };
        let message = format!("{} of the store {done}: {}", event.subject, event.detail);
        events.event(Event::Warning { message, diagnostic: None });
        new |= event.kind == EventKind::Quarantined && seen.insert(event.subject);
    }
    new
}

struct Build {
    engine: Engine,
    request: Arc<Request>,
    session: Arc<dyn Session>,
    events: Arc<dyn EventSink>,
    outside: Arc<Outside>,
    remotes: Arc<Remotes>,
    seals: Arc<Seals>,
    images: Arc<Images>,
    caches: Arc<SharedCaches>,
    compression: Compression,
    id: String,
}

impl Build {
    fn new(outside: Outside, request: Arc<Request>, events: Arc<dyn EventSink>, caches: Arc<SharedCaches>) -> Self {
        let (engine, session) = (outside.engine.clone(), outside.session.clone());
        let store = engine.store.clone();
        let compression = request.exports.iter().map(|export| export.compression).next().unwrap_or(Compression::GZIP);
        let remotes = Arc::new(Remotes::new(store.clone()));
        let images = Arc::new(Images {
            store: store.clone(),
            client: engine.client.clone(),
            remotes: remotes.clone(),
            layouts: layouts(&request),
            stored: stored(&request),
            pull: request.pull,
            stages: OnceLock::new(),
            pinned: Mutex::default(),
        });
        Self {
            id: new_id(&engine, &request),
            seals: Arc::new(Seals::new(store, compression)),
            engine,
            request,
            session,
            events,
            outside: Arc::new(outside),
            remotes,
            images,
            caches,
            compression,
        }
    }

    async fn run(self) -> Result<Outcome> {
        self.request.check()?;
        let (dockerfile, mut warnings) = self.parse()?;
        self.images.stages.get_or_init(|| stage_names(&dockerfile));
        let platforms = self.request.built_platforms();
        let evaluated = try_join_all(platforms.iter().map(|platform| self.evaluate(&dockerfile, platform))).await?;
        let mut lowered = Vec::new();
        for (stages, args, more) in evaluated {
            let mut one = lower(&stages, &args);
            entitle(&mut one.definition, &self.request.entitlements, &self.engine.devices)?;
            lowered.push(one);
            warnings.extend(more.into_iter().filter(|warning| !warnings.contains(warning)).collect::<Vec<_>>());
        }
        let plan = self.plan(lowered);
        self.warn(&warnings);
        self.announce(&plan);
        let worker = plan.worker.clone();
        let result = self.solve_and_export(plan).await;
        let (ran, cached) = self.keep_journal(&worker, result.as_ref().ok()).await;
        let exported = result?;
        Ok(Outcome {
            image: exported.image,
            config: exported.config,
            names: exported.names,
            warnings,
            build: self.id,
            ran_and_cached: (ran, cached),
        })
    }

    fn parse(&self) -> Result<(Dockerfile, Vec<Diagnostic>)> {
        let (dockerfile, diagnostics) = parse(&self.request.dockerfile);
        Ok((dockerfile, refuse(diagnostics)?))
    }

    /// Evaluates until every base is known; the bases of one round are fetched side by side.
    async fn evaluate(&self, dockerfile: &Dockerfile, platform: &Platform) -> Result<(Stages, Args, Vec<Diagnostic>)> {
        let args = self.args(platform).await?;
        let mut bases = Bases::new();
        for _ in 0..ROUNDS_MAX {
            let (evaluation, diagnostics) = evaluate(dockerfile, &args, &bases);
            let needs = match evaluation {
                Evaluation::Done(stages) => return Ok((stages, args, refuse(diagnostics)?)),
                Evaluation::Failed => return Err(failed(diagnostics)),
                Evaluation::Needs(needs) => needs,
            };
            let fetched = try_join_all(needs.into_iter().map(|(key, (first_line, last_line))| async move {
                let placed = |error| Error { place: Some(Place { first_line, last_line }), ..error };
                let image = self.images.pin(&key).await.map_err(placed)?;
                Ok::<_, Error>((key, (*image.config).clone()))
            }));
            bases.extend(fetched.await?);
        }
        Err(Error::new(ErrorKind::User, "the base images lead to ever more base images"))
    }

    async fn args(&self, platform: &Platform) -> Result<Args> {
        let request = &self.request;
        let notice = Notice { events: self.events.clone(), step: None };
        let context = self.outside.context(MAIN_CONTEXT, &notice).await?;
        let context_date = context.as_ref().and_then(|context| context.date);
        // A commit has one date for everyone; times that are kept as they are do as BuildKit does.
        let is_dated = request.timestamps == Timestamps::Clamp && context.is_some_and(|context| context.is_commit);
        let named = |(name, context): (&String, &NamedContext)| {
            let named = match context {
                NamedContext::Local | NamedContext::Git(_) | NamedContext::Http(_) => Named::Local,
                NamedContext::Image(reference) | NamedContext::Stored(reference, _) => Named::Image(reference.clone()),
                NamedContext::OciLayout(_, target) => Named::OciLayout { target: target.clone() },
            };
            (name.clone(), named)
        };
        Ok(Args {
            build_args: request.build_args.clone(),
            labels: request.labels.clone(),
            target: request.target.clone(),
            platform: platform.clone(),
            platform_explicit: !request.platforms.is_empty(),
            multi_platform: request.multi_platform(),
            build_platform: Platform::host(),
            contexts: request.contexts.iter().map(named).collect(),
            network: request.network.clone(),
            add_hosts: request.add_hosts.clone(),
            run: request.run.clone(),
            hostname: None,
            no_cache: request.no_cache,
            no_cache_stages: request.no_cache_filter.clone(),
            pull: request.pull,
            epoch: request.epoch,
            context_date,
            default_epoch: context_date.filter(|_| is_dated),
            clamp: request.timestamps == Timestamps::Clamp,
            now: (self.engine.clock)(),
        })
    }

    fn plan(&self, lowered: Vec<Lowered>) -> Planned {
        let graph = join(&lowered);
        let steps: HashMap<VertexId, StepId> =
            graph.steps.iter().enumerate().map(|(i, vertex)| (*vertex, StepId(i as u32 + 1))).collect();
        let journal = self.journal(&graph);
        let before = self.before(&journal.subject);
        let worker = BuildWorker {
            engine: self.engine.clone(),
            request: self.request.clone(),
            session: self.session.clone(),
            events: self.events.clone(),
            outside: self.outside.clone(),
            definition: graph.definition.clone(),
            steps,
            images: self.images.clone(),
            remotes: self.remotes.clone(),
            seals: self.seals.clone(),
            caches: self.caches.clone(),
            compression: self.compression,
            permits: Arc::new(Semaphore::new(self.request.jobs.max(1))),
            journal: Mutex::new(journal),
            before,
            locals: Mutex::default(),
            contents: Mutex::default(),
            nonce: AtomicU64::new(0),
        };
        Planned { worker: Arc::new(worker), graph, lowered }
    }

    fn journal(&self, graph: &Joined) -> Journal {
        let request = &self.request;
        let target = request.target.as_deref().unwrap_or_default();
        let platforms: Vec<String> = request.built_platforms().iter().map(Platform::to_string).collect();
        let places = self.places(graph);
        let step = |id: &VertexId| {
            let vertex = graph.definition.vertex(*id);
            let before: BTreeSet<VertexId> = vertex.inputs.iter().map(|input| input.vertex).collect();
            journal::Step {
                name: vertex.meta.name.clone(),
                place: places[id].clone(),
                instruction: vertex.meta.instruction.clone(),
                no_cache: vertex.meta.no_cache,
                inputs: vertex.op.key_inputs(),
                after: before.iter().filter_map(|id| places.get(id).cloned()).collect(),
                ..journal::Step::default()
            }
        };
        Journal {
            id: self.id.clone(),
            created: (self.engine.clock)(),
            subject: format!("{}\n{}\n{target}\n{}", request.context_key, request.dockerfile_name, platforms.join(",")),
            names: request.tags.iter().map(ToString::to_string).collect(),
            failed: false,
            steps: graph.steps.iter().map(step).collect(),
        }
    }

    /// What a step is called in another build of the same: its stage and its position there.
    fn places(&self, graph: &Joined) -> HashMap<VertexId, String> {
        let mut ordinals: HashMap<String, usize> = HashMap::new();
        let place = |id: &VertexId| {
            let meta = &graph.definition.vertex(*id).meta;
            let stage = match meta.platform.as_ref().filter(|_| self.request.multi_platform()) {
                Some(platform) => format!("{} for {platform}", meta.stage),
                None => meta.stage.clone(),
            };
            let ordinal = ordinals.entry(stage.clone()).or_default();
            *ordinal += 1;
            (*id, format!("step {ordinal} of stage {stage}"))
        };
        graph.steps.iter().map(place).collect()
    }

    /// The last build of the same thing that got to its end, else the last one.
    fn before(&self, subject: &str) -> Option<Journal> {
        let store = &self.engine.store;
        let mut failed = None;
        for build in store.builds().ok()? {
            let Ok(json) = store.build(&build.id) else { continue };
            let journals: Vec<Journal> = serde_json::from_slice(&json).unwrap_or_default();
            match journals.into_iter().find(|journal| journal.subject == subject) {
                Some(journal) if !journal.failed => return Some(journal),
                found => failed = failed.or(found),
            }
        }
        failed
    }

    fn warn(&self, warnings: &[Diagnostic]) {
        for diagnostic in warnings {
            let message = diagnostic.message.clone();
            self.events.event(Event::Warning { message, diagnostic: Some(diagnostic.clone()) });
        }
    }

    fn announce(&self, plan: &Planned) {
        let steps = plan.graph.steps.iter().map(|id| plan.graph.definition.vertex(*id).meta.name.clone());
        let exports = self.request.exports.iter().map(title);
        let caches = self.request.cache_to.iter().map(shared::title);
        let numbered = steps.chain(exports).chain(caches).enumerate().map(|(i, name)| (StepId(i as u32 + 1), name));
        self.events.event(Event::Planned { steps: numbered.collect() });
    }

    async fn solve_and_export(&self, plan: Planned) -> Result<Exported> {
        let first = plan.graph.steps.len() as u32 + 1;
        let mounts = cache_ids(&plan.graph);
        let built = self.solve(plan).await?;
        let exporter = Exporter {
            engine: &self.engine,
            request: &self.request,
            remotes: &self.remotes,
            seals: &self.seals,
            events: &*self.events,
            built: &built,
            caches: &self.caches,
        };
        let exported = exporter.all(first).await?;
        let work = shared::Export {
            engine: &self.engine,
            store: &self.engine.store,
            remotes: &self.remotes,
            seals: &self.seals,
            events: &*self.events,
            images: built.iter().map(|built| built.filesystem.layers()).collect(),
            mounts,
        };
        let first = first + self.request.exports.len() as u32;
        self.caches.write(&self.request.cache_to, &work, first).await?;
        self.engine.store.durable().map_err(|e| from_store(e, CANNOT_SYNC))?;
        Ok(exported)
    }

    async fn solve(&self, plan: Planned) -> Result<Vec<Built>> {
        let solver = Solver::new(plan.worker.clone(), graph(&plan.graph.definition));
        let roots: Vec<NodeId> = plan.graph.roots.iter().map(|root| NodeId(root.0)).collect();
        let realized = solver.solve_all(&roots).await.map_err(crate::error::SharedError::into_error)?;
        if !self.request.cache_to.is_empty() {
            // Steps that nothing asked for, because what stands on them was found, belong into a cache as well.
            let records = solver.records().await.map_err(crate::error::SharedError::into_error)?;
            records.iter().for_each(|record| self.caches.note(record));
        }
        let bases: Vec<Image> =
            self.images.pinned.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let platforms = self.request.built_platforms();
        let built = platforms.into_iter().zip(plan.lowered).zip(realized).map(|((platform, lowered), realized)| {
            Built { platform, lowered, filesystem: realized.output, bases: bases.clone() }
        });
        Ok(built.collect())
    }

    /// Keeps the journal; returns how many steps ran and how many were found.
    async fn keep_journal(&self, worker: &BuildWorker, exported: Option<&Exported>) -> (usize, usize) {
        if exported.is_some() {
            worker.finish_journal().await;
        }
        worker.save_contexts();
        let mut journal = worker.journal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        journal.failed = exported.is_none();
        if journal.failed {
            journal
                .steps
                .iter_mut()
                .filter(|s| s.state == journal::State::Cached)
                .for_each(|s| s.state = journal::State::Pending);
        }
        let ran = journal.steps.iter().filter(|step| step.state != journal::State::Cached).count();
        let counts = (ran, journal.steps.len() - ran);
        // The file is a list of journals.
        let kept = serde_json::to_vec(&[journal]).map_err(|e| e.to_string()).and_then(|json| {
            self.engine.store.save_build(&self.id, &json, (self.engine.clock)()).map_err(|e| e.to_string())
        });
        if let Err(e) = kept {
            self.events.event(Event::Warning {
                message: format!("the build was not noted for `cooper explain`: {e}"),
                diagnostic: None,
            });
        }
        counts
    }
}

/// Ids of the cache mounts of all steps.
fn cache_ids(graph: &Joined) -> BTreeSet<String> {
    let ids = |id: &VertexId| match &graph.definition.vertex(*id).op {
        Op::Exec(exec) => exec.cache_ids().map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    graph.steps.iter().flat_map(ids).collect()
}

/// Starts the pool that hashes and compresses. Left to its first use, a system without threads would make it panic.
pub(crate) fn start_pool() -> Result<()> {
    static FAILED: OnceLock<Option<String>> = OnceLock::new();
    // The one error besides is that it runs already, which its first task shows.
    let start = || rayon::ThreadPoolBuilder::new().build_global().err().filter(|e| e.source().is_some());
    match FAILED.get_or_init(|| start().map(|e| e.to_string())) {
        Some(why) => Err(Error::new(ErrorKind::Host, format!("cannot start threads: {why}"))),
        None => Ok(()),
    }
}

fn layouts(request: &Request) -> HashMap<String, std::path::PathBuf> {
    let layout = |(name, context): (&String, &NamedContext)| match context {
        NamedContext::OciLayout(path, _) => Some((name.clone(), path.clone())),
        _ => None,
    };
    request.contexts.iter().filter_map(layout).collect()
}

fn stored(request: &Request) -> HashMap<Reference, Descriptor> {
    let stored = |context: &NamedContext| match context {
        NamedContext::Stored(name, descriptor) => Some((name.clone(), descriptor.clone())),
        _ => None,
    };
    request.contexts.values().filter_map(stored).collect()
}

fn stage_names(dockerfile: &Dockerfile) -> Vec<String> {
    let name = |instruction: &Instruction| match &instruction.kind {
        InstructionKind::From(from) => from.name.as_ref().map(|name| name.text.clone()),
        _ => None,
    };
    dockerfile.instructions.iter().filter_map(name).collect()
}

fn needs_no_dest(kind: ExportKind) -> bool {
    matches!(kind, ExportKind::Image { .. } | ExportKind::Load)
}

/// Warnings pass; errors refuse the file.
fn refuse(diagnostics: Vec<Diagnostic>) -> Result<Vec<Diagnostic>> {
    match diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        true => Err(failed(diagnostics)),
        false => Ok(diagnostics),
    }
}

fn failed(diagnostics: Vec<Diagnostic>) -> Error {
    let count = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
    let what = if count == 1 {
        "the Dockerfile has an error".to_owned()
    } else {
        format!("the Dockerfile has {count} errors")
    };
    Error { diagnostics, ..Error::new(ErrorKind::User, what) }
}

/// A name no other build has: from what is built, when, and by which process.
fn new_id(engine: &Engine, request: &Request) -> String {
    let mut hasher = KeyHasher::new("build");
    let process = std::process::id();
    let unique = engine.store.temporary().unwrap_or_default();
    hasher.part(request.context_key.as_bytes()).part(&(engine.clock)().to_le_bytes());
    hasher.part(&process.to_le_bytes()).part(unique.as_os_str().as_encoded_bytes());
    hasher.key().to_string()[..12].to_owned()
}
