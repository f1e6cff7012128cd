//! `RUN --mount`: what is shown to a step besides its root, and what must live as long as the step.

use std::fmt;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use cooper_executor::{MountSource, ProcessMount};
use cooper_llb::{CacheSharing, Exec, Mount, MountKind};
use cooper_oci::{Entry, EntryKind};
use cooper_store::root::attributes;
use cooper_store::{LayerId, Root, Sharing, Store};

use super::agent;
use crate::error::from_store;
use crate::export::place;
use crate::files::{Files, LayerFiles, clean, resolve};
use crate::{Devices, Error, ErrorKind, Result, Session};

/// Largest secret: BuildKit's limit.
const SECRET_MAX: usize = 500 * 1024;

/// Mounts ready for the executor.
#[derive(Default)]
pub(crate) struct Prepared {
    pub(crate) mounts: Vec<ProcessMount>,
    /// Secrets shown as variables.
    pub(crate) env: Vec<String>,
    /// Mounted layers and locks, kept until the step has ended.
    pub(crate) guards: Vec<Box<dyn Send>>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the environment: it holds secrets.
        f.debug_struct("Prepared").field("mounts", &self.mounts.len()).finish_non_exhaustive()
    }
}

/// Values of a step's secrets and agents, asked for before anything blocks.
#[derive(Default)]
pub(crate) struct Asked(Vec<Option<Vec<u8>>>);

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asked(..)")
    }
}

/// Asks the caller for what `op` needs of it.
pub(crate) async fn ask(op: &Exec, session: &dyn Session) -> Result<Asked> {
    let mut values = Vec::new();
    for mount in &op.mounts {
        values.push(match &mount.kind {
            MountKind::Secret { id, required, .. } => need(session.secret(id).await?, *required, "secret", id)?,
            MountKind::Ssh { id, required, .. } => {
                let socket = session.ssh_agent(id).await?.map(|path| path.into_os_string().into_encoded_bytes());
                need(socket, *required, "ssh agent", id)?
            }
            _ => None,
        });
    }
    Ok(Asked(values))
}

fn need(value: Option<Vec<u8>>, required: bool, what: &str, id: &str) -> Result<Option<Vec<u8>>> {
    if value.is_none() && required {
        let hint = if what == "secret" {
            format!("pass it with --secret id={id},src=FILE")
        } else {
            format!("pass it with --ssh {id}")
        };
        return Err(Error::new(ErrorKind::User, format!("the step requires the {what} `{id}`, which was not given"))
            .with_hint(hint));
    }
    if value.as_ref().is_some_and(|value| value.len() > SECRET_MAX) {
        return Err(Error::new(ErrorKind::User, format!("the {what} `{id}` is larger than {SECRET_MAX} bytes")));
    }
    Ok(value)
}

/// Layers an input of the step consists of, by index.
pub(crate) type InputLayers = Vec<Vec<LayerId>>;

/// Makes the mounts of `op`. Blocks.
pub(crate) fn prepare(
    op: &Exec,
    asked: Asked,
    inputs: &InputLayers,
    store: &Store,
    devices: &Devices,
) -> Result<Prepared> {
    let mut prepared = Prepared::default();
    (prepared.mounts, prepared.env) = devices.give(op.devices.iter().map(|device| device.name.as_str()))?;
    if let Some((name, script)) = &op.pipe {
        let source = MountSource::Bytes(script.clone(), 0o755, 0, 0);
        prepared.mounts.push(ProcessMount { target: format!("/dev/pipes/{name}"), source, readonly: true });
    }
    for (mount, asked) in op.mounts.iter().zip(asked.0) {
        add(&mut prepared, &mount.target, &mount.kind, asked, inputs, store)?;
    }
    prepared.env.extend(agent_variable(op));
    Ok(prepared)
}

/// Where programs look for the agent: the first one, unless the Dockerfile says otherwise. BuildKit says it also where the
/// caller has none.
fn agent_variable(op: &Exec) -> Option<String> {
    const NAME: &str = "SSH_AUTH_SOCK=";
    let first = op.mounts.iter().find(|mount| matches!(mount.kind, MountKind::Ssh { .. }))?;
    op.env.iter().all(|entry| !entry.starts_with(NAME)).then(|| format!("{NAME}{}", first.target))
}

