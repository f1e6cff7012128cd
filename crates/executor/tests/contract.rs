//! What every executor owes its caller: the same cases over our own namespaces and over OCI runtimes.
//!
//! Needs root, a static busybox and, for the last case, a C compiler; says so when it skips.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use cooper_executor::{
    DeviceNode, Error, ErrorKind, Executor, Exit, Limits, MountSource, Namespaces, Network, Process, ProcessMount,
    Runtime, Stdio, Ulimit,
};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cooper-init-test");
const BUSYBOX: &str = "/bin/busybox";

struct Bench {
    executor: Box<dyn Executor>,
    root: TempDir,
    _state: TempDir,
}

fn skip<T>(why: &str) -> Option<T> {
    eprintln!("skipped: {why}");
    None
}

impl Bench {
    fn new(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !Path::new(BUSYBOX).exists() {
            return skip("needs root and a static busybox");
        }
        let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let executor: Box<dyn Executor> = match name {
            "own" => Box::new(Namespaces::new(PROGRAM)),
            name => {
                let dirs = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
                let Some(program) = dirs.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists()) else {
                    return skip(&format!("no {name} here"));
                };
                Box::new(Runtime::new(program, state.path()))
            }
        };
        furnish(root.path());
        let bench = Self { executor, root, _state: state };
        match bench.run(bench.shell("true")) {
            Err(error) if error.kind() == ErrorKind::Host && error.hint().is_some() => skip(&error.to_string()),
            result => {
                result.unwrap();
                Some(bench)
            }
        }
    }

    fn shell(&self, script: &str) -> Process {
        Process {
            env: vec!["PATH=/bin".into()],
            hostname: "box".into(),
            ..Process::new(self.root.path(), ["sh", "-c", script].map(str::to_owned).into())
        }
    }

    fn run(&self, process: Process) -> Result<(Exit, String, String), Error> {
        let mut running = self.executor.start(process)?;
        let output = running.take_output().unwrap();
        let (mut out, mut err) = (String::new(), String::new());
        File::from(output.stdout).read_to_string(&mut out).unwrap();
        File::from(output.stderr).read_to_string(&mut err).unwrap();
        Ok((running.wait()?, out, err))
    }

    fn says(&self, process: Process) -> String {
        let (exit, out, err) = self.run(process).unwrap();
        assert_eq!(exit, Exit::Code(0), "{out}{err}");
        out
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(self.root.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn furnish(root: &Path) {
    fs::set_permissions(root, PermissionsExt::from_mode(0o755)).unwrap();
    for dir in ["bin", "etc", "tmp"] {
        fs::create_dir(root.join(dir)).unwrap();
    }
    fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
    for applet in "sh cat echo env id sleep true pwd touch hostname ls grep stty wc mkdir dd head".split(' ') {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nada:x:1000:100::/home/ada:/bin/sh\n").unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nusers:x:100:\nwheel:x:10:ada\n").unwrap();
}

fn exits_and_streams(bench: &Bench) {
    for code in [0, 1, 42, 127] {
        let (exit, out, err) = bench.run(bench.shell(&format!("echo out; echo err >&2; exit {code}"))).unwrap();
        assert_eq!((exit, out.as_str(), err.as_str()), (Exit::Code(code), "out\n", "err\n"));
    }
}

fn environment_and_place(bench: &Bench) {
    let mut step = bench.shell("pwd; hostname; env | grep -v -E '^(PWD|SHLVL|OLDPWD)='");
    step.env = ["A=1 2", "PATH=/bin", "NOVALUE"].map(str::to_owned).into();
    step.cwd = "/made/here".into();
    let said = bench.says(step);
    let mut lines: Vec<&str> = said.lines().collect();
    // The shell gives variables in an order of its own.
    lines[2..].sort_unstable();
    assert_eq!(lines, ["/made/here", "box", "A=1 2", "HOME=/root", "PATH=/bin"]);
}

fn users(bench: &Bench) {
    let with = |user: &str| {
        let mut step = bench.shell("echo $(id -u) $(id -g) $(id -G) $HOME");
        step.user = user.into();
        step
    };
    for (user, expect) in [
        ("", "0 0 0 /root\n"),
        ("ada", "1000 100 100 10 /home/ada\n"),
        ("1000:10", "1000 10 10 /home/ada\n"),
        ("77:78", "77 78 78 /\n"),
    ] {
        assert_eq!(bench.says(with(user)), expect, "{user}");
    }
    for user in ["bob", "-1", "ada:bob"] {
        assert_eq!(bench.run(with(user)).unwrap_err().kind(), ErrorKind::Process, "{user}");
    }
}

fn mounts_leave_no_trace(bench: &Bench) {
    let before = bench.names();
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("file"), "shared\n").unwrap();
    let open = || {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        MountSource::Bind(rustix::fs::open(host.path(), flags, rustix::fs::Mode::empty()).unwrap())
    };
    let mount = |target: &str, source, readonly| ProcessMount { target: target.into(), source, readonly };
    let mut step = bench.shell("cat /ro/file /secret; touch /ro/x 2>/dev/null || touch /rw/new; touch /memory/x");
    step.mounts = vec![
        mount("/ro", open(), true),
        mount("/rw", open(), false),
        mount("/secret", MountSource::Bytes(b"key\n".into(), 0o400, 0, 0), true),
        mount("/memory", MountSource::Tmpfs(Some(1 << 20)), false),
    ];
    assert_eq!(bench.says(step), "shared\nkey\n");
    assert!(host.path().join("new").exists() && !host.path().join("x").exists());
    assert_eq!(bench.names(), before);
}

fn readonly_root_and_no_network(bench: &Bench) {
    let mut step = bench.shell("touch /x 2>/dev/null || echo refused; wc -l < /proc/net/route; ls /sys/class/net");
    (step.readonly_root, step.network) = (true, Network::None);
    assert_eq!(bench.says(step), "refused\n1\nlo\n");
}

fn sandbox(bench: &Bench) {
    let script = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp:)' /proc/self/status; \
        for f in sys/kernel/hostname sysrq-trigger; do (echo x > /proc/$f) 2>/dev/null && echo wrote $f; done; \
        wc -c < /proc/timer_list";
    let caps = "00000000800405fb";
    let expect = format!("CapEff:\t{caps}\nCapBnd:\t{caps}\nNoNewPrivs:\t1\nSeccomp:\t2\n0\n");
    assert_eq!(bench.says(bench.shell(script)), expect);
}

