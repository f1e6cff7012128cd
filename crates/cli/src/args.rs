//! The command line as a whole: global options and the list of verbs.
//!
//! Knows nothing of what the verbs do; each has its own file below `commands`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands;

/// Builds, inspects and moves container images, without a daemon and without root
#[derive(Debug, Parser)]
#[command(name = "cooper", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Options of every verb.
    #[command(flatten)]
    pub(crate) global: Global,
    /// The verb.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every verb.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Global {
    /// Directory of the store
    #[arg(long, global = true, display_order = 900, env = "COOPER_ROOT", hide_env_values = true, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,

    /// Ask no registry for anything: what is not in the store is an error
    #[arg(long, global = true, display_order = 901, env = "COOPER_OFFLINE", hide_env_values = true,
        value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) offline: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(visible_alias = "b")]
    Build(Box<commands::build::Build>),
    Check(Box<commands::check::Check>),
    Fmt(commands::fmt::Fmt),
    Base(commands::base::Base),
    #[command(visible_alias = "ls")]
    Images(commands::images::Images),
    Pull(commands::pull::Pull),
    Push(commands::pull::Push),
    Copy(commands::copy::Copy),
    Tags(commands::tags::Tags),
    Cache(commands::cache::Cache),
    Login(commands::login::Login),
    Logout(commands::login::Logout),
    History(commands::history::History),
    Inspect(commands::inspect::Inspect),
    Tag(commands::tag::Tag),
    Rmi(commands::rmi::Rmi),
    Prune(commands::prune::Prune),
    Du(commands::du::Du),
    Save(commands::save::Save),
    Load(commands::load::Load),
    Run(Box<commands::run::Run>),
    Explain(commands::explain::Explain),
    Serve(commands::serve::Serve),
    Store(commands::store::Store),
    Doctor(commands::doctor::Doctor),
    Version(commands::version::Version),
    Completions(commands::completions::Completions),
    Man(commands::man::Man),
}

impl Command {
    /// The verb reads or writes the store, whose files may belong to ids that only a user namespace gives.
    pub(crate) fn needs_store(&self) -> bool {
        match self {
            Self::Doctor(_) | Self::Version(_) | Self::Completions(_) | Self::Man(_) | Self::Fmt(_) => false,
            Self::Base(base) => base.needs_store(),
            Self::Tags(_) | Self::Login(_) | Self::Logout(_) => false,
            Self::Check(check) => check.builds(),
            Self::Build(build) => !build.only_reads(),
            Self::Store(store) => !store.only_prints_path(),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_of_every_verb() {
        let mut command = Cli::command().term_width(100);
        command.build();
        let mut out = command.render_help().to_string();
        for verb in command.get_subcommands_mut() {
            out.push_str(&format!("\n==== {} ====\n{}", verb.get_name().to_owned(), verb.render_help()));
        }
        insta::assert_snapshot!(out);
    }
}
