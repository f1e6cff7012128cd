//! Uploads: in one request, in pieces, as one stream, or as a mount of a neighbour's blob.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cooper_oci::{Algorithm, Digest};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName, LOCATION, RANGE};
use hyper::{Method, Request};

use super::answer::{Answer, CONTENT_DIGEST, Refusal, digest_of, empty, header, query, text};
use super::gate::{Visitor, visitor};
use super::pace::Paced;
use super::peer::Peer;
use super::quota::Room;
use super::route::is_name;
use super::sessions::{Owner, Session, Turn};
use super::{Shared, Upload};

/// Repositories tried for a mount that names none; whoever may pull from none of them uploads.
const HOLDERS_TRIED: usize = 16;

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// `POST /v2/<name>/blobs/uploads/`.
pub(super) async fn open(shared: &Shared, request: Request<Incoming>, name: &str) -> Result<Answer, Refusal> {
    if request.method() != Method::POST {
        return Err(Refusal::method());
    }
    if let Some(answer) = mount(shared, &request, name).await? {
        return Ok(answer);
    }
    if let Some(digest) = query(&request, "digest").map(|text| digest_of(&text)).transpose()? {
        let room = Room::of(shared, name, 0).await?;
        let mut upload = shared.backend.upload(name, digest.algorithm()).await?;
        let bytes = AtomicU64::new(0);
        let note = |length| _ = bytes.fetch_add(length, Ordering::Relaxed);
        fill(request, upload.as_mut(), None, &room, note).await?;
        room.check_end(shared, name, bytes.into_inner()).await?;
        upload.commit(&digest).await?;
        return Ok(created(name, &digest));
    }
    let algorithm = match query(&request, "digest-algorithm").as_deref() {
        None | Some("sha256") => Algorithm::Sha256,
        Some("sha512") => Algorithm::Sha512,
        Some(_) => return Err(Refusal::new(400, "UNSUPPORTED", "unknown digest algorithm")),
    };
    Room::of(shared, name, 0).await?.check(1)?;
    let upload = shared.backend.upload(name, algorithm).await?;
    let id = shared.sessions.open(name, owner(&request), upload, &shared.front.limits())?;
    Ok(progress(202, name, &id, 0))
}

/// Who an upload belongs to.
fn owner(request: &Request<Incoming>) -> Owner {
    let user = visitor(request).and_then(Visitor::user).map(str::to_owned);
    Owner { client: Peer::of(request).client(), user }
}

/// The answer to a mount that works; anything else becomes an ordinary upload.
async fn mount(shared: &Shared, request: &Request<Incoming>, name: &str) -> Result<Option<Answer>, Refusal> {
    let Some(digest) = query(request, "mount").and_then(|text| text.parse::<Digest>().ok()) else { return Ok(None) };
    let from = match query(request, "from") {
        Some(from) => vec![from],
        None => shared.backend.holders(&digest).await?,
    };
    let readable = from.iter().filter(|from| is_name(from) && shared.gate.may_pull(request, from));
    for from in readable.take(HOLDERS_TRIED) {
        let Some(size) = shared.backend.blob_size(from, &digest).await? else { continue };
        Room::of(shared, name, 0).await?.check(size)?;
        if shared.backend.mount_blob(from, name, &digest).await? {
            return Ok(Some(created(name, &digest)));
        }
    }
    Ok(None)
}

/// `/v2/<name>/blobs/uploads/<id>`.
pub(super) async fn go_on(
    shared: &Shared,
    request: Request<Incoming>,
    name: &str,
    id: &str,
) -> Result<Answer, Refusal> {
    let session = shared.sessions.find(name, id, &owner(&request))?;
    let outcome = match *request.method() {
        Method::GET => Ok(progress(204, name, id, session.size())),
        Method::PATCH => append(shared, &session, request, name, id).await,
        Method::PUT => finish(shared, &session, request, name, id).await,
        Method::DELETE => {
            shared.sessions.close(id);
            Ok(empty(204))
        }
        _ => Err(Refusal::method()),
    };
    // An upload that does not fit is over: going on would not help.
    if outcome.as_ref().is_err_and(|refusal| matches!(refusal.status(), 403 | 413)) {
        shared.sessions.close(id);
    }
    outcome
}

