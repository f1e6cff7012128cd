//! Answers and refusals as HTTP (distribution-spec, "Error codes"), and reading of request bodies and queries.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};

/// An answer: everything is in memory.
pub(super) type Answer = Response<Full<Bytes>>;

/// The digest of what is answered with.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A request that is not done, in the spec's terms.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
    challenge: Option<String>,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), challenge: None }
    }

    pub(super) fn challenge(mut self, text: String) -> Self {
        self.challenge = Some(text);
        self
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
        match self.challenge {
            Some(text) => header(answer, hyper::header::WWW_AUTHENTICATE, &text),
            None => answer,
        }
    }
}

pub(super) fn empty(status: u16) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

pub(super) fn with_body(status: u16, kind: &str, body: Bytes) -> Answer {
    let answer = header(empty(status), CONTENT_TYPE, kind);
    answer.map(|_| Full::new(body))
}

/// The headers of [`with_body`] without its body: what HEAD answers.
pub(super) fn head(status: u16, kind: &str, length: usize) -> Answer {
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

/// The first value of `name` in the query, decoded.
pub(super) fn query(request: &Request<Incoming>, name: &str) -> Option<String> {
    let text = request.uri().query().unwrap_or_default();
    let mut pairs = url::form_urlencoded::parse(text.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// A request header as text.
pub(super) fn text<'a>(request: &'a Request<Incoming>, name: &HeaderName) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

/// The whole body, of at most `limit` bytes.
pub(super) async fn body(request: Request<Incoming>, limit: usize) -> Result<Bytes, Refusal> {
    let mut body = request.into_body();
    let mut out = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::new(400, "UNSUPPORTED", "the body ended early"))?;
        let Ok(chunk) = frame.into_data() else { continue };
        if out.len() + chunk.len() > limit {
            return Err(Refusal::new(413, "SIZE_INVALID", format!("more than {limit} bytes")));
        }
        out.extend_from_slice(&chunk);
    }
    Ok(out.freeze())
}
