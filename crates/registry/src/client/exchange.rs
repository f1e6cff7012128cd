//! One request to a registry until it is answered: credentials, redirects, retries. The only place where a secret meets
//! a URL. Knows nothing of what is asked.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use tokio::sync::OnceCell;
use url::Url;

use super::auth::Auth;
use super::origin::{self, Origin};
use super::{Shared, challenge};
use crate::error::sanitise;
use crate::{Error, ErrorKind, Result};

/// Attempts at one request. Five with doubling pauses ride out a restart of a registry behind a balancer.
pub(crate) const ATTEMPTS: u32 = 5;
/// First pause between attempts; doubles each time.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// Longest pause, whatever `Retry-After` says: a hostile or broken registry must not put a build to sleep.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Redirects of one request: registry to storage to mirror is two.
const REDIRECTS_MAX: usize = 5;
/// Bytes of a refusal that are read; the spec's error documents are a few hundred.
const REFUSAL_MAX: usize = 64 * 1024;

/// What is sent along.
#[derive(Debug)]
pub(crate) enum Payload {
    /// Nothing.
    Empty,
    /// Bytes that can be sent again.
    Bytes(Bytes),
    /// A stream that can be sent once.
    Once(Mutex<Option<reqwest::Body>>, Arc<Progress>),
}

/// How far a stream has come, so that a slow upload is told from a dead one.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    sent: AtomicU64,
    waits_for_source: AtomicBool,
}

impl Progress {
    /// The connection asks for more; the source has to come up with it.
    pub(crate) fn wait(&self) {
        self.waits_for_source.store(true, Ordering::Relaxed);
    }

    /// The source came up with `bytes` more.
    pub(crate) fn advance(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.waits_for_source.store(false, Ordering::Relaxed);
    }
}

/// One request.
#[derive(Debug)]
pub(crate) struct Call {
    /// What it is for: `pull manifest 3.20 of library/alpine`.
    pub(crate) what: String,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    /// Scopes a token must have.
    pub(crate) scopes: Vec<String>,
}

impl Call {
    pub(crate) fn new(method: Method, url: Url, what: impl Into<String>, scopes: Vec<String>) -> Self {
        Self { what: what.into(), method, url, headers: HeaderMap::new(), payload: Payload::Empty, scopes }
    }

    pub(crate) fn header(mut self, name: reqwest::header::HeaderName, value: &str) -> Self {
        // A value that is no header value came from outside; without it the registry refuses by itself.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(crate) fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    fn is_replayable(&self) -> bool {
        !matches!(self.payload, Payload::Once(..))
    }

    /// Reads only: may be redirected anywhere, as what comes back is verified.
    fn is_read(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }

    /// Bytes of a stream that were sent.
    fn sent(&self) -> u64 {
        match &self.payload {
            Payload::Once(_, progress) => progress.sent.load(Ordering::Relaxed),
            _ => 0,
        }
    }

    fn waits_for_source(&self) -> bool {
        matches!(&self.payload, Payload::Once(_, progress) if progress.waits_for_source.load(Ordering::Relaxed))
    }

    fn body(&self) -> Option<reqwest::Body> {
        match &self.payload {
            Payload::Empty => None,
            Payload::Bytes(bytes) => Some(bytes.clone().into()),
            Payload::Once(body, _) => body.lock().unwrap_or_else(PoisonError::into_inner).take(),
        }
    }
}

/// One registry: where it is, and what it has been shown.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) name: String,
    pub(crate) shared: Arc<Shared>,
    /// Asked no more as a mirror of another one.
    pub(crate) left_out: AtomicBool,
    base: OnceCell<Url>,
    auth: Auth,
}

impl Registry {
    pub(crate) fn new(name: &str, shared: Arc<Shared>) -> Self {
        let (name, left_out) = (name.to_owned(), AtomicBool::new(false));
        Self { name, shared, left_out, base: OnceCell::new(), auth: Auth::default() }
    }

    /// `scheme://host:port/v2/`.
    pub(crate) async fn base(&self) -> Result<&Url> {
        if self.shared.options.offline {
            let what = format!("{} is not asked for anything: the network is switched off", self.name);
            return Err(Error::new(ErrorKind::Offline, what));
        }
        self.base.get_or_try_init(|| self.find_base()).await
    }

    /// Loopback is tried as plain HTTP, then by TLS. With one candidate nothing is tried.
    async fn find_base(&self) -> Result<Url> {
        let bases = origin::bases(&self.name, &self.shared.options.plain_http)?;
        match bases.as_slice() {
            [plain, secure] => Ok(match self.probe(plain).await {
                // What a TLS port answers to plain HTTP: this, or something that is no HTTP.
                Ok(StatusCode::BAD_REQUEST) => secure.clone(),
                Ok(_) => plain.clone(),
                Err(Some(error)) if !error.is_connect() && !error.is_timeout() => secure.clone(),
                Err(_) if self.probe(secure).await.is_ok() => secure.clone(),
                Err(_) => plain.clone(),
            }),
            [base, ..] => Ok(base.clone()),
            [] => Err(Error::new(ErrorKind::Invalid, format!("{} has no address", self.name))),
        }
    }

