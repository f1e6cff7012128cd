//! The filesystem itself, without image around it: a tar or a directory.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use cooper_oci::{Entry, EntryKind, TarWriter};
use cooper_store::Root;

use crate::error::{from_oci, from_store};
use crate::files::Files;
use crate::{Error, ErrorKind, Result};

/// Writes all files as a tar, sorted.
pub(crate) fn write_tar(files: &dyn Files, dest: Option<&Path>) -> Result<()> {
    let name = dest.map_or("standard output".into(), |dest| dest.display().to_string());
    let io = |e: std::io::Error| Error::new(ErrorKind::User, format!("cannot write `{name}`")).with_source(e);
    let out: Box<dyn Write> = match dest {
        Some(dest) => Box::new(File::create(dest).map_err(io)?),
        None => Box::new(std::io::stdout()),
    };
    let what = format!("cannot write `{name}`");
    let mut tar = TarWriter::new(BufWriter::new(out));
    walk(files, Path::new(""), &mut |entry| {
        let mut data = open(files, entry)?;
        tar.append(entry, &mut data).map_err(|e| from_oci(e, &what))
    })?;
    tar.finish().map_err(|e| from_oci(e, &what))?.flush().map_err(io)
}

/// Writes all files into a directory. What is there already stays, unless a file of the same name comes.
/// Everything belongs to the caller, as with BuildKit; paths cannot lead out of the directory.
pub(crate) fn write_directory(files: &dyn Files, dest: &Path) -> Result<()> {
    let what = format!("cannot write to `{}`", dest.display());
    std::fs::create_dir_all(dest).map_err(|e| Error::new(ErrorKind::User, what.clone()).with_source(e))?;
    let root = Root::open(dest).map_err(|e| from_store(e, &what))?;
    let mut dirs = Vec::new();
    walk(files, Path::new(""), &mut |entry| {
        let mut data = open(files, entry)?;
        root.place(entry, &mut data).map_err(|e| from_store(e, &format!("{what}: `{}`", entry.path.display())))?;
        if entry.kind == EntryKind::Dir {
            dirs.push(entry.clone());
        }
        Ok(())
    })?;
    // Times of directories last: every file made in one changes it.
    for dir in dirs.iter().rev() {
        root.set_times(&dir.path, dir.mtime).map_err(|e| from_store(e, &what))?;
    }
    Ok(())
}

fn open(files: &dyn Files, entry: &Entry) -> Result<Box<dyn std::io::Read + Send>> {
    match entry.kind {
        EntryKind::File { .. } => files.open(entry),
        _ => Ok(Box::new(std::io::empty())),
    }
}

fn walk(files: &dyn Files, dir: &Path, take: &mut dyn FnMut(&Entry) -> Result<()>) -> Result<()> {
    // Own stack: the depth of a tree that comes from an image must not become that of ours.
    let mut todo: Vec<Entry> = files.children(dir)?;
    todo.reverse();
    while let Some(entry) = todo.pop() {
        take(&entry)?;
        if entry.kind == EntryKind::Dir {
            let mut children = files.children(&entry.path)?;
            children.reverse();
            todo.extend(children);
        }
    }
    Ok(())
}
