//! What a RUN and a container may be given: limits, entitlements, devices, secrets, agents, capabilities.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use crate::harness::{Cooper, installed};

/// The two executors that run here; both owe the same.
const RUNTIMES: [&str; 2] = ["own", "runc"];

/// Both, or only our own where there is no runc.
fn runtimes() -> Vec<&'static str> {
    RUNTIMES.into_iter().filter(|name| *name == "own" || installed("runc")).collect()
}

/// What a build's step printed, without the number and the time before each line.
fn printed(stderr: &str) -> String {
    let text = |line: &str| {
        let (number, rest) = line.split_once(' ')?;
        let rest = rest.strip_prefix("<TIME> ")?;
        number.starts_with('#').then(|| format!("{rest}\n"))
    };
    stderr.lines().filter_map(text).collect()
}

#[test]
fn privileged_limits_reach_the_steps() {
    let Some(cooper) = Cooper::new() else { return };
    for runtime in runtimes() {
        let flags =
            ["--runtime", runtime, "--ulimit", "nofile=99:100", "--shm-size", "16m", "--add-host", "me:host-gateway"];
        let dockerfile = format!(
            "FROM base\nRUN ulimit -n; ulimit -Hn; df -k /dev/shm | awk 'END {{print $2}}'; tail -1 /etc/hosts # {runtime}\n"
        );
        let out = cooper.build(&dockerfile, &flags).ok();
        assert_eq!(printed(&out.stderr), "99\n100\n16384\n127.0.0.1\tme\n", "{runtime}");
    }
    let dockerfile = "FROM base\nRUN true\n";
    for (flags, ran) in [
        (&["--ulimit", "nofile=50"][..], 1),
        (&["--ulimit", "nofile=50"], 0),
        (&["--ulimit", "nofile=51"], 1),
        (&["--shm-size", "1m"], 1),
        (&["--shm-size", "1024k"], 0),
    ] {
        assert_eq!(cooper.build(dockerfile, flags).ok().ran().len(), ran, "{flags:?}");
    }
}

#[test]
fn privileged_a_step_that_runs_out_of_memory_is_told_so() {
    let Some(cooper) = Cooper::new() else { return };
    let dockerfile = "FROM base\nRUN dd if=/dev/zero of=/dev/null bs=128M count=1\n";
    for runtime in runtimes() {
        let out = cooper.build(dockerfile, &["--runtime", runtime, "--resource", "memory=32m"]);
        if out.stderr.contains("cannot limit memory") {
            return eprintln!("skipped: {}", out.stderr);
        }
        assert_eq!(out.code, 137, "{}", out.stderr);
        let told = "failed: killed because memory ran out (its limit is 33554432 bytes)";
        assert!(out.stderr.contains(told), "{runtime}: {}", out.stderr);
        assert!(out.stderr.contains("hint: raise the limit: `--resource memory=SIZE`"), "{runtime}: {}", out.stderr);
    }
    // A limit is no part of what a step is.
    cooper.build("FROM base\nRUN true\n", &["--memory", "64m"]).ok();
    assert_eq!(cooper.build("FROM base\nRUN true\n", &["--memory", "65m"]).ok().ran(), [""; 0]);
    let out =
        cooper.run(&["run", "--memory", "32m", "base", "dd", "if=/dev/zero", "of=/dev/null", "bs=128M", "count=1"]);
    assert_eq!(out.code, 137);
    assert!(out.stderr.contains("memory ran out\nhint: raise its limit with `--memory`"), "{}", out.stderr);
}

#[test]
fn privileged_what_needs_an_entitlement() {
    let Some(cooper) = Cooper::new() else { return };
    let host = "FROM base\nRUN --network=host true\n";
    let insecure =
        "FROM base\nRUN --security=insecure mkdir -p /tmp; mount -t tmpfs none /tmp && [ -c /dev/kmsg ] && echo all\n";
    for (dockerfile, flags, expect) in [
        (host, &[][..], Some("network of the host (`--network=host`), which is not allowed")),
        (host, &["--allow", "security.insecure"], Some("hint: allow it with `--allow network.host`")),
        (host, &["--allow", "network.host"], None),
        (host, &["--network", "host"], None),
        ("FROM base\nRUN --network=none true\n", &[], None),
        (insecure, &[], Some("without the sandbox (`--security=insecure`), which is not allowed")),
        ("FROM base AS a\nRUN --security=insecure true\nFROM base\nRUN true\n", &[], None),
        ("FROM base\nRUN --security=sandbox true\n", &[], None),
    ] {
        let out = cooper.build(dockerfile, flags);
        match expect {
            None => drop(out.ok()),
            Some(told) => {
                let told_of = out.fails(1);
                assert!(told_of.contains(told) && told_of.contains("--> Dockerfile:2"), "{flags:?}: {told_of}");
            }
        }
    }
    for runtime in runtimes() {
        let flags = ["--allow", "security.insecure", "--runtime", runtime, "--no-cache"];
        assert_eq!(printed(&cooper.build(insecure, &flags).ok().stderr), "all\n", "{runtime}");
    }
}

