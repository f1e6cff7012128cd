//! Builds for several platforms, and steps for processors that this machine does not have.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Cooper, Out, peer};
use crate::programs;

/// A document of an OCI layout in the context.
fn blob(cooper: &Cooper, layout: &str, digest: &Value) -> Value {
    let path = format!("{layout}/blobs/{}", digest.as_str().unwrap().replace(':', "/"));
    serde_json::from_str(&cooper.get(&path)).unwrap()
}

/// The only entry of a layout, and the document it names.
fn root(cooper: &Cooper, layout: &str) -> (Value, Value) {
    let index: Value = serde_json::from_str(&cooper.get(&format!("{layout}/index.json"))).unwrap();
    let entry = index["manifests"][0].clone();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
    let document = blob(cooper, layout, &entry["digest"]);
    (entry, document)
}

fn platforms(index: &Value) -> Vec<String> {
    let shown = |entry: &Value| {
        let part = |name: &str| entry["platform"][name].as_str().map(|text| format!("/{text}")).unwrap_or_default();
        format!("{}{}{}", part("os").trim_start_matches('/'), part("architecture"), part("variant"))
    };
    index["manifests"].as_array().unwrap().iter().map(shown).collect()
}

/// Compiles on the machine's own platform, for each target.
const CROSS: &str = "FROM --platform=$BUILDPLATFORM base AS build\n\
    RUN echo get\n\
    ARG TARGETARCH TARGETVARIANT\n\
    RUN echo $TARGETARCH$TARGETVARIANT > /out\n\
    FROM scratch\n\
    COPY --from=build /out /out\n";

