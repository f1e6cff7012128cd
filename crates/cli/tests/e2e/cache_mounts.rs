//! Cache mounts that travel: with the caches of builds, and by `cooper cache`.

use cooper_registry::server::{Running, Server, ServerOptions};

use crate::harness::Cooper;

fn registry() -> (tokio::runtime::Runtime, Running, String) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let running = runtime.block_on(Server::start(ServerOptions::default())).unwrap();
    let address = running.addr().to_string();
    (runtime, running, address)
}

fn other_with_base() -> Cooper {
    let other = Cooper::empty();
    other.make_base("base").ok();
    other
}

/// A step with a cache mount that runs `script` in it, and keeps in the image what the mount held before.
fn step(options: &str, script: &str) -> String {
    format!("FROM base\nRUN --mount=type=cache,target=/c{options} cd /c && ls > /before && {script}\n")
}

fn uploads(running: &Running) -> usize {
    running.requests().iter().filter(|request| request.method == "PUT" && request.path.contains("/blobs/")).count()
}

fn downloads(running: &Running) -> usize {
    running.requests().iter().filter(|request| request.method == "GET" && request.path.contains("/blobs/")).count()
}

#[test]
fn privileged_a_cache_mount_travels_with_the_cache() {
    let Some(cooper) = Cooper::new() else { return };
    let (_runtime, running, address) = registry();
    let to = format!("type=registry,ref={address}/cache,mounts=all");
    let from = format!("type=registry,ref={address}/cache");
    let fill = "mkdir -p go/ab && echo object > go/ab/one && ln -s one go/ab/link && chown app go/ab/one && chmod 600 go/ab/one";
    let out = cooper.build(&step(",id=go", fill), &["--cache-to", &to]).ok();
    assert!(!out.stderr.contains("warning"), "{}", out.stderr);

    let other = other_with_base();
    let read = downloads(&running);
    let out = other.build(&step(",id=go", fill), &["--cache-from", &from]).ok();
    assert_eq!(out.ran(), [""; 0], "{}", out.stderr);
    assert_eq!(
        downloads(&running) - read,
        2,
        "a step that is found needs no mount: the document and its layer were read"
    );

    let look = "ls -ln go/ab | sed 's/  */ /g' | cut -d' ' -f1,3,9- > /after && cat go/ab/link >> /after";
    let out = other.build(&step(",id=go", look), &["-t", "x", "--cache-from", &from]).ok();
    assert!(out.stderr.contains("restoring the cache mount `go` (1 MB) from"), "{}", out.stderr);
    assert_eq!(other.sh("x", "cat /before"), "go\n");
    let after = other.sh("x", "cat /after");
    assert!(after.contains("-rw------- 1000 one\n") && after.ends_with("object\n"), "{after}");
    assert!(after.contains("link -> one"), "{after}");
}

#[test]
fn privileged_only_what_is_new_in_a_mount_is_sent() {
    let Some(cooper) = Cooper::new() else { return };
    let (_runtime, running, address) = registry();
    let args = |mounts: &str| format!("type=registry,ref={address}/cache,mounts={mounts}");
    let build = |cooper: &Cooper, script: &str, to: &str| {
        let from = format!("type=registry,ref={address}/cache");
        let before = uploads(&running);
        cooper.build(&step(",id=npm", script), &["--cache-from", &from, "--cache-to", to]).ok();
        uploads(&running) - before
    };
    build(&cooper, "head -c 3000000 /dev/urandom > big", &args("npm"));
    // Of the mount a pack, its listing and its config; of the cache a layer and its document.
    assert_eq!(build(&cooper, "echo more > small", &args("npm,other")), 5);
    let sizes =
        || running.requests().iter().filter_map(|r| r.headers.get("content-length")?.parse::<u64>().ok()).sum::<u64>();
    let before = sizes();
    let other = other_with_base();
    assert_eq!(build(&other, "test -s big && test -s small && echo third > third", &args("npm")), 5);
    assert!(sizes() - before < 100_000, "the large file stays where it is");
    // On a machine where the step is found there is no mount, and the one that is kept stays.
    let third = other_with_base();
    build(&third, "test -s big && test -s small && echo third > third", &args("npm"));
    let list = third.run(&["cache", "list", "--format", "json", &format!("{address}/cache")]).ok().stdout;
    let mount: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!((mount["ID"].as_str(), mount["Size"].as_u64()), (Some("npm"), Some(3_000_011)));
}

