//! `cooper serve --proxy` between a registry and its clients.

use cooper_oci::Digest;

use crate::harness::{Cooper, installed, peer};
use crate::serving::{Answer, Serving};

/// A registry with an image of one layer, and its cache.
struct World {
    home: Cooper,
    upstream: Serving,
    away: Cooper,
}

impl World {
    fn new() -> Self {
        let home = Cooper::empty();
        let upstream = Serving::start(&home, &[]);
        upstream.push("team/app", "1", b"the layer").unwrap();
        Self { home, upstream, away: Cooper::empty() }
    }

    fn cache(&self, args: &[&str]) -> Serving {
        let url = format!("http://{}", self.upstream.address);
        Serving::start(&self.away, &[&["--proxy", &url], args].concat())
    }
}

fn manifest(serving: &Serving, tag: &str) -> Answer {
    serving.send(&format!("GET /v2/team/app/manifests/{tag}"), b"")
}

/// Waits until an image is kept under its name: it was sent before it was put away.
fn wait_for(cache: &Serving, tag: &str) -> String {
    loop {
        let kept = cache.send("GET /r/team/app", b"").text();
        if kept.contains(&format!("href=\"/r/team/app:{tag}\"")) {
            return kept;
        }
    }
}

fn config(serving: &Serving) {
    assert_eq!(serving.send(&format!("GET /v2/team/app/blobs/{}", Digest::of(b"{}")), b"").body, b"{}");
}

fn layer(serving: &Serving) -> std::io::Result<Answer> {
    serving.try_send(&format!("GET /v2/team/app/blobs/{}", Digest::of(b"the layer")), b"")
}

#[test]
fn a_cache_serves_what_it_fetched_when_upstream_is_gone() {
    let world = World::new();
    let cache = world.cache(&["--proxy-ttl", "0s"]);
    let found = manifest(&cache, "1");
    assert_eq!((found.status, found.header("warning")), (200, None));
    assert_eq!(layer(&cache).unwrap().body, b"the layer");
    assert_eq!(manifest(&cache, "2").status, 404);
    assert_eq!(world.away.run(&["images", "-q"]).ok().stdout, "", "what is not whole has no name");
    config(&cache);
    wait_for(&cache, "1");
    // What is on its way has no name, and what came is an image of the store, apart from all others.
    assert_eq!(std::fs::read_dir(world.away.root().join("tmp")).unwrap().count(), 0);
    let names = world.away.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok().stdout;
    let upstream = world.upstream.address.replace(':', "-");
    assert_eq!(names, format!("localhost/{upstream}/team/app:1\n"));
    cache.stop(&world.away);

    let cache = world.cache(&["--proxy-ttl", "0s"]);
    world.upstream.stop(&world.home).ok();
    let kept = manifest(&cache, "1");
    assert_eq!((kept.status, kept.body), (200, found.body));
    assert!(manifest(&cache, "1").header("warning").unwrap().starts_with("299 - \""));
    assert_eq!(layer(&cache).unwrap().body, b"the layer");
    assert_eq!(manifest(&cache, "2").status, 502);
    let out = cache.stop(&world.away);
    assert!(out.stderr.contains("warning: upstream fails, what is kept is served"), "{}", out.stderr);
    world.away.run(&["store", "check"]).ok();
}

#[test]
fn the_least_recently_used_image_leaves_the_store() {
    let world = World::new();
    for (tag, byte) in [("2", 2), ("3", 3)] {
        world.upstream.push("team/app", tag, &[byte; 100_000]).unwrap();
    }
    let cache = world.cache(&["--proxy-max-size", "150kB"]);
    for (tag, byte) in [("2", 2), ("3", 3)] {
        assert_eq!(manifest(&cache, tag).status, 200);
        let blob = format!("GET /v2/team/app/blobs/{}", Digest::of(&[byte; 100_000]));
        assert_eq!(cache.send(&blob, b"").body, [byte; 100_000]);
        config(&cache);
        let kept = wait_for(&cache, tag);
        assert!(tag == "2" || !kept.contains("/r/team/app:2"), "{kept}");
    }
    cache.stop(&world.away).ok();
}

#[test]
fn skopeo_pulls_through_and_cannot_push() {
    if !installed("skopeo") {
        return;
    }
    let world = World::new();
    world.home.put("file", "content");
    world.home.build("FROM scratch\nCOPY file /file\n", &["-t", "real"]).ok();
    let cache = world.cache(&[]);
    let (from, dir) = (format!("docker://{}/real", cache.address), format!("dir:{}", world.away.text("../copied")));
    peer("skopeo", &["copy", "--src-tls-verify=false", &from, &dir]);
    let listed = peer("skopeo", &["list-tags", "--tls-verify=false", &format!("docker://{}/team/app", cache.address)]);
    assert!(listed.contains("\"1\""), "{listed}");
    let to = format!("docker://{}/real:2", cache.address);
    let output = std::process::Command::new("skopeo").args(["copy", "--dest-tls-verify=false", &dir, &to]).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("this is a cache of"), "{said}");
}

#[test]
fn what_is_no_registry_is_refused_with_a_hint() {
    let cooper = Cooper::empty();
    for (args, part) in [
        (&["--proxy", "ftp://x"][..], "neither http nor https"),
        (&["--proxy", "https://r.example/team"], "more than a host"),
        (&["--proxy", "docker.io", "--proxy-ttl", "soon"], "not a duration"),
        (&["--proxy", "docker.io", "--proxy-max-size", "much"], "not a size"),
        (&["--proxy-ttl", "1h"], "--proxy"),
    ] {
        let message = cooper.run(&[&["serve", "--listen", "127.0.0.1:0"], args].concat()).fails(2);
        assert!(message.contains(part), "{message}");
    }
}
