//! Which files a copy's sources name (Go `filepath.Match` per component, `**` for any depth).

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use cooper_llb::{CopySource, Ignore, glob_match};
use cooper_oci::{Entry, EntryKind};

use crate::files::{Files, clean, resolve};
use crate::{Error, ErrorKind, Result};

/// One file or directory that a source names.
#[derive(Clone, Debug)]
pub(crate) struct Match {
    /// Its name as matched, before links were followed: what it is called below a destination directory.
    pub(crate) name: OsString,
    /// Its path as matched, past the `/./` pivot: where it lands with `--parents`.
    pub(crate) path: PathBuf,
    /// The file itself, links followed.
    pub(crate) entry: Entry,
    /// For a directory: everything below it with its path relative to it, parents first.
    pub(crate) below: Vec<(PathBuf, Entry)>,
}

impl Match {
    pub(crate) fn is_dir(&self) -> bool {
        self.entry.kind == EntryKind::Dir
    }
}

/// Everything `source` names. A pattern may name nothing; a plain path must exist.
pub(crate) fn pick(files: &dyn Files, source: &CopySource, excludes: &Ignore) -> Result<Vec<Match>> {
    let (_, pivot) = split_pivot(&source.path);
    let path = clean(&source.path);
    let matched = match source.wildcard && has_wildcard(&path) {
        true => expand(files, &path)?,
        false => vec![path],
    };
    let mut out = Vec::new();
    for path in matched {
        let target = resolve(files, &path)?;
        let Some(entry) = root_or(files, &target)? else { return Err(missing(files, &path)) };
        let name = path.file_name().map(OsStr::to_owned).unwrap_or_default();
        if entry.kind != EntryKind::Dir && excludes.excludes(&name.to_string_lossy()) {
            continue;
        }
        let below = if entry.kind == EntryKind::Dir { below(files, &entry.path, excludes)? } else { Vec::new() };
        let path = path.strip_prefix(&pivot).map(Path::to_owned).unwrap_or(path);
        out.push(Match { name, path, entry, below });
    }
    Ok(out)
}

/// `a/./b` keeps only `b` below the destination of `--parents`.
fn split_pivot(path: &str) -> (&str, PathBuf) {
    match path.split_once("/./") {
        Some((before, after)) => (after, clean(before)),
        None => (path, PathBuf::new()),
    }
}

fn has_wildcard(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '[', '\\'])
}

/// The root of a tree is a directory although no entry names it.
fn root_or(files: &dyn Files, path: &Path) -> Result<Option<Entry>> {
    if !path.as_os_str().is_empty() {
        return files.lookup(path);
    }
    let root = Entry {
        path: PathBuf::new(),
        kind: EntryKind::Dir,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Default::default(),
        xattrs: Default::default(),
    };
    Ok(Some(files.lookup(path)?.unwrap_or(root)))
}

fn missing(files: &dyn Files, path: &Path) -> Error {
    let mut error = Error::new(ErrorKind::User, format!("`{}` not found in {}", files.shown(path), files.called()));
    error.hints = files.explain_missing(path);
    error
}

/// All entries below a directory, parents first, siblings by name; excluded ones left out.
fn below(files: &dyn Files, dir: &Path, excludes: &Ignore) -> Result<Vec<(PathBuf, Entry)>> {
    files.read_ahead(dir)?;
    let mut out = Vec::new();
    let mut todo = VecDeque::from([(dir.to_owned(), PathBuf::new())]);
    while let Some((dir, relative)) = todo.pop_front() {
        for entry in files.children(&dir)? {
            let relative = relative.join(entry.path.file_name().unwrap_or_default());
            let excluded = excludes.excludes(&relative.to_string_lossy());
            if entry.kind == EntryKind::Dir && (!excluded || excludes.may_include_below(&relative.to_string_lossy())) {
                todo.push_back((entry.path.clone(), relative.clone()));
            }
            if !excluded {
                out.push((relative, entry));
            }
        }
    }
    out.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(out)
}

/// Paths that match a pattern, component by component, in order.
fn expand(files: &dyn Files, pattern: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.iter() {
        let mut next = Vec::new();
        for dir in &found {
            expand_part(files, dir, part, &mut next)?;
        }
        next.dedup();
        found = next;
    }
    Ok(found)
}

fn expand_part(files: &dyn Files, dir: &Path, part: &OsStr, out: &mut Vec<PathBuf>) -> Result<()> {
    let text = part.to_string_lossy();
    if !has_wildcard(Path::new(part)) {
        let path = dir.join(part);
        out.extend(files.lookup(&resolve(files, &path)?)?.map(|_| path));
        return Ok(());
    }
    if text == "**" {
        out.push(dir.to_owned());
    }
    for entry in files.children(&resolve(files, dir)?)? {
        let name = entry.path.file_name().unwrap_or_default();
        let path = dir.join(name);
        if text == "**" {
            if entry.kind == EntryKind::Dir {
                expand_part(files, &path, part, out)?;
            }
            continue;
        }
        let bad = |e: cooper_llb::PatternError| Error::new(ErrorKind::User, e.to_string());
        if glob_match(&text, &name.to_string_lossy()).map_err(bad)? {
            out.push(path);
        }
    }
    Ok(())
}
