//! The executor that makes its own namespaces: starts the hidden subcommand and talks to it.
//!
//! Does not set anything up itself: the program it lives in has many threads.

use std::path::PathBuf;

use crate::{Error, ErrorKind, Executor, Process, Result, Running};

/// Runs processes in namespaces of our own.
#[derive(Clone, Debug)]
pub struct Namespaces {
    program: PathBuf,
}

impl Namespaces {
    /// `program` is what calls [`crate::init_main`] if its first argument is [`crate::INIT_COMMAND`]: `/proc/self/exe`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }
}

impl Executor for Namespaces {
    fn start(&self, process: Process) -> Result<Box<dyn Running>> {
        let what = format!("{} cannot run {:?} yet", self.program.display(), process.args);
        Err(Error::new(ErrorKind::Host, what))
    }
}
