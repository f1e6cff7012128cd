//! Connections: taken while there is room, by TLS where it is spoken, each in a task of its own.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::Shared;
use super::buckets::Client;
use super::front;
use super::limits::Limits;
use super::pace::Patient;
use super::peer::Peer;

/// What is answered on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// The registry.
    Registry,
    /// Numbers and health, in plain HTTP, for those who watch the server.
    Metrics,
}

/// Takes connections until it is told to stop; ends when the last of them has ended.
pub(super) async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    service: Service,
    mut stopping: watch::Receiver<()>,
) {
    let slots = Arc::new(Semaphore::new(shared.front.limits().connections.clamp(1, Semaphore::MAX_PERMITS)));
    let clients = Arc::<Clients>::default();
    // Dropped with this task: aborts the connections.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (stream, address, slot) = take(&listener, &slots) => {
                let limits = shared.front.limits();
                let Some(seat) = Seat::take(&clients, Client::from(address.ip()), limits.connections_per_client) else {
                    shared.front.metrics.refused_connections.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                let task = serve(stream, address, service, shared.clone(), stopping.clone());
                connections.spawn(async move {
                    task.await;
                    drop((seat, slot));
                });
            }
            Some(_) = connections.join_next() => {}
            _ = stopping.changed() => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// The next connection, once there is room for one.
async fn take(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    let slot = slots.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, address)) => return (stream, address, slot),
            // Out of file descriptors, most likely: give others time to close.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Connections by client.
#[derive(Debug, Default)]
struct Clients {
    open: Mutex<HashMap<Client, usize>>,
}

/// One connection of a client.
#[derive(Debug)]
struct Seat {
    clients: Arc<Clients>,
    client: Client,
}

impl Seat {
    fn take(clients: &Arc<Clients>, client: Client, max: usize) -> Option<Self> {
        let mut open = clients.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(client).or_default();
        if *count >= max.max(1) {
            return None;
        }
        *count += 1;
        Some(Self { clients: clients.clone(), client })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.clients.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.client);
            }
        }
    }
}

async fn serve(
    stream: TcpStream,
    address: SocketAddr,
    service: Service,
    shared: Arc<Shared>,
    stopping: watch::Receiver<()>,
) {
    let _open = Counted::new(&shared.front.metrics.connections);
    let _ = stream.set_nodelay(true);
    let server = stream.local_addr().unwrap_or(shared.addr);
    let secure = service == Service::Registry && shared.front.tls.is_some();
    let peer = Peer { address, server, secure };
    let limits = shared.front.limits();
    match shared.front.tls.as_ref().filter(|_| secure) {
        None => talk(Patient::new(stream, limits.idle * 2), peer, service, &shared, &limits, stopping).await,
        Some(tls) => match tokio::time::timeout(limits.handshake, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => {
                talk(Patient::new(stream, limits.idle * 2), peer, service, &shared, &limits, stopping).await;
            }
            _ => {
                shared.front.metrics.failed_handshakes.fetch_add(1, Ordering::Relaxed);
            }
        },
    }
}

/// Answers the requests of one connection.
async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: Peer,
    service: Service,
    shared: &Arc<Shared>,
    limits: &Limits,
    mut stopping: watch::Receiver<()>,
) {
    let answer = service_fn(move |request| async move {
        Ok::<_, Infallible>(match service {
            Service::Registry => front::respond(shared, peer, request).await,
            Service::Metrics => front::respond_to_watchers(shared, peer, request).await,
        })
    });
    let mut connection = pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_headers(Limits::FIELDS)
            .max_buf_size(Limits::HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), answer)
    );
    // A broken connection is the client's affair.
    tokio::select! {
        _ = &mut connection => {}
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// One of something that is counted, as long as it lives.
#[derive(Debug)]
pub(super) struct Counted<'a>(&'a AtomicU64);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
