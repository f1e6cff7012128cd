//! Bytes from an address: `http`, `https` or `file`, bounded, taken up again where a connection broke.
//!
//! Trusts nothing it reads and verifies nothing: callers do. Knows nothing of archives.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use cooper_oci::{Body, body_from_reader};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, LOCATION, RANGE};
use reqwest::{Response, StatusCode};
use tokio::time;
use url::Url;

use crate::{Error, ErrorKind, Result};

/// Redirects followed.
const REDIRECTS_MAX: usize = 10;

/// Attempts without any progress.
const ATTEMPTS: u32 = 4;

/// Pause before the second attempt; doubled each time.
const PAUSE: Duration = Duration::from_millis(250);

/// How addresses are reached.
#[derive(Clone, Debug)]
pub struct NetOptions {
    /// A client that follows no redirects; `None` sends nothing at all.
    pub client: Option<reqwest::Client>,
    /// How long an answer may make no progress.
    pub idle_timeout: Duration,
}

/// Reads addresses. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Net {
    options: NetOptions,
}

impl Net {
    /// Opens no connection.
    pub fn new(options: NetOptions) -> Self {
        Self { options }
    }

    /// Reads a whole, small answer. [`ErrorKind::NotFound`] when the address has nothing.
    pub async fn read(&self, address: &str, limit: u64) -> Result<Vec<u8>> {
        if let Some(path) = local_path(address)? {
            return read_local(&path, address, limit);
        }
        let mut attempt = 1;
        loop {
            match self.read_once(address, limit).await {
                Err(error) if error.kind() == ErrorKind::Retry && attempt < ATTEMPTS => pause(attempt).await,
                outcome => return outcome,
            }
            attempt += 1;
        }
    }

    async fn read_once(&self, address: &str, limit: u64) -> Result<Vec<u8>> {
        let mut chunks = self.get(address, 0).await?.bytes_stream().boxed();
        let mut out = Vec::new();
        while let Some(chunk) = self.next_chunk(&mut chunks, address).await? {
            out.extend_from_slice(&chunk);
            if out.len() as u64 > limit {
                return Err(Error::new(ErrorKind::TooLarge, format!("{address} has more than {limit} bytes")));
            }
        }
        Ok(out)
    }

    /// Opens an answer of `size` bytes, which the stream gives exactly, or ends with an error.
    pub async fn open(&self, address: &str, size: u64) -> Result<Body> {
        if let Some(path) = local_path(address)? {
            let file = fs::File::open(&path).map_err(|e| Error::at("open", &path, e))?;
            return Ok(body_from_reader(file));
        }
        let response = self.get_patiently(address).await?;
        if let Some(length) = response.content_length().filter(|length| *length != size) {
            let what = format!("{address} has {length} bytes, {size} were expected");
            return Err(Error::new(ErrorKind::Untrusted, what)
                .with_hint("the mirror may be in the middle of an update: try again"));
        }
        let chunks = response.bytes_stream().boxed();
        let download =
            Download { net: self.clone(), address: address.to_owned(), size, offset: 0, skip: 0, attempt: 1, chunks };
        Ok(futures::stream::unfold(Some(download), step).boxed())
    }

    /// As [`Net::get`] from the start, again while the fault may pass.
    async fn get_patiently(&self, address: &str) -> Result<Response> {
        let mut attempt = 1;
        loop {
            match self.get(address, 0).await {
                Err(error) if error.kind() == ErrorKind::Retry && attempt < ATTEMPTS => pause(attempt).await,
                outcome => return outcome,
            }
            attempt += 1;
        }
    }

    /// Sends the request, from `offset` on, following redirects.
    async fn get(&self, address: &str, offset: u64) -> Result<Response> {
        let Some(client) = &self.options.client else {
            let what = format!("{address} is not in the store, and nothing is fetched offline");
            return Err(Error::new(ErrorKind::NotFound, what));
        };
        let mut url = parse(address)?;
        for _ in 0..=REDIRECTS_MAX {
            let mut request = client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
            if offset > 0 {
                request = request.header(RANGE, format!("bytes={offset}-"));
            }
            let sent = time::timeout(self.options.idle_timeout, request.send()).await;
            let response = sent.map_err(|_| stalled(address))?.map_err(|e| broken(address, e))?;
            if !response.status().is_redirection() {
                return checked(response, address);
            }
            url = redirected(&url, &response, address)?;
        }
        Err(Error::new(ErrorKind::Invalid, format!("{address} redirects more than {REDIRECTS_MAX} times")))
    }

    async fn next_chunk(&self, chunks: &mut Chunks, address: &str) -> Result<Option<Bytes>> {
        let next = time::timeout(self.options.idle_timeout, chunks.next()).await.map_err(|_| stalled(address))?;
        next.transpose().map_err(|e| broken(address, e))
    }
}

type Chunks = BoxStream<'static, reqwest::Result<Bytes>>;

fn redirected(from: &Url, response: &Response, address: &str) -> Result<Url> {
    let fault = |why: &str| Error::new(ErrorKind::Invalid, format!("{address} redirects {why}"));
    let location =
        response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).ok_or_else(|| fault("nowhere"))?;
    let to = from.join(location).map_err(|_| fault("to what is no address"))?;
    match (from.scheme(), to.scheme()) {
        ("http" | "https", "https") | ("http", "http") => Ok(to),
        _ => Err(fault(&format!("from {} to {}", from.scheme(), to.scheme()))),
    }
}

