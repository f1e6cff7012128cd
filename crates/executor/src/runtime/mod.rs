//! The executor that hands a process to an OCI runtime (`runc`, `crun`).
//!
//! Knows nothing of how the runtime does it.

use std::path::PathBuf;

use crate::{Error, ErrorKind, Executor, Process, Result, Running};

/// Runs processes with an OCI runtime.
#[derive(Clone, Debug)]
pub struct Runtime {
    program: PathBuf,
    state: PathBuf,
}

impl Runtime {
    /// `program` is the runtime; bundles and its state are kept under `state_dir` while a process runs.
    pub fn new(program: impl Into<PathBuf>, state_dir: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), state: state_dir.into() }
    }
}

impl Executor for Runtime {
    fn start(&self, process: Process) -> Result<Box<dyn Running>> {
        let what = format!("{} cannot run {:?} in {} yet", self.program.display(), process.args, self.state.display());
        Err(Error::new(ErrorKind::Host, what))
    }
}