#[test]
fn privileged_what_is_equal_for_all_platforms_runs_once() {
    let Some(cooper) = Cooper::new() else { return };
    let flags = ["--platform", "linux/amd64,linux/arm64", "--platform=linux/arm/v7", "-t", "app"];
    let built =
        cooper.build(CROSS, &[&flags[..], &["-o", "type=oci,dest=../l,tar=false", "-o", "type=image"]].concat());
    let ran = built.ok().ran();
    let count = |text: &str| ran.iter().filter(|step| step.contains(text)).count();
    assert_eq!((count("RUN echo get"), count("> /out"), count("COPY")), (1, 3, 3), "{ran:?}");
    let (entry, index) = root(&cooper, "../l");
    assert_eq!(entry["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(platforms(&index), ["linux/amd64", "linux/arm64", "linux/arm/v7"]);
    for (manifest, architecture) in index["manifests"].as_array().unwrap().iter().zip(["amd64", "arm64", "arm"]) {
        let manifest = blob(&cooper, "../l", &manifest["digest"]);
        let config = blob(&cooper, "../l", &manifest["config"]["digest"]);
        assert_eq!(config["architecture"], architecture);
    }
    assert!(cooper.build(CROSS, &flags).ok().ran().is_empty());
    // The switched-off cache does not make the shared step run for each either.
    let again = cooper.build(CROSS, &[&flags[..], &["--no-cache"]].concat()).ok().ran();
    assert_eq!(again.iter().filter(|step| step.contains("RUN echo get")).count(), 1, "{again:?}");
    let why = cooper.run(&["explain"]).ok().stdout;
    assert_eq!(why.matches("RUN echo get").count(), 1, "{why}");
}

#[test]
fn privileged_files_of_each_platform_in_a_directory() {
    let Some(cooper) = Cooper::new() else { return };
    let build = |output: &str| cooper.build(CROSS, &["--platform=linux/amd64,linux/arm/v7", "-o", output]);
    build("type=local,dest=../files").ok();
    assert_eq!(cooper.get("../files/linux_amd64/out"), "amd64\n");
    assert_eq!(cooper.get("../files/linux_arm_v7/out"), "armv7\n");
    build("type=tar,dest=../files.tar").ok();
    let names = peer("tar", &["-tf", &cooper.text("../files.tar")]);
    assert_eq!(names, "linux_amd64/\nlinux_amd64/out\nlinux_arm_v7/\nlinux_arm_v7/out\n");
    let message = build("type=local,dest=../one,platform-split=false").fails(1);
    assert!(message.contains("`out` is there for linux/amd64 and for linux/arm/v7"), "{message}");
    let apart = "FROM scratch\nARG TARGETARCH\nCOPY x /dir/$TARGETARCH\n";
    cooper.put("x", "x");
    let flags = ["--platform=linux/amd64,linux/arm64", "-o", "type=local,dest=../one,platform-split=false"];
    cooper.build(apart, &flags).ok();
    assert_eq!(cooper.get("../one/dir/amd64") + &cooper.get("../one/dir/arm64"), "xx");
    cooper.build(apart, &["-o", "type=local,dest=../own,platform-split=true", "--platform=linux/arm64"]).ok();
    assert_eq!(cooper.get("../own/linux_arm64/dir/arm64"), "x");
}

#[test]
fn privileged_arguments_tell_the_platforms() {
    let Some(cooper) = Cooper::new() else { return };
    let names = ["PLATFORM", "OS", "ARCH", "VARIANT"];
    let args: Vec<String> = names.iter().flat_map(|name| [format!("BUILD{name}"), format!("TARGET{name}")]).collect();
    let values: Vec<String> = args.iter().map(|name| format!("{name}=${name}")).collect();
    let dockerfile = format!(
        "FROM --platform=$BUILDPLATFORM base AS b\nARG {}\nRUN echo {} > /out\nFROM scratch\nCOPY --from=b /out /\n",
        args.join(" "),
        values.join(" ")
    );
    let host = cooper_oci::Platform::host();
    for (text, target, os, architecture, variant) in [
        ("linux/arm/v6", "linux/arm/v6", "linux", "arm", "v6"),
        ("armhf", "linux/arm/v7", "linux", "arm", "v7"),
        ("linux/arm64/v8", "linux/arm64", "linux", "arm64", ""),
        ("linux/amd64/v2", "linux/amd64/v2", "linux", "amd64", "v2"),
        ("386", "linux/386", "linux", "386", ""),
        ("windows/amd64", "windows/amd64", "windows", "amd64", ""),
    ] {
        cooper.build(&dockerfile, &["--platform", text, "-o", "../out"]).ok();
        let expect = format!(
            "BUILDPLATFORM={host} TARGETPLATFORM={target} BUILDOS=linux TARGETOS={os} BUILDARCH={} TARGETARCH={architecture} \
             BUILDVARIANT= TARGETVARIANT={variant}\n",
            host.architecture
        );
        assert_eq!(cooper.get("../out/out"), expect, "{text}");
    }
}

#[test]
fn a_base_that_lacks_the_platform_says_what_it_has() {
    let cooper = Cooper::empty();
    cooper.put("x", "x");
    cooper.build("FROM scratch\nCOPY x /\n", &["-t", "both", "--platform=linux/arm64,linux/arm/v6"]).ok();
    let message = cooper.build("FROM both\n", &["--platform=linux/s390x"]).fails(1);
    assert!(message.contains("`both:latest` has no manifest for linux/s390x"), "{message}");
    assert!(message.contains("hint: it has: linux/arm64, linux/arm/v6"), "{message}");
    assert!(message.contains(" --> Dockerfile:1:1"), "{message}");
    cooper.build("FROM both\n", &["--platform=linux/arm/v7"]).ok();
    let message = cooper.run(&["run", "both", "x"]).fails(125);
    assert!(message.contains("it has no image for"), "{message}");
}

#[test]
fn what_holds_one_platform_is_refused_for_several_before_anything_runs() {
    let cooper = Cooper::empty();
    for (flags, expect) in [
        (&["-o", "type=docker,dest=x.tar"][..], "a docker archive holds one platform"),
        (&["--load"], "a docker archive holds one platform"),
        (&["--annotation", "manifest[linux/s390x]:a=b"], "linux/s390x, which is not built"),
    ] {
        let flags = [flags, &["--platform=linux/amd64,linux/arm64"]].concat();
        let message = cooper.build("FROM scratch\nCOPY nothing /\n", &flags).fails(1);
        assert!(message.contains(expect) && !message.contains("nothing"), "{flags:?}: {message}");
    }
    let message = cooper.build("FROM scratch\nCOPY nothing /\n", &["--annotation", "index:a=b"]).fails(1);
    assert!(message.contains("there is no index to put the annotation `a` on"), "{message}");
}

#[test]
fn annotations_are_where_they_were_asked_for() {
    let cooper = Cooper::empty();
    cooper.put("x", "x");
    let flags = [
        "--platform=linux/amd64,linux/arm64",
        "--annotation=all=1",
        "--annotation=index,index-descriptor:i=2",
        "--annotation=manifest[linux/arm64],manifest-descriptor[linux/arm64]:a=3",
        "--annotation=manifest-descriptor:d=4",
        "-o",
        "type=oci,dest=../l,tar=false,annotation.all=0,annotation-index.o=5",
    ];
    cooper.build("FROM scratch\nCOPY x /\n", &flags).ok();
    let (entry, index) = root(&cooper, "../l");
    assert_eq!(entry["annotations"], serde_json::json!({"i": "2"}));
    assert_eq!(index["annotations"], serde_json::json!({"i": "2", "o": "5"}));
    let of = |n: usize| {
        let entry = &index["manifests"][n];
        (entry["annotations"].to_string(), blob(&cooper, "../l", &entry["digest"])["annotations"].to_string())
    };
    assert_eq!(of(0), (r#"{"d":"4"}"#.into(), r#"{"all":"1"}"#.into()));
    assert_eq!(of(1), (r#"{"a":"3","d":"4"}"#.into(), r#"{"a":"3","all":"1"}"#.into()));
    cooper.build("FROM scratch\nCOPY x /\n", &["--annotation=manifest,manifest-descriptor:a=b", "-t", "one"]).ok();
    let one = cooper.inspect("one");
    assert_eq!(one["Descriptor"]["annotations"], serde_json::json!({"a": "b"}));
    assert_eq!(one["Descriptor"]["platform"]["os"], "linux");
}

#[test]
fn an_index_of_one_platform_where_it_is_asked_for() {
    let cooper = Cooper::empty();
    cooper.put("x", "x");
    let flags = ["--build-arg=BUILDKIT_MULTI_PLATFORM=1", "-o", "type=oci,dest=../l,tar=false", "--metadata-file=../m"];
    cooper.build("FROM scratch\nCOPY x /\n", &flags).ok();
    assert_eq!(platforms(&root(&cooper, "../l").1), [cooper_oci::Platform::host().to_string()]);
    let metadata: Value = serde_json::from_str(&cooper.get("../m")).unwrap();
    let keys: Vec<&str> = metadata.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["buildx.build.ref", "containerimage.descriptor", "containerimage.digest"]);
}

/// Why steps for other processors cannot be tried here.
fn cannot_emulate() -> Option<String> {
    let reason = || "skipped: this kernel has one binfmt_misc for all user namespaces (needs 6.7), or forbids them";
    let tried = Command::new("unshare")
        .args(["-Urm", "mount", "-t", "binfmt_misc", "none", "/proc/sys/fs/binfmt_misc"])
        .stderr(Stdio::null())
        .status();
    let works = cfg!(target_arch = "x86_64") && tried.is_ok_and(|status| status.success());
    (!works).then(|| reason().to_owned())
}

/// Runs the command where `script` comes first, in a user namespace of its own.
fn inside(cooper: &Cooper, script: &str, args: &[&str]) -> Out {
    let command = cooper.command(args);
    let mut outer = Command::new("unshare");
    outer.args(["-Urm", "sh", "-c", &format!("{script}\nexec \"$@\""), "sh"]).arg(command.get_program());
    outer.args(command.get_args()).current_dir(cooper.path("")).env_clear();
    outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    cooper.wait(outer.spawn().unwrap())
}

const FOREIGN: &str = "FROM scratch\nCOPY program /program\nRUN [\"/program\"]\n";

/// A world with a program of another processor, and an emulator that tells when it is called.
fn with_foreign() -> Cooper {
    let cooper = Cooper::empty();
    cooper.put("Dockerfile", FOREIGN);
    for (name, bytes) in [("program", programs::arm64()), ("../bin/qemu-aarch64-static", programs::amd64("emulated\n"))]
    {
        cooper.put(name, bytes);
        executable(&cooper, name);
    }
    cooper
}

fn executable(cooper: &Cooper, name: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(cooper.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Registers the emulator as an administrator would.
fn registration(cooper: &Cooper, flags: &str) -> String {
    let magic = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";
    let mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";
    let emulator = cooper.text("../bin/qemu-aarch64-static");
    format!(
        "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc || exit 9\n\
         printf %s ':any:M::{magic}:{mask}:{emulator}:{flags}' > /proc/sys/fs/binfmt_misc/register || exit 9"
    )
}

#[test]
fn privileged_a_registered_emulator_runs_the_steps_of_another_platform() {
    if let Some(why) = cannot_emulate() {
        return eprintln!("{why}");
    }
    for flags in ["F", ""] {
        let cooper = with_foreign();
        let registered = registration(&cooper, flags);
        let out = inside(&cooper, &registered, &["build", "--platform=linux/arm64", "-t", "app", "."]).ok();
        assert!(out.stderr.contains("emulated"), "{flags}: {}", out.stderr);
        let doctor = inside(&cooper, &registered, &["doctor"]).stdout;
        assert!(doctor.contains("arm64 ("), "{doctor}");
        assert_eq!(doctor.contains("shown to steps at this path"), flags.is_empty(), "{doctor}");
        // What was shown to the step is no part of the image.
        let files = cooper.run(&["save", "app", "-o", "../app.tar"]).ok();
        assert_eq!(files.code, 0);
        let run = inside(&cooper, &registered, &["run", "--platform=linux/arm64", "app", "/program"]).ok();
        assert_eq!(run.stdout, "emulated\n");
    }
}

#[test]
fn privileged_an_installed_emulator_is_enough_in_a_user_namespace() {
    if let Some(why) = cannot_emulate() {
        return eprintln!("{why}");
    }
    let mut cooper = with_foreign();
    let path = format!("{}:/usr/bin:/bin", cooper.text("../bin"));
    cooper.env.push(("TEST_PATH".into(), path));
    let args = ["build", "--platform=linux/arm64", "."];
    let out = inside(&cooper, "PATH=$TEST_PATH", &args).ok();
    assert!(out.stderr.contains("emulated"), "{}", out.stderr);
}

#[test]
fn privileged_without_an_emulator_the_error_says_how_to_get_one() {
    if let Some(why) = cannot_emulate() {
        return eprintln!("{why}");
    }
    let cooper = with_foreign();
    // An empty binfmt_misc: whatever this machine has registered.
    let none = "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc || exit 9";
    let message = inside(&cooper, none, &["build", "--platform=linux/arm64", "."]).fails(1);
    for part in [
        "the step is for linux/arm64, and this machine (linux/amd64) has no emulator for it",
        "RUN [\"/program\"]",
        "hint: as root on Debian or Ubuntu: `apt-get install qemu-user-static binfmt-support`",
        "--install arm64",
        "--platform=$BUILDPLATFORM",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    // A stage that compiles on this machine's platform for another needs none.
    cooper.put("native", programs::amd64("native\n"));
    executable(&cooper, "native");
    let cross =
        "FROM scratch AS build\nCOPY native /native\nRUN [\"/native\"]\nFROM scratch\nCOPY --from=build /native /\n";
    cooper.put("Dockerfile", cross);
    let out = inside(&cooper, none, &["build", "--platform=linux/arm64,linux/s390x", "."]).ok();
    assert!(out.stderr.contains("native"), "{}", out.stderr);
}

#[test]
fn privileged_programs_of_386_run_as_they_are_in_the_same_sandbox() {
    if Cooper::new().is_none() || !cfg!(target_arch = "x86_64") {
        return eprintln!("skipped: only x86-64 executes programs of 386");
    }
    let cooper = Cooper::empty();
    cooper.put("program", programs::i386("narrow\n"));
    executable(&cooper, "program");
    let out = cooper.build(FOREIGN, &["--platform=linux/386", "-t", "app"]);
    assert!(out.stderr.contains("narrow"), "{}", out.stderr);
    assert_eq!(out.ok().code, 0);
    assert_eq!(cooper.run(&["run", "app", "/program"]).ok().stdout, "narrow\n");
}
