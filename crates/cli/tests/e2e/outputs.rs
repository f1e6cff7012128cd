//! Every place a result can go to, and what other tools say about it.

use std::path::Path;

use crate::harness::{Cooper, installed, peer};

const APP: &str =
    "FROM base\nRUN echo built > /x; mkdir /d; ln -s /x /d/link; chown 1000:1000 /d\nCMD [\"cat\", \"/x\"]\n";

#[test]
fn privileged_several_outputs_of_one_build() {
    let Some(cooper) = Cooper::new() else { return };
    let flags = [
        "-t",
        "app:1",
        "-o",
        "type=oci,dest=oci.tar",
        "-o",
        "type=oci,dest=layout,tar=false",
        "-o",
        "type=docker,dest=docker.tar",
        "-o",
        "type=tar,dest=files.tar",
        "-o",
        "type=local,dest=files",
        "-o",
        "plain",
        "-o",
        "type=image",
    ];
    cooper.put(".dockerignore", "**");
    cooper.build(APP, &flags).ok();
    assert_eq!(cooper.get("files/x"), "built\n");
    assert_eq!(cooper.get("plain/x"), "built\n");
    assert_eq!(std::fs::read_link(cooper.path("plain/d/link")).unwrap(), Path::new("/x"));
    let tar = peer("tar", &["-tvf", &cooper.text("files.tar")]);
    assert!(tar.contains("1000/1000") && tar.contains("d/link -> /x"), "{tar}");
    assert!(cooper.get("layout/oci-layout").contains("1.0.0"));
    assert_eq!(cooper.run(&["run", "app:1"]).ok().stdout, "built\n");
    // The same again runs nothing and may overwrite.
    assert!(cooper.build(APP, &flags).ok().ran().is_empty());
    for archive in ["oci.tar", "docker.tar", "layout"] {
        let other = Cooper::empty();
        other.run(&["load", "-i", &cooper.text(archive)]).ok();
        let id = other.run(&["images", "-aq", "--no-trunc"]).ok().stdout.trim().to_owned();
        assert_eq!(other.run(&["run", &id]).ok().stdout, "built\n", "{archive}");
        other.run(&["store", "check"]).ok();
    }
}

#[test]
fn privileged_a_tar_on_standard_output() {
    let Some(cooper) = Cooper::new() else { return };
    for output in ["-", "type=tar", "type=oci", "type=docker,dest=-"] {
        cooper.put("Dockerfile", APP);
        let raw = cooper.command(&["build", "-o", output, "."]).output().unwrap();
        assert!(raw.status.success());
        std::fs::write(cooper.path("../out.tar"), &raw.stdout).unwrap();
        let listed = peer("tar", &["-tf", &cooper.text("../out.tar")]);
        let expect = if output == "-" || output == "type=tar" { "x" } else { "blobs/sha256/" };
        assert!(listed.lines().any(|line| line == expect || line.starts_with(expect)), "{output}: {listed}");
    }
    let message = cooper.run(&["build", "-o", "-", "-o", "type=oci", "."]).fails(2);
    assert!(message.contains("only one output"), "{message}");
}

#[test]
fn privileged_compressions() {
    let Some(cooper) = Cooper::new() else { return };
    for (n, (flags, media)) in [
        ("compression=uncompressed", "tar"),
        ("compression=gzip", "tar+gzip"),
        ("compression=gzip,compression-level=1", "tar+gzip"),
        ("compression=gzip,compression-level=9", "tar+gzip"),
        ("compression=zstd", "tar+zstd"),
        ("compression=zstd,compression-level=19", "tar+zstd"),
    ]
    .into_iter()
    .enumerate()
    {
        let dest = format!("../layout{n}");
        let output = format!("type=oci,dest={dest},tar=false,force-compression=true,{flags}");
        cooper.build(APP, &["-o", &output]).ok();
        let index: serde_json::Value = serde_json::from_str(&cooper.get(&format!("{dest}/index.json"))).unwrap();
        let digest = index["manifests"][0]["digest"].as_str().unwrap().replace("sha256:", "");
        let manifest: serde_json::Value =
            serde_json::from_str(&cooper.get(&format!("{dest}/blobs/sha256/{digest}"))).unwrap();
        for layer in manifest["layers"].as_array().unwrap() {
            assert_eq!(layer["mediaType"], format!("application/vnd.oci.image.layer.v1.{media}"), "{flags}");
        }
        let other = Cooper::empty();
        other.run(&["load", "-i", &cooper.text(&dest)]).ok();
        let id = other.run(&["images", "-aq", "--no-trunc"]).ok().stdout.trim().to_owned();
        assert_eq!(other.run(&["run", &id]).ok().stdout, "built\n", "{flags}");
    }
    for bad in ["compression=lzma", "compression=gzip,compression-level=99", "compression-level=x"] {
        cooper.build(APP, &["-o", &format!("type=oci,dest=x.tar,{bad}")]).fails(2);
    }
}

