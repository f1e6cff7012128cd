//! `cooper serve --proxy`: the store as a cache of another registry.
//!
//! Knows nothing of how a cache works.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use cooper_engine::serve::StoreBackend;
use cooper_registry::server::{self, Backend, ProxyOptions, UpstreamAddress};

use super::args::{Serve, duration};
use crate::error::{CommandError, CommandResult};
use crate::surroundings::Surroundings;
use crate::{human, open, output, sanitise};

/// The arguments of the cache.
#[derive(Args, Clone, Debug)]
pub(crate) struct Proxy {
    /// Serve another registry's images: fetched when first asked for, kept in the store, served from there
    ///
    /// Nothing can be pushed then, and images of the store that were not fetched this way are not served. Credentials, mirrors
    /// and proxies are those of `cooper pull`. `--name` names registries that this one is a mirror of.
    #[arg(long, value_name = "URL", conflicts_with = "pushed_only")]
    proxy: Option<String>,

    /// How long a tag is believed before upstream is asked whether it moved
    #[arg(long, value_name = "DURATION", default_value = "5m", requires = "proxy")]
    proxy_ttl: String,

    /// How much to keep, as 50GB; what was least recently used goes first
    #[arg(long, value_name = "SIZE", requires = "proxy")]
    proxy_max_size: Option<String>,
}

impl Proxy {
    pub(super) fn is_set(&self) -> bool {
        self.proxy.is_some()
    }

    fn max_size(&self) -> CommandResult<Option<u64>> {
        let Some(text) = &self.proxy_max_size else { return Ok(None) };
        let wrong = || CommandError::usage(format!("`{text}` is not a size for `--proxy-max-size`"));
        human::parse_size(text).map(Some).ok_or_else(|| wrong().with_hint("such as 500MB or 50GiB"))
    }
}

/// What is served: the store itself, or a cache in it.
pub(super) async fn around(
    backend: &StoreBackend,
    args: &Serve,
    address: SocketAddr,
    at: &Surroundings,
) -> CommandResult<Arc<dyn Backend>> {
    let Some(url) = &args.proxy.proxy else { return Ok(Arc::new(backend.clone())) };
    let upstream: UpstreamAddress = url.parse().map_err(|error: cooper_registry::Error| {
        let hint = error.hint().unwrap_or_default().to_owned();
        CommandError::usage(error.to_string()).with_hint(hint)
    })?;
    let options = ProxyOptions {
        ttl: duration("--proxy-ttl", &args.proxy.proxy_ttl)?,
        max_size: args.proxy.max_size()?,
        names: args.names.clone(),
        spool: backend.spool(),
        notes: Arc::new(|note| output::note(&format!("warning: {}", sanitise::line(note)))),
    };
    let client = open::client_of_cache(at, &upstream, address)?;
    let opened = server::Proxy::open(Arc::new(backend.clone()), client, &upstream.registry, options).await;
    let proxy = opened.map_err(|refusal| {
        let why = refusal.cause().unwrap_or_else(|| refusal.message()).to_owned();
        CommandError::failure(format!("cannot look at what is kept of {}: {why}", upstream.registry))
    })?;
    Ok(Arc::new(proxy))
}