fn killing(bench: &Bench) {
    let mut running = bench.executor.start(bench.shell("sleep 1000 & sleep 1000")).unwrap();
    let output = running.take_output().unwrap();
    running.killer().unwrap()(9);
    // A runtime passes its own exit code on.
    assert!(matches!(running.wait().unwrap(), Exit::Signal(9) | Exit::Code(137)));
    let mut text = String::new();
    // Ends only when nobody holds the other end.
    File::from(output.stdout).read_to_string(&mut text).unwrap();
    assert_eq!(text, "");
}

fn terminal(bench: &Bench) {
    let mut step = bench.shell("stty size");
    step.stdio = Stdio::Pty { rows: 31, cols: 99 };
    let mut running = bench.executor.start(step).unwrap();
    let mut pty = File::from(running.take_pty().unwrap());
    let (mut out, mut part) = (Vec::new(), [0; 64]);
    while let Ok(len @ 1..) = pty.read(&mut part) {
        out.extend_from_slice(&part[..len]);
    }
    assert_eq!((running.wait().unwrap(), out.as_slice()), (Exit::Code(0), &b"31 99\r\n"[..]));
}

/// Runs a step with limits; nothing where this host gives none.
fn limited(bench: &Bench, script: &str, limits: Limits) -> Option<(Exit, String, String)> {
    let mut step = bench.shell(script);
    step.limits = limits;
    match bench.run(step) {
        Err(error) if error.kind() == ErrorKind::Host => skip(&format!("{error} {:?}", error.hint())),
        result => Some(result.unwrap()),
    }
}

fn memory_is_limited(bench: &Bench) {
    let limits = || Limits { memory: Some(32 << 20), ..Limits::default() };
    let small = limited(bench, "dd if=/dev/zero of=/dev/null bs=1M count=1 2>/dev/null; echo fits", limits());
    let Some((exit, out, err)) = small else { return };
    assert_eq!((exit, out.as_str()), (Exit::Code(0), "fits\n"), "{err}");
    for script in ["exec dd if=/dev/zero of=/dev/null bs=128M count=1", "dd if=/dev/zero of=/dev/null bs=128M count=1"]
    {
        assert_eq!(limited(bench, script, limits()).unwrap().0, Exit::OutOfMemory, "{script}");
    }
    let failed = limited(bench, "exit 9", limits()).unwrap();
    assert_eq!(failed.0, Exit::Code(9));
}

fn processes_are_limited(bench: &Bench) {
    let limits = Limits { processes: Some(5), ..Limits::default() };
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 9 & done; echo all";
    let Some((exit, out, err)) = limited(bench, script, limits) else { return };
    assert!(exit != Exit::Code(0) && out.is_empty() && err.contains("fork"), "{exit:?} {out} {err}");
}

fn processors_are_limited(bench: &Bench) {
    let limits = Limits {
        cpu_shares: Some(512),
        cpu_period: Some(50_000),
        cpu_quota: Some(25_000),
        cpuset_cpus: Some("0".into()),
        ..Limits::default()
    };
    let Some((exit, out, err)) = limited(bench, "grep Cpus_allowed_list /proc/self/status", limits) else { return };
    assert_eq!((exit, out.as_str()), (Exit::Code(0), "Cpus_allowed_list:\t0\n"), "{err}");
    let mut step = bench.shell("true");
    step.limits = Limits { cpuset_cpus: Some("0-9999".into()), ..Limits::default() };
    assert_eq!(bench.run(step).unwrap_err().kind(), ErrorKind::Host);
}

