//! A registry (distribution-spec): everything but what it holds, which is a [`Backend`]'s. Knows nothing of the client.

mod answer;
mod backend;
mod blobs;
mod buckets;
mod catalog;
mod connection;
mod document;
mod front;
mod gate;
mod guard;
mod limits;
mod log;
mod manifests;
mod memory;
mod metrics;
mod pace;
mod page;
mod paging;
mod peer;
mod proxy;
mod quota;
mod referrers;
mod route;
mod sessions;
mod tags;
mod tls;
mod uploads;
mod watched;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::HeaderName;
use hyper::{Method, Request};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub use self::answer::Refusal;
pub use self::backend::{Backend, Part, StoredManifest, Upload};
pub use self::document::Document;
pub use self::gate::{AuthOptions, Rule, Rules, TokenIssuer, TokenOptions, Users, new_signing_key};
pub use self::guard::Guard;
pub use self::limits::{Limits, Quotas};
pub use self::log::{AccessLog, LogFormat, LogOpener};
pub use self::memory::MemoryBackend;
pub use self::proxy::{Notes, Proxy, ProxyOptions, UpstreamAddress};
pub use self::tls::TlsOptions;

use self::answer::Answer;
use self::connection::Service;
use self::front::Front;
use self::gate::Gate;
use self::route::{Action, Route};
use self::sessions::Sessions;
use crate::{Error, ErrorKind, Result};

/// Requests kept in the log; a test makes hundreds.
const LOG_MAX: usize = 10_000;

/// By this old clients of Docker know that they found a registry.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// How a [`Server`] behaves.
#[derive(Clone, Default)]
pub struct ServerOptions {
    /// User name and password, for tests of clients; anyone may do anything without.
    pub auth: Option<(String, String)>,
    /// Ask for tokens from this server's own token service instead of Basic.
    pub token_auth: bool,
    /// Refuse whatever would change something.
    pub read_only: bool,
    /// How the server guards itself; `auth` and `token_auth` mean nothing beside it.
    pub guard: Option<Guard>,
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerOptions")
            .field("auth", &self.auth.is_some())
            .field("token_auth", &self.token_auth)
            .field("read_only", &self.read_only)
            .field("guard", &self.guard)
            .finish()
    }
}

/// One request, as the log keeps it. Header values may be secrets: they are not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Logged {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers; the last one of a name.
    pub headers: BTreeMap<String, String>,
}

impl fmt::Debug for Logged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// A registry server.
#[derive(Clone, Copy, Debug)]
pub struct Server;

impl Server {
    /// Starts a registry in memory on a free loopback port, which remembers the requests it gets: for tests.
    pub async fn start(options: ServerOptions) -> Result<Running> {
        let failed = |e: std::io::Error| Error::new(ErrorKind::Io, "failed to open a loopback port").with_source(e);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        Self::run(listener, Arc::new(MemoryBackend::default()), options, Some(Mutex::default()))
    }

    /// Starts a registry of what `backend` holds.
    pub fn serve(listener: TcpListener, backend: Arc<dyn Backend>, options: ServerOptions) -> Result<Running> {
        Self::run(listener, backend, options, None)
    }

    fn run(
        listener: TcpListener,
        backend: Arc<dyn Backend>,
        options: ServerOptions,
        log: Option<Mutex<Vec<Logged>>>,
    ) -> Result<Running> {
        let failed = |e: std::io::Error| Error::new(ErrorKind::Io, "failed to look at a port").with_source(e);
        let addr = listener.local_addr().map_err(failed)?;
        let (stop, stopping) = watch::channel(());
        let guard = options.guard.clone().unwrap_or_else(|| Guard::of_test(&options));
        let gate = Gate::new(&guard.auth, guard.clock.clone())?;
        let (front, read_only) = (Front::new(&guard)?, options.read_only);
        let (sessions, pages) = (Sessions::default(), page::Pages::default());
        let shared = Arc::new(Shared { addr, backend, gate, front, pages, sessions, read_only, log });
        let task = tokio::spawn(connection::accept(listener, shared.clone(), Service::Registry, stopping));
        Ok(Running { addr, shared, stop, task, watchers: JoinSet::new() })
    }
}

/// A running server; stops when dropped.
pub struct Running {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
    /// Ports for those who watch it; closed when dropped.
    watchers: JoinSet<()>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Running").field(&self.addr).finish()
    }
}

impl Running {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The requests so far, oldest first; the first ten thousand. Only a registry of [`Server::start`] remembers any.
    pub fn requests(&self) -> Vec<Logged> {
        let log = self.shared.log.as_ref().map(|log| log.lock().unwrap_or_else(PoisonError::into_inner).clone());
        log.unwrap_or_default()
    }

    /// Answers `/metrics`, `/healthz` and `/readyz` by another port as well, in plain HTTP, as long as the server runs.
    pub fn serve_metrics(&mut self, listener: TcpListener) {
        let stopping = self.stop.subscribe();
        self.watchers.spawn(connection::accept(listener, self.shared.clone(), Service::Metrics, stopping));
    }

    /// Stops, with every connection.
    pub async fn shutdown(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// Takes no more connections, lets the requests that run end for at most `limit`, then stops. Whether all of them ended.
    pub async fn drain(mut self, limit: Duration) -> bool {
        self.shared.front.draining.store(true, Ordering::Release);
        let _ = self.stop.send(());
        tokio::time::timeout(limit, &mut self.task).await.is_ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What all requests share.
struct Shared {
    /// Where it listens.
    addr: SocketAddr,
    backend: Arc<dyn Backend>,
    gate: Gate,
    front: Front,
    pages: page::Pages,
    sessions: Sessions,
    read_only: bool,
    log: Option<Mutex<Vec<Logged>>>,
}

async fn dispatch(shared: &Shared, request: Request<Incoming>) -> Result<Answer, Refusal> {
    let path = request.uri().path().to_owned();
    if page::has(&path) {
        return Ok(page::respond(shared, &request).await);
    }
    let route = Route::parse(&path)?;
    shared.gate.check(&request, &route)?;
    if answer::query(&request, "ns").is_some_and(|registry| !shared.backend.serves(&registry)) {
        return Err(Refusal::new(404, "NAME_UNKNOWN", "this is no mirror of that registry"));
    }
    if shared.read_only && route.action(request.method()) != Action::Pull {
        return Err(Refusal::new(405, "UNSUPPORTED", "the registry is read-only"));
    }
    let backend = &*shared.backend;
    match route {
        Route::Root if reads(request.method()) => Ok(answer::header(answer::empty(200), API_VERSION, "registry/2.0")),
        Route::Root => Err(Refusal::method()),
        Route::Catalog => catalog::respond(shared, &request).await,
        Route::Blob { name, digest } => blobs::respond(backend, &request, &name, &digest).await,
        Route::Uploads { name } => uploads::open(shared, request, &name).await,
        Route::Upload { name, id } => uploads::go_on(shared, request, &name, &id).await,
        Route::Manifest { name, target } => manifests::respond(shared, request, &name, target.as_oci()).await,
        Route::Tags { name } => tags::respond(backend, &request, &name).await,
        Route::Referrers { name, digest } => referrers::respond(backend, &request, &name, &digest).await,
    }
}

fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

impl Shared {
    fn note(&self, request: &Request<Incoming>) {
        let Some(log) = &self.log else { return };
        let value = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = request.headers().iter().map(|(name, text)| (name.to_string(), value(text))).collect();
        let path = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
        let logged = Logged { method: request.method().to_string(), path, headers };
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() < LOG_MAX {
            log.push(logged);
        }
    }
}
