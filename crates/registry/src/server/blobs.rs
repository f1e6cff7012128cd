//! Blobs: HEAD, GET with one range, DELETE.

use bytes::Bytes;
use cooper_oci::Digest;
use hyper::body::Incoming;
use hyper::header::{ACCEPT_RANGES, CONTENT_RANGE, RANGE};
use hyper::{Method, Request};

use super::answer::{Answer, CONTENT_DIGEST, Refusal, empty, head, header, text, with_body};
use super::state::State;

const OCTETS: &str = "application/octet-stream";

pub(super) fn respond(
    state: &State,
    request: &Request<Incoming>,
    name: &str,
    digest: &Digest,
) -> Result<Answer, Refusal> {
    let blob = state.lock().blob(name, digest).ok_or_else(Refusal::unknown_blob)?;
    let answer = match *request.method() {
        Method::HEAD => head(200, OCTETS, blob.len()),
        Method::GET => part(&blob, text(request, &RANGE)),
        Method::DELETE => {
            state.lock().remove_blob(name, digest);
            return Ok(empty(202));
        }
        _ => return Err(Refusal::method()),
    };
    let answer = header(answer, ACCEPT_RANGES, "bytes");
    Ok(header(answer, CONTENT_DIGEST, &digest.to_string()))
}

/// The range asked for; the whole for none, and for forms this server does not know, as RFC 9110 allows.
fn part(blob: &Bytes, range: Option<&str>) -> Answer {
    let size = blob.len();
    match range.and_then(|text| parse(text, size)) {
        None => with_body(200, OCTETS, blob.clone()),
        Some((start, end)) if start < end => {
            let answer = with_body(206, OCTETS, blob.slice(start..end));
            header(answer, CONTENT_RANGE, &format!("bytes {start}-{}/{size}", end - 1))
        }
        Some(_) => header(empty(416), CONTENT_RANGE, &format!("bytes */{size}")),
    }
}

/// `bytes=5-`, `bytes=5-9` or `bytes=-5` as a half-open range within `size`; empty when it lies outside.
fn parse(text: &str, size: usize) -> Option<(usize, usize)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let count: usize = last.parse().ok()?;
        return Some((size.saturating_sub(count), size));
    }
    let start: usize = first.parse().ok()?;
    let end = if last.is_empty() { size } else { last.parse::<usize>().ok()?.saturating_add(1).min(size) };
    Some((start.min(size), end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (range, expect) in [
            ("bytes=0-", Some((0, 10))),
            ("bytes=3-5", Some((3, 6))),
            ("bytes=3-99", Some((3, 10))),
            ("bytes=-4", Some((6, 10))),
            ("bytes=-99", Some((0, 10))),
            ("bytes=10-", Some((10, 10))),
            ("bytes=18446744073709551615-", Some((10, 10))),
            ("bytes=5-18446744073709551615", Some((5, 10))),
            ("bytes=1-2,4-5", None),
            ("items=1-2", None),
            ("bytes=x-", None),
        ] {
            assert_eq!(parse(range, 10), expect, "{range}");
        }
        // Backwards: treated as outside.
        assert_eq!(part(&Bytes::from_static(b"0123456789"), Some("bytes=5-3")).status(), 416);
    }
}
