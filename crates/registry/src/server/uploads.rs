//! Uploads: in one request, in pieces, as one stream, or as a mount of a neighbour's blob.

use bytes::Bytes;
use cooper_oci::{Digest, Hasher};
use hyper::body::Incoming;
use hyper::header::{CONTENT_RANGE, HeaderName, LOCATION, RANGE};
use hyper::{Method, Request};

use super::answer::{Answer, CONTENT_DIGEST, Refusal, body, empty, header, query, text};
use super::gate::{Gate, secret_id};
use super::route::is_name;
use super::state::{State, Upload};

/// A blob may be this long; it is held in memory.
const BLOB_MAX: usize = 1024 * 1024 * 1024;
/// Uploads open at once; more is a client that never finishes any.
const UPLOADS_MAX: usize = 64;

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// `POST /v2/<name>/blobs/uploads/`.
pub(super) async fn open(
    state: &State,
    gate: &Gate,
    request: Request<Incoming>,
    name: &str,
) -> Result<Answer, Refusal> {
    if request.method() != Method::POST {
        return Err(Refusal::method());
    }
    if let Some(answer) = mount(state, gate, &request, name) {
        return Ok(answer);
    }
    let digest = query(&request, "digest").map(|text| parse(&text)).transpose()?;
    if let Some(digest) = digest {
        let bytes = body(request, BLOB_MAX).await?;
        return commit(state, name, digest, bytes);
    }
    let id = secret_id().ok_or_else(|| Refusal::new(500, "UNKNOWN", "no random numbers"))?;
    let mut contents = state.lock();
    if contents.uploads.len() >= UPLOADS_MAX {
        return Err(Refusal::new(429, "TOOMANYREQUESTS", "too many uploads are open"));
    }
    contents.uploads.insert(id.clone(), Upload { name: name.to_owned(), ..Upload::default() });
    Ok(progress(202, name, &id, 0))
}

/// The answer to a mount that works; anything else becomes an ordinary upload.
fn mount(state: &State, gate: &Gate, request: &Request<Incoming>, name: &str) -> Option<Answer> {
    let digest: Digest = query(request, "mount")?.parse().ok()?;
    let from = query(request, "from").filter(|from| is_name(from))?;
    if !gate.may_pull(request, &from) {
        return None;
    }
    let mut contents = state.lock();
    let bytes = contents.blob(&from, &digest)?;
    contents.add_blob(name, digest.clone(), bytes);
    Some(created(name, &digest))
}

/// `/v2/<name>/blobs/uploads/<id>`.
pub(super) async fn go_on(state: &State, request: Request<Incoming>, name: &str, id: &str) -> Result<Answer, Refusal> {
    let size = size_of(state, name, id)?;
    match *request.method() {
        Method::GET => Ok(progress(204, name, id, size)),
        Method::PATCH => append(state, request, name, id).await,
        Method::PUT => finish(state, request, name, id).await,
        Method::DELETE => {
            state.lock().uploads.remove(id);
            Ok(empty(204))
        }
        _ => Err(Refusal::method()),
    }
}

/// Bytes so far. An upload is known only to the repository it was opened in.
fn size_of(state: &State, name: &str, id: &str) -> Result<usize, Refusal> {
    let contents = state.lock();
    let upload = contents.uploads.get(id).filter(|upload| upload.name == name);
    upload.map(|upload| upload.bytes.len()).ok_or_else(unknown)
}

fn unknown() -> Refusal {
    Refusal::new(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown to registry")
}

async fn append(state: &State, request: Request<Incoming>, name: &str, id: &str) -> Result<Answer, Refusal> {
    let start = text(&request, &CONTENT_RANGE).map(str::to_owned);
    let size = size_of(state, name, id)?;
    if let Some(range) = start {
        let first = range.trim_start_matches("bytes ").split('-').next().and_then(|text| text.trim().parse().ok());
        if first != Some(size) {
            let refused = progress(416, name, id, size);
            return Ok(refused);
        }
    }
    let bytes = body(request, BLOB_MAX.saturating_sub(size)).await?;
    let mut contents = state.lock();
    let upload = contents.uploads.get_mut(id).ok_or_else(unknown)?;
    if upload.bytes.len() != size {
        return Err(Refusal::new(409, "BLOB_UPLOAD_INVALID", "two requests write to one upload"));
    }
    upload.bytes.extend_from_slice(&bytes);
    Ok(progress(202, name, id, upload.bytes.len()))
}

async fn finish(state: &State, request: Request<Incoming>, name: &str, id: &str) -> Result<Answer, Refusal> {
    let missing = || Refusal::new(400, "DIGEST_INVALID", "no digest is given");
    let digest = parse(&query(&request, "digest").ok_or_else(missing)?)?;
    let size = size_of(state, name, id)?;
    let last = body(request, BLOB_MAX.saturating_sub(size)).await?;
    let mut upload = state.lock().uploads.remove(id).ok_or_else(unknown)?;
    upload.bytes.extend_from_slice(&last);
    commit(state, name, digest, upload.bytes.freeze())
}

fn commit(state: &State, name: &str, digest: Digest, bytes: Bytes) -> Result<Answer, Refusal> {
    let mut hasher = Hasher::new(digest.algorithm());
    hasher.update(&bytes);
    if hasher.finish() != digest {
        return Err(Refusal::new(400, "DIGEST_INVALID", "provided digest did not match uploaded content"));
    }
    let answer = created(name, &digest);
    state.lock().add_blob(name, digest, bytes);
    Ok(answer)
}

fn parse(text: &str) -> Result<Digest, Refusal> {
    text.parse().map_err(|_| Refusal::new(400, "DIGEST_INVALID", "invalid digest"))
}

fn created(name: &str, digest: &Digest) -> Answer {
    let answer = header(empty(201), LOCATION, &format!("/v2/{name}/blobs/{digest}"));
    header(answer, CONTENT_DIGEST, &digest.to_string())
}

fn progress(status: u16, name: &str, id: &str, size: usize) -> Answer {
    let answer = header(empty(status), LOCATION, &format!("/v2/{name}/blobs/uploads/{id}"));
    let answer = header(answer, RANGE, &format!("0-{}", size.saturating_sub(1)));
    header(answer, UPLOAD_UUID, id)
}