async fn append(
    shared: &Shared,
    session: &Arc<Session>,
    request: Request<Incoming>,
    name: &str,
    id: &str,
) -> Result<Answer, Refusal> {
    let mut turn = session.turn()?;
    if is_in_order(&request, &turn)? {
        let room = Room::of(shared, name, turn.size()).await?;
        take(request, &mut turn, &room).await?;
        return Ok(progress(202, name, id, session.size()));
    }
    Ok(progress(416, name, id, session.size()))
}

async fn finish(
    shared: &Shared,
    session: &Arc<Session>,
    request: Request<Incoming>,
    name: &str,
    id: &str,
) -> Result<Answer, Refusal> {
    let missing = || Refusal::new(400, "DIGEST_INVALID", "no digest is given");
    let digest = digest_of(&query(&request, "digest").ok_or_else(missing)?)?;
    let mut turn = session.turn()?;
    if !is_in_order(&request, &turn)? {
        return Ok(progress(416, name, id, session.size()));
    }
    let room = Room::of(shared, name, turn.size()).await?;
    take(request, &mut turn, &room).await?;
    room.check_end(shared, name, 0).await?;
    let upload = turn.end()?;
    shared.sessions.close(id);
    upload.commit(&digest).await?;
    Ok(created(name, &digest))
}

/// Whether the piece starts where the last one ended. One that does not say where it starts does.
fn is_in_order(request: &Request<Incoming>, turn: &Turn<'_>) -> Result<bool, Refusal> {
    Ok(piece(request)?.is_none_or(|(first, _)| first == turn.size()))
}

/// First byte and length of a piece: `Content-Range: 5-9`, which is not RFC 9110's form; that is taken too.
fn piece(request: &Request<Incoming>) -> Result<Option<(u64, u64)>, Refusal> {
    let Some(range) = text(request, &CONTENT_RANGE) else { return Ok(None) };
    let invalid = || Refusal::new(400, "BLOB_UPLOAD_INVALID", "invalid content range");
    let plain = range.trim_start_matches("bytes ").split('/').next().unwrap_or_default();
    let (first, last) = plain.split_once('-').ok_or_else(invalid)?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| invalid());
    let (first, last) = (number(first)?, number(last)?);
    let length = last.checked_sub(first).and_then(|length| length.checked_add(1)).ok_or_else(invalid)?;
    Ok(Some((first, length)))
}

async fn take(request: Request<Incoming>, turn: &mut Turn<'_>, room: &Room) -> Result<(), Refusal> {
    let limit = piece(&request)?.map(|(_, length)| length);
    let said = text(&request, &CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if limit.is_some_and(|limit| said.is_some_and(|said| said != limit)) {
        return Err(Refusal::new(400, "SIZE_INVALID", "content range and length differ"));
    }
    let (upload, note) = turn.parts()?;
    fill(request, upload, limit, room, note).await
}

/// Writes the body, of at most `limit` bytes; what came before an error stays, so that the client can go on from there.
async fn fill(
    request: Request<Incoming>,
    upload: &mut dyn Upload,
    limit: Option<u64>,
    room: &Room,
    note: impl Fn(u64),
) -> Result<(), Refusal> {
    // Better told before than after the last byte.
    room.check(text(&request, &CONTENT_LENGTH).and_then(|text| text.parse().ok()).unwrap_or_default())?;
    let mut body = Paced::of(request);
    let mut left = limit.unwrap_or(u64::MAX);
    let mut bytes = 0_u64;
    while let Some(chunk) = body.next().await? {
        let length = chunk.len() as u64;
        bytes += length;
        room.check(bytes)?;
        left = left.checked_sub(length).ok_or_else(|| Refusal::new(400, "SIZE_INVALID", "longer than its range"))?;
        // Counted before it is written: whoever takes it keeps it, also when this request ends meanwhile.
        note(length);
        upload.write(chunk).await?;
    }
    Ok(())
}

fn created(name: &str, digest: &Digest) -> Answer {
    let answer = header(empty(201), LOCATION, &format!("/v2/{name}/blobs/{digest}"));
    header(answer, CONTENT_DIGEST, &digest.to_string())
}

fn progress(status: u16, name: &str, id: &str, size: u64) -> Answer {
    let answer = header(empty(status), LOCATION, &format!("/v2/{name}/blobs/uploads/{id}"));
    let answer = header(answer, RANGE, &format!("0-{}", size.saturating_sub(1)));
    header(answer, UPLOAD_UUID, id)
}
