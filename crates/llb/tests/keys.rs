//! The table of `docs/design/keys.md`: every field of every operation enters the key or is listed as metadata.
//!
//! Knows nothing of how keys are stored.

use cooper_llb::*;
use cooper_oci::Platform;

fn digest(op: &Op) -> [u8; 32] {
    op_digest(&op.key_inputs())
}

/// A change of a field, and whether it must change the key.
type Change<T> = (&'static str, bool, fn(&mut T));

fn check<T: Clone>(sample: &T, op: impl Fn(T) -> Op, changes: &[Change<T>]) {
    let before = digest(&op(sample.clone()));
    for (field, enters, change) in changes {
        let mut changed = sample.clone();
        change(&mut changed);
        assert_eq!(digest(&op(changed)) != before, *enters, "{field}");
    }
}

fn exec() -> Exec {
    Exec {
        args: vec!["/bin/sh".into(), "-c".into(), "make".into()],
        env: vec!["A=1".into()],
        cwd: "/".into(),
        platform: Some(Platform::new("linux", "amd64")),
        clamp: Some(5),
        extra_hosts: vec![("h".into(), "1.1.1.1".into())],
        ..Exec::default()
    }
}

#[test]
fn every_field_of_exec() {
    // Breaks when a field is added: add it to the changes below and to the table.
    let Exec {
        args: _,
        env: _,
        proxy_env: _,
        cwd: _,
        user: _,
        hostname: _,
        extra_hosts: _,
        platform: _,
        network: _,
        security: _,
        devices: _,
        ulimits: _,
        cgroup_parent: _,
        resources: _,
        mounts: _,
        pipe: _,
        clamp: _,
    } = exec();
    check(
        &exec(),
        Op::Exec,
        &[
            ("args", true, |exec| exec.args.push("x".into())),
            ("args split otherwise", true, |exec| exec.args = vec!["/bin/sh".into(), "-cmake".into()]),
            ("env", true, |exec| exec.env.push("B=2".into())),
            ("env as arg", true, |exec| exec.args.append(&mut exec.env)),
            ("proxy_env", false, |exec| exec.proxy_env.push("http_proxy=x".into())),
            ("cwd", true, |exec| exec.cwd = "/x".into()),
            ("user", true, |exec| exec.user = "u".into()),
            ("hostname", true, |exec| exec.hostname = Some("h".into())),
            ("extra host's name", true, |exec| exec.extra_hosts[0].0 = "g".into()),
            ("extra host's address", false, |exec| exec.extra_hosts[0].1 = "2.2.2.2".into()),
            ("platform", true, |exec| exec.platform = Some(Platform::new("linux", "arm64"))),
            ("os version", true, |exec| exec.platform.as_mut().unwrap().os_version = Some("10".into())),
            ("network", true, |exec| exec.network = Network::None),
            ("network host", true, |exec| exec.network = Network::Host),
            ("security", true, |exec| exec.security = Security::Insecure),
            ("device", true, |exec| exec.devices.push(Device { name: "a/b=c".into(), required: false })),
            ("ulimit", true, |exec| {
                exec.ulimits.push(Ulimit { name: "nofile".into(), soft: Some(1), hard: None });
            }),
            ("cgroup parent", true, |exec| exec.cgroup_parent = Some("p".into())),
            ("resources", false, |exec| exec.resources.memory = Some(1)),
            ("mounts", true, |exec| {
                exec.mounts.push(Mount { target: "/t".into(), kind: MountKind::Tmpfs { size: None } });
            }),
            ("pipe", true, |exec| exec.pipe = Some(("EOF".into(), b"x".to_vec()))),
            ("clamp", true, |exec| exec.clamp = Some(6)),
            ("no clamp", true, |exec| exec.clamp = None),
        ],
    );
    let device = Device { name: "a/b=c".into(), required: false };
    let ulimit = Ulimit { name: "nofile".into(), soft: Some(1), hard: None };
    check(
        &Exec { devices: vec![device], ulimits: vec![ulimit], ..exec() },
        Op::Exec,
        &[
            ("device name", true, |exec| exec.devices[0].name = "a/b=d".into()),
            ("device required", true, |exec| exec.devices[0].required = true),
            ("ulimit name", true, |exec| exec.ulimits[0].name = "nproc".into()),
            ("ulimit soft", true, |exec| exec.ulimits[0].soft = None),
            ("ulimit hard", true, |exec| exec.ulimits[0].hard = Some(2)),
        ],
    );
    check(
        &Exec { pipe: Some(("EOF".into(), b"x".to_vec())), ..exec() },
        Op::Exec,
        &[
            ("pipe name", true, |exec| exec.pipe.as_mut().unwrap().0 = "E".into()),
            ("pipe content", true, |exec| exec.pipe.as_mut().unwrap().1 = b"y".to_vec()),
        ],
    );
}

fn mounted(kind: MountKind) -> Op {
    Op::Exec(Exec { mounts: vec![Mount { target: "/t".into(), kind }], ..exec() })
}

#[test]
fn every_field_of_mounts() {
    let tmpfs = MountKind::Tmpfs { size: Some(1) };
    assert_ne!(
        digest(&mounted(tmpfs.clone())),
        digest(&Op::Exec(Exec { mounts: vec![Mount { target: "/u".into(), kind: tmpfs.clone() }], ..exec() })),
        "target"
    );
    assert_ne!(digest(&mounted(tmpfs)), digest(&mounted(MountKind::Tmpfs { size: None })), "size");
    let bind = |input, source: &str, readonly| mounted(MountKind::Bind { input, source: source.into(), readonly });
    let sample = digest(&bind(1, "/s", true));
    assert_ne!(sample, digest(&bind(2, "/s", true)), "input");
    assert_eq!(sample, digest(&bind(1, "/other", true)), "source is the selection's");
    assert_ne!(sample, digest(&bind(1, "/s", false)), "readonly");
}

/// The fields of a cache mount, to be changed one by one.
type Cache = (String, CacheSharing, Option<(usize, String)>, (u32, u32, u32), bool);

#[test]
fn every_field_of_cache_mounts() {
    let sample: Cache = ("id".into(), CacheSharing::Shared, Some((1, "/s".into())), (0o755, 0, 0), false);
    let op =
        |(id, sharing, from, owner, readonly): Cache| mounted(MountKind::Cache { id, sharing, from, owner, readonly });
    check(
        &sample,
        op,
        &[
            ("id", true, |cache| cache.0 = "other".into()),
            ("sharing", false, |cache| cache.1 = CacheSharing::Locked),
            ("from", true, |cache| cache.2 = None),
            ("from input", true, |cache| cache.2 = Some((2, "/s".into()))),
            ("from source", false, |cache| cache.2 = Some((1, "/other".into()))),
            ("mode", true, |cache| cache.3.0 = 0o700),
            ("uid", true, |cache| cache.3.1 = 1),
            ("gid", true, |cache| cache.3.2 = 1),
            ("readonly", true, |cache| cache.4 = true),
        ],
    );
}

/// The fields of a secret mount.
type Secret = (String, bool, Option<String>, bool, (u32, u32, u32));

#[test]
fn every_field_of_secret_and_ssh_mounts() {
    let sample: Secret = ("id".into(), true, Some("V".into()), false, (0o400, 0, 0));
    let changes: &[Change<Secret>] = &[
        ("id", true, |secret| secret.0 = "other".into()),
        ("file", true, |secret| secret.1 = false),
        ("env", true, |secret| secret.2 = None),
        ("env name", true, |secret| secret.2 = Some("W".into())),
        ("required", true, |secret| secret.3 = true),
        ("mode", true, |secret| secret.4.0 = 0o440),
        ("uid", true, |secret| secret.4.1 = 1),
        ("gid", true, |secret| secret.4.2 = 1),
    ];
    let secret =
        |(id, file, env, required, owner): Secret| mounted(MountKind::Secret { id, file, env, required, owner });
    check(&sample, secret, changes);
    let ssh = |(id, _, _, required, owner): Secret| mounted(MountKind::Ssh { id, required, owner });
    let ssh_fields = changes.iter().filter(|(field, ..)| !matches!(*field, "file" | "env" | "env name"));
    check(&sample, ssh, &ssh_fields.copied().collect::<Vec<_>>());
}

#[derive(Clone)]
struct Copied {
    input: usize,
    sources: Vec<CopySource>,
    dest: String,
    chown: Option<Chown>,
    chmod: Option<Chmod>,
    excludes: Vec<String>,
    unpack: bool,
    parents: bool,
    link: bool,
    clamp: Option<i64>,
}

fn copied(copied: Copied) -> Op {
    let Copied { input, sources, dest, chown, chmod, excludes, unpack, parents, link, clamp } = copied;
    let copy = FileAction::Copy { input, sources, dest, chown, chmod, excludes, unpack, parents, link };
    Op::File(FileOp { actions: vec![copy], clamp })
}

fn path(path: &str) -> CopySource {
    CopySource { path: path.into(), wildcard: false }
}

fn copy() -> Copied {
    Copied {
        input: 1,
        sources: vec![path("dir/a")],
        dest: "/d".into(),
        chown: Some(Chown { user: UserName::Id(7), group: None }),
        chmod: Some(Chmod::Mode(0o644)),
        excludes: vec!["*.o".into()],
        unpack: false,
        parents: false,
        link: false,
        clamp: Some(1),
    }
}

#[test]
fn every_field_of_copy() {
    check(
        &copy(),
        copied,
        &[
            ("input", true, |copy| copy.input = 2),
            ("a source's name", true, |copy| copy.sources = vec![path("dir/b")]),
            ("a source's directory", false, |copy| copy.sources = vec![path("other/a")]),
            ("a wildcard", true, |copy| copy.sources[0].wildcard = true),
            ("number of sources", true, |copy| copy.sources.push(path("dir/a"))),
            ("dest", true, |copy| copy.dest = "/d/".into()),
            ("chown", true, |copy| copy.chown = None),
            ("a user called like a number", true, |copy| {
                copy.chown = Some(Chown { user: UserName::Name("7".into()), group: None });
            }),
            ("group", true, |copy| {
                copy.chown = Some(Chown { user: UserName::Id(7), group: Some(UserName::Id(7)) });
            }),
            ("chmod", true, |copy| copy.chmod = Some(Chmod::Mode(0o600))),
            ("no chmod", true, |copy| copy.chmod = None),
            ("symbolic chmod", true, |copy| copy.chmod = Some(Chmod::Symbolic("u+x".into()))),
            ("excludes", true, |copy| copy.excludes.push("x".into())),
            ("unpack", true, |copy| copy.unpack = true),
            ("parents", true, |copy| copy.parents = true),
            ("link", true, |copy| copy.link = true),
            ("clamp", true, |copy| copy.clamp = None),
        ],
    );
    let parents = Copied { parents: true, ..copy() };
    check(&parents, copied, &[("directory with --parents", true, |copy| copy.sources = vec![path("other/a")])]);
}

fn file(action: FileAction) -> Op {
    Op::File(FileOp { actions: vec![action], clamp: None })
}

#[test]
fn every_field_of_written_files_and_directories() {
    type Made = (String, Option<String>, Vec<u8>, u32, Option<Chown>);
    let sample: Made = ("/f".into(), None, b"x".to_vec(), 0o644, None);
    let owner = || Some(Chown { user: UserName::Id(0), group: None });
    check(
        &sample,
        |(path, name, data, mode, chown)| file(FileAction::MakeFile { path, name, data, mode, chown }),
        &[
            ("path", true, |made| made.0 = "/g".into()),
            ("name", true, |made| made.1 = Some("g".into())),
            ("data", true, |made| made.2 = b"y".to_vec()),
            ("mode", true, |made| made.3 = 0o600),
            ("chown", true, |made| made.4 = Some(Chown { user: UserName::Id(0), group: None })),
        ],
    );
    let dir = |path: &str, chown| digest(&file(FileAction::MakeDir { path: path.into(), chown }));
    assert_ne!(dir("/a", None), dir("/b", None));
    assert_ne!(dir("/a", None), dir("/a", owner()));
}

#[test]
fn sources_and_the_rest() {
    let image = |name: &str, arch: &str, resolve| {
        let platform = Platform::new("linux", arch);
        digest(&Op::Source(Source::Image { reference: name.parse().unwrap(), platform, resolve }))
    };
    let sample = image("a", "amd64", ResolveMode::Default);
    assert_ne!(sample, image("b", "amd64", ResolveMode::Default));
    assert_ne!(sample, image("a", "arm64", ResolveMode::Default));
    assert_eq!(sample, image("a", "amd64", ResolveMode::Pull), "where to look is not what is found");
    let local = |name: &str| digest(&Op::Source(Source::Local { name: name.into() }));
    assert_ne!(local("a"), local("b"));
    let layout = |name: &str, target: Option<&str>| {
        let target = target.map(str::to_owned);
        digest(&Op::Source(Source::OciLayout { name: name.into(), target, platform: Platform::new("linux", "amd64") }))
    };
    assert_ne!(layout("a", None), layout("b", None));
    assert_ne!(layout("a", None), layout("a", Some("t")));
    let plain = [Op::Merge, Op::Diff, Op::Source(Source::Scratch)].map(|op| digest(&op));
    assert!(plain[0] != plain[1] && plain[1] != plain[2] && plain[0] != plain[2]);
}

#[test]
fn the_encoding_cannot_be_confused() {
    let input = |name: &str, value: &str| KeyInput { name: name.into(), value: value.into() };
    assert_ne!(op_digest(&[input("a", "bc")]), op_digest(&[input("ab", "c")]));
    assert_ne!(op_digest(&[input("a", ""), input("", "b")]), op_digest(&[input("a", ""), input("b", "")]));
    // The format is a promise to records on disk.
    assert_eq!(
        op_digest(&[input("op", "merge")]),
        *blake3::hash(b"\x01\x02\0\0\0\0\0\0\0op\x05\0\0\0\0\0\0\0merge").as_bytes()
    );
}

#[test]
fn selections() {
    let text = |op: &Op, input| op.selection(input).text();
    let copy_op = copied(copy());
    assert_eq!(text(&copy_op, 0), "whole");
    assert_eq!(text(&copy_op, 1), r#"paths path "dir/a" exclude "*.o" ignore-mode ignore-owner"#);
    let symbolic = copied(Copied { chmod: Some(Chmod::Symbolic("u+x".into())), chown: None, ..copy() });
    assert_eq!(text(&symbolic, 1), r#"paths path "dir/a" exclude "*.o""#);
    let bind = |input, source: &str| Mount {
        target: "/t".into(),
        kind: MountKind::Bind { input, source: source.into(), readonly: true },
    };
    let run = Op::Exec(Exec { mounts: vec![bind(1, "/a/b"), bind(2, "/"), bind(1, "c")], ..exec() });
    assert_eq!(text(&run, 0), "whole");
    assert_eq!(text(&run, 1), r#"paths path "a/b" path "c""#);
    assert_eq!(text(&run, 2), r#"paths path """#);
    assert_eq!(text(&Op::Merge, 1), "whole");
}

#[test]
fn every_field_of_a_git_source() {
    let sample = GitSource {
        remote: "https://user:secret@host/a.git".into(),
        reference: Some("main".into()),
        subdir: "d".into(),
        checksum: Some("abc".into()),
        ..GitSource::default()
    };
    // Breaks when a field is added: add it to the changes below and to the table.
    let GitSource {
        remote: _,
        reference: _,
        subdir: _,
        checksum: _,
        keep_git_dir: _,
        skip_submodules: _,
        commit_times: _,
        fetch_by_commit: _,
    } = &sample;
    check(
        &sample,
        |source| Op::Source(Source::Git(source)),
        &[
            ("remote", true, |source| source.remote = "https://host/b.git".into()),
            ("password", false, |source| source.remote = "https://host/a.git".into()),
            ("reference", true, |source| source.reference = None),
            ("subdir", true, |source| source.subdir = String::new()),
            ("checksum", true, |source| source.checksum = None),
            ("keep_git_dir", true, |source| source.keep_git_dir = Some(true)),
            ("keep_git_dir that changes nothing", false, |source| source.keep_git_dir = Some(false)),
            ("skip_submodules", true, |source| source.skip_submodules = true),
            ("commit_times", true, |source| source.commit_times = Some(true)),
            ("fetch_by_commit", false, |source| source.fetch_by_commit = true),
        ],
    );
    let inputs = format!("{:?}", Op::Source(Source::Git(sample)).key_inputs());
    assert!(!inputs.contains("secret"), "{inputs}");
}

#[test]
fn every_field_of_an_http_source() {
    let sample = HttpSource::of("https://user:secret@host/a?token=hidden");
    // Breaks when a field is added: add it to the changes below and to the table.
    let HttpSource { url: _, name: _, checksum: _ } = &sample;
    check(
        &sample,
        |source| Op::Source(Source::Http(source)),
        &[
            ("url", true, |source| source.url = "https://host/b".into()),
            ("query", true, |source| source.url = "https://host/a?token=other".into()),
            ("name", true, |source| source.name = "b".into()),
            ("checksum", true, |source| source.checksum = Some(cooper_oci::Digest::of(b"x"))),
        ],
    );
    let inputs = format!("{:?}", Op::Source(Source::Http(sample)).key_inputs());
    assert!(!inputs.contains("secret") && !inputs.contains("hidden"), "{inputs}");
}
