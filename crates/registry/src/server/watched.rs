//! What is read from files and read again when they change: users, certificates, keys. What cannot be read leaves the old
//! in force.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::{Error, ErrorKind, Result};

/// Files of users, keys and certificates are not longer.
const FILE_MAX: u64 = 16 * 1024 * 1024;

/// A value made from files.
pub(super) struct Watched<T> {
    files: Vec<PathBuf>,
    read: Box<dyn Fn() -> Result<T> + Send + Sync>,
    value: RwLock<Arc<T>>,
    seen: Mutex<Vec<Option<Stamp>>>,
}

/// Device, inode, length, and nanoseconds of the last change of content and of the rest.
type Stamp = (u64, u64, u64, i128, i128);

impl<T: fmt::Debug> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("files", &self.files).finish_non_exhaustive()
    }
}

impl<T> Watched<T> {
    /// Reads it for the first time: an error is the caller's.
    pub(super) fn new(files: Vec<PathBuf>, read: impl Fn() -> Result<T> + Send + Sync + 'static) -> Result<Self> {
        // Looked at before they are read: a change in between is seen the next time.
        let seen = Mutex::new(files.iter().map(|file| stamp(file)).collect());
        let value = RwLock::new(Arc::new(read()?));
        Ok(Self { files, read: Box::new(read), value, seen })
    }

    /// What no file changes.
    pub(super) fn fixed(value: T) -> Self {
        let gone = || Err(Error::new(ErrorKind::Io, "there is no file to read"));
        Self { files: Vec::new(), read: Box::new(gone), value: RwLock::new(Arc::new(value)), seen: Mutex::default() }
    }

    /// The value of now.
    pub(super) fn get(&self) -> Arc<T> {
        self.value.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads it again if a file changed, or `always`. Whether it did; an error leaves the old value in force.
    pub(super) fn refresh(&self, always: bool) -> Result<bool> {
        if self.files.is_empty() {
            return Ok(false);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps: Vec<_> = self.files.iter().map(|file| stamp(file)).collect();
        if *seen == stamps && !always {
            return Ok(false);
        }
        // A broken file is complained about once, not at every look.
        *seen = stamps;
        let value = Arc::new((self.read)()?);
        *self.value.write().unwrap_or_else(PoisonError::into_inner) = value;
        Ok(true)
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(file).ok()?;
    let nanos = |secs: i64, nanos: i64| i128::from(secs) * 1_000_000_000 + i128::from(nanos);
    let changed = nanos(found.ctime(), found.ctime_nsec());
    Some((found.dev(), found.ino(), found.len(), nanos(found.mtime(), found.mtime_nsec()), changed))
}

/// The text of a file, `what` it is for the error.
pub(super) fn read_text(what: &str, file: &Path) -> Result<String> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Io, format!("failed to read {what} `{}`", file.display())).with_source(error)
    };
    if std::fs::metadata(file).map_err(failed)?.len() > FILE_MAX {
        return Err(Error::new(ErrorKind::TooLarge, format!("{what} `{}` is longer than 16 MiB", file.display())));
    }
    std::fs::read_to_string(file).map_err(failed)
}

/// An error of parsing, with the file in front.
pub(super) fn in_file(what: &str, file: &Path, error: &Error) -> Error {
    let hint = error.hint().map(str::to_owned);
    let error = Error::new(error.kind(), format!("{what} `{}`: {error}", file.display()));
    hint.into_iter().fold(error, Error::with_hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(file: &Path) -> Result<u32> {
        read_text("the number", file)?.trim().parse().map_err(|_| Error::new(ErrorKind::Invalid, "it is no number"))
    }

    #[test]
    fn follows_its_file_and_keeps_the_last_that_was_right() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("number");
        let write = |text: &str| {
            // A new inode each time: no clock is too coarse to see it.
            std::fs::write(dir.path().join("new"), text).unwrap();
            std::fs::rename(dir.path().join("new"), &file).unwrap();
        };
        let path = file.clone();
        let watch = || {
            Watched::new(vec![path.clone()], {
                let path = path.clone();
                move || number(&path)
            })
        };
        assert!(watch().is_err(), "nothing to begin with");
        write("1");
        let watched = watch().unwrap();
        assert_eq!((watched.refresh(false).unwrap(), *watched.get()), (false, 1));
        write("2");
        assert_eq!((watched.refresh(false).unwrap(), *watched.get()), (true, 2));
        write("x");
        assert_eq!(watched.refresh(false).unwrap_err().to_string(), "it is no number");
        assert_eq!((watched.refresh(false).unwrap(), *watched.get()), (false, 2), "said once");
        assert!(watched.refresh(true).is_err());
        std::fs::remove_file(&file).unwrap();
        assert!(watched.refresh(false).unwrap_err().to_string().contains("failed to read the number"));
        assert_eq!(*watched.get(), 2);
        write("3");
        assert_eq!((watched.refresh(false).unwrap(), *watched.get()), (true, 3));
    }
}