    /// What `base` answers in its scheme, without being shown anything.
    async fn probe(&self, base: &Url) -> Result<StatusCode, Option<reqwest::Error>> {
        let client = self.shared.http.client(base).await.map_err(|_| None)?;
        let answer = client.get(base.clone()).timeout(self.shared.options.connect_timeout).send().await;
        answer.map(|answer| answer.status()).map_err(Some)
    }

    /// Sends until answered with success; anything else is an error.
    pub(crate) async fn send(&self, call: &Call) -> Result<Response> {
        let mut attempt = 1;
        loop {
            let error = match self.send_once(call).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            if !is_passing(&error) || attempt >= ATTEMPTS || !call.is_replayable() {
                return Err(error);
            }
            pause(attempt, error.retry_after()).await;
            attempt += 1;
        }
    }

    /// As [`Self::send`], without a second attempt.
    pub(crate) async fn send_once(&self, call: &Call) -> Result<Response> {
        let response = self.attempt(call).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(call, response).await)
    }

    /// One attempt: redirects are followed, and one challenge is answered.
    async fn attempt(&self, call: &Call) -> Result<Response> {
        let home = Origin::of(self.base().await?);
        let mut url = call.url.clone();
        // Once a chain of redirects has left home, nothing secret is shown again, not even back at home.
        let mut at_home = Origin::of(&url) == home;
        let mut authorization = self.auth.known(&call.scopes, self.now());
        let mut challenged = false;
        let mut redirects = 0;
        loop {
            let shown = authorization.clone().filter(|_| at_home);
            let response = self.execute(call, &url, shown.clone()).await?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED && at_home && !challenged && call.is_replayable() {
                challenged = true;
                authorization = self.answer(call, &response, shown).await?;
                if authorization.is_none() {
                    return Ok(response);
                }
            } else if let Some(next) = self.redirect(call, &url, &response, shown.is_some())? {
                redirects += 1;
                if redirects > REDIRECTS_MAX {
                    return Err(self.broken(call, format!("it redirects more than {REDIRECTS_MAX} times")));
                }
                at_home = at_home && Origin::of(&next) == home;
                url = next;
            } else {
                return Ok(response);
            }
        }
    }

    /// What to show after a 401; nothing when there is no challenge this client can answer.
    async fn answer(
        &self,
        call: &Call,
        response: &Response,
        shown: Option<HeaderValue>,
    ) -> Result<Option<HeaderValue>> {
        let Some(challenge) = challenge::read(response.headers()) else { return Ok(None) };
        self.auth.answer(self, &challenge, &call.scopes, shown).await
    }

    async fn execute(&self, call: &Call, url: &Url, authorization: Option<HeaderValue>) -> Result<Response> {
        let client = self.shared.http.client(url).await?;
        let mut headers = call.headers.clone();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value);
        }
        let mut request = client.request(call.method.clone(), url.clone()).headers(headers);
        if let Some(body) = call.body() {
            request = request.body(body);
        }
        self.watch(call, request.send()).await
    }

    /// Gives up when neither an answer comes nor the body makes progress for the idle timeout.
    async fn watch(&self, call: &Call, sending: impl Future<Output = reqwest::Result<Response>>) -> Result<Response> {
        tokio::pin!(sending);
        let mut before = call.sent();
        loop {
            tokio::select! {
                answer = &mut sending => return answer.map_err(|e| network(&self.name, &call.what, e)),
                () = tokio::time::sleep(self.shared.options.idle_timeout) => {}
            }
            let now = call.sent();
            if now == before && !call.waits_for_source() {
                return Err(self.silent(&call.what));
            }
            before = now;
        }
    }

    fn silent(&self, what: &str) -> Error {
        Error::new(ErrorKind::Retry, format!("failed to {what} at {}: no answer in time", self.name))
    }

    /// At most `limit` bytes of a body that is a document; `None` when it is longer. A document takes at most two
    /// idle timeouts: a peer that drips does not hold the build.
    pub(crate) async fn read(&self, what: &str, mut response: Response, limit: usize) -> Result<Option<Bytes>> {
        let reading = async {
            let mut out = BytesMut::new();
            while let Some(chunk) = response.chunk().await.map_err(|e| network(&self.name, what, e))? {
                if out.len() + chunk.len() > limit {
                    return Ok(None);
                }
                out.extend_from_slice(&chunk);
            }
            Ok(Some(out.freeze()))
        };
        let time = self.shared.options.idle_timeout.saturating_mul(2);
        tokio::time::timeout(time, reading).await.map_err(|_| self.silent(what))?
    }

    /// Where to go next, if the answer is a redirect that may be followed.
    fn redirect(&self, call: &Call, from: &Url, response: &Response, secret: bool) -> Result<Option<Url>> {
        if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let Some(location) = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()) else {
            return Err(self.broken(call, "it redirects without saying where to".into()));
        };
        let next = origin::follow(from, location, &format!("{} failed to {}: it", self.name, call.what))?;
        if origin::is_downgrade(from, &next) && (secret || !call.is_read()) {
            return Err(self.broken(call, "it redirects from TLS to plain HTTP".into()));
        }
        let may_write = matches!(response.status().as_u16(), 307 | 308)
            && call.is_replayable()
            && Origin::of(&next) == Origin::of(from);
        if !call.is_read() && !may_write {
            return Err(self.broken(call, format!("it redirects an upload to {}", origin::printable(&next))));
        }
        Ok(Some(next))
    }

    fn broken(&self, call: &Call, why: String) -> Error {
        Error::new(ErrorKind::Invalid, format!("{} failed to {}: {why}", self.name, call.what))
    }

    /// The error that a refused request stands for, in the registry's own words where it has any.
    pub(crate) async fn refusal(&self, call: &Call, response: Response) -> Error {
        let status = response.status();
        let after = retry_after(response.headers(), self.now());
        let body = self.read(&call.what, response, REFUSAL_MAX).await;
        let words = refusal_words(&body.ok().flatten().unwrap_or_default());
        let words = if words.is_empty() { reason(status) } else { words };
        let (kind, hint) = self.meaning(status);
        let error =
            Error::new(kind, format!("{} refused to {}: {words}", self.name, call.what)).with_retry_after(after);
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    fn meaning(&self, status: StatusCode) -> (ErrorKind, Option<String>) {
        let name = &self.name;
        match status.as_u16() {
            401 => (
                ErrorKind::Unauthorized,
                Some(format!(
                    "run `cooper login {name}`, or check the name: registries answer this for repositories that do not exist"
                )),
            ),
            403 => (ErrorKind::Denied, Some(format!("`cooper login {name}` as someone who may do this"))),
            404 => {
                (ErrorKind::NotFound, Some("check the registry, the repository and the tag for typing mistakes".into()))
            }
            413 => (ErrorKind::TooLarge, None),
            429 => (ErrorKind::TooMany, Some(format!("wait, or run `cooper login {name}` for a higher limit"))),
            408 | 500 | 502 | 503 | 504 => (ErrorKind::Retry, None),
            _ => (ErrorKind::Invalid, None),
        }
    }

    pub(crate) fn now(&self) -> std::time::SystemTime {
        (self.shared.options.clock)()
    }
}

