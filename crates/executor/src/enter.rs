//! Gets the ids and the mount namespace this program works in, once, at its start.
//!
//! Knows nothing of steps: what runs inside is started by an executor.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{CapabilitySet, Gid, Uid, UnshareFlags};

use crate::subid::{self, Range};
use crate::sys::{self, SingleThread};
use crate::{Error, ErrorKind, IdMap, Result};

/// Bytes read of a system file; far above real ones.
pub(crate) const MAX_FILE: u64 = 16 << 20;

/// What [`enter`] takes from its caller instead of reading the environment.
#[derive(Clone, Debug, Default)]
pub struct EnterOptions {
    /// Directories searched for `newuidmap` and `newgidmap`, as in PATH.
    pub search: Vec<PathBuf>,
    /// Do not try subordinate ids, even where there are some.
    pub single: bool,
}

/// What [`enter`] obtained.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The user ids this program may use as its own.
    pub map: IdMap,
    /// User id of the caller before [`enter`].
    pub real_uid: u32,
    /// Group id of the caller before [`enter`].
    pub real_gid: u32,
    /// Why it is not more.
    pub notes: Vec<String>,
}

/// Enters a private mount namespace, and as an ordinary user first a user namespace in which this program is root.
/// To be called while the program has one thread.
pub fn enter(options: &EnterOptions) -> Result<Identity> {
    let mut identity = Identity {
        map: IdMap::Root,
        real_uid: rustix::process::getuid().as_raw(),
        real_gid: rustix::process::getgid().as_raw(),
        notes: Vec::new(),
    };
    let single = SingleThread::check().map_err(|e| Error::io("cannot change namespaces", e))?;
    if is_privileged() {
        sys::unshare(UnshareFlags::NEWNS).map_err(|e| Error::io("cannot make a mount namespace", e))?;
        identity.map = present_map()?;
    } else {
        let grant = if options.single { None } else { grant(options, &mut identity) };
        identity.map = new_user_namespace(grant, &mut identity, &single)?;
    }
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(|e| Error::io("cannot keep mounts to this program", e.into()))?;
    Ok(identity)
}

