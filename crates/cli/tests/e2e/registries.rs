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
    let options = ServerOptions {
        auth: Some(("user".into(), "canary-password".into())),
        token_auth: true,
        ..ServerOptions::default()
    };
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

#[test]
fn privileged_images_are_pulled_and_pushed_by_name() {
    let Some(cooper) = Cooper::new() else { return };
    let (_runtime, running, address) = registry(ServerOptions::default());
    let name = format!("{address}/team/app:1");
    cooper.build("FROM base\nRUN echo pulled > /x\n", &["-t", &name]).ok();
    cooper.run(&["push", &name]).ok();
    let other = Cooper::empty();
    assert_eq!(other.run(&["pull", &name]).ok().stdout, format!("{name}\n"));
    let blobs = methods(&running, "GET", "/blobs/");
    assert_eq!(other.sh(&name, "cat /x"), "pulled\n");
    assert_eq!(methods(&running, "GET", "/blobs/"), blobs, "a pulled image is all there");
    other.run(&["pull", &name]).ok();
    assert_eq!(methods(&running, "GET", "/blobs/"), blobs, "what is there is not fetched again");
    let pinned = format!("{address}/team/app@{}", other.inspect(&name)["Descriptor"]["digest"].as_str().unwrap());
    assert_eq!(Cooper::empty().run(&["pull", "-q", &pinned]).ok().stderr, "");
    let message = other.run(&["pull", &format!("{address}/team/app:none")]).fails(1);
    assert!(message.contains("hint: "), "{message}");
    let message = other.run(&["--offline", "pull", &name]).fails(1);
    assert!(message.contains("switched off"), "{message}");
    let message = other.run(&["push", "Not/A/name"]).fails(2);
    assert!(message.contains("not the name of an image"), "{message}");
}

#[test]
fn privileged_an_image_pulled_for_one_platform_is_there_for_another() {
    let Some(cooper) = Cooper::new() else { return };
    let (_runtime, _running, address) = registry(ServerOptions::default());
    let name = format!("{address}/many");
    let dockerfile = "FROM scratch\nARG TARGETARCH\nENV ARCH=$TARGETARCH\nCOPY in /in\n";
    cooper.put("in", "in");
    cooper.build(dockerfile, &["-t", &name, "--push", "--platform", "linux/amd64,linux/arm64"]).ok();
    let other = Cooper::empty();
    other.run(&["pull", "--platform", "linux/amd64", &name]).ok();
    let built = |platform: &str| {
        other.build(&format!("FROM {name}\nENV x=y\n"), &["-t", "x", "--platform", platform]).ok();
        other.inspect("x")["Config"]["Env"].to_string()
    };
    assert!(built("linux/arm64").contains("ARCH=arm64"));
    assert!(built("linux/amd64").contains("ARCH=amd64"));
}

#[test]
fn privileged_remote_images_are_looked_at_without_being_pulled() {
    let Some(cooper) = Cooper::new() else { return };
    let (_runtime, running, address) = registry(ServerOptions::default());
    for tag in ["a", "b"] {
        cooper.build("FROM base\nENV x=y\n", &["-t", &format!("{address}/app:{tag}"), "--push"]).ok();
    }
    let other = Cooper::empty();
    assert_eq!(other.run(&["tags", &format!("{address}/app")]).ok().stdout, "a\nb\n");
    let before = methods(&running, "GET", "/blobs/");
    let text = other.run(&["inspect", "--remote", &format!("{address}/app:a")]).ok().stdout;
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let local = cooper.inspect(&format!("{address}/app:a"));
    assert_eq!(value[0]["Descriptor"]["digest"], local["Descriptor"]["digest"]);
    assert_eq!(value[0]["RootFS"], local["RootFS"]);
    assert!(value[0]["Config"]["Env"].as_array().unwrap().contains(&"x=y".into()), "{value}");
    assert_eq!(methods(&running, "GET", "/blobs/"), before + 1, "the config and no layer");
    let raw = other.run(&["inspect", "--remote", "--raw", &format!("{address}/app:a")]).ok().stdout;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&raw).unwrap()["schemaVersion"], 2);
}

#[test]
fn privileged_logins_are_tried_kept_and_forgotten() {
    let Some(cooper) = Cooper::new() else { return };
    let options = ServerOptions {
        auth: Some(("user".into(), "canary-password".into())),
        token_auth: true,
        ..ServerOptions::default()
    };
    let (_runtime, _running, address) = registry(options);
    let login =
        |password: &str| cooper.feed(&["login", "-u", "user", "--password-stdin", &address], password.as_bytes());
    let message = login("wrong\n").fails(1);
    assert!(message.contains(&address) && !cooper.path("../home/.docker/config.json").exists(), "{message}");
    let name = format!("{address}/private");
    cooper.build("FROM base\n", &["-t", &name]).ok();
    assert_eq!(cooper.run(&["push", &name]).code, 1);
    let said = login("canary-password\n").ok();
    assert!(!format!("{}{}", said.stdout, said.stderr).contains("canary"));
    cooper.run(&["push", &name]).ok();
    cooper.run(&["logout", &address]).ok();
    assert_eq!(cooper.run(&["push", &format!("{address}/other")]).code, 1);
    let text = std::fs::read_to_string(cooper.path("../home/.docker/config.json")).unwrap();
    assert!(!text.contains(&address), "{text}");
    let message = cooper.run(&["login", "-u", "user", &address]).fails(2);
    assert!(message.contains("--password-stdin"), "{message}");
}

#[test]
fn privileged_images_are_copied_between_all_places() {
    let Some(cooper) = Cooper::new() else { return };
    let (_runtime, running, address) = registry(ServerOptions::default());
    cooper.build("FROM base\nRUN echo copied > /x\n", &["-t", "app:1"]).ok();
    let digest = cooper.inspect("app:1")["Descriptor"]["digest"].as_str().unwrap().to_owned();
    let dir = cooper.text("../");
    let places = [
        "store:app:1".to_owned(),
        format!("{address}/a:1"),
        format!("oci:{dir}layout:one"),
        format!("oci-archive:{dir}a.tar:host.example/a:1"),
        format!("docker://{address}/b:1"),
        "store:back:1".to_owned(),
        format!("docker-archive:{dir}d.tar:host.example/d:1"),
        "store:last:1".to_owned(),
    ];
    for pair in places.windows(2) {
        cooper.run(&["copy", &pair[0], &pair[1]]).ok();
    }
    assert_eq!(cooper.inspect("back:1")["Descriptor"]["digest"], digest);
    assert_eq!(cooper.sh("last:1", "cat /x"), "copied\n");
    let uploads = methods(&running, "PATCH", "") + methods(&running, "PUT", "/blobs/");
    let list = format!("# mounted from the same registry\n{address}/a:1 {address}/c:1\n{address}/a:1 {address}/e:2\n");
    cooper.put("../list", list);
    cooper.run(&["copy", "--list", &cooper.text("../list")]).ok();
    assert_eq!(
        methods(&running, "PATCH", "") + methods(&running, "PUT", "/blobs/"),
        uploads,
        "no bytes are sent twice"
    );
    let message = cooper.run(&["copy", "store:none", "store:x"]).fails(1);
    assert!(message.contains("none"), "{message}");
    let message = cooper.run(&["copy", "oci:", "store:x"]).fails(2);
    assert!(message.contains("names nothing"), "{message}");
}
