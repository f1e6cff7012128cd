//! What every build, run and transfer of one process shares.

use std::path::PathBuf;
use std::sync::Arc;

use cooper_executor::Executor;
use cooper_registry::Client;
use cooper_store::Store;

use crate::{Devices, GitProgram};

/// The engine: a store, something that runs processes, and a way to registries.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Where everything is kept.
    pub store: Store,
    /// What runs processes.
    pub executor: Arc<dyn Executor>,
    /// The way to registries.
    pub client: Client,
    /// The way to git repositories.
    pub git: GitProgram,
    /// Seconds since 1970.
    pub clock: fn() -> i64,
    /// The /etc/resolv.conf that steps see.
    pub resolv_conf: Option<Vec<u8>>,
    /// Directories of programs, as in PATH: emulators are looked for there.
    pub search: Vec<PathBuf>,
    /// The devices that steps can be given.
    pub devices: Arc<Devices>,
}

/// Runs work that blocks (disk, hashing) beside the runtime's own threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(join) => match join.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down: nobody is left to take the value.
            Err(_) => futures::future::pending().await,
        },
    }
}
