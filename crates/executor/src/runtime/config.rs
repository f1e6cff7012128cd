//! The description of a step in the form of the OCI runtime-spec: the same sandbox as our own executor's.
//!
//! Reads nothing but the limit of open files and the id map: what is mounted and who runs is already decided.

use rustix::fs::{FileType, Stat};
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use crate::enter::read;
use crate::init::confine::{MAX_OPEN_FILES, OPEN_FILES, gives_no_privileges};
use crate::init::device;
use crate::init::rootfs::{MASKED_PROC, MASKED_SYS, READONLY_PROC, hostname};
use crate::init::seccomp::DENIED_NAMES;
use crate::init::user::Account;
use crate::subid::mapped_from_zero;
use crate::wire::Spec;
use crate::{DeviceNode, Limits, capability};

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

/// What a config.json says besides the step itself.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// Further devices, as the spec has them.
    pub(super) devices: Vec<Value>,
    /// Limits of the control group.
    pub(super) limits: Limits,
    /// Name of the container.
    pub(super) id: String,
}

/// The config.json of a step.
pub(super) fn config(root: &str, spec: &Spec, account: &Account, mounts: &[NamedMount], extras: &Extras) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": process(spec, account),
        "root": { "path": root, "readonly": spec.readonly_root },
        "hostname": hostname(spec),
        "mounts": system_mounts(spec).into_iter().chain(mounts.iter().map(mount)).collect::<Vec<_>>(),
        "linux": linux(spec, extras),
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
        "noNewPrivileges": gives_no_privileges(&spec.profile, account),
        "rlimits": rlimits(spec, max_files),
        "capabilities": capabilities(spec.profile.capabilities, account.uid),
    });
    if let (Some((rows, cols)), Some(object)) = (spec.pty, process.as_object_mut()) {
        object.insert("consoleSize".into(), json!({ "height": rows, "width": cols }));
    }
    process
}

fn rlimits(spec: &Spec, max_files: u64) -> Vec<Value> {
    let rlimit = |name: &str, soft: Option<u64>, hard: Option<u64>| {
        let name = format!("RLIMIT_{}", name.to_ascii_uppercase());
        json!({ "type": name, "soft": soft.unwrap_or(u64::MAX), "hard": hard.unwrap_or(u64::MAX) })
    };
    let own = [("nofile", OPEN_FILES.min(max_files), max_files), ("core", 0, 0)];
    let asked = |name: &str| spec.ulimits.iter().any(|ulimit| ulimit.name == name);
    let own = own.into_iter().filter(|(name, ..)| !asked(name));
    let own = own.map(|(name, soft, hard)| rlimit(name, Some(soft), Some(hard)));
    own.chain(spec.ulimits.iter().map(|ulimit| rlimit(&ulimit.name, ulimit.soft, ulimit.hard))).collect()
}

/// A runtime refuses to give what it does not have.
fn capabilities(set: u64, uid: u32) -> Value {
    let own = rustix::thread::capabilities(None).map_or(0, |sets| sets.permitted.bits());
    let all = capability::names(set & own);
    let held = if uid == 0 { all.clone() } else { Vec::new() };
    json!({ "bounding": all, "effective": held, "permitted": held, "inheritable": [], "ambient": [] })
}

