//! Every call of the command into the engine, in one place.
//!
//! Knows how to open what the engine works with, and nothing of how it works.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_engine::{
    BaseOutcome, BaseRequest, Carried, Carry, Container, Devices, Engine, EventSink, Explanation, Format, Outcome,
    Request, RunRequest, Session, State,
};
use cooper_oci::{Blobs, Descriptor, Digest, ImageConfig, Manifest, Platform, Reference};
use cooper_store::{Image, SnapshotKind};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{CommandError, CommandResult, Kind};
use crate::open;
use crate::rows::Explained;
use crate::store_calls;
use crate::surroundings::Surroundings;

/// How steps are run and filesystems are put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machinery {
    /// `--runtime`.
    pub(crate) runtime: RuntimeChoice,
    /// `--snapshotter`.
    pub(crate) snapshotter: SnapshotterChoice,
    /// `--cdi-spec-dir`.
    pub(crate) cdi_spec_dirs: Vec<PathBuf>,
}

/// Where devices are described unless something else is said; the later count more. BuildKit's list.
const CDI_SPEC_DIRS: [&str; 3] = ["/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi"];

fn devices(dirs: Vec<PathBuf>) -> Devices {
    match dirs.is_empty() {
        true => Devices::in_dirs(CDI_SPEC_DIRS.map(PathBuf::from)),
        false => Devices::in_dirs(dirs),
    }
}

/// `--runtime`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RuntimeChoice {
    /// Cooper's own namespaces.
    #[default]
    Own,
    /// runc.
    Runc,
    /// crun.
    Crun,
}

/// `--snapshotter`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SnapshotterChoice {
    /// Overlay where the host allows it.
    #[default]
    Auto,
    /// Overlay mounts.
    Overlay,
    /// Plain copies.
    Native,
}

fn engine(at: &Surroundings, machinery: Machinery) -> CommandResult<Engine> {
    let kind = match machinery.snapshotter {
        SnapshotterChoice::Auto => SnapshotKind::Auto,
        SnapshotterChoice::Overlay => SnapshotKind::Overlay,
        SnapshotterChoice::Native => SnapshotKind::Native,
    };
    Ok(Engine {
        store: open::store_with(at, kind)?,
        executor: open::executor(at, machinery.runtime)?,
        client: open::client(at)?,
        git: open::git(at),
        clock: crate::human::now,
        resolv_conf: open::resolv_conf(),
        search: at.search_path(),
        devices: Arc::new(devices(machinery.cdi_spec_dirs)),
    })
}

/// Builds.
pub(crate) async fn build(
    at: &Surroundings,
    machinery: Machinery,
    request: Request,
    session: Arc<dyn Session>,
    events: Arc<dyn EventSink>,
) -> CommandResult<Outcome> {
    Ok(cooper_engine::build(&engine(at, machinery)?, request, session, events).await?)
}

/// Builds a base image.
pub(crate) async fn build_base(
    at: &Surroundings,
    request: BaseRequest,
    events: Arc<dyn EventSink>,
) -> CommandResult<BaseOutcome> {
    Ok(cooper_engine::build_base(&engine(at, Machinery::default())?, request, events).await?)
}

/// Starts a container of an image in the store.
pub(crate) async fn run(at: &Surroundings, machinery: Machinery, request: RunRequest) -> CommandResult<Container> {
    let not_started = |error: cooper_engine::Error| {
        let kind = match error.kind {
            cooper_engine::ErrorKind::NotExecutable => Some(Kind::Code(NOT_EXECUTABLE)),
            cooper_engine::ErrorKind::NoProgram => Some(Kind::Code(NO_PROGRAM)),
            _ => None,
        };
        let error = CommandError::from(error);
        let whatever = error.kind;
        error.with_kind(kind.unwrap_or(whatever))
    };
    cooper_engine::run(&engine(at, machinery)?, request).await.map_err(not_started)
}

/// docker: the command of a container cannot be executed.
const NOT_EXECUTABLE: u8 = 126;

