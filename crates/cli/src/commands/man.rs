//! `cooper man`: manual pages, made from the arguments.
//!
//! Knows nothing of what the verbs do.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use crate::args::Cli;
use crate::error::{CommandError, CommandResult};
use crate::output;

/// Print the manual page, or write one for every verb to a directory
#[derive(Args, Clone, Debug)]
pub(crate) struct Man {
    /// Where to write the pages
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// Prints or writes.
pub(crate) fn run(args: &Man) -> CommandResult {
    let command = Cli::command();
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut page)
            .map_err(|error| CommandError::failure("cannot make the manual page").with_source(error))?;
        return output::data_bytes(&page);
    };
    let failed = |error| CommandError::failure(format!("cannot write to `{}`", dir.display())).with_source(error);
    std::fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(command, dir).map_err(failed)
}
