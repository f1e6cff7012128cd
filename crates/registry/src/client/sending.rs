//! Sends one large blob as a stream, and goes on where the connection broke: the registry is asked how far it got, and the
//! source is opened again. Sees to it that a blob whose bytes are wrong is never complete.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use cooper_oci::{Blobs, Body, Descriptor, Hasher};
use futures::StreamExt;
use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, LOCATION, RANGE};
use url::Url;

use super::Repository;
use super::exchange::{ATTEMPTS, Call, Payload, Progress, is_passing, pause};
use super::repository::Access;
use super::upload::OCTETS;
use crate::{Error, ErrorKind, Result};

/// Bytes the registry must have got beyond what it ever had for the full number of attempts to be worth it again.
const PROGRESS_GOOD: u64 = 1024 * 1024;

/// Where a blob's bytes come from.
pub(crate) enum Supply<'a> {
    /// A stream that can be read once.
    Once(Option<Body>),
    /// A place that opens it as often as needed.
    Again(&'a dyn Blobs),
}

impl Supply<'_> {
    /// The bytes from the start.
    pub(crate) async fn open(&mut self, descriptor: &Descriptor) -> Result<Body> {
        match self {
            Self::Once(body) => body.take().ok_or_else(|| {
                Error::new(ErrorKind::Retry, format!("blob {} cannot be read a second time", descriptor.digest))
            }),
            Self::Again(from) => Ok(from.open(descriptor).await?),
        }
    }

    fn opens_again(&self) -> bool {
        matches!(self, Self::Again(_))
    }
}

/// An upload on its way.
struct Upload {
    location: Url,
    /// Bytes the registry has.
    offset: u64,
    /// Most it ever had.
    furthest: u64,
    /// Above 1 once it broke.
    attempt: u32,
}

/// Why an upload stopped.
enum Stopped {
    /// The bytes themselves failed: nothing to try again.
    Source(Error),
    /// The registry, or the way to it.
    Registry(Error),
}

impl Repository {
    /// Sends the bytes, which the registry holds uncommitted, and commits them.
    pub(crate) async fn send_large(&self, descriptor: &Descriptor, supply: &mut Supply<'_>) -> Result<()> {
        let location = self.open_upload(descriptor).await?;
        let mut upload = Upload { location, offset: 0, furthest: 0, attempt: 1 };
        loop {
            let error = match self.send_rest(descriptor, supply, &upload).await {
                Ok(()) => return Ok(()),
                Err(Stopped::Registry(error)) if supply.opens_again() => error,
                Err(Stopped::Registry(error) | Stopped::Source(error)) => {
                    self.cancel(upload.location).await;
                    return Err(error);
                }
            };
            if let Err(error) = self.go_on(descriptor, &mut upload, error).await {
                self.cancel(upload.location).await;
                return Err(error);
            }
        }
    }

    /// Sends what the registry does not have yet, and commits the whole.
    async fn send_rest(
        &self,
        descriptor: &Descriptor,
        supply: &mut Supply<'_>,
        upload: &Upload,
    ) -> Result<(), Stopped> {
        let location = match upload.offset < descriptor.size {
            true => {
                let body = supply.open(descriptor).await.map_err(Stopped::Source)?;
                self.stream(descriptor, upload, body).await?
            }
            false => upload.location.clone(),
        };
        self.commit(descriptor, location).await.map_err(Stopped::Registry)
    }

