//! The finer keys of `--output`, archives of several images, the docker command, and lists of images.

use cooper_registry::server::{Server, ServerOptions};
use serde_json::Value;

use crate::harness::{Cooper, installed, peer};

const FILE: &str = "FROM scratch\nCOPY x /x\n";

fn world() -> Cooper {
    let cooper = Cooper::empty();
    cooper.put("x", "content");
    cooper
}

fn layout(cooper: &Cooper, name: &str) -> (Value, Value) {
    let json = |path: String| -> Value { serde_json::from_str(&cooper.get(&path)).unwrap() };
    let index = json(format!("{name}/index.json"));
    let digest = index["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
    (index, json(format!("{name}/blobs/{digest}")))
}

#[test]
fn dockers_media_types() {
    let cooper = world();
    for (flags, layer) in [("", "rootfs.diff.tar.gzip"), (",compression=uncompressed", "rootfs.diff.tar")] {
        let output = format!("type=oci,dest=../l{layer},tar=false,oci-mediatypes=false{flags}");
        cooper.build(FILE, &["-o", &output]).ok();
        let (index, manifest) = layout(&cooper, &format!("../l{layer}"));
        assert_eq!(index["manifests"][0]["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
        assert_eq!(manifest["mediaType"], index["manifests"][0]["mediaType"]);
        assert_eq!(manifest["config"]["mediaType"], "application/vnd.docker.container.image.v1+json");
        assert_eq!(manifest["layers"][0]["mediaType"], format!("application/vnd.docker.image.{layer}"));
    }
    let both = ["--platform=linux/amd64,linux/arm64", "-o", "type=oci,dest=../list,tar=false,oci-mediatypes=false"];
    cooper.build(FILE, &both).ok();
    let list = "application/vnd.docker.distribution.manifest.list.v2+json";
    assert_eq!(layout(&cooper, "../list").1["mediaType"], list);
    let zstd = cooper.build(FILE, &["-o", "type=oci,dest=../z,oci-mediatypes=false,compression=zstd"]).fails(2);
    assert!(zstd.contains("none for zstd"), "{zstd}");
    let annotated = ["-o", "type=oci,dest=../z,oci-mediatypes=false,annotation-manifest-descriptor.a=b"];
    assert!(cooper.build(FILE, &annotated).fails(1).contains("no place for annotations"));
}

#[test]
fn times_of_layers_are_rewritten_to_the_epoch() {
    let cooper = world();
    let output = |n: &str| format!("type=oci,dest=../{n},tar=false,compression=uncompressed,rewrite-timestamp=true");
    let times = |n: &str| {
        let digest = layout(&cooper, n).1["layers"][0]["digest"].as_str().unwrap().replace(':', "/");
        peer("tar", &["--utc", "-tvf", &cooper.text(&format!("{n}/blobs/{digest}"))])
    };
    let flags = ["--timestamps=preserve", "--build-arg=SOURCE_DATE_EPOCH=1000000000", "-o"];
    cooper.build(FILE, &[&flags[..], &[&output("a")]].concat()).ok();
    assert!(times("../a").contains("2001-09-09 01:46"), "{}", times("../a"));
    let (_, first) = layout(&cooper, "../a");
    // Written again, and at another time, it is the same image; the step is not run again.
    std::fs::write(cooper.path("x"), "content").unwrap();
    let again = cooper.build(FILE, &[&flags[..], &[&output("b")]].concat()).ok();
    assert_eq!((layout(&cooper, "../b").1, again.ran()), (first, vec![]));
    // Times that are earlier stay.
    let late = ["--build-arg=SOURCE_DATE_EPOCH=4000000000", "-o"];
    cooper.build(FILE, &[&late[..], &[&output("c")]].concat()).ok();
    assert!(times("../c").contains("1980-01-01 00:00"), "{}", times("../c"));
    let message = cooper.build(FILE, &["-o", &output("d")]).fails(1);
    assert!(message.contains("rewrite-timestamp needs a time\n") && message.contains("hint: set SOURCE_DATE_EPOCH"));
}

#[test]
fn pushed_by_digest_and_kept_out_of_the_store() {
    let cooper = world();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let running = runtime.block_on(Server::start(ServerOptions::default())).unwrap();
    let name = format!("{}/app", running.addr());
    let flags = ["--platform=linux/amd64,linux/arm64", "-t", &name, "--metadata-file=../m"];
    let output = ["-o", "type=image,push=true,push-by-digest=true,store=false"];
    cooper.build(FILE, &[&flags[..], &output].concat()).ok();
    let puts = || running.requests().into_iter().filter(|r| r.method == "PUT" && r.path.contains("/manifests/"));
    assert_eq!(puts().count(), 3, "two manifests and their index");
    assert!(puts().all(|request| request.path.contains("/manifests/sha256:")), "{:?}", puts().collect::<Vec<_>>());
    assert_eq!(cooper.run(&["images", "-aq"]).ok().stdout, "");
    let metadata: Value = serde_json::from_str(&cooper.get("../m")).unwrap();
    let digest = metadata["containerimage.digest"].as_str().unwrap();
    assert_eq!(metadata["image.name"], format!("{name}@{digest}"));
    // A dangling name pushes too.
    let dangling = format!("type=image,push=true,dangling-name-prefix={name}");
    cooper.build(FILE, &["-o", &dangling]).ok();
    assert!(puts().all(|request| request.path.contains("/manifests/sha256:")));
    let id = cooper.run(&["images", "-aq"]).ok().stdout;
    assert_eq!(id.lines().count(), 1, "{id}");
    let tagged = cooper.build(FILE, &["-o", &format!("type=registry,push-by-digest=true,name={name}:1")]).fails(2);
    assert!(tagged.contains("push-by-digest gives no tag"), "{tagged}");
    cooper.build(FILE, &["-o", "type=image,unpack=true,name=unpacked"]).ok();
}

#[test]
fn several_images_in_one_archive() {
    let cooper = world();
    cooper.build(FILE, &["-t", "a:1", "-t", "a:2"]).ok();
    cooper.build("FROM a:1\nCOPY x /y\n", &["-t", "b"]).ok();
    for format in ["docker", "oci"] {
        let file = cooper.text(&format!("../{format}.tar"));
        cooper.run(&["save", "--format", format, "-o", &file, "a:1", "b", "a:2"]).ok();
        let listed = peer("tar", &["-tf", &file]);
        let blobs = listed.lines().filter(|line| line.starts_with("blobs/sha256/") && !line.ends_with('/')).count();
        assert_eq!(blobs, 6, "two manifests, two configs, and the shared layer once: {listed}");
        let other = Cooper::empty();
        let loaded = other.run(&["load", "-i", &file]).ok().stdout;
        let mut lines: Vec<&str> = loaded.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["Loaded image: a:1", "Loaded image: a:2", "Loaded image: b:latest"]);
        assert_eq!(other.run(&["images", "-q", "--no-trunc"]).ok().stdout.lines().count(), 2);
        if installed("skopeo") {
            let place = if format == "docker" {
                format!("docker-archive:{file}:b:latest")
            } else {
                format!("oci-archive:{file}:latest")
            };
            let inspected = peer("skopeo", &["inspect", "--config", &place]);
            assert!(inspected.contains("COPY x /y"), "{place}: {inspected}");
        }
    }
    let message = cooper.run(&["save", "a:1", "none"]).fails(1);
    assert!(message.contains("cannot save `none`"), "{message}");
}

#[test]
fn one_platform_of_an_image_for_several() {
    let cooper = world();
    cooper.build(FILE, &["-t", "both", "--platform=linux/amd64,linux/arm64"]).ok();
    let file = cooper.text("../one.tar");
    let message = cooper.run(&["save", "-o", &file, "both"]).fails(1);
    assert!(message.contains("holds one platform, not 2"), "{message}");
    cooper.run(&["save", "--platform=linux/arm64", "-o", &file, "both"]).ok();
    let other = Cooper::empty();
    other.run(&["load", "-i", &file]).ok();
    assert_eq!(other.inspect("both")["Architecture"], "arm64");
    let message = cooper.run(&["save", "--platform=linux/s390x", "both"]).fails(1);
    assert!(message.contains("linux/amd64, linux/arm64"), "{message}");
    // All of them, in the format that can.
    let file = cooper.text("../both.tar");
    cooper.run(&["save", "--format=oci", "-o", &file, "both"]).ok();
    let third = Cooper::empty();
    third.run(&["load", "-i", &file]).ok();
    third.run(&["store", "check"]).ok();
    assert_eq!(third.inspect("both")["Descriptor"]["mediaType"], "application/vnd.oci.image.index.v1+json");
}

#[test]
fn the_docker_command_gets_the_archive_and_the_environment() {
    use std::os::unix::fs::PermissionsExt;
    let mut cooper = world();
    let script = "#!/bin/sh\necho \"$DOCKER_HOST|$*\" > \"$OUT/args\"\nexec cat > \"$OUT/image.tar\"\n";
    cooper.put("../bin/docker", script);
    let permissions = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(cooper.path("../bin/docker"), permissions(0o755)).unwrap();
    cooper.env.extend([("DOCKER_HOST".into(), "tcp://there:1".into()), ("OUT".into(), cooper.text(".."))]);
    let path = format!("{}:/usr/bin:/bin", cooper.text("../bin"));
    cooper.put("Dockerfile", FILE);
    let build = |flags: &[&str]| {
        let args = [&["build"], flags, &["."]].concat();
        cooper.wait(cooper.command(&args).env("PATH", &path).spawn().unwrap())
    };
    build(&["--load", "-t", "app:1"]).ok();
    assert_eq!(cooper.get("../args"), "tcp://there:1|load\n");
    let other = Cooper::empty();
    assert_eq!(other.run(&["load", "-i", &cooper.text("../image.tar")]).ok().stdout, "Loaded image: app:1\n");
    build(&["-o", "type=docker,context=far,name=b"]).ok();
    assert_eq!(cooper.get("../args"), "tcp://there:1|--context far load\n");
    cooper.put("../bin/docker", "#!/bin/sh\necho 'no engine here' >&2\nexit 1\n");
    let message = build(&["--load"]).fails(1);
    assert!(message.contains("`docker load` failed: no engine here") && message.contains("hint: "), "{message}");
}

#[test]
fn images_are_found_by_filters_and_shown_in_formats() {
    let cooper = world();
    let labelled = |name: &str, label: &str, epoch: &str| {
        let epoch = format!("--build-arg=SOURCE_DATE_EPOCH={epoch}");
        cooper.build(FILE, &["-t", name, "--label", label, &epoch]).ok();
    };
    labelled("team/old:1", "tier=web", "1000000000");
    labelled("team/new:2", "tier=db", "1600000000");
    labelled("solo", "tier=db", "1300000000");
    let list = |flags: &[&str]| {
        let flags = [&["images", "--format={{.Repository}}:{{.Tag}}"], flags].concat();
        cooper.run(&flags).ok().stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(list(&[]), ["team/new:2", "solo:latest", "team/old:1"]);
    assert_eq!(list(&["--filter", "reference=team/*"]), ["team/new:2", "team/old:1"]);
    assert_eq!(list(&["team/*"]), ["team/new:2", "team/old:1"]);
    assert_eq!(list(&["--filter", "label=tier=db", "-f", "since=team/old:1"]), ["team/new:2", "solo:latest"]);
    assert_eq!(list(&["--filter", "before=solo"]), ["team/old:1"]);
    assert_eq!(list(&["--filter", "until=2005-01-01T00:00:00Z"]), ["team/old:1"]);
    labelled("solo", "tier=other", "1300000001");
    assert_eq!(list(&["--filter", "dangling=true"]), ["<none>:<none>"]);
    let table = cooper.run(&["images", "--format", "table {{.Tag}}\\t{{.Repository}}", "team/old"]).ok().stdout;
    assert_eq!(table, "TAG   REPOSITORY\n1     team/old\n");
    assert!(cooper.run(&["images", "--filter", "before=none"]).fails(1).contains("no image `none`"));
    assert!(cooper.run(&["images", "--filter", "colour=red"]).fails(2).contains("hint: the filters are"));
    assert!(cooper.run(&["images", "--format", "{{.Repo}}"]).fails(2).contains("there is no field `Repo`"));
}

#[test]
fn files_that_cannot_be_written_fail_before_the_build() {
    let cooper = world();
    for flag in ["--iidfile", "--metadata-file"] {
        let message = cooper.build("FROM scratch\nCOPY nothing /\n", &[flag, "no/such/file"]).fails(1);
        assert!(message.contains("there is no directory `no/such`"), "{message}");
    }
    cooper.put("args.env", "# values\nNAME=of file\nOTHER\n");
    let dockerfile = "FROM scratch\nARG NAME OTHER\nLABEL name=$NAME other=$OTHER\nCOPY x /\n";
    cooper.build(dockerfile, &["--build-arg-file=args.env", "--build-arg=OTHER=flag", "-t", "a"]).ok();
    let labels = cooper.inspect("a")["Config"]["Labels"].clone();
    assert_eq!(labels, serde_json::json!({"name": "of file", "other": "flag"}));
}
