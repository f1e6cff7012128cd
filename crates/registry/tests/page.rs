//! The pages for people, over HTTP: what they show, to whom, and that nothing an image says gets out of its place.
#![allow(missing_docs, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use common::within;
use cooper_oci::{Algorithm, Descriptor, Digest, Index, Manifest, MediaType, Platform};
use cooper_registry::server::{Backend, MemoryBackend, Running, Server, ServerOptions, StoredManifest};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A registry in memory that is filled without asking whether its content makes sense.
struct World {
    backend: MemoryBackend,
    running: Running,
}

struct Got {
    status: u16,
    head: String,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    #[track_caller]
    fn has(&self, parts: &[&str]) {
        for part in parts {
            assert!(self.body.contains(part), "no `{part}` in {}", self.body);
        }
    }
}

impl World {
    async fn new(options: ServerOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = MemoryBackend::default();
        let running = Server::serve(listener, Arc::new(backend.clone()), options).unwrap();
        Self { backend, running }
    }

    async fn ask(&self, method: &str, path: &str, headers: &str) -> Got {
        let host = if headers.contains("Host:") { "" } else { "Host: r.example:5000\r\n" };
        let mut stream = TcpStream::connect(self.running.addr()).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Got { status, head: head.to_owned(), body: body.to_owned() }
    }

    async fn get(&self, path: &str) -> Got {
        self.ask("GET", path, "").await
    }

    async fn blob(&self, name: &str, media_type: &str, bytes: impl Into<Bytes>) -> Descriptor {
        let bytes = bytes.into();
        let descriptor = Descriptor::of(media_type, &bytes);
        let mut upload = self.backend.upload(name, Algorithm::Sha256).await.unwrap();
        upload.write(bytes).await.unwrap();
        upload.commit(&descriptor.digest).await.unwrap();
        descriptor
    }

    /// Puts a document as it is.
    async fn put(&self, name: &str, tag: Option<&str>, media_type: &str, document: &[u8]) -> Descriptor {
        let bytes = Bytes::copy_from_slice(document);
        let stored = StoredManifest { digest: Digest::of(&bytes), media_type: media_type.into(), bytes };
        self.backend.put_manifest(name, tag.map(str::to_owned).as_slice(), &stored, &[]).await.unwrap();
        Descriptor::new(media_type, stored.digest, document.len() as u64)
    }

    async fn manifest(&self, name: &str, tag: Option<&str>, manifest: &Manifest) -> Descriptor {
        self.put(name, tag, MediaType::MANIFEST, &serde_json::to_vec(manifest).unwrap()).await
    }

    /// An image of a config and layers of these sizes.
    async fn image(&self, name: &str, tag: Option<&str>, config: &Value, sizes: &[usize]) -> Descriptor {
        let config = self.blob(name, MediaType::CONFIG, config.to_string()).await;
        let mut layers = Vec::new();
        for size in sizes {
            layers.push(self.blob(name, MediaType::LAYER_GZIP, vec![7; *size]).await);
        }
        self.manifest(name, tag, &Manifest::new(config, layers)).await
    }
}

fn config(architecture: &str) -> Value {
    json!({
        "architecture": architecture, "os": "linux", "created": "2024-05-06T07:08:09Z",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"], "Labels": {"a": "b"}, "ExposedPorts": {"80/tcp": {}}, "User": "app"},
        "rootfs": {"type": "layers", "diff_ids": []},
        "history": [
            {"created_by": "COPY rootfs / # buildkit"},
            {"created_by": "CMD [\"sh\"]", "empty_layer": true},
            {"created_by": "RUN |1 A=b /bin/sh -c make # buildkit"},
        ],
    })
}

#[tokio::test]
async fn repositories_are_found_page_by_page() {
    within(async {
        let world = World::new(ServerOptions::default()).await;
        assert!(world.get("/").await.body.contains("Nothing is here"));
        for n in 0..150 {
            world.image(&format!("team/app{n:03}"), Some("1"), &config("amd64"), &[]).await;
        }
        world.image("other/x", Some("1"), &config("amd64"), &[]).await;
        let first = world.get("/?q=TEAM").await;
        first.has(&["/r/team/app000", "/r/team/app099", "href=\"/?q=TEAM&amp;last=team%2Fapp099\"", "value=\"TEAM\""]);
        assert!(!first.body.contains("app100") && !first.body.contains("other/x"));
        let second = world.get("/?q=TEAM&last=team%2Fapp099").await;
        second.has(&["/r/team/app100", "/r/team/app149", "First page"]);
        assert!(!second.body.contains("Next page"));
        world.get("/?q=%3Cscript%3E").await.has(&["“<bdi>&lt;script&gt;</bdi>”"]);
    })
    .await;
}