/// docker: the command of a container does not exist.
const NO_PROGRAM: u8 = 127;

/// Carries images between places.
pub(crate) async fn carry(at: &Surroundings, work: &[Carry], events: &dyn EventSink) -> CommandResult<Vec<Carried>> {
    Ok(cooper_engine::carry(&engine(at, Machinery::default())?, work, events).await?)
}

/// The engine, for what needs no other machinery than the usual.
pub(crate) fn plain(at: &Surroundings) -> CommandResult<Engine> {
    engine(at, Machinery::default())
}

/// The manifest or index that a name has at its registry.
pub(crate) async fn raw_manifest(at: &Surroundings, name: &str) -> CommandResult<Value> {
    let name: Reference = name.parse()?;
    let (descriptor, bytes) = open::client(at)?.repository(&name).manifest(name.target()).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| CommandError::failure(format!("{} is no JSON document", descriptor.digest)).with_source(error))
}

/// What docker's `inspect` says of an image, asked of its registry; only its documents travel.
pub(crate) async fn inspect_remote(at: &Surroundings, name: &str, platform: Option<&Platform>) -> CommandResult<Value> {
    let name: Reference = name.parse()?;
    let repository = open::client(at)?.repository(&name);
    let root = repository.resolve().await?;
    let host = Platform::host();
    let image = cooper_oci::choose(&root, platform.unwrap_or(&host), &repository).await?;
    let manifest: Manifest = remote_document(&repository, &image).await?;
    let config: ImageConfig = remote_document(&repository, &manifest.config).await?;
    let id = manifest.config.digest.clone();
    let image = Image { config: Some(id), name: None, descriptor: root, created_at: 0 };
    Ok(store_calls::inspected(&image, &[name], &manifest, &config))
}

async fn remote_document<T: DeserializeOwned>(from: &dyn Blobs, descriptor: &Descriptor) -> CommandResult<T> {
    let bytes = cooper_oci::read_all(from, descriptor, store_calls::DOCUMENT_MAX).await?;
    let wrong = || CommandError::failure(format!("{} is not the document it should be", descriptor.digest));
    serde_json::from_slice(&bytes).map_err(|error| wrong().with_source(error))
}

/// Writes images as an archive to a file or, without one, to standard output.
pub(crate) async fn save(
    at: &Surroundings,
    images: &[String],
    platform: Option<&Platform>,
    dest: Option<&Path>,
    oci: bool,
) -> CommandResult {
    let engine = engine(at, Machinery::default())?;
    let format = if oci { Format::Oci } else { Format::Docker };
    Ok(cooper_engine::save(&engine, images, platform, format, dest).await?)
}

/// Takes the images of an archive or, without one, of standard input into the store.
pub(crate) async fn load(at: &Surroundings, from: Option<&Path>) -> CommandResult<Vec<(Vec<Reference>, Digest)>> {
    let engine = engine(at, Machinery::default())?;
    let loaded = cooper_engine::load(&engine, from).await?;
    Ok(loaded.into_iter().map(|(names, descriptor)| (names, descriptor.digest)).collect())
}

/// Why the steps of a build ran: the last build without a name, compared with another if one is given.
pub(crate) async fn explain(
    at: &Surroundings,
    build: Option<&str>,
    against: Option<&str>,
) -> CommandResult<Vec<Explained>> {
    let engine = engine(at, Machinery::default())?;
    let builds = cooper_engine::explain(&engine.store, build, against)?;
    Ok(builds.into_iter().map(explained).collect())
}

fn explained(build: Explanation) -> Explained {
    let word = |state| match state {
        State::Cached => "cached",
        State::Ran => "ran",
        State::Failed => "failed",
        State::Pending => "pending",
    };
    let steps = build.steps.into_iter().map(|(name, state, reasons)| (name, word(state), reasons)).collect();
    Explained { build: build.build, created: build.created, before: build.before, steps }
}
