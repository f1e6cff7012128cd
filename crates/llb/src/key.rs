//! What of an operation enters its cache key: the table of `docs/design/keys.md` as code.
//!
//! Knows nothing of edges, records or where keys are stored.

use cooper_oci::Platform;

use crate::{
    CacheSharing, Chmod, Chown, CopySource, Exec, FileAction, FileOp, GitSource, HttpSource, Mount, MountKind, Network,
    Op, ResolveMode, Security, Source, Ulimit, UserName,
};

/// One typed, named input of a key. The ordered list is stored with every record, so that a miss can be explained.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KeyInput {
    /// What it is: `arg`, `env`, `cwd`, `user`, `dest`, ...
    pub name: String,
    /// Its value, as a person would read it.
    pub value: String,
}

/// First byte of what [`op_digest`] hashes. Raised whenever the meaning of a key input changes, which drops every record.
const KEY_VERSION: u8 = 1;

/// BLAKE3 of the inputs: a version byte, then for each input the length of its name (8 bytes, little endian), the
/// name, the length of its value and the value.
pub fn op_digest(inputs: &[KeyInput]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[KEY_VERSION]);
    for input in inputs {
        for text in [&input.name, &input.value] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
    }
    *hasher.finalize().as_bytes()
}

impl Op {
    /// The inputs of the operation itself, in a fixed order; those of its edges are the solver's.
    pub fn key_inputs(&self) -> Vec<KeyInput> {
        let mut key = Key::default();
        match self {
            Op::Source(source) => key.source(source),
            Op::Exec(exec) => key.exec(exec),
            Op::File(file) => key.file(file),
            Op::Merge => key.add("op", "merge"),
            Op::Diff => key.add("op", "diff"),
        }
        key.inputs
    }
}

#[derive(Default)]
struct Key {
    inputs: Vec<KeyInput>,
}

impl Key {
    fn add(&mut self, name: &str, value: impl Into<String>) {
        self.inputs.push(KeyInput { name: name.to_owned(), value: value.into() });
    }

    fn source(&mut self, source: &Source) {
        match source {
            Source::Scratch => self.add("op", "scratch"),
            Source::Image { reference, platform, resolve } => {
                self.add("op", "image");
                self.add("reference", reference.to_string());
                self.platform(platform);
                // Where a name is looked up does not change what the engine pins it to.
                let (ResolveMode::Default | ResolveMode::Pull) = resolve;
            }
            Source::OciLayout { name, target, platform } => {
                self.add("op", "oci-layout");
                self.add("layout", name);
                self.add("target", target.as_deref().unwrap_or_default());
                self.platform(platform);
            }
            Source::Local { name } => {
                self.add("op", "local");
                self.add("context", name);
            }
            Source::Git(source) => self.git(source),
            Source::Http(source) => self.http(source),
        }
    }

    fn http(&mut self, source: &HttpSource) {
        let HttpSource { url, name, checksum } = source;
        self.add("op", "http");
        self.add("url", source.shown());
        // All of it, but unreadable: key inputs are stored, and an address may hold a password.
        self.add("whole url", blake3::hash(url.as_bytes()).to_hex().as_str());
        self.add("file name", name);
        if let Some(checksum) = checksum {
            self.add("checksum", checksum.to_string());
        }
    }

    fn git(&mut self, source: &GitSource) {
        let GitSource {
            remote,
            reference,
            subdir,
            checksum,
            keep_git_dir,
            skip_submodules,
            commit_times,
            fetch_by_commit: _,
        } = source;
        self.add("op", "git");
        self.add("remote", crate::without_password(remote));
        self.add("ref", reference.as_deref().unwrap_or_default());
        self.add("subdir", subdir);
        if let Some(checksum) = checksum {
            self.add("checksum", checksum);
        }
        let flags = [
            (keep_git_dir.unwrap_or(false), "keep-git-dir"),
            (*skip_submodules, "skip-submodules"),
            (commit_times.unwrap_or(false), "commit times"),
        ];
        flags.iter().filter(|(set, _)| *set).for_each(|(_, flag)| self.add("flag", *flag));
    }

    fn platform(&mut self, platform: &Platform) {
        self.add("platform", platform.to_string());
        if let Some(version) = &platform.os_version {
            self.add("os.version", version);
        }
        for feature in &platform.os_features {
            self.add("os.feature", feature);
        }
    }

    fn exec(&mut self, exec: &Exec) {
        let Exec {
            args,
            env,
            proxy_env: _,
            cwd,
            user,
            hostname,
            extra_hosts,
            platform,
            network,
            security,
            devices,
            ulimits,
            cgroup_parent,
            resources: _,
            mounts,
            pipe,
            clamp,
        } = exec;
        self.add("op", "run");
        args.iter().for_each(|arg| self.add("arg", arg));
        env.iter().for_each(|variable| self.add("env", variable));
        self.add("cwd", cwd);
        self.add("user", user);
        if let Some(hostname) = hostname {
            self.add("hostname", hostname);
        }
        extra_hosts.iter().for_each(|(name, _)| self.add("extra host", name));
        platform.iter().for_each(|platform| self.platform(platform));
        self.add("network", network_text(*network));
        self.add("security", security_text(*security));
        devices.iter().for_each(|device| self.add("device", format!("{} {}", device.name, need(device.required))));
        ulimits.iter().for_each(|ulimit| self.ulimit(ulimit));
        if let Some(parent) = cgroup_parent {
            self.add("cgroup parent", parent);
        }
        mounts.iter().for_each(|mount| self.mount(mount));
        if let Some((name, data)) = pipe {
            self.add("pipe", name);
            self.add("pipe content", blake3::hash(data).to_hex().as_str());
        }
        self.clamp(*clamp);
    }

