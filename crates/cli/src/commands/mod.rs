//! One file for every verb: its arguments, whose comments are the help, and one function.
//!
//! Knows nothing of how the engine does it.

pub(crate) mod base;
pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod copy;
pub(crate) mod doctor;
pub(crate) mod du;
pub(crate) mod explain;
pub(crate) mod fmt;
pub(crate) mod history;
pub(crate) mod images;
pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod login;
pub(crate) mod man;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod rmi;
pub(crate) mod run;
pub(crate) mod save;
pub(crate) mod serve;
pub(crate) mod store;
pub(crate) mod tag;
pub(crate) mod tags;
pub(crate) mod version;

use serde_json::Value;

use crate::args::Command;
use crate::error::CommandResult;
use crate::output;
use crate::sanitise;
use crate::surroundings::Surroundings;

/// Does what the verb says.
pub(crate) async fn run(command: Command, at: &Surroundings) -> CommandResult {
    match command {
        Command::Base(args) => base::run(&args, at).await,
        Command::Build(args) => build::run(*args, at).await,
        Command::Cache(args) => cache::run(&args, at).await,
        Command::Check(args) => check::run(*args, at).await,
        Command::Fmt(args) => fmt::run(&args, at),
        Command::Images(args) => images::run(&args, at),
        Command::History(args) => history::run(&args, at),
        Command::Pull(args) => pull::pull(&args, at).await,
        Command::Push(args) => pull::push(&args, at).await,
        Command::Copy(args) => copy::run(&args, at).await,
        Command::Tags(args) => tags::run(&args, at).await,
        Command::Login(args) => login::login(&args, at).await,
        Command::Logout(args) => login::logout(&args, at).await,
        Command::Inspect(args) => inspect::run(&args, at).await,
        Command::Tag(args) => tag::run(&args, at),
        Command::Rmi(args) => rmi::run(&args, at),
        Command::Prune(args) => prune::run(&args, at),
        Command::Du(args) => du::run(&args, at),
        Command::Save(args) => save::run(&args, at).await,
        Command::Load(args) => load::run(&args, at).await,
        Command::Run(args) => run::run(*args, at).await,
        Command::Explain(args) => explain::run(&args, at).await,
        Command::Serve(args) => serve::run(&args, at).await,
        Command::Store(args) => store::run(&args, at),
        Command::Doctor(args) => doctor::run(&args, at),
        Command::Version(args) => version::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

/// How a table is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns.
    #[default]
    Table,
    /// One JSON object a line.
    Json,
}

/// Prints JSON objects, one a line.
fn print_json_lines(values: impl IntoIterator<Item = Value>) -> CommandResult {
    let text: String = values.into_iter().map(|value| format!("{value}\n")).collect();
    output::data(&sanitise::json(&text))
}

/// Prints one JSON document, indented.
fn print_json(value: &Value) -> CommandResult {
    output::data(&sanitise::json(&format!("{value:#}\n")))
}

/// A digest as tables show it: the first twelve digits, or all of it.
fn shown_digest(digest: &cooper_oci::Digest, whole: bool) -> String {
    if whole { digest.to_string() } else { digest.short().to_owned() }
}
