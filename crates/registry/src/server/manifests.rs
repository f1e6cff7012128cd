//! Manifests and indexes: HEAD, GET, PUT and DELETE by tag and by digest. What is put must be whole: its digest right, its
//! blobs here.

use bytes::Bytes;
use cooper_oci::{Digest, Hasher, Index, Manifest, MediaType};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, LOCATION};
use hyper::{Method, Request};

use super::answer::{Answer, CONTENT_DIGEST, Refusal, body, empty, head, header, text, with_body};
use super::route::Target;
use super::state::{Contents, State};

/// distribution-spec: registries should take manifests of 4 MiB; more is refused.
const MANIFEST_MAX: usize = 4 * 1024 * 1024;

const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

pub(super) async fn respond(
    state: &State,
    request: Request<Incoming>,
    name: &str,
    target: &Target,
) -> Result<Answer, Refusal> {
    match *request.method() {
        Method::HEAD | Method::GET => read(&state.lock(), request.method() == Method::HEAD, name, target),
        Method::PUT => put(state, request, name, target).await,
        Method::DELETE => delete(&mut state.lock(), name, target),
        _ => Err(Refusal::method()),
    }
}

fn unknown() -> Refusal {
    Refusal::new(404, "MANIFEST_UNKNOWN", "manifest unknown")
}

fn invalid(why: impl Into<String>) -> Refusal {
    Refusal::new(400, "MANIFEST_INVALID", why)
}

fn read(contents: &Contents, is_head: bool, name: &str, target: &Target) -> Result<Answer, Refusal> {
    let digest = match target {
        Target::Digest(digest) => digest.clone(),
        Target::Tag(tag) => {
            let tags = contents.repository(name).map(|repository| &repository.tags);
            tags.and_then(|tags| tags.get(tag)).cloned().ok_or_else(unknown)?
        }
    };
    let (media_type, bytes) = contents.manifest(name, &digest).ok_or_else(unknown)?;
    let answer = if is_head { head(200, &media_type, bytes.len()) } else { with_body(200, &media_type, bytes) };
    Ok(header(answer, CONTENT_DIGEST, &digest.to_string()))
}

async fn put(state: &State, request: Request<Incoming>, name: &str, target: &Target) -> Result<Answer, Refusal> {
    let media_type = text(&request, &CONTENT_TYPE).unwrap_or_default().split(';').next().unwrap_or_default();
    let media_type = MediaType(media_type.trim().to_owned());
    let bytes = body(request, MANIFEST_MAX).await?;
    let digest = digest_of(&bytes, target)?;
    let document = Document::parse(&media_type, &bytes)?;
    let mut contents = state.lock();
    document.check(&contents, name)?;
    contents.add_manifest(name, &digest, media_type.as_str(), bytes);
    if let Target::Tag(tag) = target {
        contents.tag(name, tag, digest.clone());
    }
    let answer = header(empty(201), LOCATION, &format!("/v2/{name}/manifests/{digest}"));
    let answer = header(answer, CONTENT_DIGEST, &digest.to_string());
    Ok(match document.subject() {
        Some(subject) => header(answer, OCI_SUBJECT, &subject.to_string()),
        None => answer,
    })
}

/// The digest the manifest is kept by: the one it is put under, which must be right, else SHA-256.
fn digest_of(bytes: &Bytes, target: &Target) -> Result<Digest, Refusal> {
    let Target::Digest(expected) = target else { return Ok(Digest::of(bytes)) };
    let mut hasher = Hasher::new(expected.algorithm());
    hasher.update(bytes);
    if hasher.finish() == *expected {
        return Ok(expected.clone());
    }
    Err(Refusal::new(400, "DIGEST_INVALID", "provided digest did not match uploaded content"))
}

/// A parsed manifest or index.
pub(super) enum Document {
    Manifest(Box<Manifest>),
    Index(Box<Index>),
}

impl Document {
    pub(super) fn parse(media_type: &MediaType, bytes: &[u8]) -> Result<Self, Refusal> {
        let own = match media_type {
            kind if kind.is_index() => serde_json::from_slice(bytes).map(|index| Self::Index(Box::new(index))),
            kind if kind.is_manifest() => {
                serde_json::from_slice(bytes).map(|manifest| Self::Manifest(Box::new(manifest)))
            }
            _ => return Err(invalid("unknown media type")),
        };
        let document = own.map_err(|e| invalid(e.to_string()))?;
        let (named, other) = match &document {
            Self::Manifest(manifest) => (&manifest.media_type, manifest.other.contains_key("manifests")),
            Self::Index(index) => (&index.media_type, index.other.contains_key("layers")),
        };
        if other || named.as_ref().is_some_and(|named| named != media_type) {
            return Err(invalid("the document is not of the type it is put as"));
        }
        Ok(document)
    }

    fn subject(&self) -> Option<&Digest> {
        let subject = match self {
            Self::Manifest(manifest) => &manifest.subject,
            Self::Index(index) => &index.subject,
        };
        subject.as_ref().map(|subject| &subject.digest)
    }

    /// Everything it names must be here; a subject need not, nor layers that are elsewhere by design.
    fn check(&self, contents: &Contents, name: &str) -> Result<(), Refusal> {
        let missing = match self {
            Self::Manifest(manifest) => {
                let local = manifest.layers.iter().filter(|layer| layer.urls.is_empty());
                let mut all = std::iter::once(&manifest.config).chain(local);
                all.find(|part| contents.blob(name, &part.digest).is_none())
            }
            Self::Index(index) => index.manifests.iter().find(|part| contents.manifest(name, &part.digest).is_none()),
        };
        match missing {
            Some(part) => {
                Err(Refusal::new(404, "MANIFEST_BLOB_UNKNOWN", format!("{} is unknown to registry", part.digest)))
            }
            None => Ok(()),
        }
    }
}

fn delete(contents: &mut Contents, name: &str, target: &Target) -> Result<Answer, Refusal> {
    let found = match target {
        Target::Tag(tag) => contents.remove_tag(name, tag),
        Target::Digest(digest) => contents.remove_manifest(name, digest),
    };
    if found { Ok(empty(202)) } else { Err(unknown()) }
}
