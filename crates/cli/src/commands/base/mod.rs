//! `cooper base`: base images from distribution packages. One file for every verb below it.
//!
//! Knows nothing of archives, packages and layers.

mod apt;
pub(crate) mod build;
pub(crate) mod init;
pub(crate) mod list;
pub(crate) mod lock;
mod packages;
pub(crate) mod prepare;
pub(crate) mod show;
pub(crate) mod update;

use clap::{Args, Subcommand};

use crate::error::CommandResult;
use crate::surroundings::Surroundings;

/// Make base images from signed distribution packages
#[derive(Args, Clone, Debug)]
pub(crate) struct Base {
    #[command(subcommand)]
    action: Action,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
enum Action {
    Init(init::Init),
    Lock(lock::LockArgs),
    Update(update::Update),
    Build(Box<build::Build>),
    List(list::List),
    Show(show::Show),
}

impl Base {
    /// Images are made, or packages are kept.
    pub(crate) fn needs_store(&self) -> bool {
        matches!(self.action, Action::Build(_) | Action::Lock(_) | Action::Update(_))
    }
}

/// Does it.
pub(crate) async fn run(args: &Base, at: &Surroundings) -> CommandResult {
    match &args.action {
        Action::Init(args) => init::run(args),
        Action::Lock(args) => lock::run(args, at).await,
        Action::Update(args) => update::run(args, at).await,
        Action::Build(args) => build::run(args, at).await,
        Action::List(args) => list::run(args),
        Action::Show(args) => show::run(args, at),
    }
}
