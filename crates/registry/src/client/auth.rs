//! Answers a registry's challenge with Basic or a Bearer token (distribution's token specification, GET and OAuth2 POST),
//! and remembers what worked. Decides who may see a password: the registry itself, and the realm it names under the rule
//! of [`check_realm`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::Serializer;

use super::challenge::Challenge;
use super::exchange::{ATTEMPTS, Registry, network, pause, retry_after};
use super::origin;
use crate::{Credentials, Error, ErrorKind, Result};

/// A token answer is a few kilobytes of JSON.
const TOKEN_ANSWER_MAX: usize = 256 * 1024;
/// Validity of a token whose answer names none (token specification).
const TOKEN_SECS_DEFAULT: u64 = 60;
/// Tokens are taken as expired this much earlier, so that they do not expire on the way.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);
/// A day; longer validity is not believed, and keeps arithmetic with times sound.
const TOKEN_SECS_MAX: u64 = 86_400;
/// Tokens remembered for one registry; the oldest by name goes first.
const TOKENS_MAX: usize = 1024;

/// What is known to work at one registry.
#[derive(Default)]
pub(crate) struct Auth {
    known: Mutex<Known>,
    /// Held while a token is fetched, so that parallel downloads fetch one together.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    basic: Option<HeaderValue>,
    tokens: BTreeMap<String, (HeaderValue, SystemTime)>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Auth(..)")
    }
}

impl Auth {
    /// The header that worked before for these scopes.
    pub(crate) fn known(&self, scopes: &[String], now: SystemTime) -> Option<HeaderValue> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let token = known.tokens.get(&scopes.join(" ")).filter(|(_, expires)| now < *expires);
        token.map(|(header, _)| header.clone()).or_else(|| known.basic.clone())
    }

    /// The header that answers `challenge`; nothing when there is nothing to show. `shown` was refused.
    pub(crate) async fn answer(
        &self,
        registry: &Registry,
        challenge: &Challenge,
        scopes: &[String],
        shown: Option<HeaderValue>,
    ) -> Result<Option<HeaderValue>> {
        let _one = self.fetching.lock().await;
        if let Some(fresh) = self.known(scopes, registry.now()).filter(|known| Some(known) != shown.as_ref()) {
            return Ok(Some(fresh));
        }
        let credentials = registry.shared.options.credentials.credentials(&registry.name).await;
        let (realm, service, scope) = match (challenge, &credentials) {
            (Challenge::Basic, _) => return self.basic(credentials.as_ref(), shown),
            (_, Some(Credentials::Bearer(token))) => return self.bearer(token, registry, scopes, shown),
            (Challenge::Bearer { realm, service, scope }, _) => (realm, service, scope),
        };
        let realm = check_realm(registry, realm, credentials.is_some()).await?;
        let asked = Asked { realm, service: service.as_deref(), scopes: wanted(scopes, scope.as_deref()) };
        let answer = fetch(registry, &asked, credentials.as_ref()).await?;
        let token = header("Bearer", answer.token(registry)?)?;
        self.remember(scopes.join(" "), token.clone(), registry.now() + answer.lifetime());
        Ok(Some(token))
    }

    fn basic(&self, credentials: Option<&Credentials>, shown: Option<HeaderValue>) -> Result<Option<HeaderValue>> {
        let Some(Credentials::Basic { username, password }) = credentials else { return Ok(None) };
        let value = basic(username, password)?;
        if shown.as_ref() == Some(&value) {
            return Ok(None);
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).basic = Some(value.clone());
        Ok(Some(value))
    }

    /// A token that is shown as it is, and only to the registry itself.
    fn bearer(
        &self,
        token: &str,
        registry: &Registry,
        scopes: &[String],
        shown: Option<HeaderValue>,
    ) -> Result<Option<HeaderValue>> {
        let value = header("Bearer", token)?;
        if shown.as_ref() == Some(&value) {
            return Ok(None);
        }
        self.remember(scopes.join(" "), value.clone(), registry.now() + Duration::from_secs(TOKEN_SECS_MAX));
        Ok(Some(value))
    }

    fn remember(&self, scopes: String, token: HeaderValue, expires: SystemTime) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        while known.tokens.len() >= TOKENS_MAX {
            known.tokens.pop_first();
        }
        known.tokens.insert(scopes, (token, expires));
    }
}

fn header(scheme: &str, secret: &str) -> Result<HeaderValue> {
    let invalid = |_| Error::new(ErrorKind::Invalid, "the credentials hold characters that no HTTP header can carry");
    let mut value = HeaderValue::from_str(&format!("{scheme} {secret}")).map_err(invalid)?;
    value.set_sensitive(true);
    Ok(value)
}

fn basic(username: &str, password: &str) -> Result<HeaderValue> {
    header("Basic", &STANDARD.encode(format!("{username}:{password}")))
}

/// The scopes to ask for: ours, and of the challenge's those that name no repository (such as ECR's `aws`); a
/// registry does not get to name the repositories a token is made for.
fn wanted(ours: &[String], theirs: Option<&str>) -> Vec<String> {
    let theirs = theirs.unwrap_or_default().split(' ').filter(|scope| !scope.is_empty());
    let theirs = theirs.filter(|scope| !scope.starts_with("repository:")).map(str::to_owned);
    ours.iter().cloned().chain(theirs.take(4)).collect()
}

