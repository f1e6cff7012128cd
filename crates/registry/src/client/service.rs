//! One request to a web service that is no registry: any method, a body in one piece, any answer. Knows nothing of what is
//! asked, and follows no redirect.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;

use super::Client;
use super::exchange::{ATTEMPTS, is_passing, network, pause};
use super::origin::printable;
use super::web::{WebAnswer, headers_of, parse, silent};
use crate::{Error, ErrorKind, Result};

/// A body may take this long for each 64 KiB, besides the time without any answer.
const SLOWEST: usize = 64 * 1024;

/// What to ask. Addresses, headers and bodies may hold secrets: nothing is printed.
#[derive(Clone, Default)]
pub struct ServiceRequest {
    /// `GET`, `HEAD`, `PUT`, `POST`, `PATCH`, `DELETE`.
    pub method: &'static str,
    /// An `http` or `https` URL. What follows `?` is not shown in errors.
    pub url: String,
    /// Headers to send: names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl std::fmt::Debug for ServiceRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceRequest").field("method", &self.method).finish_non_exhaustive()
    }
}

impl Client {
    /// Asks a web service. Passing faults (no answer, 408, 429, 5xx but 501) are tried again; every other answer is given back,
    /// whatever its status.
    ///
    /// # Errors
    /// No answer, or only passing faults.
    pub async fn ask(&self, request: &ServiceRequest) -> Result<WebAnswer> {
        let url = parse(&request.url)?;
        let what = format!("ask {} {}", request.method, printable(&url));
        if self.shared.options.offline {
            return Err(Error::new(ErrorKind::Offline, format!("cannot {what}: the network is switched off")));
        }
        let method = Method::from_bytes(request.method.as_bytes())
            .map_err(|_| Error::new(ErrorKind::Invalid, format!("cannot {what}: no such method")))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let patience = self.shared.options.idle_timeout + Duration::from_secs((request.body.len() / SLOWEST) as u64);
        let mut attempt = 1;
        loop {
            let client = self.shared.http.client(&url).await?;
            let call = client.request(method.clone(), url.clone()).headers(headers_of(&request.headers)?);
            let sending = call.body(request.body.clone()).send();
            let error = match tokio::time::timeout(patience, sending).await {
                Ok(Ok(response)) => {
                    let answer = WebAnswer::new(response, self, host.clone(), what.clone());
                    match answer.passing_fault() {
                        None => return Ok(answer),
                        Some(error) => error,
                    }
                }
                Ok(Err(error)) => network(&host, &what, error),
                Err(_) => silent(&what, &host),
            };
            if !is_passing(&error) || attempt >= ATTEMPTS {
                return Err(error);
            }
            pause(attempt, error.retry_after()).await;
            attempt += 1;
        }
    }
}