/// A new sysfs shows the network namespace and needs rights over it: in a user namespace with the host's network the
/// host's /sys is shown instead.
fn system_mounts(spec: &Spec) -> Vec<Value> {
    let access = if spec.profile.masked { "ro" } else { "rw" };
    let borrowed = !spec.own_network && mapped_from_zero(&read("/proc/self/uid_map")) != u32::MAX;
    let mount = |target: &str, kind: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
    vec![
        mount("/proc", "proc", &["nosuid", "nodev", "noexec"]),
        match borrowed {
            true => json!({ "destination": "/sys", "type": "none", "source": "/sys", "options": SHOWN_SYS }),
            false => mount("/sys", "sysfs", &["nosuid", "nodev", "noexec", access]),
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

fn linux(spec: &Spec, extras: &Extras) -> Value {
    let mut namespaces = vec!["pid", "mount", "ipc", "uts"];
    if spec.own_network {
        namespaces.push("network");
    }
    let namespaces: Vec<Value> = namespaces.into_iter().map(|kind| json!({ "type": kind })).collect();
    let mut devices = extras.devices.clone();
    if !spec.profile.masked {
        devices.extend(device::FURTHER.iter().filter_map(|name| host_device(&format!("/dev/{name}"))));
    }
    let mut linux =
        json!({ "namespaces": namespaces, "resources": resources(spec, extras, &devices), "devices": devices });
    if spec.profile.masked {
        let below = |base: &str, names: &[&str]| names.iter().map(|name| format!("{base}/{name}")).collect::<Vec<_>>();
        linux["maskedPaths"] = json!([below("/proc", &MASKED_PROC), below("/sys", &MASKED_SYS)].concat());
        linux["readonlyPaths"] = json!(below("/proc", &READONLY_PROC));
    }
    if spec.profile.filtered {
        linux["seccomp"] = seccomp();
    }
    if let Some(parent) = &extras.limits.parent {
        linux["cgroupsPath"] = json!(format!("/{}/{}", parent.trim_matches('/'), extras.id));
    }
    linux
}

/// A device of the host under its own name, if it is there.
fn host_device(path: &str) -> Option<Value> {
    let stat = rustix::fs::stat(path).ok()?;
    device_node(path, &stat, &DeviceNode::default())
}

/// A device as the runtime-spec has it; nothing if it is none.
pub(super) fn device_node(path: &str, stat: &Stat, node: &DeviceNode) -> Option<Value> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let kind = if kind.is_char_device() { "c" } else { kind.is_block_device().then_some("b")? };
    Some(json!({
        "path": path,
        "type": kind,
        "major": rustix::fs::major(stat.st_rdev),
        "minor": rustix::fs::minor(stat.st_rdev),
        "fileMode": node.mode.unwrap_or(stat.st_mode) & 0o7777,
        "uid": node.uid.unwrap_or(stat.st_uid),
        "gid": node.gid.unwrap_or(stat.st_gid),
    }))
}

fn resources(spec: &Spec, extras: &Extras, devices: &[Value]) -> Value {
    let limits = &extras.limits;
    let mut resources = json!({});
    if limits.memory.is_some() || limits.memory_swap.is_some() {
        resources["memory"] = fields(&[("limit", json!(limits.memory)), ("swap", json!(limits.memory_swap))]);
    }
    let cpu = fields(&[
        ("shares", json!(limits.cpu_shares)),
        ("period", json!(limits.cpu_period)),
        ("quota", json!(limits.cpu_quota)),
        ("cpus", json!(limits.cpuset_cpus)),
        ("mems", json!(limits.cpuset_mems)),
    ]);
    if cpu.as_object().is_some_and(|cpu| !cpu.is_empty()) {
        resources["cpu"] = cpu;
    }
    // In a user namespace a runtime may not have a group, and refuses any limit then.
    let default = (mapped_from_zero(&read("/proc/self/uid_map")) == u32::MAX).then_some(Limits::PROCESSES);
    if let Some(count) = limits.processes.or(default) {
        resources["pids"] = json!({ "limit": i64::try_from(count).unwrap_or(-1) });
    }
    let allow = |device: &Value| json!({ "allow": true, "type": device["type"], "major": device["major"], "minor": device["minor"], "access": "rwm" });
    resources["devices"] = match spec.profile.masked {
        true => devices.iter().map(allow).collect(),
        false => json!([{ "allow": true, "access": "rwm" }]),
    };
    resources
}

/// An object of the fields that have a value.
fn fields(all: &[(&str, Value)]) -> Value {
    all.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
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
    use crate::Ulimit;

    #[test]
    fn users_other_than_root_hold_nothing() {
        assert_eq!(capabilities(u64::MAX, 7)["effective"], json!([]));
    }

    #[test]
    fn what_is_asked_for_comes_instead_of_the_default() {
        let asked = Ulimit { name: "nofile".into(), soft: Some(7), hard: None };
        let spec = Spec { ulimits: vec![asked], ..crate::wire::tests::spec("/") };
        let expect = json!([
            { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
            { "type": "RLIMIT_NOFILE", "soft": 7, "hard": u64::MAX },
        ]);
        assert_eq!(json!(rlimits(&spec, 100)), expect);
    }
}
