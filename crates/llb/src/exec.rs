//! Running a process.
//!
//! Knows nothing of how or where it runs.

use cooper_oci::Platform;

/// Runs one process in the filesystem of input 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exec {
    /// Program and arguments, shell included.
    pub args: Vec<String>,
    /// Environment, `K=v`, in order: ENV, declared ARGs, PATH.
    pub env: Vec<String>,
    /// Proxy variables: given to the process, kept out of the key.
    pub proxy_env: Vec<String>,
    /// Absolute working directory.
    pub cwd: String,
    /// USER as written: `name|uid[:group|gid]`; empty for root.
    pub user: String,
    /// Host name in the sandbox; the fixed default when absent.
    pub hostname: Option<String>,
    /// Lines added to the hosts file: name and address. The address stays out of the key, as in BuildKit.
    pub extra_hosts: Vec<(String, String)>,
    /// Platform the process is for; the machine's when absent.
    pub platform: Option<Platform>,
    /// Network the process sees.
    pub network: Network,
    /// Sandbox or not.
    pub security: Security,
    /// Devices of the host it may use.
    pub devices: Vec<Device>,
    /// Limits of each of its processes.
    pub ulimits: Vec<Ulimit>,
    /// Control group below which its own is made.
    pub cgroup_parent: Option<String>,
    /// Limits of all of its processes together: no part of what it is.
    pub resources: Resources,
    /// Mounts besides the root, in Dockerfile order.
    pub mounts: Vec<Mount>,
    /// Here-document script: bytes shown read-only, executable, at `/dev/pipes/<name>`.
    pub pipe: Option<(String, Vec<u8>)>,
    /// Modification times of the new layer are clamped to this many seconds since 1970; `None` keeps them.
    pub clamp: Option<i64>,
}

impl Exec {
    /// Ids of its cache mounts.
    pub fn cache_ids(&self) -> impl Iterator<Item = &str> {
        self.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Cache { id, .. } => Some(id.as_str()),
            _ => None,
        })
    }
}

/// Network of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Network {
    /// The default network.
    #[default]
    Default,
    /// No network but loopback.
    None,
    /// The host's network.
    Host,
}

/// How much a process is confined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Security {
    /// The sandbox profile.
    #[default]
    Sandbox,
    /// All capabilities, no seccomp; needs an entitlement.
    Insecure,
}

/// A `RUN --device`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// `vendor/class=name`, `vendor/class`, `vendor/class=*` or the name of a class (Container Device Interface).
    pub name: String,
    /// Absence is an error.
    pub required: bool,
}

/// A limit of each process, as `setrlimit(2)` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// `nofile`, `nproc` and so on.
    pub name: String,
    /// What it begins with; `None` is no limit.
    pub soft: Option<u64>,
    /// What it can be raised to.
    pub hard: Option<u64>,
}

/// Limits of a control group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; -1 for any.
    pub memory_swap: Option<i64>,
    /// Weight where processors are scarce; 1024 is the default.
    pub cpu_shares: Option<u64>,
    /// Microseconds in which the quota can be used up.
    pub cpu_period: Option<u64>,
    /// Microseconds of processor time in a period.
    pub cpu_quota: Option<u64>,
    /// Processors to run on: `0-2,5`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes likewise.
    pub cpuset_mems: Option<String>,
}

/// What a caller may ask for every process of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Limits of each process.
    pub ulimits: Vec<Ulimit>,
    /// Bytes of /dev/shm.
    pub shm_size: Option<u64>,
    /// Control group below which those of the steps are made.
    pub cgroup_parent: Option<String>,
    /// Limits of all processes of a step together.
    pub resources: Resources,
}

/// A `RUN --mount`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mount {
    /// Absolute path in the sandbox.
    pub target: String,
    /// What is mounted.
    pub kind: MountKind,
}

/// The kinds of `RUN --mount`.
#[derive(Clone, Debug, PartialEq)]
pub enum MountKind {
    /// A path of another filesystem or context.
    Bind {
        /// Index into the vertex's inputs.
        input: usize,
        /// Path in that filesystem.
        source: String,
        /// Writes are refused; else they are thrown away after the step.
        readonly: bool,
    },
    /// A directory that lives between builds.
    Cache {
        /// Name it is shared by.
        id: String,
        /// What two steps at once do.
        sharing: CacheSharing,
        /// Initial content: index into the inputs and path there.
        from: Option<(usize, String)>,
        /// Mode, uid, gid of the directory. One with others, or with other initial content, is another directory.
        owner: (u32, u32, u32),
        /// Writes are refused.
        readonly: bool,
    },
    /// An empty filesystem in memory.
    Tmpfs {
        /// Limit in bytes.
        size: Option<u64>,
        /// Writes are refused.
        readonly: bool,
    },
    /// A secret of the caller: never in a layer, a key or a log.
    Secret {
        /// Its id.
        id: String,
        /// Show it as a file at the mount's target.
        file: bool,
        /// Show it as this environment variable.
        env: Option<String>,
        /// Absence is an error.
        required: bool,
        /// Mode, uid, gid of the file.
        owner: (u32, u32, u32),
    },
    /// The caller's ssh agent.
    Ssh {
        /// Its id.
        id: String,
        /// Absence is an error.
        required: bool,
        /// Mode, uid, gid of the socket.
        owner: (u32, u32, u32),
    },
}

/// What happens when two steps want the same cache mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CacheSharing {
    /// Both use it at once.
    #[default]
    Shared,
    /// The second gets a fresh one.
    Private,
    /// The second waits.
    Locked,
}
