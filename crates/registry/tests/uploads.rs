//! Large uploads that break: the connection is cut, the registry refuses for a while, forgets, or does not know how far it got.
#![allow(missing_docs, reason = "a test")]

mod common;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use common::cutter::Cutter;
use common::liar::{Asked, Liar, Lie, answer};
use common::*;
use cooper_oci::{BlobSink, Blobs, Descriptor, ErrorKind, MemoryBlobs, read_all};
use cooper_registry::server::{Server, ServerOptions};

const SIZE: usize = 3_000_000;

/// A blob of [`SIZE`] bytes, and a place that has it.
fn blob() -> (Descriptor, Vec<u8>, MemoryBlobs) {
    let bytes = noise(SIZE, 71);
    let place = MemoryBlobs::new();
    let descriptor = place.add(cooper_oci::MediaType::LAYER, bytes.clone());
    (descriptor, bytes, place)
}

/// Sends a blob through a way that breaks at `cuts`; the heads of the streams it took.
async fn send(registry: SocketAddr, name: &str, cuts: &[usize]) -> Result<Vec<String>, cooper_oci::Error> {
    let (blob, bytes, place) = blob();
    let way = Cutter::start(registry, cuts).await;
    let to = repository(&anonymous(), way.addr, name);
    within(to.take(&blob, &place)).await?;
    let found = within(read_all(&repository(&anonymous(), registry, name), &blob, blob.size)).await?;
    assert_eq!(found, bytes);
    Ok(way.streams())
}

fn starts(streams: &[String]) -> Vec<usize> {
    let range = |head: &String| {
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-range:"))?;
        line.split_once(':')?.1.trim().split_once('-')?.0.parse().ok()
    };
    streams.iter().map(|head| range(head).unwrap_or(0)).collect()
}

#[tokio::test]
async fn a_cut_upload_goes_on_where_the_registry_says() {
    for cut in [0, 1, 70_000, SIZE / 2, SIZE - 1] {
        let server = Server::start(ServerOptions::default()).await.unwrap();
        let streams = send(server.addr(), "a/b:1", &[cut]).await.unwrap();
        let starts = starts(&streams);
        assert_eq!(starts.len(), 2, "cut at {cut}: {streams:?}");
        assert!(starts[1] <= cut, "cut at {cut}: {streams:?}");
    }
}

/// Distribution drops an upload whose offset is not the one in its address, which it is not after a cut.
#[tokio::test]
async fn distribution_gets_a_cut_upload_again() {
    if !on_path("docker-registry") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (addr, _child) = distribution(dir.path(), "").await;
    for (at, cuts) in [&[0][..], &[1], &[70_000], &[SIZE - 1], &[SIZE / 2, 1_200_000, 2]].into_iter().enumerate() {
        let streams = send(addr, &format!("a/b{at}:1"), cuts).await.unwrap();
        assert_eq!(starts(&streams), vec![0; cuts.len() + 1], "{cuts:?}: {streams:?}");
    }
}

