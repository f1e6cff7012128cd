//! The packages of a lock, brought into the store, and what is shown meanwhile.
//!
//! Knows nothing of what is in them.

use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use cooper_base::{Event, Lock, Manifest, Places};
use cooper_oci::BlobSink as _;
use cooper_store::Store;

use super::apt;
use super::prepare::Prepare;
use crate::error::CommandResult;
use crate::human;
use crate::open;
use crate::output;
use crate::surroundings::Surroundings;

/// Digits at the end of a fingerprint that people know a key by.
const KEY_ID: usize = 16;

/// Brings every package of the lock into the store, each verified by its digest. They stay there, whoever prunes, as long
/// as the handle that is given back.
pub(crate) async fn fetch(at: &Surroundings, manifest: &Manifest, lock: &Lock, how: &Prepare) -> CommandResult<Store> {
    let store = open::store(at)?.deferred();
    let mut missing = false;
    for package in lock.packages.values().flatten() {
        missing |= !store.has(&package.descriptor()).await?;
    }
    if !missing {
        return Ok(store);
    }
    let places = places(at, manifest, how).await?;
    let architectures: Vec<String> = lock.packages.keys().cloned().collect();
    let shown = Shown::default();
    cooper_base::fetch(lock, &architectures, &places, &store, &|event| shown.show(event)).await?;
    shown.end();
    Ok(store)
}

/// Where .debs are looked for.
pub(crate) async fn places(at: &Surroundings, manifest: &Manifest, how: &Prepare) -> CommandResult<Places> {
    let routes = apt::routes(at, manifest)?;
    let net = open::net(at, routes.proxies).await?;
    Ok(Places { net, deb_dirs: how.deb_dirs.clone(), mirrors: routes.mirrors })
}

/// Downloads as people see them: one line that changes in a terminal, one at the end elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    sums: Mutex<Sums>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    begun: usize,
    ended: usize,
    size: u64,
    bytes: u64,
    /// Tenths of a percent that the line shows.
    drawn: u64,
}

impl Shown {
    /// Takes one event.
    pub(crate) fn show(&self, event: Event<'_>) {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Verified { uri, suite, date, keys } => {
                let keys: Vec<&str> = keys.iter().map(|key| &key[key.len().saturating_sub(KEY_ID)..]).collect();
                let (date, keys) = (human::date(date), keys.join(", "));
                output::note(&format!("verified {suite} of {uri}: {date}, signed by {keys}"));
            }
            Event::Begun { size, .. } => {
                sums.begun += 1;
                sums.size += size;
            }
            Event::Progress { bytes, .. } => {
                sums.bytes += bytes;
                let part = sums.bytes * 1000 / sums.size.max(1);
                if part != sums.drawn && output::stderr_is_terminal() {
                    sums.drawn = part;
                    draw(&format!("fetching: {} of {} files, {}", sums.ended, sums.begun, human::size(sums.bytes)));
                }
            }
            Event::Ended { .. } => sums.ended += 1,
        }
    }

    /// Says what was fetched, if anything was.
    pub(crate) fn end(&self) {
        let sums = *self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        if output::stderr_is_terminal() && sums.drawn > 0 {
            draw("");
        }
        if sums.ended > 0 {
            output::note(&format!("fetched {}, {}", human::counted(sums.ended, "file"), human::size(sums.bytes)));
        }
    }
}

/// Replaces the present line of the terminal.
fn draw(line: &str) {
    let mut out = std::io::stderr().lock();
    // There is nowhere to report a failure to.
    let _ = write!(out, "\r\x1b[K{line}").and_then(|()| out.flush());
}
