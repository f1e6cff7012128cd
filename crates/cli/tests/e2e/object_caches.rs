//! Caches in S3 buckets and in GitHub's cache service.

use crate::bucket::Bucket;
use crate::harness::Cooper;
use crate::runner::{Runner, TOKEN};

/// A build that runs no step: any user can do it.
const COPY: &str = "FROM scratch\nCOPY in /in\n";

fn copy(cooper: &Cooper, args: &[&str]) -> crate::harness::Out {
    cooper.put("in", "input\n");
    cooper.build(COPY, &[&["-t", "x"], args].concat())
}

/// A machine that has nothing yet.
fn other() -> Cooper {
    let other = Cooper::empty();
    other.put("in", "input\n");
    other
}

#[test]
fn a_bucket_serves_another_machine() {
    let bucket = Bucket::start();
    let to = bucket.options(",prefix=p/,name=main;work,mode=max");
    copy(&Cooper::empty(), &["--cache-to", &to]).ok();
    let names = bucket.names();
    assert_eq!(names.len(), 5, "a layer, the document, its manifest, two names: {names:?}");
    assert!(names.iter().all(|name| name.starts_with("p/blobs/sha256:") || name.starts_with("p/manifests/")));
    for name in ["main", "work", "none;work"] {
        let out = copy(&other(), &["--cache-from", &bucket.options(&format!(",prefix=p/,name={name}"))]).ok();
        assert_eq!(out.ran(), [""; 0], "{}", out.stderr);
    }
    let out = copy(&other(), &["--cache-from", &bucket.options(",name=none")]).ok();
    assert!(out.stderr.contains("no cache from s3://cache/none: there is none"), "{}", out.stderr);
    bucket.all_signatures_were_right();
}

#[test]
fn a_bucket_that_has_bytes_is_not_sent_them_again() {
    let bucket = Bucket::start();
    let cooper = Cooper::empty();
    let to = bucket.options("");
    copy(&cooper, &["--cache-to", &to]).ok();
    let puts = || bucket.service.asked().iter().filter(|asked| asked.method == "PUT").count();
    let before = puts();
    copy(&cooper, &["--cache-to", &to]).ok();
    assert_eq!(puts(), before, "nothing new, nothing written");
    bucket.state.lock().unwrap().modified = Some("Sat, 01 Jan 2000 00:00:00 GMT");
    copy(&cooper, &["--cache-to", &to]).ok();
    let touched: Vec<_> = bucket
        .service
        .asked()
        .split_off(0)
        .into_iter()
        .filter(|asked| !asked.header("x-amz-copy-source").is_empty())
        .collect();
    assert!(!touched.is_empty(), "what is old is copied onto itself");
    bucket.all_signatures_were_right();
}

#[test]
fn builders_of_one_name_in_a_bucket_merge() {
    for unconditional in [false, true] {
        let bucket = Bucket::start();
        bucket.state.lock().unwrap().unconditional = unconditional;
        let (first, second) = (other(), other());
        copy(&first, &["--cache-to", &bucket.options("")]).ok();
        let theirs = bucket.state.lock().unwrap().objects["manifests/cooper"].clone();
        bucket.state.lock().unwrap().objects.remove("manifests/cooper");
        // The first builder's write comes between the second's reading and writing.
        bucket.state.lock().unwrap().meanwhile =
            Some(Box::new(move |objects| drop(objects.insert("manifests/cooper".into(), theirs))));
        if unconditional {
            let write = bucket.state.lock().unwrap().meanwhile.take().unwrap();
            write(&mut bucket.state.lock().unwrap().objects);
        }
        second.put("b", "b");
        second.build("FROM scratch\nCOPY b /b\n", &["--cache-to", &bucket.options("")]).ok();
        for dockerfile in [COPY, "FROM scratch\nCOPY b /b\n"] {
            let third = other();
            third.put("b", "b");
            let out = third.build(dockerfile, &["--cache-from", &bucket.options("")]).ok();
            assert_eq!(out.ran(), [""; 0], "unconditional {unconditional}: {}", out.stderr);
        }
        bucket.all_signatures_were_right();
    }
}

