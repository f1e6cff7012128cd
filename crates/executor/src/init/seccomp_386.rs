//! Numbers of system calls on i386 (the kernel's `syscall_32.tbl`), as the filter of a 32-bit step needs them.
//!
//! Knows nothing of filters.

/// AUDIT_ARCH_I386.
pub(super) const ARCH: u32 = 0x4000_0003;

/// clone3.
pub(super) const CLONE3: u32 = 435;

/// unshare, clone, socket, ioctl: in the order of the native conditions.
pub(super) const CONDITIONS: &[u32; 4] = &[310, 120, 359, 54];

/// What is refused natively, and what only this architecture has of the kind.
#[rustfmt::skip]
pub(super) const DENIED: &[u32] = &[
    21, // mount
    22, // umount
    25, // stime
    51, // acct
    52, // umount2
    62, // ustat
    79, // settimeofday
    86, // uselib
    87, // swapon
    88, // reboot
    101, // ioperm
    103, // syslog
    110, // iopl
    111, // vhangup
    113, // vm86old
    115, // swapoff
    123, // modify_ldt
    127, // create_module
    128, // init_module
    129, // delete_module
    130, // get_kernel_syms
    131, // quotactl
    134, // bdflush
    135, // sysfs
    149, // _sysctl
    166, // vm86
    167, // query_module
    169, // nfsservctl
    217, // pivot_root
    253, // lookup_dcookie
    264, // clock_settime
    283, // kexec_load
    286, // add_key
    287, // request_key
    288, // keyctl
    336, // perf_event_open
    338, // fanotify_init
    342, // open_by_handle_at
    343, // clock_adjtime
    346, // setns
    349, // kcmp
    350, // finit_module
    357, // bpf
    374, // userfaultfd
    404, // clock_settime64
    405, // clock_adjtime64
    425, // io_uring_setup
    426, // io_uring_enter
    427, // io_uring_register
    428, // open_tree
    429, // move_mount
    430, // fsopen
    431, // fsconfig
    432, // fsmount
    433, // fspick
    442, // mount_setattr
    443, // quotactl_fd
    467, // open_tree_attr
];
