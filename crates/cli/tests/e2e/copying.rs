//! `cooper copy` between places: a docker engine, lists, statements about an image, and what is not sent twice.

use std::os::unix::fs::PermissionsExt;

use cooper_oci::{BlobSink, Descriptor, Digest, Manifest, MediaType, Target, body_from_bytes};
use cooper_registry::server::{Running, Server, ServerOptions};
use cooper_registry::{Client, ClientOptions, Repository};

use crate::harness::{Cooper, installed, peer};

const FILE: &str = "FROM scratch\nCOPY x /x\n";

/// A store with the image `app:1`.
fn world() -> Cooper {
    let cooper = Cooper::empty();
    cooper.put("x", "content");
    cooper.build(FILE, &["-t", "app:1"]).ok();
    cooper
}

fn digest(cooper: &Cooper, name: &str) -> String {
    cooper.inspect(name)["Descriptor"]["digest"].as_str().unwrap().to_owned()
}

struct Registry {
    runtime: tokio::runtime::Runtime,
    running: Running,
    address: String,
}

impl Registry {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let running = runtime.block_on(Server::start(ServerOptions::default())).unwrap();
        let address = running.addr().to_string();
        Self { runtime, running, address }
    }

    fn repository(&self, name: &str) -> Repository {
        let clock = std::sync::Arc::new(|| std::time::UNIX_EPOCH);
        Client::new(ClientOptions::new(clock)).repository(&format!("{}/{name}", self.address).parse().unwrap())
    }

    /// How many requests there were for the bytes of blobs: read, and sent.
    fn blobs(&self) -> (usize, usize) {
        let requests = self.running.requests();
        let count = |methods: &[&str]| {
            let is_one = |method: &str, path: &str| methods.contains(&method) && path.contains("/blobs/");
            requests.iter().filter(|request| is_one(&request.method, &request.path)).count()
        };
        (count(&["GET"]), count(&["POST", "PATCH", "PUT"]))
    }

    /// Says something about `subject` as a referrer, or under `tag`, where older tools look.
    fn state(&self, name: &str, subject: &Descriptor, kind: &str, tag: Option<&str>) -> Descriptor {
        let to = self.repository(name);
        self.runtime.block_on(async {
            let config = Descriptor::of("application/vnd.oci.empty.v1+json", b"{}");
            to.put(&config, body_from_bytes(&b"{}"[..])).await.unwrap();
            let layer = Descriptor::of("text/plain", kind.as_bytes());
            to.put(&layer, body_from_bytes(kind.as_bytes().to_vec())).await.unwrap();
            let mut manifest = Manifest::new(config, vec![layer]);
            manifest.artifact_type = Some(kind.into());
            manifest.subject = tag.is_none().then(|| subject.clone());
            let bytes = serde_json::to_vec(&manifest).unwrap();
            let digest = Digest::of(&bytes);
            let target = tag.map_or(Target::Digest(&digest), Target::Tag);
            to.put_manifest(target, MediaType::MANIFEST.into(), bytes).await.unwrap()
        })
    }
}

/// A `docker` that keeps one archive, in place of an engine.
fn stand_in(cooper: &mut Cooper, script: &str) {
    cooper.put("../bin/docker", format!("#!/bin/sh\necho \"$DOCKER_HOST|$*\" >> \"$ENGINE/asked\"\n{script}"));
    let permissions = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(cooper.path("../bin/docker"), permissions).unwrap();
    let path = format!("{}:/usr/bin:/bin", cooper.text("../bin"));
    let engine = cooper.text("..").trim_end_matches('/').to_owned();
    cooper.env = vec![("DOCKER_HOST".into(), "unix:///there".into()), ("ENGINE".into(), engine), ("PATH".into(), path)];
}

fn copy(cooper: &Cooper, args: &[&str]) -> crate::harness::Out {
    let args = [&["copy"], args].concat();
    cooper.wait(cooper.command(&args).envs(cooper.env.iter().cloned()).spawn().unwrap())
}