#[test]
fn a_bucket_that_fails_in_passing_is_asked_again() {
    let bucket = Bucket::start();
    bucket.state.lock().unwrap().slow_down = 2;
    let cooper = Cooper::empty();
    // Not compressible, so that its blob breaks when it is read.
    let noise: Vec<u8> =
        (0_u32..200_000).flat_map(|n| n.wrapping_mul(2_654_435_761).rotate_left(n % 31).to_le_bytes()).collect();
    cooper.put("in", &noise);
    cooper.build(COPY, &["-t", "x", "--cache-to", &bucket.options("")]).ok();
    bucket.state.lock().unwrap().cut = Some(1000);
    bucket.state.lock().unwrap().slow_down = 1;
    let other = Cooper::empty();
    other.put("in", &noise);
    let out = other.build(COPY, &["-t", "x", "--cache-from", &bucket.options("")]).ok();
    assert_eq!(out.ran(), [""; 0], "{}", out.stderr);
    assert!(
        bucket.service.asked().iter().any(|asked| asked.header("range") == "bytes=1000-"),
        "taken up where it broke"
    );
    bucket.all_signatures_were_right();
}

#[test]
fn large_blobs_go_to_a_bucket_in_parts() {
    let bucket = Bucket::start();
    let cooper = Cooper::empty();
    let mut state = 1_u64;
    let noise: Vec<u8> = (0..2_500_000)
        .flat_map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 32) as u32).to_le_bytes()
        })
        .collect();
    cooper.put("in", &noise);
    cooper.build(COPY, &["-t", "x", "--cache-to", &bucket.options("")]).ok();
    assert_eq!(bucket.service.asked().iter().filter(|asked| asked.path.contains("partNumber=")).count(), 2);
    let other = Cooper::empty();
    other.put("in", &noise);
    let out = other.build(COPY, &["-t", "x", "--cache-from", &bucket.options("")]).ok();
    assert_eq!(out.ran(), [""; 0], "{}", out.stderr);
    bucket.all_signatures_were_right();
}

#[test]
fn wrong_bytes_in_a_bucket_are_a_miss_and_a_warning() {
    let bucket = Bucket::start();
    copy(&Cooper::empty(), &["--cache-to", &bucket.options("")]).ok();
    let layer = |bytes: &[u8]| bytes.starts_with(&[0x1f, 0x8b]);
    for bytes in bucket.state.lock().unwrap().objects.values_mut().filter(|bytes| layer(bytes)) {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
    }
    let out = copy(&other(), &["--cache-from", &bucket.options("")]).ok();
    assert!(out.stderr.contains("cannot give what it lists"), "{}", out.stderr);
    assert_eq!(out.ran(), ["COPY in /in"]);
}

#[test]
fn a_bucket_that_refuses_says_what_to_check() {
    let bucket = Bucket::start();
    let to = bucket.options("").replace("secret_access_key=w", "secret_access_key=x");
    let error = copy(&Cooper::empty(), &["--cache-to", &to]).fails(1);
    assert!(error.contains("SignatureDoesNotMatch") && error.contains("check the access key"), "{error}");
    assert!(!error.contains("X-Amz") && !error.contains("MDENG"), "no signature and no key is shown: {error}");
    copy(&Cooper::empty(), &["--cache-to", &format!("{to},ignore-error=true")]).ok();
}

#[test]
fn github_serves_another_machine_in_both_versions() {
    for version in [1, 2] {
        let runner = Runner::start();
        runner.state.lock().unwrap().too_many = 1;
        let options = runner.options(version, "");
        copy(&Cooper::empty(), &["--cache-to", &format!("{options},mode=max")]).ok();
        assert_eq!(runner.keys("cooper-blob-1-sha256:").len(), 3);
        let index = runner.keys("cooper-index-test-1-");
        assert!(index.len() == 1 && index[0].ends_with("#1"), "{index:?}");
        let out = copy(&other(), &["--cache-from", &options]).ok();
        assert_eq!(out.ran(), [""; 0], "version {version}: {}", out.stderr);

        let second = other();
        second.put("b", "b");
        second.build("FROM scratch\nCOPY b /b\n", &["--cache-to", &options]).ok();
        assert!(runner.keys("cooper-index-test-1-").last().unwrap().ends_with("#2"), "the next number");
        let out = copy(&other(), &["--cache-from", &options]).ok();
        assert_eq!(out.ran(), [""; 0], "merged: {}", out.stderr);
        runner.nothing_was_wrong();
    }
}

