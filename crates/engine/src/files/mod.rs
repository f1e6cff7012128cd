//! A tree of files that a step reads from: a directory of the caller, or the layers of a stage.
//!
//! Knows nothing of what is done with the files.

mod layers;
mod local;

pub(crate) use layers::LayerFiles;
pub(crate) use local::LocalFiles;

use std::fmt::Debug;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use cooper_oci::{Entry, EntryKind};

use crate::{Error, ErrorKind, Result};

/// Links followed on the way to one path, as the kernel allows.
const LINKS_MAX: usize = 40;

/// A tree of files. Paths are relative to its root, clean, without `..`.
pub(crate) trait Files: Debug + Send + Sync {
    /// The entry at a path whose parents are not links; a link is returned as such.
    fn lookup(&self, path: &Path) -> Result<Option<Entry>>;

    /// The entries of a directory, sorted by name.
    fn children(&self, dir: &Path) -> Result<Vec<Entry>>;

    /// Content digest of a regular file.
    fn digest(&self, entry: &Entry) -> Result<[u8; 32]>;

    /// Opens a regular file.
    fn open(&self, entry: &Entry) -> Result<Box<dyn Read + Send>>;

    /// Fails if a file was written to since the tree was first looked at, as far as its times tell.
    fn unchanged(&self, _entry: &Entry) -> Result<()> {
        Ok(())
    }

    /// What to say of a file whose bytes are not those of its digest.
    fn differs(&self, entry: &Entry) -> Error;

    /// Digests many files at once, so that later calls of [`Files::digest`] are look-ups.
    fn prepare(&self, _entries: &[&Entry]) -> Result<()> {
        Ok(())
    }

    /// Everything below `dir` will be asked for.
    fn read_ahead(&self, _dir: &Path) -> Result<()> {
        Ok(())
    }

    /// What the tree is called in a message: `the build context`.
    fn called(&self) -> String;

    /// A path as messages show it.
    fn shown(&self, path: &Path) -> String {
        format!("/{}", path.display())
    }

    /// What hides or nearly matches a path that was not found, as hints.
    fn explain_missing(&self, _path: &Path) -> Vec<String> {
        Vec::new()
    }
}

/// Follows every link of `path`, the last one too, without leaving the root. Components that do not exist are kept as
/// they are, so the result is where a file of that name would be.
pub(crate) fn resolve(files: &dyn Files, path: &Path) -> Result<PathBuf> {
    let mut todo: Vec<PathBuf> = components(path);
    let (mut out, mut links) = (PathBuf::new(), 0);
    while let Some(part) = todo.pop() {
        if part.as_os_str() == ".." {
            out.pop();
            continue;
        }
        let next = out.join(&part);
        let Some(Entry { kind: EntryKind::Symlink { target }, .. }) = files.lookup(&next)? else {
            out = next;
            continue;
        };
        links += 1;
        if links > LINKS_MAX {
            return Err(Error::new(ErrorKind::User, format!("too many links on the way to `{}`", path.display())));
        }
        if target.is_absolute() {
            out = PathBuf::new();
        }
        todo.extend(components(&target));
    }
    Ok(out)
}

/// Components in reverse order, root and `.` dropped, `..` kept.
fn components(path: &Path) -> Vec<PathBuf> {
    let keep = |part: Component<'_>| match part {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        _ => None,
    };
    let mut parts: Vec<_> = path.components().filter_map(keep).collect();
    parts.reverse();
    parts
}

/// The clean relative form of a path as written: `..` cannot leave the root.
pub(crate) fn clean(path: &str) -> PathBuf {
    let mut out = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_stays_below_the_root() {
        for (text, expect) in [("", ""), ("/", ""), (".", ""), ("../a", "a"), ("/a/../../b/./c/", "b/c")] {
            assert_eq!(clean(text), Path::new(expect), "{text}");
        }
    }
}