fn add(
    out: &mut Prepared,
    target: &str,
    kind: &MountKind,
    asked: Option<Vec<u8>>,
    inputs: &InputLayers,
    store: &Store,
) -> Result<()> {
    let push = |out: &mut Prepared, source, readonly| {
        out.mounts.push(ProcessMount { target: target.to_owned(), source, readonly });
    };
    match kind {
        MountKind::Bind { input, source, readonly } => {
            let layers = inputs.get(*input).map(Vec::as_slice).unwrap_or_default();
            let fd = bind(out, layers, source, *readonly, store)?;
            push(out, MountSource::Bind(fd), *readonly);
        }
        MountKind::Cache { id, sharing, from, owner, readonly } => {
            let sharing = match sharing {
                CacheSharing::Shared => Sharing::Shared,
                CacheSharing::Private => Sharing::Private,
                CacheSharing::Locked => Sharing::Locked,
            };
            let spec = CacheSpec { id, sharing, from: from.as_ref(), owner: *owner };
            let fd = cache(out, &spec, inputs, store)?;
            push(out, MountSource::Bind(fd), *readonly);
        }
        MountKind::Tmpfs { size, readonly } => push(out, MountSource::Tmpfs(*size), *readonly),
        MountKind::Secret { file, env, owner: (mode, uid, gid), .. } => {
            if let Some(name) = env {
                // Without the secret the variable is empty, not what ENV says: as in BuildKit.
                let value = String::from_utf8_lossy(asked.as_deref().unwrap_or_default());
                out.env.push(format!("{name}={value}"));
            }
            let Some(value) = asked else { return Ok(()) };
            if *file {
                push(out, MountSource::Bytes(value, *mode, *uid, *gid), true);
            }
        }
        MountKind::Ssh { owner, .. } => {
            let Some(path) = asked else { return Ok(()) };
            let path = PathBuf::from(std::ffi::OsString::from_vec(path));
            let (socket, forwarded) = agent::forward(store, &path, *owner)?;
            out.guards.push(Box::new(forwarded));
            push(out, MountSource::Bind(socket), false);
        }
    }
    Ok(())
}

fn open_path(path: &Path) -> std::io::Result<OwnedFd> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    Ok(openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// A path of other layers: mounted apart, opened beneath that mount's root. Writes go to a layer that is thrown away.
fn bind(out: &mut Prepared, layers: &[LayerId], source: &str, readonly: bool, store: &Store) -> Result<OwnedFd> {
    let mount = store.mount(layers, !readonly).map_err(|e| from_store(e, "cannot mount what a step binds"))?;
    let what = format!("`{source}` not found in what `--mount=type=bind` mounts");
    let root = Root::open(mount.root()).map_err(|e| from_store(e, &what))?;
    let fd = root.open_path(Path::new(source)).map_err(|e| from_store(e, &what))?;
    out.guards.push(Box::new(mount));
    Ok(fd)
}

/// The directory of a cache mount, made and seeded if nobody has written to it yet.
fn cache(out: &mut Prepared, spec: &CacheSpec<'_>, inputs: &InputLayers, store: &Store) -> Result<OwnedFd> {
    let what = format!("cannot open the cache mount `{}`", spec.id);
    let told = |e| from_store(e, &what);
    let io = |e: std::io::Error| Error::new(ErrorKind::Io, what.clone()).with_source(e);
    let mount = store.open_cache_mount(&identity(spec, inputs), spec.sharing).map_err(told)?;
    // Two steps that find it empty at once would both seed it.
    let _seeding = store.named_lock(&format!("seed {}", mount.path().display()), true).map_err(told)?;
    if mount.root().read_dir(Path::new("")).map_err(told)?.is_empty() {
        let mut owner = spec.owner;
        if let Some((input, source)) = spec.from {
            let layers = inputs.get(*input).map(Vec::as_slice).unwrap_or_default();
            let found = seed(store, layers, source, mount.root())?;
            owner = if owner == DEFAULT_OWNER { found } else { owner };
        }
        let (mode, uid, gid) = owner;
        attributes::set_owner(mount.as_fd(), uid, gid).map_err(|e| io(e.into()))?;
        attributes::set_mode(mount.as_fd(), mode).map_err(|e| io(e.into()))?;
    }
    let directory = open_path(mount.path()).map_err(io)?;
    out.guards.push(Box::new(mount));
    Ok(directory)
}

/// What a cache mount is asked for with.
struct CacheSpec<'a> {
    id: &'a str,
    sharing: Sharing,
    from: Option<&'a (usize, String)>,
    owner: (u32, u32, u32),
}

