//! Blobs: HEAD, GET with one range, DELETE.

use std::ops::Range;

use cooper_oci::Digest;
use hyper::body::Incoming;
use hyper::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_RANGE, RANGE};
use hyper::{Method, Request};

use super::answer::{Answer, Refusal, empty, head, header, streamed, text, unchanged, with_digest};
use super::{Backend, reads};

const OCTETS: &str = "application/octet-stream";

pub(super) async fn respond(
    backend: &dyn Backend,
    request: &Request<Incoming>,
    name: &str,
    digest: &Digest,
) -> Result<Answer, Refusal> {
    if *request.method() == Method::DELETE {
        let found = backend.delete_blob(name, digest).await?;
        return if found { Ok(empty(202)) } else { Err(Refusal::unknown_blob()) };
    }
    let size = backend.blob_size(name, digest).await?.ok_or_else(Refusal::unknown_blob)?;
    if let Some(answer) = unchanged(request, digest).filter(|_| reads(request.method())) {
        return Ok(answer);
    }
    let answer = match *request.method() {
        Method::HEAD => head(200, OCTETS, size),
        Method::GET => match text(request, &RANGE).and_then(|range| parse(range, size)) {
            // Without a range, and for forms this server does not know, the whole (RFC 9110, 14.2).
            None => part(backend, name, digest, 200, 0..size).await?,
            Some(range) if range.is_empty() => header(empty(416), CONTENT_RANGE, &format!("bytes */{size}")),
            Some(range) => {
                let shown = format!("bytes {}-{}/{size}", range.start, range.end - 1);
                header(part(backend, name, digest, 206, range).await?, CONTENT_RANGE, &shown)
            }
        },
        _ => return Err(Refusal::method()),
    };
    let answer = header(answer, ACCEPT_RANGES, "bytes");
    // A name that is a digest never means anything else.
    Ok(header(with_digest(answer, digest), CACHE_CONTROL, "max-age=31536000, immutable"))
}

async fn part(
    backend: &dyn Backend,
    name: &str,
    digest: &Digest,
    status: u16,
    range: Range<u64>,
) -> Result<Answer, Refusal> {
    let length = range.end - range.start;
    let body = backend.open_blob(name, digest, range).await?.ok_or_else(Refusal::unknown_blob)?;
    Ok(streamed(status, OCTETS, length, body))
}

/// `bytes=5-`, `bytes=5-9` or `bytes=-5` as a half-open range within `size`; empty when it lies outside.
fn parse(text: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let count: u64 = last.parse().ok()?;
        return Some(size.saturating_sub(count)..size);
    }
    let start: u64 = first.parse().ok()?;
    let end = if last.is_empty() { size } else { last.parse::<u64>().ok()?.saturating_add(1).min(size) };
    Some(start.min(size)..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (range, expect) in [
            ("bytes=0-", Some(0..10)),
            ("bytes=3-5", Some(3..6)),
            ("bytes=3-99", Some(3..10)),
            ("bytes=-4", Some(6..10)),
            ("bytes=-99", Some(0..10)),
            ("bytes=10-", Some(10..10)),
            ("bytes=18446744073709551615-", Some(10..10)),
            ("bytes=5-18446744073709551615", Some(5..10)),
            ("bytes=1-2,4-5", None),
            ("items=1-2", None),
            ("bytes=x-", None),
        ] {
            assert_eq!(parse(range, 10), expect, "{range}");
        }
        // Backwards: treated as outside.
        assert!(parse("bytes=5-3", 10).is_some_and(|range| range.is_empty()));
    }
}
