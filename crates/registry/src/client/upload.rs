//! Writes one blob: by mounting it from a neighbour, in one request when small; large ones are streamed elsewhere. A blob
//! whose bytes are wrong is never committed.

use std::sync::PoisonError;

use bytes::Bytes;
use cooper_oci::Descriptor;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Method, StatusCode};
use url::Url;

use super::Repository;
use super::exchange::{ATTEMPTS, Call, Payload, is_passing, pause};
use super::origin;
use super::repository::{Access, scope};
use super::sending::{Supply, collect};
use crate::{Error, ErrorKind, Result};

/// Blobs up to here are held in memory, sent in one PUT and sent again when that fails.
const SMALL_MAX: u64 = 2 * 1024 * 1024;
/// Neighbours tried for one blob: each costs a round trip, and one that could give it is usually first.
const MOUNTS_MAX: usize = 3;

pub(crate) const OCTETS: &str = "application/octet-stream";

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
    pub(crate) async fn put_blob(&self, descriptor: &Descriptor, supply: &mut Supply<'_>) -> Result<()> {
        if descriptor.size <= SMALL_MAX {
            let bytes = collect(descriptor, supply.open(descriptor).await?).await?;
            return self.put_small(descriptor, bytes).await;
        }
        self.send_large(descriptor, supply).await
    }

    /// An upload of one request, each attempt in an upload of its own: what became of the bytes of the one before is unknown.
    async fn put_small(&self, descriptor: &Descriptor, bytes: Bytes) -> Result<()> {
        let mut attempt = 1;
        loop {
            let location = self.open_upload(descriptor).await?;
            let call = self.commit_call(descriptor, location.clone()).payload(Payload::Bytes(bytes.clone()));
            let error = match self.registry.send_once(&call).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let over = !is_passing(&error) || attempt >= ATTEMPTS;
            if !over {
                pause(attempt, error.retry_after()).await;
                attempt += 1;
                // Only the answer may have been lost.
                if self.has_blob(descriptor).await? {
                    return Ok(());
                }
            }
            self.cancel(location).await;
            if over {
                return Err(error);
            }
        }
    }

    /// An upload's address: one that a mount left, or a new one.
    pub(crate) async fn open_upload(&self, descriptor: &Descriptor) -> Result<Url> {
        let left = self.uploads().remove(&descriptor.digest);
        if let Some(url) = left {
            return Ok(url);
        }
        let url = self.url("blobs/uploads/").await?;
        let call = self.push_call(Method::POST, url, descriptor).header(CONTENT_LENGTH, "0");
        let response = self.registry.send(&call).await?;
        self.location(&call, response.headers())
    }

    /// Makes the bytes of an upload the blob.
    pub(crate) async fn commit(&self, descriptor: &Descriptor, location: Url) -> Result<()> {
        let call = self.commit_call(descriptor, location).header(CONTENT_LENGTH, "0");
        match self.registry.send(&call).await {
            Ok(_) => Ok(()),
            // A PUT whose answer was lost is refused when sent again, as its upload is gone: look before failing.
            Err(error) if error.kind() == ErrorKind::NotFound => match self.has_blob(descriptor).await {
                Ok(true) => Ok(()),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    fn commit_call(&self, descriptor: &Descriptor, mut location: Url) -> Call {
        location.query_pairs_mut().append_pair("digest", &descriptor.digest.to_string());
        self.push_call(Method::PUT, location, descriptor).header(CONTENT_TYPE, OCTETS)
    }

    /// Gives an upload back. The registry drops it in time anyway, so failing is no failure.
    pub(crate) async fn cancel(&self, location: Url) {
        let call = Call::new(Method::DELETE, location, "cancel an upload", self.scopes(Access::Push));
        let _ = self.registry.send_once(&call).await;
    }

    pub(crate) fn push_call(&self, method: Method, url: Url, descriptor: &Descriptor) -> Call {
        let what = format!("push blob {} to {}", descriptor.digest, self.name());
        Call::new(method, url, what, self.scopes(Access::Push))
    }

    /// Where an upload goes on. Another origin gets the bytes, but no credentials; plain HTTP after TLS gets nothing.
    pub(crate) fn location(&self, call: &Call, headers: &HeaderMap) -> Result<Url> {
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
