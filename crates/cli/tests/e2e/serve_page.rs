//! The pages of `cooper serve`, as they are sent and as a browser understands them.

use std::process::Command;

use crate::harness::{Cooper, installed};
use crate::serving::Serving;

/// A page as text; it must be there.
#[track_caller]
fn page(serving: &Serving, path: &str) -> String {
    let answer = serving.send(&format!("GET {path}"), b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
}

const DOCKERFILE: &str = "FROM scratch\nCOPY file /file\nENV GREETING=\"<b>hello</b>\"\nLABEL team=\"a & b\"\n\
    EXPOSE 80\nUSER 1000\nENTRYPOINT [\"/file\"]\n";

#[test]
fn an_image_of_the_store_is_shown_with_what_made_it() {
    let cooper = Cooper::empty();
    cooper.put("file", "x".repeat(5000));
    cooper.build(DOCKERFILE, &["-t", "team/app:1", "--platform", "linux/amd64,linux/arm64"]).ok();
    cooper.build(DOCKERFILE, &["-t", "other"]).ok();
    let serving = Serving::start(&cooper, &[]);
    has(&page(&serving, "/"), &["href=\"/r/team/app\"", "href=\"/r/team/app:1\"", "href=\"/r/other\""]);
    let found = page(&serving, "/?q=team");
    assert!(found.contains("/r/team/app") && !found.contains("/r/other"), "{found}");
    has(&page(&serving, "/r/team/app"), &["linux/amd64", "linux/arm64"]);
    let digest = cooper.inspect("team/app:1")["Descriptor"]["digest"].as_str().unwrap().to_owned();
    let image = page(&serving, "/r/team/app:1?platform=linux%2Farm64");
    has(
        &image,
        &[
            &digest,
            "<b><bdi>linux/arm64</bdi></b>",
            "<b>COPY</b> <bdi>file /file</bdi>",
            "&lt;b&gt;hello&lt;/b&gt;",
            "<bdi>a &amp; b</bdi>",
            "<bdi>[&quot;/file&quot;]</bdi>",
            "<bdi>80/tcp</bdi>",
        ],
    );
    has(&page(&serving, &format!("/r/team/app@{digest}?view=manifest")), &["schemaVersion", "/r/team/app@sha256:"]);
    assert_eq!(serving.send("GET /r/team/none", b"").status, 404);
    assert_eq!(serving.send("GET /r/../../etc/passwd", b"").status, 404);
}

/// What Chromium makes of a page, and what it has to say about it.
fn chromium(cooper: &Cooper, url: &str) -> (String, String) {
    let profile = format!("--user-data-dir={}", cooper.text("../profile"));
    let quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"];
    let output = Command::new("chromium")
        .args(quiet)
        .args([&profile, "--disable-background-networking", "--enable-logging=stderr", "--dump-dom", url])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn chromium_finds_nothing_wrong_with_a_page() {
    if !installed("chromium") {
        return;
    }
    let cooper = Cooper::empty();
    cooper.put("file", "content");
    let hostile = "FROM scratch\nCOPY file /file\nLABEL x=\"</style></script><script>document.title='taken'</script>\"\n\
        LABEL y=\"<img src=x onerror=document.title='taken'>\"\n";
    cooper.build(hostile, &["-t", "app"]).ok();
    let serving = Serving::start(&cooper, &[]);
    let (dom, said) = chromium(&cooper, &format!("http://{}/r/app:latest", serving.address));
    has(&dom, &["<title>app:latest · cooper</title>", "<table class=\"layers\">", "&lt;script&gt;document.title"]);
    assert!(!dom.contains("<script") && !dom.contains("<img"), "{dom}");
    assert!(!said.contains("Content Security Policy") && !said.contains("CONSOLE"), "{said}");
}
