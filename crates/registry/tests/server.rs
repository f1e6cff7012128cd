//! The client against this crate's own server.
#![allow(missing_docs, reason = "a test")]

mod common;

use std::sync::Arc;

use common::*;
use cooper_oci::{
    BlobSink, Descriptor, Digest, ErrorKind, Index, Manifest, MediaType, Target, body_from_bytes, read_all,
};
use cooper_registry::server::{Running, Server, ServerOptions};
use cooper_registry::{Client, Credentials};

async fn open_server() -> Running {
    Server::start(ServerOptions::default()).await.unwrap()
}

async fn closed_server(token_auth: bool) -> Running {
    let auth = Some(("user".to_owned(), "pass-x".to_owned()));
    Server::start(ServerOptions { auth, token_auth }).await.unwrap()
}

fn count(server: &Running, method: &str, part: &str) -> usize {
    server.requests().iter().filter(|request| request.method == method && request.path.contains(part)).count()
}

#[tokio::test]
async fn images_come_back_as_they_went() {
    within(async {
        let server = open_server().await;
        let to = repository(&anonymous(), server.addr(), "team/app:v1");
        let layers = vec![noise(10, 1), noise(5_000_000, 2), Vec::new()];
        let pushed = push_image(&to, &layers).await;
        let (pulled, bytes) = pull_image(&repository(&anonymous(), server.addr(), "team/app:v1")).await;
        assert_eq!((pulled.digest, bytes), (pushed.digest, layers));
        assert_eq!(count(&server, "PATCH", "/blobs/uploads/"), 1, "one large layer, one stream");
        server.shutdown().await;
    })
    .await;
}

#[tokio::test]
async fn every_kind_of_login_works() {
    within(async {
        for (token_auth, credentials) in [
            (false, basic("user", "pass-x")),
            (true, basic("user", "pass-x")),
            (true, Credentials::IdentityToken("pass-x".into())),
        ] {
            let server = closed_server(token_auth).await;
            let client = client(&server.addr().to_string(), credentials);
            let layers = vec![noise(3_000_000, 3), noise(100, 4)];
            push_image(&repository(&client, server.addr(), "a/b:1"), &layers).await;
            let (_, bytes) = pull_image(&repository(&client, server.addr(), "a/b:1")).await;
            assert_eq!(bytes, layers);
            let tokens = count(&server, "GET", "/token") + count(&server, "POST", "/token");
            assert_eq!(tokens, if token_auth { 2 } else { 0 }, "one token for pushing, one for pulling");
        }
    })
    .await;
}

