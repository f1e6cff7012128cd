//! Steps in namespaces of our own, in roots that hold a static busybox.
//!
//! Needs root (or a host that lets tests make namespaces); says so when it skips.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio as ChildStdio};

use cooper_executor::{
    ErrorKind, Executor, Exit, MountSource, Namespaces, Network, NoNewPrivileges, Process, ProcessMount, Profile,
    Running, Stdio,
};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cooper-init-test");
const BUSYBOX: &str = "/bin/busybox";

/// A root with only /bin, or nothing if this host cannot run the test.
fn bare() -> Option<TempDir> {
    if !rustix::process::geteuid().is_root() || !Path::new(BUSYBOX).exists() {
        eprintln!("skipped: needs root and a static busybox in /bin");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::create_dir(dir.path().join("bin")).unwrap();
    std::fs::copy(BUSYBOX, dir.path().join("bin/busybox")).unwrap();
    let applets = "sh cat ls echo id env sleep kill true hostname stat touch mkdir mount unshare head tty ps ifconfig \
        readlink wc grep rm mv ln stty pwd chown printf seq test su dd";
    for name in applets.split_whitespace() {
        symlink("busybox", dir.path().join("bin").join(name)).unwrap();
    }
    Some(dir)
}

/// A root as distributions have it.
fn base() -> Option<TempDir> {
    let dir = bare()?;
    for name in ["dev", "proc", "sys", "etc", "tmp", "root"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    for name in ["etc/hosts", "etc/hostname", "etc/resolv.conf"] {
        std::fs::write(dir.path().join(name), "from the image\n").unwrap();
    }
    std::fs::write(dir.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nada:x:1000:100::/home/ada:/bin/sh\n")
        .unwrap();
    std::fs::write(dir.path().join("etc/group"), "root:x:0:\nusers:x:100:\nwheel:x:10:ada\n").unwrap();
    Some(dir)
}

fn process(root: &Path, args: &[&str]) -> Process {
    Process {
        env: vec!["PATH=/bin".into()],
        hostname: "box".into(),
        ..Process::new(root, args.iter().map(|arg| (*arg).to_owned()).collect())
    }
}

fn shell(root: &Path, script: &str) -> Process {
    process(root, &["sh", "-c", script])
}

fn start(process: Process) -> cooper_executor::Result<Box<dyn Running>> {
    Namespaces::new(PROGRAM).start(process)
}

fn text(fd: OwnedFd) -> String {
    let mut text = String::new();
    File::from(fd).read_to_string(&mut text).unwrap();
    text
}

fn run(process: Process) -> (Exit, String, String) {
    let mut running =
        start(process).unwrap_or_else(|e| panic!("{e}: {:?} {:?}", std::error::Error::source(&e), e.hint()));
    let output = running.take_output().unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    (running.wait().unwrap(), out, err)
}

/// What a script prints.
fn says(root: &Path, script: &str) -> String {
    let (exit, out, err) = run(shell(root, script));
    assert_eq!(exit, Exit::Code(0), "{script}: {out}{err}");
    out
}

fn listing(root: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(root).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn privileged_exits_and_signals_are_told_apart() {
    let Some(root) = base() else { return };
    for (script, expect) in [
        ("true", Exit::Code(0)),
        ("exit 42", Exit::Code(42)),
        ("kill -9 $$", Exit::Signal(9)),
        ("kill -TERM $$", Exit::Signal(15)),
    ] {
        assert_eq!(run(shell(root.path(), script)).0, expect, "{script}");
    }
}

#[test]
fn privileged_output_and_errors_are_apart() {
    let Some(root) = base() else { return };
    let (_, out, err) = run(shell(root.path(), "echo out; echo err >&2; cat"));
    assert_eq!((out.as_str(), err.as_str()), ("out\n", "err\n"));
}

#[test]
fn privileged_environment_is_exact() {
    let Some(root) = base() else { return };
    let mut step = process(root.path(), &["env"]);
    step.env = ["A=1", "PATH=/bin", "*", "NOVALUE", "=x"].map(str::to_owned).into();
    assert_eq!(run(step).1, "A=1\nPATH=/bin\nHOME=/root\n");
}

#[test]
fn privileged_only_standard_streams_are_open() {
    let Some(root) = base() else { return };
    let _leak = rustix::fs::open("/", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
    // The shell's own listing opens one more.
    assert_eq!(
        says(root.path(), "for f in 0 1 2 3 4 5 6 7 8 9 20 63; do [ -e /proc/$$/fd/$f ] && echo $f; done; true"),
        "0\n1\n2\n"
    );
    assert_eq!(says(root.path(), "umask; ulimit -n; ulimit -c").split_whitespace().last(), Some("0"));
}

#[test]
fn privileged_working_directory() {
    let Some(root) = base() else { return };
    let at = |cwd: &str| {
        let mut step = process(root.path(), &["pwd"]);
        step.cwd = cwd.into();
        start(step)
    };
    for cwd in ["/proc/self/fd/3", "/proc/self/cwd", "/proc/1/root", "relative", "/bin/busybox", "/a\0b"] {
        assert_eq!(at(cwd).unwrap_err().kind(), ErrorKind::Process, "{cwd}");
    }
    symlink("../../../../etc", root.path().join("out")).unwrap();
    let mut running = at("/out/new/dir").unwrap();
    assert_eq!(text(running.take_output().unwrap().stdout), "/etc/new/dir\n");
    running.wait().unwrap();
    assert_eq!(std::fs::metadata(root.path().join("etc/new")).unwrap().permissions().mode() & 0o7777, 0o755);
}

#[test]
fn privileged_users() {
    let Some(root) = base() else { return };
    let with = |user: &str, script: &str| {
        let mut step = shell(root.path(), script);
        step.user = user.into();
        step
    };
    for (user, expect) in [
        ("", "0 0 0 /root"),
        ("ada", "1000 100 100 10 /home/ada"),
        ("1000:10", "1000 10 10 /home/ada"),
        ("77:78", "77 78 78 /"),
    ] {
        let out = run(with(user, "echo $(id -u) $(id -g) $(id -G) $HOME; echo again > /dev/stdout")).1;
        assert_eq!(out, format!("{expect}\nagain\n"), "{user}");
    }
    for user in ["bob", "4294967296", "-1", "00", "ada:bob"] {
        assert_eq!(start(with(user, "id")).unwrap_err().kind(), ErrorKind::Process, "{user}");
    }
    std::fs::remove_file(root.path().join("etc/passwd")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, root.path().join("etc/passwd"), rustix::fs::FileType::Fifo, 0o666.into(), 0)
        .unwrap();
    assert_eq!(start(with("ada", "id")).unwrap_err().kind(), ErrorKind::Process);
}

#[test]
fn privileged_names_and_addresses() {
    let Some(root) = base() else { return };
    let mut step = shell(root.path(), "hostname; cat /etc/hostname /etc/hosts /etc/resolv.conf; echo x > /etc/hosts");
    step.extra_hosts = vec![("db".into(), "10.0.0.1".into())];
    step.resolv_conf = Some(b"nameserver 192.0.2.1\n".to_vec());
    let (exit, out, _) = run(step);
    assert_eq!(exit, Exit::Code(1));
    let hosts = "127.0.0.1\tlocalhost box\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.1\tdb\n";
    assert_eq!(out, format!("box\nbox\n{hosts}nameserver 192.0.2.1\n"));
    for name in ["hosts", "hostname", "resolv.conf"] {
        assert_eq!(std::fs::read_to_string(root.path().join("etc").join(name)).unwrap(), "from the image\n");
    }
}

#[test]
fn privileged_devices() {
    let Some(root) = base() else { return };
    let names = "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
    assert_eq!(says(root.path(), "echo $(ls /dev)"), format!("{names}\n"));
    assert_eq!(says(root.path(), "head -c 3 /dev/zero | wc -c; echo x > /dev/null; stat -c %a /dev/shm"), "3\n1777\n");
}

#[test]
fn privileged_sandbox_is_as_documented() {
    let Some(root) = base() else { return };
    let script = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status";
    let mut step = shell(root.path(), script);
    step.user = "ada".into();
    let sets = |inh: &str, prm: &str, nnp: u8| {
        format!(
            "CapInh:\t{inh}\nCapPrm:\t{prm}\nCapEff:\t{prm}\nCapBnd:\t00000000800405fb\nCapAmb:\t{inh}\nNoNewPrivs:\t{nnp}\nSeccomp:\t2\n"
        )
    };
    let none = "0000000000000000";
    assert_eq!(says(root.path(), script), sets(none, "00000000800405fb", 1));
    assert_eq!(run(step).1, sets(none, none, 0));
    let mut step = shell(root.path(), script);
    step.profile = Profile::INSECURE;
    let out = run(step).1;
    assert!(out.ends_with("NoNewPrivs:\t0\nSeccomp:\t0\n"), "{out}");
}

#[test]
fn privileged_insecure_is_not_masked() {
    let Some(root) = base() else { return };
    let mut step = shell(
        root.path(),
        "mount -t tmpfs none /tmp && echo mounted; grep -c ' /sys sysfs rw' /proc/mounts; [ -c /dev/kmsg ] && echo kmsg; \
         wc -c < /proc/interrupts | grep -vc '^0$'",
    );
    step.profile = Profile::INSECURE;
    assert_eq!(run(step).1, "mounted\n1\nkmsg\n1\n");
}

#[test]
fn privileged_capabilities_can_be_chosen() {
    let Some(root) = base() else { return };
    let mut step = shell(root.path(), "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp:)' /proc/self/status");
    step.profile = Profile {
        capabilities: cooper_executor::capability("NET_RAW").unwrap() | 1,
        no_new_privileges: NoNewPrivileges::Never,
        filtered: false,
        ..Profile::SANDBOX
    };
    let caps = "0000000000002001";
    assert_eq!(run(step).1, format!("CapEff:\t{caps}\nCapBnd:\t{caps}\nNoNewPrivs:\t0\nSeccomp:\t0\n"));
}

#[test]
fn privileged_host_is_masked_and_protected() {
    let Some(root) = base() else { return };
    let script = "for f in interrupts kcore timer_list keys; do [ ! -e /proc/$f ] || wc -c < /proc/$f; done | grep -v ^0; wc -c < /proc/interrupts; ls /proc/scsi /proc/acpi /sys/firmware 2>/dev/null | grep -vE ':|^$'; \
        for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/notes; do (echo x > $f) 2>/dev/null && echo wrote $f; done; true";
    assert_eq!(says(root.path(), script), "0\n");
    for script in ["mount -t tmpfs none /tmp", "unshare -U true", "unshare -m true", "mount -o remount,rw /proc/sys"] {
        assert_ne!(run(shell(root.path(), script)).0, Exit::Code(0), "{script}");
    }
}

#[test]
fn privileged_step_sees_only_itself_and_cannot_inspect_its_init() {
    let Some(root) = base() else { return };
    let out = says(
        root.path(),
        "echo $$; ls -d /proc/[0-9]* | wc -l; readlink /proc/1/exe || echo hidden; kill -9 1; echo alive",
    );
    assert_eq!(out, "2\n4\nhidden\nalive\n");
}

/// CVE-2019-5736: also a step that may look at its init gets a file that cannot be written.
#[test]
fn privileged_the_program_of_the_init_cannot_be_overwritten() {
    let Some(root) = base() else { return };
    let before = std::fs::read(PROGRAM).unwrap();
    let mut step = shell(root.path(), "head -c 4 /proc/1/exe | grep -c ELF; echo x > /proc/1/exe");
    step.profile = Profile::INSECURE;
    let (exit, out, err) = run(step);
    assert_eq!((exit, out.as_str()), (Exit::Code(1), "1\n"), "{err}");
    assert!(err.contains("Read-only file system"), "{err}");
    assert!(before == std::fs::read(PROGRAM).unwrap());
}

/// A service of the host that listens on an abstract socket trusts who can connect; the network is the host's.
#[test]
fn privileged_abstract_sockets_of_the_host_are_out_of_reach() {
    use std::os::linux::net::SocketAddrExt;
    let Some(root) = base() else { return };
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/abstract.c");
    let program = root.path().join("bin/abstract");
    if !Command::new("gcc").arg("-static").arg("-o").arg(program).arg(source).status().is_ok_and(|s| s.success()) {
        return eprintln!("skipped: no gcc that links statically");
    }
    let name = format!("cooper-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    let mut step = process(root.path(), &["abstract", &name]);
    step.profile = Profile::INSECURE;
    assert_eq!(run(step).1, "host 0, own 0, moved 0\n", "the test's own doing");
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let number = |at| release.split(['.', '-']).nth(at).and_then(|n: &str| n.parse::<u32>().ok()).unwrap_or(0);
    if (number(0), number(1)) < (6, 12) || !Path::new("/sys/kernel/security/landlock").exists() && number(0) < 6 {
        return eprintln!("skipped: this kernel has no scopes");
    }
    let out = run(process(root.path(), &["abstract", &name])).1;
    assert_eq!(
        out, "host 1, own 0, moved 0\n",
        "connecting to the host's is refused; the step's own and renaming work"
    );
}

#[test]
fn privileged_orphans_end_with_the_step() {
    let Some(root) = base() else { return };
    let fifo = tempfile::tempdir().unwrap();
    // The sleeper holds the write end of the output: reading it to the end proves that the sleeper is gone.
    let mut running = start(shell(root.path(), "(sleep 1000 &) ; sleep 1000 & echo started")).unwrap();
    assert_eq!(running.wait().unwrap(), Exit::Code(0));
    assert_eq!(text(running.take_output().unwrap().stdout), "started\n");
    drop(fifo);
}

#[test]
fn privileged_stubs_leave_no_trace() {
    let Some(root) = bare() else { return };
    let before = std::fs::metadata(root.path()).unwrap();
    let mut step = shell(root.path(), "ls / /etc; test -e /deep/er/secret && cat /deep/er/secret");
    step.resolv_conf = Some(vec![]);
    let bytes = MountSource::Bytes(b"s3cret\n".to_vec(), 0o400, 0, 0);
    step.mounts = vec![
        ProcessMount { target: "/deep/er/secret".into(), source: bytes, readonly: true },
        ProcessMount { target: "/cache".into(), source: MountSource::Tmpfs(Some(1 << 20)), readonly: false },
    ];
    let (exit, out, err) = run(step);
    assert!(exit == Exit::Code(0) && out.ends_with("s3cret\n"), "{out}{err}");
    assert_eq!(listing(root.path()), ["bin"]);
    let after = std::fs::metadata(root.path()).unwrap();
    assert_eq!((after.mtime(), after.mtime_nsec()), (before.mtime(), before.mtime_nsec()));
    assert!(start(process(root.path(), &["/absent"])).is_err());
    assert_eq!(listing(root.path()), ["bin"], "after a failed start");
}

#[test]
fn privileged_true_leaves_the_upper_directory_empty() {
    let Some(lower) = base() else { return };
    let work = tempfile::tempdir().unwrap();
    for name in ["upper", "work", "merged"] {
        std::fs::create_dir(work.path().join(name)).unwrap();
    }
    let at = |name: &str| work.path().join(name).display().to_string();
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.path().display(), at("upper"), at("work"));
    let merged = work.path().join("merged");
    let mounted = Command::new("mount").args(["-t", "overlay", "none", "-o", &options]).arg(&merged).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no overlayfs here");
        return;
    }
    let mut step = process(&merged, &["true"]);
    step.resolv_conf = Some(b"x".to_vec());
    let exit = run(step).0;
    let unmounted = Command::new("umount").arg(&merged).status().unwrap();
    assert!(exit == Exit::Code(0) && unmounted.success());
    assert_eq!(listing(&work.path().join("upper")), Vec::<String>::new());
}

#[test]
fn privileged_links_in_the_root_do_not_lead_out() {
    let canary = tempfile::tempdir().unwrap();
    for (text, runs) in [("/tmp/real", true), ("../../../../tmp/real", true), ("", false), ("/", false)] {
        let Some(root) = base() else { return };
        for name in ["dev", "proc", "sys"] {
            std::fs::remove_dir(root.path().join(name)).unwrap();
            let target = match text {
                "" => name.to_owned(),
                "/" => "/".to_owned(),
                _ => format!("{text}{name}"),
            };
            symlink(target, root.path().join(name)).unwrap();
        }
        std::fs::remove_file(root.path().join("etc/hosts")).unwrap();
        symlink(canary.path().join("hosts"), root.path().join("etc/hosts")).unwrap();
        let started = start(shell(root.path(), "cat /etc/hosts; test -e /dev/null && test -e /proc/self"));
        assert_eq!(started.is_ok(), runs, "{text:?}: {started:?}");
        if let Ok(mut running) = started {
            assert_eq!(running.wait().unwrap(), Exit::Code(0));
        }
        assert_eq!(listing(canary.path()), Vec::<String>::new());
        assert_eq!(listing(&root.path().join("tmp")), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn privileged_stub_cleaning_spares_what_a_swapped_parent_leads_to() {
    let Some(root) = base() else { return };
    let canary = root.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    std::fs::write(canary.join("stub"), "").unwrap();
    let mut step = shell(root.path(), "mv /made /moved && ln -s /canary /made");
    std::fs::create_dir(root.path().join("made")).unwrap();
    let source = MountSource::Bytes(b"x".to_vec(), 0o444, 0, 0);
    step.mounts = vec![ProcessMount { target: "/made/stub".into(), source, readonly: true }];
    let (exit, _, err) = run(step);
    assert_eq!(exit, Exit::Code(0), "{err}");
    assert!(canary.join("stub").exists());
    assert_eq!(listing(&root.path().join("moved")), Vec::<String>::new());
}

#[test]
fn privileged_readonly_root() {
    let Some(root) = bare() else { return };
    let mut step = shell(root.path(), "touch /x; touch /dev/shm/y && echo only-root");
    step.readonly_root = true;
    let (exit, out, _) = run(step);
    assert_eq!((exit, out.as_str()), (Exit::Code(0), "only-root\n"));
    assert_eq!(listing(root.path()), ["bin"]);
}

#[test]
fn privileged_network_none_has_only_loopback() {
    let Some(root) = base() else { return };
    let mut step = shell(root.path(), "ls /sys/class/net; ifconfig lo | grep -c UP; wc -l < /proc/net/route");
    step.network = Network::None;
    assert_eq!(run(step).1, "lo\n1\n1\n");
}

#[test]
fn privileged_mounts() {
    let Some(root) = base() else { return };
    let host = tempfile::tempdir().unwrap();
    std::fs::write(host.path().join("file"), "shared\n").unwrap();
    let open = || {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::open(host.path(), flags, rustix::fs::Mode::empty()).unwrap()
    };
    let script =
        "cat /ro/file; touch /ro/x || touch /rw/new; stat -c '%a %u %g' /secret; cat /secret; echo x > /secret";
    let mut step = shell(root.path(), script);
    step.mounts = vec![
        ProcessMount { target: "/ro".into(), source: MountSource::Bind(open()), readonly: true },
        ProcessMount { target: "/rw".into(), source: MountSource::Bind(open()), readonly: false },
        ProcessMount {
            target: "/secret".into(),
            source: MountSource::Bytes(b"key\n".into(), 0o440, 5, 6),
            readonly: true,
        },
    ];
    let (exit, out, _) = run(step);
    assert_eq!((exit, out.as_str()), (Exit::Code(1), "shared\n440 5 6\nkey\n"));
    assert_eq!(listing(host.path()), ["file", "new"]);
    let mut wrong = shell(root.path(), "true");
    wrong.mounts =
        vec![ProcessMount { target: "/etc/passwd".into(), source: MountSource::Bind(open()), readonly: true }];
    assert_eq!(start(wrong).unwrap_err().kind(), ErrorKind::Process);
}

#[test]
fn privileged_terminal() {
    let Some(root) = base() else { return };
    let mut step = shell(root.path(), "tty; stty size; echo > /dev/tty");
    step.stdio = Stdio::Pty { rows: 30, cols: 101 };
    let mut running = start(step).unwrap();
    let mut pty = File::from(running.take_pty().unwrap());
    let (mut out, mut part) = (Vec::new(), [0; 256]);
    // A terminal whose other end is closed says EIO.
    while let Ok(len @ 1..) = pty.read(&mut part) {
        out.extend_from_slice(&part[..len]);
    }
    assert_eq!(running.wait().unwrap(), Exit::Code(0));
    assert_eq!(String::from_utf8(out).unwrap(), "/dev/pts/0\r\n30 101\r\n\r\n");
}

#[test]
fn privileged_kill_and_drop_end_everything() {
    let Some(root) = base() else { return };
    for (signal, expect) in [(9, Exit::Signal(9)), (15, Exit::Signal(15))] {
        let mut running = start(process(root.path(), &["sleep", "1000"])).unwrap();
        let kill = running.killer().unwrap();
        std::thread::spawn(move || kill(signal));
        assert_eq!(running.wait().unwrap(), expect);
        running.killer().unwrap()(9);
    }
    let mut running = start(shell(root.path(), "sleep 1000 & sleep 1000")).unwrap();
    let output = running.take_output().unwrap();
    drop(running);
    assert_eq!(text(output.stdout), "");
}

#[test]
fn privileged_step_ends_with_its_killed_caller() {
    let Some(root) = base() else { return };
    let mut caller = Command::new(PROGRAM)
        .args(["hold", root.path().to_str().unwrap(), "echo up; sleep 1000 & sleep 1000"])
        .stdout(ChildStdio::piped())
        .spawn()
        .unwrap();
    let mut output = caller.stdout.take().unwrap();
    output.read_exact(&mut [0; 3]).unwrap();
    caller.kill().unwrap();
    caller.wait().unwrap();
    let mut rest = String::new();
    // Ends only when every process of the step has let go of it.
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn privileged_caller_may_ignore_signals() {
    let Some(root) = base() else { return };
    let step = "(exit 3); echo $?; kill -TERM $$; echo survived";
    let mut caller = Command::new("env");
    caller.args(["--ignore-signal=CHLD,TERM", PROGRAM, "hold"]).arg(root.path()).arg(step);
    let output = caller.output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "3\nSignal(15)\n");
}

#[test]
fn privileged_programs_that_cannot_start_say_why() {
    let Some(root) = base() else { return };
    let put = |name: &str, content: &[u8], mode| {
        std::fs::write(root.path().join(name), content).unwrap();
        std::fs::set_permissions(root.path().join(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    put("script", b"#!/bin/bash\n", 0o755);
    put("junk", b"junk", 0o755);
    put("plain", b"#!/bin/sh\n", 0o644);
    for (program, expect, kind) in [
        ("nothere", "no such program `nothere` in the root's PATH (/bin)", ErrorKind::NoProgram),
        ("/nothere", "no such program `/nothere` in the root", ErrorKind::NoProgram),
        ("/script", "`/script` needs the interpreter `/bin/bash`, which does not exist", ErrorKind::NotExecutable),
        ("/junk", "exec format error: `/junk`", ErrorKind::NotExecutable),
        ("/plain", "permission denied to execute `/plain`", ErrorKind::NotExecutable),
        ("/etc", "`/etc` is a directory, not a program", ErrorKind::NotExecutable),
        ("", "there is no program to run", ErrorKind::Process),
    ] {
        let error = start(process(root.path(), &[program])).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.kind()), (expect, kind));
    }
}

/// Enters as an ordinary user without subordinate ids and runs a step there.
#[test]
fn privileged_ordinary_user_with_one_id() {
    let Some(root) = base() else { return };
    let out = as_user(65_534, "single", root.path(), "id -u; touch /tmp/made; ls -n /tmp | wc -l");
    if out.starts_with("refused") {
        eprintln!("skipped: {out}");
        return;
    }
    assert_eq!(out, "Single from 65534:65534\n0\n2\nCode(0)\n");
    assert_eq!(std::fs::metadata(root.path().join("tmp/made")).unwrap().uid(), 65_534);
}

/// Enters as a user to whom a range is granted, in a mount namespace where /etc says so.
#[test]
fn privileged_ordinary_user_with_a_range() {
    let Some(root) = base() else { return };
    let etc = tempfile::tempdir().unwrap();
    std::fs::set_permissions(etc.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(etc.path().join("passwd"), "root:x:0:0::/:\nranger:x:4242:4242::/:\n").unwrap();
    std::fs::write(etc.path().join("subid"), "ranger:300000:65536\n").unwrap();
    std::fs::copy(PROGRAM, etc.path().join("program")).unwrap();
    assert!(Command::new("chown").arg("-R").arg("4242:4242").arg(root.path()).status().unwrap().success());
    let binds = "for f in passwd:passwd subid:subuid subid:subgid; do \
        mount --bind $0/${f%:*} /etc/${f#*:} || exit 9; done; \
        exec setpriv --reuid 4242 --regid 4242 --clear-groups --inh-caps=-all $0/program enter range \"$1\" \"$2\"";
    let script = "touch /tmp/made && chown 1000:33 /tmp/made && su -s /bin/id ada && cat /proc/self/setgroups";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", binds]).arg(etc.path()).arg(root.path()).arg(script);
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    if !output.starts_with("Range") {
        eprintln!("skipped: {output}");
        return;
    }
    let id = "uid=1000(ada) gid=100(users) groups=10(wheel),100(users)";
    assert_eq!(output, format!("Range {{ count: 65537 }} from 4242:4242\n{id}\nallow\nCode(0)\n"));
    let made = std::fs::metadata(root.path().join("tmp/made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (300_999, 300_032));
}

fn as_user(uid: u32, kind: &str, root: &Path, script: &str) -> String {
    let copy = tempfile::tempdir().unwrap();
    std::fs::set_permissions(copy.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = copy.path().join("program");
    std::fs::copy(PROGRAM, &program).unwrap();
    let own = Command::new("chown").arg("-R").arg(format!("{uid}:{uid}")).arg(root).status().unwrap();
    assert!(own.success());
    let id = uid.to_string();
    let output = Command::new("setpriv")
        .args(["--reuid", &id, "--regid", &id, "--clear-groups", "--inh-caps=-all"])
        .arg(program)
        .args(["enter", kind])
        .arg(root)
        .arg(script)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}
