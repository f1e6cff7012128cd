//! Whiteouts (image-spec, layer.md, "Whiteouts"): `.wh.` names that remove what a layer below holds.
//!
//! Knows only names; it never looks at a tree.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::invalid;
use crate::Result;

/// What a whiteout's file name starts with.
pub const WHITEOUT_PREFIX: &str = ".wh.";

/// The file name that makes its directory opaque.
pub const OPAQUE_NAME: &str = ".wh..wh..opq";

/// What a whiteout asks for. Paths are clean and relative, as in [`crate::Entry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whiteout {
    /// The path of the layers below is gone.
    Remove(PathBuf),
    /// Nothing of this directory shows through from the layers below.
    Opaque(PathBuf),
}

/// The name of the entry that removes `path`; `path` is not the root.
pub fn whiteout_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(WHITEOUT_PREFIX);
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

/// The name of the entry that makes `directory` opaque.
pub fn opaque_name(directory: &Path) -> PathBuf {
    directory.join(OPAQUE_NAME)
}

/// Reads a clean entry path as a whiteout; `None` for an ordinary name. A whiteout that names nothing (`.wh.`), a dot
/// name (`.wh..`, `.wh...`) or that lies below a whiteout is an error. Old aufs bookkeeping (`.wh..wh.plnk`) reads as the
/// removal of a name that no layer can hold.
pub fn parse_whiteout(path: &Path) -> Result<Option<Whiteout>> {
    let bad = || invalid(format!("`{}` is not a valid whiteout", path.display()));
    let parent = path.parent().unwrap_or(Path::new(""));
    if parent.components().any(|part| matches!(part, Component::Normal(name) if hidden(name).is_some())) {
        return Err(bad());
    }
    let Some(name) = path.file_name() else { return Ok(None) };
    match hidden(name) {
        None => Ok(None),
        Some(b"" | b"." | b"..") => Err(bad()),
        Some(_) if name == OPAQUE_NAME => Ok(Some(Whiteout::Opaque(parent.to_owned()))),
        Some(target) => Ok(Some(Whiteout::Remove(parent.join(OsStr::from_bytes(target))))),
    }
}

fn hidden(name: &OsStr) -> Option<&[u8]> {
    name.as_bytes().strip_prefix(WHITEOUT_PREFIX.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for path in ["a", "a/b", "a/.b", "a/..b"] {
            let parsed = parse_whiteout(&whiteout_name(Path::new(path))).unwrap();
            assert_eq!(parsed, Some(Whiteout::Remove(path.into())));
        }
        for path in ["", "a", "a/b"] {
            let parsed = parse_whiteout(&opaque_name(Path::new(path))).unwrap();
            assert_eq!(parsed, Some(Whiteout::Opaque(path.into())));
        }
    }

    #[test]
    fn odd_names() {
        for (path, ok) in [
            ("", true),
            ("wh.a", true),
            ("a.wh.b", true),
            (".wh..wh.plnk", true),
            (".wh.", false),
            ("a/.wh..", false),
            ("a/.wh...", false),
            (".wh.a/b", false),
            (".wh..wh..opq/b", false),
        ] {
            assert_eq!(parse_whiteout(Path::new(path)).is_ok(), ok, "{path}");
        }
    }
}
