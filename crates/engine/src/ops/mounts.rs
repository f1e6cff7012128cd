//! `RUN --mount`: what is shown to a step besides its root, and what must live as long as the step.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;

use cooper_executor::{MountSource, ProcessMount};
use cooper_llb::{CacheSharing, Exec, MountKind};
use cooper_store::{CacheSharing as StoreSharing, LayerId, Root, Store};

use crate::error::from_store;
use crate::{Error, ErrorKind, Result, Session};

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
pub(crate) fn prepare(op: &Exec, asked: Asked, inputs: &InputLayers, store: &Store) -> Result<Prepared> {
    let mut prepared = Prepared::default();
    if let Some((name, script)) = &op.pipe {
        let source = MountSource::Bytes(script.clone(), 0o755, 0, 0);
        prepared.mounts.push(ProcessMount { target: format!("/dev/pipes/{name}"), source, readonly: true });
    }
    for (mount, asked) in op.mounts.iter().zip(asked.0) {
        add(&mut prepared, &mount.target, &mount.kind, asked, inputs, store)?;
    }
    Ok(prepared)
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
            let fd = cache(out, id, *sharing, from.as_ref(), *owner, inputs, store)?;
            push(out, MountSource::Bind(fd), *readonly);
        }
        MountKind::Tmpfs { size } => push(out, MountSource::Tmpfs(*size), false),
        MountKind::Secret { file, env, owner: (mode, uid, gid), .. } => {
            let Some(value) = asked else { return Ok(()) };
            if let Some(name) = env {
                out.env.push(format!("{name}={}", String::from_utf8_lossy(&value)));
            }
            if *file {
                push(out, MountSource::Bytes(value, *mode, *uid, *gid), true);
            }
        }
        MountKind::Ssh { .. } => {
            let Some(path) = asked else { return Ok(()) };
            let path = String::from_utf8_lossy(&path).into_owned();
            let fd = open_path(Path::new(&path)).map_err(|e| {
                Error::new(ErrorKind::User, format!("cannot open the ssh agent socket `{path}`")).with_source(e)
            })?;
            push(out, MountSource::Bind(fd), false);
            out.env.push(format!("SSH_AUTH_SOCK={target}"));
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
    let fd = mount.files().open_path(Path::new(source)).map_err(|e| from_store(e, &what))?;
    out.guards.push(Box::new(mount));
    Ok(fd)
}

fn cache(
    out: &mut Prepared,
    id: &str,
    sharing: CacheSharing,
    from: Option<&(usize, String)>,
    owner: (u32, u32, u32),
    inputs: &InputLayers,
    store: &Store,
) -> Result<OwnedFd> {
    let what = format!("cannot open the cache mount `{id}`");
    let sharing = match sharing {
        CacheSharing::Shared => StoreSharing::Shared,
        CacheSharing::Private => StoreSharing::Private,
        CacheSharing::Locked => StoreSharing::Locked,
    };
    let mount = store.cache_mount(id, sharing, owner).map_err(|e| from_store(e, &what))?;
    if mount.is_fresh()
        && let Some((input, source)) = from
    {
        let layers = inputs.get(*input).map(Vec::as_slice).unwrap_or_default();
        let seed = store.mount(layers, false).map_err(|e| from_store(e, &what))?;
        let from = Root::beneath(seed.files(), Path::new(source)).map_err(|e| from_store(e, &what))?;
        mount.seed(&from).map_err(|e| from_store(e, &what))?;
    }
    let fd = mount.directory().map_err(|e| from_store(e, &what))?;
    out.guards.push(Box::new(mount));
    Ok(fd)
}

/// Inputs that a step binds from a context have no layers: they are copied into one first.
pub(crate) fn is_bound(op: &Exec, index: usize) -> bool {
    op.mounts.iter().any(|mount| match &mount.kind {
        MountKind::Bind { input, .. } => *input == index,
        MountKind::Cache { from: Some((input, _)), .. } => *input == index,
        _ => false,
    })
}
