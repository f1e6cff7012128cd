//! The client against registries that lie: right bytes or a clear error, and never a hang.
#![allow(missing_docs, reason = "a test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::liar::{Asked, Liar, Lie, answer, owned};
use common::*;
use cooper_oci::{BlobSink, Digest, ErrorKind, Manifest, MediaType, body_from_bytes, read_all};
use cooper_registry::{ErrorKind as Kind, Repository};

const SIZE: usize = 300_000;

fn from(liar: &Liar) -> Repository {
    repository(&anonymous(), liar.addr, "a/b:1")
}

/// Reads the blob of [`SIZE`] bytes from a liar whose answers to it `script` gives, and says what became of it.
async fn pull(script: impl Fn(&Asked, usize, &[u8]) -> Lie + Send + Sync + 'static) -> (Result<(), ErrorKind>, usize) {
    let bytes = noise(SIZE, 11);
    let shown = bytes.clone();
    let liar = Liar::start(move |asked, before| match asked.path.as_str() {
        "/v2/" => answer(200, &[], b""),
        _ => script(asked, before, &shown),
    })
    .await;
    let read = within(read_all(&from(&liar), &layer(&bytes), SIZE as u64)).await;
    if let Ok(found) = &read {
        assert_eq!(*found, bytes, "never the wrong bytes");
    }
    if let Err(error) = &read {
        assert!(error.to_string().contains(&liar.addr.to_string()), "names the host: {error}");
        assert!(error.to_string().contains("a/b"), "names the repository: {error}");
    }
    (read.map(|_| ()).map_err(|error| error.kind()), liar.asked().len())
}

fn range_start(asked: &Asked) -> Option<usize> {
    asked.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

/// What an honest registry answers from `start` on, of which only `until` comes.
fn part(bytes: &[u8], start: usize, until: usize) -> Lie {
    let headers = match start {
        0 => vec![],
        _ => owned(&[("Content-Range", &format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()))]),
    };
    let status = if start == 0 { 200 } else { 206 };
    let until = until.clamp(start, bytes.len());
    Lie::Short { status, headers, length: bytes.len() - start, body: bytes[start..until].to_vec() }
}

#[tokio::test]
async fn truncated_blobs_are_taken_up_where_they_broke() {
    for cut in [0, 1, 1000, SIZE / 2, SIZE - 1] {
        let (read, requests) = pull(move |asked, before, bytes| {
            let start = range_start(asked).unwrap_or(0);
            part(bytes, start, if before == 0 { cut } else { SIZE })
        })
        .await;
        assert_eq!((read, requests), (Ok(()), 2), "cut at {cut}");
    }
}

#[tokio::test]
async fn breaking_again_and_again_ends_in_an_error() {
    let (read, requests) = pull(|asked, _, bytes| {
        let start = range_start(asked).unwrap_or(0);
        part(bytes, start, start + 10)
    })
    .await;
    assert_eq!((read, requests), (Err(ErrorKind::Retry), 5));
}

#[tokio::test]
async fn a_range_answered_with_everything_still_gives_the_right_bytes() {
    let (read, _) = pull(|_, before, bytes| part(bytes, 0, if before == 0 { 1234 } else { SIZE })).await;
    assert_eq!(read, Ok(()));
}

#[tokio::test]
async fn a_range_that_was_not_asked_for_is_refused() {
    let (read, _) = pull(|asked, before, bytes| match (before, range_start(asked)) {
        (0, _) => part(bytes, 0, 1234),
        (_, start) => part(bytes, start.unwrap_or(0) + 1, SIZE),
    })
    .await;
    assert_eq!(read, Err(ErrorKind::Corrupt));
}

#[tokio::test]
async fn wrong_long_and_short_content_is_corrupt() {
    for change in ["flip", "longer", "shorter", "empty"] {
        let (read, _) = pull(move |_, _, bytes| {
            let mut bytes = bytes.to_vec();
            match change {
                "flip" => bytes[SIZE - 1] ^= 1,
                "longer" => bytes.push(0),
                "shorter" => bytes.truncate(SIZE - 1),
                _ => bytes.clear(),
            }
            answer(200, &[], &bytes)
        })
        .await;
        assert_eq!(read, Err(ErrorKind::Corrupt), "{change}");
    }
}

#[tokio::test]
async fn extra_bytes_without_a_length_are_dropped_with_an_error() {
    let (read, _) = pull(|_, _, _| Lie::Endless).await;
    assert_eq!(read, Err(ErrorKind::Corrupt));
}

