//! `cooper serve` that asks who may do what: TLS, passwords and tokens with real clients, its configuration, what is read
//! again while it runs.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Cooper, installed, peer};
use crate::serving::Serving;

/// bcrypt of `secret`, at the least cost.
const SECRET: &str = "$2y$04$hQwg9FmMJ7Xzq1Hyyd8yx.kL3ZkR5H32XC8uumm.lFveH5ZDLahVW";
/// Basic credentials of `ann` and `ci`, who have that password.
const ANN: &str = "Authorization: Basic YW5uOnNlY3JldA==";
const CI: &str = "Authorization: Basic Y2k6c2VjcmV0";

/// A world with users, certificates of loopback, and a configuration that names them.
fn world(config: &str) -> Cooper {
    let cooper = Cooper::empty();
    cooper.put("../users", format!("ann:{SECRET}\nci:{SECRET}\n"));
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    cooper.put("../tls.pem", params.self_signed(&key).unwrap().pem());
    cooper.put("../tls.key", key.serialize_pem());
    cooper.put("../serve.toml", config);
    cooper
}

fn start(cooper: &Cooper, more: &[&str]) -> Serving {
    Serving::start(cooper, &[&["--config", &cooper.text("../serve.toml")], more].concat())
}

/// Repeats until it is so: what follows a signal takes a moment.
#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn skopeo_and_cooper_log_in_push_and_pull_over_tls() {
    if !installed("skopeo") {
        return;
    }
    for auth in ["", "[auth.token]\nservice = \"here\"\n"] {
        let cooper = world(&format!(
            "[tls]\ncertificate = \"tls.pem\"\nkey = \"tls.key\"\n[auth]\nhtpasswd = \"users\"\n{auth}"
        ));
        cooper.put("file", "text");
        cooper.build("FROM scratch\nCOPY file /file\n", &["-t", "app"]).ok();
        let serving = start(&cooper, &[]);
        let address = &serving.address;
        let certificates = cooper.text("../certificates");
        cooper.put("../certificates/ca.crt", std::fs::read(cooper.path("../tls.pem")).unwrap());
        let file = cooper.text("../auth.json");
        let skopeo = |args: &[&str]| peer("skopeo", args);
        let (cert, authfile) = (format!("--cert-dir={certificates}"), format!("--authfile={file}"));
        skopeo(&["login", &cert, &authfile, "--username=ann", "--password=secret", address]);
        let dir = format!("dir:{}", cooper.text("../copied"));
        let cert = |side: &str| format!("--{side}-cert-dir={certificates}");
        skopeo(&["copy", &authfile, &cert("src"), &format!("docker://{address}/app"), &dir]);
        skopeo(&["copy", &authfile, &cert("dest"), &dir, &format!("docker://{address}/team/app:2")]);

        let other = Cooper::empty();
        other.put(
            &format!("../home/.docker/certs.d/{address}/ca.crt"),
            std::fs::read(cooper.path("../tls.pem")).unwrap(),
        );
        let name = format!("{address}/team/app:2");
        let message = other.run(&["pull", &name]).fails(1);
        assert!(message.contains("cooper login"), "{message}");
        let login = ["login", address, "--username", "ann", "--password-stdin"];
        let message = other.feed(&login, b"wrong").stderr;
        assert!(message.contains("error: ") && !message.contains("wrong\n"), "{message}");
        other.feed(&login, b"secret").ok();
        other.run(&["pull", &name]).ok();
        other.run(&["tag", &name, &format!("{address}/team/app:3")]).ok();
        other.run(&["push", &format!("{address}/team/app:3")]).ok();
        assert_eq!(
            cooper.inspect("localhost/team/app:3")["Descriptor"],
            cooper.inspect("localhost/team/app:2")["Descriptor"]
        );
        let out = serving.stop(&cooper);
        assert_eq!((out.code, out.stderr.as_str()), (0, ""));
    }
}