    /// Sends the bytes of `body` from the upload's offset on; where the upload goes on after them.
    async fn stream(&self, descriptor: &Descriptor, upload: &Upload, body: Body) -> Result<Url, Stopped> {
        let failure = Arc::new(Mutex::new(None));
        let progress = Arc::<Progress>::default();
        let body = verified(descriptor, upload.offset, body, failure.clone(), progress.clone());
        let payload = Payload::Once(Mutex::new(Some(body)), progress);
        let call = self
            .push_call(Method::PATCH, upload.location.clone(), descriptor)
            .header(CONTENT_TYPE, OCTETS)
            .header(CONTENT_LENGTH, &(descriptor.size - upload.offset).to_string());
        let call = match upload.offset {
            0 => call,
            start => call.header(CONTENT_RANGE, &format!("{start}-{}", descriptor.size - 1)),
        };
        let call = call.payload(payload);
        let answer = self.registry.send_once(&call).await;
        // The body's own failure is the cause; what the connection made of it is not.
        if let Some(error) = failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(Stopped::Source(error));
        }
        answer.and_then(|answer| self.location(&call, answer.headers())).map_err(Stopped::Registry)
    }

    /// Finds out where to go on after `error`, within the attempts that are left: where the registry says, or in a new upload.
    ///
    /// # Errors
    /// `error`, when it is not one that passes; or the one met while asking.
    async fn go_on(&self, descriptor: &Descriptor, upload: &mut Upload, error: Error) -> Result<()> {
        // A token that expired meanwhile is renewed by the question; a registry that lost or mixed up what it had says so
        // in many ways, which are lasting only in an upload without a break.
        let passing = is_passing(&error) || error.kind() == ErrorKind::Unauthorized;
        let mixed_up = upload.attempt > 1 && matches!(error.kind(), ErrorKind::Invalid | ErrorKind::NotFound);
        if !(passing || mixed_up) || upload.attempt >= ATTEMPTS {
            return Err(error);
        }
        pause(upload.attempt, error.retry_after()).await;
        upload.attempt += 1;
        let complete = upload.offset == descriptor.size;
        match self.reached(descriptor, &upload.location).await? {
            // Complete, and yet refused.
            Some(_) if complete && mixed_up => self.start_again(descriptor, upload).await?,
            Some((location, offset)) => (upload.location, upload.offset) = (location, offset),
            None => self.start_again(descriptor, upload).await?,
        }
        if upload.offset >= upload.furthest + PROGRESS_GOOD {
            (upload.furthest, upload.attempt) = (upload.offset, 2);
        }
        Ok(())
    }

    async fn start_again(&self, descriptor: &Descriptor, upload: &mut Upload) -> Result<()> {
        self.cancel(upload.location.clone()).await;
        (upload.location, upload.offset) = (self.open_upload(descriptor).await?, 0);
        Ok(())
    }

    /// How many bytes of an upload the registry has, and where it goes on; nothing when it does not know the upload any
    /// more, or does not say.
    async fn reached(&self, descriptor: &Descriptor, location: &Url) -> Result<Option<(Url, u64)>> {
        let what = format!("ask for the upload of blob {} to {}", descriptor.digest, self.name());
        let call = Call::new(Method::GET, location.clone(), what, self.scopes(Access::Push));
        let response = match self.registry.send(&call).await {
            Ok(response) => response,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(offset) = received(response.headers()).filter(|offset| *offset <= descriptor.size) else {
            return Ok(None);
        };
        let next = match response.headers().contains_key(LOCATION) {
            true => self.location(&call, response.headers())?,
            false => location.clone(),
        };
        Ok(Some((next, offset)))
    }
}

/// The bytes that `Range: 0-<last>` stands for. `0-0` is one byte, or none: nothing can be made of it.
fn received(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?.trim();
    let last = text.strip_prefix("bytes=").unwrap_or(text).strip_prefix("0-")?.parse::<u64>().ok()?;
    last.checked_add(1).filter(|_| last > 0)
}

/// The whole body, verified.
pub(crate) async fn collect(descriptor: &Descriptor, mut body: Body) -> Result<Bytes> {
    let mut check = Check::new(descriptor);
    let mut out = Vec::with_capacity(usize::try_from(descriptor.size).unwrap_or_default());
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        check.add(&chunk)?;
        out.extend_from_slice(&chunk);
    }
    check.finish()?;
    Ok(out.into())
}

