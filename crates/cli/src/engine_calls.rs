//! Every call of the command into the engine and the store, in one place.
//!
//! Turns their values into the rows the verbs print. Knows nothing of arguments and printing.

use std::path::Path;
use std::sync::Arc;

use cooper_engine::{EventSink, Outcome, Request, Session};
use cooper_executor::Running;
use cooper_oci::Reference;
use serde_json::Value;

use crate::error::{CommandError, CommandResult};
use crate::rows::{CheckReport, HistoryRow, ImageRow, PruneRequest, Pruned, Removed, RunRequest, StepReason, UsageRow};
use crate::surroundings::Surroundings;

/// How steps are run and filesystems are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

fn no_engine<T>() -> CommandResult<T> {
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
    let _ = (at.root()?, machinery, request, session, events);
    no_engine()
}

/// Starts a container. Its standard streams are those of this process unless it gets a terminal.
pub(crate) async fn run(
    at: &Surroundings,
    machinery: Machinery,
    request: RunRequest,
    session: Arc<dyn Session>,
) -> CommandResult<Box<dyn Running>> {
    let _ = (at.root()?, machinery, request, session);
    no_engine()
}

/// Writes images as an archive to a file or, without one, to standard output.
pub(crate) async fn save(at: &Surroundings, images: &[String], dest: Option<&Path>, oci: bool) -> CommandResult {
    let _ = (at.root()?, images, dest, oci);
    no_engine()
}

/// Takes the images of an archive, a layout directory or, without one, of standard input into the store.
pub(crate) async fn load(at: &Surroundings, from: Option<&Path>) -> CommandResult<Vec<Reference>> {
    let _ = (at.root()?, from);
    no_engine()
}

/// The images of the store.
pub(crate) async fn images(at: &Surroundings) -> CommandResult<Vec<ImageRow>> {
    let _ = at.root()?;
    no_engine()
}

/// How an image came to be, newest line first.
pub(crate) async fn history(at: &Surroundings, image: &str) -> CommandResult<Vec<HistoryRow>> {
    let _ = (at.root()?, image);
    no_engine()
}

/// What docker's `inspect` says of an image.
pub(crate) async fn inspect(at: &Surroundings, image: &str) -> CommandResult<Value> {
    let _ = (at.root()?, image);
    no_engine()
}

/// Gives an image one more name.
pub(crate) async fn tag(at: &Surroundings, image: &str, name: &Reference) -> CommandResult {
    let _ = (at.root()?, image, name);
    no_engine()
}

/// Takes a name from an image, or all names with `force`.
pub(crate) async fn remove(at: &Surroundings, image: &str, force: bool) -> CommandResult<Vec<Removed>> {
    let _ = (at.root()?, image, force);
    no_engine()
}

/// What takes how much space.
pub(crate) async fn usage(at: &Surroundings) -> CommandResult<Vec<UsageRow>> {
    let _ = at.root()?;
    no_engine()
}

/// Removes what is not needed.
pub(crate) async fn prune(at: &Surroundings, request: &PruneRequest) -> CommandResult<Pruned> {
    let _ = (at.root()?, request);
    no_engine()
}

/// Why the steps of a build were not cached; the last build without a name, compared with another if one is given.
pub(crate) async fn explain(
    at: &Surroundings,
    build: Option<&str>,
    against: Option<&str>,
) -> CommandResult<Vec<StepReason>> {
    let _ = (at.root()?, build, against);
    no_engine()
}

/// Verifies the store; with `repair`, mends it.
pub(crate) async fn check(at: &Surroundings, repair: bool) -> CommandResult<CheckReport> {
    let _ = (at.root()?, repair);
    no_engine()
}
