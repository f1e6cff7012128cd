//! Pushing to and pulling from a registry on loopback.

use cooper_registry::server::{Running, Server, ServerOptions};

use crate::harness::Cooper;

/// A registry of this process, and its address.
fn registry(options: ServerOptions) -> (tokio::runtime::Runtime, Running, String) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let running = runtime.block_on(Server::start(options)).unwrap();
    let address = running.addr().to_string();
    (runtime, running, address)
}

fn methods(running: &Running, method: &str, part: &str) -> usize {
    running.requests().iter().filter(|request| request.method == method && request.path.contains(part)).count()
}

#[test]
fn privileged_pushed_and_pulled_by_tag_and_digest() {
    let Some(cooper) = Cooper::new() else { return };
    let (_runtime, running, address) = registry(ServerOptions::default());
    let name = format!("{address}/team/app:1");
    cooper.build("FROM base\nRUN echo pushed > /x\n", &["-t", &name, "--push"]).ok();
    let digest = cooper.inspect(&name)["Descriptor"]["digest"].as_str().unwrap().to_owned();
    let by_digest = format!("{address}/team/app@{digest}");
    let other = Cooper::empty();
    for (n, from) in [name.as_str(), by_digest.as_str()].into_iter().enumerate() {
        let tag = format!("y:{n}");
        other.build(&format!("FROM {from}\nRUN cat /x > /y\n"), &["-t", &tag]).ok();
        assert_eq!(other.sh(&tag, "cat /y"), "pushed\n");
    }
    let blobs = methods(&running, "GET", "/blobs/");
    other.build(&format!("FROM {name}\nRUN cat /x > /z\n"), &[]).ok();
    assert_eq!(methods(&running, "GET", "/blobs/"), blobs, "what is there is not fetched again");
    let uploads = methods(&running, "POST", "/blobs/uploads/");
    cooper
        .build("FROM base\nRUN echo pushed > /x\n", &["-t", &format!("{address}/team/app:2"), "-o", "type=registry"])
        .ok();
    assert_eq!(methods(&running, "POST", "/blobs/uploads/"), uploads, "what is there is not sent again");
}

#[test]
fn privileged_pull_asks_for_what_a_name_means_now() {
    let Some(cooper) = Cooper::new() else { return };
    let (_runtime, _running, address) = registry(ServerOptions::default());
    let name = format!("{address}/moving");
    let push = |text: &str| cooper.build(&format!("FROM base\nRUN echo {text} > /x\n"), &["-t", &name, "--push"]).ok();
    let other = Cooper::empty();
    let built = |flags: &[&str]| {
        other.build(&format!("FROM {name}\nRUN cat /x > /y\n"), &[&["-t", "y"], flags].concat()).ok();
        other.sh("y", "cat /y")
    };
    push("one");
    assert_eq!(built(&[]), "one\n");
    push("two");
    assert_eq!(built(&["--pull"]), "two\n");
    assert_eq!(built(&["--pull"]), "two\n");
}

#[test]
fn privileged_an_image_of_a_registry_as_a_source() {
    let Some(cooper) = Cooper::new() else { return };
    let (_runtime, _running, address) = registry(ServerOptions::default());
    let name = format!("{address}/tools");
    cooper.build("FROM base\nRUN echo tool > /tool\n", &["-t", &name, "--push"]).ok();
    let other = Cooper::empty();
    let dockerfile = format!(
        "FROM scratch\nCOPY --from={name} /bin /bin\nENV PATH=/bin\nCOPY --from={name} /tool /a\n\
        RUN --mount=from={name},target=/m cat /m/tool > /b\n"
    );
    other.build(&dockerfile, &["-t", "y"]).ok();
    assert_eq!(other.sh("y", "cat /a /b"), "tool\ntool\n");
    let missing = format!("FROM {address}/no/such:1\n");
    let message = other.build(&missing, &[]).fails(1);
    assert!(message.contains(" --> Dockerfile:1:1") && !message.contains("may pass"), "{message}");
}

#[test]
fn privileged_credentials_are_read_and_never_shown() {
    let Some(cooper) = Cooper::new() else { return };
    let options = ServerOptions { auth: Some(("user".into(), "canary-password".into())), token_auth: true };
    let (_runtime, _running, address) = registry(options);
    let name = format!("{address}/private");
    let dockerfile = "FROM base\nRUN echo private > /x\n";
    let message = cooper.build(dockerfile, &["-t", &name, "--push"]);
    assert!(message.code == 1 && message.stderr.contains("hint: "), "{}", message.stderr);
    // user:canary-password
    let config = format!("{{\"auths\":{{\"{address}\":{{\"auth\":\"dXNlcjpjYW5hcnktcGFzc3dvcmQ=\"}}}}}}");
    cooper.put("../home/.docker/config.json", config);
    let out = cooper.build(dockerfile, &["-t", &name, "--push"]).ok();
    assert!(!out.stderr.contains("canary"), "{}", out.stderr);
}
