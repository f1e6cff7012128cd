//! `RUN --mount` values as a table.

use cooper_dockerfile::parse::{MountError, MountKind, MountSpec, Sharing, parse_mount, parse_mount_with};

fn check(value: &str, expect: MountSpec) {
    assert_eq!(parse_mount(value).as_ref(), Ok(&expect), "{value}");
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn bind() -> MountSpec {
    MountSpec { readonly: true, ..MountSpec::default() }
}

fn kind(kind: MountKind) -> MountSpec {
    MountSpec { kind, readonly: !matches!(kind, MountKind::Cache | MountKind::Tmpfs), ..MountSpec::default() }
}

#[test]
fn bind_mounts() {
    check("target=/x", MountSpec { target: some("/x"), ..bind() });
    check(
        "type=BIND,dst=/x,src=a,from=b",
        MountSpec { target: some("/x"), source: some("a"), from: some("b"), ..bind() },
    );
    check("destination=x,source=,rw", MountSpec { target: some("x"), source: some(""), readonly: false, ..bind() });
    check("target=/x,readwrite=true,ro", MountSpec { target: some("/x"), ..bind() });
    check("target=/x,ReadOnly=0", MountSpec { target: some("/x"), readonly: false, ..bind() });
    check("\"target=/a,b\",src=c", MountSpec { target: some("/a,b"), source: some("c"), ..bind() });
    check("\"target=/a\"\"b\"", MountSpec { target: some("/a\"b"), ..bind() });
}

#[test]
fn cache_mounts() {
    let cache = || kind(MountKind::Cache);
    check("type=cache,target=/x", MountSpec { target: some("/x"), ..cache() });
    check(
        "type=cache,id=i,target=/x,sharing=LOCKED,mode=0755,uid=1,gid=2,ro",
        MountSpec {
            id: some("i"),
            target: some("/x"),
            sharing: Some(Sharing::Locked),
            mode: Some(0o755),
            uid: Some(1),
            gid: Some(2),
            readonly: true,
            ..cache()
        },
    );
    check("sharing=private,type=cache", MountSpec { sharing: Some(Sharing::Private), ..cache() });
}

#[test]
fn tmpfs_mounts() {
    let sized = |size| MountSpec { target: some("/x"), size: Some(size), ..kind(MountKind::Tmpfs) };
    check("type=tmpfs,target=/x,size=100", sized(100));
    check("type=tmpfs,target=/x,size=1k", sized(1024));
    check("type=tmpfs,target=/x,size=1.5MiB", sized(1_572_864));
    check("type=tmpfs,target=/x,size=2 gb", sized(2 << 30));
}

#[test]
fn secret_and_ssh_mounts() {
    check("type=secret,id=s,required", MountSpec { id: some("s"), required: true, ..kind(MountKind::Secret) });
    check("type=secret,source=s,env=X", MountSpec { source: some("s"), env: some("X"), ..kind(MountKind::Secret) });
    check("type=secret,target=/x", MountSpec { target: some("/x"), ..kind(MountKind::Secret) });
    check("type=ssh", kind(MountKind::Ssh));
    check("type=ssh,required=false,mode=0600", MountSpec { mode: Some(0o600), ..kind(MountKind::Ssh) });
}

#[test]
fn errors_name_the_option() {
    for (value, message, hint) in [
        ("taget=/x", "unknown mount option `taget` in `taget=/x`", "did you mean `target`?"),
        ("type=cahce,target=/x", "unknown mount type `cahce`", "did you mean `cache`?"),
        ("type=volume", "unknown mount type `volume`", "there are bind, cache, tmpfs, secret, ssh"),
        ("type=cache,sharing=lock", "unknown value of `sharing` `lock`", "did you mean `locked`?"),
        ("type=cache,target", "the mount option `target` needs a value", ""),
        ("target=/x,ro=maybe", "the mount option `ro` is `maybe`, which is not true or false", ""),
        ("target=/x,required", "the mount option `required` does not go with type `bind`", "it is for"),
        ("target=/x,size=1k", "the mount option `size` does not go with type `bind`", "it is for `type=tmpfs`"),
        ("target=/x,mode=1", "the mount option `mode` does not go with type `bind`", "it is for"),
        ("type=tmpfs,target=/x,uid=1", "the mount option `uid` does not go with type `tmpfs`", "it is for"),
        (
            "target=/x,sharing=shared",
            "the mount option `sharing` does not go with type `bind`",
            "it is for `type=cache`",
        ),
        ("type=cache,mode=9", "the mount option `mode` is `9`, which is not an octal number", ""),
        ("type=cache,uid=-1", "the mount option `uid` is `-1`, which is not a number", ""),
        ("type=tmpfs,size=big", "the mount option `size` is `big`, which is not a size such as `512m`", ""),
        ("type=tmpfs,size=99999999p", "the mount option `size` is `99999999p`, which is not a size such as `512m`", ""),
        ("type=secret", "the secret has no `id`", "write"),
        ("type=secret,id=a,source=b", "a secret has either `id` or `source`, which mean the same", ""),
        ("type=secret,id=a,from=b", "the mount option `from` does not go with type `secret`", "a secret"),
        ("", "unknown mount option `` in ``", ""),
        ("target=/x,", "unknown mount option `` in ``", ""),
        ("\"target=/x", "a double quote is not closed in the mount `target=/x`", ""),
        ("target=\"/x\"", "a double quote stands inside the mount option `target=\"/x\"`, not around it", ""),
        ("\"target=/x\"y", "text follows the closing double quote in the mount `target=/x\"y`", ""),
    ] {
        let error = parse_mount(value).expect_err(value);
        assert_eq!(error.message, message, "{value}");
        assert!(error.hint.unwrap_or_default().starts_with(hint), "{value}");
    }
}

#[test]
fn values_are_expanded_after_splitting() {
    let mut expand = |key: &str, value: &str| match (key, value) {
        ("from", _) => Err(MountError::from("no variables in `from`".to_owned())),
        (_, "$x") => Ok("a,b".to_owned()),
        _ => Ok(value.to_owned()),
    };
    let spec = parse_mount_with("TARGET=$x,ro", &mut expand);
    assert_eq!(spec, Ok(MountSpec { target: some("a,b"), ..bind() }));
    let error = parse_mount_with("from=$x", &mut expand).expect_err("fails");
    assert_eq!(error.message, "no variables in `from`");
}