#[test]
fn privileged_places_that_cannot_be_written() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.put("file", "x");
    for output in
        ["type=oci,dest=no/such/x.tar", "type=tar,dest=file/x", "type=local,dest=file", "type=oci,tar=false,dest=file"]
    {
        let message = cooper.build(APP, &["-o", output]);
        assert!(message.code == 1 && message.stderr.contains("error: "), "{output}: {}", message.stderr);
    }
    assert_eq!(cooper.get("file"), "x");
}

#[test]
fn privileged_skopeo_reads_and_makes_what_cooper_makes_and_reads() {
    let Some(cooper) = Cooper::new() else { return };
    if !installed("skopeo") {
        return;
    }
    let flags = [
        "-t",
        "app:1",
        "-o",
        "type=oci,dest=../oci.tar,name=app:1",
        "-o",
        "type=oci,dest=../layout,tar=false,name=app:1",
        "-o",
        "type=docker,dest=../docker.tar",
        "-o",
        "type=image",
    ];
    cooper.build(APP, &flags).ok();
    let at = |name: &str| cooper.text(name);
    for place in ["oci-archive:../oci.tar", "oci:../layout", "docker-archive:../docker.tar"] {
        let (kind, path) = place.split_once(':').unwrap();
        let place = format!("{kind}:{}", at(path));
        let inspected = peer("skopeo", &["inspect", "--config", &place]);
        assert!(inspected.contains("\"cat\""), "{place}: {inspected}");
        for made in ["docker-archive", "oci-archive"] {
            let copied = at(&format!("../{made}-of-{kind}.tar"));
            let name =
                if made == "docker-archive" { format!("{made}:{copied}:app:1") } else { format!("{made}:{copied}") };
            peer("skopeo", &["copy", "--insecure-policy", &place, &name]);
            let other = Cooper::empty();
            other.run(&["load", "-i", &copied]).ok();
            let id = other.run(&["images", "-aq", "--no-trunc"]).ok().stdout.trim().to_owned();
            assert_eq!(other.run(&["run", &id]).ok().stdout, "built\n", "{name}");
        }
    }
}

#[test]
fn privileged_umoci_and_buildah_accept_the_layout() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.build(APP, &["-o", "type=oci,dest=../layout,tar=false,name=app:v1", "-o", "type=oci,dest=../oci.tar"]).ok();
    let layout = cooper.text("../layout");
    if installed("umoci") {
        let index = cooper.get("../layout/index.json");
        let index: serde_json::Value = serde_json::from_str(&index).unwrap();
        let tag = index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap();
        peer("umoci", &["unpack", "--image", &format!("{layout}:{tag}"), &cooper.text("../bundle")]);
        assert_eq!(cooper.get("../bundle/rootfs/x"), "built\n");
    }
    if installed("buildah") {
        let (root, runroot) = (cooper.text("../buildah"), cooper.text("../buildah-run"));
        let store = ["--root", &root, "--runroot", &runroot, "--storage-driver", "vfs"];
        let pulled =
            peer("buildah", &[&store[..], &["pull", &format!("oci-archive:{}", cooper.text("../oci.tar"))]].concat());
        assert_eq!(pulled.trim().len(), 64, "{pulled}");
    }
}
