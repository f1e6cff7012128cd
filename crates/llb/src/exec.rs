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
    /// Mounts besides the root, in Dockerfile order.
    pub mounts: Vec<Mount>,
    /// Here-document script: bytes shown read-only, executable, at `/dev/pipes/<name>`.
    pub pipe: Option<(String, Vec<u8>)>,
    /// Modification times of the new layer are clamped to this many seconds since 1970; `None` keeps them.
    pub clamp: Option<i64>,
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
        /// Mode, uid, gid of a fresh directory.
        owner: (u32, u32, u32),
        /// Writes are refused.
        readonly: bool,
    },
    /// An empty filesystem in memory.
    Tmpfs {
        /// Limit in bytes.
        size: Option<u64>,
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
