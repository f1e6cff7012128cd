//! A server that guards itself, asked by hand over loopback: who may do what, tokens, TLS, limits, the log, the numbers.

mod common;

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cooper_oci::Digest;
use cooper_registry::server::{
    AccessLog, Guard, Limits, LogFormat, MemoryBackend, Quotas, Rule, Rules, Running, Server, ServerOptions,
    TlsOptions, TokenIssuer, TokenOptions, Users,
};
use cooper_registry::{Client, ClientOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use common::{basic, clock, noise, options, pull_image, push_image, repository, within};

/// bcrypt of `secret`, at the least cost.
const SECRET: &str = "$2y$04$hQwg9FmMJ7Xzq1Hyyd8yx.kL3ZkR5H32XC8uumm.lFveH5ZDLahVW";

fn rule(users: &[&str], repositories: &[&str], actions: &[&str]) -> Rule {
    let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Rule { users: own(users), groups: Vec::new(), repositories: own(repositories), actions: own(actions) }
}

/// Users `ann`, `bob` and `ci`, all with the password `secret`.
fn users(dir: &Path) -> Users {
    let file = dir.join("users");
    std::fs::write(&file, format!("ann:{SECRET}\nbob:{SECRET}\nci:{SECRET}\n")).unwrap();
    Users::File(file)
}

fn own_tokens() -> TokenOptions {
    TokenOptions { service: "here".into(), realm: None, issuer: TokenIssuer::Own { key: None } }
}

/// `ann` pulls below `team`, and pushes one of it; `ci` does everything there; everybody pulls what is public.
fn rules() -> Rules {
    let rules = [
        rule(&["ann"], &["team/**"], &["pull"]),
        rule(&["ann"], &["team/own"], &["push"]),
        rule(&["ci"], &["team/**"], &["pull", "push", "delete"]),
        rule(&["anonymous"], &["public/**"], &["pull"]),
    ];
    Rules::new(&rules, &Default::default()).unwrap()
}

async fn serve(guard: Guard, backend: &MemoryBackend) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = ServerOptions { guard: Some(guard), ..ServerOptions::default() };
    Server::serve(listener, Arc::new(backend.clone()), options).unwrap()
}

/// A backend with an image in each of some repositories, and the digest of a layer of all of them.
async fn filled(names: &[&str]) -> (MemoryBackend, Digest) {
    let backend = MemoryBackend::default();
    let server = serve(Guard::new(clock()), &backend).await;
    for name in names {
        let to = repository(&common::anonymous(), server.addr(), &format!("{name}:1"));
        push_image(&to, &[noise(1000, 7)]).await;
    }
    (backend, Digest::of(&noise(1000, 7)))
}

