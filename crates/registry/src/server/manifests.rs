//! Manifests and indexes: HEAD, GET, PUT and DELETE by tag and by digest. What is put must be whole: its digest right, its
//! parts here.

use bytes::Bytes;
use cooper_oci::{Digest, Hasher, MediaType, Target};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, LOCATION};
use hyper::{Method, Request};

use super::answer::{Answer, CONTENT_DIGEST, Refusal, body, empty, head, header, text, with_body};
use super::quota::Room;
use super::{Backend, Document, Shared, StoredManifest};

/// distribution-spec: registries should take manifests of 4 MiB; more is refused.
const MANIFEST_MAX: usize = 4 * 1024 * 1024;

const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

pub(super) async fn respond(
    shared: &Shared,
    request: Request<Incoming>,
    name: &str,
    target: Target<'_>,
) -> Result<Answer, Refusal> {
    let backend = &*shared.backend;
    match *request.method() {
        Method::HEAD | Method::GET => read(backend, request.method() == Method::HEAD, name, target).await,
        Method::PUT => put(shared, request, name, target).await,
        Method::DELETE if backend.delete_manifest(name, target).await? => Ok(empty(202)),
        Method::DELETE => Err(unknown()),
        _ => Err(Refusal::method()),
    }
}

fn unknown() -> Refusal {
    Refusal::new(404, "MANIFEST_UNKNOWN", "manifest unknown")
}

async fn read(backend: &dyn Backend, is_head: bool, name: &str, target: Target<'_>) -> Result<Answer, Refusal> {
    let StoredManifest { digest, media_type, bytes } = backend.manifest(name, target).await?.ok_or_else(unknown)?;
    let kind = media_type.as_str();
    let answer = if is_head { head(200, kind, bytes.len() as u64) } else { with_body(200, kind, bytes) };
    Ok(header(answer, CONTENT_DIGEST, &digest.to_string()))
}

async fn put(shared: &Shared, request: Request<Incoming>, name: &str, target: Target<'_>) -> Result<Answer, Refusal> {
    let media_type = text(&request, &CONTENT_TYPE).unwrap_or_default().split(';').next().unwrap_or_default();
    let media_type = MediaType(media_type.trim().to_owned());
    let bytes = body(request, MANIFEST_MAX).await?;
    let (tag, digest) = match target {
        Target::Tag(tag) => (Some(tag), Digest::of(&bytes)),
        Target::Digest(digest) => (None, checked(&bytes, digest)?),
    };
    Room::of(shared, name, 0).await?.check(bytes.len() as u64)?;
    let document = Document::parse(&media_type, &bytes)?;
    let manifest = StoredManifest { digest: digest.clone(), media_type, bytes };
    shared.backend.put_manifest(name, tag, &manifest, &document.parts()).await?;
    let answer = header(empty(201), LOCATION, &format!("/v2/{name}/manifests/{digest}"));
    let answer = header(answer, CONTENT_DIGEST, &digest.to_string());
    Ok(match document.subject() {
        Some(subject) => header(answer, OCI_SUBJECT, &subject.digest.to_string()),
        None => answer,
    })
}

fn checked(bytes: &Bytes, expected: &Digest) -> Result<Digest, Refusal> {
    let mut hasher = Hasher::new(expected.algorithm());
    hasher.update(bytes);
    if hasher.finish() == *expected { Ok(expected.clone()) } else { Err(Refusal::wrong_digest()) }
}
