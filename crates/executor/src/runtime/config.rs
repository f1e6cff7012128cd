//! The description of a step in the form of the OCI runtime-spec: the same sandbox as our own executor's.
//!
//! Reads nothing but the limit of open files and the id map: what is mounted and who runs is already decided.

use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use crate::enter::read;
use crate::init::confine::{CAPABILITIES, MAX_OPEN_FILES, OPEN_FILES};
use crate::init::rootfs::{MASKED_PROC, MASKED_SYS, READONLY_PROC, hostname};
use crate::init::seccomp::DENIED_NAMES;
use crate::init::user::Account;
use crate::subid::mapped_from_zero;
use crate::wire::Spec;

/// Names of the capabilities, by bit, as far as a step has any.
const NAMES: [(u64, &str); 11] = [
    (0, "CAP_CHOWN"),
    (1, "CAP_DAC_OVERRIDE"),
    (3, "CAP_FOWNER"),
    (4, "CAP_FSETID"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (8, "CAP_SETPCAP"),
    (10, "CAP_NET_BIND_SERVICE"),
    (18, "CAP_SYS_CHROOT"),
    (31, "CAP_SETFCAP"),
];

/// How the host's /sys is shown, cgroups below it included.
const SHOWN_SYS: [&str; 6] = ["rbind", "rprivate", "nosuid", "nodev", "noexec", "rro"];

/// A mount with its source named.
#[derive(Debug)]
pub(super) struct NamedMount {
    pub(super) target: String,
    pub(super) source: String,
    pub(super) kind: &'static str,
    pub(super) options: Vec<String>,
}

/// The config.json of a step.
pub(super) fn config(root: &str, spec: &Spec, account: &Account, mounts: &[NamedMount]) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": process(spec, account),
        "root": { "path": root, "readonly": spec.readonly_root },
        "hostname": hostname(spec),
        "mounts": system_mounts(spec.own_network).into_iter().chain(mounts.iter().map(mount)).collect::<Vec<_>>(),
        "linux": linux(spec),
    })
}

fn process(spec: &Spec, account: &Account) -> Value {
    let mut env: Vec<String> = spec.env.iter().filter(|entry| entry.find('=') > Some(0)).cloned().collect();
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={}", account.home));
    }
    // Runtimes set limits after giving up the privilege to raise them.
    let max_files = getrlimit(Resource::Nofile).maximum.unwrap_or(MAX_OPEN_FILES).min(MAX_OPEN_FILES);
    let mut process = json!({
        "terminal": spec.pty.is_some(),
        "user": { "uid": account.uid, "gid": account.gid, "additionalGids": account.groups, "umask": 0o022 },
        "args": spec.args,
        "env": env,
        "cwd": spec.cwd,
        "noNewPrivileges": spec.sandbox && account.uid == 0,
        "rlimits": [
            { "type": "RLIMIT_NOFILE", "soft": OPEN_FILES.min(max_files), "hard": max_files },
            { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
        ],
        "capabilities": capabilities(spec.sandbox, account.uid),
    });
    if let (Some((rows, cols)), Some(object)) = (spec.pty, process.as_object_mut()) {
        object.insert("consoleSize".into(), json!({ "height": rows, "width": cols }));
    }
    process
}

fn capabilities(sandbox: bool, uid: u32) -> Value {
    let bits = if sandbox { CAPABILITIES } else { u64::MAX };
    let all: Vec<&str> = NAMES.iter().filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, name)| *name).collect();
    let extra = if sandbox {
        &[][..]
    } else {
        &["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_MKNOD", "CAP_SYS_PTRACE"][..]
    };
    let all: Vec<&str> = all.into_iter().chain(extra.iter().copied()).collect();
    let held = if uid == 0 { all.clone() } else { Vec::new() };
    json!({ "bounding": all, "effective": held, "permitted": held, "inheritable": [], "ambient": [] })
}

/// A new sysfs shows the network namespace and needs rights over it: in a user namespace with the host's network the
/// host's /sys is shown instead.
fn system_mounts(own_network: bool) -> Vec<Value> {
    let borrowed = !own_network && mapped_from_zero(&read("/proc/self/uid_map")) != u32::MAX;
    let mount = |target: &str, kind: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
    vec![
        mount("/proc", "proc", &["nosuid", "nodev", "noexec"]),
        match borrowed {
            true => json!({ "destination": "/sys", "type": "none", "source": "/sys", "options": SHOWN_SYS }),
            false => mount("/sys", "sysfs", &["nosuid", "nodev", "noexec", "ro"]),
        },
        mount("/dev", "tmpfs", &["nosuid", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "nodev", "noexec", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "nodev", "noexec"]),
    ]
}

fn mount(mount: &NamedMount) -> Value {
    json!({ "destination": mount.target, "type": mount.kind, "source": mount.source, "options": mount.options })
}

fn linux(spec: &Spec) -> Value {
    let mut namespaces = vec!["pid", "mount", "ipc", "uts"];
    if spec.own_network {
        namespaces.push("network");
    }
    let namespaces: Vec<Value> = namespaces.into_iter().map(|kind| json!({ "type": kind })).collect();
    if !spec.sandbox {
        return json!({ "namespaces": namespaces });
    }
    let below = |base: &str, names: &[&str]| names.iter().map(|name| format!("{base}/{name}")).collect::<Vec<_>>();
    let masked = [below("/proc", &MASKED_PROC), below("/sys", &MASKED_SYS)].concat();
    json!({
        "namespaces": namespaces,
        "maskedPaths": masked,
        "readonlyPaths": below("/proc", &READONLY_PROC),
        "seccomp": seccomp(),
    })
}

fn seccomp() -> Value {
    let when = |name: &str, errno: i32, index: u32, value: u64, mask: Option<u64>| {
        let arg = match mask {
            Some(mask) => json!({ "index": index, "value": mask, "valueTwo": mask, "op": "SCMP_CMP_MASKED_EQ" }),
            None => json!({ "index": index, "value": value, "op": "SCMP_CMP_EQ" }),
        };
        json!({ "names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": [arg] })
    };
    let mut rules = vec![
        json!({ "names": DENIED_NAMES, "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EPERM }),
        json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS }),
    ];
    // CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}, a rule for each bit: the language cannot say "any of".
    for bit in [17_u64, 25, 26, 27, 28, 29, 30] {
        rules.push(when("clone", libc::EPERM, 0, 0, Some(1 << bit)));
        rules.push(when("unshare", libc::EPERM, 0, 0, Some(1 << bit)));
    }
    rules.extend([38, 40, 17].map(|family| when("socket", libc::EAFNOSUPPORT, 0, family, None)));
    rules.extend([0x5412, 0x541c].map(|request| when("ioctl", libc::EPERM, 1, request, None)));
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_the_set() {
        assert_eq!(NAMES.iter().fold(0, |set, (bit, _)| set | 1 << bit), CAPABILITIES);
        assert_eq!(capabilities(true, 7)["effective"], json!([]));
        assert_eq!(capabilities(true, 7)["bounding"].as_array().map(Vec::len), Some(11));
    }
}
