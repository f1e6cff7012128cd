//! What a build's flags and instructions do.

use std::io::Read;
use std::path::Path;

use crate::harness::{Cooper, Out};

#[test]
fn privileged_names_labels_args_and_targets() {
    let Some(mut cooper) = Cooper::new() else { return };
    cooper.env.push(("FROM_ENV".into(), "environment".into()));
    let dockerfile = "ARG GLOBAL=one\nFROM base AS first\nARG GLOBAL\nARG GIVEN=default\nARG FROM_ENV\nARG UNSET\n\
        RUN echo $GLOBAL $GIVEN $FROM_ENV .$UNSET. $HTTP_PROXY > /args\n\
        LABEL a=file b=file\nFROM first AS second\nRUN touch /second\n";
    let args =
        ["-t", "x:1", "-t", "x:2", "--build-arg", "GIVEN=a=b", "--build-arg", "FROM_ENV", "--build-arg", "UNSET"];
    let more = ["--build-arg", "HTTP_PROXY=http://p", "--label", "b=flag", "--label", "c=", "--target", "FIRST"];
    let out = cooper.build(dockerfile, &[&args[..], &more].concat()).ok();
    assert_eq!(out.ran().len(), 1, "{}", out.stderr);
    assert_eq!(cooper.sh("x:2", "cat /args; test -e /second || echo none"), "one a=b environment .. http://p\nnone\n");
    let image = cooper.inspect("x:1");
    let labels = serde_json::json!({"a": "file", "b": "flag", "c": ""});
    assert_eq!(image["Config"]["Labels"], labels, "{image:#}");
    assert!(!image.to_string().contains("http://p"), "a predefined argument is not in the image: {image:#}");
    cooper.build(dockerfile, &["-t", "x:3"]).ok();
    assert_eq!(cooper.sh("x:3", "cat /args; ls /second"), "one default ..\n/second\n");
}

#[test]
fn privileged_no_cache_runs_again_what_it_names() {
    let Some(cooper) = Cooper::new() else { return };
    let dockerfile = "FROM base AS a\nRUN echo a > /a\nFROM base AS b\nRUN echo b > /b\nFROM base\n\
        COPY --from=a /a /\nCOPY --from=b /b /\n";
    let ran = |args: &[&str]| cooper.build(dockerfile, args).ok().ran();
    assert_eq!(ran(&[]).len(), 4);
    assert!(ran(&[]).is_empty());
    assert_eq!(ran(&["--no-cache-filter", "a"]), ["RUN echo a > /a"]);
    assert_eq!(ran(&["--no-cache-filter=a,b"]), ["RUN echo a > /a", "RUN echo b > /b"]);
    assert_eq!(ran(&["--no-cache"]).len(), 4);
    assert!(ran(&["--no-cache=false"]).is_empty());
}

#[test]
fn privileged_files_that_tell_what_was_built() {
    let Some(cooper) = Cooper::new() else { return };
    let out =
        cooper.build("FROM base\nRUN true\n", &["-t", "x", "-q", "--iidfile", "id", "--metadata-file", "meta"]).ok();
    let id = cooper.get("id");
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), (format!("{id}\n").as_str(), ""));
    assert_eq!(cooper.run(&["images", "-q", "--no-trunc", "x"]).ok().stdout, out.stdout);
    let meta: serde_json::Value = serde_json::from_str(&cooper.get("meta")).unwrap();
    assert_eq!(meta["containerimage.config.digest"], id.as_str(), "{meta:#}");
    assert_eq!(meta["image.name"], "docker.io/library/x:latest", "{meta:#}");
    assert!(meta["containerimage.digest"].as_str().unwrap().starts_with("sha256:"), "{meta:#}");
}

#[test]
fn privileged_progress_is_one_object_a_line() {
    let Some(cooper) = Cooper::new() else { return };
    let Out { stdout, stderr, .. } = cooper.build("FROM base\nRUN echo hello\n", &["--progress", "rawjson"]).ok();
    assert_eq!(stdout, "");
    let lines: Vec<serde_json::Value> = stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(lines.len() >= 3 && stderr.contains("RUN echo hello"), "{stderr}");
    assert_eq!(cooper.build("FROM base\nRUN echo hi\n", &["--progress", "none"]).ok().stderr, "");
}

#[test]
fn privileged_network_and_hosts() {
    let Some(cooper) = Cooper::new() else { return };
    let dockerfile = "FROM base\nRUN cat /etc/hosts > /hosts-then; ls /sys/class/net > /nets\n";
    let flags = ["-t", "x", "--network", "none", "--add-host", "one:10.0.0.1", "--add-host", "six=[::1]"];
    cooper.build(dockerfile, &flags).ok();
    assert_eq!(cooper.sh("x", "grep -c -E '^10.0.0.1[[:space:]]+one$|^::1[[:space:]]+six$' /hosts-then"), "2\n");
    assert_eq!(cooper.sh("x", "cat /etc/hosts").lines().filter(|line| line.contains("10.0.0.1")).count(), 0);
    cooper.build("FROM base\nRUN --network=none cat /proc/net/dev > /nets\n", &["-t", "y"]).ok();
    assert_eq!(cooper.sh("y", "grep -c : /nets"), "1\n");
}