#[test]
fn anonymous_clients_pull_what_is_public_and_users_push_it() {
    if !installed("skopeo") {
        return;
    }
    let rules = r#"
[auth]
htpasswd = "users"
[[rule]]
users = ["anonymous"]
repositories = ["public/**"]
actions = ["pull"]
[[rule]]
users = ["ci"]
repositories = ["**"]
actions = ["pull", "push", "delete"]
"#;
    let cooper = world(rules);
    cooper.put("file", "text");
    cooper.build("FROM scratch\nCOPY file /file\n", &["-t", "app"]).ok();
    let serving = start(&cooper, &[]);
    let name = |name: &str| format!("docker://{}/{name}", serving.address);
    let copy = ["copy", "--src-tls-verify=false", "--dest-tls-verify=false"];
    let skopeo = |args: &[&str]| peer("skopeo", &[&copy, args].concat());
    skopeo(&["--src-creds=ci:secret", "--dest-creds=ci:secret", &name("app"), &name("public/app:1")]);
    skopeo(&["--src-no-creds", &name("public/app:1"), &format!("dir:{}", cooper.text("../copied"))]);
    let other = Cooper::empty();
    other.run(&["pull", &format!("{}/public/app:1", serving.address)]).ok();
    other.run(&["pull", &format!("{}/app", serving.address)]).fails(1);
    assert_eq!(serving.send(&format!("GET /v2/app/tags/list|{ANN}"), b"").status, 403);
    assert_eq!(serving.send("GET /v2/_catalog", b"").text(), "{\"repositories\":[\"public/app\"]}");
}

#[test]
fn a_signal_reads_rules_again_and_broken_ones_change_nothing() {
    let rule = |user: &str| {
        format!(
            "[auth]\nhtpasswd = \"users\"\n[[rule]]\nusers = [\"{user}\"]\nrepositories = [\"a\"]\nactions = [\"pull\"]\n"
        )
    };
    let cooper = world(&rule("ann"));
    let serving = start(&cooper, &[]);
    let status = |login: &str| serving.send(&format!("GET /v2/a/tags/list|{login}"), b"").status;
    assert_eq!((status(ANN), status(CI)), (404, 403));
    cooper.put("../serve.toml", rule("ci"));
    serving.signal(Signal::HUP);
    until("the rules are read", || status(CI) == 404);
    assert_eq!(status(ANN), 403);
    cooper.put("../serve.toml", "[[rule]]\nuser = [\"ann\"]\n");
    cooper.put("../users", format!("ann:{SECRET}\nci:{SECRET}\nzoe:{SECRET}\n"));
    serving.signal(Signal::HUP);
    let zoe = "Authorization: Basic em9lOnNlY3JldA==";
    until("the users are read", || status(zoe) == 403);
    assert_eq!((status(ANN), status(CI)), (403, 404));
    let said = serving.stop(&cooper).stderr;
    assert!(said.contains("did you mean `users`?") && said.contains("what was in force stays"), "{said}");
}

#[test]
fn users_are_read_again_when_they_change() {
    let cooper = world("[auth]\nhtpasswd = \"users\"\n");
    let serving = start(&cooper, &[]);
    let status = || serving.send(&format!("GET /v2/|{ANN}"), b"").status;
    assert_eq!(status(), 200);
    cooper.put("../new", "");
    std::fs::rename(cooper.path("../new"), cooper.path("../users")).unwrap();
    until("the user is gone", || status() != 200);
}

#[test]
fn a_login_that_keeps_no_password_survives_a_restart() {
    let cooper = world("[auth]\nhtpasswd = \"users\"\n[auth.token]\n");
    let serving = start(&cooper, &[]);
    let sold = serving.send(&format!("GET /token?offline_token=true|{ANN}"), b"").text();
    let sold: serde_json::Value = serde_json::from_str(&sold).unwrap();
    let form = format!("grant_type=refresh_token&refresh_token={}", sold["refresh_token"].as_str().unwrap());
    serving.kill();
    let key = cooper.root().join("serve/token-key.pem");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let serving = start(&cooper, &[]);
    assert_eq!(serving.send("POST /token", form.as_bytes()).status, 200);
    serving.kill();
    std::fs::remove_file(key).unwrap();
    let serving = start(&cooper, &[]);
    assert_eq!(serving.send("POST /token", form.as_bytes()).status, 401, "another key, another server");
}