#[test]
fn privileged_mounts_are_kept_in_directories_archives_and_registries() {
    let Some(cooper) = Cooper::new() else { return };
    let (_runtime, _running, address) = registry();
    cooper.build(&step(",id=apt", "echo lists > lists"), &[]).ok();
    cooper.build(&step(",id=pip,uid=1000", "echo wheel > wheel"), &[]).ok();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let places = [
        format!("oci:{}:mounts", path("layout")),
        format!("oci-archive:{}", path("tar")),
        format!("{address}/mounts:1"),
    ];
    for place in places {
        cooper.run(&["cache", "export", "--all", &place]).ok();
        cooper.run(&["cache", "export", "apt", &place]).ok();
        let listed = cooper.run(&["cache", "list", &place]).ok().stdout;
        assert_eq!(
            listed.lines().map(|line| line.split(' ').next().unwrap()).collect::<Vec<_>>(),
            ["ID", "apt", "pip"]
        );
        let other = other_with_base();
        other.run(&["cache", "import", &place]).ok();
        other.build(&step(",id=pip,uid=1000", "cat wheel > /wheel"), &["-t", "x"]).ok();
        assert_eq!(other.sh("x", "cat /wheel; cat /before"), "wheel\nwheel\n", "{place}");
        let missing = other.run(&["cache", "import", &place, "go"]).fails(1);
        assert!(missing.contains("has no cache mount `go`"), "{missing}");
    }
    let none = cooper.run(&["cache", "export", "go", &format!("oci:{}", path("none"))]).fails(1);
    assert!(none.contains("this store has no cache mount `go`"), "{none}");
}

#[test]
fn privileged_a_mount_that_steps_have_used_is_not_replaced_unasked() {
    let Some(cooper) = Cooper::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let place = format!("oci:{}", dir.path().join("l").display());
    cooper.build(&step("", "echo theirs > file"), &[]).ok();
    cooper.run(&["cache", "export", "/c", &place]).ok();
    let other = other_with_base();
    other.build(&step("", "echo ours > file"), &[]).ok();
    let content = |n: u8| {
        other.build(&step("", &format!("cat file > /now; true {n}")), &["-t", "x"]).ok();
        other.sh("x", "cat /now")
    };
    let out = other.run(&["cache", "import", &place]).ok();
    assert!(out.stderr.contains("left as they are"), "{}", out.stderr);
    assert_eq!(content(1), "ours\n");
    other.run(&["cache", "import", "--replace", &place]).ok();
    // What is an untouched copy follows the place.
    cooper.build(&step("", "echo newer > file"), &[]).ok();
    cooper.run(&["cache", "export", "/c", &place]).ok();
    let from = format!("type=local,src={}", dir.path().join("l").display());
    other.build(&step("", "cat file > /now; true 2"), &["-t", "x", "--cache-from", &from]).ok();
    assert_eq!(other.sh("x", "cat /now"), "newer\n");
}

#[test]
fn privileged_a_mount_over_its_size_loses_its_oldest_files() {
    let Some(cooper) = Cooper::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().display().to_string();
    let fill = "head -c 30000 /dev/zero > old && touch -d 2001-01-01 old && head -c 30001 /dev/zero > new";
    let to = format!("type=local,dest={place},mounts=all,mounts-max-size=40kb");
    let out = cooper.build(&step("", fill), &["--cache-to", &to]).ok();
    assert!(out.stderr.contains("1 file (1 MB) of the cache mount `/c` stay behind"), "{}", out.stderr);
    let other = other_with_base();
    other.build(&step("", "true"), &["-t", "x", "--cache-from", &format!("type=local,src={place}")]).ok();
    assert_eq!(other.sh("x", "cat /before"), "new\n");
}

#[test]
fn privileged_a_broken_kept_mount_is_a_warning() {
    let Some(cooper) = Cooper::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().display().to_string();
    cooper
        .build(
            &step("", "head -c 4000000 /dev/urandom > file"),
            &["--cache-to", &format!("type=local,dest={place},mounts=all")],
        )
        .ok();
    let blobs = dir.path().join("blobs/sha256");
    let pack = std::fs::read_dir(&blobs).unwrap().map(|entry| entry.unwrap().path());
    let pack = pack.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[2_000_000] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let other = other_with_base();
    let out = other.build(&step("", "true"), &["-t", "x", "--cache-from", &format!("type=local,src={place}")]).ok();
    assert!(out.stderr.contains("the cache mount `/c` is not restored"), "{}", out.stderr);
    assert_eq!(other.sh("x", "cat /before"), "");
    let import = other.run(&["cache", "import", "--replace", &format!("oci:{place}")]).fails(1);
    assert!(import.contains("cannot restore the cache mount"), "{import}");
}

#[test]
fn privileged_an_image_is_not_overwritten_by_mounts() {
    let Some(cooper) = Cooper::new() else { return };
    let (_runtime, _running, address) = registry();
    let name = format!("{address}/app:1");
    cooper.build(&step("", "true"), &["-t", &name, "--push"]).ok();
    let error = cooper.run(&["cache", "export", "--all", &name]).fails(1);
    assert!(error.contains("is something else than a cache"), "{error}");
    cooper.build(&step("", "true"), &["-t", &name, "--push", "--cache-to", "type=inline"]).ok();
    let error = cooper.run(&["cache", "export", "--all", &name]).fails(1);
    assert!(error.contains("is something else than a cache"), "{error}");
}
