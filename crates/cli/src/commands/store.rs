//! `cooper store`: looks after the store itself.
//!
//! Knows nothing of what is in it.

use clap::{Args, Subcommand};

use crate::engine_calls;
use crate::error::{CommandError, CommandResult};
use crate::output;
use crate::rows::CheckReport;
use crate::sanitise;
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
pub(crate) async fn run(args: &Store, at: &Surroundings) -> CommandResult {
    match args.action {
        Action::Path => output::data(&format!("{}\n", at.root()?.display())),
        Action::Check => {
            let report = engine_calls::check(at, false).await?;
            print(&report)?;
            if report.problems.is_empty() {
                return Ok(());
            }
            let error = CommandError::failure(format!("the store has {} problems", report.problems.len()));
            Err(error.with_hint("`cooper store repair` mends or drops what is wrong"))
        }
        Action::Repair => print(&engine_calls::check(at, true).await?),
    }
}

fn print(report: &CheckReport) -> CommandResult {
    output::data(&report.problems.iter().map(|line| sanitise::line(line) + "\n").collect::<String>())?;
    output::note(&format!("{} things checked, {} problems", report.checked, report.problems.len()));
    Ok(())
}
