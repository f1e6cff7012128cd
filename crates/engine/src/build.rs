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
use cooper_llb::VertexId;
use cooper_oci::{Compression, Descriptor, Digest, Index, MediaType, Platform, Reference};
use cooper_solver::{KeyHasher, NodeId, Solver};
use cooper_store::EventKind;
use futures::future::try_join_all;
use tokio::sync::Semaphore;

use crate::assemble::{Assembled, Assembly};
use crate::error::from_store;
use crate::export::{Exported, Exporter, title};
use crate::filesystem::Filesystem;
use crate::journal::{self, Journal};
use crate::seal::Seals;
use crate::source::{Image, Images, Remotes};
use crate::worker::{BuildWorker, graph};
use crate::{
    Engine, Error, ErrorKind, Event, EventSink, ExportKind, NamedContext, Outcome, Place, Request, Result, Session,
    StepId, Timestamps,
};

/// Evaluation asks for bases again and again only if ONBUILD triggers bring new ones; this many rounds is beyond any real chain.
const ROUNDS_MAX: usize = 64;

/// One attempt finds one broken thing of each layer at worst; a disk with more than that is to be told of, not worked around.
const HEALS_MAX: usize = 16;

/// One platform's build, ready to be solved.
struct Planned {
    worker: Arc<BuildWorker>,
    lowered: Lowered,
}

/// One platform's result.
#[derive(Debug)]
pub(crate) struct Built {
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
    let name = (request.dockerfile_name.clone(), request.dockerfile.clone());
    let attach = |mut error: Error| {
        error.dockerfile = error.dockerfile.or(Some(Box::new(name)));
        error
    };
    healing(engine, request, session, &events).await.map_err(attach)
}

/// Builds, and builds again when what broke the build was moved aside by the store: then it is a miss and is made again.
async fn healing(
    engine: &Engine,
    request: Request,
    session: Arc<dyn Session>,
    events: &Arc<dyn EventSink>,
) -> Result<Outcome> {
    // What went to standard output cannot be taken back.
    let repeatable = request.exports.iter().all(|export| export.dest.is_some() || needs_no_dest(export.kind));
    let mut seen = HashSet::new();
    for _ in 0..HEALS_MAX {
        let result = Build::new(engine, request.clone(), session.clone(), events.clone())?.run().await;
        let healed = tell_mended(engine, &**events, &mut seen);
        if result.is_ok() || !healed || !repeatable {
            return result;
        }
    }
    Build::new(engine, request, session, events.clone())?.run().await
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
    remotes: Arc<Remotes>,
    seals: Arc<Seals>,
    images: Arc<Images>,
    compression: Compression,
    id: String,
}

impl Build {
    fn new(engine: &Engine, request: Request, session: Arc<dyn Session>, events: Arc<dyn EventSink>) -> Result<Self> {
        // One handle for all of the build's work: what any of it uses stays until the build is over.
        let store = engine.store.deferred();
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
        Ok(Self {
            id: new_id(engine, &request),
            seals: Arc::new(Seals::new(store.clone(), compression)),
            engine: Engine { store, ..engine.clone() },
            request: Arc::new(request),
            session,
            events,
            remotes,
            images,
            compression,
        })
    }

