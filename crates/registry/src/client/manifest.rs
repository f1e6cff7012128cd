//! Manifests and indexes: resolved, read and written. Knows of their content only the type they say they are.

use bytes::Bytes;
use cooper_oci::{Descriptor, Digest, Hasher, MediaType, Target};
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Response};
use serde::Deserialize;

use super::Repository;
use super::exchange::{Call, Payload};
use super::repository::{Access, target_text};
use crate::{Error, ErrorKind, Result};

/// Manifests may be this long: the distribution-spec's recommended limit, and every registry's.
pub(crate) const MANIFEST_MAX: u64 = 4 * 1024 * 1024;

const ACCEPTED: &str = concat!(
    "application/vnd.oci.image.index.v1+json, ",
    "application/vnd.oci.image.manifest.v1+json, ",
    "application/vnd.docker.distribution.manifest.list.v2+json, ",
    "application/vnd.docker.distribution.manifest.v2+json"
);

/// Docker's first format, signed and unsigned: neither layers nor config are named in a way that could be verified.
const SCHEMA_1: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.docker.distribution.manifest.v1+json",
];

/// Not in the spec's list of headers that HTTP knows.
const CONTENT_DIGEST: &str = "docker-content-digest";

impl Repository {
    /// What the reference's tag or digest stands for now.
    pub async fn resolve(&self) -> Result<Descriptor> {
        self.first(|place| async move { place.resolve_here().await }).await
    }

    async fn resolve_here(&self) -> Result<Descriptor> {
        let target = self.reference.target();
        let call = self.manifest_call(Method::HEAD, &target, "resolve").await?;
        match self.registry.send(&call).await {
            Ok(response) => {
                if let Some(descriptor) = described(response.headers(), &target) {
                    return Ok(descriptor);
                }
            }
            // Some registries know no HEAD; every other refusal would be repeated.
            Err(error) if error.kind() == ErrorKind::Invalid => {}
            Err(error) => return Err(error),
        }
        Ok(self.manifest_here(target).await?.0)
    }

    /// Reads a manifest or index, at most 4 MiB, verified: by the digest asked for, else by the one the registry names.
    pub async fn manifest(&self, target: Target<'_>) -> Result<(Descriptor, Bytes)> {
        self.first(|place| async move { place.manifest_here(target).await }).await
    }

    async fn manifest_here(&self, target: Target<'_>) -> Result<(Descriptor, Bytes)> {
        let call = self.manifest_call(Method::GET, &target, "pull").await?;
        let response = self.registry.send(&call).await?;
        let headers = response.headers().clone();
        // Before its digest, which for a signed one is not that of its bytes.
        if content_type(&headers).is_some_and(|kind| SCHEMA_1.contains(&kind.as_str())) {
            return Err(self.too_old(&call));
        }
        let bytes = self.manifest_bytes(&call, response).await?;
        let digest = self.verified(&call, &target, &headers, &bytes)?;
        let media_type = self.media_type(&call, &headers, &bytes)?;
        Ok((Descriptor::new(media_type, digest, bytes.len() as u64), bytes))
    }

    /// Reads the manifest that `descriptor` names.
    pub(crate) async fn manifest_of(&self, descriptor: &Descriptor) -> Result<Bytes> {
        let (found, bytes) = self.manifest(Target::Digest(&descriptor.digest)).await?;
        if found.size != descriptor.size {
            let what = format!(
                "manifest {} of {} has {} bytes, {} were expected",
                descriptor.digest, self.reference, found.size, descriptor.size
            );
            return Err(Error::new(ErrorKind::Corrupt, what));
        }
        Ok(bytes)
    }

    /// Writes a manifest or index under `target`, and says what it is known by from now on. One with a subject is listed
    /// among the subject's referrers afterwards, whether the registry has that API or not.
    pub async fn put_manifest(
        &self,
        target: Target<'_>,
        media_type: MediaType,
        bytes: impl Into<Bytes>,
    ) -> Result<Descriptor> {
        let bytes = bytes.into();
        let (descriptor, answer) = self.write_manifest(target, media_type, bytes.clone()).await?;
        self.note_subject(&descriptor, &bytes, &answer).await?;
        Ok(descriptor)
    }

