//! Reads one blob as a stream: verified, and taken up again where it broke. Knows nothing of what is in it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use cooper_oci::{Body, Descriptor, Digest, Hasher};
use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};
use tokio::time::Instant;

use super::Repository;
use super::exchange::{ATTEMPTS, Call, network, pause};
use super::repository::Access;
use crate::{Error, ErrorKind, Result};

/// Bytes that must come within the idle timeout: a peer that drips less holds the build for days, byte by byte.
const PROGRESS_MIN: u64 = 16 * 1024;
/// A connection that brought this much is worth the full number of attempts again.
const PROGRESS_GOOD: u64 = 1024 * 1024;

type Chunks = BoxStream<'static, reqwest::Result<Bytes>>;

/// A blob on its way.
struct Download {
    descriptor: Descriptor,
    /// Where the present connection leads.
    place: Repository,
    /// Where to go on when `place` fails; empty when it is the registry itself.
    rest: VecDeque<Repository>,
    /// Mirrors that some of the bytes came from.
    left: Vec<Repository>,
    chunks: Chunks,
    hasher: Option<Hasher>,
    offset: u64,
    /// Where `place` came in.
    begun_at: u64,
    /// Where the present connection took up.
    resumed_at: u64,
    /// Bytes to drop: the registry answered a range with the whole blob.
    skip: u64,
    attempt: u32,
    pace: Pace,
}

impl Repository {
    /// The length of a blob, as the registry says it.
    pub(crate) async fn blob_size(&self, digest: &Digest) -> Result<u64> {
        let call = |place: Repository| async move {
            let url = place.url(&format!("blobs/{digest}")).await?;
            let what = format!("look for blob {digest} of {}", place.name());
            let call = Call::new(Method::HEAD, url, what, place.scopes(Access::Pull));
            let response = place.registry.send(&call.header(ACCEPT_ENCODING, "identity")).await?;
            let length = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
            length.ok_or_else(|| {
                let what = format!("{} does not say how long blob {digest} is", place.registry.name);
                Error::new(ErrorKind::Invalid, what)
            })
        };
        self.first(call).await
    }

    /// Opens a blob. The stream ends cleanly only if length and digest are right. A mirror that breaks off is followed by the
    /// next place, from the byte that was reached; one that turns out to have given wrong bytes is left out.
    pub(crate) async fn blob(&self, descriptor: &Descriptor) -> Result<Body> {
        let (place, rest) = self.places();
        let mut download = Download {
            descriptor: descriptor.clone(),
            chunks: futures::stream::empty().boxed(),
            hasher: Some(Hasher::new(descriptor.digest.algorithm())),
            offset: 0,
            begun_at: 0,
            resumed_at: 0,
            skip: 0,
            attempt: 1,
            pace: Pace::new(place.registry.shared.options.idle_timeout),
            left: Vec::new(),
            place,
            rest,
        };
        if let Err(error) = download.connect().await {
            download.elsewhere(error).await?;
        }
        Ok(Box::pin(futures::stream::unfold(Some(download), step)))
    }

    async fn blob_from(&self, descriptor: &Descriptor, offset: u64) -> Result<Response> {
        let url = self.url(&format!("blobs/{}", descriptor.digest)).await?;
        let call = Call::new(Method::GET, url, pulling(self, descriptor), self.scopes(Access::Pull))
            .header(ACCEPT_ENCODING, "identity");
        let call = if offset == 0 { call } else { call.header(RANGE, &format!("bytes={offset}-")) };
        self.registry.send(&call).await
    }

    fn corrupt(&self, descriptor: &Descriptor, why: &str) -> Error {
        let what = format!("{} failed to {}: {why}", self.registry.name, pulling(self, descriptor));
        Error::new(ErrorKind::Corrupt, what)
    }
}

