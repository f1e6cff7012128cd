//! `cooper serve`: the store as a registry.
//!
//! Knows nothing of HTTP, nor of what is in the store.

mod args;

use std::net::SocketAddr;
use std::sync::Arc;

use cooper_engine::serve::{Names, StoreBackend, Tended};
use cooper_registry::server::Server;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(crate) use args::Serve;

use crate::error::{CommandError, CommandResult};
use crate::surroundings::Surroundings;
use crate::{human, open, output, sanitise};

/// Serves until a signal ends it.
pub(crate) async fn run(args: &Serve, at: &Surroundings) -> CommandResult {
    let schedule = args.schedule()?;
    let timeout = args.shutdown_timeout()?;
    let mut ends = Ends::listen()?;
    let store = open::store(at)?;
    let listener = listen(args).await?;
    let address = listener.local_addr().map_err(|error| cannot_listen(args, error))?;
    let names = Names::new(names(args, address), !args.pushed_only);
    let backend = StoreBackend::new(store, names);
    let running = Server::serve(listener, Arc::new(backend.clone()), args.options())?;
    output::data(&format!("serving http://{address}\n"))?;
    tokio::select! {
        () = ends.wait() => {}
        () = backend.tend(schedule, tell) => {}
    }
    tokio::select! {
        done = running.drain(timeout) => {
            if !done {
                output::note("warning: requests that did not end in time were cut off");
            }
        }
        () = ends.wait() => output::note("warning: ended at once by a second signal"),
    }
    Ok(backend.write_index().await?)
}

/// Only whoever is on this machine may do anything without a password, unless the command says otherwise.
async fn listen(args: &Serve) -> CommandResult<TcpListener> {
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host(&args.listen).await.map_err(|error| cannot_listen(args, error))?.collect();
    if !args.anonymous && !addresses.iter().all(|address| address.ip().is_loopback()) {
        let what =
            format!("`{}` can be reached from other machines, and nobody would be asked who they are", args.listen);
        return Err(CommandError::usage(what)
            .with_hint("--anonymous allows that; --listen 127.0.0.1:5000 serves this machine only"));
    }
    TcpListener::bind(&addresses[..]).await.map_err(|error| cannot_listen(args, error))
}

fn cannot_listen(args: &Serve, error: std::io::Error) -> CommandError {
    let error = CommandError::failure(format!("cannot listen on `{}`", args.listen)).with_source(error);
    error.with_hint("--listen HOST:PORT names another place; port 0 is any free one")
}

/// The registries that the names of images of this server may begin with.
fn names(args: &Serve, address: SocketAddr) -> Vec<String> {
    let mut names = vec![format!("localhost:{}", address.port()), address.to_string()];
    names.extend(args.names.iter().cloned());
    names
}

fn tell(tended: Tended) {
    output::note(&match tended {
        Tended::Collected(done) => {
            let size = human::size(done.bytes);
            format!("collected {} links and {} blobs ({size})", done.links, done.blobs)
        }
        Tended::Noticed(event) => {
            format!("warning: {}: {}", sanitise::line(&event.subject), sanitise::line(&event.detail))
        }
        Tended::Failed(error) => format!("warning: {error}"),
    });
}

/// The signals that end a server.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
}

impl Ends {
    fn listen() -> CommandResult<Self> {
        let listen =
            |kind| signal(kind).map_err(|error| CommandError::failure("cannot listen to signals").with_source(error));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
