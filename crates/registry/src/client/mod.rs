//! The client: one per process, shared by every repository it opens. Knows what to ask of a registry and how to be
//! refused; knows nothing of images.

mod auth;
mod challenge;
mod delete;
mod download;
mod exchange;
mod http;
mod manifest;
mod origin;
mod place;
mod referrers;
mod repository;
mod sending;
mod service;
mod tags;
mod upload;
mod web;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use cooper_oci::Reference;
use reqwest::Method;

pub use self::http::{HostTls, Proxies};
pub use self::repository::{Mounts, Repository};
pub use self::service::ServiceRequest;
pub use self::web::{WebAnswer, WebRequest};

use self::exchange::{Call, Registry};
use self::http::{Http, Settings};
use crate::Result;
use crate::credentials::{Anonymous, CredentialSource};

/// Tells the time, for the expiry of tokens and for dates in `Retry-After`.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Told what a person should know of although the work goes on: one line, safe to print.
pub type Warn = Arc<dyn Fn(&str) + Send + Sync>;

/// How a [`Client`] behaves. Everything that a person may set in the environment is a field here.
#[derive(Clone)]
pub struct ClientOptions {
    /// Where credentials come from.
    pub credentials: Arc<dyn CredentialSource>,
    /// Registries, as written in image names, that are spoken to by plain HTTP. Loopback needs no mention.
    pub plain_http: Vec<String>,
    /// Nothing is sent at all.
    pub offline: bool,
    /// The `User-Agent`.
    pub user_agent: String,
    /// Proxies.
    pub proxies: Proxies,
    /// Roots of trust beside the host's, as PEM.
    pub extra_roots: Option<String>,
    /// TLS of hosts (`registry.example`, `localhost:5000`) that differ from the rest.
    pub tls: BTreeMap<String, HostTls>,
    /// Mirrors of registries, best first: asked before the registry itself for everything that is read.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Told of mirrors that are left out.
    pub warn: Warn,
    /// The clock.
    pub clock: Clock,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long an answer may make no progress.
    pub idle_timeout: Duration,
}

impl ClientOptions {
    /// An anonymous client that goes everywhere by TLS, and directly.
    pub fn new(clock: Clock) -> Self {
        Self {
            credentials: Arc::new(Anonymous),
            plain_http: Vec::new(),
            offline: false,
            user_agent: concat!("cooper/", env!("CARGO_PKG_VERSION")).to_owned(),
            proxies: Proxies::default(),
            extra_roots: None,
            tls: BTreeMap::new(),
            mirrors: BTreeMap::new(),
            warn: Arc::new(|_| {}),
            clock,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
        }
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("plain_http", &self.plain_http)
            .field("offline", &self.offline)
            .field("user_agent", &self.user_agent)
            .field("proxies", &self.proxies)
            .finish_non_exhaustive()
    }
}

/// What every registry of a client shares.
pub(crate) struct Shared {
    pub(crate) http: Http,
    pub(crate) options: ClientOptions,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.options.fmt(f)
    }
}

/// A registry client. Cheap to clone, cheap to make: connections, roots of trust and tokens come when needed.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    registries: Arc<Mutex<HashMap<String, Arc<Registry>>>>,
}

impl Client {
    /// A client. Opens no connection and reads no file.
    pub fn new(options: ClientOptions) -> Self {
        let http = Http::new(Settings {
            user_agent: options.user_agent.clone(),
            proxies: options.proxies.clone(),
            connect_timeout: options.connect_timeout,
            extra_roots: options.extra_roots.clone(),
            tls: options.tls.clone(),
        });
        Self { shared: Arc::new(Shared { http, options }), registries: Arc::default() }
    }

    /// The HTTP client underneath, for what is no registry: the same proxies and roots of trust, and no redirects.
    pub async fn http(&self) -> Result<reqwest::Client> {
        self.shared.http.secure().await.cloned()
    }

    /// The repository that `reference` names, at its tag or digest. Opens no connection.
    pub fn repository(&self, reference: &Reference) -> Repository {
        let mirrors = self.shared.options.mirrors.get(reference.registry()).into_iter().flatten();
        let mirrors = mirrors.map(|mirror| Repository::new(self.registry(mirror), reference.clone()));
        let mirrors = mirrors.collect::<Vec<_>>().into();
        Repository { mirrors, ..Repository::new(self.registry(reference.registry()), reference.clone()) }
    }

    /// Whether `registry` takes the credentials it asks for; nobody is refused by one that asks for none.
    ///
    /// # Errors
    /// It refuses them, cannot be reached, or is no registry.
    pub async fn check(&self, registry: &str) -> Result<()> {
        let registry = self.registry(registry);
        let call = Call::new(Method::GET, registry.base().await?.clone(), "log in", Vec::new());
        registry.send(&call).await.map(drop)
    }

    /// Connections and tokens are shared by all repositories of one registry.
    fn registry(&self, name: &str) -> Arc<Registry> {
        let mut registries = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Arc::new(Registry::new(name, self.shared.clone()));
        registries.entry(name.to_owned()).or_insert_with(fresh).clone()
    }
}