/// An answer: its status, and all of it as text.
async fn send(addr: SocketAddr, head: &str, body: &str) -> (u16, String) {
    let (line, headers) = head.split_once('|').unwrap_or((head, ""));
    let headers: String =
        headers.split('|').filter(|line| !line.is_empty()).map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    let text = format!(
        "{line} HTTP/1.1\r\nHost: here:5000\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    raw(addr, text.as_bytes()).await
}

async fn raw(addr: SocketAddr, bytes: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // The server may refuse before it has all.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    (text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default(), text)
}

fn login(user: &str, password: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn json(answer: &str) -> serde_json::Value {
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap_or_default()).unwrap_or_default()
}

#[tokio::test]
async fn everybody_may_do_what_the_rules_say_and_nothing_else() {
    within(async {
        let dir = tempfile::tempdir().unwrap();
        let (backend, layer) = filled(&["team/own", "team/other", "public/x"]).await;
        let mut guard = Guard::new(clock());
        guard.auth.users = users(dir.path());
        guard.auth.rules = Some(rules());
        let server = serve(guard, &backend).await;
        // Who may do it: nobody in particular, `bob` who has no rule of his own, `ann`, `ci`. 0 is any refusal of the registry itself,
        // which came after the gate let it through.
        for (head, nobody, bob, ann, ci) in [
            ("GET /v2/".to_owned(), 401, 200, 200, 200),
            ("GET /v2/_catalog".into(), 200, 200, 200, 200),
            ("GET /v2/team/own/tags/list".into(), 401, 403, 200, 200),
            ("HEAD /v2/team/own/manifests/1".into(), 401, 403, 200, 200),
            (format!("GET /v2/team/other/blobs/{layer}"), 401, 403, 200, 200),
            (format!("GET /v2/team/other/referrers/{layer}"), 401, 403, 200, 200),
            ("GET /v2/public/x/manifests/1".into(), 200, 200, 200, 200),
            (format!("GET /v2/public/x/blobs/{layer}"), 200, 200, 200, 200),
            ("POST /v2/public/x/blobs/uploads/".into(), 401, 403, 403, 403),
            ("POST /v2/team/own/blobs/uploads/".into(), 401, 403, 202, 202),
            ("POST /v2/team/other/blobs/uploads/".into(), 401, 403, 403, 202),
            ("PATCH /v2/team/other/blobs/uploads/0a".into(), 401, 403, 403, 0),
            ("GET /v2/team/other/blobs/uploads/0a".into(), 401, 403, 403, 0),
            ("PUT /v2/team/other/manifests/2".into(), 401, 403, 403, 0),
            ("PUT /v2/team/own/manifests/2".into(), 401, 403, 0, 0),
            ("DELETE /v2/team/own/manifests/2".into(), 401, 403, 403, 0),
            (format!("DELETE /v2/team/own/blobs/{}", Digest::of(b"none")), 401, 403, 403, 0),
            // What does not exist looks like what one may not see.
            ("GET /v2/secret/tags/list".into(), 401, 403, 403, 403),
            ("GET /".into(), 200, 200, 200, 200),
            ("GET /r/team/own".into(), 401, 404, 200, 200),
        ] {
            let visitors = [(None, nobody), (Some("bob"), bob), (Some("ann"), ann), (Some("ci"), ci)];
            for (user, expect) in visitors {
                let head = user.map_or_else(|| head.clone(), |user| format!("{head}|{}", login(user, "secret")));
                let (status, answer) = send(server.addr(), &head, "").await;
                let fits = if expect == 0 { ![401, 403].contains(&status) && status >= 400 } else { status == expect };
                assert!(fits, "{head} of {user:?}: {status}, not {expect}\n{answer}");
                let challenge = header(&answer, "www-authenticate");
                assert_eq!(challenge.is_some(), status == 401, "{answer}");
            }
        }
        for (user, expect) in [
            (None, vec!["public/x"]),
            (Some("bob"), vec!["public/x"]),
            (Some("ann"), vec!["public/x", "team/other", "team/own"]),
        ] {
            let head = user.map_or_else(String::new, |user| format!("|{}", login(user, "secret")));
            let (_, answer) = send(server.addr(), &format!("GET /v2/_catalog{head}"), "").await;
            assert_eq!(json(&answer)["repositories"], serde_json::json!(expect));
            let (_, page) = send(server.addr(), &format!("GET /{head}"), "").await;
            assert_eq!(page.contains("team/own"), user == Some("ann"));
        }
    })
    .await;
}

#[tokio::test]
async fn logins_that_are_wrong_or_strange_are_refused() {
    within(async {
        let dir = tempfile::tempdir().unwrap();
        let mut guard = Guard::new(clock());
        guard.auth.users = users(dir.path());
        let server = serve(guard, &MemoryBackend::default()).await;
        let right = login("ann", "secret");
        for header in [
            "Authorization: Basic".to_owned(),
            "Authorization: Basic !!!".into(),
            format!("Authorization: Basic {}", STANDARD.encode("ann")),
            format!("Authorization: Basic {}", STANDARD.encode(b"ann:\xff")),
            "Authorization: Bearer x.y.z".into(),
            "Authorization: Digest x".into(),
            format!("{right}|{right}"),
            login("ann", "Secret"),
            login("eve", "secret"),
        ] {
            assert_eq!(send(server.addr(), &format!("GET /v2/|{header}"), "").await.0, 401, "{header}");
        }
        assert_eq!(send(server.addr(), &format!("GET /v2/|{right}"), "").await.0, 200);
        assert_eq!(send(server.addr(), "GET /token", "").await.0, 404, "there is no token service");
        for _ in 0..20 {
            send(server.addr(), &format!("GET /v2/|{}", login("ann", "guess")), "").await;
        }
        let (status, answer) = send(server.addr(), &format!("GET /v2/|{}", login("ann", "guess")), "").await;
        assert_eq!(status, 429);
        let pause: u64 = header(&answer, "retry-after").unwrap().parse().unwrap();
        assert!((1..=5).contains(&pause));
        assert_eq!(send(server.addr(), &format!("GET /v2/|{right}"), "").await.0, 200, "known for a while");
    })
    .await;
}

async fn token(addr: SocketAddr, query: &str, login: &str) -> (u16, serde_json::Value) {
    let (status, answer) = send(addr, &format!("GET /token?{query}|{login}"), "").await;
    (status, json(&answer))
}

#[tokio::test]
async fn tokens_give_what_was_asked_for_and_allowed() {
    within(async {
        let dir = tempfile::tempdir().unwrap();
        let (backend, _) = filled(&["team/own", "team/other", "public/x"]).await;
        let mut guard = Guard::new(clock());
        guard.auth.users = users(dir.path());
        guard.auth.rules = Some(rules());
        guard.auth.tokens = Some(own_tokens());
        let server = serve(guard, &backend).await;
        let addr = server.addr();
        let (status, answer) = send(addr, "POST /v2/team/own/blobs/uploads/", "").await;
        let realm = "Bearer realm=\"http://here:5000/token\",service=\"here\",scope=\"repository:team/own:pull,push\"";
        assert_eq!((status, header(&answer, "www-authenticate")), (401, Some(realm)));
        let (_, answer) = send(addr, "GET /v2/_catalog|Authorization: Bearer x", "").await;
        assert!(header(&answer, "www-authenticate").unwrap().ends_with(",error=\"invalid_token\""));

        let ann = login("ann", "secret");
        let (status, sold) = token(
            addr,
            "service=here&scope=repository:team/own:pull,push,delete&scope=repository:team/other:push",
            &ann,
        )
        .await;
        assert_eq!((status, &sold["scope"]), (200, &"repository:team/own:pull,push".into()));
        assert_eq!(sold["expires_in"], 300);
        assert_eq!(sold["token"], sold["access_token"]);
        let bearer = format!("Authorization: Bearer {}", sold["token"].as_str().unwrap());
        for (head, expect, error) in [
            ("GET /v2/", 200, None),
            ("GET /v2/team/own/tags/list", 200, None),
            ("POST /v2/team/own/blobs/uploads/", 202, None),
            // Another token would help, and another user would.
            ("GET /v2/team/other/tags/list", 401, Some("insufficient_scope")),
            ("DELETE /v2/team/own/manifests/1", 403, None),
            ("GET /v2/_catalog", 401, Some("insufficient_scope")),
        ] {
            let (status, answer) = send(addr, &format!("{head}|{bearer}"), "").await;
            assert_eq!(status, expect, "{head}\n{answer}");
            let challenge = header(&answer, "www-authenticate").unwrap_or_default();
            assert!(error.is_none_or(|error| challenge.contains(&format!("error=\"{error}\""))), "{challenge}");
        }
        let (_, sold) = token(addr, "scope=registry:catalog:*", &ann).await;
        let bearer = format!("Authorization: Bearer {}", sold["token"].as_str().unwrap());
        let (_, answer) = send(addr, &format!("GET /v2/_catalog|{bearer}"), "").await;
        assert_eq!(json(&answer)["repositories"], serde_json::json!(["public/x", "team/other", "team/own"]));
        assert_eq!(send(addr, &format!("GET /v2/team/own/tags/list|{bearer}"), "").await.0, 401, "seen, not pulled");
        for (query, login, expect) in [
            ("service=other&scope=repository:team/own:pull", ann.as_str(), 400),
            ("account=bob&scope=repository:team/own:pull", &ann, 401),
            ("scope=repository:team/own:pull", &login("ann", "wrong"), 401),
            ("scope=repository:team/own:pull", "X: y", 401),
            ("scope=repository:public/x:pull", "X: y", 200),
            ("service=here", "X: y", 200),
        ] {
            assert_eq!(token(addr, query, login).await.0, expect, "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn refresh_tokens_last_as_long_as_the_password() {
    within(async {
        let dir = tempfile::tempdir().unwrap();
        let mut guard = Guard::new(clock());
        guard.auth.users = users(dir.path());
        guard.auth.tokens = Some(own_tokens());
        let server = serve(guard, &MemoryBackend::default()).await;
        let addr = server.addr();
        let scope = "scope=repository:a:pull%20repository:b:push&service=here&client_id=test";
        let form = format!("grant_type=password&username=ann&password=secret&access_type=offline&{scope}");
        let post = async |form: &str| {
            let (status, answer) =
                send(addr, "POST /token|Content-Type: application/x-www-form-urlencoded", form).await;
            (status, json(&answer))
        };
        let (status, sold) = post(&form).await;
        assert_eq!((status, &sold["scope"]), (200, &"repository:a:pull repository:b:push".into()));
        let refresh = sold["refresh_token"].as_str().unwrap().to_owned();
        let again = format!("grant_type=refresh_token&refresh_token={refresh}&{scope}");
        let (status, sold) = post(&again).await;
        assert_eq!((status, sold["refresh_token"].as_str()), (200, Some(refresh.as_str())));
        let access = sold["access_token"].as_str().unwrap().to_owned();
        assert_eq!(send(addr, &format!("GET /v2/a/tags/list|Authorization: Bearer {access}"), "").await.0, 404);
        assert_eq!(send(addr, &format!("GET /v2/|Authorization: Bearer {refresh}"), "").await.0, 401);
        for (form, expect) in [
            (format!("grant_type=refresh_token&refresh_token={access}"), 401),
            ("grant_type=refresh_token&refresh_token=".into(), 401),
            ("grant_type=password&username=ann&password=wrong".into(), 401),
            ("grant_type=password".into(), 401),
            ("grant_type=client_credentials".into(), 400),
            ("x".repeat(100_000), 413),
        ] {
            assert_eq!(post(&form).await.0, expect, "{form:.60}");
        }
        // Without being asked for, none is given.
        let (_, sold) = token(addr, "service=here", &login("ann", "secret")).await;
        assert!(sold.get("refresh_token").is_none());
        let file = dir.path().join("users");
        std::fs::write(&file, std::fs::read_to_string(&file).unwrap().replace("ann:", "zoe:")).unwrap();
        assert!(server.refresh(true).is_empty());
        assert_eq!(post(&again).await.0, 401, "the user is gone");
        assert_eq!(send(addr, &format!("GET /v2/|Authorization: Bearer {access}"), "").await.0, 401);
        std::fs::write(&file, "ann:plain").unwrap();
        let errors = server.refresh(true);
        assert!(errors[0].to_string().contains("line 1: the password of `ann` is not hashed"), "{errors:?}");
        assert_eq!(send(addr, &format!("GET /v2/|{}", login("zoe", "secret")), "").await.0, 200, "the old ones stay");
    })
    .await;
}

#[tokio::test]
async fn rules_that_change_count_for_tokens_that_are_out() {
    within(async {
        let dir = tempfile::tempdir().unwrap();
        let mut guard = Guard::new(clock());
        guard.auth.users = users(dir.path());
        guard.auth.tokens = Some(own_tokens());
        let server = serve(guard, &MemoryBackend::default()).await;
        let (_, sold) = token(server.addr(), "scope=repository:a:pull", &login("bob", "secret")).await;
        let head = format!("GET /v2/a/tags/list|Authorization: Bearer {}", sold["token"].as_str().unwrap());
        assert_eq!(send(server.addr(), &head, "").await.0, 404);
        server.set_policy(Some(rules()), Limits::default());
        assert_eq!(send(server.addr(), &head, "").await.0, 403);
        server.set_policy(None, Limits::default());
        assert_eq!(send(server.addr(), &head, "").await.0, 404);
    })
    .await;
}

/// A token of an issuer whose only key is `pair`.
fn outside_token(pair: &aws_lc_rs::signature::Ed25519KeyPair, claims: &serde_json::Value) -> String {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", part("{\"alg\":\"EdDSA\"}"), part(&claims.to_string()));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes())))
}

#[tokio::test]
async fn an_outside_issuer_decides_alone() {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    within(async {
        let dir = tempfile::tempdir().unwrap();
        let pair = Ed25519KeyPair::generate().unwrap();
        let der = pair.public_key().as_der().unwrap();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der.as_ref()));
        let keys = dir.path().join("key.pem");
        std::fs::write(&keys, pem).unwrap();
        let mut guard = Guard::new(clock());
        let issuer = TokenIssuer::Outside { issuer: "auth.example.com".into(), keys };
        let realm = Some("https://auth.example.com/token".to_owned());
        guard.auth.tokens = Some(TokenOptions { service: "here".into(), realm, issuer });
        let server = serve(guard, &MemoryBackend::default()).await;
        let addr = server.addr();
        let claims = |access: serde_json::Value| {
            serde_json::json!({
                "iss": "auth.example.com", "sub": "ann", "aud": "here", "exp": 1_700_000_300, "nbf": 1_700_000_000,
                "iat": 1_700_000_000, "jti": "1", "access": access,
            })
        };
        let pull = claims(serde_json::json!([{ "type": "repository", "name": "a", "actions": ["pull"] }]));
        let bearer = format!("|Authorization: Bearer {}", outside_token(&pair, &pull));
        for (head, expect) in [
            (format!("GET /v2/{bearer}"), 200),
            (format!("GET /v2/a/tags/list{bearer}"), 404),
            (format!("GET /v2/b/tags/list{bearer}"), 401),
            (format!("POST /v2/a/blobs/uploads/{bearer}"), 401),
            (format!("GET /v2/_catalog{bearer}"), 401),
            ("GET /v2/".into(), 401),
            ("GET /v2/_catalog".into(), 401),
            ("GET /v2/a/tags/list".into(), 401),
            ("GET /".into(), 401),
            (format!("GET /v2/|{}", login("ann", "secret")), 401),
            ("GET /token?scope=repository:a:pull".into(), 404),
        ] {
            assert_eq!(send(addr, &head, "").await.0, expect, "{head}");
        }
        let (_, answer) = send(addr, "GET /v2/a/tags/list", "").await;
        let challenge = "Bearer realm=\"https://auth.example.com/token\",service=\"here\",scope=\"repository:a:pull\"";
        assert_eq!(header(&answer, "www-authenticate"), Some(challenge));
        let other = outside_token(&Ed25519KeyPair::generate().unwrap(), &pull);
        assert_eq!(send(addr, &format!("GET /v2/|Authorization: Bearer {other}"), "").await.0, 401);
        let expired = claims(serde_json::Value::Null).as_object().cloned().map(|mut claims| {
            claims.insert("exp".into(), 1_600_000_000.into());
            serde_json::Value::Object(claims)
        });
        let expired = outside_token(&pair, &expired.unwrap());
        assert_eq!(send(addr, &format!("GET /v2/|Authorization: Bearer {expired}"), "").await.0, 401);
    })
    .await;
}

