//! What every test of this crate needs: a client, a clock, random-looking bytes, and a limit on time.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of it")]

pub mod cutter;
pub mod liar;

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use cooper_oci::{BlobSink, Blobs, Descriptor, Manifest, MediaType, Target, body_from_bytes, read_all};
use cooper_registry::{Client, ClientOptions, Clock, Credentials, Fixed, Repository};

/// No test takes longer; one that does hangs.
pub const LIMIT: Duration = Duration::from_secs(60);

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("the test hangs")
}

/// Starts at a fixed date and runs.
pub fn clock() -> Clock {
    let start = Instant::now();
    Arc::new(move || UNIX_EPOCH + Duration::from_secs(1_700_000_000) + start.elapsed())
}

pub fn options() -> ClientOptions {
    ClientOptions { idle_timeout: Duration::from_secs(1), ..ClientOptions::new(clock()) }
}

pub fn anonymous() -> Client {
    Client::new(options())
}

pub fn client(registry: &str, credentials: Credentials) -> Client {
    let source = Fixed([(registry.to_owned(), credentials)].into());
    Client::new(ClientOptions { credentials: Arc::new(source), ..options() })
}

pub fn basic(username: &str, password: &str) -> Credentials {
    Credentials::Basic { username: username.into(), password: password.into() }
}

pub fn repository(client: &Client, registry: impl std::fmt::Display, name: &str) -> Repository {
    client.repository(&format!("{registry}/{name}").parse().expect("a valid name"))
}

/// Bytes that differ everywhere, the same each time.
pub fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..size).map(|_| next()).collect()
}

pub fn layer(bytes: &[u8]) -> Descriptor {
    Descriptor::of(MediaType::LAYER, bytes)
}

/// A body in pieces of `piece` bytes.
pub fn body_in_pieces(bytes: &[u8], piece: usize) -> cooper_oci::Body {
    let pieces: Vec<_> = bytes.chunks(piece).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    Box::pin(futures::stream::iter(pieces))
}

/// Pushes an image of `layers` under the repository's tag.
pub async fn push_image(to: &Repository, layers: &[Vec<u8>]) -> Descriptor {
    let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let config_descriptor = Descriptor::of(MediaType::CONFIG, config);
    to.put(&config_descriptor, body_from_bytes(&config[..])).await.expect("config");
    let mut descriptors = Vec::new();
    for bytes in layers {
        let descriptor = layer(bytes);
        to.put(&descriptor, body_in_pieces(bytes, 100_000)).await.expect("layer");
        descriptors.push(descriptor);
    }
    let manifest = serde_json::to_vec(&Manifest::new(config_descriptor, descriptors)).expect("json");
    let target = to.reference().target();
    to.put_manifest(target, MediaType::MANIFEST.into(), manifest).await.expect("manifest")
}

/// Pushes a manifest of `kind` about `subject`.
pub async fn push_statement(to: &Repository, subject: &Descriptor, kind: &str) -> Descriptor {
    let config = Descriptor::of("application/vnd.oci.empty.v1+json", b"{}");
    to.put(&config, body_from_bytes(&b"{}"[..])).await.unwrap();
    let mut manifest = Manifest::new(config, Vec::new());
    manifest.artifact_type = Some(kind.into());
    manifest.subject = Some(subject.clone());
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let digest = cooper_oci::Digest::of(&bytes);
    to.put_manifest(Target::Digest(&digest), MediaType::MANIFEST.into(), bytes).await.unwrap()
}

/// Reads the image at the repository's tag back: the bytes of its layers.
pub async fn pull_image(from: &Repository) -> (Descriptor, Vec<Vec<u8>>) {
    let descriptor = from.resolve().await.expect("resolve");
    let (found, bytes) = from.manifest(Target::Digest(&descriptor.digest)).await.expect("manifest");
    assert_eq!(found, descriptor);
    let manifest: Manifest = serde_json::from_slice(&bytes).expect("json");
    let mut layers = Vec::new();
    for layer in &manifest.layers {
        layers.push(read_all(from as &dyn Blobs, layer, 1 << 30).await.expect("layer"));
    }
    (descriptor, layers)
}

/// Whether a program can be run here; says so when not.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
pub fn on_path(program: &str) -> bool {
    let found = std::process::Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// A port that was free a moment ago.
pub fn free_port() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Distribution's registry on a fresh directory; killed when dropped.
pub async fn distribution(dir: &std::path::Path, tls: &str) -> (std::net::SocketAddr, tokio::process::Child) {
    let addr = free_port();
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp: {{addr: '{addr}'{tls}}}\n",
        dir.join("data").display()
    );
    let file = dir.join("config.yml");
    std::fs::write(&file, config).unwrap();
    let child = tokio::process::Command::new("docker-registry")
        .arg("serve")
        .arg(&file)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    while tokio::net::TcpStream::connect(addr).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (addr, child)
}
