//! Names of tar entries made clean: relative, without `.` and `..`.
//!
//! Works on text only; what a name resolves to on a disk is not known here.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::{PATH_LIMIT, invalid, too_large};
use crate::Result;

/// The clean relative path of `name`. Absolute names lose their slash, as in every unpacker; `..` is an error.
pub(super) fn clean(name: &[u8]) -> Result<PathBuf> {
    let shown = || String::from_utf8_lossy(&name[..name.len().min(200)]).into_owned();
    if name.len() > PATH_LIMIT {
        return Err(too_large(format!("the path `{}…` is longer than {PATH_LIMIT} bytes", shown())));
    }
    if name.contains(&0) {
        return Err(invalid(format!("the path `{}` contains a NUL", shown())));
    }
    let mut path = PathBuf::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(invalid(format!("the path `{}` leaves its directory", shown()))),
            part => path.push(OsStr::from_bytes(part)),
        }
    }
    Ok(path)
}

/// The target of a symbolic link: any text that a link can hold.
pub(super) fn link_target(target: &[u8]) -> Result<PathBuf> {
    if target.len() > PATH_LIMIT {
        return Err(too_large(format!("a link target is longer than {PATH_LIMIT} bytes")));
    }
    if target.is_empty() || target.contains(&0) {
        return Err(invalid("a link target is empty or contains a NUL"));
    }
    Ok(PathBuf::from(OsStr::from_bytes(target)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans() {
        for (name, expect) in [
            ("a/b", Some("a/b")),
            ("./a//b/", Some("a/b")),
            ("/etc/passwd", Some("etc/passwd")),
            ("", Some("")),
            ("./", Some("")),
            ("/", Some("")),
            ("..", None),
            ("a/../b", None),
            ("a/..", None),
            ("...", Some("...")),
            ("a\0b", None),
        ] {
            assert_eq!(clean(name.as_bytes()).ok(), expect.map(PathBuf::from), "{name}");
        }
        assert!(clean(&[b'a'; 5000]).is_err());
    }
}