#[tokio::test]
async fn a_way_that_always_breaks_ends_in_an_error() {
    let server = Server::start(ServerOptions::default()).await.unwrap();
    let error = send(server.addr(), "a/b:1", &[1000; 50]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
}

/// A registry that takes uploads by script: how the PATCH and the question after it are answered, by how often they came.
async fn scripted(script: impl Fn(&Asked, usize) -> Option<Lie> + Send + Sync + 'static) -> Liar {
    let counts = Mutex::new(std::collections::HashMap::<String, usize>::new());
    Liar::start(move |asked, _| {
        let before = {
            let mut counts = counts.lock().unwrap();
            let count = counts.entry(asked.method.clone()).or_default();
            *count += 1;
            *count - 1
        };
        if asked.path == "/v2/" {
            return answer(200, &[], b"");
        }
        script(asked, before).unwrap_or_else(|| match asked.method.as_str() {
            "POST" => answer(202, &[("Location", &format!("/upload/{before}"))], b""),
            "PATCH" => answer(202, &[("Location", &asked.path)], b""),
            "GET" => answer(204, &[("Location", &asked.path), ("Range", "0-1999999")], b""),
            "PUT" => answer(201, &[], b""),
            _ => answer(404, &[], b""),
        })
    })
    .await
}

/// What a scripted registry was asked: method, last part of the path, and `Content-Range`.
async fn asked(liar: &Liar) -> (Result<(), ErrorKind>, Vec<String>) {
    let (blob, _, place) = blob();
    let sent = within(repository(&anonymous(), liar.addr, "a:1").take(&blob, &place)).await;
    let line = |asked: Asked| {
        let path = asked.path.rsplit('/').next().unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
        format!("{} {path} {}", asked.method, asked.header("content-range").unwrap_or_default()).trim_end().to_owned()
    };
    (sent.map_err(|error| error.kind()), liar.asked().into_iter().map(line).collect())
}

const RESUMED: [&str; 5] = ["POST", "PATCH 0", "GET 0", "PATCH 0 2000000-2999999", "PUT 0"];

#[tokio::test]
async fn faults_that_pass_are_sat_out() {
    for (status, headers) in
        [(500, vec![]), (503, vec![("Retry-After", "0")]), (429, vec![("Retry-After", "1")]), (401, vec![])]
    {
        let owned = liar::owned(&headers);
        let liar = scripted(move |asked, before| {
            (asked.method == "PATCH" && before == 0).then(|| Lie::Answer(status, owned.clone(), b"busy".to_vec()))
        })
        .await;
        assert_eq!(asked(&liar).await, (Ok(()), RESUMED.map(str::to_owned).to_vec()), "{status}");
    }
}

#[tokio::test]
async fn faults_that_last_are_told() {
    for (status, expect) in [
        (400, ErrorKind::Invalid),
        (403, ErrorKind::Unauthorized),
        (404, ErrorKind::NotFound),
        (413, ErrorKind::TooLarge),
    ] {
        let liar = scripted(move |asked, _| (asked.method == "PATCH").then(|| answer(status, &[], b""))).await;
        let (sent, asked) = asked(&liar).await;
        assert_eq!((sent, asked.len()), (Err(expect), 3), "POST, PATCH, DELETE: {asked:?}");
    }
    let liar = scripted(|asked, _| (asked.method == "PATCH").then(|| answer(500, &[], b""))).await;
    let (sent, asked) = asked(&liar).await;
    let streams = asked.iter().filter(|line| line.starts_with("PATCH")).count();
    assert_eq!((sent, streams), (Err(ErrorKind::Retry), 5), "{asked:?}");
}

#[tokio::test]
async fn an_upload_the_registry_forgot_or_cannot_tell_of_starts_again() {
    for (status, range) in [(404, ""), (405, ""), (204, ""), (204, "0-0"), (204, "5-9"), (204, "0-99999999")] {
        let liar = scripted(move |asked, before| match (asked.method.as_str(), before) {
            ("PATCH", 0) => Some(Lie::Reset),
            ("GET", _) => Some(answer(status, &[("Range", range)], b"")),
            _ => None,
        })
        .await;
        let expect = ["POST", "PATCH 0", "GET 0", "DELETE 0", "POST", "PATCH 1", "PUT 1"];
        assert_eq!(asked(&liar).await, (Ok(()), expect.map(str::to_owned).to_vec()), "{status} {range}");
    }
}

#[tokio::test]
async fn a_registry_that_counted_wrong_gets_it_all_again() {
    // Refused at the end: what it had was not what it said.
    let liar = scripted(|asked, before| match (asked.method.as_str(), before) {
        ("PATCH", 0) => Some(Lie::Reset),
        ("PUT", 0) => Some(answer(400, &[], br#"{"errors":[{"code":"DIGEST_INVALID"}]}"#)),
        ("GET", 1) => Some(answer(404, &[], b"")),
        _ => None,
    })
    .await;
    let (sent, asked) = asked(&liar).await;
    assert_eq!(sent, Ok(()));
    assert_eq!(asked.last().map(String::as_str), Some("PUT 1"), "{asked:?}");
}

#[tokio::test]
async fn a_small_upload_whose_answer_is_lost_is_looked_for() {
    let there = Arc::new(Mutex::new(false));
    let shown = there.clone();
    let liar = scripted(move |asked, _| match asked.method.as_str() {
        "PUT" => {
            *shown.lock().unwrap() = true;
            Some(Lie::Reset)
        }
        "HEAD" => Some(answer(if *shown.lock().unwrap() { 200 } else { 404 }, &[], b"")),
        _ => None,
    })
    .await;
    let place = MemoryBlobs::new();
    let blob = place.add(cooper_oci::MediaType::LAYER, noise(1000, 72));
    within(repository(&anonymous(), liar.addr, "a:1").take(&blob, &place)).await.unwrap();
    assert_eq!(liar.asked().iter().filter(|asked| asked.method == "PUT").count(), 1);
}

#[tokio::test]
async fn a_source_with_wrong_bytes_is_not_tried_again() {
    let (blob, mut bytes, place) = blob();
    bytes[SIZE - 1] ^= 1;
    place.insert_unverified(blob.digest.clone(), bytes);
    let server = Server::start(ServerOptions::default()).await.unwrap();
    let to = repository(&anonymous(), server.addr(), "a:1");
    assert_eq!(within(to.take(&blob, &place)).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(within(to.open(&blob)).await.is_err());
}