const SPEC: &str = "cdiVersion: \"0.6.0\"\nkind: vendor.com/thing\ndevices:\n- name: one\n  annotations:\n    \
    org.mobyproject.buildkit.device.class: things\n  containerEdits:\n    env: [THING=one]\n    deviceNodes: [{path: /dev/thing, hostPath: /dev/zero}]\n    \
    mounts: [{hostPath: /etc/hostname, containerPath: /opt/thing, options: [ro, bind]}]\n- name: hooked\n  containerEdits:\n    hooks: [{hookName: createContainer, path: /bin/true}]\n";

#[test]
fn privileged_devices_are_those_described_and_allowed() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.put("../cdi/vendor.yaml", SPEC);
    let dirs = cooper.text("../cdi");
    let build = |device: &str, more: &[&str]| {
        let script = "echo $THING; head -c 2 /dev/thing | wc -c; cat /opt/thing >/dev/null && ls /opt";
        let dockerfile = format!("FROM base\nRUN --device={device} {script}\n");
        cooper.build(&dockerfile, &[&["--cdi-spec-dir", &dirs, "-t", "x"], more].concat())
    };
    for runtime in runtimes() {
        for (device, allow) in [
            ("vendor.com/thing=one", "device"),
            ("vendor.com/thing=one,required", "device=vendor.com/thing=one"),
            ("name=things", "device=things"),
            ("mine", "device=vendor.com/thing=one,alias=mine"),
        ] {
            let out = build(device, &["--runtime", runtime, "--no-cache", "--allow", allow]).ok();
            assert_eq!(printed(&out.stderr), "one\n2\nthing\n", "{runtime} {device}");
        }
    }
    assert_eq!(cooper.sh("x", "ls /opt /dev/thing 2>/dev/null; echo $THING"), "\n", "nothing of it is in the image");
    for (device, allow, told) in [
        ("vendor.com/thing=one", &[][..], "asks for the device `vendor.com/thing=one`, which is not allowed"),
        ("vendor.com/thing=two,required", &["--allow", "device"], "there is no device `vendor.com/thing=two`"),
        ("vendor.com/thing=hooked", &["--allow", "device"], "it needs hooks"),
    ] {
        let message = build(device, allow).fails(1);
        assert!(message.contains(told), "{device}: {message}");
    }
    let optional = "FROM base\nRUN --device=vendor.com/none true\n";
    cooper.build(optional, &["--cdi-spec-dir", &dirs]).ok();
    let run = ["run", "--cdi-spec-dir", &dirs, "--device", "vendor.com/thing=one", "base", "sh", "-c", "echo $THING"];
    assert_eq!(cooper.run(&run).ok().stdout, "one\n");
}

#[test]
fn privileged_what_the_flags_of_a_container_give() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.put("share/file", "of the host\n");
    let bind = format!("type=bind,source={},target=/m,readonly", cooper.text("share"));
    let caps = "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status | cut -f 2";
    for runtime in runtimes() {
        for (flags, script, expect) in [
            (&["--cap-drop", "all", "--cap-add", "chown"][..], caps, "0000000000000001\n1\n2\n"),
            (&["--cap-add", "net_raw"], caps, "00000000800425fb\n1\n2\n"),
            (
                &["--security-opt", "seccomp=unconfined", "--security-opt", "no-new-privileges=false"],
                caps,
                "00000000800405fb\n0\n0\n",
            ),
            (&["--ulimit", "nofile=77"], "ulimit -n", "77\n"),
            (&["--shm-size", "8m"], "df -k /dev/shm | awk 'END {print $2}'", "8192\n"),
            (&["--add-host", "other:1.2.3.4"], "tail -1 /etc/hosts", "1.2.3.4\tother\n"),
            (&["--tmpfs", "/t:size=1m"], "df -k /t | awk 'END {print $2}'", "1024\n"),
            (&["--mount", &bind], "cat /m/file; touch /m/x 2>/dev/null || echo no", "of the host\nno\n"),
            (&["--device", "/dev/zero:/dev/mine"], "head -c 3 /dev/mine | wc -c", "3\n"),
            (&["--privileged"], "mkdir -p /t; mount -t tmpfs none /t && echo yes", "yes\n"),
        ] {
            let line = [&["run", "--runtime", runtime], flags, &["base", "sh", "-c", script]].concat();
            let out = cooper.run(&line);
            assert_eq!((out.code, out.stdout.as_str()), (0, expect), "{line:?}: {}", out.stderr);
        }
        let many = [
            "run",
            "--runtime",
            runtime,
            "--pids-limit",
            "5",
            "base",
            "sh",
            "-c",
            "for i in 1 2 3 4 5 6 7; do sleep 5 & done",
        ];
        let out = cooper.run(&many);
        assert!(out.code != 0 || out.stderr.contains("cannot limit"), "{runtime}: {}", out.stderr);
    }
    assert_eq!(cooper.run(&["run", "--init", "base", "echo", "x"]).ok().stdout, "x\n");
    for (flags, told) in [
        (&["-p", "80:80"][..], "its ports are the host's"),
        (&["--init", "--runtime", "runc"], "cooper's own executor has an init"),
        (&["--cap-add", "nosuch"], "there is no such capability"),
        (&["--security-opt", "seccomp=x.json"], "is not supported\nhint: there are no-new-privileges"),
        (&["--cpus", "0"], "is not a number of processors"),
        (&["--pids-limit", "0"], "is not a number above 0"),
        (&["--mount", "type=volume,target=/x"], "there are no volumes"),
    ] {
        let message = cooper.run(&[&["run"], flags, &["base", "true"]].concat()).fails(125);
        assert!(message.contains(told), "{flags:?}: {message}");
    }
}