fn pulling(repository: &Repository, descriptor: &Descriptor) -> String {
    format!("pull blob {} of {}", descriptor.digest, repository.name())
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
            if self.offset == self.descriptor.size {
                return self.finish();
            }
            let broken = match self.pace.next(&mut self.chunks).await {
                Ok(Some(Ok(chunk))) => match self.take(chunk)? {
                    Some(bytes) => return Ok(Some(bytes)),
                    None => continue,
                },
                Ok(Some(Err(error))) => {
                    network(&self.place.registry.name, &pulling(&self.place, &self.descriptor), error)
                }
                Ok(None) => self.stalled("the connection ended early"),
                Err(Stalled) => self.stalled("the connection makes no progress"),
            };
            self.resume(broken).await?;
        }
    }

    fn stalled(&self, why: &str) -> Error {
        let what = format!(
            "failed to {} at {}: {why}, after {} of {} bytes",
            pulling(&self.place, &self.descriptor),
            self.place.registry.name,
            self.offset,
            self.descriptor.size
        );
        Error::new(ErrorKind::Retry, what)
    }

    /// Checks and counts a chunk; nothing when all of it was there before.
    fn take(&mut self, mut chunk: Bytes) -> Result<Option<Bytes>> {
        let skip = self.skip.min(chunk.len() as u64);
        self.skip -= skip;
        let chunk = chunk.split_off(usize::try_from(skip).unwrap_or(chunk.len()));
        if chunk.is_empty() {
            return Ok(None);
        }
        self.offset += chunk.len() as u64;
        if self.offset > self.descriptor.size {
            return Err(self.wrong(&format!("it is longer than its {} bytes", self.descriptor.size)));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&chunk);
        }
        Ok(Some(chunk))
    }

    fn finish(&mut self) -> Result<Option<Bytes>> {
        let Some(hasher) = self.hasher.take() else { return Ok(None) };
        let found = hasher.finish();
        if found != self.descriptor.digest {
            return Err(self.wrong(&format!("its content has digest {found}")));
        }
        Ok(None)
    }

    /// Wrong bytes, and every mirror that gave some of them is left out: no telling which of them it was.
    fn wrong(&self, why: &str) -> Error {
        let last = Some(&self.place).filter(|_| !self.rest.is_empty());
        for mirror in self.left.iter().chain(last) {
            mirror.failed_as_mirror(&mirror.corrupt(&self.descriptor, why));
        }
        self.place.corrupt(&self.descriptor, why)
    }

    /// Goes on at the offset: at the same place within the attempts that are left, else at the next.
    async fn resume(&mut self, broken: Error) -> Result<()> {
        if self.offset - self.resumed_at >= PROGRESS_GOOD {
            self.attempt = 1;
        }
        if self.attempt >= ATTEMPTS {
            return self.elsewhere(broken).await;
        }
        pause(self.attempt, None).await;
        self.attempt += 1;
        match self.connect().await {
            Ok(()) => Ok(()),
            Err(error) => self.elsewhere(error).await,
        }
    }

    /// Goes on at the first of the places left that can.
    async fn elsewhere(&mut self, mut broken: Error) -> Result<()> {
        loop {
            let Some(next) = self.rest.pop_front() else { return Err(broken) };
            self.place.failed_as_mirror(&broken);
            let mirror = std::mem::replace(&mut self.place, next);
            if self.offset > self.begun_at {
                self.left.push(mirror);
            }
            (self.begun_at, self.attempt) = (self.offset, 1);
            match self.connect().await {
                Ok(()) => return Ok(()),
                Err(error) => broken = error,
            }
        }
    }

    /// Opens a connection to the place, at the offset.
    async fn connect(&mut self) -> Result<()> {
        let response = self.place.blob_from(&self.descriptor, self.offset).await?;
        self.skip = self.resumes_at(&response)?;
        self.resumed_at = self.offset;
        self.pace.restart();
        self.chunks = response.bytes_stream().boxed();
        Ok(())
    }

    /// How many bytes of the answer are known already.
    fn resumes_at(&self, response: &Response) -> Result<u64> {
        let corrupt = |why: &str| Err(self.place.corrupt(&self.descriptor, why));
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return match response.content_length().filter(|length| *length != self.descriptor.size) {
                Some(length) => corrupt(&format!("it has {length} bytes, {} were expected", self.descriptor.size)),
                None => Ok(self.offset),
            };
        }
        let text = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        match text.and_then(range_start) == Some(self.offset) {
            true => Ok(0),
            false => corrupt("it answers with another range than the one asked for"),
        }
    }
}

/// First byte of `bytes 5-9/10`.
fn range_start(text: &str) -> Option<u64> {
    text.trim().strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

/// Too few bytes in too much time.
struct Stalled;

/// Counts the time spent waiting for bytes, not the time the consumer takes.
struct Pace {
    limit: Duration,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    fn new(limit: Duration) -> Self {
        Self { limit, waited: Duration::ZERO, bytes: 0 }
    }

    fn restart(&mut self) {
        *self = Self::new(self.limit);
    }

    async fn next(&mut self, chunks: &mut Chunks) -> Result<Option<reqwest::Result<Bytes>>, Stalled> {
        let start = Instant::now();
        let left = self.limit.saturating_sub(self.waited);
        let chunk = tokio::time::timeout(left, chunks.next()).await.map_err(|_| Stalled)?;
        self.waited += start.elapsed();
        self.bytes += chunk.as_ref().and_then(|chunk| chunk.as_ref().ok()).map_or(0, |bytes| bytes.len() as u64);
        if self.bytes >= PROGRESS_MIN {
            self.restart();
        }
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        for (text, expect) in [
            ("bytes 5-9/10", Some(5)),
            ("bytes 0-", Some(0)),
            ("bytes */10", None),
            ("5-9/10", None),
            ("bytes -5", None),
            ("", None),
        ] {
            assert_eq!(range_start(text), expect, "{text}");
        }
    }
}
