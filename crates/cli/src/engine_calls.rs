//! Every call of the command into the engine, in one place.
//!
//! Until the engine is wired in, each call says so. The types beside them are what the engine's own calls take.

use std::path::Path;
use std::sync::Arc;

use cooper_engine::{EventSink, Outcome, Request, Session};
use cooper_executor::{Executor, Running};
use cooper_oci::Reference;
use cooper_registry::Client;
use cooper_store::Store;

use crate::error::{CommandError, CommandResult};
use crate::open;
use crate::rows::{Explained, RunRequest};
use crate::surroundings::Surroundings;

/// How steps are run and filesystems are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machinery {
    /// `--runtime`.
    pub(crate) runtime: RuntimeChoice,
    /// `--snapshotter`.
    pub(crate) snapshotter: SnapshotterChoice,
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

/// What the engine works with.
#[derive(Debug)]
struct Engine {
    store: Store,
    executor: Arc<dyn Executor>,
    client: Client,
    clock: fn() -> i64,
    resolv_conf: Option<Vec<u8>>,
}

fn engine(at: &Surroundings, machinery: Machinery) -> CommandResult<Engine> {
    Ok(Engine {
        store: open::store(at)?,
        executor: open::executor(at, machinery.runtime)?,
        client: open::client(at),
        clock: crate::human::now,
        resolv_conf: open::resolv_conf(),
    })
}

fn no_engine<T>(engine: &Engine) -> CommandResult<T> {
    let Engine { store, executor, client, clock, resolv_conf } = engine;
    let _ = (store, executor, client, clock, resolv_conf);
    Err(CommandError::failure("this build of cooper has no engine yet"))
}

/// Builds.
pub(crate) async fn build(
    at: &Surroundings,
    machinery: Machinery,
    request: Request,
    session: Arc<dyn Session>,
    events: Arc<dyn EventSink>,
) -> CommandResult<Outcome> {
    let engine = engine(at, machinery)?;
    let _ = (machinery.snapshotter, request, session, events);
    no_engine(&engine)
}

/// A container that runs; its filesystem goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Container {
    /// Its process.
    pub(crate) running: Box<dyn Running>,
}

/// Starts a container of an image in the store.
pub(crate) async fn run(at: &Surroundings, machinery: Machinery, request: RunRequest) -> CommandResult<Container> {
    let engine = engine(at, machinery)?;
    let RunRequest { image, args, entrypoint, env, workdir, user, hostname, mounts, readonly, network, stdio } =
        request;
    let _ = (image, args, entrypoint, env, workdir, user, hostname, mounts, readonly, network, stdio);
    no_engine(&engine)
}

/// Writes images as an archive to a file or, without one, to standard output.
pub(crate) async fn save(at: &Surroundings, images: &[String], dest: Option<&Path>, oci: bool) -> CommandResult {
    let engine = engine(at, Machinery::default())?;
    let _ = (images, dest, oci);
    no_engine(&engine)
}

/// Takes the images of an archive, a layout directory or, without one, of standard input into the store.
pub(crate) async fn load(at: &Surroundings, from: Option<&Path>) -> CommandResult<Vec<Reference>> {
    let engine = engine(at, Machinery::default())?;
    let _ = from;
    no_engine(&engine)
}

/// Why the steps of a build ran: the last build without a name, compared with another if one is given.
pub(crate) async fn explain(
    at: &Surroundings,
    build: Option<&str>,
    against: Option<&str>,
) -> CommandResult<Vec<Explained>> {
    let engine = engine(at, Machinery::default())?;
    let _ = (build, against);
    no_engine(&engine)
}
