//! `cooper serve`: the store as a registry.
//!
//! Knows nothing of HTTP, nor of what is in the store.

mod args;
mod config;
mod guard;
mod proxy;

use std::net::SocketAddr;

use cooper_engine::serve::{Names, StoreBackend, Tended};
use cooper_registry::server::Server;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(crate) use args::Serve;
use config::Config;

use crate::error::{CommandError, CommandResult};
use crate::surroundings::Surroundings;
use crate::{human, open, output, sanitise};

/// Serves until a signal ends it.
pub(crate) async fn run(args: &Serve, at: &Surroundings) -> CommandResult {
    let schedule = args.schedule()?;
    let timeout = args.shutdown_timeout()?;
    let config = guard::config(args)?;
    let token_key = guard::token_key(at.root()?);
    let mut guard = config.guard(&token_key)?;
    if args.check_config {
        guard::check(guard, &token_key)?;
        return output::data("the configuration can be used\n");
    }
    let mut ends = Ends::listen()?;
    let store = open::store(at)?;
    let listener = listen(args, &config).await?;
    guard::ensure_token_key(&guard, &token_key)?;
    guard.log = config.open_log()?;
    let (log, scheme) = (guard.log.clone(), if guard.tls.is_some() { "https" } else { "http" });
    let address = listener.local_addr().map_err(|error| cannot_listen(args, error))?;
    let names = match args.proxy.is_set() {
        true => Names::new([], false),
        false => Names::new(names(args, address), !args.pushed_only),
    };
    let backend = StoreBackend::new(store, names);
    let served = proxy::around(&backend, args, address, at).await?;
    let mut running = Server::serve(listener, served, args.options(guard))?;
    if let Some(place) = &config.metrics.listen {
        let listener = TcpListener::bind(place).await.map_err(|error| {
            CommandError::failure(format!("cannot listen on `{place}` for metrics")).with_source(error)
        })?;
        running.serve_metrics(listener);
    }
    output::data(&format!("serving {scheme}://{address}\n"))?;
    tokio::select! {
        () = ends.wait() => {}
        () = backend.tend(schedule, tell) => {}
        kept = guard::keep(&running, args, &token_key) => match kept? {},
    }
    tokio::select! {
        done = running.drain(timeout) => {
            if !done {
                output::note("warning: requests that did not end in time were cut off");
            }
        }
        () = ends.wait() => output::note("warning: ended at once by a second signal"),
    }
    backend.write_index().await?;
    if let Some(log) = log {
        log.finish();
    }
    Ok(())
}

/// Only whoever is on this machine may do anything without a password, unless the command says otherwise.
async fn listen(args: &Serve, config: &Config) -> CommandResult<TcpListener> {
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host(&args.listen).await.map_err(|error| cannot_listen(args, error))?.collect();
    if args.anonymous && config.asks() {
        let error = CommandError::usage("`--anonymous` lets everybody do everything, and the configuration does not");
        return Err(error.with_hint("a rule for `anonymous` lets everybody do something"));
    }
    let is_open = !addresses.iter().all(|address| address.ip().is_loopback());
    if is_open && config.auth.htpasswd.is_some() && config.tls.is_none() {
        output::note(
            "warning: passwords come in the clear: use `--tls-certificate`, or something before this server that speaks TLS",
        );
    }
    if is_open && !args.anonymous && !config.asks() {
        let what =
            format!("`{}` can be reached from other machines, and nobody would be asked who they are", args.listen);
        return Err(CommandError::usage(what).with_hint(
            "--htpasswd FILE asks them, --anonymous does without; --listen 127.0.0.1:5000 serves this machine only",
        ));
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