    async fn run(self) -> Result<Outcome> {
        let (dockerfile, mut warnings) = self.parse()?;
        self.images.stages.get_or_init(|| stage_names(&dockerfile));
        let mut planned = Vec::new();
        let mut first_step = 0;
        for platform in self.platforms() {
            let (stages, args, more) = self.evaluate(&dockerfile, &platform).await?;
            warnings.extend(more);
            let plan = self.plan(lower(&stages, &args), &platform, first_step)?;
            first_step += plan.lowered.steps.len() as u32;
            planned.push((platform, plan));
        }
        self.warn(&warnings);
        self.announce(&planned, first_step);
        let workers: Vec<Arc<BuildWorker>> = planned.iter().map(|(_, plan)| plan.worker.clone()).collect();
        let result = self.solve_and_export(planned, first_step).await;
        let (ran, cached) = self.keep_journals(&workers, result.as_ref().ok()).await;
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

    fn platforms(&self) -> Vec<Platform> {
        match self.request.platforms.is_empty() {
            true => vec![Platform::host()],
            false => self.request.platforms.clone(),
        }
    }

    /// Evaluates until every base is known; the bases of one round are fetched side by side.
    async fn evaluate(&self, dockerfile: &Dockerfile, platform: &Platform) -> Result<(Stages, Args, Vec<Diagnostic>)> {
        let args = self.args(platform);
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

    fn args(&self, platform: &Platform) -> Args {
        let request = &self.request;
        let named = |(name, context): (&String, &NamedContext)| {
            let named = match context {
                NamedContext::Local => Named::Local,
                NamedContext::Image(reference) | NamedContext::Stored(reference, _) => Named::Image(reference.clone()),
                NamedContext::OciLayout(_, target) => Named::OciLayout { target: target.clone() },
            };
            (name.clone(), named)
        };
        Args {
            build_args: request.build_args.clone(),
            labels: request.labels.clone(),
            target: request.target.clone(),
            platform: platform.clone(),
            platform_explicit: !request.platforms.is_empty(),
            multi_platform: request.platforms.len() > 1,
            build_platform: Platform::host(),
            contexts: request.contexts.iter().map(named).collect(),
            network: request.network.clone(),
            add_hosts: request.add_hosts.clone(),
            hostname: None,
            no_cache: request.no_cache,
            no_cache_stages: request.no_cache_filter.clone(),
            pull: request.pull,
            epoch: request.epoch,
            clamp: request.timestamps == Timestamps::Clamp,
            now: (self.engine.clock)(),
        }
    }

    fn plan(&self, lowered: Lowered, platform: &Platform, first_step: u32) -> Result<Planned> {
        let steps: HashMap<VertexId, StepId> =
            lowered.steps.iter().enumerate().map(|(i, vertex)| (*vertex, StepId(first_step + i as u32 + 1))).collect();
        let journal = self.journal(&lowered, platform);
        let before = self.before(&journal.subject);
        let worker = BuildWorker {
            engine: self.engine.clone(),
            request: self.request.clone(),
            session: self.session.clone(),
            events: self.events.clone(),
            definition: lowered.definition.clone(),
            steps,
            first_step,
            images: self.images.clone(),
            remotes: self.remotes.clone(),
            seals: self.seals.clone(),
            compression: self.compression,
            permits: Arc::new(Semaphore::new(self.request.jobs.max(1))),
            journal: Mutex::new(journal),
            before,
            locals: Mutex::default(),
            contents: Mutex::default(),
            nonce: AtomicU64::new(0),
        };
        Ok(Planned { worker: Arc::new(worker), lowered })
    }

    fn journal(&self, lowered: &Lowered, platform: &Platform) -> Journal {
        let request = &self.request;
        let target = request.target.as_deref().unwrap_or_default();
        let mut ordinals: HashMap<&str, usize> = HashMap::new();
        let places: HashMap<VertexId, String> = lowered
            .steps
            .iter()
            .map(|id| {
                let stage = lowered.definition.vertex(*id).meta.stage.as_str();
                let ordinal = ordinals.entry(stage).or_default();
                *ordinal += 1;
                (*id, format!("step {ordinal} of stage {stage}"))
            })
            .collect();
        let step = |id: &VertexId| {
            let vertex = lowered.definition.vertex(*id);
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
            subject: format!("{}\n{}\n{target}\n{platform}", request.context_key, request.dockerfile_name),
            names: request.tags.iter().map(ToString::to_string).collect(),
            failed: false,
            steps: lowered.steps.iter().map(step).collect(),
        }
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

    fn announce(&self, planned: &[(Platform, Planned)], count: u32) {
        let exports =
            self.request.exports.iter().enumerate().map(|(i, export)| (StepId(count + i as u32 + 1), title(export)));
        let steps = planned.iter().flat_map(|(_, plan)| {
            plan.lowered
                .steps
                .iter()
                .map(|id| (plan.worker.steps[id], plan.lowered.definition.vertex(*id).meta.name.clone()))
        });
        self.events.event(Event::Planned { steps: steps.chain(exports).collect() });
    }

    async fn solve_and_export(&self, planned: Vec<(Platform, Planned)>, first_step: u32) -> Result<Exported> {
        let built = try_join_all(planned.into_iter().map(|(_, plan)| self.solve(plan))).await?;
        let mut images = Vec::new();
        for export in &self.request.exports {
            if needs_image(export.kind) {
                images.push(Some(self.assemble(&built, export.compression, export.force_compression).await?));
            } else {
                images.push(None);
            }
        }
        let exporter = Exporter {
            engine: &self.engine,
            request: &self.request,
            remotes: &self.remotes,
            events: &*self.events,
            built: &built,
        };
        let exported = exporter.all(first_step + 1, &images).await?;
        self.engine.store.durable().map_err(|e| from_store(e, "cannot write the results to disk"))?;
        Ok(exported)
    }

    async fn solve(&self, plan: Planned) -> Result<Built> {
        let solver = Solver::new(plan.worker.clone(), graph(&plan.lowered.definition));
        let realized =
            solver.solve(NodeId(plan.lowered.root.0)).await.map_err(crate::error::SharedError::into_error)?;
        let bases = self.images.pinned.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        Ok(Built { lowered: plan.lowered, filesystem: realized.output, bases })
    }

    async fn assemble(&self, built: &[Built], compression: Compression, force: bool) -> Result<(Descriptor, Digest)> {
        let mut images: Vec<Assembled> = Vec::new();
        for built in built {
            let assembly = Assembly {
                store: &self.engine.store,
                seals: &self.seals,
                remotes: &self.remotes,
                bases: &built.bases,
                config: &built.lowered.image,
                layers: built.filesystem.layers(),
            };
            images.push(assembly.image(compression, force).await?);
        }
        let config = images[0].config.digest.clone();
        if let [only] = &images[..] {
            let mut manifest = only.manifest.clone();
            manifest.platform = None;
            return Ok((manifest, config));
        }
        let index = Index::new(images.into_iter().map(|image| image.manifest).collect());
        let index = serde_json::to_vec_pretty(&index)
            .map_err(|e| Error::new(ErrorKind::Io, "cannot write the index").with_source(e))?;
        let index = self
            .engine
            .store
            .put_bytes(MediaType::INDEX, &index)
            .map_err(|e| from_store(e, "cannot write the index"))?;
        Ok((index, config))
    }

    /// Keeps the journals; returns how many steps ran and how many were found.
    async fn keep_journals(&self, workers: &[Arc<BuildWorker>], exported: Option<&Exported>) -> (usize, usize) {
        let mut journals = Vec::new();
        for worker in workers {
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
            journals.push(journal);
        }
        let steps = || journals.iter().flat_map(|journal| &journal.steps);
        let ran = steps().filter(|step| step.state != journal::State::Cached).count();
        let counts = (ran, steps().count() - ran);
        let kept = serde_json::to_vec(&journals).map_err(|e| e.to_string()).and_then(|json| {
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

fn needs_image(kind: ExportKind) -> bool {
    !matches!(kind, ExportKind::Tar | ExportKind::Local)
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
