//! `cooper serve --proxy` between a registry and its clients.

use std::time::Duration;

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

/// Waits for what a cache does after it answered: bytes are sent before they are put away.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it never came about that {what}");
}

/// Whether the page of a repository shows a tag.
fn shows(cache: &Serving, name: &str, tag: &str) -> bool {
    cache.send(&format!("GET /r/{name}"), b"").text().contains(&format!("href=\"/r/{name}:{tag}\""))
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
    until("the whole image has its name", || shows(&cache, "team/app", "1"));
    // What is on its way has no name, and what came is an image of the store, apart from all others.
    until("nothing is on its way", || std::fs::read_dir(world.away.root().join("tmp")).unwrap().count() == 0);
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
fn a_rotten_blob_is_fetched_again() {
    let world = World::new();
    let cache = world.cache(&[]);
    assert_eq!(manifest(&cache, "1").status, 200);
    assert_eq!(layer(&cache).unwrap().body, b"the layer");
    let file = world.away.root().join(format!("blobs/sha256/{}", Digest::of(b"the layer").hex()));
    // The blob is put away after its bytes were sent.
    until("the blob is put away", || file.exists());
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "THE LAYER").unwrap();
    // It may have the number of the one that was removed, and times of the same tick.
    std::fs::File::options().append(true).open(&file).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    // The first to ask may be cut off, before the last byte; nobody gets wrong bytes.
    assert!(!layer(&cache).is_ok_and(|answer| answer.body == b"THE LAYER"));
    assert_eq!(layer(&cache).unwrap().body, b"the layer");
    until("it is put away again", || std::fs::read(&file).is_ok_and(|bytes| bytes == b"the layer"));
    assert_eq!(layer(&cache).unwrap().body, b"the layer");
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
        until("the image is kept", || shows(&cache, "team/app", tag));
    }
    until("there is room", || !shows(&cache, "team/app", "2"));
    assert!(shows(&cache, "team/app", "3"));
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
fn one_platform_of_several_is_kept_without_the_others() {
    let world = World::new();
    world.home.put("file", "content");
    let platforms = ["-t", "many", "--platform", "linux/amd64,linux/arm64"];
    world.home.build("FROM scratch\nARG TARGETARCH\nENV A=$TARGETARCH\nCOPY file /file\n", &platforms).ok();
    let cache = world.cache(&["--proxy-ttl", "0s"]);
    let name = format!("{}/many", cache.address);
    Cooper::empty().run(&["pull", "--platform", "linux/arm64", &name]).ok();
    until("the index is kept", || shows(&cache, "many", "latest"));
    // The clerks of the store live with an image of which a part is not here.
    assert!(world.away.run(&["images"]).ok().stdout.contains("/many"));
    world.away.run(&["prune", "-f"]).ok();
    world.away.run(&["store", "check"]).ok();
    world.upstream.stop(&world.home).ok();
    Cooper::empty().run(&["pull", "--platform", "linux/arm64", &name]).ok();
    let index: serde_json::Value =
        serde_json::from_slice(&cache.send("GET /v2/many/manifests/latest", b"").body).unwrap();
    let amd64 =
        index["manifests"].as_array().unwrap().iter().find(|child| child["platform"]["architecture"] == "amd64");
    let path = format!("GET /v2/many/manifests/{}", amd64.unwrap()["digest"].as_str().unwrap());
    assert_eq!(cache.send(&path, b"").status, 502);
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
