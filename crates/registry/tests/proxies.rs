//! Proxies of the environment: who is asked through them, who never, and that they see their own password only.
#![allow(missing_docs, reason = "a test")]

mod common;

use common::liar::{Liar, answer};
use common::*;
use cooper_oci::{Digest, Manifest, MediaType};
use cooper_registry::server::{Server, ServerOptions};
use cooper_registry::{Client, ClientOptions, ErrorKind, Proxies};

/// A host that no resolver knows.
const FAR: &str = "registry.invalid:5000";

/// A proxy that answers everything itself with a small image.
async fn proxy() -> (Liar, Digest) {
    let bytes =
        serde_json::to_vec(&Manifest::new(cooper_oci::Descriptor::of(MediaType::CONFIG, b"{}"), vec![])).unwrap();
    let digest = Digest::of(&bytes);
    let liar = Liar::start(move |asked, _| match asked.method.as_str() {
        "CONNECT" => answer(502, &[], b""),
        _ => answer(200, &[("Content-Type", MediaType::MANIFEST)], &bytes),
    })
    .await;
    (liar, digest)
}

fn through(proxy: &Liar, no_proxy: Option<&str>, plain: bool) -> Client {
    let url = Some(format!("http://user:proxy-pw@{}", proxy.addr));
    Client::new(ClientOptions {
        proxies: Proxies { http: url.clone(), https: url, no_proxy: no_proxy.map(str::to_owned) },
        plain_http: if plain { vec![FAR.to_owned()] } else { vec![] },
        ..options()
    })
}

#[tokio::test]
async fn far_registries_are_asked_through_the_proxy() {
    let (liar, digest) = proxy().await;
    let found = within(repository(&through(&liar, None, true), FAR, "a:1").resolve()).await.unwrap();
    assert_eq!(found.digest, digest);
    let asked = liar.asked();
    assert!(asked.iter().all(|asked| asked.path == format!("http://{FAR}/v2/a/manifests/1")), "{asked:?}");
    // user:proxy-pw
    assert!(asked.iter().all(|asked| asked.header("proxy-authorization") == Some("Basic dXNlcjpwcm94eS1wdw==")));
    // By TLS only the name of the host is shown.
    let error = within(repository(&through(&liar, None, false), FAR, "a:1").resolve()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    assert!(!format!("{error:?}").contains("proxy-pw"), "{error:?}");
    let last = liar.asked().pop().unwrap();
    assert_eq!((last.method.as_str(), last.path.as_str()), ("CONNECT", FAR));
}

#[tokio::test]
async fn excepted_hosts_and_this_machine_are_asked_directly() {
    let (liar, _) = proxy().await;
    for except in ["registry.invalid", ".invalid", "other, registry.invalid:5000", "*"] {
        let error = within(repository(&through(&liar, Some(except), true), FAR, "a:1").resolve()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Retry, "{except}: {error}");
    }
    let server = Server::start(ServerOptions::default()).await.unwrap();
    for except in [None, Some("registry.invalid")] {
        let client = through(&liar, except, true);
        for host in ["127.0.0.1", "localhost"] {
            let to = repository(&client, format!("{host}:{}", server.addr().port()), "a:1");
            within(push_image(&to, &[noise(100, 91)])).await;
        }
    }
    assert!(liar.asked().is_empty(), "{:?}", liar.asked());
}
