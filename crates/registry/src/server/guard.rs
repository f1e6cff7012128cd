//! What a server that strangers reach has beside the registry itself: who may do what, TLS, limits, the access log, numbers.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::gate::{AuthOptions, Gate, Rules, TokenIssuer, TokenOptions, Users};
use super::limits::Limits;
use super::log::AccessLog;
use super::tls::{Tls, TlsOptions};
use super::{Running, ServerOptions};
use crate::Error;
use crate::client::Clock;

/// How a server guards itself. Libraries read no clock: it is given.
#[derive(Clone)]
pub struct Guard {
    /// Who may do what.
    pub auth: AuthOptions,
    /// TLS instead of plain HTTP.
    pub tls: Option<TlsOptions>,
    /// How much a client may have of everything.
    pub limits: Limits,
    /// A line for each request.
    pub log: Option<AccessLog>,
    /// Whether `/metrics` is answered, by the registry's port and to anyone.
    pub shows_metrics: bool,
    /// The time of day.
    pub clock: Clock,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("auth", &self.auth)
            .field("tls", &self.tls)
            .field("limits", &self.limits)
            .field("log", &self.log)
            .field("shows_metrics", &self.shows_metrics)
            .finish_non_exhaustive()
    }
}

impl Guard {
    /// Nobody is asked, in plain HTTP, with the usual limits and no log.
    pub fn new(clock: Clock) -> Self {
        let (auth, limits) = (AuthOptions::default(), Limits::default());
        Self { auth, tls: None, limits, log: None, shows_metrics: false, clock }
    }

    /// Reads all files as a server does at its start, and keeps nothing of them.
    pub fn check(&self) -> crate::Result<()> {
        Gate::new(&self.auth, self.clock.clone())?;
        self.tls.as_ref().map(Tls::new).transpose()?;
        Ok(())
    }

    /// The one user of a server for tests of clients. Its clock starts in 2001 and never jumps.
    pub(super) fn of_test(options: &ServerOptions) -> Self {
        let start = Instant::now();
        let epoch = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let mut guard = Self::new(Arc::new(move || epoch + start.elapsed()));
        let Some((user, password)) = options.auth.clone() else { return guard };
        guard.auth.users = Users::One(user, password);
        let service = "cooper".to_owned();
        let own = TokenOptions { service, realm: None, issuer: TokenIssuer::Own { key: None } };
        guard.auth.tokens = options.token_auth.then_some(own);
        guard
    }
}

impl Running {
    /// Puts other rules and limits in force for the requests that come. The number of connections stays.
    pub fn set_policy(&self, rules: Option<Rules>, limits: Limits) {
        self.shared.gate.set_rules(rules);
        self.shared.front.set_limits(limits);
    }

    /// Reads users, keys and certificates again if their files changed, or `always`; with `always`, the log is opened again
    /// as well. What cannot be read stays as it was: the errors. Blocks.
    pub fn refresh(&self, always: bool) -> Vec<Error> {
        let front = &self.shared.front;
        let mut errors = self.shared.gate.refresh(always);
        errors.extend(front.tls.as_ref().and_then(|tls| tls.refresh(always).err()));
        if let Some(log) = front.log.as_ref().filter(|_| always) {
            log.reopen();
        }
        errors
    }
}
