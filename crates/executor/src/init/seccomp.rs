//! The system calls a step may not make, as a program for the kernel's filter.
//!
//! Refused calls fail with an error number, never kill: programs then fall back. Constant answers are free, the kernel
//! keeps them in a bitmap; only the few calls whose arguments are looked at run the program.

use libc::{
    BPF_ABS, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO, sock_filter,
};

/// Offset of the call's number in what the kernel shows the program.
const NUMBER: u32 = 0;
/// Offset of the architecture.
const ARCH: u32 = 4;

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

/// Calls of the x32 ABI have this bit; on other architectures no call is that high.
const X32: u32 = 0x4000_0000;

/// CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// CLONE_NEWTIME; in clone its bit belongs to the exit signal.
const NEW_TIME: u32 = 0x80;

/// Refused whatever their arguments: the kernel's widest attack surface, and what belongs to the host.
const DENIED: &[libc::c_long] = &[
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    // open_tree_attr, the same number everywhere
    467,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_acct,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_vhangup,
    libc::SYS_fanotify_init,
    libc::SYS_kcmp,
];

/// Likewise, calls only this architecture has.
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[libc::c_long] = &[
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS__sysctl,
];
#[cfg(target_arch = "aarch64")]
const DENIED_HERE: &[libc::c_long] = &[];

/// Calls refused for some values of one argument.
const CONDITIONS: &[(libc::c_long, Condition)] = &[
    (
        libc::SYS_unshare,
        Condition { argument: 0, refuse: Refuse::AnyBit(NEW_NAMESPACES | NEW_TIME), errno: libc::EPERM },
    ),
    (libc::SYS_clone, Condition { argument: 0, refuse: Refuse::AnyBit(NEW_NAMESPACES), errno: libc::EPERM }),
    // AF_ALG (page cache writes, 2026), AF_VSOCK, AF_PACKET
    (libc::SYS_socket, Condition { argument: 0, refuse: Refuse::Values(&[38, 40, 17]), errno: libc::EAFNOSUPPORT }),
    // TIOCSTI, TIOCLINUX: typing into the caller's terminal
    (libc::SYS_ioctl, Condition { argument: 1, refuse: Refuse::Values(&[0x5412, 0x541c]), errno: libc::EPERM }),
];

#[derive(Clone, Copy)]
struct Condition {
    /// Index of the argument; its low half is compared, as the kernel truncates all of these to 32 bits.
    argument: u32,
    refuse: Refuse,
    errno: i32,
}