#[tokio::test]
async fn wrong_and_missing_logins_are_told_apart_from_faults() {
    within(async {
        for token_auth in [false, true] {
            let server = closed_server(token_auth).await;
            let registry = server.addr().to_string();
            for client in [anonymous(), client(&registry, basic("user", "wrong-x"))] {
                let error = repository(&client, &registry, "a/b:1").resolve().await.unwrap_err();
                assert_eq!(error.kind(), cooper_registry::ErrorKind::Unauthorized, "{error}");
                assert!(error.hint().unwrap().contains(&format!("cooper login {registry}")), "{error}");
                assert!(error.to_string().contains(&registry), "{error}");
                assert!(!format!("{error:?} {client:?}").contains("wrong-x"));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn parallel_downloads_share_one_token() {
    within(async {
        let server = closed_server(true).await;
        let client = client(&server.addr().to_string(), basic("user", "pass-x"));
        let to = repository(&client, server.addr(), "a/b:1");
        let layers: Vec<_> = (0..8).map(|seed| noise(1000, seed)).collect();
        push_image(&to, &layers).await;
        let before = count(&server, "GET", "/token");
        let reads = layers.iter().map(|bytes| async { read_all(&to, &layer(bytes), 1000).await.unwrap() });
        assert_eq!(futures::future::join_all(reads).await, layers);
        assert_eq!(count(&server, "GET", "/token") - before, 1);
    })
    .await;
}

#[tokio::test]
async fn blobs_are_mounted_from_a_neighbour_that_has_them() {
    within(async {
        for token_auth in [false, true] {
            let server = closed_server(token_auth).await;
            let client = client(&server.addr().to_string(), basic("user", "pass-x"));
            let bytes = noise(3_000_000, 5);
            let blob = layer(&bytes);
            let base = repository(&client, server.addr(), "base");
            base.put(&blob, body_in_pieces(&bytes, 65_536)).await.unwrap();
            let names = vec!["empty".to_owned(), "../x".to_owned(), "base".to_owned()];
            let app = repository(&client, server.addr(), "app").with_mounts(Arc::new(move |_| names.clone()));
            assert!(app.has(&blob).await.unwrap(), "mounted");
            assert_eq!(read_all(&app, &blob, blob.size).await.unwrap(), bytes);
            let plain = repository(&client, server.addr(), "other");
            assert!(!plain.has(&blob).await.unwrap(), "a blob is shown only where it is linked");
        }
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_a_mount_left_open_is_used() {
    within(async {
        let server = open_server().await;
        let names = vec!["one".to_owned(), "two".to_owned()];
        let app = repository(&anonymous(), server.addr(), "app").with_mounts(Arc::new(move |_| names.clone()));
        let bytes = noise(100, 6);
        let blob = layer(&bytes);
        assert!(!app.has(&blob).await.unwrap());
        app.put(&blob, body_from_bytes(bytes)).await.unwrap();
        assert!(app.has(&blob).await.unwrap());
        assert_eq!(count(&server, "POST", "/blobs/uploads/"), 2, "the two mounts");
        assert_eq!(count(&server, "DELETE", "/blobs/uploads/"), 1, "the upload that was not used");
    })
    .await;
}

#[tokio::test]
async fn wrong_bytes_are_never_committed() {
    within(async {
        let server = open_server().await;
        let to = repository(&anonymous(), server.addr(), "a");
        for size in [100, 3_000_000] {
            let right = noise(size, 7);
            let blob = layer(&right);
            let mut other = right.clone();
            other[size / 2] ^= 1;
            let long = [right.as_slice(), b"x"].concat();
            for wrong in [&other[..], &right[..size - 1], &long[..], &[]] {
                let error = to.put(&blob, body_in_pieces(wrong, 50_000)).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                assert!(!to.has(&blob).await.unwrap());
            }
            let failing = futures::stream::iter(vec![
                Ok(right[..10].to_vec().into()),
                Err(cooper_oci::Error::new(ErrorKind::NotFound, "the layer went away")),
            ]);
            let error = to.put(&blob, Box::pin(failing)).await.unwrap_err();
            assert_eq!((error.kind(), error.to_string()), (ErrorKind::NotFound, "the layer went away".into()));
            assert!(!to.has(&blob).await.unwrap());
        }
        let puts = count(&server, "PUT", "digest=");
        assert_eq!(puts, 0, "nothing wrong is even offered");
    })
    .await;
}

#[tokio::test]
async fn manifests_need_their_parts_and_their_digest() {
    within(async {
        let server = open_server().await;
        let to = repository(&anonymous(), server.addr(), "a:1");
        let missing = Manifest::new(Descriptor::of(MediaType::CONFIG, b"{}"), vec![]);
        let bytes = serde_json::to_vec(&missing).unwrap();
        let target = to.reference().target();
        let error = to.put_manifest(target.clone(), MediaType::MANIFEST.into(), bytes.clone()).await.unwrap_err();
        assert!(error.to_string().contains("is unknown to registry"), "{error}");
        to.put(&Descriptor::of(MediaType::CONFIG, b"{}"), body_from_bytes(&b"{}"[..])).await.unwrap();
        let other = Digest::of(b"other");
        assert!(to.put_manifest(Target::Digest(&other), MediaType::MANIFEST.into(), bytes.clone()).await.is_err());
        assert!(to.put_manifest(target.clone(), MediaType::INDEX.into(), bytes.clone()).await.is_err());
        let manifest = to.put_manifest(target, MediaType::MANIFEST.into(), bytes).await.unwrap();
        let index = serde_json::to_vec(&Index::new(vec![manifest.clone()])).unwrap();
        let index_descriptor = Descriptor::of(MediaType::INDEX, &index);
        to.put(&index_descriptor, body_from_bytes(index.clone())).await.unwrap();
        assert!(to.has(&index_descriptor).await.unwrap());
        assert_eq!(read_all(&to, &index_descriptor, 1 << 20).await.unwrap(), index);
    })
    .await;
}

#[tokio::test]
async fn tags_are_listed_across_pages() {
    within(async {
        let server = open_server().await;
        let client = anonymous();
        let config = Descriptor::of(MediaType::CONFIG, b"{}");
        let to = repository(&client, server.addr(), "a");
        to.put(&config, body_from_bytes(&b"{}"[..])).await.unwrap();
        let bytes = serde_json::to_vec(&Manifest::new(config, vec![])).unwrap();
        let mut expect = Vec::new();
        for i in 0..1003 {
            let tag = format!("v{i:05}");
            to.put_manifest(Target::Tag(&tag), MediaType::MANIFEST.into(), bytes.clone()).await.unwrap();
            expect.push(tag);
        }
        assert_eq!(to.tags().await.unwrap(), expect);
        assert_eq!(count(&server, "GET", "/tags/list"), 2);
        let error = repository(&client, server.addr(), "none").tags().await.unwrap_err();
        assert_eq!(error.kind(), cooper_registry::ErrorKind::NotFound);
    })
    .await;
}

#[tokio::test]
async fn page_sizes_from_outside_are_bounded() {
    within(async {
        let server = open_server().await;
        push_image(&repository(&anonymous(), server.addr(), "a:x"), &[]).await;
        for (query, status) in [
            ("n=-1", 400),
            ("n=0", 200),
            ("n=2147483648", 200),
            ("n=9223372036854775808", 200),
            ("n=x", 400),
            ("last=%00", 200),
        ] {
            assert_eq!(get(server.addr(), &format!("/v2/a/tags/list?{query}")).await, status, "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    within(async {
        let server = open_server().await;
        let from = repository(&anonymous(), server.addr(), "a:nope");
        let error = from.resolve().await.unwrap_err();
        assert_eq!(error.kind(), cooper_registry::ErrorKind::NotFound);
        assert!(error.hint().unwrap().contains("typing mistakes"));
        assert!(!from.has(&layer(b"x")).await.unwrap());
        let error = read_all(&from, &layer(b"x"), 10).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("blob unknown to registry"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn offline_means_nothing_is_sent() {
    within(async {
        let server = open_server().await;
        let client = Client::new(cooper_registry::ClientOptions { offline: true, ..options() });
        let error = repository(&client, server.addr(), "a").resolve().await.unwrap_err();
        assert_eq!(error.kind(), cooper_registry::ErrorKind::Offline);
        assert!(server.requests().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_gone_is_an_error_and_not_a_hang() {
    within(async {
        let server = open_server().await;
        let addr = server.addr();
        server.shutdown().await;
        let error = repository(&anonymous(), addr, "a").resolve().await.unwrap_err();
        assert_eq!(error.kind(), cooper_registry::ErrorKind::Retry, "{error}");
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
    })
    .await;
}

/// The status of a request made by hand.
async fn get(addr: std::net::SocketAddr, path: &str) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let text = String::from_utf8_lossy(&answer);
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no answer: {text}"))
}

#[tokio::test]
async fn hostile_paths_are_refused() {
    within(async {
        let server = open_server().await;
        for path in [
            "/v2/../x/manifests/1",
            "/v2/a/../../manifests/1",
            "/v2/a%2fb/manifests/1",
            "/v2/a/blobs/sha256:..",
            "//",
            "/v2/a/manifests/%00",
        ] {
            let status = get(server.addr(), path).await;
            assert!(status == 400 || status == 404, "{path}: {status}");
        }
        assert_eq!(get(server.addr(), "/v2/").await, 200);
    })
    .await;
}