#[test]
fn a_docker_engine_gives_and_takes() {
    let mut cooper = world();
    stand_in(
        &mut cooper,
        "case $1 in\nload) exec cat > \"$ENGINE/image.tar\";;\nsave) exec cp \"$ENGINE/image.tar\" \"$3\";;\nesac\n",
    );
    let registry = Registry::start();
    let remote = format!("{}/app:1", registry.address);
    copy(&cooper, &["store:app:1", "docker-daemon:team/app:2"]).ok();
    copy(&cooper, &["docker-daemon:team/app:2", "store:back:1"]).ok();
    copy(&cooper, &["docker-daemon:team/app:2", &remote]).ok();
    copy(&cooper, &[&remote, "docker-daemon:other:3"]).ok();
    let asked = cooper.get("../asked");
    let asked: Vec<&str> = asked.lines().map(|line| line.trim_end()).collect();
    let saves =
        asked.iter().filter(|line| line.starts_with("unix:///there|save --output ") && line.ends_with(" team/app:2"));
    assert_eq!(saves.count(), 2, "{asked:?}");
    assert_eq!(asked.iter().filter(|line| **line == "unix:///there|load").count(), 2, "{asked:?}");
    assert_eq!(cooper.inspect("back:1")["RootFS"], cooper.inspect("app:1")["RootFS"]);
    let other = Cooper::empty();
    assert_eq!(other.run(&["load", "-i", &cooper.text("../image.tar")]).ok().stdout, "Loaded image: other:3\n");
    assert_eq!(other.inspect("other:3")["RootFS"], cooper.inspect("app:1")["RootFS"]);
}

#[test]
fn a_docker_engine_that_refuses_is_quoted() {
    let mut cooper = world();
    stand_in(&mut cooper, "cat > /dev/null\necho 'no engine here' >&2\nexit 1\n");
    for (from, to, command) in
        [("store:app:1", "docker-daemon:a:1", "load"), ("docker-daemon:a:1", "store:b:1", "save")]
    {
        let message = copy(&cooper, &["-q", from, to]).fails(1);
        assert!(message.contains(&format!("`docker {command}` failed: no engine here\n")), "{message}");
        assert!(message.contains("hint: is a docker engine running?"), "{message}");
    }
    assert!(cooper.run(&["inspect", "b:1"]).code != 0);
    // One that says it is done and has written nothing.
    stand_in(&mut cooper, "head -c 100 > \"$ENGINE/image.tar\"\n");
    copy(&cooper, &["docker-daemon:a:1", "store:b:1"]).fails(1);
}

#[test]
fn what_is_there_is_neither_read_nor_sent_again() {
    let cooper = world();
    let (first, second) = (Registry::start(), Registry::start());
    let (from, to) = (format!("{}/a:1", first.address), format!("{}/b:1", second.address));
    cooper.run(&["copy", "store:app:1", &from]).ok();
    cooper.run(&["copy", &from, &to]).ok();
    let (_, sent) = second.blobs();
    let (read, _) = first.blobs();
    for destination in [to.clone(), format!("{}/b:2", second.address), "store:app:1".into()] {
        cooper.run(&["copy", &from, &destination]).ok();
    }
    assert_eq!((first.blobs().0, second.blobs().1), (read, sent), "blobs travelled twice");
    // One blob more: only that one.
    cooper.put("y", "more");
    cooper.build("FROM app:1\nCOPY y /y\n", &["-t", "app:2"]).ok();
    cooper.run(&["copy", "store:app:2", &from]).ok();
    cooper.run(&["copy", &from, &to]).ok();
    assert_eq!(first.blobs().0, read + 2, "a layer and a config");
    let layout = format!("oci:{}", cooper.text("../layout"));
    cooper.run(&["copy", &from, &layout]).ok();
    let (read, _) = first.blobs();
    cooper.run(&["copy", &from, &layout]).ok();
    assert_eq!(first.blobs().0, read, "a layout is gone on with as well");
}