#[test]
fn requests_are_logged_into_a_file_that_may_be_moved_away() {
    let cooper = world("[log]\naccess = \"plain\"\nfile = \"log\"\n[metrics]\npublic = true\n");
    let serving = start(&cooper, &[]);
    let read = |name: &str| std::fs::read_to_string(cooper.path(name)).unwrap_or_default();
    assert_eq!(serving.send("GET /v2/first/tags/list", b"").status, 404);
    until("the line is written", || read("../log").contains("\"GET /v2/first/tags/list\" 404 "));
    std::fs::rename(cooper.path("../log"), cooper.path("../log.1")).unwrap();
    serving.signal(Signal::HUP);
    until("the log is opened again", || Path::new(&cooper.path("../log")).exists());
    assert_eq!(serving.send("GET /v2/second/tags/list", b"").status, 404);
    let numbers = serving.send("GET /metrics", b"").text();
    assert!(numbers.contains("cooper_requests_total{method=\"GET\",resource=\"tags\",status=\"404\"} 2"), "{numbers}");
    assert_eq!(serving.send("GET /readyz", b"").status, 200);
    assert_eq!(serving.stop(&cooper).code, 0);
    assert!(read("../log").contains("/v2/second/") && !read("../log.1").contains("/v2/second/"));
}

#[test]
fn quotas_count_what_the_store_holds() {
    let cooper = world("[limits]\nquota = \"1kB\"\n");
    cooper.put("file", "x".repeat(3000));
    cooper.build("FROM scratch\nCOPY file /file\n", &["-t", "app"]).ok();
    let serving = start(&cooper, &[]);
    assert!(serving.push("own", "1", &[7; 500]).is_some());
    let refused = serving.send("POST /v2/own/blobs/uploads/", b"");
    assert_eq!(refused.status, 202, "there is room for some more");
    assert!(serving.push("own", "2", &[8; 500]).is_none(), "but not for that");
    assert!(serving.push("other", "1", &[8; 500]).is_some(), "each has its own");
    serving.stop(&cooper);
}

#[test]
fn what_cannot_be_served_is_said_before_anything_is() {
    let cooper = world("");
    let config = cooper.text("../serve.toml");
    let serve = |config_text: &str, args: &[&str]| {
        cooper.put("../serve.toml", config_text);
        let all = [&["serve", "--listen", "127.0.0.1:0", "--check-config", "--config", &config], args].concat();
        cooper.run(&all)
    };
    let fine = "[auth]\nhtpasswd = \"users\"\n[auth.token]\n[tls]\ncertificate = \"tls.pem\"\nkey = \"tls.key\"\n";
    assert_eq!(serve(fine, &[]).ok().stdout, "the configuration can be used\n");
    assert!(!cooper.root().join("serve").exists(), "looking changes nothing");
    for (text, code, expect) in [
        ("[auth]\nhtpaswd = 'x'\n", 2, "did you mean `htpasswd`?"),
        ("[auth]\nhtpasswd = 'none'\n", 1, "failed to read the file of users"),
        ("[auth]\nhtpasswd = 'tls.key'\n", 1, "line 1: it is not `user:hash`"),
        ("[auth.token]\n", 2, "had for passwords, and there are none"),
        ("[auth.token]\nissuer = 'i'\n", 2, "`issuer` and `public-key` in `[auth.token]` belong together"),
        ("[auth.token]\nissuer = 'i'\npublic-key = 'k'\n", 2, "does not say where tokens of the issuer are had"),
        ("[auth.token]\nissuer = 'i'\npublic-key = 'k'\nkey = 'k'\n", 2, "signs this server's own tokens"),
        (
            "[[rule]]\nusers = ['ann']\nrepositories = ['**']\nactions = ['pull']\n",
            2,
            "rule 1 is for users, and nobody can log in",
        ),
        (
            "[[rule]]\nusers = ['anonymous']\nrepositories = ['A']\nactions = ['pull']\n",
            2,
            "rule 1: no repository matches `A`",
        ),
        ("[tls]\ncertificate = 'tls.key'\nkey = 'tls.key'\n", 1, "it holds no `CERTIFICATE` in PEM"),
        ("[tls]\ncertificate = 'tls.pem'\nkey = 'users'\n", 1, "it holds no `PRIVATE KEY` in PEM"),
        ("[[quota]]\nrepositories = []\nsize = '1kB'\n", 2, "it names no repositories"),
    ] {
        let message = serve(text, &[]).fails(code);
        assert!(message.contains(expect), "{message}");
    }
    let run = |args: &[&str]| cooper.run(&[&["serve"], args].concat());
    let message = run(&["--listen", "0.0.0.0:0"]).fails(2);
    assert!(message.contains("nobody would be asked") && message.contains("--htpasswd FILE"), "{message}");
    cooper.put("../serve.toml", "[auth]\nhtpasswd = 'users'\n");
    let message = run(&["--listen", "127.0.0.1:0", "--anonymous", "--config", &config]).fails(2);
    assert!(message.contains("--anonymous"), "{message}");
}
