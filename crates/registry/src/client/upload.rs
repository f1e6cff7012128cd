//! Writes one blob: by mounting it from a neighbour, in one request when small, as one stream when large. A blob whose
//! bytes are wrong is never committed.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use cooper_oci::{Body, Descriptor, Hasher};
use futures::StreamExt;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Method, StatusCode};
use url::Url;

use super::Repository;
use super::exchange::{Call, Payload, Progress};
use super::origin;
use super::repository::{Access, scope};
use crate::{Error, ErrorKind, Result};

/// Blobs up to here are held in memory, sent in one PUT and sent again when that fails.
const SMALL_MAX: u64 = 2 * 1024 * 1024;
/// Neighbours tried for one blob: each costs a round trip, and one that could give it is usually first.
const MOUNTS_MAX: usize = 3;

const OCTETS: &str = "application/octet-stream";

impl Repository {
    /// Whether the repository has the blob.
    pub(crate) async fn has_blob(&self, descriptor: &Descriptor) -> Result<bool> {
        let rest = if is_manifest(descriptor) { "manifests" } else { "blobs" };
        let url = self.url(&format!("{rest}/{}", descriptor.digest)).await?;
        let what = format!("look for {} in {}", descriptor.digest, self.name());
        let call = Call::new(Method::HEAD, url, what, self.scopes(Access::Push))
            .header(reqwest::header::ACCEPT, descriptor.media_type.as_str());
        match self.registry.send(&call).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes the blob over from a neighbour. A neighbour that may not be read, or does not have it, is passed over.
    pub(crate) async fn mount(&self, descriptor: &Descriptor) -> Result<bool> {
        let Some(mounts) = &self.mounts else { return Ok(false) };
        let neighbours = mounts(&descriptor.digest);
        let usable = neighbours.iter().filter(|from| *from != self.name() && origin::is_repository(from));
        for from in usable.take(MOUNTS_MAX) {
            match self.mount_from(descriptor, from).await {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) if is_about_neighbour(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    async fn mount_from(&self, descriptor: &Descriptor, from: &str) -> Result<bool> {
        let mut url = self.url("blobs/uploads/").await?;
        url.query_pairs_mut().append_pair("mount", &descriptor.digest.to_string()).append_pair("from", from);
        let what = format!("mount blob {} of {from} in {}", descriptor.digest, self.name());
        let scopes = vec![scope(self.name(), Access::Push), scope(from, Access::Pull)];
        let call = Call::new(Method::POST, url, what, scopes).header(CONTENT_LENGTH, "0");
        let response = self.registry.send(&call).await?;
        if response.status() == StatusCode::CREATED {
            return Ok(true);
        }
        // Not mounted: the registry opened an upload instead, which is used or given back.
        let location = self.location(&call, response.headers())?;
        let replaced = self.uploads().insert(descriptor.digest.clone(), location);
        if let Some(unused) = replaced {
            self.cancel(unused).await;
        }
        Ok(false)
    }

    fn uploads(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<cooper_oci::Digest, Url>> {
        self.open_uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a blob.
    pub(crate) async fn put_blob(&self, descriptor: &Descriptor, body: Body) -> Result<()> {
        if descriptor.size <= SMALL_MAX {
            let bytes = collect(descriptor, body).await?;
            let location = self.open_upload(descriptor).await?;
            return self.commit(descriptor, location, Payload::Bytes(bytes)).await;
        }
        let location = self.open_upload(descriptor).await?;
        match self.stream(descriptor, location.clone(), body).await {
            Ok(next) => self.commit(descriptor, next, Payload::Empty).await,
            Err(error) => {
                self.cancel(location).await;
                Err(error)
            }
        }
    }

    /// An upload's address: one that a mount left, or a new one.
    async fn open_upload(&self, descriptor: &Descriptor) -> Result<Url> {
        let left = self.uploads().remove(&descriptor.digest);
        if let Some(url) = left {
            // It may be old. A stream is sent once, so a token that expired is replaced before, by a look.
            self.has_blob(descriptor).await?;
            return Ok(url);
        }
        let url = self.url("blobs/uploads/").await?;
        let call = self.push_call(Method::POST, url, descriptor).header(CONTENT_LENGTH, "0");
        let response = self.registry.send(&call).await?;
        self.location(&call, response.headers())
    }

    /// Sends the bytes; the registry holds them uncommitted.
    async fn stream(&self, descriptor: &Descriptor, location: Url, body: Body) -> Result<Url> {
        let failure = Arc::new(Mutex::new(None));
        let progress = Arc::<Progress>::default();
        let body = verified(descriptor, body, failure.clone(), progress.clone());
        let payload = Payload::Once(Mutex::new(Some(body)), progress);
        let call = self
            .push_call(Method::PATCH, location, descriptor)
            .header(CONTENT_TYPE, OCTETS)
            .header(CONTENT_LENGTH, &descriptor.size.to_string())
            .payload(payload);
        let answer = self.registry.send(&call).await;
        // The body's own failure is the cause; what the connection made of it is not.
        if let Some(error) = failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        self.location(&call, answer?.headers())
    }

    async fn commit(&self, descriptor: &Descriptor, mut location: Url, payload: Payload) -> Result<()> {
        location.query_pairs_mut().append_pair("digest", &descriptor.digest.to_string());
        let call = self.push_call(Method::PUT, location, descriptor).header(CONTENT_TYPE, OCTETS);
        let call = match &payload {
            Payload::Empty => call.header(CONTENT_LENGTH, "0"),
            _ => call,
        };
        match self.registry.send(&call.payload(payload)).await {
            Ok(_) => Ok(()),
            // A PUT whose answer was lost is refused when sent again, as its upload is gone: look before failing.
            Err(error) if error.kind() == ErrorKind::NotFound => match self.has_blob(descriptor).await {
                Ok(true) => Ok(()),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Gives an upload back. The registry drops it in time anyway, so failing is no failure.
    async fn cancel(&self, location: Url) {
        let call = Call::new(Method::DELETE, location, "cancel an upload", self.scopes(Access::Push));
        let _ = self.registry.send(&call).await;
    }

    fn push_call(&self, method: Method, url: Url, descriptor: &Descriptor) -> Call {
        let what = format!("push blob {} to {}", descriptor.digest, self.name());
        Call::new(method, url, what, self.scopes(Access::Push))
    }

    /// Where an upload goes on. Another origin gets the bytes, but no credentials; plain HTTP after TLS gets nothing.
    fn location(&self, call: &Call, headers: &HeaderMap) -> Result<Url> {
        let broken = |why: &str| {
            Error::new(ErrorKind::Invalid, format!("{} failed to {}: {why}", self.registry.name, call.what))
        };
        let Some(text) = headers.get(LOCATION).and_then(|value| value.to_str().ok()) else {
            return Err(broken("it does not say where the upload goes on"));
        };
        let who = format!("{} failed to {}: it", self.registry.name, call.what);
        let next = origin::follow(&call.url, text, &who)?;
        if origin::is_downgrade(&call.url, &next) {
            return Err(broken("it sends the upload from TLS to plain HTTP"));
        }
        Ok(next)
    }
}

/// A mount that failed for these reasons says nothing about the upload that follows.
fn is_about_neighbour(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::Denied | ErrorKind::NotFound | ErrorKind::Invalid)
}

pub(crate) fn is_manifest(descriptor: &Descriptor) -> bool {
    descriptor.media_type.is_manifest() || descriptor.media_type.is_index()
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

/// A request body that fails, and says why in `failure`, before its last byte if length or digest are wrong.
fn verified(descriptor: &Descriptor, body: Body, failure: Failure, progress: Arc<Progress>) -> reqwest::Body {
    let state = Some((body, Some(Check::new(descriptor))));
    reqwest::Body::wrap_stream(futures::stream::unfold(state, move |state| {
        let (failure, progress) = (failure.clone(), progress.clone());
        async move {
            let (mut body, mut check) = state?;
            progress.wait();
            let piece = piece(&mut body, &mut check).await;
            progress.advance(piece.as_ref().ok().and_then(Option::as_ref).map_or(0, Bytes::len));
            match piece {
                Ok(Some(bytes)) => Some((Ok(bytes), Some((body, check)))),
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