/// Why a streamed body stopped, kept for the one who sent it.
type Failure = Arc<Mutex<Option<Error>>>;

/// A request body without the first `skip` bytes, that fails, and says why in `failure`, before its last byte if length or
/// digest of the whole are wrong.
fn verified(
    descriptor: &Descriptor,
    skip: u64,
    body: Body,
    failure: Failure,
    progress: Arc<Progress>,
) -> reqwest::Body {
    let state = Some((body, Some(Check::new(descriptor)), skip));
    reqwest::Body::wrap_stream(futures::stream::unfold(state, move |state| {
        let (failure, progress) = (failure.clone(), progress.clone());
        async move {
            let (mut body, mut check, mut skip) = state?;
            progress.wait();
            let piece = unsent(&mut body, &mut check, &mut skip).await;
            progress.advance(piece.as_ref().ok().and_then(Option::as_ref).map_or(0, Bytes::len));
            match piece {
                Ok(Some(bytes)) => Some((Ok(bytes), Some((body, check, skip)))),
                Ok(None) => None,
                Err(error) => {
                    let text = std::io::Error::other(error.to_string());
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    Some((Err(text), None))
                }
            }
        }
    }))
}

/// The next bytes beyond the `skip` that are not sent.
async fn unsent(body: &mut Body, check: &mut Option<Check>, skip: &mut u64) -> Result<Option<Bytes>> {
    loop {
        let Some(mut bytes) = piece(body, check).await? else { return Ok(None) };
        let known = usize::try_from(*skip).unwrap_or(usize::MAX).min(bytes.len());
        *skip -= known as u64;
        let rest = bytes.split_off(known);
        if !rest.is_empty() || known == 0 {
            return Ok(Some(rest));
        }
    }
}

/// The next bytes. The last ones are given only once all are known to be right: a connection that was promised a length
/// does not ask for more after it.
async fn piece(body: &mut Body, check: &mut Option<Check>) -> Result<Option<Bytes>> {
    let chunk = body.next().await.transpose()?;
    if let (Some(chunk), Some(open)) = (&chunk, check.as_mut()) {
        open.add(chunk)?;
        if !open.is_full() {
            return Ok(Some(chunk.clone()));
        }
        while let Some(more) = body.next().await.transpose()? {
            open.add(&more)?;
        }
    }
    check.take().map_or(Ok(()), Check::finish)?;
    Ok(chunk)
}

/// Counts and hashes what is sent.
struct Check {
    descriptor: Descriptor,
    hasher: Hasher,
}

impl Check {
    fn new(descriptor: &Descriptor) -> Self {
        Self { descriptor: descriptor.clone(), hasher: Hasher::new(descriptor.digest.algorithm()) }
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        if self.hasher.size() > self.descriptor.size {
            return Err(self.corrupt(format!("it is longer than its {} bytes", self.descriptor.size)));
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.hasher.size() == self.descriptor.size
    }

    fn finish(self) -> Result<()> {
        if self.hasher.size() != self.descriptor.size {
            let why = format!("it has {} bytes, {} were expected", self.hasher.size(), self.descriptor.size);
            return Err(self.corrupt(why));
        }
        let found = self.hasher.clone().finish();
        if found != self.descriptor.digest {
            return Err(self.corrupt(format!("its content has digest {found}")));
        }
        Ok(())
    }

    fn corrupt(&self, why: String) -> Error {
        Error::new(ErrorKind::Corrupt, format!("blob {} is not pushed: {why}", self.descriptor.digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_much_a_registry_says_it_got() {
        for (text, expect) in [
            ("0-9", Some(10)),
            ("bytes=0-9", Some(10)),
            ("0-0", None),
            ("1-9", None),
            ("0-", None),
            ("0--1", None),
            ("0-18446744073709551615", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, text.parse().unwrap());
            assert_eq!(received(&headers), expect, "{text}");
        }
    }
}