#[test]
fn privileged_where_the_dockerfile_is_and_its_ignore_file() {
    let Some(cooper) = Cooper::new() else { return };
    let dockerfile = "FROM base\nCOPY . /c\nCMD ls /c\n";
    cooper.put("a.txt", "a");
    cooper.put("b.txt", "b");
    cooper.put(".dockerignore", "a.txt\n*ockerfile*\n");
    cooper.put("sub/Dockerfile.own", dockerfile);
    cooper.put("sub/Dockerfile.own.dockerignore", "b.txt\nsub\n.dockerignore\n");
    let listed = |out: Out| {
        out.ok();
        cooper.run(&["run", "x"]).ok().stdout
    };
    assert_eq!(listed(cooper.build(dockerfile, &["-t", "x"])), "b.txt\nsub\n");
    assert_eq!(listed(cooper.run(&["build", "-t", "x", "-f", "sub/Dockerfile.own", "."])), "Dockerfile\na.txt\n");
    let fed = cooper.feed(&["build", "-t", "x", "-f", "-", "."], dockerfile.as_bytes());
    assert_eq!(listed(fed), "b.txt\nsub\n");
    cooper.put("../outside", dockerfile);
    let outside = cooper.text("../outside");
    assert_eq!(listed(cooper.run(&["build", "-t", "x", "-f", &outside, "."])), "b.txt\nsub\n");
}

#[test]
fn privileged_ignore_patterns_as_moby_matches_them() {
    let Some(cooper) = Cooper::new() else { return };
    for name in ["keep.md", "drop.md", "docs/keep.md", "docs/deep/x.tmp", "docs/deep/y", "tmp/z", "tmp/no/z", "é"] {
        cooper.put(name, name);
    }
    cooper.put(
        ".dockerignore",
        "# comment\n\n*.md\n!keep.md\n**/*.tmp\n/tmp\n!tmp/no\n.dockerignore\nDockerfile\nd?cs/dee[o-q]/y\n",
    );
    cooper.build("FROM base\nCOPY . /c\n", &["-t", "x"]).ok();
    let files = cooper.sh("x", "cd /c && find . -type f | sort");
    assert_eq!(files, "./docs/keep.md\n./keep.md\n./tmp/no/z\n./é\n");
}

#[test]
fn privileged_named_contexts_of_each_kind() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.put("../other/file", "from a directory");
    cooper
        .build(
            "FROM base\nRUN echo image > /file\n",
            &["-t", "img", "-o", "type=oci,dest=../layout,tar=false,name=img:v1", "-o", "type=image"],
        )
        .ok();
    let dockerfile = "FROM base AS replaced\nRUN echo not > /file\nFROM base\nCOPY --from=dir file /1\nCOPY --from=img /file /2\n\
        COPY --from=lay /file /3\nCOPY --from=replaced file /4\nCMD cat /1 /2 /3 /4\n";
    let layout = format!("lay=oci-layout://{}:v1", cooper.text("../layout"));
    let flags = ["-t", "x", "--build-context", "dir=../other", "--build-context", "img=docker-image://img"];
    cooper
        .build(
            dockerfile,
            &[&flags[..], &["--build-context", &layout, "--build-context", "replaced=../other"]].concat(),
        )
        .ok();
    assert_eq!(cooper.run(&["run", "x"]).ok().stdout, "from a directoryimage\nimage\nfrom a directory");
    let digest = cooper.inspect("img")["Descriptor"]["digest"].as_str().unwrap().to_owned();
    let by_digest = format!("base=oci-layout://{}@{digest}", cooper.text("../layout"));
    cooper.build("FROM base\nCMD cat /file\n", &["-t", "y", "--build-context", &by_digest]).ok();
    assert_eq!(cooper.run(&["run", "y"]).ok().stdout, "image\n");
}