#[test]
fn lists_name_the_line_that_is_wrong_and_go_on_after_a_break() {
    let cooper = world();
    let registry = Registry::start();
    let line = |n: usize| format!("store:app:1 {}/many:{n}\n", registry.address);
    cooper.put("../list", format!("# three\n{}\n{}store:none x:1\n{}", line(1), line(2), line(3)));
    let list = cooper.text("../list");
    let message = cooper.run(&["copy", "-q", "--list", &list]).fails(1);
    assert!(message.contains("none"), "{message}");
    let tags = |n: usize| {
        let listed = cooper.run(&["tags", &format!("{}/many", registry.address)]).ok().stdout;
        assert_eq!(listed.lines().count(), n, "{listed}");
    };
    tags(2);
    let (_, sent) = registry.blobs();
    cooper.put("../list", format!("{}{}{}", line(1), line(2), line(3)));
    let input = cooper.get("../list");
    cooper.feed(&["copy", "--list", "-"], input.as_bytes()).ok();
    tags(3);
    assert_eq!(registry.blobs().1, sent, "nothing is sent a second time");
    for (text, expect) in
        [("a:1 store:a:1\na:1\n", "list:2: a line is `SRC DST`"), ("a:1 oci:\n", "list:1: `oci:` names nothing")]
    {
        cooper.put("../list", text);
        let message = cooper.run(&["copy", "--list", &list]).fails(2);
        assert!(message.contains(expect), "{message}");
    }
    let message = cooper.run(&["copy", "--list", &cooper.text("../absent")]).fails(1);
    assert!(message.contains("cannot read the list"), "{message}");
}

#[test]
fn statements_go_with_the_image_wherever_they_can() {
    let cooper = world();
    let (first, second) = (Registry::start(), Registry::start());
    let from = format!("{}/a:1", first.address);
    cooper.run(&["copy", "store:app:1", &from]).ok();
    let image = first.runtime.block_on(first.repository("a:1").resolve()).unwrap();
    let sbom = first.state("a:1", &image, "application/x-sbom", None);
    let signature = first.state("a:1", &sbom, "application/x-signature", None);
    let tag = format!("{}.sig", image.digest.to_string().replace(':', "-"));
    let old = first.state("a:1", &image, "application/x-old-signature", Some(&tag));

    cooper.run(&["copy", &from, &format!("{}/without:1", second.address)]).ok();
    let listed = |name: &str, subject: &Descriptor| {
        let found = second.runtime.block_on(second.repository(name).referrers(&subject.digest, None)).unwrap();
        found.into_iter().map(|statement| statement.digest).collect::<Vec<_>>()
    };
    assert_eq!(listed("without:1", &image), []);
    cooper.run(&["copy", "--referrers", &from, &format!("{}/b:1", second.address)]).ok();
    assert_eq!(listed("b:1", &image), std::slice::from_ref(&sbom.digest));
    assert_eq!(listed("b:1", &sbom), std::slice::from_ref(&signature.digest), "a statement about a statement");
    assert_eq!(second.runtime.block_on(second.repository(&format!("b:{tag}")).resolve()).unwrap().digest, old.digest);

    let layout = cooper.text("../layout");
    cooper.run(&["copy", "--referrers", &from, &format!("oci:{layout}:one")]).ok();
    let index = cooper.get("../layout/index.json");
    for statement in [&sbom, &signature, &old] {
        assert!(index.contains(&statement.digest.to_string()), "{index}");
    }
    assert_eq!(digest(&cooper, "app:1"), image.digest.to_string());
    for (from, to, expect) in [
        ("store:app:1".to_owned(), "store:b:1".to_owned(), "only a registry tells what is said about an image"),
        (from, format!("docker-archive:{}", cooper.text("../d.tar")), "cannot hold statements"),
    ] {
        let message = cooper.run(&["copy", "-q", "--referrers", &from, &to]).fails(1);
        assert!(message.contains(expect) && message.contains("hint: "), "{message}");
    }
}