    pub(crate) async fn write_manifest(
        &self,
        target: Target<'_>,
        media_type: MediaType,
        bytes: Bytes,
    ) -> Result<(Descriptor, HeaderMap)> {
        let descriptor = Descriptor::of(media_type, &bytes);
        let name = target_text(&target);
        let what = format!("push manifest {name} of {}", self.name());
        if bytes.len() as u64 > MANIFEST_MAX {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("failed to {what}: {} bytes are more than {MANIFEST_MAX}", bytes.len()),
            ));
        }
        let url = self.url(&format!("manifests/{name}")).await?;
        let call = Call::new(Method::PUT, url, what, self.scopes(Access::Push))
            .header(CONTENT_TYPE, descriptor.media_type.as_str())
            .payload(Payload::Bytes(bytes));
        let response = self.registry.send(&call).await?;
        match content_digest(response.headers()) {
            Some(found) if found.algorithm() == descriptor.digest.algorithm() && found != descriptor.digest => {
                let what = format!("{} stored {} as {found}", self.registry.name, descriptor.digest);
                Err(Error::new(ErrorKind::Corrupt, what))
            }
            _ => Ok((descriptor, response.headers().clone())),
        }
    }

    async fn manifest_call(&self, method: Method, target: &Target<'_>, verb: &str) -> Result<Call> {
        let name = target_text(target);
        let url = self.url(&format!("manifests/{name}")).await?;
        let what = format!("{verb} manifest {name} of {}", self.name());
        Ok(Call::new(method, url, what, self.scopes(Access::Pull)).header(ACCEPT, ACCEPTED))
    }

    async fn manifest_bytes(&self, call: &Call, response: Response) -> Result<Bytes> {
        let limit = usize::try_from(MANIFEST_MAX).unwrap_or(usize::MAX);
        let body = self.registry.read(&call.what, response, limit).await?;
        body.ok_or_else(|| {
            let what =
                format!("{} failed to {}: it is longer than {MANIFEST_MAX} bytes", self.registry.name, call.what);
            Error::new(ErrorKind::TooLarge, what)
        })
    }

    /// The digest of `bytes`, once it is the one asked for and the one the registry names.
    fn verified(&self, call: &Call, target: &Target<'_>, headers: &HeaderMap, bytes: &[u8]) -> Result<Digest> {
        let asked = match target {
            Target::Digest(digest) => Some((*digest).clone()),
            Target::Tag(_) => None,
        };
        let named = content_digest(headers);
        for expected in [&asked, &named].into_iter().flatten() {
            let found = digest_of(expected, bytes);
            if found != *expected {
                let what = format!(
                    "{} failed to {}: the bytes have digest {found}, not {expected}",
                    self.registry.name, call.what
                );
                return Err(Error::new(ErrorKind::Corrupt, what));
            }
        }
        Ok(asked.or(named).unwrap_or_else(|| Digest::of(bytes)))
    }

    fn too_old(&self, call: &Call) -> Error {
        let what = format!("{} failed to {}: only schema version 2 is supported", self.registry.name, call.what);
        Error::new(ErrorKind::Invalid, what)
            .with_hint("the image was pushed by a very old docker; pull and push it with a newer one")
    }

    /// The type in the header, which the document must not contradict: bytes that are two things at once let one digest
    /// mean two images (CVE-2021-41190).
    fn media_type(&self, call: &Call, headers: &HeaderMap, bytes: &[u8]) -> Result<MediaType> {
        let invalid = |why: &str| {
            Error::new(ErrorKind::Invalid, format!("{} failed to {}: {why}", self.registry.name, call.what))
        };
        let document: Shape = serde_json::from_slice(bytes).map_err(|e| invalid("it is no manifest").with_source(e))?;
        if document.layers.is_some() && document.manifests.is_some() {
            return Err(invalid("the document is a manifest and an index at once"));
        }
        let header = content_type(headers).filter(|kind| kind.is_index() || kind.is_manifest());
        let found = match (header, document.media_type) {
            (Some(header), Some(own)) if header != own => {
                return Err(invalid("the document's type is not the one the registry gives it"));
            }
            (Some(kind), _) | (None, Some(kind)) => kind,
            (None, None) if document.manifests.is_some() => MediaType::INDEX.into(),
            (None, None) => MediaType::MANIFEST.into(),
        };
        if document.schema_version != Some(2) {
            return Err(self.too_old(call));
        }
        let is_index = document.manifests.is_some();
        if (found.is_index() && !is_index) || (found.is_manifest() && is_index) {
            return Err(invalid("the document's type does not fit its content"));
        }
        Ok(found)
    }
}

/// As much of a manifest or index as tells them apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u32>,
    media_type: Option<MediaType>,
    layers: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
}

/// The descriptor that the answer to HEAD spells out, if it does completely and believably.
fn described(headers: &HeaderMap, target: &Target<'_>) -> Option<Descriptor> {
    let media_type = content_type(headers).filter(|kind| kind.is_index() || kind.is_manifest())?;
    let size = headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse::<u64>().ok()?;
    let digest = content_digest(headers)?;
    let as_asked = match target {
        Target::Digest(asked) => **asked == digest,
        Target::Tag(_) => true,
    };
    (as_asked && size > 0 && size <= MANIFEST_MAX).then(|| Descriptor::new(media_type, digest, size))
}

fn content_type(headers: &HeaderMap) -> Option<MediaType> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next()?.trim().into())
}

fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get(CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}

/// The digest of `bytes` by the algorithm of `like`.
pub(crate) fn digest_of(like: &Digest, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(like.algorithm());
    hasher.update(bytes);
    hasher.finish()
}
