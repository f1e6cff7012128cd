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
    Server::start(ServerOptions { auth, token_auth, ..ServerOptions::default() }).await.unwrap()
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

/// What a login leaves behind that keeps no password.
async fn identity_token(addr: std::net::SocketAddr) -> String {
    let head = "GET /token?offline_token=true&service=cooper|Authorization: Basic dXNlcjpwYXNzLXg=";
    let (status, text) = send(addr, head, "").await;
    assert_eq!(status, 200, "{text}");
    text.split("\"refresh_token\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned()
}

#[tokio::test]
async fn every_kind_of_login_works() {
    within(async {
        for (token_auth, credentials) in [
            (false, basic("user", "pass-x")),
            (true, basic("user", "pass-x")),
            (true, Credentials::IdentityToken(String::new())),
        ] {
            let server = closed_server(token_auth).await;
            let credentials = match credentials {
                Credentials::IdentityToken(_) => Credentials::IdentityToken(identity_token(server.addr()).await),
                password => password,
            };
            let before = count(&server, "GET", "/token");
            let client = client(&server.addr().to_string(), credentials);
            let layers = vec![noise(3_000_000, 3), noise(100, 4)];
            push_image(&repository(&client, server.addr(), "a/b:1"), &layers).await;
            let (_, bytes) = pull_image(&repository(&client, server.addr(), "a/b:1")).await;
            assert_eq!(bytes, layers);
            let tokens = count(&server, "GET", "/token") + count(&server, "POST", "/token") - before;
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
        let error = to.put_manifest(target, MediaType::MANIFEST.into(), bytes.clone()).await.unwrap_err();
        assert!(error.to_string().contains("is unknown to registry"), "{error}");
        to.put(&Descriptor::of(MediaType::CONFIG, b"{}"), body_from_bytes(&b"{}"[..])).await.unwrap();
        let other = Digest::of(b"other");
        assert!(to.put_manifest(Target::Digest(&other), MediaType::MANIFEST.into(), bytes.clone()).await.is_err());
        assert!(to.put_manifest(target, MediaType::INDEX.into(), bytes.clone()).await.is_err());
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
async fn repositories_are_listed_in_pages() {
    within(async {
        let server = open_server().await;
        for name in ["b", "a/x", "c"] {
            push_image(&repository(&anonymous(), server.addr(), name), &[]).await;
        }
        for (query, names, next) in [
            ("", r#"["a/x","b","c"]"#, None),
            ("?n=2", r#"["a/x","b"]"#, Some("</v2/_catalog?n=2&last=b>")),
            ("?n=2&last=b", r#"["c"]"#, None),
            ("?n=1&last=a", r#"["a/x"]"#, Some("</v2/_catalog?n=1&last=a%2Fx>")),
            ("?n=0", "[]", None),
        ] {
            let (status, text) = send(server.addr(), &format!("GET /v2/_catalog{query}"), "").await;
            assert!(status == 200 && text.contains(names), "{query}: {text}");
            let link = text.lines().find_map(|line| line.strip_prefix("link: "));
            assert_eq!(link.map(|link| link.split(';').next().unwrap()), next, "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_read_only_stays_as_it_is() {
    within(async {
        let server = Server::start(ServerOptions { read_only: true, ..ServerOptions::default() }).await.unwrap();
        let digest = Digest::of(b"");
        for (head, expect) in [
            ("GET /v2/".to_owned(), 200),
            ("POST /v2/a/blobs/uploads/".to_owned(), 405),
            ("PUT /v2/a/manifests/x".to_owned(), 405),
            ("DELETE /v2/a/manifests/x".to_owned(), 405),
            (format!("DELETE /v2/a/blobs/{digest}"), 405),
            ("GET /v2/a/manifests/x".to_owned(), 404),
        ] {
            assert_eq!(send(server.addr(), &head, "").await.0, expect, "{head}");
        }
    })
    .await;
}

#[tokio::test]
async fn tags_come_with_a_manifest_put_by_its_digest() {
    within(async {
        let server = open_server().await;
        let to = repository(&anonymous(), server.addr(), "a:1");
        let image = push_image(&to, &[]).await;
        let (_, bytes) = to.manifest(Target::Digest(&image.digest)).await.unwrap();
        let body = String::from_utf8(bytes.to_vec()).unwrap();
        let put =
            |query: &str| format!("PUT /v2/a/manifests/{}{query}|Content-Type: {}", image.digest, MediaType::MANIFEST);
        let (status, text) = send(server.addr(), &put("?tag=1.2&tag=latest"), &body).await;
        assert!(status == 201 && text.contains("oci-tag: 1.2, latest"), "{text}");
        assert_eq!(to.tags().await.unwrap(), ["1", "1.2", "latest"]);
        assert_eq!(send(server.addr(), &put("?tag=../x"), &body).await.0, 400);
        assert_eq!(send(server.addr(), &put(&format!("?{}", "tag=x&".repeat(65))), &body).await.0, 414);
    })
    .await;
}

#[tokio::test]
async fn who_has_the_bytes_is_not_sent_them_again() {
    within(async {
        let server = open_server().await;
        let image = push_image(&repository(&anonymous(), server.addr(), "a:1"), &[b"layer".to_vec()]).await;
        let blob = Digest::of(b"layer");
        for (path, digest) in [("manifests/1".to_owned(), image.digest), (format!("blobs/{blob}"), blob)] {
            for (known, expect) in [
                (format!("\"{digest}\""), 304),
                (format!("\"x\", W/\"{digest}\""), 304),
                ("*".to_owned(), 304),
                ("\"x\"".to_owned(), 200),
            ] {
                let (status, text) = send(server.addr(), &format!("GET /v2/a/{path}|If-None-Match: {known}"), "").await;
                assert!(status == expect && text.contains(&format!("etag: \"{digest}\"")), "{known}: {text}");
            }
        }
        assert!(send(server.addr(), "GET /v2/", "").await.1.contains("docker-distribution-api-version: registry/2.0"));
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

/// Status and body of a request made by hand.
async fn send(addr: std::net::SocketAddr, head: &str, body: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let (line, headers) = head.split_once('|').unwrap_or((head, ""));
    let headers = headers.replace('|', "\r\n");
    let more = if headers.is_empty() { String::new() } else { format!("{headers}\r\n") };
    let length = body.len();
    let request =
        format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let text = String::from_utf8_lossy(&answer).into_owned();
    (text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default(), text)
}

#[tokio::test]
async fn pieces_go_in_order_and_an_upload_belongs_to_its_repository() {
    within(async {
        let server = open_server().await;
        let addr = server.addr();
        let (status, text) = send(addr, "POST /v2/a/blobs/uploads/", "").await;
        assert_eq!(status, 202);
        let place = text.lines().find_map(|line| line.strip_prefix("location: ")).unwrap().trim().to_owned();
        let digest = Digest::of(b"abcdef");
        for (head, body, expect) in [
            (format!("PATCH {place}|Content-Range: 0-2"), "abc", 202),
            (format!("PATCH {place}|Content-Range: 0-2"), "abc", 416),
            (format!("PATCH {place}|Content-Range: 4-5"), "x", 416),
            (format!("PATCH {place}|Content-Range: 3-9"), "x", 400),
            (format!("PATCH {place}|Content-Range: 9-3"), "x", 400),
            (format!("PATCH {}", place.replace("/v2/a/", "/v2/b/")), "x", 404),
            (format!("GET {place}"), "", 204),
            (format!("PUT {place}"), "", 400),
            (format!("PUT {place}?digest={digest}"), "def", 201),
            (format!("PUT {place}?digest={digest}"), "def", 404),
            (format!("GET /v2/a/blobs/{digest}|Range: bytes=2-3"), "", 206),
            (format!("GET /v2/a/blobs/{digest}|Range: bytes=9-"), "", 416),
            (format!("GET /v2/b/blobs/{digest}"), "", 404),
            (format!("POST /v2/c/blobs/uploads/?digest={digest}"), "wrong", 400),
            (format!("POST /v2/c/blobs/uploads/?digest={digest}"), "abcdef", 201),
            (format!("DELETE /v2/a/blobs/{digest}"), "", 202),
            (format!("GET /v2/a/blobs/{digest}"), "", 404),
            (format!("GET /v2/c/blobs/{digest}"), "", 200),
            (format!("POST /v2/d/blobs/uploads/?mount={digest}&from=a"), "", 202),
            (format!("POST /v2/d/blobs/uploads/?mount={digest}&from=../c"), "", 202),
            (format!("POST /v2/d/blobs/uploads/?mount={digest}"), "", 201),
            (format!("GET /v2/d/blobs/{digest}"), "", 200),
            ("POST /v2/c/tags/list".to_owned(), "", 405),
        ] {
            assert_eq!(send(addr, &head, body).await.0, expect, "{head}");
        }
    })
    .await;
}

#[tokio::test]
async fn referrers_are_listed_and_filtered_and_go_with_their_manifest() {
    within(async {
        let server = open_server().await;
        let addr = server.addr();
        let to = repository(&anonymous(), addr, "a:1");
        let image = push_image(&to, &[]).await;
        let empty = Descriptor::of(MediaType::EMPTY, b"{}");
        to.put(&empty, body_from_bytes(&b"{}"[..])).await.unwrap();
        let mut statement = Manifest::new(empty, vec![]);
        statement.subject = Some(image.clone());
        statement.artifact_type = Some("application/spdx".into());
        let bytes = serde_json::to_vec(&statement).unwrap();
        let digest = Digest::of(&bytes);
        to.put_manifest(Target::Digest(&digest), MediaType::MANIFEST.into(), bytes).await.unwrap();
        let list = format!("GET /v2/a/referrers/{}", image.digest);
        for (query, expect) in [("", true), ("?artifactType=application/spdx", true), ("?artifactType=other", false)] {
            let (status, text) = send(addr, &format!("{list}{query}"), "").await;
            assert_eq!((status, text.contains(digest.hex())), (200, expect), "{query}");
        }
        assert_eq!(send(addr, &format!("DELETE /v2/a/manifests/{digest}"), "").await.0, 202);
        assert!(!send(addr, &list, "").await.1.contains(digest.hex()));
        assert_eq!(send(addr, "DELETE /v2/a/manifests/1", "").await.0, 202);
        assert_eq!(send(addr, "GET /v2/a/manifests/1", "").await.0, 404);
        assert_eq!(send(addr, &format!("GET /v2/a/manifests/{}", image.digest), "").await.0, 200);
    })
    .await;
}

#[tokio::test]
async fn a_token_is_good_only_for_its_scopes() {
    within(async {
        let server = closed_server(true).await;
        let addr = server.addr();
        let login = "Authorization: Basic dXNlcjpwYXNzLXg=";
        let (status, text) = send(addr, &format!("GET /token?scope=repository:a:pull|{login}"), "").await;
        assert_eq!(status, 200);
        let token = text.split("\"token\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
        for (head, expect) in [
            ("GET /v2/a/tags/list", 404),
            ("GET /v2/b/tags/list", 401),
            ("POST /v2/a/blobs/uploads/", 401),
            ("DELETE /v2/a/manifests/x", 401),
        ] {
            assert_eq!(send(addr, &format!("{head}|Authorization: Bearer {token}"), "").await.0, expect, "{head}");
        }
        let twice = format!("GET /v2/a/tags/list|Authorization: Bearer {token}|Authorization: Bearer {token}");
        assert_eq!(send(addr, &twice, "").await.0, 401);
        // Passwords are taken too: a browser has no other way.
        assert_eq!(send(addr, &format!("GET /v2/a/tags/list|{login}"), "").await.0, 404);
        assert_eq!(send(addr, "GET /token?scope=repository:a:pull", "").await.0, 401);
    })
    .await;
}

#[tokio::test]
async fn copy_moves_an_image_between_registries_and_memory() {
    within(async {
        use cooper_oci::{CopyOptions, MemoryBlobs, copy};
        let (first, second) = (closed_server(true).await, open_server().await);
        let login = client(&first.addr().to_string(), basic("user", "pass-x"));
        let from = repository(&login, first.addr(), "a:1");
        let layers = vec![noise(3_000_000, 61), noise(1000, 62)];
        let root = push_image(&from, &layers).await;
        let memory = MemoryBlobs::new();
        copy(&root, &from, &memory, &CopyOptions::default()).await.unwrap();
        let to = repository(&anonymous(), second.addr(), "b:1");
        copy(&root, &memory, &to, &CopyOptions::default()).await.unwrap();
        let (_, bytes) = to.manifest(Target::Digest(&root.digest)).await.unwrap();
        to.put_manifest(to.reference().target(), root.media_type.clone(), bytes).await.unwrap();
        assert_eq!(pull_image(&to).await, (root, layers));
    })
    .await;
}

#[tokio::test]
async fn what_is_said_about_an_image_is_listed_and_deleted() {
    within(async {
        let server = open_server().await;
        let to = repository(&anonymous(), server.addr(), "a/b:1");
        let image = push_image(&to, &[noise(10, 1)]).await;
        let statement = push_statement(&to, &image, "application/x-signature").await;
        push_statement(&to, &image, "application/x-sbom").await;
        assert_eq!(to.referrers(&image.digest, None).await.unwrap().len(), 2);
        let signatures = to.referrers(&image.digest, Some("application/x-signature")).await.unwrap();
        assert_eq!(signatures.iter().map(|found| &found.digest).collect::<Vec<_>>(), [&statement.digest]);
        assert_eq!(to.referrers(&statement.digest, None).await.unwrap(), []);
        to.delete(Target::Digest(&statement.digest)).await.unwrap();
        assert_eq!(to.referrers(&image.digest, None).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_check_tells_good_logins_from_bad_ones() {
    within(async {
        for token_auth in [false, true] {
            let server = closed_server(token_auth).await;
            let registry = server.addr().to_string();
            client(&registry, basic("user", "pass-x")).check(&registry).await.unwrap();
            let error = client(&registry, basic("user", "wrong-x")).check(&registry).await.unwrap_err();
            assert_eq!(error.kind(), cooper_registry::ErrorKind::Unauthorized, "{error}");
        }
        let server = open_server().await;
        let registry = server.addr().to_string();
        anonymous().check(&registry).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn mirrors_are_read_first_and_never_written() {
    within(async {
        let (home, mirror) = (open_server().await, open_server().await);
        let (name, other) = (home.addr().to_string(), mirror.addr().to_string());
        let layers = vec![noise(3_000_000, 7)];
        for at in [&name, &other] {
            push_image(&repository(&anonymous(), at, "a/b:1"), &layers).await;
        }
        let gone = "127.0.0.1:1".to_owned();
        let mirrors = [(name.clone(), vec![gone, other.clone()])].into();
        let client = Client::new(cooper_registry::ClientOptions { mirrors, ..options() });
        let before = home.requests().len();
        assert_eq!(pull_image(&repository(&client, &name, "a/b:1")).await.1, layers);
        assert_eq!(home.requests().len(), before, "the registry itself is not asked");
        let writes =
            |running: &Running| running.requests().iter().filter(|r| r.method != "GET" && r.method != "HEAD").count();
        let mirrored = writes(&mirror);
        push_image(&repository(&client, &name, "only/here:1"), &layers).await;
        assert_eq!(writes(&mirror), mirrored);
        assert_eq!(pull_image(&repository(&client, &name, "only/here:1")).await.1, layers, "what the mirror lacks");
    })
    .await;
}
