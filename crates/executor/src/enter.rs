//! Gets the ids and the mount namespace this program works in, once, at its start.
//!
//! Knows nothing of steps: what runs inside is started by an executor.

use std::path::PathBuf;

use crate::{Error, ErrorKind, IdMap, Result};

/// What [`enter`] takes from its caller instead of reading the environment.
#[derive(Clone, Debug, Default)]
pub struct EnterOptions {
    /// Directories searched for `newuidmap` and `newgidmap`, as in PATH.
    pub search: Vec<PathBuf>,
    /// Do not try subordinate ids, even where there are some.
    pub single: bool,
}

/// What [`enter`] obtained.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The user ids this program may use as its own.
    pub map: IdMap,
    /// User id of the caller before [`enter`].
    pub real_uid: u32,
    /// Group id of the caller before [`enter`].
    pub real_gid: u32,
    /// Why it is not more.
    pub notes: Vec<String>,
}

/// Enters a private mount namespace, and as an ordinary user first a user namespace in which this program is root.
/// To be called while the program has one thread.
pub fn enter(_options: &EnterOptions) -> Result<Identity> {
    Err(Error::new(ErrorKind::Host, "namespaces are not supported yet"))
}
