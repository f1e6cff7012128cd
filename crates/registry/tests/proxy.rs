//! The pull-through cache between this crate's client and its server, or a server that lies.
#![allow(missing_docs, reason = "a test")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::liar::{Liar, Lie, answer};
use common::*;
use cooper_oci::{Descriptor, Digest, ErrorKind, Manifest, MediaType, Target, read_all};
use cooper_registry::server::{Backend, MemoryBackend, Proxy, ProxyOptions, Running, Server, ServerOptions};
use cooper_registry::{Client, ClientOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LONG: Duration = Duration::from_secs(3600);

/// A cache of one upstream.
struct Cache {
    running: Running,
    backend: MemoryBackend,
    notes: Arc<Mutex<Vec<String>>>,
}

impl Cache {
    async fn new(upstream: impl std::fmt::Display, ttl: Duration, max_size: Option<u64>) -> Self {
        Self::with(MemoryBackend::default(), upstream, ttl, max_size).await
    }

    async fn with(
        backend: MemoryBackend,
        upstream: impl std::fmt::Display,
        ttl: Duration,
        max_size: Option<u64>,
    ) -> Self {
        let notes = Arc::<Mutex<Vec<String>>>::default();
        let told = notes.clone();
        let options = ProxyOptions {
            ttl,
            max_size,
            names: vec!["alias.example".into()],
            spool: std::env::temp_dir(),
            notes: Arc::new(move |note| told.lock().unwrap().push(note.to_owned())),
        };
        let upstream = upstream.to_string();
        let proxy = Proxy::open(Arc::new(backend.clone()), anonymous(), &upstream, options).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let running = Server::serve(listener, Arc::new(proxy), ServerOptions::default()).unwrap();
        Self { running, backend, notes }
    }

    fn repository(&self, name: &str) -> cooper_registry::Repository {
        // Upstream is tried again and again before it counts as gone.
        let options = ClientOptions { idle_timeout: Duration::from_secs(20), ..options() };
        repository(&Client::new(options), self.running.addr(), name)
    }

    /// Head and body of an answer, as bytes on the wire.
    async fn get(&self, path: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.running.addr()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        (String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase(), bytes[end + 4..].to_vec())
    }

    /// Whether the cache has a blob for itself.
    async fn has(&self, upstream: impl std::fmt::Display, name: &str, digest: &Digest) -> bool {
        let name = format!("{}/{name}", upstream.to_string().replace(':', "-"));
        self.backend.blob_size(&name, digest).await.unwrap().is_some()
    }
}

/// The config of every image of these tests.
fn pushed_config() -> Descriptor {
    Descriptor::of(
        MediaType::CONFIG,
        br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#,
    )
}

fn gets(server: &Running, part: &str) -> usize {
    server.requests().iter().filter(|request| request.method == "GET" && request.path.contains(part)).count()
}

#[tokio::test]
async fn what_was_pulled_once_stays_when_upstream_is_gone() {
    within(async {
        let upstream = Server::start(ServerOptions::default()).await.unwrap();
        let addr = upstream.addr();
        let layers = vec![noise(100, 1), noise(3_000_000, 2), Vec::new()];
        let to = repository(&anonymous(), addr, "team/app:1");
        let pushed = push_image(&to, &layers).await;
        let statement = push_statement(&to, &pushed, "application/spdx+json").await;
        let cache = Cache::new(addr, Duration::ZERO, None).await;
        let from = cache.repository("team/app:1");
        assert_eq!(pull_image(&from).await, (pushed.clone(), layers.clone()));
        let config = pushed_config();
        read_all(&from, &config, 1 << 20).await.unwrap();
        assert_eq!(from.tags().await.unwrap(), ["1"]);
        assert_eq!(from.referrers(&pushed.digest, None).await.unwrap()[0].digest, statement.digest);
        from.manifest(Target::Digest(&statement.digest)).await.unwrap();
        let before = gets(&upstream, "");
        assert_eq!(pull_image(&from).await.1, layers);
        assert_eq!(gets(&upstream, ""), before, "only the tag is compared, by HEAD");
        upstream.shutdown().await;

        assert_eq!(pull_image(&from).await, (pushed.clone(), layers.clone()));
        assert_eq!(from.tags().await.unwrap(), ["1"]);
        assert_eq!(from.referrers(&pushed.digest, None).await.unwrap()[0].digest, statement.digest);
        let (head, _) = cache.get("/v2/team/app/manifests/1").await;
        assert!(head.starts_with("http/1.1 200") && head.contains("\r\nwarning: 299 - \""), "{head}");
        let (head, _) = cache.get("/v2/team/app/manifests/2").await;
        assert!(head.starts_with("http/1.1 502") && head.contains("retry-after:"), "{head}");
        // With its last blob the image got its name.
        while !String::from_utf8(cache.get("/r/team/app").await.1).unwrap().contains("/r/team/app:1") {
            tokio::task::yield_now().await;
        }
        let notes = cache.notes.lock().unwrap().clone();
        assert!(notes.len() == 1 && notes[0].contains("what is kept is served"), "{notes:?}");

        // Another process finds what this one kept.
        let next = Cache::with(cache.backend.clone(), addr, LONG, None).await;
        assert_eq!(pull_image(&next.repository("team/app:1")).await.1, layers);
    })
    .await;
}

#[tokio::test]
async fn many_clients_of_one_cold_blob_are_one_request() {
    within(async {
        let upstream = Server::start(ServerOptions::default()).await.unwrap();
        let layers = vec![noise(1_500_000, 3)];
        let digest = Digest::of(&layers[0]);
        push_image(&repository(&anonymous(), upstream.addr(), "app:1"), &layers).await;
        let cache = Cache::new(upstream.addr(), LONG, None).await;
        let one = async || {
            let (found, bytes) = pull_image(&cache.repository("app:1")).await;
            assert!(bytes == layers);
            found
        };
        futures::future::join_all((0..100).map(|_| one())).await;
        assert_eq!(gets(&upstream, &digest.to_string()), 1);
        assert_eq!(gets(&upstream, "/manifests/1"), 1);
        // It is put away after its bytes were sent.
        while !cache.has(upstream.addr(), "app", &digest).await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn tags_are_believed_for_a_while_only() {
    within(async {
        let upstream = Server::start(ServerOptions::default()).await.unwrap();
        let to = repository(&anonymous(), upstream.addr(), "app:1");
        let first = push_image(&to, &[noise(10, 4)]).await;
        let asking = Cache::new(upstream.addr(), Duration::ZERO, None).await;
        let believing = Cache::new(upstream.addr(), LONG, None).await;
        for cache in [&asking, &believing] {
            assert_eq!(cache.repository("app:1").resolve().await.unwrap().digest, first.digest);
        }
        let second = push_image(&to, &[noise(10, 5)]).await;
        assert_eq!(asking.repository("app:1").resolve().await.unwrap().digest, second.digest);
        assert_eq!(believing.repository("app:1").resolve().await.unwrap().digest, first.digest);
        to.delete(Target::Tag("1")).await.unwrap();
        let error = asking.repository("app:1").resolve().await.unwrap_err();
        assert_eq!(error.kind(), cooper_registry::ErrorKind::NotFound, "what upstream took away is gone here");
    })
    .await;
}

#[tokio::test]
async fn what_upstream_does_not_have_is_asked_for_once() {
    within(async {
        let upstream = Server::start(ServerOptions::default()).await.unwrap();
        push_image(&repository(&anonymous(), upstream.addr(), "app:1"), &[]).await;
        let cache = Cache::new(upstream.addr(), Duration::ZERO, None).await;
        let blob = Digest::of(b"nowhere");
        for path in ["/v2/app/manifests/none".to_owned(), format!("/v2/app/blobs/{blob}")] {
            for _ in 0..3 {
                assert!(cache.get(&path).await.0.starts_with("http/1.1 404"), "{path}");
            }
            let asked = upstream.requests().iter().filter(|request| request.path == path).count();
            assert_eq!(asked, 1, "{path}");
        }
        // A repository that has other things is not closed by that.
        assert!(cache.get("/v2/app/manifests/1").await.0.starts_with("http/1.1 200"));
    })
    .await;
}

#[tokio::test]
async fn a_cache_takes_no_pushes_and_is_a_mirror_of_its_upstream_only() {
    within(async {
        let upstream = Server::start(ServerOptions::default()).await.unwrap();
        push_image(&repository(&anonymous(), upstream.addr(), "app:1"), &[]).await;
        let cache = Cache::new(upstream.addr(), LONG, None).await;
        let to = cache.repository("app:1");
        let descriptor = Descriptor::of(MediaType::LAYER, b"x");
        let body = cooper_oci::body_from_bytes(&b"x"[..]);
        let error = cooper_oci::BlobSink::put(&to, &descriptor, body).await.unwrap_err();
        assert!(error.to_string().contains(&format!("this is a cache of {}", upstream.addr())), "{error}");
        let error = to
            .put_manifest(Target::Tag("2"), MediaType::INDEX.into(), &br#"{"schemaVersion":2,"manifests":[]}"#[..])
            .await;
        assert!(error.unwrap_err().to_string().contains("this is a cache"));
        assert!(to.delete(Target::Tag("1")).await.is_err());
        for (registry, status) in
            [(upstream.addr().to_string().as_str(), 200), ("alias.example", 200), ("evil.example", 404)]
        {
            let (head, _) = cache.get(&format!("/v2/app/manifests/1?ns={registry}")).await;
            assert!(head.starts_with(&format!("http/1.1 {status}")), "{registry}: {head}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_least_recently_used_image_makes_room() {
    within(async {
        let upstream = Server::start(ServerOptions::default()).await.unwrap();
        let addr = upstream.addr();
        let layer = |n| noise(100_000, n);
        for n in 1..=3 {
            push_image(&repository(&anonymous(), addr, &format!("app:{n}")), &[layer(n)]).await;
        }
        let cache = Cache::new(addr, LONG, Some(250_000)).await;
        for n in [1, 2, 1, 3] {
            pull_image(&cache.repository(&format!("app:{n}"))).await;
        }
        let kept = async |n| cache.has(addr, "app", &Digest::of(&layer(n))).await;
        // A blob is put away after the last client has it: the next request waits for nobody else.
        while kept(2).await || !kept(3).await {
            tokio::task::yield_now().await;
        }
        assert!(kept(1).await, "it was used after the second");
        assert_eq!(pull_image(&cache.repository("app:2")).await.1, [layer(2)]);
    })
    .await;
}

#[tokio::test]
async fn blobs_of_a_neighbour_are_not_fetched_again() {
    within(async {
        let upstream = Server::start(ServerOptions::default()).await.unwrap();
        let layers = vec![noise(100_000, 6)];
        for name in ["a:1", "b:1"] {
            push_image(&repository(&anonymous(), upstream.addr(), name), &layers).await;
        }
        let cache = Cache::new(upstream.addr(), LONG, None).await;
        let digest = Digest::of(&layers[0]);
        pull_image(&cache.repository("a:1")).await;
        while !cache.has(upstream.addr(), "a", &digest).await {
            tokio::task::yield_now().await;
        }
        assert_eq!(pull_image(&cache.repository("b:1")).await.1, layers);
        assert_eq!(gets(&upstream, &digest.to_string()), 1);
        // A repository whose upstream has no such blob does not get it from here.
        push_image(&repository(&anonymous(), upstream.addr(), "c:1"), &[]).await;
        assert!(cache.get(&format!("/v2/c/blobs/{digest}")).await.0.starts_with("http/1.1 404"));
    })
    .await;
}

/// An image of one layer, as a liar has it.
struct Fake {
    layer: Vec<u8>,
    manifest: Vec<u8>,
}

impl Fake {
    fn new(layer: Vec<u8>) -> Self {
        let config = Descriptor::of(MediaType::CONFIG, b"{}");
        let layers = vec![common::layer(&layer)];
        Self { layer, manifest: serde_json::to_vec(&Manifest::new(config, layers)).unwrap() }
    }

    fn digest(&self) -> Digest {
        Digest::of(&self.layer)
    }

    fn manifest(&self) -> Lie {
        answer(200, &[("Content-Type", MediaType::MANIFEST)], &self.manifest)
    }
}

#[tokio::test]
async fn wrong_bytes_are_neither_finished_nor_kept() {
    within(async {
        let fake = Arc::new(Fake::new(noise(300_000, 7)));
        let lies = Arc::new(AtomicBool::new(true));
        let (script, lying) = (fake.clone(), lies.clone());
        let upstream = Liar::start(move |asked, _| {
            let mut wrong = script.layer.clone();
            wrong[299_999] ^= 1;
            match asked.path.as_str() {
                "/v2/" => answer(200, &[], b""),
                path if path.contains("/manifests/") => script.manifest(),
                _ if lying.load(Ordering::SeqCst) => answer(200, &[], &wrong),
                _ => answer(200, &[], &script.layer),
            }
        })
        .await;
        let cache = Cache::new(upstream.addr, LONG, None).await;
        let path = format!("/v2/app/blobs/{}", fake.digest());
        assert!(cache.get("/v2/app/manifests/1").await.0.starts_with("http/1.1 200"));
        let (head, body) = cache.get(&path).await;
        assert!(head.contains("content-length: 300000") && body.len() < 300_000, "{head} {}", body.len());
        let error = read_all(&cache.repository("app:1"), &layer(&fake.layer), 1 << 20).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Retry | ErrorKind::Corrupt | ErrorKind::Io), "{error}");
        assert!(!cache.has(upstream.addr, "app", &fake.digest()).await);
        assert!(cache.notes.lock().unwrap().iter().any(|note| note.contains("its content has digest")));
        lies.store(false, Ordering::SeqCst);
        assert!(cache.get(&path).await.1 == fake.layer);
    })
    .await;
}

#[tokio::test]
async fn a_registry_that_wants_rest_gets_it() {
    within(async {
        let fake = Fake::new(noise(10, 8));
        let upstream = Liar::start(move |asked, _| match asked.path.as_str() {
            "/v2/" => answer(200, &[], b""),
            path if path.contains("kept") => fake.manifest(),
            _ => answer(429, &[], b""),
        })
        .await;
        let cache = Cache::new(upstream.addr, Duration::ZERO, None).await;
        assert!(cache.get("/v2/kept/manifests/1").await.0.starts_with("http/1.1 200"));
        let (head, _) = cache.get("/v2/app/manifests/1").await;
        assert!(head.starts_with("http/1.1 429") && head.contains("\r\nretry-after: 30"), "{head}");
        let before = upstream.asked().len();
        assert!(cache.get("/v2/other/manifests/1").await.0.starts_with("http/1.1 429"));
        assert!(cache.get("/v2/kept/manifests/1").await.0.starts_with("http/1.1 200"), "what is kept is served");
        assert_eq!(upstream.asked().len(), before, "nothing more is asked");
    })
    .await;
}