#[tokio::test]
async fn a_blob_is_mounted_only_from_where_it_may_be_pulled() {
    within(async {
        let dir = tempfile::tempdir().unwrap();
        let (backend, layer) = filled(&["hidden", "team/own"]).await;
        let hidden = Digest::of(b"hidden");
        let open = serve(Guard::new(clock()), &backend).await;
        assert_eq!(
            send(open.addr(), &format!("POST /v2/hidden/blobs/uploads/?digest={hidden}"), "hidden").await.0,
            201
        );
        let mut guard = Guard::new(clock());
        guard.auth.users = users(dir.path());
        guard.auth.rules = Some(rules());
        let server = serve(guard, &backend).await;
        let ci = login("ci", "secret");
        for (query, expect) in [
            (format!("mount={hidden}&from=hidden"), 202),
            (format!("mount={hidden}"), 202),
            (format!("mount={hidden}&from=../hidden"), 202),
            (format!("mount={layer}&from=team/own"), 201),
        ] {
            let head = format!("POST /v2/team/new/blobs/uploads/?{query}|{ci}");
            assert_eq!(send(server.addr(), &head, "").await.0, expect, "{query}");
        }
        assert_eq!(send(server.addr(), &format!("GET /v2/team/new/blobs/{hidden}|{ci}"), "").await.0, 404);
    })
    .await;
}

