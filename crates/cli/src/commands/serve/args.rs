//! The arguments of `cooper serve`.
//!
//! Knows nothing of what they are used for.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use cooper_engine::serve::Schedule;
use cooper_registry::server::{Guard, ServerOptions};

use super::config::AccessFormat;
use super::proxy::Proxy;
use crate::error::{CommandError, CommandResult};
use crate::human;

/// What turns a time off.
const NEVER: &str = "never";

/// Serve the images of the store as a registry
///
/// An image built as `app` is `localhost:5000/app` to every client, without a copy; what clients push are images of the store,
/// named `localhost/NAME:TAG`. One line on standard output says where it serves.
#[derive(Args, Clone, Debug)]
pub(crate) struct Serve {
    /// Where to listen; port 0 is any free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:5000")]
    pub(super) listen: String,

    /// Also serve the images that are named of this registry, as `registry.example.com/app`
    #[arg(long = "name", value_name = "HOST[:PORT]")]
    pub(super) names: Vec<String>,

    /// Serve only what was pushed, or is named of this server: nothing else that was built or pulled here
    #[arg(long)]
    pub(super) pushed_only: bool,

    #[command(flatten)]
    pub(super) proxy: Proxy,

    /// Refuse whatever would change something
    #[arg(long)]
    pub(super) read_only: bool,

    /// Let everybody who reaches the server do everything, from other machines too
    #[arg(long)]
    pub(super) anonymous: bool,

    /// Who may do what, TLS, limits, log and metrics, as docs/serve.md describes; flags win. SIGHUP reads it again
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// Read the configuration and all files it names, say what is wrong with them, and end
    #[arg(long)]
    pub(super) check_config: bool,

    /// Ask for names and passwords of this file of `htpasswd -B`; it is read again when it changes
    #[arg(long, value_name = "FILE", conflicts_with = "anonymous")]
    pub(super) htpasswd: Option<PathBuf>,

    /// Speak TLS with this certificate and those that lead to its root (PEM); read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(super) tls_certificate: Option<PathBuf>,

    /// The private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(super) tls_key: Option<PathBuf>,

    /// Write a line for each request
    #[arg(long, value_name = "FORMAT")]
    pub(super) access_log: Option<AccessFormat>,

    /// Where these lines go instead of standard output; opened again at SIGHUP
    #[arg(long, value_name = "FILE")]
    pub(super) access_log_file: Option<PathBuf>,

    /// Answer `/metrics` to everybody who reaches the server
    #[arg(long)]
    pub(super) metrics: bool,

    /// Answer `/metrics`, `/healthz` and `/readyz` here as well, in plain HTTP
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) metrics_listen: Option<String>,

    /// How often to look for what no image needs any more, or `never`
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub(super) gc_interval: String,

    /// How long to keep what no tag, index or subject needs any more, or `never` to remove only what was deleted
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    pub(super) untagged_after: String,

    /// How long running requests may take to end once the server is told to
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub(super) shutdown_timeout: String,
}

impl Serve {
    pub(super) fn schedule(&self) -> CommandResult<Schedule> {
        let every = or_never("--gc-interval", &self.gc_interval)?;
        if every.is_some_and(|every| every.is_zero()) {
            return Err(CommandError::usage("`--gc-interval` cannot be 0").with_hint("`never` turns it off"));
        }
        let grace = or_never("--untagged-after", &self.untagged_after)?;
        Ok(Schedule { every, grace_secs: grace.map(|grace| i64::try_from(grace.as_secs()).unwrap_or(i64::MAX)) })
    }

    pub(super) fn shutdown_timeout(&self) -> CommandResult<Duration> {
        duration("--shutdown-timeout", &self.shutdown_timeout)
    }

    pub(super) fn options(&self, guard: Guard) -> ServerOptions {
        ServerOptions { read_only: self.read_only, guard: Some(guard), ..ServerOptions::default() }
    }
}

fn or_never(flag: &str, text: &str) -> CommandResult<Option<Duration>> {
    if text == NEVER { Ok(None) } else { duration(flag, text).map(Some) }
}

pub(super) fn duration(flag: &str, text: &str) -> CommandResult<Duration> {
    human::parse_duration(text).ok_or_else(|| {
        CommandError::usage(format!("`{text}` is not a duration for `{flag}`")).with_hint("such as 24h or 90s")
    })
}
