//! A process to run, and one that runs.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

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
    /// Where its standard streams go.
    pub stdio: Stdio,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Capabilities, seccomp, masked paths.
    Sandbox,
    /// None of these.
    Insecure,
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
