//! The leak matrix (N01), reduced: kinds of secret x ways to be sent elsewhere x kinds of request. The other origin must see
//! not one byte of a secret.
#![allow(missing_docs, reason = "a test")]

mod common;

use std::collections::BTreeSet;

use base64::Engine as _;
use common::liar::{Asked, Liar, Lie, answer};
use common::*;
use cooper_oci::{BlobSink, body_from_bytes, read_all};
use cooper_registry::{Credentials, ErrorKind};

const TOKEN: &str = "obtained-token-x";

fn secrets() -> Vec<(&'static str, Credentials)> {
    vec![
        ("basic", basic("user-x", "password-x")),
        ("token by basic", basic("user-x", "password-x")),
        ("identity token", Credentials::IdentityToken("identity-x".into())),
        ("bearer", Credentials::Bearer("registry-token-x".into())),
    ]
}

/// Texts of which none may reach another origin.
fn forbidden() -> Vec<String> {
    let encoded = base64::engine::general_purpose::STANDARD.encode("user-x:password-x");
    ["user-x", "password-x", "identity-x", "registry-token-x", TOKEN, &encoded, "uthorization"]
        .map(str::to_owned)
        .into()
}

/// A home registry that wants to be shown `kind` of secret, and then sends everything to `lead`.
fn home(
    kind: &'static str,
    lead: impl Fn(&Asked) -> Lie + Send + Sync + 'static,
) -> impl Fn(&Asked, usize) -> Lie + Send + Sync {
    move |asked, _| {
        let host = asked.header("host").unwrap_or_default().to_owned();
        if asked.path.starts_with("/token") {
            return answer(200, &[], format!(r#"{{"token":"{TOKEN}","expires_in":300}}"#).as_bytes());
        }
        if asked.path == "/v2/" {
            return answer(200, &[], b"");
        }
        if asked.header("authorization").is_none() {
            let challenge = match kind {
                "basic" => "Basic realm=\"x\"".to_owned(),
                _ => format!("Bearer realm=\"http://{host}/token\",service=\"s\""),
            };
            return answer(401, &[("WWW-Authenticate", &challenge)], b"");
        }
        lead(asked)
    }
}

/// Does each kind of request once; whether it works is not asked here.
async fn all_requests(client: &cooper_registry::Client, registry: &str) {
    let repository = repository(client, registry, "a/b:1").with_mounts(std::sync::Arc::new(|_| vec!["c".into()]));
    let small = noise(100, 21);
    let large = noise(2_200_000, 22);
    let _ = within(repository.resolve()).await;
    let _ = within(repository.manifest(repository.reference().target())).await;
    let _ = within(repository.tags()).await;
    let _ = within(read_all(&repository, &layer(&small), 1000)).await;
    let _ = within(repository.has(&layer(&small))).await;
    let _ = within(repository.put(&layer(&small), body_from_bytes(small.clone()))).await;
    let _ = within(repository.put(&layer(&large), body_in_pieces(&large, 100_000))).await;
    let _ = within(repository.put_manifest(repository.reference().target(), "application/x".into(), "{}")).await;
}

fn check_clean(other: &Liar, cell: &str) {
    let received = String::from_utf8_lossy(&other.received()).into_owned();
    for secret in forbidden() {
        assert!(!received.contains(&secret), "{cell}: `{secret}` reached another origin:\n{received:.2000}");
    }
}

#[tokio::test]
async fn no_redirect_or_location_carries_a_secret_away() {
    let statuses = [301, 302, 303, 307, 308];
    let mut reached = BTreeSet::new();
    for (kind, credentials) in secrets() {
        for address in ["127.0.0.1:0", "127.0.0.2:0"] {
            for status in statuses {
                let other = Liar::start_at(address, |_, _| answer(200, &[("Location", "/more")], b"{}")).await;
                let place = format!("http://{}/elsewhere", other.addr);
                let lead = move |asked: &Asked| match asked.method.as_str() {
                    // An upload's address is elsewhere as well.
                    "POST" => answer(202, &[("Location", &place)], b""),
                    _ => answer(status, &[("Location", &place)], b""),
                };
                let registry = Liar::start(home(kind, lead)).await;
                let name = registry.addr.to_string();
                all_requests(&client(&name, credentials.clone()), &name).await;
                check_clean(&other, &format!("{kind}, {status} to {address}"));
                reached.extend(other.asked().into_iter().map(|asked| asked.method));
            }
        }
    }
    let reached = reached.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    assert_eq!(reached, "GET HEAD PATCH PUT", "the test did send the client away");
}

#[tokio::test]
async fn coming_home_again_does_not_bring_the_secret_back() {
    for (kind, credentials) in secrets() {
        let bounce = Liar::start(|asked, _| {
            let back = asked.path.trim_start_matches("/to/").to_owned();
            answer(307, &[("Location", &format!("http://{back}"))], b"")
        })
        .await;
        let away = bounce.addr;
        let lead = move |asked: &Asked| {
            let host = asked.header("host").unwrap_or_default();
            answer(307, &[("Location", &format!("http://{away}/to/{host}/home"))], b"")
        };
        let registry = Liar::start(home(kind, lead)).await;
        let name = registry.addr.to_string();
        let _ = within(repository(&client(&name, credentials), &name, "a:1").resolve()).await;
        check_clean(&bounce, kind);
        let returned = registry.asked().into_iter().filter(|asked| asked.path == "/home").collect::<Vec<_>>();
        assert!(!returned.is_empty(), "the test did come home");
        assert!(returned.iter().all(|asked| asked.header("authorization").is_none()), "{kind}");
    }
}

#[tokio::test]
async fn a_realm_at_another_plain_host_gets_nothing() {
    for (kind, credentials) in secrets() {
        let other = Liar::start_at("127.0.0.2:0", |_, _| answer(200, &[], br#"{"token":"t"}"#)).await;
        for realm in [
            format!("http://{}/token", other.addr),
            format!("http://user@{}/", other.addr),
            "ftp://x/".into(),
            "::".into(),
        ] {
            let challenge = format!("Bearer realm=\"{realm}\",service=\"s\",scope=\"repository:a:pull\"");
            let registry = Liar::start(move |asked, _| match asked.path.as_str() {
                "/v2/" => answer(200, &[], b""),
                _ => answer(401, &[("WWW-Authenticate", &challenge)], b""),
            })
            .await;
            let name = registry.addr.to_string();
            let error =
                within(repository(&client(&name, credentials.clone()), &name, "a:1").resolve()).await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::Invalid), "{kind}: {error}");
            check_clean(&other, &format!("{kind}, realm {realm}"));
        }
    }
}

#[tokio::test]
async fn a_redirect_of_the_token_service_is_not_followed() {
    let other = Liar::start(|_, _| answer(200, &[], br#"{"token":"t"}"#)).await;
    let place = format!("http://{}/token", other.addr);
    for (kind, credentials) in secrets() {
        let place = place.clone();
        let registry = Liar::start(move |asked, _| {
            let host = asked.header("host").unwrap_or_default();
            match asked.path.as_str() {
                "/v2/" => answer(200, &[], b""),
                path if path.starts_with("/token") => answer(307, &[("Location", &place)], b""),
                _ => answer(401, &[("WWW-Authenticate", &format!("Bearer realm=\"http://{host}/token\""))], b""),
            }
        })
        .await;
        let name = registry.addr.to_string();
        within(repository(&client(&name, credentials), &name, "a:1").resolve()).await.unwrap_err();
        check_clean(&other, kind);
    }
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn one_registry_never_sees_what_another_is_shown() {
    let other = Liar::start(|asked, _| match asked.path.as_str() {
        "/v2/" => answer(200, &[], b""),
        _ => answer(401, &[("WWW-Authenticate", "Basic realm=\"x\"")], b""),
    })
    .await;
    let registry = Liar::start(home("basic", |_| answer(404, &[], b""))).await;
    let client = client(&registry.addr.to_string(), basic("user-x", "password-x"));
    all_requests(&client, &registry.addr.to_string()).await;
    all_requests(&client, &other.addr.to_string()).await;
    check_clean(&other, "other registry");
    assert!(!other.asked().is_empty());
}

#[tokio::test]
async fn every_request_carries_at_most_one_authorization() {
    for (kind, credentials) in secrets() {
        let registry = Liar::start(home(kind, |_| answer(500, &[("Retry-After", "0")], b""))).await;
        let name = registry.addr.to_string();
        let _ = within(repository(&client(&name, credentials), &name, "a:1").resolve()).await;
        let asked = registry.asked();
        let counts: Vec<_> =
            asked.iter().map(|asked| asked.head.to_ascii_lowercase().matches("\nauthorization:").count()).collect();
        assert!(counts.iter().all(|count| *count <= 1) && counts.contains(&1), "{kind}: {counts:?}");
    }
}
