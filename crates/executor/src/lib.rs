//! Runs one process in one root filesystem. The only crate with `unsafe`.
//!
//! Knows nothing of images, layers, the build graph or the store.

mod error;
mod process;

pub use error::{Error, ErrorKind, Result};
pub use process::{Exit, IdMap, MountSource, Network, Output, Process, ProcessMount, Profile, Running, Stdio};

/// Something that runs processes: namespaces of our own, or an OCI runtime.
pub trait Executor: std::fmt::Debug + Send + Sync {
    /// Starts `process`; returns once it has been handed to the kernel or has failed to start.
    fn start(&self, process: Process) -> Result<Box<dyn Running>>;
}