/// Every file below `dir`, to look for something in.
fn all_bytes(dir: &Path, take: &mut dyn FnMut(&Path, &[u8])) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            all_bytes(&entry.path(), take);
        } else if kind.is_file() {
            take(&entry.path(), &std::fs::read(entry.path()).unwrap());
        }
    }
}

/// Values of secrets, as files and as variables, and keys of an agent: used by a step, and nowhere afterwards.
#[test]
fn privileged_secrets_and_keys_are_left_nowhere() {
    let Some(mut cooper) = Cooper::new() else { return };
    const CANARY: &str = "canary-5f1d0c9e7a";
    cooper.env.push(("TOKEN".into(), CANARY.into()));
    cooper.env.push(("XDG_RUNTIME_DIR".into(), cooper.text("../home")));
    cooper.put("../secret", CANARY);
    let file = format!("id=file,src={}", cooper.text("../secret"));
    let mut key = None;
    if installed("ssh-keygen") {
        let path = cooper.text("../key");
        assert!(
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &path]).status().unwrap().success()
        );
        // A line of the key's private half.
        key = std::fs::read_to_string(&path).unwrap().lines().nth(3).map(str::to_owned);
    }
    let step = "test \"$A\" = \"$B\" && test \"$A\" = \"$(cat /run/secrets/file)\" && test -S \"$SSH_AUTH_SOCK\" && stat -c '%a %u' $SSH_AUTH_SOCK";
    let dockerfile = format!(
        "FROM base\nRUN --mount=type=secret,id=file --mount=type=secret,id=TOKEN,env=A --mount=type=secret,id=other,env=B \
         --mount=type=ssh,mode=0620,uid=1000 {step}\nRUN test -z \"$A$B$SSH_AUTH_SOCK\" && ! ls /run/secrets /run/buildkit\n"
    );
    let ssh = match &key {
        Some(_) => format!("default={}", cooper.text("../key")),
        None => {
            let socket = cooper.path("../agent");
            std::mem::forget(UnixListener::bind(&socket).unwrap());
            format!("default={}", socket.display())
        }
    };
    for runtime in runtimes() {
        let flags =
            ["--secret", &file, "--secret", "id=TOKEN", "--secret", "type=env,id=other,src=TOKEN", "--ssh", &ssh];
        let out =
            cooper.build(&dockerfile, &[&flags[..], &["--runtime", runtime, "--no-cache", "-t", "x"]].concat()).ok();
        assert!(
            printed(&out.stderr).starts_with("620 1000\n") && !out.stderr.contains(CANARY),
            "{runtime}: {}",
            out.stderr
        );
        let (mut files, mut found) = (0, Vec::new());
        for dir in [cooper.root(), cooper.path("../home")] {
            all_bytes(&dir, &mut |path, bytes| {
                files += 1;
                let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
                if has(CANARY) || key.as_deref().is_some_and(has) {
                    found.push(path.to_owned());
                }
            });
        }
        assert!(files > 10 && found.is_empty(), "{runtime}: {found:?} of {files}");
    }
    assert_eq!(std::fs::read_dir(cooper.path("../home")).unwrap().count(), 0, "the agent's socket is gone");
}

/// A step killed at any time leaves what it has put into a cache mount, and a mount that can be used.
#[test]
fn privileged_cache_mounts_survive_a_kill() {
    use std::io::{BufRead, BufReader};
    let Some(cooper) = Cooper::new() else { return };
    let dockerfile = |script: &str| format!("FROM base\nRUN --mount=type=cache,target=/c,sharing=locked {script}\n");
    cooper.put("Dockerfile", dockerfile("echo kept > /c/f; echo written; sleep 1000"));
    let mut child = cooper.command(&["build", "--progress=plain", "."]).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.ends_with(" written")));
    child.kill().unwrap();
    child.wait().unwrap();
    let out = cooper.build(&dockerfile("cat /c/f"), &[]).ok();
    assert_eq!(printed(&out.stderr), "kept\n");
    assert!(cooper.run(&["du"]).ok().stdout.contains("exec.cachemount"));
    cooper.run(&["prune", "-f", "--filter", "type=exec.cachemount"]).ok();
    assert!(!cooper.run(&["du"]).ok().stdout.contains("exec.cachemount"));
}
