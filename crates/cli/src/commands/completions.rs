//! `cooper completions`: scripts for shells, made from the arguments.
//!
//! Knows nothing of shells.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::error::CommandResult;
use crate::output;

/// Print a completion script for a shell
#[derive(Args, Clone, Debug)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// Prints.
pub(crate) fn run(args: &Completions) -> CommandResult {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "cooper", &mut script);
    output::data_bytes(&script)
}
