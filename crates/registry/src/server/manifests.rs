//! Manifests and indexes: HEAD, GET, PUT and DELETE by tag and by digest. What is put must be whole: its digest right, its
//! parts here.

use bytes::Bytes;
use cooper_oci::{Digest, Hasher, MediaType, Target};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, LOCATION};
use hyper::{Method, Request};

use super::answer::{
    Answer, CONTENT_DIGEST, Refusal, body, empty, head, header, queries, text, unchanged, with_body, with_digest,
};
use super::quota::Room;
use super::route::{invalid_tag, is_tag};
use super::{Backend, Document, Shared, StoredManifest};

/// Tags that come with one manifest: the spec asks for ten.
const TAGS_MAX: usize = 64;

/// distribution-spec: registries should take manifests of 4 MiB; more is refused.
const MANIFEST_MAX: usize = 4 * 1024 * 1024;

const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");

pub(super) async fn respond(
    shared: &Shared,
    request: Request<Incoming>,
    name: &str,
    target: Target<'_>,
) -> Result<Answer, Refusal> {
    let backend = &*shared.backend;
    match *request.method() {
        Method::HEAD | Method::GET => read(backend, &request, name, target).await,
        Method::PUT => put(shared, request, name, target).await,
        Method::DELETE if backend.delete_manifest(name, target).await? => Ok(empty(202)),
        Method::DELETE => Err(unknown()),
        _ => Err(Refusal::method()),
    }
}

fn unknown() -> Refusal {
    Refusal::new(404, "MANIFEST_UNKNOWN", "manifest unknown")
}

async fn read(
    backend: &dyn Backend,
    request: &Request<Incoming>,
    name: &str,
    target: Target<'_>,
) -> Result<Answer, Refusal> {
    let StoredManifest { digest, media_type, bytes } = backend.manifest(name, target).await?.ok_or_else(unknown)?;
    if let Some(answer) = unchanged(request, &digest) {
        return Ok(answer);
    }
    let (kind, is_head) = (media_type.as_str(), request.method() == Method::HEAD);
    let answer = if is_head { head(200, kind, bytes.len() as u64) } else { with_body(200, kind, bytes) };
    Ok(with_digest(answer, &digest))
}

async fn put(shared: &Shared, request: Request<Incoming>, name: &str, target: Target<'_>) -> Result<Answer, Refusal> {
    let media_type = text(&request, &CONTENT_TYPE).unwrap_or_default().split(';').next().unwrap_or_default();
    let media_type = MediaType(media_type.trim().to_owned());
    let tags = tags(&request);
    let bytes = body(request, MANIFEST_MAX).await?;
    let (tags, digest) = match target {
        Target::Tag(tag) => (vec![tag.to_owned()], Digest::of(&bytes)),
        Target::Digest(digest) => (tags?, checked(&bytes, digest)?),
    };
    Room::of(shared, name, 0).await?.check(bytes.len() as u64)?;
    let document = Document::parse(&media_type, &bytes)?;
    let manifest = StoredManifest { digest: digest.clone(), media_type, bytes };
    shared.backend.put_manifest(name, &tags, &manifest, &document.parts()).await?;
    let mut answer = header(empty(201), LOCATION, &format!("/v2/{name}/manifests/{digest}"));
    answer = header(answer, CONTENT_DIGEST, &digest.to_string());
    if matches!(target, Target::Digest(_)) && !tags.is_empty() {
        answer = header(answer, OCI_TAG, &tags.join(", "));
    }
    Ok(match document.subject() {
        Some(subject) => header(answer, OCI_SUBJECT, &subject.digest.to_string()),
        None => answer,
    })
}

/// The tags that come with a manifest put by digest: `?tag=1.2&tag=1`.
fn tags(request: &Request<Incoming>) -> Result<Vec<String>, Refusal> {
    let tags: Vec<String> = queries(request, "tag").collect();
    if tags.len() > TAGS_MAX {
        return Err(Refusal::new(414, "UNSUPPORTED", format!("more than {TAGS_MAX} tags")));
    }
    match tags.iter().all(|tag| is_tag(tag)) {
        true => Ok(tags),
        false => Err(invalid_tag()),
    }
}

fn checked(bytes: &Bytes, expected: &Digest) -> Result<Digest, Refusal> {
    let mut hasher = Hasher::new(expected.algorithm());
    hasher.update(bytes);
    if hasher.finish() == *expected { Ok(expected.clone()) } else { Err(Refusal::wrong_digest()) }
}