#[tokio::test]
async fn an_image_of_two_platforms_with_what_is_said_about_it() {
    within(async {
        let world = World::new(ServerOptions::default()).await;
        let name = "team/app";
        let mut index = Index::new(Vec::new());
        for (architecture, size) in [("arm64", 3000), ("amd64", 2000)] {
            let mut image = world.image(name, None, &config(architecture), &[1000, size]).await;
            image.platform = Some(Platform::new("linux", architecture));
            index.manifests.push(image);
        }
        let amd64 = index.manifests[1].clone();
        let mut statement = Manifest::new(world.blob(name, MediaType::EMPTY, "{}").await, Vec::new());
        statement.artifact_type = Some("application/spdx+json".into());
        statement.subject = Some(amd64.clone());
        statement.layers.push(world.blob(name, "application/spdx+json", r#"{"spdxVersion":"SPDX-2.3"}"#).await);
        let statement = world.manifest(name, None, &statement).await;
        let index = world.put(name, Some("1.0"), MediaType::INDEX, &serde_json::to_vec(&index).unwrap()).await;

        world.get("/r/team/app").await.has(&[
            "linux/arm64",
            "linux/amd64",
            "2024-05-06",
            &format!("/r/team/app@{}", index.digest),
            &format!("{:.2} kB", (3000 + config("amd64").to_string().len()) as f64 / 1000.0),
        ]);
        let page = world.get("/r/team/app:1.0").await;
        page.has(&[
            "<b><bdi>linux/amd64</bdi></b>",
            "href=\"/r/team/app:1.0?platform=linux%2Farm64\"",
            "<b>COPY</b> <bdi>rootfs /</bdi>",
            "<tr class=\"empty\"><td class=\"num\"></td>",
            "<span class=\"shell\">A=b </span><bdi>make</bdi>",
            "<dt>User</dt><dd><code><bdi>app</bdi></code></dd>",
            "<code>docker pull r.example:5000/team/app:1.0</code>",
            &format!("<code>cooper pull r.example:5000/team/app@{}</code>", index.digest),
            "bill of materials (SPDX)",
            &format!("href=\"/r/team/app@{}\"", statement.digest),
        ]);
        let other = world.get("/r/team/app:1.0?platform=linux%2Farm64").await;
        other.has(&["<b><bdi>linux/arm64</bdi></b>", "No signatures"]);
        let artifact = world.get(&format!("/r/team/app@{}", statement.digest)).await;
        artifact.has(&["Artifact", "?blob=sha256%3A"]);
        let blob = artifact.body.split("?blob=").nth(1).unwrap().split('"').next().unwrap();
        let path = format!("/r/team/app@{}?blob={blob}", statement.digest);
        world.get(&path).await.has(&["SPDX-2.3"]);
        let raw = world.get("/r/team/app:1.0?view=manifest").await;
        raw.has(&["schemaVersion", &format!("href=\"/r/team/app@{}\"", amd64.digest)]);
        world.get(&format!("/r/team/app@{}?view=config", amd64.digest)).await.has(&["created_by"]);
        // Only what the manifest lists is shown as its part.
        let foreign = format!("/r/team/app@{}?blob={}", statement.digest, amd64.digest);
        assert_eq!(world.get(&foreign).await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn pages_are_shut_to_everything_but_their_own_style() {
    within(async {
        let world = World::new(ServerOptions::default()).await;
        world.image("a", Some("1"), &config("amd64"), &[10]).await;
        for path in ["/", "/r/a", "/r/a:1", "/r/a:1?view=manifest", "/r/none"] {
            let got = world.get(path).await;
            let style = got.body.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
            let policy = got.header("content-security-policy").unwrap();
            assert!(policy.starts_with("default-src 'none'; "), "{policy}");
            assert!(policy.contains(&format!("style-src 'sha256-{}'", base64_sha256(style))), "{policy}");
            assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(got.header("referrer-policy"), Some("no-referrer"));
            assert_eq!(got.header("content-type"), Some("text/html; charset=utf-8"));
            assert!(got.header("set-cookie").is_none());
            for forbidden in ["<script", " style=", " onclick", "http://", "https://", "<img", "<link"] {
                assert!(!got.body.contains(forbidden), "{forbidden} at {path}");
            }
        }
    })
    .await;
}

fn base64_sha256(text: &str) -> String {
    let digest = Digest::of(text.as_bytes());
    let bytes: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&digest.hex()[at * 2..at * 2 + 2], 16).unwrap()).collect();
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
}

#[tokio::test]
async fn what_is_known_is_not_sent_again() {
    within(async {
        let world = World::new(ServerOptions::default()).await;
        world.image("a", Some("1"), &config("amd64"), &[10]).await;
        let got = world.get("/r/a").await;
        let tag = got.header("etag").unwrap();
        let again = world.ask("GET", "/r/a", &format!("If-None-Match: {tag}\r\n")).await;
        assert_eq!((again.status, again.body.as_str()), (304, ""));
        world.image("a", Some("2"), &config("amd64"), &[11]).await;
        assert_eq!(world.ask("GET", "/r/a", &format!("If-None-Match: {tag}\r\n")).await.status, 200);
        let head = world.ask("HEAD", "/r/a", "").await;
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        assert_eq!(head.header("content-length").unwrap(), world.get("/r/a").await.body.len().to_string());
        for (method, path, status) in [
            ("POST", "/", 405),
            ("GET", "/r/", 404),
            ("GET", "/r/A", 404),
            ("GET", "/r/none", 404),
            ("GET", "/r/a:none", 404),
        ] {
            assert_eq!(world.ask(method, path, "").await.status, status, "{method} {path}");
        }
        // Other paths are the specification's, with its answers.
        assert!(world.get("/x").await.body.starts_with("{\"errors\""));
    })
    .await;
}

#[tokio::test]
async fn who_may_not_pull_does_not_see() {
    within(async {
        let auth = Some(("user".into(), "password".into()));
        let world = World::new(ServerOptions { auth, ..ServerOptions::default() }).await;
        world.image("secret", Some("1"), &config("amd64"), &[10]).await;
        for path in ["/", "/r/secret", "/r/secret:1", "/r/none"] {
            let got = world.get(path).await;
            assert_eq!(got.status, 401, "{path}");
            assert!(got.header("www-authenticate").unwrap().starts_with("Basic realm=\"cooper\""), "{path}");
            assert!(!got.body.contains("secret"), "{path}");
            // user:password
            let got = world.ask("GET", path, "Authorization: Basic dXNlcjpwYXNzd29yZA==\r\n").await;
            assert_eq!(got.status, if path == "/r/none" { 404 } else { 200 }, "{path}");
        }
    })
    .await;
}

/// Every text that a pusher chooses, hostile at once.
const HOSTILE: &str =
    "</script></style><script>alert(1)</script>\" onclick='x' \u{202e}\u{0}\u{1b}[2J\u{7f}\u{feff}é中";

#[tokio::test]
async fn nothing_an_image_says_gets_out_of_its_place() {
    within(async {
        let world = World::new(ServerOptions::default()).await;
        let name = "a";
        let map = || BTreeMap::from([(HOSTILE.to_owned(), HOSTILE.to_owned())]);
        let config = json!({
            "architecture": HOSTILE, "os": HOSTILE, "created": HOSTILE, "author": HOSTILE,
            "config": {"Cmd": [HOSTILE], "Entrypoint": [HOSTILE], "Env": [HOSTILE, format!("{HOSTILE}={HOSTILE}")],
                "Labels": map(), "User": HOSTILE, "WorkingDir": HOSTILE, "ExposedPorts": {HOSTILE: {}}, "Volumes": {HOSTILE: {}},
                "Healthcheck": {"Test": [HOSTILE], "Interval": i64::MIN}, "StopSignal": HOSTILE, "Shell": [HOSTILE], "OnBuild": [HOSTILE]},
            "rootfs": {"type": HOSTILE},
            "history": [{"created_by": HOSTILE}, {"created_by": format!("RUN |9 {HOSTILE} /bin/sh -c {HOSTILE}\n{HOSTILE}")}],
        });
        let config = world.blob(name, MediaType::CONFIG, config.to_string()).await;
        let layer = world.blob(name, HOSTILE, "x").await;
        let mut manifest = Manifest::new(config.clone(), vec![layer.clone(), Descriptor { size: u64::MAX, ..layer.clone() }]);
        manifest.annotations = map();
        let image = world.manifest(name, Some("image"), &manifest).await;
        let mut artifact = Manifest::new(Descriptor { media_type: HOSTILE.into(), ..config }, vec![layer.clone()]);
        artifact.artifact_type = Some(HOSTILE.into());
        artifact.subject = Some(image.clone());
        artifact.annotations = map();
        artifact.layers[0].annotations = BTreeMap::from([("org.opencontainers.image.title".into(), HOSTILE.into())]);
        world.manifest(name, Some("artifact"), &artifact).await;
        let mut child = image.clone();
        child.platform = Some(Platform::new(HOSTILE, HOSTILE));
        child.annotations = map();
        let mut index = Index::new(vec![child, layer]);
        index.annotations = map();
        world.put(name, Some("index"), MediaType::INDEX, &serde_json::to_vec(&index).unwrap()).await;
        world.put(name, Some("broken"), MediaType::MANIFEST, HOSTILE.as_bytes()).await;
        world.put(name, Some("odd"), HOSTILE, HOSTILE.as_bytes()).await;
        for tag in ["image", "artifact", "index", "broken", "odd"] {
            for query in ["", "?view=manifest", "?view=config", "?platform=%3Cscript%3E%00"] {
                calm(&world.get(&format!("/r/a:{tag}{query}")).await);
            }
        }
        calm(&world.get("/r/a").await);
        for query in ["?q=%3Cscript%3E%00%1b%E2%80%AE", "?last=%3Cscript%3E", "?q=%FF%FE", "?&&==&q"] {
            calm(&world.get(&format!("/{query}")).await);
        }
        let got = world.ask("GET", "/r/a:image", "Host: \"><script>\r\n").await;
        calm(&got);
        assert!(got.status == 400 || got.body.contains(&format!("docker pull {}/a:image", world.running.addr())));
    })
    .await;
}

/// No markup but ours, nothing that cannot be seen.
#[track_caller]
fn calm(got: &Got) {
    assert!([200, 400, 404].contains(&got.status), "{}", got.status);
    for forbidden in ["<script", "</script", "\" onclick", "\u{202e}", "\u{0}", "\u{1b}", "\u{7f}", "\u{feff}"] {
        assert!(!got.body.contains(forbidden), "{forbidden:?} in {}", got.body);
    }
    assert!(got.body.matches("</style>").count() <= 1);
}

#[tokio::test]
async fn what_is_missing_too_large_or_broken_is_said() {
    within(async {
        let world = World::new(ServerOptions::default()).await;
        let absent = Descriptor::of(MediaType::CONFIG, b"absent");
        world.manifest("a", Some("missing"), &Manifest::new(absent, Vec::new())).await;
        let broken = world.blob("a", MediaType::CONFIG, "{\"config\":").await;
        world.manifest("a", Some("broken"), &Manifest::new(broken, Vec::new())).await;
        let large = world.blob("a", MediaType::CONFIG, vec![b' '; 4 * 1024 * 1024 + 1]).await;
        world.manifest("a", Some("large"), &Manifest::new(large, Vec::new())).await;
        let layer = world.blob("a", MediaType::LAYER, "x").await;
        let many = vec![layer; 10_000];
        let config = world.blob("a", MediaType::CONFIG, config("amd64").to_string()).await;
        world.manifest("a", Some("many"), &Manifest::new(config, many)).await;
        let child =
            Descriptor { platform: Some(Platform::new("linux", "amd64")), ..Descriptor::of(MediaType::MANIFEST, b"x") };
        world.put("a", Some("hollow"), MediaType::INDEX, &serde_json::to_vec(&Index::new(vec![child])).unwrap()).await;
        for (tag, part) in [
            ("missing", "the config is not here"),
            ("broken", "the config is broken: EOF"),
            ("large", "the config has 4194305 bytes, which is too large to be shown"),
            ("many", "names 10001 blobs; at most 4096"),
            ("hollow", "the image of this platform is not here"),
        ] {
            world.get(&format!("/r/a:{tag}")).await.has(&[part]);
        }
        world.get("/r/a").await.has(&["the config is broken", "the config is not here", "names 10001 blobs"]);
        world.get("/r/a:many?view=manifest").await.has(&["schemaVersion"]);
    })
    .await;
}
