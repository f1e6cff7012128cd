//! Takes from the calling process what a step does not need: capabilities, privileges to gain, system calls, limits.
//!
//! Knows nothing of mounts. Called in the forked child, last thing before the program.

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};

use super::seccomp;
use super::user::Account;
use crate::sys;
use crate::{Error, ErrorKind, NoNewPrivileges, Profile, Result, Ulimit};

/// More than the kernel has; the first refusal ends the loop.
const CAPABILITY_BITS: u32 = 64;
/// Soft limit every program expects; more makes some close a million descriptors at start.
pub(crate) const OPEN_FILES: u64 = 1024;
/// Hard limit for those that ask.
pub(crate) const MAX_OPEN_FILES: u64 = 1_048_576;

/// Becomes `account`, confined as `profile` says, for a program of the narrower processor if `narrow`.
///
/// The order matters: the bounding set needs SETPCAP, a filter without no_new_privs needs SYS_ADMIN, and giving up
/// user id 0 gives up both.
pub(super) fn confine(account: &Account, profile: &Profile, ulimits: &[Ulimit], narrow: bool) -> Result<()> {
    rustix::process::umask(Mode::from_raw_mode(0o022));
    limits().map_err(|e| Error::io("cannot set resource limits", e.into()))?;
    ulimits.iter().try_for_each(limit)?;
    let failed = |e: std::io::Error| Error::caused(ErrorKind::Host, "cannot confine the step", e);
    bound(profile.capabilities).map_err(failed)?;
    join_groups(account)?;
    rustix::thread::clear_ambient_capability_set().map_err(|e| failed(e.into()))?;
    if gives_no_privileges(profile, account) {
        rustix::thread::set_no_new_privs(true).map_err(|e| failed(e.into()))?;
    }
    if profile.masked {
        sys::scope_abstract_sockets().map_err(failed)?;
    }
    if profile.filtered {
        sys::install_filter(&seccomp::program(narrow)).map_err(failed)?;
    }
    become_user(account)?;
    keep(account, profile.capabilities).map_err(|e| failed(e.into()))
}

/// Other users of the root may use its sudo: what that gives is bounded.
pub(crate) fn gives_no_privileges(profile: &Profile, account: &Account) -> bool {
    match profile.no_new_privileges {
        NoNewPrivileges::Never => false,
        NoNewPrivileges::OfRoot => account.uid == 0,
        NoNewPrivileges::Always => true,
    }
}

/// The limits a user can name, by the names of `prlimit(1)`.
const RESOURCES: [(&str, Resource); 16] = [
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

fn limit(ulimit: &Ulimit) -> Result<()> {
    let name = &ulimit.name;
    let found = RESOURCES.iter().find(|(known, _)| known == name);
    let (_, resource) = found.ok_or_else(|| Error::new(ErrorKind::Process, format!("there is no limit `{name}`")))?;
    setrlimit(*resource, Rlimit { current: ulimit.soft, maximum: ulimit.hard }).map_err(|e| {
        let shown = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
        let what = format!("cannot set the limit `{name}` to {}:{}", shown(ulimit.soft), shown(ulimit.hard));
        let own = shown(getrlimit(*resource).maximum);
        Error::caused(ErrorKind::Host, what, e.into())
            .with_hint(format!("without the right to raise it, this host allows at most {own}"))
    })
}

/// Raising a hard limit needs a privilege of the host; without it the present one is kept.
fn limits() -> std::result::Result<(), Errno> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none)?;
    let wanted = Rlimit { current: Some(OPEN_FILES), maximum: Some(MAX_OPEN_FILES) };
    if setrlimit(Resource::Nofile, wanted).is_ok() {
        return Ok(());
    }
    let maximum = getrlimit(Resource::Nofile).maximum.unwrap_or(MAX_OPEN_FILES).min(MAX_OPEN_FILES);
    setrlimit(Resource::Nofile, Rlimit { current: Some(OPEN_FILES.min(maximum)), maximum: Some(maximum) })
}

fn bound(capabilities: u64) -> std::io::Result<()> {
    for capability in (0..CAPABILITY_BITS).filter(|bit| capabilities & (1 << bit) == 0) {
        match sys::drop_bounding(capability) {
            // Beyond the kernel's last.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}

/// In a user namespace of one id the kernel forbids to change groups at all; there is only one to be in.
fn join_groups(account: &Account) -> Result<()> {
    let groups: Vec<Gid> = account.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        Ok(()) => {}
        Err(Errno::PERM) if account.uid == 0 && account.gid == 0 => {}
        Err(e) => return Err(not_here("groups", account, e)),
    }
    let gid = Gid::from_raw(account.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(|e| not_here("group", account, e))
}

fn become_user(account: &Account) -> Result<()> {
    let uid = Uid::from_raw(account.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(|e| not_here("user", account, e))
}

fn not_here(what: &str, account: &Account, errno: Errno) -> Error {
    let text = format!("cannot run as {}:{}: the {what} cannot be set here", account.uid, account.gid);
    Error::caused(ErrorKind::Host, text, errno.into())
        .with_hint("other ids than 0 need a range of subordinate ids: see `cooper doctor`")
}

fn keep(account: &Account, capabilities: u64) -> std::result::Result<(), Errno> {
    let own = rustix::thread::capabilities(None)?.permitted;
    let wanted = if account.uid == 0 { CapabilitySet::from_bits_retain(capabilities) } else { CapabilitySet::empty() };
    let kept = wanted & own;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets)
}
