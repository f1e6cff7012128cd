//! The `git` program, told to trust nothing: no configuration of the machine or its user, no hooks, no helpers, only the
//! protocols of the network, no questions. Knows nothing of what is asked of it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::{Error, ErrorKind, Result};

/// Largest answer that is read: the list of references of a repository with a million of them.
const ANSWER_MAX: u64 = 128 << 20;

/// Of what git says about a failure, this much of the end is told.
const WORDS_MAX: usize = 2000;

/// Settings of every command. What a repository brings along must start nothing and reach nothing.
const SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.autocrlf=false",
    "core.symlinks=true",
    "core.logAllRefUpdates=false",
    "credential.helper=",
    "fetch.recurseSubmodules=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "init.defaultBranch=master",
    "advice.detachedHead=false",
    // One thread packs the same bytes everywhere.
    "pack.threads=1",
    // A transfer that stands still for a minute is over.
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
];

/// How to run git. Everything of the environment that it may see is here.
#[derive(Clone, Default)]
pub struct GitProgram {
    /// The program; `None` when the machine has none.
    pub program: Option<PathBuf>,
    /// Its environment: the search path for its helpers, proxies, the file of trusted certificates.
    pub variables: Vec<(OsString, OsString)>,
    /// The user's list of ssh hosts.
    pub known_hosts: Option<PathBuf>,
}

impl fmt::Debug for GitProgram {
    /// Addresses of proxies may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitProgram").field("program", &self.program).finish_non_exhaustive()
    }
}

/// What one remote is spoken to with.
#[derive(Clone, Default)]
pub(super) struct Access {
    /// Scope and value of an extra header.
    pub(super) header: Option<(String, String)>,
    /// Socket of an ssh agent.
    pub(super) agent: Option<PathBuf>,
    /// Where keys of ssh hosts are learned.
    pub(super) known_hosts: Option<PathBuf>,
}

/// Git with a place to work in.
#[derive(Clone)]
pub(super) struct Git<'a> {
    pub(super) program: &'a GitProgram,
    pub(super) access: &'a Access,
    pub(super) git_dir: Option<PathBuf>,
    pub(super) work_tree: Option<PathBuf>,
    /// Protocols that may be spoken, separated by colons.
    pub(super) protocols: &'static str,
}

/// The protocols of the network; `file` and `ext` reach this machine.
pub(super) const NETWORK: &str = "http:https:git:ssh";

/// The protocol of a repository of the store.
pub(super) const STORE: &str = "file";

impl Git<'_> {
    /// Runs git to its end and gives what it wrote.
    pub(super) async fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Vec<u8>> {
        let mut command = self.command()?;
        command.args(args);
        let mut child = command.spawn().map_err(|e| Error::new(ErrorKind::Host, "cannot start git").with_source(e))?;
        let _end = KillGroup(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (out, err, status) = tokio::join!(read(out), read(err), child.wait());
        let failed = |e: std::io::Error| Error::new(ErrorKind::Io, "git cannot be read from").with_source(e);
        let (out, err, status) = (out.map_err(failed)?, err.map_err(failed)?, status.map_err(failed)?);
        if status.success() {
            return Ok(out);
        }
        let words = words(&err);
        let what = if words.is_empty() { format!("git ended with {status}") } else { format!("git says: {words}") };
        Err(Error::new(ErrorKind::User, what))
    }

    /// Runs git and gives its answer as one trimmed line.
    pub(super) async fn line<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.run(args).await?).trim().to_owned())
    }

    fn command(&self) -> Result<Command> {
        let missing = || {
            Error::new(ErrorKind::Host, "there is no `git` on this machine, which git sources are fetched with")
                .with_hint("install git, or download the files in another way")
        };
        let mut command = Command::new(self.program.program.as_ref().ok_or_else(missing)?);
        command.env_clear().envs(self.program.variables.iter().map(|(name, value)| (name, value)));
        let settled = [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", "false"),
            ("SSH_ASKPASS", "false"),
            ("GIT_ALLOW_PROTOCOL", self.protocols),
            ("GIT_LFS_SKIP_SMUDGE", "1"),
            // No home: neither ~/.gitconfig nor ~/.netrc.
            ("HOME", "/dev/null"),
            ("LC_ALL", "C"),
        ];
        command.envs(settled).env("GIT_SSH_COMMAND", self.ssh()?);
        if let Some(agent) = &self.access.agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        if let Some((scope, value)) = &self.access.header {
            // Not on the command line, which every user of the machine can read.
            command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", format!("http.{scope}.extraheader"));
            command.env("GIT_CONFIG_VALUE_0", value);
        }
        SETTINGS.iter().for_each(|setting| {
            command.args(["-c", setting]);
        });
        if let Some(dir) = &self.git_dir {
            command.arg("--git-dir").arg(dir);
        }
        if let Some(tree) = &self.work_tree {
            command.arg("--work-tree").arg(tree).current_dir(tree);
        } else {
            command.current_dir("/");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        Ok(command)
    }

    /// The ssh command: no configuration, no keys of this machine's user, no questions. A host that was seen before
    /// must still be the same.
    fn ssh(&self) -> Result<OsString> {
        let mut hosts = Vec::new();
        for path in self.access.known_hosts.iter().chain(&self.program.known_hosts) {
            hosts.push(quoted(path)?);
        }
        let hosts = if hosts.is_empty() { "/dev/null".to_owned() } else { hosts.join(" ") };
        let options = ["BatchMode=yes", "StrictHostKeyChecking=accept-new", "IdentityFile=none", "ConnectTimeout=30"];
        let alive = ["ServerAliveInterval=15", "ServerAliveCountMax=4"];
        let options: Vec<String> = options.iter().chain(&alive).map(|option| format!("-o {option}")).collect();
        Ok(format!("ssh -F /dev/null {} -o 'UserKnownHostsFile={hosts}'", options.join(" ")).into())
    }
}

/// A path inside the quotes of a shell and of ssh.
fn quoted(path: &Path) -> Result<String> {
    let text = path.to_str().filter(|text| !text.contains(['\'', '"', '\\', '%', '$', '\n', '`']));
    let bad = || Error::new(ErrorKind::User, format!("ssh cannot be given the path `{}`", path.display()));
    text.map(|text| format!("\"{text}\"")).ok_or_else(bad)
}

/// Reads to the end, or to the limit: what writes more is told so by its broken pipe.
async fn read(from: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    if let Some(from) = from {
        from.take(ANSWER_MAX).read_to_end(&mut out).await?;
    }
    Ok(out)
}

/// The end of what git said, without passwords in addresses.
fn words(err: &[u8]) -> String {
    let text = String::from_utf8_lossy(err);
    let clean: Vec<String> = text.split_whitespace().map(cooper_llb::without_password).collect();
    let text = clean.join(" ");
    let skip = text.chars().count().saturating_sub(WORDS_MAX);
    text.chars().skip(skip).collect()
}

/// Ends git and the helpers it started when the build is given up.
struct KillGroup(Option<Pid>);

impl Drop for KillGroup {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // The group is gone already where git came to its end.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}
