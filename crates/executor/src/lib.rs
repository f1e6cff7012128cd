//! Runs one process in one root filesystem. The only crate with `unsafe`.
//!
//! Knows nothing of images, layers, the build graph or the store.

mod binfmt;
mod capability;
mod cgroup;
mod enter;
mod error;
mod init;
mod namespaces;
mod probe;
mod process;
mod runtime;
mod sealed;
mod subid;
mod sys;
mod wire;

pub use binfmt::{Emulator, emulator, emulators, register};
pub use capability::capability;
pub use enter::{EnterOptions, Identity, enter};
pub use error::{Error, ErrorKind, Result};
pub use init::{INIT_COMMAND, init_main};
pub use namespaces::Namespaces;
pub use probe::{Check, Strength, probe};
pub use process::{
    DeviceNode, Exit, IdMap, Limits, MountSource, Network, NoNewPrivileges, Output, Process, ProcessMount, Profile,
    Running, Stdio, Ulimit,
};
pub use runtime::Runtime;

/// Something that runs processes: namespaces of our own, or an OCI runtime.
pub trait Executor: std::fmt::Debug + Send + Sync {
    /// Starts `process`; returns once it has been handed to the kernel or has failed to start.
    fn start(&self, process: Process) -> Result<Box<dyn Running>>;
}