#[tokio::test]
async fn an_upload_belongs_to_who_began_it() {
    within(async {
        let dir = tempfile::tempdir().unwrap();
        let mut guard = Guard::new(clock());
        guard.auth.users = users(dir.path());
        let server = serve(guard, &MemoryBackend::default()).await;
        let (ann, bob) = (login("ann", "secret"), login("bob", "secret"));
        let (_, answer) = send(server.addr(), &format!("POST /v2/a/blobs/uploads/|{ann}"), "").await;
        let place = header(&answer, "location").unwrap().to_owned();
        for head in ["GET", "PATCH", "DELETE", "PUT"] {
            let (status, answer) = send(server.addr(), &format!("{head} {place}|{bob}"), "x").await;
            assert_eq!(status, 404, "{head}");
            assert!(answer.contains("BLOB_UPLOAD_UNKNOWN"));
        }
        assert_eq!(send(server.addr(), &format!("PATCH {place}|{ann}"), "x").await.0, 202);
    })
    .await;
}

/// A root, and a certificate of it for loopback, as files.
struct Certificates {
    dir: tempfile::TempDir,
    root: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Certificates {
    fn new() -> Self {
        let mut root = rcgen::CertificateParams::new(Vec::new()).unwrap();
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        root.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::DigitalSignature];
        root.distinguished_name.push(rcgen::DnType::CommonName, "a root for tests");
        let root = rcgen::CertifiedIssuer::self_signed(root, rcgen::KeyPair::generate().unwrap()).unwrap();
        let certificates = Self { dir: tempfile::tempdir().unwrap(), root };
        std::fs::write(certificates.path("root.pem"), certificates.root.pem()).unwrap();
        certificates.issue("server");
        certificates
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a new certificate and its key.
    fn issue(&self, name: &str) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.root).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn options(&self) -> TlsOptions {
        TlsOptions { certificate: self.path("server.pem"), key: self.path("server.key"), client_ca: None }
    }

