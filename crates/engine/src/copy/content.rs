//! The content key of a selection: names, types, modes, owners, links and data, never times.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cooper_llb::Paths;
use cooper_oci::{Entry, EntryKind};
use cooper_solver::{Key, KeyHasher};

use super::{Match, ignore, pick};
use crate::Result;
use crate::files::Files;

/// Key of everything that `paths` select from `files`.
pub(crate) fn content_key(files: &dyn Files, paths: &Paths) -> Result<Key> {
    let matches = pick_all(files, paths)?;
    let mut hasher = KeyHasher::new("selection");
    for found in &matches {
        hasher.part(found.path.as_os_str().as_bytes());
        add(&mut hasher, files, Path::new(""), &found.entry, paths)?;
        for (relative, entry) in &found.below {
            add(&mut hasher, files, relative, entry, paths)?;
        }
    }
    Ok(hasher.key())
}

/// The same as lines for a person and for `explain`: `mode owner digest path`, one a file.
pub(crate) fn content_lines(files: &dyn Files, paths: &Paths) -> Result<String> {
    let mut out = String::new();
    for found in pick_all(files, paths)? {
        for entry in std::iter::once(&found.entry).chain(found.below.iter().map(|(_, entry)| entry)) {
            let content = describe(files, entry)?;
            let _ = writeln!(out, "{:04o} {}:{} {content} {}", entry.mode, entry.uid, entry.gid, entry.path.display());
        }
    }
    Ok(out)
}

fn pick_all(files: &dyn Files, paths: &Paths) -> Result<Vec<Match>> {
    let excludes = ignore(&paths.excludes)?;
    let mut matches = Vec::new();
    for source in &paths.sources {
        matches.extend(pick(files, source, &excludes)?);
    }
    let entries = |found| {
        let Match { entry, below, .. }: &Match = found;
        std::iter::once(entry).chain(below.iter().map(|(_, entry)| entry))
    };
    files.prepare(&matches.iter().flat_map(entries).collect::<Vec<_>>())?;
    Ok(matches)
}

fn describe(files: &dyn Files, entry: &Entry) -> Result<String> {
    Ok(match &entry.kind {
        EntryKind::File { .. } => blake3::Hash::from_bytes(files.digest(entry)?).to_hex()[..16].to_owned(),
        EntryKind::Dir => "dir".into(),
        EntryKind::Symlink { target } => format!("link:{}", target.display()),
        other => format!("{other:?}").to_lowercase(),
    })
}

fn add(hasher: &mut KeyHasher, files: &dyn Files, relative: &Path, entry: &Entry, paths: &Paths) -> Result<()> {
    hasher.part(relative.as_os_str().as_bytes());
    let mode = if paths.ignore_mode { 0 } else { entry.mode };
    let (uid, gid) = if paths.ignore_owner { (0, 0) } else { (entry.uid, entry.gid) };
    hasher.part(&[mode.to_le_bytes(), uid.to_le_bytes(), gid.to_le_bytes()].concat());
    match &entry.kind {
        EntryKind::File { .. } => hasher.part(b"file").part(&files.digest(entry)?),
        EntryKind::Dir => hasher.part(b"dir"),
        EntryKind::Symlink { target } => hasher.part(b"link").part(target.as_os_str().as_bytes()),
        other => hasher.part(format!("{other:?}").as_bytes()),
    };
    // The one attribute that changes what a file can do; the others are kept by a copy but are no reason to repeat it.
    if let Some(capability) = entry.xattrs.get(b"security.capability".as_slice()) {
        hasher.part(b"capability").part(capability);
    }
    Ok(())
}