#[derive(Clone, Copy)]
enum Refuse {
    AnyBit(u32),
    Values(&'static [u32]),
}

/// The filter of a sandboxed step. `narrow`: of one whose program is a 32-bit one, which this processor runs too; for all
/// others that way in is closed, because there `socketcall` hides its arguments from every filter.
pub(super) fn program(narrow: bool) -> Vec<sock_filter> {
    let native = native();
    let other = narrow.then(narrow_rules).flatten();
    let mut code = vec![load(ARCH), jump(BPF_JEQ, NATIVE, if other.is_some() { 3 } else { 1 }, 0)];
    if let Some((arch, _)) = &other {
        // Past all of the native part, and further than a conditional jump can.
        let over = instruction(BPF_JMP | BPF_JA, 1 + native.len() as u32, 0, 0);
        code.extend([jump(BPF_JEQ, *arch, 0, 1), over]);
    }
    code.push(errno(libc::EPERM));
    code.extend(native);
    code.extend(other.map(|(_, rules)| rules).unwrap_or_default());
    code
}

fn native() -> Vec<sock_filter> {
    let denied: Vec<u32> = DENIED.iter().chain(DENIED_HERE).map(|call| number(*call)).collect();
    let conditions: Vec<(u32, Condition)> =
        CONDITIONS.iter().map(|(call, condition)| (number(*call), *condition)).collect();
    let mut code = vec![load(NUMBER), jump(BPF_JGE, X32, 0, 1), errno(libc::EPERM)];
    code.extend(rules(&denied, number(libc::SYS_clone3), &conditions));
    code
}

/// The same rules under the numbers of the 32-bit processor that this one also is.
#[cfg(target_arch = "x86_64")]
fn narrow_rules() -> Option<(u32, Vec<sock_filter>)> {
    use super::seccomp_386 as calls;
    let conditions: Vec<(u32, Condition)> =
        calls::CONDITIONS.iter().zip(CONDITIONS).map(|(call, (_, condition))| (*call, *condition)).collect();
    let mut code = vec![load(NUMBER)];
    code.extend(rules(calls::DENIED, calls::CLONE3, &conditions));
    Some((calls::ARCH, code))
}
#[cfg(not(target_arch = "x86_64"))]
fn narrow_rules() -> Option<(u32, Vec<sock_filter>)> {
    None
}

/// What becomes of a call whose number is loaded.
fn rules(denied: &[u32], clone3: u32, conditions: &[(u32, Condition)]) -> Vec<sock_filter> {
    let mut code = Vec::new();
    for call in denied {
        code.extend([jump(BPF_JEQ, *call, 0, 1), errno(libc::EPERM)]);
    }
    // Its flags are behind a pointer and cannot be looked at; every libc falls back to clone.
    code.extend([jump(BPF_JEQ, clone3, 0, 1), errno(libc::ENOSYS)]);
    for (call, condition) in conditions {
        let block = condition.block();
        code.push(jump(BPF_JEQ, *call, 0, block.len() as u8));
        code.extend(block);
    }
    code.push(ret(SECCOMP_RET_ALLOW));
    code
}

impl Condition {
    /// Looks at the argument and returns in any case. At most a dozen instructions, so that one jump leads past it.
    fn block(self) -> Vec<sock_filter> {
        let mut code = vec![load(16 + 8 * self.argument)];
        match self.refuse {
            Refuse::AnyBit(mask) => code.extend([jump(BPF_JSET, mask, 0, 1), errno(self.errno)]),
            Refuse::Values(values) => {
                for value in values {
                    code.extend([jump(BPF_JEQ, *value, 0, 1), errno(self.errno)]);
                }
            }
        }
        code.push(ret(SECCOMP_RET_ALLOW));
        code
    }
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

fn load(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, offset, 0, 0)
}

fn jump(test: u32, value: u32, yes: u8, no: u8) -> sock_filter {
    instruction(BPF_JMP | test | BPF_K, value, yes, no)
}

fn ret(value: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, value, 0, 0)
}

