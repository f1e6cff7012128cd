//! `cooper store`: looks after the store itself.
//!
//! Knows nothing of what is in it.

use clap::{Args, Subcommand};

use crate::error::{CommandError, CommandResult};
use crate::output;
use crate::sanitise;
use crate::store_calls;
use crate::surroundings::Surroundings;

/// Look after the store
#[derive(Args, Clone, Debug)]
pub(crate) struct Store {
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Action {
    /// Verify every blob and layer; exits with 1 if something is wrong
    Check,
    /// Mend or drop what is wrong
    Repair,
    /// Print where the store is
    Path,
}

impl Store {
    /// Nothing in the store is touched.
    pub(crate) fn only_prints_path(&self) -> bool {
        self.action == Action::Path
    }
}

/// Looks after it.
pub(crate) fn run(args: &Store, at: &Surroundings) -> CommandResult {
    match args.action {
        Action::Path => output::data(&format!("{}\n", at.root()?.display())),
        Action::Check => {
            let problems = store_calls::check(at)?;
            print(&problems)?;
            match problems.len() {
                0 => {
                    output::note("the store is sound");
                    Ok(())
                }
                count => Err(CommandError::failure(format!("the store has {count} problems"))
                    .with_hint("`cooper store repair` mends or drops what is wrong")),
            }
        }
        Action::Repair => {
            let done = store_calls::repair(at)?;
            print(&done)?;
            output::note(&format!("{} things mended or dropped", done.len()));
            Ok(())
        }
    }
}

fn print(lines: &[String]) -> CommandResult {
    output::data(&lines.iter().map(|line| sanitise::line(line) + "\n").collect::<String>())
}
