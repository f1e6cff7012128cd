//! The client against distribution's registry, and the server against skopeo, where they are installed.
#![allow(missing_docs, reason = "a test")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::*;
use cooper_oci::{BlobSink, Blobs, Digest, read_all};
use cooper_registry::server::{Server, ServerOptions};
use tokio::process::Command;

#[tokio::test]
async fn distribution_takes_and_gives_what_it_was_given() {
    if !on_path("docker-registry") {
        return;
    }
    within(async {
        let dir = tempfile::tempdir().unwrap();
        let (addr, _child) = distribution(dir.path(), "").await;
        let client = anonymous();
        let layers = vec![noise(1000, 31), noise(6_000_000, 32), noise(2 * 1024 * 1024, 33)];
        let to = repository(&client, addr, "team/app:v1");
        let pushed = push_image(&to, &layers).await;
        let (pulled, bytes) = pull_image(&repository(&anonymous(), addr, "team/app:v1")).await;
        assert_eq!((pulled, bytes), (pushed.clone(), layers.clone()));
        assert_eq!(to.tags().await.unwrap(), ["v1"]);

        let blob = layer(&layers[1]);
        let other = repository(&client, addr, "other");
        assert!(!other.has(&blob).await.unwrap());
        let names = vec!["nothing/here".to_owned(), "team/app".to_owned()];
        let other = other.with_mounts(Arc::new(move |_| names.clone()));
        assert!(other.has(&blob).await.unwrap(), "mounted");
        assert_eq!(read_all(&other as &dyn Blobs, &blob, blob.size).await.unwrap(), layers[1]);
        let absent = layer(b"absent");
        assert!(!other.has(&absent).await.unwrap(), "two refused mounts");
        other.put(&absent, cooper_oci::body_from_bytes(&b"absent"[..])).await.unwrap();
        assert!(other.has(&absent).await.unwrap());

        let mut wrong = layers[1].clone();
        wrong[0] ^= 1;
        let fresh = repository(&client, addr, "fresh");
        assert_eq!(
            fresh.put(&blob, body_in_pieces(&wrong, 65_536)).await.unwrap_err().kind(),
            cooper_oci::ErrorKind::Corrupt
        );
        assert!(!fresh.has(&blob).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn distribution_without_the_referrers_api_lists_statements_by_tag() {
    if !on_path("docker-registry") {
        return;
    }
    within(async {
        let dir = tempfile::tempdir().unwrap();
        let (addr, _child) = distribution(dir.path(), "").await;
        let client = anonymous();
        let to = repository(&client, addr, "team/app:v1");
        let image = push_image(&to, &[noise(10, 1)]).await;
        assert_eq!(to.referrers(&image.digest, None).await.unwrap(), []);
        let signature = push_statement(&to, &image, "application/x-signature").await;
        let sbom = push_statement(&to, &image, "application/x-sbom").await;
        push_statement(&to, &image, "application/x-sbom").await;
        let listed = |kind: Option<&'static str>| {
            let to = to.clone();
            async move { to.referrers(&image.digest, kind).await.unwrap().into_iter().map(|d| d.digest).collect::<Vec<_>>() }
        };
        assert_eq!(listed.clone()(None).await, [signature.digest.clone(), sbom.digest]);
        assert_eq!(listed(Some("application/x-signature")).await, [signature.digest]);
        assert_eq!(client.catalog(&addr.to_string()).await.unwrap(), ["team/app"]);
        to.delete(to.reference().target()).await.unwrap_err();
    })
    .await;
}

async fn skopeo(args: &[&str]) {
    let output = Command::new("skopeo").args(args).output().await.unwrap();
    assert!(output.status.success(), "skopeo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn skopeo_pulls_from_and_pushes_to_our_server() {
    if !on_path("skopeo") {
        return;
    }
    within(async {
        for auth in [false, true] {
            let login = auth.then(|| ("user".to_owned(), "pw".to_owned()));
            let server = Server::start(ServerOptions { auth: login, token_auth: auth, ..ServerOptions::default() })
                .await
                .unwrap();
            let addr = server.addr();
            let layers = vec![noise(1000, 41), noise(3_000_000, 42)];
            let client = client(&addr.to_string(), basic("user", "pw"));
            let pushed = push_image(&repository(&client, addr, "a/b:1"), &layers).await;

            let dir = tempfile::tempdir().unwrap();
            let place = format!("dir:{}", dir.path().join("image").display());
            let from = format!("docker://{addr}/a/b:1");
            let to = format!("docker://{addr}/c/d:2");
            let (src, dest) = if auth {
                ("--src-creds=user:pw", "--dest-creds=user:pw")
            } else {
                ("--src-no-creds", "--dest-no-creds")
            };
            skopeo(&["--insecure-policy", "copy", "--preserve-digests", "--src-tls-verify=false", src, &from, &place])
                .await;
            let manifest = std::fs::read(dir.path().join("image/manifest.json")).unwrap();
            assert_eq!(Digest::of(&manifest), pushed.digest);
            skopeo(&["--insecure-policy", "copy", "--preserve-digests", "--dest-tls-verify=false", dest, &place, &to])
                .await;
            let (pulled, bytes) = pull_image(&repository(&client, addr, "c/d:2")).await;
            assert_eq!((pulled.digest, bytes), (pushed.digest, layers));
        }
    })
    .await;
}

/// A certificate for loopback that vouches for itself.
async fn certificate(dir: &Path) {
    let config = "[req]\ndistinguished_name=dn\nx509_extensions=ext\nprompt=no\n[dn]\nCN=test\n[ext]\nsubjectAltName=IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n";
    std::fs::write(dir.join("req.cnf"), config).unwrap();
    let args = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -config req.cnf -keyout key.pem -out cert.pem";
    let output = Command::new("openssl").args(args.split(' ')).current_dir(dir).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn loopback_that_speaks_tls_is_found_and_its_certificate_checked() {
    if !on_path("docker-registry") || !on_path("openssl") {
        return;
    }
    within(async {
        let dir = tempfile::tempdir().unwrap();
        certificate(dir.path()).await;
        let file = |name: &str| dir.path().join(name).display().to_string();
        let tls = format!(", tls: {{certificate: {}, key: {}}}", file("cert.pem"), file("key.pem"));
        let (addr, _child) = distribution(dir.path(), &tls).await;
        let pem = std::fs::read_to_string(file("cert.pem")).unwrap();
        let trusting = cooper_registry::Client::new(cooper_registry::ClientOptions {
            extra_roots: Some(pem.clone()),
            ..options()
        });
        let own = cooper_registry::HostTls { roots: Some(pem), ..Default::default() };
        let by_host = cooper_registry::Client::new(cooper_registry::ClientOptions {
            tls: [(addr.to_string(), own)].into(),
            ..options()
        });
        by_host.check(&addr.to_string()).await.unwrap();
        let careless = cooper_registry::HostTls { skip_verify: true, ..Default::default() };
        let careless = cooper_registry::Client::new(cooper_registry::ClientOptions {
            tls: [(addr.to_string(), careless)].into(),
            ..options()
        });
        careless.check(&addr.to_string()).await.unwrap();
        let layers = vec![noise(1000, 51), noise(6_000_000, 52)];
        push_image(&repository(&trusting, addr, "a:1"), &layers).await;
        assert_eq!(pull_image(&repository(&trusting, addr, "a:1")).await.1, layers);
        let error = repository(&anonymous(), addr, "a:1").resolve().await.unwrap_err();
        assert_eq!(error.kind(), cooper_registry::ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
    })
    .await;
}

/// What it says of a certificate it does not trust is then the error, and not that an answer was no HTTP.
#[tokio::test]
async fn loopback_that_answers_no_http_is_asked_by_tls() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    within(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let answering = tokio::spawn(async move {
            let mut firsts = Vec::new();
            while firsts.last() != Some(&22) {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = [0; 1024];
                let _ = stream.read(&mut asked).await.unwrap();
                firsts.push(asked[0]);
                // An alert: this was no handshake.
                stream.write_all(&[21, 3, 3, 0, 2, 2, 70]).await.unwrap();
            }
            firsts
        });
        let error = repository(&anonymous(), addr, "a:1").resolve().await.unwrap_err();
        assert_eq!(answering.await.unwrap(), [b'G', 22], "{error}");
    })
    .await;
}