fn checked(response: Response, address: &str) -> Result<Response> {
    let status = response.status();
    let kind = match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => ErrorKind::NotFound,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => ErrorKind::Retry,
        status if status.is_server_error() => ErrorKind::Retry,
        status if status.is_success() => return Ok(response),
        _ => ErrorKind::Io,
    };
    Err(Error::new(kind, format!("{address} answers {status}")))
}

/// A stream on its way.
struct Download {
    net: Net,
    address: String,
    size: u64,
    offset: u64,
    /// Bytes to drop: the server answered a range with the whole.
    skip: u64,
    attempt: u32,
    chunks: Chunks,
}

/// The next piece of the stream; nothing follows an error.
async fn step(download: Option<Download>) -> Option<(cooper_oci::Result<Bytes>, Option<Download>)> {
    let mut download = download?;
    match download.next().await {
        Ok(Some(bytes)) => Some((Ok(bytes), Some(download))),
        Ok(None) => None,
        Err(error) => Some((Err(error.into()), None)),
    }
}

impl Download {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let failure = match self.net.next_chunk(&mut self.chunks, &self.address).await {
                Ok(Some(chunk)) => match self.take(chunk)? {
                    Some(bytes) => return Ok(Some(bytes)),
                    None => continue,
                },
                Ok(None) if self.offset == self.size => return Ok(None),
                Ok(None) => Error::new(
                    ErrorKind::Retry,
                    format!("{} ended after {} of {} bytes", self.address, self.offset, self.size),
                ),
                Err(error) => error,
            };
            self.resume(failure).await?;
        }
    }

    fn take(&mut self, mut chunk: Bytes) -> Result<Option<Bytes>> {
        let dropped = self.skip.min(chunk.len() as u64);
        self.skip -= dropped;
        chunk = chunk.slice(dropped as usize..);
        if chunk.is_empty() {
            return Ok(None);
        }
        self.offset += chunk.len() as u64;
        self.attempt = 1;
        if self.offset > self.size {
            return Err(Error::new(
                ErrorKind::Untrusted,
                format!("{} has more than its {} bytes", self.address, self.size),
            ));
        }
        Ok(Some(chunk))
    }

    async fn resume(&mut self, mut failure: Error) -> Result<()> {
        while failure.kind() == ErrorKind::Retry && self.attempt < ATTEMPTS {
            pause(self.attempt).await;
            self.attempt += 1;
            match self.net.get(&self.address, self.offset).await {
                Ok(response) => {
                    self.skip = if starts_at(&response, self.offset) { 0 } else { self.offset };
                    self.chunks = response.bytes_stream().boxed();
                    return Ok(());
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// The answer begins at `offset`; else it is the whole again.
fn starts_at(response: &Response, offset: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let start = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
    offset == 0 || response.status() == StatusCode::PARTIAL_CONTENT && start == Some(offset)
}

async fn pause(attempt: u32) {
    time::sleep(PAUSE * 2_u32.saturating_pow(attempt - 1)).await;
}

fn stalled(address: &str) -> Error {
    Error::new(ErrorKind::Retry, format!("{address} makes no progress"))
}

fn broken(address: &str, source: reqwest::Error) -> Error {
    // Without its address, which is told already and may hold a password.
    Error::new(ErrorKind::Retry, format!("cannot read {address}")).with_source(source.without_url())
}

fn parse(address: &str) -> Result<Url> {
    let url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| {
        let what = format!("`{address}` is no address that packages are read from");
        Error::new(ErrorKind::Invalid, what).with_hint("use `http:`, `https:` or `file:`")
    })
}

/// The path of a `file:` address; `None` for any other.
fn local_path(address: &str) -> Result<Option<PathBuf>> {
    let Some(rest) = address.strip_prefix("file:") else { return Ok(None) };
    let url = Url::parse(&format!("file:///{}", rest.trim_start_matches('/')));
    let path = url.ok().and_then(|url| url.to_file_path().ok());
    path.map(Some).ok_or_else(|| Error::new(ErrorKind::Invalid, format!("`{address}` is not the path of a file")))
}

fn read_local(path: &Path, address: &str, limit: u64) -> Result<Vec<u8>> {
    let file = fs::File::open(path).map_err(|e| Error::at("open", path, e))?;
    let mut out = Vec::new();
    file.take(limit + 1).read_to_end(&mut out).map_err(|e| Error::at("read", path, e))?;
    if out.len() as u64 > limit {
        return Err(Error::new(ErrorKind::TooLarge, format!("{address} has more than {limit} bytes")));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_addresses() {
        for (address, path) in [("file:///a/b%20c", "/a/b c"), ("file:/a", "/a"), ("file:////a//b", "/a//b")] {
            assert_eq!(local_path(address).unwrap(), Some(PathBuf::from(path)), "{address}");
        }
        assert_eq!(local_path("http://x/file:/a").unwrap(), None);
    }
}