#[test]
fn a_bare_name_that_the_store_has_is_told_apart() {
    let cooper = world();
    let registry = Registry::start();
    let name = format!("{}/app:1", registry.address);
    cooper.run(&["tag", "app:1", &name]).ok();
    let message = cooper.run(&["copy", &name, "oci:layout"]).fails(1);
    assert!(message.contains(&format!("hint: the image of this name in the store is `store:{name}`")), "{message}");
    let message = cooper.run(&["copy", "store:app:1", "./layout"]).fails(2);
    assert!(message.contains("`oci:./layout`"), "{message}");
}

#[test]
fn what_the_registry_has_elsewhere_is_mounted_and_not_sent() {
    let cooper = world();
    let registry = Registry::start();
    let base = format!("{}/base:1", registry.address);
    cooper.run(&["copy", "store:app:1", &base]).ok();
    let sent = || {
        let requests = registry.running.requests();
        requests.iter().filter(|r| matches!(r.method.as_str(), "PUT" | "PATCH") && r.path.contains("/blobs/")).count()
    };
    // Built on a base of that registry, whether it was pulled before or is met by the build.
    for pulled in [false, true] {
        let other = Cooper::empty();
        other.put("y", if pulled { "one" } else { "two" });
        if pulled {
            other.run(&["pull", &base]).ok();
        }
        let before = sent();
        let name = format!("{}/team/app:{pulled}", registry.address);
        other.build(&format!("FROM {base}\nCOPY y /y\n"), &["-t", &name, "--push"]).ok();
        assert_eq!(sent() - before, 2, "one layer and the config");
        // What was pushed once is mounted under the next name.
        let next = format!("{}/next/app:{pulled}", registry.address);
        other.run(&["tag", &name, &next]).ok();
        other.run(&["push", &next]).ok();
        assert_eq!(sent() - before, 2);
        let there = Cooper::empty();
        there.run(&["copy", &next, "store:there:1"]).ok();
        assert_eq!(digest(&there, "there:1"), digest(&other, &name));
    }
}

#[test]
fn a_directory_is_what_skopeo_reads_and_writes() {
    let cooper = world();
    let (ours, theirs) = (format!("dir:{}", cooper.text("../ours")), format!("dir:{}", cooper.text("../theirs")));
    for _ in 0..2 {
        cooper.run(&["copy", "store:app:1", &ours]).ok();
    }
    cooper.run(&["copy", &ours, "store:back:1"]).ok();
    assert_eq!(digest(&cooper, "back:1"), digest(&cooper, "app:1"));
    let message = cooper.run(&["copy", "-q", "store:app:1", &format!("dir:{}", cooper.text("../home/.."))]).fails(1);
    assert!(message.contains("is not the directory of an image"), "{message}");
    if !installed("skopeo") {
        return;
    }
    peer("skopeo", &["copy", "-q", "--insecure-policy", "--preserve-digests", &ours, &theirs]);
    cooper.run(&["copy", &theirs, "store:round:1"]).ok();
    assert_eq!(digest(&cooper, "round:1"), digest(&cooper, "app:1"));
    cooper.build(FILE, &["-t", "both:1", "--platform=linux/amd64,linux/arm64"]).ok();
    cooper.run(&["copy", "store:both:1", &ours]).ok();
    peer("skopeo", &["copy", "-q", "--all", "--insecure-policy", "--preserve-digests", &ours, &theirs]);
    cooper.run(&["copy", &theirs, "store:round:2"]).ok();
    assert_eq!(digest(&cooper, "round:2"), digest(&cooper, "both:1"));
}