#[tokio::test]
async fn passing_faults_are_sat_out() {
    for (status, headers) in [
        (500, vec![]),
        (502, vec![]),
        (503, owned(&[("Retry-After", "0")])),
        (429, owned(&[("Retry-After", "1")])),
        (429, owned(&[("Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT")])),
    ] {
        let (read, requests) = pull(move |_, before, bytes| match before {
            0 | 1 => Lie::Answer(status, headers.clone(), b"busy".to_vec()),
            _ => part(bytes, 0, SIZE),
        })
        .await;
        assert_eq!((read, requests), (Ok(()), 3), "{status}");
    }
    let (read, requests) = pull(|_, before, bytes| if before < 2 { Lie::Reset } else { part(bytes, 0, SIZE) }).await;
    assert_eq!((read, requests), (Ok(()), 3), "reset");
}

#[tokio::test]
async fn lasting_faults_become_errors() {
    for (status, expect, requests) in [
        (500, ErrorKind::Retry, 5),
        (429, ErrorKind::Retry, 5),
        (403, ErrorKind::Unauthorized, 1),
        (404, ErrorKind::NotFound, 1),
        (418, ErrorKind::Invalid, 1),
    ] {
        assert_eq!(pull(move |_, _, _| answer(status, &[], b"")).await, (Err(expect), requests), "{status}");
    }
    assert_eq!(pull(|_, _, _| Lie::Reset).await, (Err(ErrorKind::Retry), 5));
    assert_eq!(pull(|_, _, _| Lie::Garbage(b"\x16\x03\x01 what?".to_vec())).await.0, Err(ErrorKind::Retry));
}

#[tokio::test]
async fn silence_and_dripping_do_not_hang() {
    let (read, requests) = pull(|_, before, bytes| match before {
        0 => Lie::Silence { length: SIZE },
        _ => part(bytes, 0, SIZE),
    })
    .await;
    assert_eq!((read, requests), (Ok(()), 2));
    let (read, _) = pull(|_, _, _| Lie::Drip { length: SIZE, pause: Duration::from_millis(50) }).await;
    assert_eq!(read, Err(ErrorKind::Retry));
}

#[tokio::test]
async fn redirects_are_followed_and_loops_are_left() {
    let bytes = noise(SIZE, 11);
    let storage = Liar::start(move |_, _| answer(200, &[], &bytes)).await;
    let place = format!("http://{}/signed?x=1", storage.addr);
    let (read, _) = pull(move |_, _, _| answer(307, &[("Location", &place)], b"")).await;
    assert_eq!(read, Ok(()));
    let (read, requests) = pull(|asked, _, _| answer(302, &[("Location", &asked.path)], b"")).await;
    assert_eq!((read, requests), (Err(ErrorKind::Invalid), 6));
    for location in ["file:///etc/passwd", "ftp://x/", "http://user:pw@127.0.0.1/", "http://[", ""] {
        let (read, requests) = pull(move |_, _, _| answer(301, &[("Location", location)], b"")).await;
        assert!(read == Err(ErrorKind::Invalid), "{location}: {read:?} after {requests}");
    }
    let (read, _) = pull(|_, _, _| answer(302, &[], b"")).await;
    assert_eq!(read, Err(ErrorKind::Invalid));
}

/// Resolves and reads the tag of a liar that answers every manifest request with `lie`.
async fn manifest(lie: Lie) -> Result<Digest, Kind> {
    let liar = Liar::start(move |asked, _| match (asked.path.as_str(), asked.method.as_str()) {
        ("/v2/", _) => answer(200, &[], b""),
        (_, "HEAD") => Lie::Answer(405, vec![], vec![]),
        _ => lie.clone(),
    })
    .await;
    within(from(&liar).resolve()).await.map(|found| found.digest).map_err(|error| error.kind())
}

fn small_manifest() -> Vec<u8> {
    serde_json::to_vec(&Manifest::new(cooper_oci::Descriptor::of(MediaType::CONFIG, b"{}"), vec![])).unwrap()
}