#[test]
fn privileged_secrets_are_seen_and_leave_nothing() {
    let Some(mut cooper) = Cooper::new() else { return };
    let (file, variable) = ("canary-in-a-file-93c1", "canary-in-a-variable-77aa");
    cooper.env.push(("TOKEN".into(), variable.into()));
    cooper.put("../secret", file);
    let dockerfile = "FROM base\nRUN --mount=type=secret,id=f --mount=type=secret,id=TOKEN,env=TOKEN \\\n\
        --mount=type=secret,id=own,target=/own,mode=0440,uid=1000,gid=1000 \\\n\
        test $(cat /run/secrets/f | wc -c) = 21 && test ${#TOKEN} = 25 && stat -c '%a %u %g' /own > /stat\n\
        RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent\n";
    let flags = ["--secret", "id=f,src=../secret", "--secret", "id=TOKEN", "--secret", "id=own,src=../secret"];
    let out = cooper
        .build(
            dockerfile,
            &[&["-t", "x", "-o", "type=oci,dest=../x.tar,compression=uncompressed", "-o", "type=image"], &flags[..]]
                .concat(),
        )
        .ok();
    assert_eq!(cooper.sh("x", "cat /stat; test -e /run || test -e /own || echo gone"), "440 1000 1000\ngone\n");
    for canary in [file, variable] {
        assert!(!out.stderr.contains(canary));
        assert_eq!(holding(&cooper.root(), canary.as_bytes()), Vec::<String>::new());
        let archive = std::fs::read(cooper.path("../x.tar")).unwrap();
        assert!(!archive.windows(canary.len()).any(|window| window == canary.as_bytes()));
    }
    let other = cooper.build(dockerfile, &[&["-t", "x", "--secret", "id=f,src=Dockerfile"], &flags[2..]].concat()).ok();
    assert_eq!(other.ran().len(), 0, "another value is no reason to run: {}", other.stderr);
}

/// Files below a directory that hold these bytes.
fn holding(dir: &Path, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
        if kind.is_dir() {
            found.extend(holding(&path, needle));
        } else if kind.is_file() {
            let mut bytes = Vec::new();
            std::fs::File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
            if bytes.windows(needle.len()).any(|window| window == needle) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[test]
fn privileged_an_agent_is_a_socket_in_the_step() {
    let Some(cooper) = Cooper::new() else { return };
    let socket = cooper.path("../agent");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let agent = format!("default={}", socket.display());
    let dockerfile = "FROM base\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK\nRUN test -z \"$SSH_AUTH_SOCK\"\n";
    cooper.build(dockerfile, &["--ssh", &agent]).ok();
    cooper.build("FROM base\nRUN --mount=type=ssh,required true\n", &[]).fails(1);
}

#[test]
fn privileged_cache_mounts_last_and_can_be_emptied() {
    let Some(cooper) = Cooper::new() else { return };
    let step = |n: &str, sharing: &str| {
        let dockerfile = format!(
            "FROM base\nRUN --mount=type=cache,target=/cache,sharing={sharing} echo {n} >> /cache/log; cp /cache/log /log\n"
        );
        cooper.build(&dockerfile, &["-t", "x"]).ok();
        cooper.sh("x", "cat /log; test -e /cache/log || echo not in the image")
    };
    assert_eq!(step("1", "shared"), "1\nnot in the image\n");
    assert_eq!(step("2", "shared"), "1\n2\nnot in the image\n");
    assert_eq!(step("3", "locked"), "1\n2\n3\nnot in the image\n");
    assert_eq!(step("4", "private"), "1\n2\n3\n4\nnot in the image\n");
    cooper.run(&["prune", "-f", "--filter", "type=exec.cachemount"]).ok();
    assert_eq!(step("5", "shared"), "5\nnot in the image\n");
}

#[test]
fn privileged_instructions_of_every_kind() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.put("d/a", "a");
    cooper.put("d/b", "b");
    let dockerfile = "# escape=`\nFROM base\nMAINTAINER me\nSHELL [\"/bin/sh\", \"-ec\"]\nENV A=1 B=\"two words\"\nENV C=${A:-x}${NONE:+y}\n\
        WORKDIR /w\nWORKDIR sub\nRUN chmod 777 .\nCOPY --chown=app:extra --chmod=640 d/* ./\nADD d /added/\nUSER app\nRUN id > id; `\n  pwd >> id\n\
        EXPOSE 80 53/udp\nVOLUME /v [\"/x\"]\nSTOPSIGNAL SIGQUIT\nHEALTHCHECK --interval=5s CMD true\nONBUILD RUN true\n\
        ENTRYPOINT [\"sh\", \"-c\", \"cat /w/sub/id; ls -n /w/sub; echo $B $C $0 $1\"]\nCMD [\"zero\", \"one\"]\n";
    cooper.build(&dockerfile.replace("VOLUME /v [\"/x\"]", "VOLUME [\"/v\", \"/x\"]"), &["-t", "x"]).ok();
    let shown = cooper.run(&["run", "x"]).ok().stdout;
    for part in [
        "uid=1000(app) gid=1000(app) groups=2000(extra)\n/w/sub\n",
        "-rw-r----- ",
        "1000     2000",
        "two words 1 zero one\n",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let config = &cooper.inspect("x")["Config"];
    insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "snapshots", omit_expression => true }, {
        insta::assert_snapshot!("config", serde_json::to_string_pretty(config).unwrap());
    });
}