fn a_group_can_be_made_below_another(bench: &Bench) {
    let parent = format!("/cooper-test-{}", bench.root.path().file_name().unwrap().display());
    let limits = Limits { parent: Some(parent.clone()), ..Limits::default() };
    let found = limited(bench, "cat /proc/self/cgroup", limits);
    let clean = |kind: &str| fs::remove_dir(format!("/sys/fs/cgroup/{kind}{parent}"));
    let kinds = ["", "memory", "pids", "cpu", "cpuacct", "blkio", "devices", "freezer", "unified", "cpuset", "systemd"];
    let removed = kinds.iter().filter(|kind| clean(kind).is_ok()).count();
    if let Some((exit, _, err)) = found {
        assert_eq!(exit, Exit::Code(0), "{err}");
        assert!(removed > 0, "the parent was made, and the step's own group is gone");
    }
    let mut step = bench.shell("true");
    step.limits.parent = Some("../up".into());
    assert!(bench.run(step).is_err());
}

fn limits_of_each_process(bench: &Bench) {
    let mut step = bench.shell("ulimit -n; ulimit -Hn; ulimit -s; ulimit -c");
    let limit = |name: &str, soft, hard| Ulimit { name: name.into(), soft: Some(soft), hard: Some(hard) };
    step.ulimits = vec![limit("nofile", 55, 77), limit("stack", 1 << 20, 1 << 20)];
    assert_eq!(bench.says(step), "55\n77\n1024\n0\n");
    let mut step = bench.shell("true");
    step.ulimits = vec![limit("nosuch", 1, 1)];
    assert!(bench.run(step).is_err());
}

fn devices(bench: &Bench) {
    let open = |path: &str| {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::open(path, flags, rustix::fs::Mode::empty()).unwrap()
    };
    let device = |target: &str, node| {
        let source = MountSource::Device(open("/dev/zero"), node);
        ProcessMount { target: target.into(), source, readonly: false }
    };
    let before = bench.names();
    let mut step = bench.shell("head -c 3 /dev/sub/mine | wc -c; ls -ln /dev/other");
    let other = DeviceNode { mode: Some(0o640), uid: Some(3), gid: Some(4) };
    step.mounts = vec![device("/dev/sub/mine", DeviceNode::default()), device("/dev/other", other)];
    let out = bench.says(step);
    let words: Vec<&str> = out.split_whitespace().collect();
    assert_eq!((words[0], &words[1..7]), ("3", &["crw-r-----", "1", "3", "4", "1,", "5"][..]), "{out}");
    assert_eq!(bench.names(), before);
}

fn what_cannot_start(bench: &Bench) {
    for args in [&["absent"][..], &["/absent"], &["/etc/passwd"]] {
        let mut step = bench.shell("");
        step.args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let error = bench.run(step).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NoProgram | ErrorKind::NotExecutable), "{args:?}: {error}");
    }
    let mut step = bench.shell("true");
    step.cwd = "relative".into();
    assert_eq!(bench.run(step).unwrap_err().kind(), ErrorKind::Process);
}

/// The real calls, made by a program: names and error numbers on Linux.
const REFUSED: &str = "unix 0\nalg 97\nvsock 97\npacket 97\nio_uring 1\nbpf 1\nuserfaultfd 1\nperf 1\nkeyctl 1\nadd_key 1\nsti 1\n\
    unshare-user 1\nunshare-mount 1\nclone-user 1\nclone3 38\nmount 1\numount 1\nfsopen 1\nsetns 1\nby-handle 1\nmknod 1\nchroot 0\n";

fn system_calls(bench: &Bench) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probe.c");
    let compiled =
        Command::new("gcc").arg("-static").arg("-o").arg(bench.root.path().join("bin/probe")).arg(source).status();
    if !compiled.is_ok_and(|status| status.success()) {
        let _none: Option<()> = skip("no gcc that links statically");
        return;
    }
    assert_eq!(bench.says(bench.shell("probe")), REFUSED);
}

macro_rules! contract {
    ($($executor:ident: $($case:ident)*;)*) => { $(mod $executor {
        $(#[test]
        fn $case() {
            if let Some(bench) = super::Bench::new(stringify!($executor).trim_start_matches("privileged_")) {
                super::$case(&bench);
            }
        })*
    })* };
}

contract! {
    privileged_own: exits_and_streams environment_and_place users mounts_leave_no_trace readonly_root_and_no_network
        sandbox killing terminal what_cannot_start system_calls
        memory_is_limited processes_are_limited processors_are_limited a_group_can_be_made_below_another
        limits_of_each_process devices;
    privileged_runc: exits_and_streams environment_and_place users mounts_leave_no_trace readonly_root_and_no_network
        sandbox killing terminal what_cannot_start system_calls
        memory_is_limited processes_are_limited processors_are_limited a_group_can_be_made_below_another
        limits_of_each_process devices;
    privileged_crun: exits_and_streams environment_and_place users mounts_leave_no_trace readonly_root_and_no_network
        sandbox killing terminal what_cannot_start system_calls
        memory_is_limited processes_are_limited processors_are_limited a_group_can_be_made_below_another
        limits_of_each_process devices;
}
