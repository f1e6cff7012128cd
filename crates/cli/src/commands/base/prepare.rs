//! From a word of the command line to a base image's request: the declared file, its lock, its packages in the store.
//!
//! Knows nothing of how images are made.

use std::path::{Path, PathBuf};

use cooper_base::{Given, Lock, Manifest, Origin};
use cooper_engine::BaseRequest;
use cooper_oci::Compression;
use cooper_store::Store;

use crate::error::{CommandError, CommandResult};
use crate::surroundings::Surroundings;

/// Largest file of this machine that a declared file may name: it is held in memory.
const GIVEN_MAX: u64 = 64 << 20;

/// How lock and packages are had.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prepare {
    /// `--locked`.
    pub(crate) locked: bool,
    /// `--lock-file`.
    pub(crate) lock_file: Option<PathBuf>,
    /// `--deb-dir`.
    pub(crate) deb_dirs: Vec<PathBuf>,
}

/// A base image that can be built.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// What is to be built.
    pub(crate) request: BaseRequest,
    /// Holds its packages in the store until the build ends.
    pub(crate) packages: Store,
}

/// Reads the declared file, locks it if need be, and brings its packages into the store.
pub(crate) async fn prepare(at: &Surroundings, what: &str, how: &Prepare) -> CommandResult<Prepared> {
    let origin = Origin::of(what, Path::new(""))?;
    let manifest = Manifest::load(&origin)?;
    let lock_path = match &how.lock_file {
        Some(path) => path.clone(),
        None => lock_path(at, &origin)?,
    };
    let lock = super::lock::read_or_make(at, &manifest, &lock_path, how).await?;
    lock.expect_fresh(&manifest)?;
    let packages = super::packages::fetch(at, &manifest, &lock, how).await?;
    let tags =
        manifest.tags.iter().map(|text| crate::commands::build::image_name(text)).collect::<CommandResult<_>>()?;
    let request = BaseRequest {
        name: name(&origin),
        given: given(&manifest)?,
        manifest,
        lock,
        platforms: Vec::new(),
        tags,
        compression: Compression::GZIP,
        epoch: epoch(at)?,
    };
    Ok(Prepared { request, packages })
}

/// What people call it.
fn name(origin: &Origin) -> String {
    match origin {
        Origin::Preset(name) => (*name).to_owned(),
        Origin::File(path) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

/// Beside the declared file; that of a preset is the user's own.
pub(crate) fn lock_path(at: &Surroundings, origin: &Origin) -> CommandResult<PathBuf> {
    match origin {
        Origin::File(path) => Ok(Lock::path_for(path)),
        Origin::Preset(name) => {
            let dir = at.environment.state_dir().ok_or_else(|| {
                CommandError::failure(format!("no place for the lock file of the preset `{name}`: HOME is not set"))
                    .with_hint("name one with `--lock-file FILE`")
            })?;
            Ok(dir.join("base").join(format!("{name}.lock")))
        }
    }
}

/// The files of this machine that the declared file names.
fn given(manifest: &Manifest) -> CommandResult<Given> {
    let sources = manifest.files.iter().filter_map(|file| file.source.as_ref());
    let certificates = manifest.certificates.iter().flat_map(|certificates| &certificates.add);
    let mut given = Given::default();
    for path in sources.chain(certificates) {
        given.files.insert(path.clone(), read(path)?);
    }
    Ok(given)
}

fn read(path: &Path) -> CommandResult<Vec<u8>> {
    use std::io::Read;
    let told = |e: std::io::Error| CommandError::failure(format!("cannot read `{}`", path.display())).with_source(e);
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(GIVEN_MAX + 1).read_to_end(&mut bytes)).map_err(told)?;
    match bytes.len() as u64 > GIVEN_MAX {
        true => Err(CommandError::failure(format!("`{}` has more than {GIVEN_MAX} bytes", path.display()))),
        false => Ok(bytes),
    }
}

fn epoch(at: &Surroundings) -> CommandResult<Option<i64>> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let Some(text) = at.environment.get(NAME).filter(|text| !text.is_empty()) else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|_| CommandError::usage(format!("{NAME}=`{text}` is not a number of seconds since 1970")))
}