/// Root with the right to mount; in a container root may lack it.
pub(crate) fn is_privileged() -> bool {
    rustix::process::geteuid().is_root()
        && rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// The ids of the user namespace this program already is in.
fn present_map() -> Result<IdMap> {
    let text = std::fs::read_to_string("/proc/self/uid_map").map_err(|e| Error::io("cannot read the id map", e))?;
    Ok(match subid::mapped_from_zero(&text) {
        u32::MAX => IdMap::Root,
        0 | 1 => IdMap::Single,
        count => IdMap::Range { count },
    })
}

/// The subordinate ids of the caller and the two programs that may map them.
struct Grant {
    uids: Range,
    gids: Range,
    newuidmap: PathBuf,
    newgidmap: PathBuf,
}

/// What the administrator has granted; a note says what lacks.
fn grant(options: &EnterOptions, identity: &mut Identity) -> Option<Grant> {
    match find_grant(options, identity.real_uid) {
        Ok(grant) => Some(grant),
        Err(note) => {
            identity.notes.push(note);
            None
        }
    }
}

fn find_grant(options: &EnterOptions, uid: u32) -> std::result::Result<Grant, String> {
    let program = |name: &str| find(&options.search, name).ok_or_else(|| format!("{name} is not installed"));
    let (newuidmap, newgidmap) = (program("newuidmap")?, program("newgidmap")?);
    let login = subid::login(&read("/etc/passwd"), uid);
    let range = |file: &str| {
        subid::range(&read(file), login.as_deref(), uid)
            .ok_or_else(|| format!("{file} has no range for user {}", login.as_deref().unwrap_or(&uid.to_string())))
    };
    Ok(Grant { uids: range("/etc/subuid")?, gids: range("/etc/subgid")?, newuidmap, newgidmap })
}

/// The first executable `name` in `search`.
pub(crate) fn find(search: &[PathBuf], name: &str) -> Option<PathBuf> {
    let executable = |path: &PathBuf| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    search.iter().map(|dir| dir.join(name)).find(executable)
}

/// A system file; nothing if it cannot be read.
pub(crate) fn read(path: &str) -> String {
    let mut bytes = Vec::new();
    let _unreadable = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Makes the namespaces. The privileged mapping is done by a child that stayed in the old one.
fn new_user_namespace(grant: Option<Grant>, identity: &mut Identity, single: &SingleThread) -> Result<IdMap> {
    let mapper = grant.as_ref().map(|grant| Mapper::fork(grant, identity, single)).transpose()?;
    sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS).map_err(forbidden)?;
    let map = match (mapper, grant) {
        (Some(mapper), Some(grant)) => match mapper.map() {
            Ok(()) => Some(IdMap::Range { count: grant.uids.count.min(grant.gids.count).saturating_add(1) }),
            Err(note) => {
                identity.notes.push(note);
                None
            }
        },
        _ => None,
    };
    let map = match map {
        Some(map) => map,
        None => map_single(identity)?,
    };
    become_root().map_err(|e| Error::io("cannot become root of the user namespace", e.into()))?;
    Ok(map)
}

fn forbidden(error: std::io::Error) -> Error {
    let what = match rustix::process::geteuid().is_root() {
        true => "root may not mount here (no CAP_SYS_ADMIN), and no user namespace can be made either",
        false => "this host forbids user namespaces to ordinary users",
    };
    Error::caused(ErrorKind::Host, what, error).with_hint(
        "as root: sysctl kernel.unprivileged_userns_clone=1 (Debian), \
         sysctl kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), user.max_user_namespaces above 0; \
         a container needs a seccomp profile that allows them",
    )
}

/// A mapping of only the caller's own ids, which needs no privilege but gives up `setgroups`.
fn map_single(identity: &Identity) -> Result<IdMap> {
    // newuidmap may have done its half before newgidmap failed; a map is written once.
    let put = |file: &str, text: String| match file.ends_with("_map") && !read(file).trim().is_empty() {
        true => Ok(()),
        false => {
            std::fs::write(file, text).map_err(|e| Error::caused(ErrorKind::Host, format!("cannot write {file}"), e))
        }
    };
    put("/proc/self/setgroups", "deny".into())?;
    put("/proc/self/gid_map", format!("0 {} 1\n", identity.real_gid))?;
    put("/proc/self/uid_map", format!("0 {} 1\n", identity.real_uid))?;
    Ok(IdMap::Single)
}

fn become_root() -> std::result::Result<(), rustix::io::Errno> {
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
}

/// A child in the old namespace that runs newuidmap and newgidmap on its parent when told.
struct Mapper {
    pid: i32,
    go: OwnedFd,
    outcome: OwnedFd,
}

impl Mapper {
    fn fork(grant: &Grant, identity: &Identity, single: &SingleThread) -> Result<Self> {
        let failed = |e: std::io::Error| Error::io("cannot start the mapping of ids", e);
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| failed(e.into()));
        let (wait, go) = pipe()?;
        let (outcome, report) = pipe()?;
        let parent = rustix::process::getpid().as_raw_nonzero().get();
        match sys::fork(single).map_err(failed)? {
            Some(pid) => Ok(Self { pid, go, outcome }),
            None => {
                drop((go, outcome));
                let told = File::from(wait).read_exact(&mut [0]).is_ok();
                if let (true, Err(note)) = (told, grant.apply(parent, identity)) {
                    let _parent_gone = File::from(report).write_all(note.as_bytes());
                }
                std::process::exit(0)
            }
        }
    }

    /// Lets it map; the reason if it could not.
    fn map(self) -> std::result::Result<(), String> {
        let mut note = String::new();
        let told = File::from(self.go).write_all(b"!");
        let read = File::from(self.outcome).take(MAX_FILE).read_to_string(&mut note);
        let _reaped = rustix::process::Pid::from_raw(self.pid)
            .map(|pid| rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()));
        told.and(read).map_err(|e| format!("subordinate ids cannot be mapped: {e}"))?;
        // Written by newuidmap, or not at all.
        if note.is_empty() && !self::read("/proc/self/gid_map").trim().is_empty() { Ok(()) } else { Err(note) }
    }
}

impl Grant {
    /// uid_map first and gid_map last: that the latter is written proves both.
    fn apply(&self, pid: i32, identity: &Identity) -> std::result::Result<(), String> {
        let count = self.uids.count.min(self.gids.count);
        run(&self.newuidmap, pid, identity.real_uid, self.uids.start, count)?;
        run(&self.newgidmap, pid, identity.real_gid, self.gids.start, count)
    }
}

fn run(program: &Path, pid: i32, own: u32, start: u32, count: u32) -> std::result::Result<(), String> {
    let numbers =
        [pid.to_string(), "0".into(), own.to_string(), "1".into(), "1".into(), start.to_string(), count.to_string()];
    let output = Command::new(program).args(numbers).env_clear().stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{} failed: {}", program.display(), String::from_utf8_lossy(&output.stderr).trim())),
        Err(e) => Err(format!("{} cannot be run: {e}", program.display())),
    }
}
