//! Everything a build may ask of its caller.

use std::fmt::Debug;
use std::io::Read;
use std::path::PathBuf;

use async_trait::async_trait;
use cooper_registry::Credentials;

use crate::Result;

/// The caller of a build, as the engine's worker sees it.
#[async_trait]
pub trait Session: Debug + Send + Sync {
    /// The directory of a context: `context`, or a name given in the request.
    async fn context(&self, name: &str) -> Result<PathBuf>;

    /// The archive that is the main context ([`crate::ContextSource::Archive`]). It is asked for once.
    async fn archive(&self) -> Result<Box<dyn Read + Send>>;

    /// The value of a secret; `None` when the caller has no secret of that id.
    async fn secret(&self, id: &str) -> Result<Option<Vec<u8>>>;

    /// The path of the caller's ssh agent socket for an id.
    async fn ssh_agent(&self, id: &str) -> Result<Option<PathBuf>>;

    /// Credentials for a registry host.
    async fn credentials(&self, registry: &str) -> Result<Option<Credentials>>;
}
