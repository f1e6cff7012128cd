//! One file from anywhere, through the client's proxies and roots of trust. Knows nothing of registries, and shows a
//! secret to nobody but the address it was given for.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Response, StatusCode};
use url::{Host, Url};

use super::exchange::{ATTEMPTS, is_passing, network, pause, retry_after};
use super::origin::{self, Origin, printable};
use super::{Client, Shared};
use crate::{Error, ErrorKind, Result};

/// Redirects of one request, as in Go's and most other clients.
const REDIRECTS_MAX: usize = 10;

/// What to fetch.
#[derive(Clone, Default)]
pub struct WebRequest {
    /// An `http` or `https` URL. A user name and password in it are shown to its host only.
    pub url: String,
    /// Headers to send: names and values.
    pub headers: Vec<(String, String)>,
    /// The `Authorization` header. Not sent to where a redirect leads away.
    pub authorization: Option<String>,
}

impl std::fmt::Debug for WebRequest {
    /// Addresses and headers may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebRequest").finish_non_exhaustive()
    }
}

/// An answer: success, or 304 if the request asked whether something changed. The body comes in pieces.
#[derive(Debug)]
pub struct WebAnswer {
    response: Response,
    shared: std::sync::Arc<Shared>,
    host: String,
    what: String,
}

impl WebAnswer {
    pub(super) fn new(response: Response, client: &Client, host: String, what: String) -> Self {
        Self { response, shared: client.shared.clone(), host, what }
    }

    /// The status, such as 200.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The error that the answer stands for, if asking again may help.
    pub(super) fn passing_fault(&self) -> Option<Error> {
        let kind = match self.status() {
            429 => ErrorKind::TooMany,
            408 | 500 | 502 | 503 | 504 => ErrorKind::Retry,
            _ => return None,
        };
        Some(self.refusal(kind))
    }

    /// An error for an answer that is of no use.
    pub fn refused(&self) -> Error {
        self.refusal(match self.status() {
            401 => ErrorKind::Unauthorized,
            403 => ErrorKind::Denied,
            404 | 410 => ErrorKind::NotFound,
            429 => ErrorKind::TooMany,
            408 | 500 | 502 | 503 | 504 => ErrorKind::Retry,
            _ => ErrorKind::Invalid,
        })
    }

    fn refusal(&self, kind: ErrorKind) -> Error {
        let words = self.response.status().canonical_reason().unwrap_or("unknown status").to_ascii_lowercase();
        let after = retry_after(self.response.headers(), (self.shared.options.clock)());
        let what = format!("cannot {}: {} answers {} {words}", self.what, self.host, self.status());
        Error::new(kind, what).with_retry_after(after)
    }

    /// Nothing changed since what the request named (304).
    pub fn is_unchanged(&self) -> bool {
        self.response.status() == StatusCode::NOT_MODIFIED
    }

    /// A header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Bytes of the body, if the server said how many.
    pub fn size(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next piece of the body; an error when none comes within the client's idle timeout.
    ///
    /// # Errors
    /// The connection broke or stands still.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let next = tokio::time::timeout(self.shared.options.idle_timeout, self.response.chunk()).await;
        match next {
            Ok(chunk) => chunk.map_err(|e| network(&self.host, &self.what, e)),
            Err(_) => Err(silent(&self.what, &self.host)),
        }
    }
}

impl Client {
    /// Fetches a file from anywhere. Passing faults are tried again before an answer begins.
    ///
    /// # Errors
    /// No answer, or one that is neither success nor "unchanged".
    pub async fn fetch(&self, request: &WebRequest) -> Result<WebAnswer> {
        let start = parse(&request.url)?;
        let what = format!("fetch {}", printable(&start));
        if self.shared.options.offline {
            return Err(Error::new(ErrorKind::Offline, format!("cannot {what}: the network is switched off")));
        }
        let mut attempt = 1;
        loop {
            let error = match self.try_fetch(&start, request, &what).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !is_passing(&error) || attempt >= ATTEMPTS {
                return Err(error);
            }
            pause(attempt, error.retry_after()).await;
            attempt += 1;
        }
    }

    async fn try_fetch(&self, start: &Url, request: &WebRequest, what: &str) -> Result<WebAnswer> {
        let mut url = start.clone();
        let mut secret = authorization(&mut url, request)?;
        let home = Origin::of(&url);
        for _ in 0..=REDIRECTS_MAX {
            let mut headers = headers_of(&request.headers)?;
            if let Some(secret) = &secret {
                headers.insert(AUTHORIZATION, secret.clone());
            }
            let host = url.host_str().unwrap_or_default().to_owned();
            let sending = self.shared.http.client(&url).await?.get(url.clone()).headers(headers).send();
            let response = tokio::time::timeout(self.shared.options.idle_timeout, sending).await;
            let response = response.map_err(|_| silent(what, &host))?.map_err(|e| network(&host, what, e))?;
            let Some(next) = redirect(start, &url, &response, what)? else {
                return self.answer(response, host, what);
            };
            // Once a chain of redirects has left home, nothing secret is shown again.
            secret = secret.filter(|_| Origin::of(&next) == home);
            url = next;
        }
        Err(Error::new(ErrorKind::Invalid, format!("cannot {what}: it redirects more than {REDIRECTS_MAX} times")))
    }