    fn ulimit(&mut self, ulimit: &Ulimit) {
        let text = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
        self.add("ulimit", format!("{}={}:{}", ulimit.name, text(ulimit.soft), text(ulimit.hard)));
    }

    fn clamp(&mut self, clamp: Option<i64>) {
        self.add("clamp", clamp.map_or_else(|| "preserve".to_owned(), |seconds| seconds.to_string()));
    }

    fn mount(&mut self, mount: &Mount) {
        self.add("mount", format!("{} at {}", mount_text(&mount.kind), mount.target));
        if let MountKind::Bind { input, .. } | MountKind::Cache { from: Some((input, _)), .. } = &mount.kind {
            self.add("mount input", input.to_string());
        }
    }

    fn file(&mut self, file: &FileOp) {
        let FileOp { actions, clamp } = file;
        self.add("op", "file");
        actions.iter().for_each(|action| self.action(action));
        self.clamp(*clamp);
    }

    fn action(&mut self, action: &FileAction) {
        match action {
            FileAction::Copy { .. } => self.copy(action),
            FileAction::MakeFile { path, name, data, mode, chown } => {
                self.add("make file", path);
                self.add("file name", name.as_deref().unwrap_or_default());
                self.add("content", blake3::hash(data).to_hex().as_str());
                self.add("mode", format!("{mode:04o}"));
                self.chown(chown.as_ref());
            }
            FileAction::MakeDir { path, chown } => {
                self.add("make directory", path);
                self.chown(chown.as_ref());
            }
        }
    }

    fn copy(&mut self, action: &FileAction) {
        let FileAction::Copy { input, sources, dest, chown, chmod, excludes, unpack, parents, link } = action else {
            return;
        };
        self.add("copy from input", input.to_string());
        sources.iter().for_each(|source| self.add("source name", source_name(source, *parents)));
        self.add("dest", dest);
        self.chown(chown.as_ref());
        if let Some(chmod) = chmod {
            self.add("chmod", chmod_text(chmod));
        }
        excludes.iter().for_each(|exclude| self.add("exclude", exclude));
        for (set, flag) in [(*unpack, "unpack"), (*parents, "parents"), (*link, "link")] {
            if set {
                self.add("flag", flag);
            }
        }
    }

    fn chown(&mut self, chown: Option<&Chown>) {
        if let Some(chown) = chown {
            self.add("chown", chown_text(chown));
        }
    }
}

/// What of a source's path reaches the result: its last part names the copy; with `--parents` or a wildcard all of it
/// does, since it says which directories are made and which names are chosen.
fn source_name(source: &CopySource, parents: bool) -> String {
    match (parents, source.wildcard) {
        (true, _) => format!("parents {}", source.path),
        (false, true) => format!("glob {}", source.path.rsplit('/').next().unwrap_or_default()),
        (false, false) => source.path.rsplit('/').next().unwrap_or_default().to_owned(),
    }
}

fn chown_text(chown: &Chown) -> String {
    let group = chown.group.as_ref().map(|group| format!(":{}", user_text(group)));
    format!("{}{}", user_text(&chown.user), group.unwrap_or_default())
}

/// Names are quoted, so that a user called `7` is not the user of number 7.
fn user_text(user: &UserName) -> String {
    match user {
        UserName::Id(id) => id.to_string(),
        UserName::Name(name) => format!("{name:?}"),
    }
}

fn chmod_text(chmod: &Chmod) -> String {
    match chmod {
        Chmod::Mode(mode) => format!("{mode:04o}"),
        Chmod::Symbolic(text) => text.clone(),
    }
}

fn network_text(network: Network) -> &'static str {
    match network {
        Network::Default => "default",
        Network::None => "none",
        Network::Host => "host",
    }
}

fn security_text(security: Security) -> &'static str {
    match security {
        Security::Sandbox => "sandbox",
        Security::Insecure => "insecure",
    }
}

fn mount_text(kind: &MountKind) -> String {
    match kind {
        // The source path is the input's selection.
        MountKind::Bind { input: _, source: _, readonly } => format!("bind {}", access(*readonly)),
        MountKind::Cache { id, sharing, from, owner, readonly } => {
            // Two steps that differ only in how they wait for each other do the same.
            let (CacheSharing::Shared | CacheSharing::Private | CacheSharing::Locked) = sharing;
            let start = if from.is_some() { "filled" } else { "empty" };
            format!("cache {id:?} {start} {} {}", owner_text(*owner), access(*readonly))
        }
        MountKind::Tmpfs { size } => format!("tmpfs {}", size.map_or("any".to_owned(), |size| size.to_string())),
        MountKind::Secret { id, file, env, required, owner } => {
            let file = if *file { "file" } else { "no file" };
            let env = env.as_ref().map_or("no variable".to_owned(), |name| format!("variable {name:?}"));
            format!("secret {id:?} {file} {env} {} {}", need(*required), owner_text(*owner))
        }
        MountKind::Ssh { id, required, owner } => format!("ssh {id:?} {} {}", need(*required), owner_text(*owner)),
    }
}

fn access(readonly: bool) -> &'static str {
    if readonly { "ro" } else { "rw" }
}

fn need(required: bool) -> &'static str {
    if required { "required" } else { "optional" }
}

fn owner_text((mode, uid, gid): (u32, u32, u32)) -> String {
    format!("{mode:04o} {uid}:{gid}")
}
