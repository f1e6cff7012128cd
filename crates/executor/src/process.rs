//! A process to run, and one that runs.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Result;

/// A process and the root filesystem it sees.
#[derive(Debug)]
pub struct Process {
    /// Directory that becomes `/`: a mount point or plain directory, reachable in the caller's mount namespace.
    pub root: PathBuf,
    /// The root is mounted read-only.
    pub readonly_root: bool,
    /// Program and arguments. The program is looked up in the environment's PATH inside the root.
    pub args: Vec<String>,
    /// Whole environment, `K=v`. HOME is added from the passwd file if absent.
    pub env: Vec<String>,
    /// Absolute working directory in the root; made (0755) if missing, without following links out of the root.
    pub cwd: String,
    /// `name|uid[:group|gid]`, looked up in the root's passwd and group files, supplementary groups included. Empty: 0:0.
    pub user: String,
    /// Host name.
    pub hostname: String,
    /// Extra lines of /etc/hosts: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// Further mounts, in order.
    pub mounts: Vec<ProcessMount>,
    /// Network.
    pub network: Network,
    /// How much it is confined.
    pub profile: Profile,
    /// Bytes of the /etc/resolv.conf to show (already fit for the network); the root's own file is not changed.
    pub resolv_conf: Option<Vec<u8>>,
    /// Limits of its control group.
    pub limits: Limits,
    /// Limits of each of its processes, over those every step has.
    pub ulimits: Vec<Ulimit>,
    /// Where its standard streams go.
    pub stdio: Stdio,
}

impl Process {
    /// A sandboxed process of user 0 in `/`, with the network of the host and nothing else asked for.
    pub fn new(root: impl Into<PathBuf>, args: Vec<String>) -> Self {
        Self {
            root: root.into(),
            readonly_root: false,
            args,
            env: Vec::new(),
            cwd: "/".to_owned(),
            user: String::new(),
            hostname: String::new(),
            extra_hosts: Vec::new(),
            mounts: Vec::new(),
            network: Network::Host,
            profile: Profile::SANDBOX,
            resolv_conf: None,
            limits: Limits::default(),
            ulimits: Vec::new(),
            stdio: Stdio::Pipes,
        }
    }
}

/// A mount inside the root. The target is made if missing (file or directory as the source is), resolved inside the
/// root; what was made is removed again after the process, so that it leaves no trace in the layer.
#[derive(Debug)]
pub struct ProcessMount {
    /// Absolute path in the root.
    pub target: String,
    /// What is mounted there.
    pub source: MountSource,
    /// Writes are refused.
    pub readonly: bool,
}

/// What a [`ProcessMount`] shows.
#[derive(Debug)]
pub enum MountSource {
    /// A file or directory held open (O_PATH): bound without resolving its path again.
    Bind(OwnedFd),
    /// An empty filesystem in memory of at most this many bytes.
    Tmpfs(Option<u64>),
    /// A file in memory with this content, mode, uid and gid (secrets).
    Bytes(Vec<u8>, u32, u32, u32),
    /// A device of the host, held open (O_PATH), and how its node is to look: as the host's where nothing is said.
    Device(OwnedFd, DeviceNode),
}

/// What a device node in a step has other than the host's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// Permissions.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

/// Network of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// That of the host.
    Host,
    /// Loopback only.
    None,
}

/// How much a process is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Capabilities it can have at all, a bit each by the kernel's numbers; a process of user 0 holds them, as far as this
    /// program has them itself.
    pub capabilities: u64,
    /// System calls that no ordinary program needs are refused.
    pub filtered: bool,
    /// Whether executing a program can give it privileges.
    pub no_new_privileges: NoNewPrivileges,
    /// What tells of the host or changes it is out of sight or read-only, and devices are those every program needs.
    pub masked: bool,
}

/// When executing a program gives no privileges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoNewPrivileges {
    /// For nobody.
    Never,
    /// For user 0; others keep `sudo`, within the capabilities of the profile.
    OfRoot,
    /// For everybody.
    Always,
}

impl Profile {
    /// What every step gets unless it is granted more. CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP,
    /// NET_BIND_SERVICE, SYS_CHROOT, SETFCAP.
    pub const SANDBOX: Self =
        Self { capabilities: 0x8004_05fb, filtered: true, no_new_privileges: NoNewPrivileges::OfRoot, masked: true };

    /// Everything this program may do itself.
    pub const INSECURE: Self =
        Self { capabilities: u64::MAX, filtered: false, no_new_privileges: NoNewPrivileges::Never, masked: false };
}

/// Limits of the control group of a process: of all its processes together. None are set by default but that of processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; -1 for any.
    pub memory_swap: Option<i64>,
    /// Weight against other groups where processors are scarce; 1024 is the kernel's default.
    pub cpu_shares: Option<u64>,
    /// Microseconds in which [`Limits::cpu_quota`] can be used up.
    pub cpu_period: Option<u64>,
    /// Microseconds of processor time in a period.
    pub cpu_quota: Option<u64>,
    /// Processors to run on: `0-2,5`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes likewise.
    pub cpuset_mems: Option<String>,
    /// Processes and threads, `u64::MAX` for any; [`Limits::PROCESSES`] where the host can limit them and nothing is said.
    pub processes: Option<u64>,
    /// Path of the control group below which that of the process is made.
    pub parent: Option<String>,
}

impl Limits {
    /// Processes and threads of a step: far above what builds need, far below what brings a host down.
    pub const PROCESSES: u64 = 8192;
}

/// A limit of each process, as `setrlimit(2)` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// `nofile`, `nproc` and so on: the names of `prlimit(1)`.
    pub name: String,
    /// What it begins with; `None` is no limit.
    pub soft: Option<u64>,
    /// What it can be raised to.
    pub hard: Option<u64>,
}

/// Where the standard streams of a process go.
#[derive(Debug)]
pub enum Stdio {
    /// Input empty; output and errors through pipes, read with [`Running::take_output`].
    Pipes,
    /// These descriptors: input, output, errors.
    Fds(OwnedFd, OwnedFd, OwnedFd),
    /// A fresh pseudo-terminal; its controlling end is read with [`Running::take_pty`].
    Pty {
        /// Rows.
        rows: u16,
        /// Columns.
        cols: u16,
    },
}

/// The read ends of a process's output.
#[derive(Debug)]
pub struct Output {
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// The kernel killed it because memory ran out.
    OutOfMemory,
}

/// A process that runs. Dropping it kills everything in its namespaces.
pub trait Running: std::fmt::Debug + Send {
    /// The output pipes, once, if [`Stdio::Pipes`] was asked for.
    fn take_output(&mut self) -> Option<Output>;

    /// The pseudo-terminal, once, if [`Stdio::Pty`] was asked for.
    fn take_pty(&mut self) -> Option<OwnedFd>;

    /// A handle that kills the process and all its children from another thread; it may be called any number of times.
    fn killer(&self) -> Result<Box<dyn Fn(i32) + Send + Sync>>;

    /// Waits until the process and everything it started have ended.
    fn wait(&mut self) -> Result<Exit>;
}

/// The user ids this program may use as its own, decided once at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdMap {
    /// Real root: all ids.
    Root,
    /// A user namespace with a range of subordinate ids: ids `0..count`.
    Range {
        /// How many.
        count: u32,
    },
    /// A user namespace with one id: everything is owned by 0:0.
    Single,
}