/// Mode, uid and gid of a cache mount that says none.
const DEFAULT_OWNER: (u32, u32, u32) = (0o755, 0, 0);

/// The names by which the store knows the cache mounts of a step.
pub(crate) fn cache_names(op: &Exec, inputs: &InputLayers) -> Vec<String> {
    let name = |mount: &Mount| match &mount.kind {
        MountKind::Cache { id, from, owner, .. } => {
            let spec = CacheSpec { id, sharing: Sharing::Shared, from: from.as_ref(), owner: *owner };
            Some(identity(&spec, inputs))
        }
        _ => None,
    };
    op.mounts.iter().filter_map(name).collect()
}

/// What a cache mount is found by. As in BuildKit, one of another owner or with other initial content is another one: what
/// one user's step has written would be of no use to another's.
fn identity(spec: &CacheSpec<'_>, inputs: &InputLayers) -> String {
    let mut id = spec.id.to_owned();
    if spec.owner != DEFAULT_OWNER {
        let (mode, uid, gid) = spec.owner;
        id.push_str(&format!("\0{mode:04o} {uid}:{gid}"));
    }
    if let Some((input, source)) = spec.from {
        let layers = inputs.get(*input).map(Vec::as_slice).unwrap_or_default();
        let layers: Vec<String> = layers.iter().map(ToString::to_string).collect();
        id.push_str(&format!("\0{source} {}", layers.join(" ")));
    }
    id
}

/// Copies the initial content of a cache mount out of other layers; mode, uid and gid of the directory it was in.
fn seed(store: &Store, layers: &[LayerId], source: &str, root: &Root) -> Result<(u32, u32, u32)> {
    let what = "cannot fill a cache mount";
    let files = LayerFiles::open(store, layers)?;
    let source = resolve(&*files, &clean(source))?;
    let top = files.lookup(&source)?;
    let owner = top.map_or(DEFAULT_OWNER, |top| (top.mode & 0o7777, top.uid, top.gid));
    let mut todo = files.children(&source)?;
    while let Some(entry) = todo.pop() {
        let relative = entry.path.strip_prefix(&source).unwrap_or(&entry.path).to_owned();
        if entry.kind == EntryKind::Dir {
            todo.extend(files.children(&entry.path)?);
        }
        let mut data: Box<dyn Read> = match entry.kind {
            EntryKind::File { .. } => files.open(&entry)?,
            _ => Box::new(std::io::empty()),
        };
        let (uid, gid) = (entry.uid, entry.gid);
        let entry = Entry { path: relative, ..entry };
        place(root, &entry, &mut data)?;
        let fd = root.open_link(&entry.path).map_err(|e| from_store(e, what))?;
        let io = |e: rustix::io::Errno| Error::new(ErrorKind::Io, what).with_source(std::io::Error::from(e));
        attributes::set_owner(fd.as_fd(), uid, gid).map_err(io)?;
    }
    Ok(owner)
}

/// Inputs that a step binds from a context have no layers: they are copied into one first.
pub(crate) fn is_bound(op: &Exec, index: usize) -> bool {
    op.mounts.iter().any(|mount| match &mount.kind {
        MountKind::Bind { input, .. } => *input == index,
        MountKind::Cache { from: Some((input, _)), .. } => *input == index,
        _ => false,
    })
}
