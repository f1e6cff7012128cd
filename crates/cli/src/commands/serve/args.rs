//! The arguments of `cooper serve`.
//!
//! Knows nothing of what they are used for.

use std::time::Duration;

use clap::Args;
use cooper_engine::serve::Schedule;
use cooper_registry::server::ServerOptions;

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

    /// Refuse whatever would change something
    #[arg(long)]
    pub(super) read_only: bool,

    /// Let everybody who reaches the server do everything, from other machines too
    #[arg(long)]
    pub(super) anonymous: bool,

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

    pub(super) fn options(&self) -> ServerOptions {
        ServerOptions { read_only: self.read_only, ..ServerOptions::default() }
    }
}

fn or_never(flag: &str, text: &str) -> CommandResult<Option<Duration>> {
    if text == NEVER { Ok(None) } else { duration(flag, text).map(Some) }
}

fn duration(flag: &str, text: &str) -> CommandResult<Duration> {
    human::parse_duration(text).ok_or_else(|| {
        CommandError::usage(format!("`{text}` is not a duration for `{flag}`")).with_hint("such as 24h or 90s")
    })
}
