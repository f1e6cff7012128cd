//! The system calls that rustix lacks or marks unsafe, each behind a safe function with its proof.
//!
//! Knows nothing of what they are used for.

#![expect(unsafe_code, reason = "system calls without a safe wrapper; the proof stands at each block")]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::thread::UnshareFlags;

/// Proof that this process had exactly one thread when it was made; forking is only safe then.
#[derive(Debug)]
pub(crate) struct SingleThread(());

impl SingleThread {
    /// Counts the threads: `/proc/self/task` has one link for each, besides its own two.
    pub(crate) fn check() -> io::Result<Self> {
        let links = rustix::fs::stat("/proc/self/task")?.st_nlink;
        if links == 3 {
            Ok(Self(()))
        } else {
            Err(io::Error::other(format!("{} threads run", links.saturating_sub(2))))
        }
    }
}

/// Forks; `None` in the child.
pub(crate) fn fork(_proof: &SingleThread) -> io::Result<Option<i32>> {
    // SAFETY: no other thread exists (the argument proves it), so no lock can be held across the fork and the child
    // may use the allocator and everything else.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

/// Leaves the parent's namespaces named by `flags`.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    if flags.contains(UnshareFlags::FILES) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: only UnshareFlags::FILES is unsafe, by changing what descriptors mean to other threads; refused above.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// Sends `signal` to `pid`; every process of the namespace for -1.
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes two integers and touches no memory.
    check(unsafe { libc::kill(pid, signal) })
}

/// A change of a mount's flags, as `mount_setattr(2)` has it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MountAttr {
    /// `MOUNT_ATTR_*` to set.
    pub(crate) set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub(crate) clear: u64,
    /// `MS_PRIVATE` and the like, or 0.
    pub(crate) propagation: u64,
    /// Not used.
    pub(crate) userns_fd: u64,
}

/// Changes flags of the mount `fd` is the root of, with those below it if `recursive`.
pub(crate) fn mount_setattr(fd: BorrowedFd<'_>, recursive: bool, attr: MountAttr) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated literal, `attr` has the layout of struct mount_attr (four u64, repr(C)), the
    // size passed is its size, and both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            std::mem::size_of::<MountAttr>(),
        )
    };
    check_long(result)
}

/// Closes every descriptor from `first` on.
///
/// Must not be called while a live `OwnedFd` at or above `first` exists: the callers run it before they own any.
pub(crate) fn close_from(first: u32) -> io::Result<()> {
    close_range(first, 0)
}

/// Marks every descriptor from `first` on to be closed by exec.
pub(crate) fn cloexec_from(first: u32) -> io::Result<()> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: takes three integers. Closing can only invalidate descriptors someone owns: `close_from` is called as
    // the first thing a fresh process does, when nothing but the standard streams is owned.
    check_long(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) })
}

/// Blocks all signals, so that they queue for [`next_signal`] even in the init of a pid namespace.
pub(crate) fn block_signals() -> io::Result<()> {
    set_mask(libc::SIG_BLOCK)
}

/// Gives all signals back their default action and unblocks them, for a program about to be executed.
pub(crate) fn reset_signals() -> io::Result<()> {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL installs no code of ours; refusals (SIGKILL, SIGSTOP, reserved numbers) do no harm.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    set_mask(libc::SIG_UNBLOCK)
}

fn full_set() -> libc::sigset_t {
    // SAFETY: sigset_t is plain integers, for which zero is valid; sigfillset then writes all of it.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        set
    }
}

fn set_mask(how: libc::c_int) -> io::Result<()> {
    let set = full_set();
    // SAFETY: `set` is initialised and outlives the call; a null old set is allowed.
    check(unsafe { libc::sigprocmask(how, &raw const set, std::ptr::null_mut()) })
}

/// Takes the next queued signal, waiting for one.
pub(crate) fn next_signal() -> io::Result<i32> {
    let set = full_set();
    loop {
        // SAFETY: `set` is initialised and outlives the call; a null info is allowed.
        let signal = unsafe { libc::sigwaitinfo(&raw const set, std::ptr::null_mut()) };
        if signal > 0 {
            return Ok(signal);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Takes `capability` from the bounding set.
pub(crate) fn drop_bounding(capability: u32) -> io::Result<()> {
    // SAFETY: prctl with integer arguments only.
    check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) })
}

/// Installs a seccomp program for this thread and its children.
pub(crate) fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let fprog = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: `fprog` names `len` initialised instructions that outlive the call; the kernel copies and verifies them
    // and does not write through the pointer.
    check_long(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const fprog) })
}

/// Becomes another program; returns only if that failed.
pub(crate) fn execve(program: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    let args = pointers(args);
    let env = pointers(env);
    // SAFETY: the path is NUL-terminated, both arrays end with a null pointer and name NUL-terminated strings that
    // outlive the call.
    unsafe { libc::execve(program.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Brings the loopback interface of the current network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: ifreq is plain integers and bytes, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which is initialised and outlives the call.
    check(unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) })
}

/// The Landlock ABI version the kernel has.
pub(crate) fn landlock_abi() -> io::Result<i64> {
    const CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: a null attribute of size 0 with this flag asks for the version and touches no memory.
    let abi = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, CREATE_RULESET_VERSION)
    };
    if abi < 0 { Err(io::Error::last_os_error()) } else { Ok(abi) }
}

/// Keeps this thread and its children from the abstract Unix sockets of others, which a shared network shows; on kernels
/// that cannot (before 6.12), does nothing.
pub(crate) fn scope_abstract_sockets() -> io::Result<()> {
    /// First version with scopes (`Documentation/userspace-api/landlock.rst`).
    const SCOPES: i64 = 6;
    const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
    if !landlock_abi().is_ok_and(|abi| abi >= SCOPES) {
        return Ok(());
    }
    // struct landlock_ruleset_attr: handled_access_fs, handled_access_net, scoped.
    let attr: [u64; 3] = [0, 0, SCOPE_ABSTRACT_UNIX_SOCKET];
    // SAFETY: `attr` has the layout of the kernel's structure (three u64) and the size passed is its size.
    let ruleset =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, attr.as_ptr(), std::mem::size_of_val(&attr), 0_u32) };
    let ruleset = i32::try_from(ruleset).map_err(io::Error::other)?;
    if ruleset < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    let ruleset = unsafe { OwnedFd::from_raw_fd(ruleset) };
    // SAFETY: takes two integers.
    check_long(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    check_long(libc::c_long::from(result))
}

fn check_long(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
