//! A directory of .debs as a source of packages: each says itself what it is, and is put into the cache.
//!
//! Nobody signs for them: who names the directory does. Knows nothing of archives.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cooper_oci::{Algorithm, Descriptor, Hasher, MediaType, body_from_reader};

use crate::control::single;
use crate::fetch::Cache;
use crate::index::{Package, parse_control};
use crate::lock::DEB_MEDIA_TYPE;
use crate::{Error, ErrorKind, Result, deb};

/// .debs of all directories.
const PACKAGES_MAX: usize = 100_000;

/// The packages of some directories, sorted by file name; they are in the cache afterwards.
pub(crate) async fn packages(dirs: &[PathBuf], cache: &dyn Cache) -> Result<Vec<Package>> {
    let mut out = Vec::new();
    for path in paths(dirs)? {
        let package = read(&path)?;
        let descriptor = Descriptor::new(MediaType::from(DEB_MEDIA_TYPE), package.digest.clone(), package.size);
        if !cache.has(&descriptor).await? {
            let file = fs::File::open(&path).map_err(|e| Error::at("open", &path, e))?;
            cache.put(&descriptor, body_from_reader(file)).await?;
        }
        out.push(package);
    }
    Ok(out)
}

fn paths(dirs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for dir in dirs {
        for entry in fs::read_dir(dir).map_err(|e| Error::at("read the directory", dir, e))? {
            let path = entry.map_err(|e| Error::at("read the directory", dir, e))?.path();
            if path.extension().is_some_and(|extension| extension == "deb") && path.is_file() {
                out.push(path);
            }
        }
    }
    if out.len() > PACKAGES_MAX {
        return Err(Error::new(ErrorKind::TooLarge, format!("there are more than {PACKAGES_MAX} .debs")));
    }
    out.sort();
    Ok(out)
}

fn read(path: &Path) -> Result<Package> {
    let named = |error: Error| Error::new(error.kind(), format!("{}: {error}", path.display())).with_source(error);
    let filename = path.file_name().and_then(|name| name.to_str());
    let filename =
        filename.ok_or_else(|| Error::new(ErrorKind::Invalid, format!("{} is not UTF-8", path.display())))?;
    let file = fs::File::open(path).map_err(|e| Error::at("open", path, e))?;
    let mut summed = Summed { inner: io::BufReader::new(file), hasher: Hasher::new(Algorithm::Sha256) };
    let control = deb::read_deb(&mut summed, &mut |_, _| Ok(())).map_err(named)?;
    io::copy(&mut summed, &mut io::sink()).map_err(|e| Error::at("read", path, e))?;
    let text = control.text("control").unwrap_or_default();
    let package = parse_control(&single(text, filename)?, filename)?;
    let size = summed.hasher.size();
    Ok(Package { filename: filename.to_owned(), size, digest: summed.hasher.finish(), ..package })
}

/// Sums what is read through it.
struct Summed<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
