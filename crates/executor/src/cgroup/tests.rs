//! Both versions of control groups, in directories that look like them.

use super::*;

const GROUPS: &str = "9:name=systemd:/\n5:cpu,cpuacct:/build\n4:memory:/pod/7\n0::/pod/7\n";

fn mount(point: &Path, root: &str, kind: &str, options: &str) -> String {
    format!("30 24 0:26 {root} {} rw,relatime shared:9 - {kind} {kind} rw,{options}\n", point.display())
}

fn limits() -> Limits {
    Limits {
        memory: Some(1 << 20),
        memory_swap: Some(3 << 20),
        cpu_shares: Some(1024),
        cpu_period: Some(50_000),
        cpu_quota: Some(25_000),
        cpuset_cpus: Some("0".into()),
        processes: Some(9),
        ..Limits::default()
    }
}

#[test]
fn hierarchies_are_found_where_they_are_mounted() {
    let at = |path: &str| PathBuf::from(path);
    let mounts = mount(&at("/cg/memory"), "/", "cgroup", "memory")
        + &mount(&at("/cg/cpu"), "/build", "cgroup", "cpuacct,cpu")
        + &mount(&at("/cg/unified"), "/", "cgroup2", "nsdelegate")
        + &mount(&at("/"), "/", "ext4", "x")
        + "junk\n";
    let host = Host::parse(&mounts, GROUPS);
    let expect = [
        (false, &["memory"][..], "/cg/memory", "/cg/memory/pod/7"),
        (false, &["cpu", "cpuacct"], "/cg/cpu", "/cg/cpu"),
        (true, &[], "/cg/unified", "/cg/unified/pod/7"),
    ];
    let expect = expect.map(|(unified, controllers, mount, own)| Hierarchy {
        unified,
        controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
        mount: mount.into(),
        own: own.into(),
    });
    assert_eq!(host.hierarchies, expect);
    assert_eq!(host.own_kills(), Some("/cg/memory/pod/7/memory.oom_control".into()));
}

#[test]
fn settings_of_both_versions() {
    let check = |controller, unified, expect: &[(&str, &str)]| {
        let got = settings(&limits(), controller, unified);
        let got: Vec<(&str, &str)> = got.iter().map(|(file, value)| (*file, value.as_str())).collect();
        assert_eq!(got, expect);
    };
    check("memory", false, &[("memory.limit_in_bytes", "1048576"), ("memory.memsw.limit_in_bytes", "3145728")]);
    check("memory", true, &[("memory.max", "1048576"), ("memory.swap.max", "2097152")]);
    check("cpu", false, &[("cpu.shares", "1024"), ("cpu.cfs_period_us", "50000"), ("cpu.cfs_quota_us", "25000")]);
    check("cpu", true, &[("cpu.weight", "39"), ("cpu.max", "25000 50000")]);
    check("pids", true, &[("pids.max", "9")]);
    let only = |limits: Limits, controller| settings(&limits, controller, true);
    assert_eq!(
        only(Limits { memory_swap: Some(-1), ..Limits::default() }, "memory"),
        [("memory.swap.max", "max".into())]
    );
    assert_eq!(only(Limits { cpu_period: Some(7), ..Limits::default() }, "cpu"), [("cpu.max", "max 7".into())]);
    assert_eq!([0, 2, 262_144, u64::MAX].map(weight), [1, 1, 10_000, 10_000]);
}

/// A directory that looks like the uppermost group of version 2; the kernel would fill new groups with files.
fn unified() -> (tempfile::TempDir, Host) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
    std::fs::write(dir.path().join("cgroup.subtree_control"), "memory").unwrap();
    let host = Host::parse(&mount(dir.path(), "/", "cgroup2", "x"), "0::/\n");
    (dir, host)
}

#[test]
fn controllers_are_enabled_on_the_way_down() {
    let (dir, host) = unified();
    let hierarchy = &host.hierarchies[0];
    std::fs::create_dir(dir.path().join("a")).unwrap();
    std::fs::write(dir.path().join("a/cgroup.subtree_control"), "").unwrap();
    let (path, _lock) = hierarchy.make(&dir.path().join("a"), &["memory", "pids"]).unwrap();
    assert!(path.starts_with(dir.path().join("a")) && path.is_dir());
    // Each is one write, of which a plain file keeps the last.
    assert_eq!(std::fs::read_to_string(dir.path().join("cgroup.subtree_control")).unwrap(), "+pidsy");
    assert_eq!(std::fs::read_to_string(dir.path().join("a/cgroup.subtree_control")).unwrap(), "+pidsry");
}

#[test]
fn what_was_not_asked_for_may_be_missing_and_what_was_may_not() {
    let host = Host::default();
    assert!(Group::create(&host, &Limits::default()).unwrap().parts.is_empty());
    let error = Group::create(&host, &Limits { memory: Some(1), ..Limits::default() }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Host);
    assert!(error.to_string().contains("`memory`") && error.hint().is_some(), "{error}");
    let (_dir, host) = unified();
    for parent in ["../x", "a/../..", "x.slice:"] {
        let error = Group::create(&host, &Limits { parent: Some(parent.into()), ..Limits::default() }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Host, "{parent}");
    }
}

#[test]
fn groups_of_the_dead_are_swept_and_those_of_the_living_stay() {
    let (dir, host) = unified();
    let (living, dead) = (dir.path().join("cooper-1-1"), dir.path().join("cooper-1-2"));
    let other = dir.path().join("other");
    [&living, &dead, &other].iter().for_each(|path| std::fs::create_dir(path).unwrap());
    let _held = lock(&living).unwrap();
    host.sweep(dir.path());
    assert!(living.exists() && other.exists() && !dead.exists());
}

#[test]
fn kills_are_counted() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for (text, expect) in
        [("low 1\noom 4\noom_kill 3\noom_group_kill 1\n", 3), ("oom_kill_disable 0\noom_kill 2\n", 2), ("", 0)]
    {
        std::fs::write(file.path(), text).unwrap();
        assert_eq!(kills(file.path()), expect);
    }
    assert_eq!(kills(Path::new("/no/such")), 0);
}
