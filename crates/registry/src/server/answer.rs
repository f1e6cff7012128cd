//! Answers and refusals as HTTP (distribution-spec, "Error codes"), and reading of request bodies and queries.

use std::fmt;

use bytes::{Bytes, BytesMut};
use cooper_oci::Digest;
use futures::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH, WARNING};
use hyper::{Request, Response, StatusCode};

use super::Part;
use super::pace::Paced;

/// An answer. An error in its body cuts the connection: nobody takes what came for the whole.
pub(super) type Answer = Response<UnsyncBoxBody<Bytes, cooper_oci::Error>>;

/// The digest of what is answered with.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A request that is not done, in the spec's terms (distribution-spec, "Error Codes").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
    headers: Vec<(HeaderName, String)>,
    cause: Option<String>,
}

impl Refusal {
    /// A refusal by HTTP status, the spec's code, and words that may be shown to anyone.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new(), cause: None }
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// What went wrong here is no affair of the requester's: `cause` is for the log.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self { cause: Some(cause.to_string()), ..Self::new(500, "UNKNOWN", "internal error") }
    }

    /// The requester may not do that, whoever they are.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(403, "DENIED", message)
    }

    /// The bytes that came are not those of the digest that came with them.
    pub fn wrong_digest() -> Self {
        Self::new(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
    }

    /// A manifest names something that is not in its repository.
    pub fn missing_part(part: &Part) -> Self {
        let (Part::Blob(digest) | Part::Manifest(digest)) = part;
        Self::new(404, "MANIFEST_BLOB_UNKNOWN", format!("{digest} is unknown to registry"))
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// What may be shown to anyone.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// A header of the answer.
    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// What went wrong in here, for the log.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    pub(super) fn method() -> Self {
        Self::new(405, "UNSUPPORTED", "the operation is unsupported")
    }

    pub(super) fn unknown_blob() -> Self {
        Self::new(404, "BLOB_UNKNOWN", "blob unknown to registry")
    }

    pub(super) fn answer(self) -> Answer {
        let body = serde_json::json!({ "errors": [{ "code": self.code, "message": self.message }] });
        let answer = with_body(self.status, "application/json", body.to_string().into());
        self.headers.into_iter().fold(answer, |answer, (name, value)| header(answer, name, &value))
    }
}

/// A digest as it came in a query.
pub(super) fn digest_of(text: &str) -> Result<Digest, Refusal> {
    text.parse().map_err(|_| Refusal::new(400, "DIGEST_INVALID", "invalid digest"))
}

pub(super) fn empty(status: u16) -> Answer {
    let mut answer = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

pub(super) fn with_body(status: u16, kind: &str, body: Bytes) -> Answer {
    let answer = header(empty(status), CONTENT_TYPE, kind);
    answer.map(|_| Full::new(body).map_err(|never| match never {}).boxed_unsync())
}

/// An answer of `length` bytes that are sent as they come.
pub(super) fn streamed(status: u16, kind: &str, length: u64, body: cooper_oci::Body) -> Answer {
    head(status, kind, length).map(|_| StreamBody::new(body.map(|bytes| bytes.map(Frame::data))).boxed_unsync())
}

/// The headers of [`with_body`] without its body: what HEAD answers.
pub(super) fn head(status: u16, kind: &str, length: u64) -> Answer {
    let answer = header(empty(status), CONTENT_TYPE, kind);
    header(answer, CONTENT_LENGTH, &length.to_string())
}

/// Adds a header; a value that no header can carry is left out.
pub(super) fn header(mut answer: Answer, name: HeaderName, value: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// Adds a warning for the people behind the client (distribution-spec, "Warnings").
pub(super) fn warned(answer: Answer, warning: Option<String>) -> Answer {
    match warning {
        Some(text) => header(answer, WARNING, &format!("299 - \"{}\"", text.replace(['"', '\\'], ""))),
        None => answer,
    }
}

/// The first value of `name` in the query, decoded.
pub(super) fn query<B>(request: &Request<B>, name: &str) -> Option<String> {
    queries(request, name).next()
}

/// Every value of `name` in the query, decoded.
pub(super) fn queries<B>(request: &Request<B>, name: &str) -> impl Iterator<Item = String> {
    let text = request.uri().query().unwrap_or_default();
    let pairs = url::form_urlencoded::parse(text.as_bytes());
    pairs.filter(move |(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// The answer to a requester who has these bytes already (RFC 9110, 13.1.2).
pub(super) fn unchanged<B>(request: &Request<B>, digest: &Digest) -> Option<Answer> {
    let known = text(request, &IF_NONE_MATCH)?;
    let tag = format!("\"{digest}\"");
    let is_known =
        known.split(',').any(|known| matches!(known.trim(), "*") || known.trim().trim_start_matches("W/") == tag);
    is_known.then(|| header(empty(304), ETAG, &tag))
}

/// Adds the digest of what is answered with, as clients of registries know it and as caches do.
pub(super) fn with_digest(answer: Answer, digest: &Digest) -> Answer {
    header(header(answer, CONTENT_DIGEST, &digest.to_string()), ETAG, &format!("\"{digest}\""))
}

/// A request header as text.
pub(super) fn text<'a, B>(request: &'a Request<B>, name: &HeaderName) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

/// The whole body, of at most `limit` bytes.
pub(super) async fn body(request: Request<Incoming>, limit: usize) -> Result<Bytes, Refusal> {
    let mut body = Paced::of(request);
    let mut out = BytesMut::new();
    while let Some(chunk) = body.next().await? {
        if out.len() + chunk.len() > limit {
            return Err(Refusal::new(413, "SIZE_INVALID", format!("more than {limit} bytes")));
        }
        out.extend_from_slice(&chunk);
    }
    Ok(out.freeze())
}
