//! Asks the upstream registry, and leaves it alone when it asked for that: what it said no to is not asked again at once, and
//! neither is a registry that fails or that is asked too often.
//!
//! Knows nothing of what is kept here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cooper_oci::{Digest, Reference};
use hyper::header::RETRY_AFTER;

use super::super::Refusal;
use crate::{Client, Error, ErrorKind, Repository};

/// What upstream does not have is not asked for again so soon: long enough for a storm of retries, short enough for someone
/// who has just pushed it.
const NO_TIME: Duration = Duration::from_secs(10);
/// A repository whose answers fail is left alone so long. The client has tried several times by then.
const REST: Duration = Duration::from_secs(5);
/// The same for a registry that says "too many requests" without saying for how long.
const REST_TOO_MANY: Duration = Duration::from_secs(30);
/// Nobody is believed who asks for more.
const REST_MAX: Duration = Duration::from_secs(900);
/// How long someone waits to hear whether what is kept is still right.
const PATIENCE: Duration = Duration::from_secs(3);
/// Things remembered at once.
const KNOWN_MAX: usize = 10_000;

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// Upstream does not have it.
    Unknown,
    /// Upstream answers, and refuses.
    Refused(Refusal),
    /// Upstream gives no useful answer now.
    Fails(Refusal),
}

/// Words for whoever runs the server: upstream fails, or answers again.
pub type Notes = Arc<dyn Fn(&str) + Send + Sync>;

/// The upstream registry.
pub(super) struct Upstream {
    client: Client,
    registry: String,
    /// What is not asked until then: a repository, the whole registry (the empty name), or one thing of a repository.
    closed: Mutex<HashMap<(String, String), (Instant, Failure)>>,
    fails: Mutex<bool>,
    notes: Notes,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Upstream").field(&self.registry).finish()
    }
}

impl Upstream {
    pub(super) fn new(client: Client, registry: String, notes: Notes) -> Self {
        Self { client, registry, closed: Mutex::default(), fails: Mutex::new(false), notes }
    }

    pub(super) fn registry(&self) -> &str {
        &self.registry
    }

    /// The one name of a repository that has several: `alpine` of docker.io is `library/alpine`.
    pub(super) fn canonical(&self, name: &str) -> String {
        let reference = format!("{}/{name}", self.registry).parse::<Reference>();
        reference.map_or_else(|_| name.to_owned(), |reference| reference.repository().to_owned())
    }

    /// Whether the last answers were failures.
    pub(super) fn fails(&self) -> bool {
        *self.fails.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks `ask` of a repository for one thing, unless that is known to be in vain.
    pub(super) async fn ask<T, F>(
        &self,
        name: &str,
        thing: &str,
        ask: impl FnOnce(Repository) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = crate::Result<T>>,
    {
        if let Some(known) = self.known(name, thing) {
            return Err(known);
        }
        let found = match self.repository(name, thing) {
            Ok(repository) => ask(repository).await,
            Err(error) => Err(error),
        };
        found.map_err(|error| self.failure(name, thing, &error)).inspect(|_| self.note(None))
    }

    /// The same for a requester who has something else to show: waits no longer than [`PATIENCE`].
    pub(super) async fn ask_briefly<T, F>(
        &self,
        name: &str,
        thing: &str,
        ask: impl FnOnce(Repository) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = crate::Result<T>>,
    {
        let late = || Error::new(ErrorKind::Retry, format!("{} takes too long to answer", self.registry));
        let briefly = |repository| async move {
            tokio::time::timeout(PATIENCE, ask(repository)).await.unwrap_or_else(|_| Err(late()))
        };
        self.ask(name, thing, briefly).await
    }

    /// The repository, at a tag or digest if `thing` is one.
    fn repository(&self, name: &str, thing: &str) -> crate::Result<Repository> {
        let separator = if thing.parse::<Digest>().is_ok() { "@" } else { ":" };
        let named = format!("{}/{name}{separator}{thing}", self.registry).parse::<Reference>();
        let reference = named.or_else(|_| format!("{}/{name}", self.registry).parse());
        let invalid = |e| Error::new(ErrorKind::NotFound, format!("{} has no `{name}`", self.registry)).with_source(e);
        Ok(self.client.repository(&reference.map_err(invalid)?))
    }

    fn known(&self, name: &str, thing: &str) -> Option<Failure> {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let places = [(name, thing), (name, ""), ("", "")];
        let found = places.iter().find_map(|(name, thing)| {
            closed.get(&((*name).to_owned(), (*thing).to_owned())).filter(|(until, _)| now < *until)
        });
        found.map(|(_, failure)| failure.clone())
    }

    fn close(&self, name: &str, thing: &str, time: Duration, failure: &Failure) {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if closed.len() >= KNOWN_MAX {
            closed.clear();
        }
        closed.insert((name.to_owned(), thing.to_owned()), (Instant::now() + time, failure.clone()));
    }

    /// What an error means to whoever asked here, and for how long it is believed.
    fn failure(&self, name: &str, thing: &str, error: &Error) -> Failure {
        let after = error.retry_after().map(|after| after.min(REST_MAX));
        let registry = &self.registry;
        match error.kind() {
            ErrorKind::NotFound => {
                self.note(None);
                self.close(name, thing, NO_TIME, &Failure::Unknown);
                Failure::Unknown
            }
            ErrorKind::Unauthorized | ErrorKind::Denied => {
                self.note(None);
                let refusal = Refusal::denied(format!("{registry} refuses it to this cache"));
                let failure = Failure::Refused(refusal);
                self.close(name, thing, NO_TIME, &failure);
                failure
            }
            ErrorKind::TooMany => {
                let time = after.unwrap_or(REST_TOO_MANY);
                let refusal = Refusal::new(429, "TOOMANYREQUESTS", format!("{registry} is asked too often"));
                let failure = Failure::Fails(refusal.with_header(RETRY_AFTER, time.as_secs().max(1).to_string()));
                self.note(Some(error));
                self.close("", "", time, &failure);
                failure
            }
            _ => {
                let time = after.unwrap_or(REST);
                let refusal = Refusal::new(502, "UNKNOWN", format!("{registry} gives no useful answer"));
                let failure = Failure::Fails(refusal.with_header(RETRY_AFTER, time.as_secs().max(1).to_string()));
                self.note(Some(error));
                self.close(name, "", time, &failure);
                failure
            }
        }
    }

    /// Says once that upstream fails, and once that it answers again.
    fn note(&self, error: Option<&Error>) {
        let mut fails = self.fails.lock().unwrap_or_else(PoisonError::into_inner);
        if *fails == error.is_some() {
            return;
        }
        *fails = error.is_some();
        match error {
            Some(error) => (self.notes)(&format!("upstream fails, what is kept is served: {error}")),
            None => (self.notes)(&format!("upstream {} answers again", self.registry)),
        }
    }
}
