//! A registry in this process (distribution-spec): for tests, and the base of serving images. Everything is in memory,
//! nothing outlives [`Running`]. Knows nothing of the client.

mod answer;
mod blobs;
mod gate;
mod manifests;
mod referrers;
mod route;
mod state;
mod tags;
mod uploads;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use self::answer::{Answer, Refusal};
use self::gate::Gate;
use self::route::Route;
use self::state::State;
use crate::{Error, ErrorKind, Result};

/// Requests kept in the log; a test makes hundreds.
const LOG_MAX: usize = 10_000;
/// A client that takes longer to send its headers is cut off.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);

/// How a [`Server`] behaves.
#[derive(Clone, Default)]
pub struct ServerOptions {
    /// User name and password; anyone may do anything without.
    pub auth: Option<(String, String)>,
    /// Ask for tokens from this server's own token service instead of Basic.
    pub token_auth: bool,
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerOptions")
            .field("auth", &self.auth.is_some())
            .field("token_auth", &self.token_auth)
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
    /// Starts a registry on a free loopback port.
    pub async fn start(options: ServerOptions) -> Result<Running> {
        let failed = |e: std::io::Error| Error::new(ErrorKind::Io, "failed to open a loopback port").with_source(e);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let shared =
            Arc::new(Shared { state: State::default(), gate: Gate::new(options, addr), log: Mutex::default() });
        let task = tokio::spawn(accept(listener, shared.clone()));
        Ok(Running { addr, shared, task })
    }
}

/// A running server; stops when dropped.
pub struct Running {
    addr: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
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

    /// The requests so far, oldest first; the first ten thousand.
    pub fn requests(&self) -> Vec<Logged> {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops, with every connection.
    pub async fn shutdown(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Shared {
    state: State,
    gate: Gate,
    log: Mutex<Vec<Logged>>,
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task: aborts the connections.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { connections.spawn(serve(stream, shared.clone())); }
                // Out of file descriptors, most likely: give others time to close.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(respond(&shared, request).await) }
    });
    // A broken connection is the client's affair.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn respond(shared: &Shared, request: Request<Incoming>) -> Answer {
    shared.note(&request);
    match dispatch(shared, request).await {
        Ok(answer) => answer,
        Err(refusal) => refusal.answer(),
    }
}

async fn dispatch(shared: &Shared, request: Request<Incoming>) -> Result<Answer, Refusal> {
    let path = request.uri().path().to_owned();
    if path == gate::TOKEN_PATH {
        return shared.gate.token(request).await;
    }
    let route = Route::parse(&path)?;
    shared.gate.check(&request, &route)?;
    let state = &shared.state;
    match route {
        Route::Root if reads(request.method()) => Ok(answer::empty(200)),
        Route::Root => Err(Refusal::method()),
        Route::Blob { name, digest } => blobs::respond(state, &request, &name, &digest),
        Route::Uploads { name } => uploads::open(state, &shared.gate, request, &name).await,
        Route::Upload { name, id } => uploads::go_on(state, request, &name, &id).await,
        Route::Manifest { name, target } => manifests::respond(state, request, &name, &target).await,
        Route::Tags { name } => tags::respond(state, &request, &name),
        Route::Referrers { name, digest } => referrers::respond(state, &request, &name, &digest),
    }
}

fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

impl Shared {
    fn note(&self, request: &Request<Incoming>) {
        let value = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = request.headers().iter().map(|(name, text)| (name.to_string(), value(text))).collect();
        let path = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
        let logged = Logged { method: request.method().to_string(), path, headers };
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() < LOG_MAX {
            log.push(logged);
        }
    }
}
