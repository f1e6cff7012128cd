//! Capabilities by name.
//!
//! Knows nothing of who has them.

/// Names without `CAP_`, by number (`linux/capability.h`).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The bit of a capability; the name may begin with `CAP_`, in either case.
pub fn capability(name: &str) -> Option<u64> {
    let name = name.to_ascii_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    NAMES.iter().position(|known| *known == name).map(|number| 1 << number)
}

/// The names of a set, as the runtime-spec has them.
pub(crate) fn names(set: u64) -> Vec<String> {
    let held = NAMES.iter().enumerate().filter(|(number, _)| set & (1 << number) != 0);
    held.map(|(_, name)| format!("CAP_{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Profile;

    #[test]
    fn names_and_numbers_go_together() {
        assert_eq!(capability("cap_sys_admin"), Some(1 << 21));
        assert_eq!(capability("CHOWN"), Some(1));
        assert_eq!(capability("CHECKPOINT_RESTORE"), Some(1 << 40));
        assert_eq!([capability("CAP_"), capability("ALL")], [None, None]);
        let sandbox = names(Profile::SANDBOX.capabilities);
        assert_eq!(sandbox.len(), 11);
        assert_eq!(sandbox.iter().filter_map(|name| capability(name)).sum::<u64>(), Profile::SANDBOX.capabilities);
    }
}