    fn answer(&self, response: Response, host: String, what: &str) -> Result<WebAnswer> {
        let status = response.status();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(WebAnswer::new(response, self, host, what.to_owned()));
        }
        Err(WebAnswer::new(response, self, host, what.to_owned()).refused())
    }
}

pub(super) fn parse(text: &str) -> Result<Url> {
    let invalid = |why: &str| Error::new(ErrorKind::Invalid, format!("the address to fetch {why}"));
    let url = Url::parse(text).map_err(|e| invalid(&format!("is not a URL: {e}")))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(invalid("is neither http nor https")),
    }
}

pub(super) fn headers_of(given: &[(String, String)]) -> Result<HeaderMap> {
    let mut out = HeaderMap::new();
    for (name, value) in given {
        let bad = |_| Error::new(ErrorKind::Invalid, format!("`{name}` is not a header"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad(()))?;
        out.insert(name, HeaderValue::from_str(value).map_err(|_| bad(()))?);
    }
    Ok(out)
}

/// The secret of the request, else the user and password of the URL, which are taken out of it.
fn authorization(url: &mut Url, request: &WebRequest) -> Result<Option<HeaderValue>> {
    let (user, password) = (unescaped(url.username()), unescaped(url.password().unwrap_or_default()));
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let basic = || {
        let login = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        (!user.is_empty() || !password.is_empty()).then(|| format!("Basic {login}"))
    };
    let Some(text) = request.authorization.clone().or_else(basic) else { return Ok(None) };
    let mut value = HeaderValue::from_str(text.trim_end())
        .map_err(|_| Error::new(ErrorKind::Invalid, "the secret for the address is not one line of text"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Without percent escapes.
fn unescaped(text: &str) -> String {
    let query = format!("={}", text.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(query.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// Where to go next. A server of the world cannot send a build to this machine or its neighbours on the link, where
/// the credentials of cloud machines are served.
fn redirect(start: &Url, from: &Url, response: &Response, what: &str) -> Result<Option<Url>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let refuse = |why: String| Err(Error::new(ErrorKind::Invalid, format!("cannot {what}: {why}")));
    let Some(location) = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()) else {
        return refuse("it redirects without saying where to".into());
    };
    let next = origin::follow(from, location, &format!("cannot {what}: the server"))?;
    if is_near(&next) && !is_near(start) {
        return refuse(format!("it redirects to {}, which is this machine or next to it", printable(&next)));
    }
    Ok(Some(next))
}

/// Loopback, link-local or no address at all.
fn is_near(url: &Url) -> bool {
    let near4 = |ip: Ipv4Addr| ip.is_loopback() || ip.is_link_local() || ip.is_unspecified();
    let near6 = |ip: Ipv6Addr| {
        let mapped = ip.to_ipv4_mapped().is_some_and(near4);
        mapped || ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified()
    };
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(ip)) => near4(ip),
        Some(Host::Ipv6(ip)) => near6(ip),
        None => true,
    }
}

pub(super) fn silent(what: &str, host: &str) -> Error {
    Error::new(ErrorKind::Retry, format!("failed to {what} at {host}: no answer in time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_near_by() {
        for (url, near) in [
            ("http://127.1.2.3/", true),
            ("http://localhost./", true),
            ("http://x.localhost/", true),
            ("http://[::1]/", true),
            ("http://[::ffff:169.254.169.254]/", true),
            ("http://169.254.169.254/", true),
            ("http://0/", true),
            ("http://2130706433/", true),
            ("http://0x7f.1/", true),
            ("http://[fe80::1]/", true),
            ("http://10.0.0.1/", false),
            ("http://example.org/", false),
            ("http://localhost.example.org/", false),
        ] {
            assert_eq!(is_near(&Url::parse(url).unwrap()), near, "{url}");
        }
    }

    #[test]
    fn only_http_is_fetched() {
        for text in ["file:///etc/passwd", "ftp://host/x", "/etc/passwd", "http://"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_becomes_a_header() {
        let mut url = Url::parse("https://user:p%40ss@host/x").unwrap();
        let header = authorization(&mut url, &WebRequest::default()).unwrap().unwrap();
        assert_eq!((url.as_str(), header.to_str().unwrap()), ("https://host/x", "Basic dXNlcjpwQHNz"));
        let request = WebRequest { authorization: Some("Bearer x\ny".into()), ..WebRequest::default() };
        assert!(authorization(&mut url, &request).is_err());
    }
}
