//! `cooper serve`: the store as a registry, to cooper, to skopeo and to clients that mean harm.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use cooper_oci::Digest;
use rustix::process::Signal;

use crate::harness::{Cooper, installed, peer};
use crate::serving::{Answer, Serving, answer, wire};

/// An image of one file, which no step makes.
fn build(cooper: &Cooper, name: &str, text: &str) {
    cooper.put("file", text);
    cooper.build("FROM scratch\nCOPY file /file\n", &["-t", name]).ok();
}

/// Bytes of all blobs of the store.
fn blob_bytes(cooper: &Cooper) -> u64 {
    let files = std::fs::read_dir(cooper.root().join("blobs/sha256")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn privileged_an_image_built_here_is_served_without_a_copy_and_runs_elsewhere() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.build("FROM base\nRUN echo served > /x\n", &["-t", "team/app:v1"]).ok();
    let before = blob_bytes(&cooper);
    let serving = Serving::start(&cooper, &[]);
    let name = format!("{}/team/app:v1", serving.address);
    let other = Cooper::empty();
    other.run(&["pull", &name]).ok();
    assert_eq!(other.sh(&name, "cat /x"), "served\n");
    assert_eq!(blob_bytes(&cooper), before);
    other
        .build(&format!("FROM {name}\nRUN echo more >> /x\n"), &["-t", &format!("{}/own:1", serving.address), "--push"])
        .ok();
    assert_eq!(cooper.sh("localhost/own:1", "cat /x"), "served\nmore\n", "what is pushed is an image of the store");
}

#[test]
fn skopeo_pulls_and_pushes() {
    if !installed("skopeo") {
        return;
    }
    let cooper = Cooper::empty();
    build(&cooper, "app", "one");
    let serving = Serving::start(&cooper, &[]);
    let (address, dir) = (&serving.address, cooper.text("../copied"));
    peer("skopeo", &["copy", "--src-tls-verify=false", &format!("docker://{address}/app"), &format!("dir:{dir}")]);
    let to = format!("docker://{address}/team/app:2");
    peer("skopeo", &["copy", "--dest-tls-verify=false", &format!("dir:{dir}"), &to]);
    let listed = peer("skopeo", &["list-tags", "--tls-verify=false", &format!("docker://{address}/team/app")]);
    assert!(listed.contains("\"2\""), "{listed}");
    let (built, pushed) = (cooper.inspect("app"), cooper.inspect("localhost/team/app:2"));
    assert_eq!(built["Descriptor"]["digest"], pushed["Descriptor"]["digest"]);
    peer("skopeo", &["delete", "--tls-verify=false", &to]);
    assert_eq!(serving.send("GET /v2/team/app/manifests/2", b"").status, 404);
}

#[test]
fn a_restart_keeps_everything_and_the_store_is_sound() {
    let cooper = Cooper::empty();
    let serving = Serving::start(&cooper, &[]);
    let pushed = serving.push("a/b", "1", b"layer").unwrap();
    let out = serving.stop(&cooper);
    assert_eq!((out.code, out.stderr.as_str()), (0, ""));
    cooper.run(&["store", "check"]).ok();
    let serving = Serving::start(&cooper, &[]);
    let found = serving.send("GET /v2/a/b/manifests/1", b"");
    assert_eq!((found.status, Digest::of(&found.body)), (200, pushed));
    let blob = serving.send(&format!("GET /v2/a/b/blobs/{}", Digest::of(b"layer")), b"");
    assert_eq!((blob.status, blob.text().as_str()), (200, "layer"));
    assert_eq!(cooper.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok().stdout, "localhost/a/b:1\n");
}

fn place(opened: &Answer) -> String {
    assert_eq!(opened.status, 202, "{opened:?}");
    opened.header("location").unwrap().to_owned()
}

#[test]
fn uploads_in_pieces_are_checked_and_cancelled() {
    let cooper = Cooper::empty();
    let serving = Serving::start(&cooper, &[]);
    let at = place(&serving.send("POST /v2/a/blobs/uploads/", b""));
    let digest = Digest::of(b"abcdef");
    for (head, body, expect) in [
        (format!("PATCH {at}|Content-Range: 0-2"), "abc", 202),
        (format!("PATCH {at}|Content-Range: 5-6"), "xy", 416),
        (format!("PATCH {}", at.replace("/a/", "/b/")), "def", 404),
        (format!("GET {at}"), "", 204),
        (format!("PUT {at}?digest={digest}"), "def", 201),
        (format!("GET {at}"), "", 404),
        (format!("GET /v2/b/blobs/{digest}"), "", 404),
        (format!("HEAD /v2/a/blobs/{digest}"), "", 200),
        (format!("POST /v2/a/blobs/uploads/?digest={digest}"), "wrong", 400),
        (format!("POST /v2/b/blobs/uploads/?mount={digest}&from=a"), "", 201),
        (format!("GET /v2/b/blobs/{digest}|Range: bytes=6-"), "", 416),
    ] {
        assert_eq!(serving.send(&head, body.as_bytes()).status, expect, "{head}");
    }
    let part = serving.send(&format!("GET /v2/b/blobs/{digest}|Range: bytes=2-3"), b"");
    assert_eq!((part.status, part.text().as_str()), (206, "cd"));
    assert_eq!(part.header("content-range"), Some("bytes 2-3/6"));

    let at = place(&serving.send("POST /v2/a/blobs/uploads/", b""));
    assert_eq!(serving.send(&format!("PATCH {at}"), &[1; 100_000]).status, 202);
    assert_eq!(serving.send(&format!("DELETE {at}"), b"").status, 204);
    assert_eq!(serving.send(&format!("PATCH {at}"), b"x").status, 404);
    assert_eq!(std::fs::read_dir(cooper.root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn an_upload_whose_connection_breaks_goes_on_where_it_was() {
    let cooper = Cooper::empty();
    let serving = Serving::start(&cooper, &[]);
    let bytes: Vec<u8> = (0..900_000_u32).map(|n| n as u8).collect();
    let at = place(&serving.send("POST /v2/a/blobs/uploads/", b""));
    let mut stream = serving.connect();
    stream.write_all(wire(&format!("PATCH {at}"), bytes.len()).as_bytes()).unwrap();
    stream.write_all(&bytes[..600_000]).unwrap();
    drop(stream);
    // The server may not have seen the end of the connection yet: then it is still that request's turn.
    let came = loop {
        let status = serving.send(&format!("GET {at}"), b"");
        let range = status.header("range").unwrap().split_once('-').unwrap().1.parse::<usize>().unwrap();
        let rest = serving.send(&format!("PATCH {at}|Content-Range: {}-899999", range + 1), &bytes[range + 1..]);
        match rest.status {
            202 => break range,
            409 | 416 => {}
            other => panic!("{other}: {rest:?}"),
        }
    };
    assert!(came > 0 && came < 600_000, "{came}");
    let digest = Digest::of(&bytes);
    assert_eq!(serving.send(&format!("PUT {at}?digest={digest}"), b"").status, 201);
    assert!(serving.send(&format!("GET /v2/a/blobs/{digest}"), b"").body == bytes);
}

#[test]
fn hostile_requests_get_the_specs_errors_and_the_server_stays() {
    let cooper = Cooper::empty();
    let serving = Serving::start(&cooper, &[]);
    let digest = Digest::of(b"");
    let long = "a/".repeat(200);
    for (head, body, expect) in [
        ("GET /v2/../../etc/manifests/passwd", "", &[400, 404][..]),
        ("GET /v2/a%2f..%2fb/manifests/1", "", &[400, 404]),
        ("GET /v2/a/blobs/sha256:../../../db.sqlite", "", &[400]),
        ("GET /v2/A/tags/list", "", &[400]),
        ("GET /v2/a/manifests/%00", "", &[400]),
        ("POST /v2/a/blobs/uploads/?digest=sha256:xyz", "", &[400]),
        ("POST /v2/a/blobs/uploads/?mount=../../x&from=../y", "", &[202]),
        ("PATCH /v2/a/blobs/uploads/../../tmp/x", "x", &[400, 404]),
        ("PUT /v2/a/manifests/1|Content-Type: application/vnd.oci.image.manifest.v1+json", "{", &[400]),
        ("PUT /v2/a/manifests/1|Content-Type: text/html", "<b>", &[400]),
        ("GET /v2/a/tags/list?n=99999999999999999999", "", &[400]),
        ("GET /v2/_catalog?n=-1", "", &[400]),
        ("BREW /v2/a/tags/list", "", &[405]),
        ("GET /v3/", "", &[404]),
    ] {
        let found = serving.send(head, body.as_bytes());
        assert!(expect.contains(&found.status), "{head}: {found:?}");
        assert!(found.status == 202 || found.text().contains("\"errors\":[{\"code\":"), "{head}: {found:?}");
    }
    assert_eq!(serving.send(&format!("GET /v2/{long}x/blobs/{digest}"), b"").status, 400);
    let huge = vec![b' '; 5 << 20];
    let put = serving.try_send("PUT /v2/a/manifests/1|Content-Type: application/vnd.oci.image.manifest.v1+json", &huge);
    // The server does not read all of it, which may reset the connection before the answer is read.
    assert!(put.is_err() || put.is_ok_and(|answer| answer.status == 413));
    assert_eq!(serving.send("GET /v2/", b"").status, 200);
}

#[test]
fn the_builders_images_stay_and_pushed_ones_go() {
    let cooper = Cooper::empty();
    build(&cooper, "app:1", "one");
    let serving = Serving::start(&cooper, &[]);
    let refused = serving.send("DELETE /v2/app/manifests/1", b"");
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("cooper rmi"), "{}", refused.text());
    serving.push("app", "2", b"pushed").unwrap();
    assert!(serving.send("GET /v2/app/tags/list", b"").text().contains(r#""tags":["1","2"]"#));
    assert_eq!(serving.send("DELETE /v2/app/manifests/2", b"").status, 202);
    assert!(serving.send("GET /v2/app/tags/list", b"").text().contains(r#""tags":["1"]"#));
    drop(serving);
    let only = Serving::start(&cooper, &["--pushed-only", "--read-only"]);
    assert_eq!(only.send("GET /v2/app/manifests/1", b"").status, 404);
    assert_eq!(only.send("POST /v2/app/blobs/uploads/", b"").status, 405);
}

#[test]
fn only_this_machine_is_served_without_being_asked() {
    let cooper = Cooper::empty();
    let message = cooper.run(&["serve", "--listen", "0.0.0.0:0"]).fails(2);
    assert!(message.contains("can be reached from other machines") && message.contains("--anonymous"), "{message}");
    let message = cooper.run(&["serve", "--gc-interval", "soon"]).fails(2);
    assert!(message.contains("`soon` is not a duration for `--gc-interval`"), "{message}");
}

#[test]
fn an_upload_that_runs_may_end_when_the_server_is_told_to() {
    let cooper = Cooper::empty();
    let serving = Serving::start(&cooper, &[]);
    let digest = Digest::of(b"abcdef");
    let mut stream = serving.connect();
    // A first answer shows that the connection was accepted; the second request is in its middle when the signal comes.
    let head = wire(&format!("POST /v2/a/blobs/uploads/?digest={digest}|Expect: 100-continue"), 6);
    stream.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    std::io::Read::read_exact(&mut stream, &mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").unwrap();
    serving.signal(Signal::TERM);
    while std::net::TcpStream::connect(&serving.address).is_ok() {
        std::thread::yield_now();
    }
    stream.write_all(b"def").unwrap();
    assert_eq!(answer(&mut stream).unwrap().status, 201);
    assert_eq!(serving.stop(&cooper).code, 0);
    let again = Serving::start(&cooper, &[]);
    assert_eq!(again.send(&format!("HEAD /v2/a/blobs/{digest}"), b"").status, 200);
}

/// What a server acknowledged before it died.
fn pushes_until_death(serving: &Serving, round: usize) -> Vec<(String, Digest, Vec<u8>)> {
    let mut acknowledged = Vec::new();
    for n in 0.. {
        let layer: Vec<u8> = (0..50_000 + n).map(|i| (i * (round + 3) + n) as u8).collect();
        let tag = format!("r{round}-{n}");
        match serving.push("killed/app", &tag, &layer) {
            Some(digest) => acknowledged.push((tag, digest, layer)),
            None => break,
        }
    }
    acknowledged
}

#[test]
fn killing_the_server_loses_nothing_that_was_acknowledged() {
    let cooper = Cooper::empty();
    let mut acknowledged = Vec::new();
    for round in 0..8 {
        let serving = Serving::start(&cooper, &["--gc-interval", "100ms"]);
        let pid = serving.pid();
        let found = std::thread::scope(|scope| {
            let pushing = scope.spawn(|| pushes_until_death(&serving, round));
            // In the middle of some request or other, differently each time.
            for n in 0..=round {
                serving.push("other", "t", &[n as u8; 20]).unwrap();
            }
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            pushing.join().unwrap()
        });
        acknowledged.extend(found);
        serving.kill();
    }
    assert!(!acknowledged.is_empty());
    let serving = Serving::start(&cooper, &[]);
    for (tag, digest, layer) in acknowledged {
        let manifest = serving.send(&format!("GET /v2/killed/app/manifests/{tag}"), b"");
        assert_eq!((manifest.status, Digest::of(&manifest.body)), (200, digest), "{tag}");
        let blob = serving.send(&format!("GET /v2/killed/app/blobs/{}", Digest::of(&layer)), b"");
        assert!(blob.status == 200 && blob.body == layer, "{tag}");
    }
    assert_eq!(serving.stop(&cooper).code, 0);
    cooper.run(&["store", "check"]).ok();
}

#[test]
fn pruning_beside_pushes_takes_nothing_that_was_acknowledged() {
    let cooper = Cooper::empty();
    let serving = Serving::start(&cooper, &["--gc-interval", "50ms", "--untagged-after", "1h"]);
    let done = AtomicBool::new(false);
    let pushed = std::thread::scope(|scope| {
        let pruning = scope.spawn(|| {
            let mut times = 0;
            while !done.load(Ordering::Relaxed) || times == 0 {
                cooper.run(&["prune", "--all", "--force"]).ok();
                times += 1;
            }
        });
        let pushed: Vec<_> =
            (0..40_u8).map(|n| (n, serving.push("a", &format!("t{}", n % 4), &[n % 9; 1000]).unwrap())).collect();
        done.store(true, Ordering::Relaxed);
        pruning.join().unwrap();
        pushed
    });
    for (n, digest) in pushed {
        assert_eq!(serving.send(&format!("GET /v2/a/manifests/{digest}"), b"").status, 200, "{n}");
        let blob = serving.send(&format!("GET /v2/a/blobs/{}", Digest::of(&[n % 9; 1000])), b"");
        assert_eq!((blob.status, blob.body), (200, vec![n % 9; 1000]), "{n}");
    }
}

#[test]
fn a_rotten_blob_is_told_and_can_be_pushed_again() {
    let cooper = Cooper::empty();
    let serving = Serving::start(&cooper, &[]);
    serving.push("a", "1", b"layer").unwrap();
    drop(serving);
    let digest = Digest::of(b"layer");
    std::fs::write(cooper.root().join("blobs/sha256").join(digest.hex()), "lauer").unwrap();
    let serving = Serving::start(&cooper, &[]);
    let get = format!("GET /v2/a/blobs/{digest}");
    let first = serving.try_send(&get, b"");
    assert!(first.is_err() || first.is_ok_and(|answer| answer.status == 404 || answer.body.is_empty()));
    assert_eq!(serving.send(&get, b"").status, 404);
    serving.push("a", "1", b"layer").unwrap();
    assert_eq!(serving.send(&get, b"").text(), "layer");
}