pub(crate) fn is_passing(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Retry | ErrorKind::TooMany)
}

/// Sleeps before attempt `attempt + 1`.
pub(crate) async fn pause(attempt: u32, asked: Option<Duration>) {
    let doubled = PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
    tokio::time::sleep(asked.unwrap_or(doubled).min(PAUSE_MAX)).await;
}

/// `Retry-After` in seconds or as a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: std::time::SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(secs) = text.parse::<u64>() {
        return Some(Duration::from_secs(secs));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// An error of the connection, without the URL, whose query may hold a signature.
pub(crate) fn network(name: &str, what: &str, error: reqwest::Error) -> Error {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    let mut untrusted = is_tls(cause);
    while let Some(next) = cause.source() {
        cause = next;
        untrusted |= is_tls(cause);
    }
    let why = if error.is_timeout() { "no answer in time".to_owned() } else { sanitise(&cause.to_string()) };
    let what = format!("failed to {what} at {name}: {why}");
    // Trying again does not make a certificate better.
    if untrusted {
        return Error::new(ErrorKind::Invalid, what)
            .with_hint("add the server's certificate authority to this host's roots of trust")
            .with_source(error);
    }
    Error::new(ErrorKind::Retry, what).with_source(error)
}

/// An error of TLS. One inside an [`std::io::Error`] is not in the chain of sources, only within.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || inner.is_some_and(|inner| is_tls(inner))
}

#[derive(Deserialize)]
struct Refusals {
    errors: Vec<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: Option<String>,
}

/// The registry's own words (distribution-spec, "Error codes"), or plain text; nothing for pages meant for browsers.
fn refusal_words(body: &[u8]) -> String {
    if let Ok(refusals) = serde_json::from_slice::<Refusals>(body) {
        let lines = refusals.errors.into_iter().map(|refusal| match refusal.message {
            Some(message) if !message.is_empty() => message,
            _ => refusal.code,
        });
        return sanitise(&lines.collect::<Vec<_>>().join("; "));
    }
    let text = String::from_utf8_lossy(body);
    let is_words = !text.trim_start().starts_with(['<', '{', '[']);
    if is_words { sanitise(&text) } else { String::new() }
}

fn reason(status: StatusCode) -> String {
    format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or("unknown status").to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn retry_after_in_both_forms() {
        let now: SystemTime = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, expect) in [
            ("3", Some(3)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
            ("99999999999999999999999", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            assert_eq!(retry_after(&headers, now), expect.map(Duration::from_secs), "{text}");
        }
    }
}