#[test]
fn a_number_that_somebody_died_with_is_passed_over() {
    let runner = Runner::start();
    copy(&Cooper::empty(), &["--cache-to", &runner.options(2, ",timeout=1s")]).ok();
    let first = runner.keys("cooper-index-").remove(0);
    runner.state.lock().unwrap().abandon(&first.replace("#1", "#2"));
    let second = other();
    second.put("b", "b");
    second.build("FROM scratch\nCOPY b /b\n", &["--cache-to", &runner.options(2, ",timeout=1s")]).ok();
    assert!(runner.keys("cooper-index-").last().unwrap().ends_with("#3"));
}

#[test]
fn large_blobs_go_to_github_in_blocks() {
    let mut state = 7_u64;
    let noise: Vec<u8> = (0..2_200_000)
        .flat_map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 32) as u32).to_le_bytes()
        })
        .collect();
    for version in [1, 2] {
        let runner = Runner::start();
        let (cooper, second) = (Cooper::empty(), Cooper::empty());
        cooper.put("in", &noise);
        second.put("in", &noise);
        cooper.build(COPY, &["-t", "x", "--cache-to", &runner.options(version, "")]).ok();
        let out = second.build(COPY, &["-t", "x", "--cache-from", &runner.options(version, "")]).ok();
        assert_eq!(out.ran(), [""; 0], "{}", out.stderr);
        runner.nothing_was_wrong();
    }
}

#[test]
fn github_is_found_by_what_a_runner_sets() {
    let runner = Runner::start();
    let mut cooper = Cooper::empty();
    let set = |cooper: &mut Cooper, pairs: &[(&str, &str)]| {
        cooper.env.extend(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    };
    let error = copy(&cooper, &["--cache-to", "type=gha"]).fails(2);
    assert!(error.contains("docs/caches.md"), "{error}");
    let url = runner.service.url.clone();
    set(
        &mut cooper,
        &[("ACTIONS_RUNTIME_TOKEN", TOKEN), ("ACTIONS_RESULTS_URL", &url), ("ACTIONS_CACHE_SERVICE_V2", "true")],
    );
    copy(&cooper, &["--cache-to", "type=gha,scope=other"]).ok();
    assert_eq!(runner.keys("cooper-index-other-").len(), 1);
    set(&mut cooper, &[("ACTIONS_RUNTIME_TOKEN", "expired")]);
    let error = copy(&cooper, &["--cache-to", "type=gha"]).fails(1);
    assert!(error.contains("good for its job only"), "{error}");
}

#[test]
fn privileged_cache_mounts_travel_through_buckets_and_github() {
    let Some(cooper) = Cooper::new() else { return };
    let (bucket, runner) = (Bucket::start(), Runner::start());
    let step =
        |n: u8| format!("FROM base\nRUN --mount=type=cache,id=go,target=/c ls /c > /before; echo {n} > /c/{n}\n");
    for options in [bucket.options(""), runner.options(2, ""), runner.options(1, "").replace("scope=test", "scope=one")]
    {
        cooper.build(&step(1), &["--cache-to", &format!("{options},mounts=all")]).ok();
        let other = Cooper::empty();
        other.make_base("base").ok();
        let out = other.build(&step(2), &["-t", "x", "--cache-from", &options]).ok();
        assert_eq!(other.sh("x", "cat /before"), "1\n", "{}", out.stderr);
        let listed = other.run(&["cache", "list", &options]).ok().stdout;
        assert!(listed.contains("\ngo "), "{listed}");
    }
    bucket.all_signatures_were_right();
}

#[test]
fn a_builder_that_is_killed_leaves_the_cache_as_it_was() {
    for moment in ["/blobs/", "/manifests/"] {
        let bucket = Bucket::start();
        copy(&Cooper::empty(), &["--cache-to", &bucket.options("")]).ok();
        let before = bucket.state.lock().unwrap().objects["manifests/cooper"].clone();
        let (told, stalled) = std::sync::mpsc::channel();
        bucket.state.lock().unwrap().stall = Some((moment, told));
        let second = other();
        second.put("b", "b");
        second.put("Dockerfile", "FROM scratch\nCOPY b /b\n");
        let mut child = second.command(&["build", "--cache-to", &bucket.options(""), "."]).spawn().unwrap();
        stalled.recv().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(bucket.state.lock().unwrap().objects["manifests/cooper"], before, "{moment}");
        bucket.state.lock().unwrap().stall = None;
        let out = copy(&other(), &["--cache-from", &bucket.options("")]).ok();
        assert_eq!(out.ran(), [""; 0], "{moment}: {}", out.stderr);
        second.build("FROM scratch\nCOPY b /b\n", &["--cache-to", &bucket.options("")]).ok();
    }
}
