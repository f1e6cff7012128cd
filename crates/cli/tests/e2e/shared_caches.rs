//! Caches that builders share through a registry, a directory or an image.

use cooper_registry::server::{Running, Server, ServerOptions};

use crate::harness::Cooper;

/// Two stages; the first one's steps are in the image only through a COPY.
const TWO_STAGES: &str = "FROM base AS build\nRUN echo one > /one\nCOPY in /in\nRUN cat /one /in > /two\n\
    FROM base\nRUN echo last > /last\nCOPY --from=build /two /two\n";

fn registry() -> (tokio::runtime::Runtime, Running, String) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let running = runtime.block_on(Server::start(ServerOptions::default())).unwrap();
    let address = running.addr().to_string();
    (runtime, running, address)
}

/// Another machine with the same context and the same base image.
fn other_with_base() -> Cooper {
    let other = Cooper::empty();
    other.make_base("base").ok();
    other.put("in", "input\n");
    other
}

fn blobs_read(running: &Running) -> usize {
    running.requests().iter().filter(|request| request.method == "GET" && request.path.contains("/blobs/")).count()
}

#[test]
fn privileged_a_cache_at_a_registry_serves_another_machine() {
    let Some(cooper) = Cooper::new() else { return };
    let (_runtime, running, address) = registry();
    cooper.put("in", "input\n");
    let to = format!("type=registry,ref={address}/cache,mode=max");
    cooper.build(TWO_STAGES, &["-t", "a", "--cache-to", &to]).ok();
    let from = format!("type=registry,ref={address}/cache");
    let other = other_with_base();
    let read = blobs_read(&running);
    let out = other.build(TWO_STAGES, &["-t", "a", "--cache-from", &from]).ok();
    assert_eq!(out.ran(), [""; 0], "{}", out.stderr);
    assert_eq!(other.sh("a", "cat /two /last"), "one\ninput\nlast\n");
    let digest = |cooper: &Cooper| cooper.inspect("a")["Descriptor"]["digest"].clone();
    assert_eq!(digest(&other), digest(&cooper));
    // The document, and the two layers of the image that are not the base's: not the first stage's.
    assert_eq!(blobs_read(&running) - read, 3);
    let again = other.build(TWO_STAGES, &["-t", "a"]).ok();
    assert_eq!(again.ran(), [""; 0], "what was taken over stays: {}", again.stderr);
}

#[test]
fn privileged_a_changed_input_runs_only_what_depends_on_it() {
    let Some(cooper) = Cooper::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().display().to_string();
    cooper.put("in", "input\n");
    cooper.build(TWO_STAGES, &["--cache-to", &format!("type=local,dest={place},mode=max")]).ok();
    let other = other_with_base();
    other.put("in", "changed\n");
    let out = other.build(TWO_STAGES, &["-t", "a", "--cache-from", &format!("type=local,src={place}")]).ok();
    let expect = ["COPY --from=build /two /two", "COPY in /in", "RUN cat /one /in > /two"];
    assert_eq!(out.ran(), expect, "{}", out.stderr);
    assert_eq!(other.sh("a", "cat /two"), "one\nchanged\n");
}

#[test]
fn privileged_min_holds_the_image_only_and_inline_travels_in_it() {
    let Some(cooper) = Cooper::new() else { return };
    let (_runtime, _running, address) = registry();
    cooper.put("in", "input\n");
    let name = format!("{address}/app:1");
    cooper.build(TWO_STAGES, &["-t", &name, "--push", "--cache-to", "type=inline"]).ok();
    cooper.build(TWO_STAGES, &["--cache-to", &format!("type=registry,ref={address}/min")]).ok();
    for from in [name.clone(), format!("type=registry,ref={address}/min")] {
        let other = other_with_base();
        let out = other.build(TWO_STAGES, &["-t", "a", "--cache-from", &from]).ok();
        assert_eq!(out.ran(), [""; 0], "by definition, without its sources: {from} {}", out.stderr);
        assert_eq!(other.sh("a", "cat /two /last"), "one\ninput\nlast\n");
        other.put("in", "changed\n");
        let out = other.build(TWO_STAGES, &["-t", "a", "--cache-from", &from]).ok();
        let expect = ["COPY --from=build /two /two", "COPY in /in", "RUN cat /one /in > /two", "RUN echo one > /one"];
        assert_eq!(out.ran(), expect, "the first stage is in no layer of the image: {from} {}", out.stderr);
    }
}

#[test]
fn privileged_builders_add_to_one_cache() {
    let Some(cooper) = Cooper::new() else { return };
    let (_runtime, _running, address) = registry();
    let to = format!("type=registry,ref={address}/cache");
    cooper.build("FROM base\nRUN echo a > /a\n", &["--cache-to", &to]).ok();
    let second = other_with_base();
    second.build("FROM base\nRUN echo b > /b\n", &["--cache-to", &to]).ok();
    let third = other_with_base();
    for step in ["a", "b"] {
        let out = third.build(&format!("FROM base\nRUN echo {step} > /{step}\n"), &["--cache-from", &to]).ok();
        assert_eq!(out.ran(), [""; 0], "{}", out.stderr);
    }
}

#[test]
fn privileged_a_bad_cache_is_a_warning() {
    let Some(cooper) = Cooper::new() else { return };
    let (_runtime, _running, address) = registry();
    cooper.put("in", "input\n");
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().display().to_string();
    let missing = cooper.build(TWO_STAGES, &["--cache-from", &format!("{address}/none")]).ok();
    assert!(missing.stderr.contains("no cache from"), "{}", missing.stderr);
    let unreachable = cooper.build(TWO_STAGES, &["--cache-from", "127.0.0.1:1/none"]).ok();
    assert!(unreachable.stderr.contains("no cache from"), "{}", unreachable.stderr);
    cooper.build(TWO_STAGES, &["--cache-to", &format!("type=local,dest={place},mode=max")]).ok();
    let other = other_with_base();
    let blobs = dir.path().join("blobs/sha256");
    for entry in std::fs::read_dir(&blobs).unwrap().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap();
        // Gzip: a layer. Documents stay.
        if bytes.starts_with(&[0x1f, 0x8b]) {
            std::fs::write(entry.path(), vec![b'x'; bytes.len()]).unwrap();
        }
    }
    let out = other.build(TWO_STAGES, &["-t", "a", "--cache-from", &format!("type=local,src={place}")]).ok();
    assert!(out.stderr.contains("cannot give what it lists"), "{}", out.stderr);
    assert_eq!(other.sh("a", "cat /two /last"), "one\ninput\nlast\n");
    let refused = cooper.build(TWO_STAGES, &["--cache-to", "type=registry,ref=127.0.0.1:1/x"]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    let ignored = cooper.build(TWO_STAGES, &["--cache-to", "type=registry,ref=127.0.0.1:1/x,ignore-error=true"]).ok();
    assert!(ignored.stderr.contains("cannot"), "{}", ignored.stderr);
}
