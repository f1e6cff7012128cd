//! `cooper base lock`: the packages of a declared file, chosen and written down.
//!
//! Knows nothing of how they are chosen.

use std::path::{Path, PathBuf};

use clap::Args;
use cooper_base::{ErrorKind, Lock, LockRequest, Manifest, Origin};
use cooper_oci::Platform;

use super::apt;
use super::packages::Shown;
use super::prepare::{Prepare, lock_path};
use crate::error::{CommandError, CommandResult};
use crate::surroundings::Surroundings;
use crate::{human, open, output};

/// Choose the packages of a base image and write the lock file
#[derive(Args, Clone, Debug)]
pub(crate) struct LockArgs {
    /// A preset (`cooper base list`) or a declared file
    #[arg(value_name = "FILE|PRESET", default_value = "./base.yaml")]
    pub(crate) what: String,

    /// The lock file [default: beside the declared file]
    #[arg(long, value_name = "FILE")]
    pub(crate) lock_file: Option<PathBuf>,

    /// Directory of .deb files that are offered too; may be repeated
    #[arg(long = "deb-dir", value_name = "DIR")]
    pub(crate) deb_dirs: Vec<PathBuf>,
}

/// Locks.
pub(crate) async fn run(args: &LockArgs, at: &Surroundings) -> CommandResult {
    let origin = Origin::of(&args.what, Path::new(""))?;
    let manifest = Manifest::load(&origin)?;
    let path = match &args.lock_file {
        Some(path) => path.clone(),
        None => lock_path(at, &origin)?,
    };
    let how = Prepare { deb_dirs: args.deb_dirs.clone(), ..Prepare::default() };
    let old = read(&path)?;
    let lock = make(at, &manifest, old.as_ref(), false, &how).await?;
    write(&lock, &path)
}

/// The lock file as it is; made first when there is none.
pub(crate) async fn read_or_make(
    at: &Surroundings,
    manifest: &Manifest,
    path: &Path,
    how: &Prepare,
) -> CommandResult<Lock> {
    if let Some(lock) = read(path)? {
        return Ok(lock);
    }
    if how.locked {
        return Err(CommandError::failure(format!("there is no lock file {}", path.display()))
            .with_hint("make it with `cooper base lock`"));
    }
    output::note(&format!("there is no lock file {}: it is made first", path.display()));
    let lock = make(at, manifest, None, false, how).await?;
    write(&lock, path)?;
    Ok(lock)
}

/// A lock file; `None` when there is none.
pub(crate) fn read(path: &Path) -> CommandResult<Option<Lock>> {
    match Lock::read(path) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes a lock of what the archives have at present.
pub(crate) async fn make(
    at: &Surroundings,
    manifest: &Manifest,
    old: Option<&Lock>,
    security_only: bool,
    how: &Prepare,
) -> CommandResult<Lock> {
    let archives = apt::archives(at, manifest, !how.deb_dirs.is_empty())?;
    let architectures = match manifest.architectures.as_slice() {
        [] => vec![host_architecture()?],
        declared => declared.to_vec(),
    };
    let request = LockRequest {
        archives: &archives,
        deb_dirs: &how.deb_dirs,
        architectures: &architectures,
        old,
        now: human::now(),
        security_only,
    };
    let net = open::net(at, apt::routes(at, manifest)?.proxies).await?;
    let store = open::store(at)?;
    let shown = Shown::default();
    let outcome = cooper_base::lock(manifest, &request, &net, &store, &|event| shown.show(event)).await;
    shown.end();
    Ok(outcome?)
}

fn host_architecture() -> CommandResult<String> {
    let host = Platform::host();
    cooper_base::architecture_of(&host).map(str::to_owned).ok_or_else(|| {
        CommandError::failure(format!("Debian has no architecture for {host}"))
            .with_hint("name those of the image in the file: `architectures: [amd64]`")
    })
}

/// Writes a lock file and says what is in it.
pub(crate) fn write(lock: &Lock, path: &Path) -> CommandResult {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir)
            .map_err(|e| CommandError::failure(format!("cannot make {}", dir.display())).with_source(e))?;
    }
    lock.write(path)?;
    let counts = lock.packages.iter().map(|(architecture, packages)| {
        let bytes = packages.iter().map(|package| package.size).sum();
        format!("{} for {architecture} ({})", human::counted(packages.len(), "package"), human::size(bytes))
    });
    output::note(&format!("locked {} in {}", counts.collect::<Vec<_>>().join(", "), path.display()));
    Ok(())
}
