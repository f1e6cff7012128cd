//! Who may do what: nobody is asked, or Basic, or Bearer with tokens from this server's own token service. Fails closed.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use hyper::{Method, Request};
use url::form_urlencoded;

use super::ServerOptions;
use super::answer::{Answer, Refusal, body, text, with_body};
use super::route::Route;

/// Where tokens are had.
pub(super) const TOKEN_PATH: &str = "/token";
/// Seconds a token is said to be valid. It is valid as long as the server runs.
const TOKEN_SECS: u64 = 300;
/// Tokens known at once; the eldest requester asks again.
const TOKENS_MAX: usize = 10_000;
/// A form of the OAuth2 flow is a few hundred bytes.
const FORM_MAX: usize = 64 * 1024;

pub(super) struct Gate {
    options: ServerOptions,
    addr: SocketAddr,
    /// Scopes by token: `name pull`, `name push`.
    tokens: Mutex<HashMap<String, HashSet<String>>>,
}

impl Gate {
    pub(super) fn new(options: ServerOptions, addr: SocketAddr) -> Self {
        Self { options, addr, tokens: Mutex::default() }
    }

    /// Refuses what the requester may not do.
    pub(super) fn check(&self, request: &Request<Incoming>, route: &Route) -> Result<(), Refusal> {
        if self.options.auth.is_none() {
            return Ok(());
        }
        let action = if matches!(*request.method(), Method::GET | Method::HEAD) { "pull" } else { "push" };
        let allowed = match route.name() {
            Some(name) => self.may(request, name, action),
            None => self.is_known(request),
        };
        if allowed { Ok(()) } else { Err(self.refusal(route.name(), action)) }
    }

    /// Whether `name` may be read, for a mount from there.
    pub(super) fn may_pull(&self, request: &Request<Incoming>, name: &str) -> bool {
        self.options.auth.is_none() || self.may(request, name, "pull")
    }

    fn may(&self, request: &Request<Incoming>, name: &str, action: &str) -> bool {
        if !self.options.token_auth {
            return self.is_known(request);
        }
        let Some(token) = credentials(request, "bearer") else { return false };
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(token).is_some_and(|scopes| scopes.contains(&format!("{name} {action}")))
    }

    fn is_known(&self, request: &Request<Incoming>) -> bool {
        if self.options.token_auth {
            let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            return credentials(request, "bearer").is_some_and(|token| tokens.contains_key(token));
        }
        self.is_user(request)
    }

    fn is_user(&self, request: &Request<Incoming>) -> bool {
        let Some((user, password)) = &self.options.auth else { return true };
        credentials(request, "basic") == Some(STANDARD.encode(format!("{user}:{password}")).as_str())
    }

    fn refusal(&self, name: Option<&str>, action: &str) -> Refusal {
        let challenge = if self.options.token_auth {
            let actions = if action == "push" { "pull,push" } else { "pull" };
            let scope = name.map_or_else(String::new, |name| format!(",scope=\"repository:{name}:{actions}\""));
            format!("Bearer realm=\"http://{}{TOKEN_PATH}\",service=\"cooper\"{scope}", self.addr)
        } else {
            "Basic realm=\"cooper\"".to_owned()
        };
        Refusal::new(401, "UNAUTHORIZED", "authentication required").with_header(WWW_AUTHENTICATE, challenge)
    }

    /// The token service: GET with Basic, or POST with the password as refresh token.
    pub(super) async fn token(&self, request: Request<Incoming>) -> Result<Answer, Refusal> {
        let denied = || Refusal::new(401, "UNAUTHORIZED", "authentication required");
        let scopes = match *request.method() {
            Method::GET if self.is_user(&request) => {
                let text = request.uri().query().unwrap_or_default();
                scopes(text)
            }
            Method::POST => {
                let form = body(request, FORM_MAX).await?;
                let text = String::from_utf8_lossy(&form);
                if !self.is_refresh(&text) {
                    return Err(denied());
                }
                scopes(&text)
            }
            _ => return Err(denied()),
        };
        let token = secret_id().ok_or_else(|| Refusal::new(500, "UNKNOWN", "no random numbers"))?;
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= TOKENS_MAX {
            tokens.clear();
        }
        tokens.insert(token.clone(), scopes);
        let answer = serde_json::json!({ "token": token, "access_token": token, "expires_in": TOKEN_SECS });
        Ok(with_body(200, "application/json", answer.to_string().into()))
    }

    fn is_refresh(&self, form: &str) -> bool {
        let value = |name: &str| {
            form_urlencoded::parse(form.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        let password = self.options.auth.as_ref().map(|(_, password)| password);
        value("grant_type").as_deref() == Some("refresh_token") && value("refresh_token").as_ref() == password
    }
}

/// `name action` for each action of each `scope=repository:name:actions`.
fn scopes(text: &str) -> HashSet<String> {
    let pairs = form_urlencoded::parse(text.as_bytes()).filter(|(key, _)| key == "scope");
    let mut out = HashSet::new();
    for (_, scopes) in pairs {
        for scope in scopes.split(' ') {
            let Some((name, actions)) = scope.strip_prefix("repository:").and_then(|rest| rest.rsplit_once(':')) else {
                continue;
            };
            out.extend(actions.split(',').map(|action| format!("{name} {action}")));
        }
    }
    out
}

/// What follows `scheme` in the one Authorization header; two of them are none.
fn credentials<'a>(request: &'a Request<Incoming>, scheme: &str) -> Option<&'a str> {
    if request.headers().get_all(AUTHORIZATION).iter().count() != 1 {
        return None;
    }
    let (found, rest) = text(request, &AUTHORIZATION)?.split_once(' ')?;
    found.eq_ignore_ascii_case(scheme).then_some(rest.trim())
}

/// 128 random bits in hex: an upload or a token that nobody guesses.
pub(super) fn secret_id() -> Option<String> {
    use std::fmt::Write as _;
    let mut raw = [0_u8; 16];
    rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut raw).ok()?;
    Some(raw.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    }))
}
