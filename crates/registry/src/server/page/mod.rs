//! The pages for people, at `/` and below `/r/`: what is in the registry, what each image is made of, how to fetch it. Plain
//! HTML that works without scripts.
//!
//! Everything comes from what others pushed: it is escaped, isolated and bounded, and the content security policy lets
//! nothing in but the embedded stylesheet.

mod commands;
mod config;
mod frame;
mod front;
mod image;
mod json;
mod layers;
mod place;
mod read;
mod repository;
mod statements;
mod text;

use bytes::Bytes;
use cooper_oci::Digest;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HeaderName, IF_NONE_MATCH, REFERRER_POLICY, VARY};
use hyper::header::{WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request};
use maud::Markup;

use self::commands::Address;
use self::frame::{Frame, POLICY, document, nothing};
use self::place::{Place, View};
use self::read::{DOCUMENT_MAX, Reader, Summaries};
use super::answer::{Answer, empty, head, header, text, with_body};
use super::peer::Peer;
use super::route::Target;
use super::{Document, Refusal, Shared, reads};

/// What pages remember between requests.
#[derive(Debug, Default)]
pub(super) struct Pages {
    summaries: Summaries,
}

/// Whether a path is a page's. None of the specification's is.
pub(super) fn has(path: &str) -> bool {
    path == "/" || path.starts_with("/r/")
}

/// One page on its way out.
struct Shown {
    status: u16,
    title: String,
    query: String,
    content: Markup,
}

impl Shown {
    fn new(title: impl Into<String>, content: Markup) -> Self {
        Self { status: 200, title: title.into(), query: String::new(), content }
    }

    fn nothing(status: u16, heading: &str, why: &str) -> Self {
        Self { status, ..Self::new(heading, nothing(heading, why)) }
    }

    /// There is none, or none that the requester may know of: the two look alike.
    fn missing() -> Self {
        Self::nothing(404, "Not found", "There is no such page here, or none that you may see.")
    }
}

/// Answers a request for a page.
pub(super) async fn respond(shared: &Shared, request: &Request<Incoming>) -> Answer {
    let address = Address::new(request.headers(), shared.addr, Peer::of(request).secure);
    if !reads(request.method()) {
        return send(request, &address, &Shown::nothing(405, "Not possible", "Pages can only be read."), None);
    }
    let place = Place::parse(request.uri().path(), request.uri().query().unwrap_or_default());
    let Some(place) = place else { return send(request, &address, &Shown::missing(), None) };
    if let Err(refusal) = shared.gate.check_page(request, place.name()) {
        return refuse(request, &address, &refusal);
    }
    match show(shared, request, &address, place).await {
        Ok(shown) => send(request, &address, &shown.unwrap_or_else(Shown::missing), None),
        Err(refusal) => refuse(request, &address, &refusal),
    }
}

/// Who may log in is asked to; whoever may not see something is told that it does not exist.
fn refuse(request: &Request<Incoming>, address: &Address, refusal: &Refusal) -> Answer {
    match refusal.status() {
        401 => {
            let shown = Shown::nothing(401, "Not logged in", "This registry asks who you are.");
            send(request, address, &shown, refusal.header(&WWW_AUTHENTICATE))
        }
        403 | 404 => send(request, address, &Shown::missing(), None),
        status => send(request, address, &Shown::nothing(status, "Not now", "The registry cannot show this."), None),
    }
}

async fn show(
    shared: &Shared,
    request: &Request<Incoming>,
    address: &Address,
    place: Place,
) -> Result<Option<Shown>, Refusal> {
    let backend = shared.backend.kept().unwrap_or(&*shared.backend);
    let mut reader = Reader::new(backend, &shared.pages.summaries);
    match place {
        Place::Front { query, last } => {
            let may_pull = |name: &str| shared.gate.may_see(request, name);
            let front = reader.front(&query, last, &may_pull).await?;
            let content = front::page(&front, &address.host);
            Ok(Some(Shown { query, ..Shown::new(front::title(&front), content) }))
        }
        Place::Repository { name, last } => {
            let found = reader.repository(&name, last).await?;
            Ok(found.map(|found| Shown::new(name, repository::page(&found))))
        }
        Place::Image { name, target, view } => part(&mut reader, address, name, target, view).await,
    }
}

async fn part(
    reader: &mut Reader<'_>,
    address: &Address,
    name: String,
    target: Target,
    view: View,
) -> Result<Option<Shown>, Refusal> {
    let title = format!("{name}{}", place::suffix(&target));
    if let View::Whole { platform } = view {
        let found = reader.page(&name, target, platform.as_deref()).await?;
        return Ok(found.map(|page| Shown::new(title, image::page(&page, address))));
    }
    let Some(manifest) = reader.manifest(&name, &target).await? else { return Ok(None) };
    let document = Document::of(&manifest);
    let wanted = match (&view, &document) {
        (View::Config, Some(Document::Manifest(document))) => Some(document.config.digest.clone()),
        (View::Blob(digest), Some(Document::Manifest(document))) => {
            document.layers.iter().find(|layer| layer.digest == *digest).map(|layer| layer.digest.clone())
        }
        _ => None,
    };
    let bytes = match (&view, wanted) {
        (View::Manifest, _) => Ok(manifest.bytes.to_vec()),
        (_, Some(digest)) => {
            reader.document(&name, &digest, DOCUMENT_MAX).await?.map_err(|why| format!("{digest} {why}"))
        }
        (_, None) => return Ok(None),
    };
    let pages: Vec<Digest> = match &document {
        Some(Document::Index(index)) => index.manifests.iter().map(|child| child.digest.clone()).collect(),
        _ => Vec::new(),
    };
    let link = |digest: &Digest| pages.contains(digest).then(|| place::href_digest(&name, digest));
    let content = image::document(&name, &target, &view, bytes.as_deref(), &link);
    Ok(Some(Shown::new(title, content)))
}

/// The document as HTTP: the same bytes have the same `ETag`, and a client that has them gets none.
fn send(request: &Request<Incoming>, address: &Address, shown: &Shown, challenge: Option<&str>) -> Answer {
    let frame = Frame { title: shown.title.clone(), host: &address.host, query: &shown.query };
    let html = Bytes::from(document(&frame, &shown.content).into_string());
    let tag = format!("\"{}\"", Digest::of(&html).short());
    let is_known = shown.status == 200 && text(request, &IF_NONE_MATCH).is_some_and(|known| names(known, &tag));
    let answer = match is_known {
        true => empty(304),
        false if request.method() == Method::HEAD => head(shown.status, HTML, html.len() as u64),
        false => with_body(shown.status, HTML, html),
    };
    let headers: [(HeaderName, &str); 6] = [
        (CONTENT_SECURITY_POLICY, &POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "private, no-cache"),
        (VARY, "authorization"),
        (ETAG, &tag),
    ];
    let answer = headers.into_iter().fold(answer, |answer, (name, value)| header(answer, name, value));
    match challenge {
        Some(challenge) => header(answer, WWW_AUTHENTICATE, challenge),
        None => answer,
    }
}

const HTML: &str = "text/html; charset=utf-8";

/// Whether an `If-None-Match` names the tag, weakly compared (RFC 9110, 13.1.2).
fn names(header: &str, tag: &str) -> bool {
    header.trim() == "*" || header.split(',').any(|known| known.trim().trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_weakly() {
        for (header, expect) in
            [("\"a\"", true), ("\"x\", W/\"a\"", true), ("*", true), ("a", false), ("\"ab\"", false), ("", false)]
        {
            assert_eq!(names(header, "\"a\""), expect, "{header}");
        }
    }
}