/// A realm gets a password as docker gives it, on any host, but only by TLS. A plain-HTTP realm is for plain-HTTP registries;
/// and credentials go there only if it is on the registry's own host.
async fn check_realm(registry: &Registry, realm: &str, secret: bool) -> Result<Url> {
    let base = registry.base().await?;
    let realm = origin::follow(base, realm, &registry.name)?;
    let plain = realm.scheme() != "https";
    let refused = plain && (base.scheme() == "https" || (secret && realm.host_str() != base.host_str()));
    if refused {
        let what = format!(
            "{} asks for credentials to be sent to {}, which is not protected by TLS",
            registry.name,
            origin::printable(&realm)
        );
        return Err(Error::new(ErrorKind::Unauthorized, what));
    }
    Ok(realm)
}

/// A request for a token.
struct Asked<'a> {
    realm: Url,
    service: Option<&'a str>,
    scopes: Vec<String>,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Answer {
    fn token(&self, registry: &Registry) -> Result<&str> {
        let token = [&self.token, &self.access_token].into_iter().flatten().find(|token| !token.is_empty());
        token.map(String::as_str).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, format!("the token service of {} answers without a token", registry.name))
        })
    }

    fn lifetime(&self) -> Duration {
        let secs = self.expires_in.unwrap_or(TOKEN_SECS_DEFAULT).min(TOKEN_SECS_MAX);
        Duration::from_secs(secs).saturating_sub(TOKEN_MARGIN)
    }
}

async fn fetch(registry: &Registry, asked: &Asked<'_>, credentials: Option<&Credentials>) -> Result<Answer> {
    let mut attempt = 1;
    loop {
        let error = match request(registry, asked, credentials).await {
            Ok(response) if response.status().is_success() => return read(registry, response).await,
            Ok(response) => refused(registry, &asked.realm, &response),
            Err(error) => error,
        };
        if !matches!(error.kind(), ErrorKind::Retry | ErrorKind::TooMany) || attempt >= ATTEMPTS {
            return Err(error);
        }
        pause(attempt, error.retry_after()).await;
        attempt += 1;
    }
}

/// Redirects of the token service are not followed: no secret goes where the realm did not say.
async fn request(registry: &Registry, asked: &Asked<'_>, credentials: Option<&Credentials>) -> Result<Response> {
    let client = registry.shared.http.client(&asked.realm).await?;
    let request = match credentials {
        Some(Credentials::IdentityToken(token)) => client
            .post(asked.realm.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(refresh_form(asked, token)),
        Some(Credentials::Basic { username, password }) => {
            client.get(token_url(asked)).header(AUTHORIZATION, basic(username, password)?)
        }
        _ => client.get(token_url(asked)),
    };
    let what = "get a token";
    let sending = request.header(ACCEPT, "application/json").timeout(registry.shared.options.idle_timeout).send();
    sending.await.map_err(|e| network(&registry.name, what, e))
}

fn token_url(asked: &Asked<'_>) -> Url {
    let mut url = asked.realm.clone();
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = asked.service {
            query.append_pair("service", service);
        }
        for scope in &asked.scopes {
            query.append_pair("scope", scope);
        }
    }
    url
}

fn refresh_form(asked: &Asked<'_>, token: &str) -> String {
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token");
    form.append_pair("service", asked.service.unwrap_or_default());
    form.append_pair("client_id", "cooper");
    form.append_pair("scope", &asked.scopes.join(" "));
    form.append_pair("refresh_token", token);
    form.finish()
}

async fn read(registry: &Registry, response: Response) -> Result<Answer> {
    let body = registry.read("get a token", response, TOKEN_ANSWER_MAX).await?;
    let bad = || {
        Error::new(ErrorKind::Invalid, format!("the token service of {} answers with no token document", registry.name))
    };
    // The parser's own message would quote the body, which may hold the token.
    serde_json::from_slice(&body.ok_or_else(bad)?).map_err(|_| bad())
}

fn refused(registry: &Registry, realm: &Url, response: &Response) -> Error {
    let name = &registry.name;
    let status = response.status();
    let kind = match status {
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED => ErrorKind::Unauthorized,
        StatusCode::FORBIDDEN => ErrorKind::Denied,
        StatusCode::TOO_MANY_REQUESTS => ErrorKind::TooMany,
        status if status.is_server_error() => ErrorKind::Retry,
        _ => ErrorKind::Invalid,
    };
    let what = format!("{} refused a token for {name}: status {}", origin::printable(realm), status.as_u16());
    Error::new(kind, what)
        .with_retry_after(retry_after(response.headers(), registry.now()))
        .with_hint(format!("run `cooper login {name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_does_not_name_repositories_for_a_token() {
        let ours = vec!["repository:a/b:pull".to_owned()];
        for (theirs, expect) in [
            (None, "repository:a/b:pull"),
            (Some("repository:victim/x:pull,push"), "repository:a/b:pull"),
            (Some("aws"), "repository:a/b:pull|aws"),
            (Some("registry:catalog:*  aws"), "repository:a/b:pull|registry:catalog:*|aws"),
        ] {
            assert_eq!(wanted(&ours, theirs).join("|"), expect);
        }
    }

    #[test]
    fn secrets_that_fit_no_header_are_refused_without_being_printed() {
        let error = header("Bearer", "secret-x\r\nHost: evil").unwrap_err();
        assert!(!format!("{error:?}").contains("secret-x"));
        assert!(!format!("{:?}", basic("u", "secret-x").unwrap()).contains("secret"));
    }
}
