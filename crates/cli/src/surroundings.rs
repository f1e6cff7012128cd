//! What every verb gets: the environment, where the store is, and who this process is after entering its namespaces.
//!
//! Knows nothing of what the verbs do with it.

use std::path::{Path, PathBuf};

use cooper_executor::{EnterOptions, IdMap, Identity};

use crate::args::Global;
use crate::environment::Environment;
use crate::error::{CommandError, CommandResult};

/// What a verb stands on.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// The environment.
    pub(crate) environment: Environment,
    /// The store's directory, if one is known.
    root: Option<PathBuf>,
    /// `--offline`.
    pub(crate) offline: bool,
    /// Who this process is; `None` for verbs that need no store.
    pub(crate) identity: Option<Identity>,
}

impl Surroundings {
    /// Looks around, and enters the namespaces if the store is needed. The caller has a single thread.
    pub(crate) fn of(global: &Global, environment: Environment, needs_store: bool) -> CommandResult<Self> {
        let root = environment.store_root(global.root.as_deref());
        let identity = if needs_store { Some(cooper_executor::enter(&enter_options(&environment))?) } else { None };
        Ok(Self { environment, root, offline: global.offline, identity })
    }

    /// The store's directory.
    pub(crate) fn root(&self) -> CommandResult<&Path> {
        self.root.as_deref().ok_or_else(|| {
            CommandError::failure("no place for the store: neither HOME nor XDG_DATA_HOME is set")
                .with_hint("give one with `--root DIR` or COOPER_ROOT")
        })
    }

    /// What a build cannot do with a single id, and why there are no more.
    pub(crate) fn single_id_warning(&self) -> Option<String> {
        let identity = self.identity.as_ref().filter(|identity| identity.map == IdMap::Single)?;
        let why = match identity.notes.is_empty() {
            true => String::new(),
            false => format!(" ({})", identity.notes.join("; ")),
        };
        Some(format!(
            "steps have one user id here{why}: they cannot change owners, run as another user than 0, or use programs \
             that do; files of base images keep their owners"
        ))
    }

    /// The directories of PATH.
    pub(crate) fn search_path(&self) -> Vec<PathBuf> {
        search_path(&self.environment)
    }
}

fn enter_options(environment: &Environment) -> EnterOptions {
    EnterOptions { search: search_path(environment), single: environment.is_set("COOPER_SINGLE_ID") }
}

fn search_path(environment: &Environment) -> Vec<PathBuf> {
    let path = environment.get("PATH").unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    std::env::split_paths(path).filter(|dir| dir.is_absolute()).collect()
}