fn errno(number: i32) -> sock_filter {
    ret(SECCOMP_RET_ERRNO | number.unsigned_abs())
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

/// Names of the calls an OCI runtime is told to refuse; it has its own way to look at arguments.
pub(crate) const DENIED_NAMES: &[&str] = &[
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "keyctl",
    "add_key",
    "request_key",
    "mount",
    "umount2",
    "pivot_root",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "setns",
    "open_by_handle_at",
    "kexec_load",
    "kexec_file_load",
    "init_module",
    "finit_module",
    "delete_module",
    "quotactl",
    "quotactl_fd",
    "swapon",
    "swapoff",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "acct",
    "reboot",
    "syslog",
    "nfsservctl",
    "lookup_dcookie",
    "vhangup",
    "fanotify_init",
    "kcmp",
    "iopl",
    "ioperm",
    "modify_ldt",
    "uselib",
    "ustat",
    "sysfs",
    "create_module",
    "get_kernel_syms",
    "query_module",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn answer(arch: u32, call: libc::c_long, args: [u64; 6]) -> u32 {
        let answers = [false, true].map(|narrow| answer_of(&program(narrow), arch, call, args));
        assert!(arch != NATIVE || answers[0] == answers[1], "native calls are the same to both: {call}");
        answers[0]
    }

    fn answer_of(code: &[sock_filter], arch: u32, call: libc::c_long, args: [u64; 6]) -> u32 {
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let step = code[at];
            at += 1;
            let taken = match u32::from(step.code) {
                c if c == BPF_LD | BPF_W | BPF_ABS => {
                    accumulator = match step.k {
                        NUMBER => number(call),
                        ARCH => arch,
                        offset => args[((offset - 16) / 8) as usize] as u32,
                    };
                    continue;
                }
                c if c == BPF_JMP | BPF_JA => {
                    at += step.k as usize;
                    continue;
                }
                c if c == BPF_JMP | BPF_JEQ | BPF_K => accumulator == step.k,
                c if c == BPF_JMP | BPF_JGE | BPF_K => accumulator >= step.k,
                c if c == BPF_JMP | BPF_JSET | BPF_K => accumulator & step.k != 0,
                _ => return step.k,
            };
            at += usize::from(if taken { step.jt } else { step.jf });
        }
    }

    fn refused(errno: i32) -> u32 {
        SECCOMP_RET_ERRNO | errno as u32
    }

    #[test]
    fn ordinary_calls_pass_and_listed_ones_do_not() {
        for call in [libc::SYS_read, libc::SYS_execve, libc::SYS_chroot, libc::SYS_ptrace, libc::SYS_setxattr] {
            assert_eq!(answer(NATIVE, call, [0; 6]), SECCOMP_RET_ALLOW, "{call}");
        }
        for call in DENIED.iter().chain(DENIED_HERE) {
            assert_eq!(answer(NATIVE, *call, [0; 6]), refused(libc::EPERM), "{call}");
        }
        assert_eq!(answer(NATIVE, libc::SYS_clone3, [0; 6]), refused(libc::ENOSYS));
    }

    #[test]
    fn foreign_ways_in_are_closed() {
        assert_eq!(answer(0x4000_0003, libc::SYS_read, [0; 6]), refused(libc::EPERM), "i386");
        assert_eq!(answer(NATIVE, libc::SYS_read | libc::c_long::from(X32), [0; 6]), refused(libc::EPERM), "x32");
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_program_of_386_has_the_same_rules() {
        use crate::init::seccomp_386 as calls;
        let code = program(true);
        let answer = |call: u32, args: [u64; 6]| answer_of(&code, calls::ARCH, call.into(), args);
        let [unshare, clone, socket, ioctl] = *calls::CONDITIONS;
        // read, execve, socketcall
        for call in [3, 11, 102] {
            assert_eq!(answer(call, [0; 6]), SECCOMP_RET_ALLOW, "{call}");
        }
        for call in calls::DENIED {
            assert_eq!(answer(*call, [0; 6]), refused(libc::EPERM), "{call}");
        }
        assert_eq!(answer(calls::CLONE3, [0; 6]), refused(libc::ENOSYS));
        assert_eq!(answer(clone, [0x1000_0000, 0, 0, 0, 0, 0]), refused(libc::EPERM));
        assert_eq!(answer(clone, [17, 0, 0, 0, 0, 0]), SECCOMP_RET_ALLOW);
        assert_eq!(answer(unshare, [0x80, 0, 0, 0, 0, 0]), refused(libc::EPERM));
        assert_eq!(answer(socket, [38, 0, 0, 0, 0, 0]), refused(libc::EAFNOSUPPORT));
        assert_eq!(answer(socket, [2, 0, 0, 0, 0, 0]), SECCOMP_RET_ALLOW);
        assert_eq!(answer(ioctl, [0, 0x5412, 0, 0, 0, 0]), refused(libc::EPERM));
        assert_eq!(answer_of(&code, 0x4000_0028, 3, [0; 6]), refused(libc::EPERM), "arm");
    }

    #[test]
    fn arguments_are_looked_at() {
        let high = 0xdead_0000_0000_0000_u64;
        for (call, at, value, expect) in [
            (libc::SYS_clone, 0, libc::SIGCHLD as u64, SECCOMP_RET_ALLOW),
            (libc::SYS_clone, 0, 0x1000_0000 | 17, refused(libc::EPERM)),
            (libc::SYS_unshare, 0, 0x400, SECCOMP_RET_ALLOW),
            (libc::SYS_unshare, 0, 0x80, refused(libc::EPERM)),
            (libc::SYS_unshare, 0, high | 0x2_0000, refused(libc::EPERM)),
            (libc::SYS_socket, 0, 1, SECCOMP_RET_ALLOW),
            (libc::SYS_socket, 0, 2, SECCOMP_RET_ALLOW),
            (libc::SYS_socket, 0, 38, refused(libc::EAFNOSUPPORT)),
            (libc::SYS_socket, 0, high | 38, refused(libc::EAFNOSUPPORT)),
            (libc::SYS_socket, 0, 40, refused(libc::EAFNOSUPPORT)),
            (libc::SYS_socket, 0, 17, refused(libc::EAFNOSUPPORT)),
            (libc::SYS_ioctl, 1, 0x5413, SECCOMP_RET_ALLOW),
            (libc::SYS_ioctl, 1, high | 0x5412, refused(libc::EPERM)),
            (libc::SYS_ioctl, 1, 0x541c, refused(libc::EPERM)),
        ] {
            let mut args = [0; 6];
            args[at] = value;
            assert_eq!(answer(NATIVE, call, args), expect, "{call} {value:#x}");
        }
    }
}
