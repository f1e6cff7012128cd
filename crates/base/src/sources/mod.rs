//! Archives: where packages are served, who may sign for them, and what their signed releases say.
//!
//! Knows nothing of which packages are wanted.

pub mod apt;
mod archive;
mod net;
mod release;

use std::fs;
use std::io::Read as _;
use std::path::Path;

pub use archive::{Index, Opened, open};
pub use net::{Net, NetOptions};
pub use release::{Expectation, Release};

use crate::manifest::Source;
use crate::pgp::{KEYRING_LIMIT, Keyring};
use crate::{Error, ErrorKind, Result};

/// One archive, with the keys that may sign for it.
#[derive(Clone, Debug)]
pub struct Archive {
    /// Addresses of the same archive, tried in order.
    pub uris: Vec<String>,
    /// Suites or codenames.
    pub suites: Vec<String>,
    /// Components.
    pub components: Vec<String>,
    /// The keys.
    pub keyring: Keyring,
    /// A release without `Valid-Until` older than this many days is refused.
    pub max_age_days: Option<u32>,
    /// `Valid-Until` counts.
    pub check_valid_until: bool,
}

impl Archive {
    /// The archive of a declared source: its keyrings are read.
    pub fn of_source(source: &Source) -> Result<Self> {
        let mut keyring = Keyring::default();
        for path in &source.signed_by {
            add_keyring(&mut keyring, path)?;
        }
        let components = if source.components.is_empty() { vec!["main".to_owned()] } else { source.components.clone() };
        Ok(Self {
            uris: source.uris.clone(),
            suites: source.suites.clone(),
            components,
            keyring,
            max_age_days: source.max_age_days,
            check_valid_until: source.check_valid_until.unwrap_or(true),
        })
    }
}

/// Adds the keys of a file.
pub(crate) fn add_keyring(keyring: &mut Keyring, path: &Path) -> Result<()> {
    let what = format!("keyring {}", path.display());
    let file = fs::File::open(path).map_err(|e| Error::at("open keyring", path, e))?;
    let mut bytes = Vec::new();
    file.take(KEYRING_LIMIT as u64 + 1).read_to_end(&mut bytes).map_err(|e| Error::at("read keyring", path, e))?;
    if bytes.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, format!("{what} is empty")));
    }
    keyring.add(&bytes, &what)
}