#[tokio::test]
async fn manifests_are_taken_only_as_what_they_are() {
    let right = small_manifest();
    let digest = Digest::of(&right);
    let named = digest.to_string();
    let other = Digest::of(b"other").to_string();
    let both = br#"{"schemaVersion":2,"layers":[],"manifests":[]}"#;
    let kind = ("Content-Type", MediaType::MANIFEST);
    for (lie, expect) in [
        (answer(200, &[kind], &right), Ok(digest.clone())),
        (answer(200, &[kind, ("Docker-Content-Digest", &named)], &right), Ok(digest.clone())),
        (answer(200, &[("Content-Type", "text/plain")], &right), Ok(digest)),
        (answer(200, &[kind, ("Docker-Content-Digest", &other)], &right), Err(Kind::Corrupt)),
        (answer(200, &[("Content-Type", MediaType::INDEX)], &right), Err(Kind::Invalid)),
        (answer(200, &[kind], both), Err(Kind::Invalid)),
        (answer(200, &[kind], br#"{"schemaVersion":1}"#), Err(Kind::Invalid)),
        (answer(200, &[kind], b"<html>"), Err(Kind::Invalid)),
        (answer(200, &[kind], &vec![b' '; 5 << 20]), Err(Kind::TooLarge)),
        (Lie::Endless, Err(Kind::TooLarge)),
        (Lie::Drip { length: 1000, pause: Duration::from_millis(100) }, Err(Kind::Retry)),
        (Lie::Silence { length: 1000 }, Err(Kind::Retry)),
    ] {
        let text = format!("{lie:?}").chars().take(200).collect::<String>();
        assert_eq!(manifest(lie).await, expect, "{text}");
    }
}

#[tokio::test]
async fn the_first_schema_is_refused_as_what_it_is() {
    // Its digest is not that of its bytes, which must not be the complaint.
    for kind in ["prettyjws", "json"] {
        let kind = format!("application/vnd.docker.distribution.manifest.v1+{kind}");
        let liar = Liar::start(move |asked, _| match asked.path.as_str() {
            "/v2/" => answer(200, &[], b""),
            _ => {
                let digest = Digest::of(b"payload").to_string();
                let headers = [("Content-Type", kind.as_str()), ("Docker-Content-Digest", digest.as_str())];
                answer(200, &headers, br#"{"schemaVersion":1,"fsLayers":[]}"#)
            }
        })
        .await;
        let error = within(from(&liar).resolve()).await.unwrap_err();
        assert!(error.to_string().ends_with("only schema version 2 is supported"), "{error}");
        assert!(error.hint().unwrap().contains("very old docker"), "{error:?}");
    }
}

#[tokio::test]
async fn heads_that_do_not_fit_are_not_believed() {
    let bytes = small_manifest();
    let asked = Digest::of(b"asked").to_string();
    let shown = bytes.clone();
    let liar = Liar::start(move |request, _| {
        let digest = Digest::of(&shown).to_string();
        let headers = [("Content-Type", MediaType::MANIFEST), ("Docker-Content-Digest", digest.as_str())];
        match request.method.as_str() {
            "HEAD" => Lie::Short { status: 200, headers: owned(&headers), length: shown.len(), body: vec![] },
            _ => answer(200, &headers, &shown),
        }
    })
    .await;
    let client = anonymous();
    let tag = repository(&client, liar.addr, "a:1");
    assert_eq!(within(tag.resolve()).await.unwrap().digest, Digest::of(&bytes));
    let by_digest = repository(&client, liar.addr, &format!("a@{asked}"));
    assert_eq!(within(by_digest.resolve()).await.unwrap_err().kind(), Kind::Corrupt);
}

#[tokio::test]
async fn words_of_the_registry_are_shown_clean_and_short() {
    let body = br#"{"errors":[{"code":"DENIED","message":"\u001b[31mno\r\nway\u202e"},{"code":"X"}]}"#;
    for (body, expect) in [
        (&body[..], "[31mno way; X"),
        (b"plain \x07 words", "plain words"),
        (b"<html>page</html>", "400 bad request"),
        (b"", "400 bad request"),
    ] {
        let body = body.to_vec();
        let liar = Liar::start(move |asked, _| match asked.path.as_str() {
            "/v2/" => answer(200, &[], b""),
            _ => answer(400, &[], &body),
        })
        .await;
        let error = within(from(&liar).tags()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{} refused to list the tags of a/b: {expect}", liar.addr));
    }
}

#[tokio::test]
async fn tags_without_end_are_left() {
    let liar = Liar::start(|asked, before| match asked.path.as_str() {
        "/v2/" => answer(200, &[], b""),
        path => answer(
            200,
            &[("Link", &format!("<{path}>; rel=\"next\""))],
            format!(r#"{{"tags":["a{before}","../x"]}}"#).as_bytes(),
        ),
    })
    .await;
    let error = within(from(&liar).tags()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::TooLarge);
}

#[tokio::test]
async fn uploads_survive_passing_faults_and_report_lasting_ones() {
    let committed = Arc::new(AtomicUsize::new(0));
    let seen = committed.clone();
    let liar = Liar::start(move |asked, before| match asked.method.as_str() {
        "GET" => answer(200, &[], b""),
        "POST" if before == 0 => answer(503, &[("Retry-After", "0")], b""),
        "POST" => answer(202, &[("Location", "/upload?state=1")], b""),
        "PUT" if before == 0 => Lie::Reset,
        "PUT" => {
            seen.fetch_add(1, Ordering::Relaxed);
            answer(201, &[], b"")
        }
        _ => answer(404, &[], b""),
    })
    .await;
    let bytes = noise(1000, 12);
    within(from(&liar).put(&layer(&bytes), body_from_bytes(bytes))).await.unwrap();
    assert_eq!(committed.load(Ordering::Relaxed), 1);
    let puts: Vec<_> = liar.asked().into_iter().filter(|asked| asked.method == "PUT").collect();
    assert!(puts.iter().all(|asked| asked.path.starts_with("/upload?state=1&digest=sha256")), "{puts:?}");

    for lie in
        [answer(202, &[], b""), answer(202, &[("Location", "gopher://x/")], b""), answer(500, &[], b""), Lie::Reset]
    {
        let liar =
            Liar::start(move |asked, _| if asked.method == "POST" { lie.clone() } else { answer(200, &[], b"") }).await;
        let bytes = noise(1000, 13);
        within(from(&liar).put(&layer(&bytes), body_from_bytes(bytes))).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_large_upload_that_breaks_is_an_error_to_try_again() {
    let liar = Liar::start(move |asked, _| match asked.method.as_str() {
        "POST" => answer(202, &[("Location", "/upload")], b""),
        "PATCH" => Lie::Reset,
        _ => answer(200, &[], b""),
    })
    .await;
    let bytes = noise(3_000_000, 14);
    let error = within(from(&liar).put(&layer(&bytes), body_in_pieces(&bytes, 10_000))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    assert!(!liar.asked().iter().any(|asked| asked.method == "PUT"));
}

#[tokio::test]
async fn a_slow_upload_is_not_a_dead_one() {
    // Longer than the idle timeout of one second in all, but never without progress for as long.
    let liar = Liar::start(move |asked, _| match asked.method.as_str() {
        "POST" => answer(202, &[("Location", "/upload")], b""),
        "PATCH" => answer(202, &[("Location", "/upload")], b""),
        _ => answer(201, &[], b""),
    })
    .await;
    let bytes = noise(2_200_000, 15);
    let descriptor = layer(&bytes);
    let pieces: Vec<_> = bytes.chunks(1_000_000).map(bytes::Bytes::copy_from_slice).collect();
    let slow = futures::stream::unfold(pieces.into_iter(), |mut pieces| async move {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        Some((Ok(pieces.next()?), pieces))
    });
    within(from(&liar).put(&descriptor, Box::pin(slow))).await.unwrap();
    assert!(liar.asked().iter().any(|asked| asked.method == "PUT"));
}

#[tokio::test]
async fn an_upload_that_is_never_answered_does_not_hang() {
    let liar = Liar::start(move |asked, _| match asked.method.as_str() {
        "POST" => answer(202, &[("Location", "/upload")], b""),
        "PATCH" => Lie::Mute,
        _ => answer(200, &[], b""),
    })
    .await;
    let bytes = noise(3_000_000, 16);
    let error = within(from(&liar).put(&layer(&bytes), body_in_pieces(&bytes, 100_000))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
}

#[tokio::test]
async fn a_stream_of_wrong_bytes_ends_in_an_error_even_if_nobody_checks() {
    use cooper_oci::Blobs;
    use futures::StreamExt;
    let bytes = noise(1000, 17);
    let mut wrong = bytes.clone();
    wrong[0] ^= 1;
    let liar = Liar::start(move |_, _| answer(200, &[], &wrong)).await;
    let body = within(from(&liar).open(&layer(&bytes))).await.unwrap();
    let pieces: Vec<_> = within(body.collect()).await;
    assert_eq!(pieces.last().unwrap().as_ref().unwrap_err().kind(), ErrorKind::Corrupt);
}