    /// A client that trusts the root, and may show a certificate.
    fn client(&self, addr: SocketAddr, identity: Option<&str>) -> Client {
        let read = |name: String| std::fs::read_to_string(self.path(&name)).unwrap();
        let identity = identity.map(|name| (read(format!("{name}.pem")), read(format!("{name}.key"))));
        let tls = cooper_registry::HostTls { roots: Some(read("root.pem".into())), identity, skip_verify: false };
        let source = cooper_registry::Fixed([(addr.to_string(), basic("ann", "secret"))].into());
        Client::new(ClientOptions { tls: [(addr.to_string(), tls)].into(), credentials: Arc::new(source), ..options() })
    }
}

#[tokio::test]
async fn tls_with_passwords_and_tokens_carries_images() {
    within(async {
        for tokens in [None, Some(own_tokens())] {
            let certificates = Certificates::new();
            let mut guard = Guard::new(clock());
            guard.tls = Some(certificates.options());
            guard.auth.users = users(certificates.dir.path());
            guard.auth.tokens = tokens;
            let server = serve(guard, &MemoryBackend::default()).await;
            let client = certificates.client(server.addr(), None);
            let layers = vec![noise(3_000_000, 1), noise(10, 2)];
            push_image(&repository(&client, server.addr(), "a/b:1"), &layers).await;
            let (_, pulled) = pull_image(&repository(&client, server.addr(), "a/b:1")).await;
            assert_eq!(pulled, layers);
            let plain = raw(server.addr(), b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert_eq!(plain.0, 0, "nothing is said in the clear: {}", plain.1);
        }
    })
    .await;
}

#[tokio::test]
async fn certificates_are_read_again_and_broken_ones_are_not_taken() {
    within(async {
        let certificates = Certificates::new();
        let mut guard = Guard::new(clock());
        guard.tls = Some(certificates.options());
        let server = serve(guard, &MemoryBackend::default()).await;
        let reach = async || certificates.client(server.addr(), None).check(&server.addr().to_string()).await;
        reach().await.unwrap();
        // A certificate whose key is not there yet.
        let old_key = std::fs::read(certificates.path("server.key")).unwrap();
        certificates.issue("server");
        let new_key = std::fs::read(certificates.path("server.key")).unwrap();
        std::fs::write(certificates.path("server.key"), old_key).unwrap();
        let errors = server.refresh(true);
        assert!(errors[0].to_string().ends_with("server.key` is the key of another certificate"), "{errors:?}");
        reach().await.unwrap();
        std::fs::write(certificates.path("server.key"), new_key).unwrap();
        assert!(server.refresh(false).is_empty(), "a changed file is seen");
        reach().await.unwrap();
        // The new one is of another root: whoever trusts the old one alone does not come in any more.
        let other = Certificates::new();
        for name in ["server.pem", "server.key"] {
            std::fs::copy(other.path(name), certificates.path(name)).unwrap();
        }
        assert!(server.refresh(true).is_empty());
        assert!(reach().await.is_err());
        for (name, text, expect) in [
            ("server.key", "", "it holds no `PRIVATE KEY` in PEM"),
            ("server.pem", "nonsense", "it holds no `CERTIFICATE` in PEM"),
        ] {
            std::fs::write(certificates.path(name), text).unwrap();
            let errors = server.refresh(true);
            assert!(errors[0].to_string().ends_with(expect), "{errors:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn clients_show_certificates_where_they_must() {
    within(async {
        let certificates = Certificates::new();
        certificates.issue("client");
        let mut guard = Guard::new(clock());
        guard.tls = Some(TlsOptions { client_ca: Some(certificates.path("root.pem")), ..certificates.options() });
        let server = serve(guard, &MemoryBackend::default()).await;
        let registry = server.addr().to_string();
        certificates.client(server.addr(), Some("client")).check(&registry).await.unwrap();
        assert!(certificates.client(server.addr(), None).check(&registry).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn who_stalls_is_cut_off_and_holds_up_nobody() {
    within(async {
        let certificates = Certificates::new();
        let short = Duration::from_millis(200);
        let limits = Limits { handshake: short, head: short, idle: short, ..Limits::default() };
        let mut guard = Guard::new(clock());
        guard.limits = limits;
        let open = serve(guard.clone(), &MemoryBackend::default()).await;
        guard.tls = Some(certificates.options());
        let closed = serve(guard, &MemoryBackend::default()).await;
        let stall = async |addr: SocketAddr, bytes: &str| {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.write_all(bytes.as_bytes()).await.unwrap();
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer).await;
            answer
        };
        // A handshake that never comes does not keep others from theirs.
        let _waiting = TcpStream::connect(closed.addr()).await.unwrap();
        certificates.client(closed.addr(), None).check(&closed.addr().to_string()).await.unwrap();
        assert_eq!(stall(closed.addr(), "").await, "");
        assert_eq!(stall(open.addr(), "").await, "");
        let answer = stall(open.addr(), "GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: ").await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
        let put =
            "POST /v2/a/blobs/uploads/?digest=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let answer = stall(open.addr(), &format!("{put} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        let chunked = format!("{put} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        assert!(stall(open.addr(), &chunked).await.starts_with("HTTP/1.1 408"));
    })
    .await;
}

#[tokio::test]
async fn what_two_servers_could_read_differently_is_refused_or_read_one_way() {
    within(async {
        let server = serve(Guard::new(clock()), &MemoryBackend::default()).await;
        let post = "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
        for (rest, expect) in [
            ("Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
            ("Content-Length: 3, 4\r\n\r\nabcd", 400),
            ("Content-Length: -1\r\n\r\n", 400),
            ("Content-Length: +3\r\n\r\nabc", 400),
            ("Content-Length: 0x3\r\n\r\nabc", 400),
            ("Content-Length: 99999999999999999999\r\n\r\n", 400),
            ("Transfer-Encoding: identity\r\n\r\n", 400),
            ("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
            ("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
            ("X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
            ("X\r\n\r\n", 400),
            ("X: a\0b\r\n\r\n", 400),
            ("\r\nContent-Length: 0\r\n\r\n", 202),
            ("Content-Length: 0\r\n\r\n", 202),
        ] {
            let (status, answer) = raw(server.addr(), format!("{post}{rest}").as_bytes()).await;
            assert_eq!(status, expect, "{rest:?}\n{answer}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "one request, one answer: {rest:?}\n{answer}");
        }
        // Both lengths: the chunks count (RFC 9112, 6.3), and what the other length would make the next request is none.
        for both in
            ["Content-Length: 4\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 4"]
        {
            let hidden = "1e\r\nGET /v2/hidden/tags/list HTTP/1.\r\n0\r\n\r\n";
            let (_, answer) = raw(server.addr(), format!("{post}{both}\r\n\r\n{hidden}").as_bytes()).await;
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{both}\n{answer}");
            assert!(!answer.contains("NAME_UNKNOWN"));
        }
        // HTTP/1.0 has no chunks.
        let old = "POST /v2/a/blobs/uploads/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert_eq!(raw(server.addr(), old.as_bytes()).await.0, 400);
    })
    .await;
}

#[tokio::test]
async fn heads_are_bounded() {
    within(async {
        let server = serve(Guard::new(clock()), &MemoryBackend::default()).await;
        let get = |rest: &str| format!("GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{rest}\r\n");
        for (text, expect) in [
            (get(""), &[200][..]),
            (get(&"X: y\r\n".repeat(200)), &[431]),
            (get(&format!("X: {}\r\n", "y".repeat(300_000))), &[431]),
            (format!("GET /v2/{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(300_000)), &[414, 431]),
            (
                format!("GET /v2/{}/tags/list HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "a".repeat(9_000)),
                &[400],
            ),
            ("nonsense\r\n\r\n".into(), &[400]),
            ("\u{16}\u{3}\u{1}\r\n\r\n".into(), &[400]),
        ] {
            let (status, answer) = raw(server.addr(), text.as_bytes()).await;
            assert!(expect.contains(&status), "{text:.80}: {answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn who_asks_too_often_or_too_much_is_told_so() {
    within(async {
        let mut guard = Guard::new(clock());
        guard.limits = Limits {
            requests_per_second: Some(1),
            uploads_per_client: 2,
            upload_bytes: Some(100),
            quotas: Quotas::new(&[(vec!["big/**".into()], 500)], Some(150)).unwrap(),
            ..Limits::default()
        };
        let few = guard.clone();
        guard.limits.requests_per_second = None;
        let server = serve(guard, &MemoryBackend::default()).await;
        let addr = server.addr();
        let put = async |name: &str, length: usize| {
            let bytes = "x".repeat(length);
            let digest = Digest::of(bytes.as_bytes());
            send(addr, &format!("POST /v2/{name}/blobs/uploads/?digest={digest}"), &bytes).await
        };
        for (name, length, expect) in [
            ("a", 101, 413),
            ("a", 100, 201),
            ("a", 51, 403),
            ("a", 50, 201),
            ("a", 1, 403),
            ("big/a", 100, 201),
            ("big/a", 90, 201),
        ] {
            let (status, answer) = put(name, length).await;
            assert_eq!(status, expect, "{name} {length}\n{answer}");
            assert_eq!(answer.contains("DENIED"), status == 403);
        }
        assert_eq!(send(addr, "POST /v2/a/blobs/uploads/", "").await.0, 403, "full");
        let (_, answer) = send(addr, "POST /v2/big/a/blobs/uploads/", "").await;
        let place = header(&answer, "location").unwrap().to_owned();
        let (_, _) = send(addr, "POST /v2/big/b/blobs/uploads/", "").await;
        let (status, answer) = send(addr, "POST /v2/big/c/blobs/uploads/", "").await;
        assert_eq!((status, header(&answer, "retry-after")), (429, Some("5")));
        assert_eq!(send(addr, &format!("PATCH {place}"), &"y".repeat(60)).await.0, 202);
        assert_eq!(send(addr, &format!("PATCH {place}"), &"y".repeat(41)).await.0, 413, "with what came before");
        assert_eq!(send(addr, &format!("PATCH {place}"), "y").await.0, 404, "it is over");

        let server = serve(few, &MemoryBackend::default()).await;
        let mut limited = None;
        for _ in 0..15 {
            let (status, answer) = send(server.addr(), "GET /v2/", "").await;
            if status == 429 {
                limited = header(&answer, "retry-after").map(str::to_owned);
            }
        }
        assert_eq!(limited.as_deref(), Some("1"));
        assert_eq!(send(server.addr(), "GET /healthz", "").await.0, 200);
    })
    .await;
}

#[tokio::test]
async fn connections_of_one_client_are_bounded() {
    within(async {
        let mut guard = Guard::new(clock());
        guard.limits = Limits { connections_per_client: 3, connections: 100, ..Limits::default() };
        let server = serve(guard, &MemoryBackend::default()).await;
        let mut open = Vec::new();
        for _ in 0..3 {
            let mut stream = TcpStream::connect(server.addr()).await.unwrap();
            stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
            open.push(stream);
        }
        assert_eq!(raw(server.addr(), b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.0, 0);
        drop(open);
        // The server notices when it notices.
        while raw(server.addr(), b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.0 != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Lines that were logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn every_request_is_written_down_and_counted() {
    within(async {
        let dir = tempfile::tempdir().unwrap();
        let lines = Lines::default();
        let to = lines.clone();
        let mut guard = Guard::new(clock());
        guard.auth.users = users(dir.path());
        guard.auth.tokens = Some(own_tokens());
        guard.log = Some(AccessLog::new(LogFormat::Json, Box::new(move || Ok(Box::new(to.clone())))).unwrap());
        guard.shows_metrics = true;
        let log = guard.log.clone().unwrap();
        let (backend, layer) = filled(&["a"]).await;
        let mut server = serve(guard, &backend).await;
        let watchers = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let watched = watchers.local_addr().unwrap();
        server.serve_metrics(watchers);
        let addr = server.addr();
        let (canary, ann) = (login("ann", "canary"), login("ann", "secret"));
        let (_, answer) = send(addr, &format!("GET /v2/a/blobs/{layer}|{ann}"), "").await;
        let id = header(&answer, "x-request-id").unwrap().to_owned();
        assert_eq!(id.len(), 32);
        send(addr, &format!("GET /token?scope=repository:a:pull&password=canary|{canary}"), "").await;
        send(addr, "POST /token", "grant_type=password&username=ann&password=canary").await;
        send(addr, "GET /v2/a/tags/list|Authorization: Bearer canary", "").await;
        let digest = Digest::of(b"body");
        send(addr, &format!("POST /v2/a/blobs/uploads/?digest={digest}|{ann}"), "body").await;
        send(addr, "GET /%1b[2J%0a", "").await;
        let (_, metrics) = send(addr, "GET /metrics", "").await;
        let (status, same) = send(watched, "GET /metrics", "").await;
        assert_eq!(status, 200);
        assert!(same.contains("cooper_auth_failures_total 2\n"), "{same}");
        assert_eq!(send(watched, &format!("GET /v2/|{ann}"), "").await.0, 404, "no registry there");
        for line in [
            "cooper_requests_total{method=\"GET\",resource=\"blob\",status=\"200\"} 1",
            "cooper_requests_total{method=\"GET\",resource=\"token\",status=\"401\"} 1",
            "cooper_requests_total{method=\"POST\",resource=\"upload\",status=\"201\"} 1",
            "cooper_requests_in_flight 1",
        ] {
            assert!(metrics.lines().any(|other| other == line), "{line} is not in\n{metrics}");
        }
        assert_eq!(send(addr, "GET /healthz", "").await.0, 200);
        assert_eq!(send(addr, "GET /readyz", "").await.0, 200);
        log.finish();
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains("canary") && !text.contains("secret"), "{text}");
        let found: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let blob = found.iter().find(|line| line["request_id"] == id.as_str()).unwrap();
        assert_eq!((&blob["user"], &blob["status"], &blob["sent_bytes"]), (&"ann".into(), &200.into(), &1000.into()));
        assert_eq!((&blob["address"], &blob["cut"]), (&"127.0.0.1".into(), &serde_json::Value::Null));
        let upload = found.iter().find(|line| line["status"] == 201).unwrap();
        assert_eq!((&upload["received_bytes"], &upload["method"]), (&4.into(), &"POST".into()));
        assert_eq!(upload["path"], format!("/v2/a/blobs/uploads/?digest={digest}"));
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_is_not_taken_to_its_end_is_written_down_as_cut() {
    within(async {
        let lines = Lines::default();
        let to = lines.clone();
        let mut guard = Guard::new(clock());
        guard.log = Some(AccessLog::new(LogFormat::Plain, Box::new(move || Ok(Box::new(to.clone())))).unwrap());
        let log = guard.log.clone().unwrap();
        let backend = MemoryBackend::default();
        let server = serve(guard, &backend).await;
        let bytes = noise(60_000_000, 1);
        let digest = Digest::of(&bytes);
        let head = format!("POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 60000000\r\n\r\n");
        assert_eq!(raw(server.addr(), &[head.as_bytes(), &bytes].concat()).await.0, 201);
        let mut stream = TcpStream::connect(server.addr()).await.unwrap();
        let head = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.read_exact(&mut [0; 10]).await.unwrap();
        drop(stream);
        assert!(server.drain(Duration::from_secs(30)).await);
        log.finish();
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let line = text.lines().find(|line| line.contains("GET")).unwrap();
        assert!(line.ends_with(" cut"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn broken_files_stop_the_start() {
    within(async {
        let dir = tempfile::tempdir().unwrap();
        let file = |text: &str| {
            let path = dir.path().join("file");
            std::fs::write(&path, text).unwrap();
            path
        };
        let outside = |keys| TokenOptions { issuer: TokenIssuer::Outside { issuer: "i".into(), keys }, ..own_tokens() };
        let mut cases: Vec<(Guard, &str)> = Vec::new();
        let mut guard = Guard::new(clock());
        guard.auth.users = Users::File(dir.path().join("none"));
        cases.push((guard, "failed to read the file of users"));
        let mut guard = Guard::new(clock());
        guard.auth.users = Users::File(dir.path().to_owned());
        cases.push((guard, "failed to read the file of users"));
        let mut guard = Guard::new(clock());
        guard.auth.tokens = Some(outside(dir.path().join("none")));
        cases.push((guard, "failed to read the keys of the token issuer"));
        let mut guard = Guard::new(clock());
        guard.auth.tokens = Some(TokenOptions { service: "a\"b".into(), ..own_tokens() });
        cases.push((guard, "`a\"b` cannot be written in a challenge"));
        for (guard, expect) in cases {
            let error = guard.check().unwrap_err();
            assert!(error.to_string().contains(expect), "{error}");
        }
        for (text, expect) in [
            ("", "it holds no key that signatures can be checked with"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "it holds certificates, not public keys",
            ),
            (
                "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
                "signatures of this kind of key are not known",
            ),
            ("{\"keys\":[]}", "it holds no key"),
            ("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}", "key number 1: signatures of this kind"),
            (
                "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"k\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}",
                "key k: an RSA key has 2048",
            ),
            ("{\"keys\"", "broken JWK Set"),
        ] {
            let mut guard = Guard::new(clock());
            guard.auth.tokens = Some(outside(file(text)));
            let error = guard.check().unwrap_err();
            assert!(error.to_string().contains(expect), "{error}");
        }
    })
    .await;
}
