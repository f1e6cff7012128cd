//! The filesystem itself, without image around it: a tar or a directory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_oci::{Entry, EntryKind, Mtime, Platform, TarWriter};
use cooper_store::root::{FileKind, Root, attributes};

use crate::error::{from_oci, from_store};
use crate::files::Files;
use crate::{Error, ErrorKind, Result};

/// The files of one platform.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) platform: Platform,
    /// They go into a directory named after the platform.
    pub(super) split: bool,
    pub(super) files: Arc<dyn Files>,
}

impl Part {
    /// `linux/arm/v7` is `linux_arm_v7`, as with BuildKit.
    fn directory(&self) -> Option<PathBuf> {
        self.split.then(|| self.platform.to_string().replace('/', "_").into())
    }

    /// Every entry under the path it is written to, parents first.
    fn walk(&self, take: &mut dyn FnMut(&Entry, &Entry) -> Result<()>) -> Result<()> {
        let Some(dir) = self.directory() else {
            return walk(&*self.files, Path::new(""), &mut |entry| take(entry, entry));
        };
        let mtime = Mtime::default();
        let own = Entry {
            path: dir.clone(),
            kind: EntryKind::Dir,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime,
            xattrs: Default::default(),
        };
        take(&own, &own)?;
        walk(&*self.files, Path::new(""), &mut |entry| {
            let mut below = entry.clone();
            below.path = dir.join(&entry.path);
            if let EntryKind::Hardlink { target } = &mut below.kind {
                *target = dir.join(&*target);
            }
            take(&below, entry)
        })
    }
}

/// Goes through the parts; without a directory each, no two may have the same file.
fn each(parts: &[Part], take: &mut dyn FnMut(&Part, &Entry, &Entry) -> Result<()>) -> Result<()> {
    let mut seen: HashMap<PathBuf, &Platform> = HashMap::new();
    for part in parts {
        part.walk(&mut |to, entry| {
            if parts.len() > 1 && !part.split {
                match seen.get(&to.path) {
                    // A directory of both is one.
                    Some(_) if to.kind == EntryKind::Dir => return Ok(()),
                    Some(first) => return Err(clash(to, first, &part.platform)),
                    None => drop(seen.insert(to.path.clone(), &part.platform)),
                }
            }
            take(part, to, entry)
        })?;
    }
    Ok(())
}

fn clash(entry: &Entry, first: &Platform, second: &Platform) -> Error {
    let what = format!("`{}` is there for {first} and for {second}", entry.path.display());
    Error::new(ErrorKind::User, what).with_hint("leave out platform-split=false: each platform then gets a directory")
}

/// Writes all files as a tar, sorted.
pub(super) fn write_tar(parts: &[Part], dest: Option<&Path>) -> Result<()> {
    let name = dest.map_or("standard output".into(), |dest| dest.display().to_string());
    let io = |e: std::io::Error| Error::new(ErrorKind::User, format!("cannot write `{name}`")).with_source(e);
    let out: Box<dyn Write> = match dest {
        Some(dest) => Box::new(File::create(dest).map_err(io)?),
        None => Box::new(std::io::stdout()),
    };
    let what = format!("cannot write `{name}`");
    let mut tar = TarWriter::new(BufWriter::new(out));
    each(parts, &mut |part, to, entry| {
        let mut data = open(&*part.files, entry)?;
        tar.append(to, &mut data).map_err(|e| from_oci(e, &what))
    })?;
    tar.finish().map_err(|e| from_oci(e, &what))?.flush().map_err(io)
}

/// Writes all files into a directory. What is there already stays, unless a file of the same name comes.
/// Everything belongs to the caller, as with BuildKit; paths cannot lead out of the directory.
pub(super) fn write_directory(parts: &[Part], dest: &Path) -> Result<()> {
    let what = format!("cannot write to `{}`", dest.display());
    std::fs::create_dir_all(dest).map_err(|e| Error::new(ErrorKind::User, what.clone()).with_source(e))?;
    let root = Root::open(dest).map_err(|e| from_store(e, &what))?;
    let mut dirs = Vec::new();
    each(parts, &mut |part, to, entry| {
        place(&root, to, &mut *open(&*part.files, entry)?)
            .map_err(|e| Error { what: format!("{what}: `{}`: {}", to.path.display(), e.what), ..e })?;
        if to.kind == EntryKind::Dir {
            dirs.push(to.clone());
        }
        Ok(())
    })?;
    // Times of directories last: every file made in one changes it.
    for dir in dirs.iter().rev() {
        set_times(&root, dir)?;
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

/// Makes one entry below `root`, replacing a file of that name.
pub(crate) fn place(root: &Root, entry: &Entry, data: &mut dyn Read) -> Result<()> {
    let told = |e| from_store(e, "cannot make it");
    let path = &entry.path;
    if !matches!(entry.kind, EntryKind::Dir) && root.lstat(path).is_ok() {
        root.remove_all(path).map_err(told)?;
    }
    match &entry.kind {
        EntryKind::Dir => root.mkdir_all(path, 0o755, None).map(drop).map_err(told)?,
        EntryKind::Symlink { target } => root.symlink(target, path).map_err(told)?,
        EntryKind::Hardlink { target } => root.hardlink(target, path).map_err(told)?,
        EntryKind::File { .. } => {
            let mut file = root.create_file(path, 0o600).map_err(told)?;
            std::io::copy(data, &mut file).map_err(|e| Error::new(ErrorKind::Io, "cannot write it").with_source(e))?;
        }
        EntryKind::Fifo => root.mknod(path, FileKind::Fifo, 0o600, (0, 0)).map_err(told)?,
        // Devices need rights that the directory of a user should not depend on; BuildKit leaves them out too.
        EntryKind::Char { .. } | EntryKind::Block { .. } => return Ok(()),
    }
    if !matches!(entry.kind, EntryKind::Symlink { .. } | EntryKind::Hardlink { .. }) {
        let fd = root.open_path(path).map_err(told)?;
        let io = |e: rustix::io::Errno| {
            Error::new(ErrorKind::Io, "cannot set its mode").with_source(std::io::Error::from(e))
        };
        attributes::set_mode(fd.as_fd(), entry.mode).map_err(io)?;
    }
    set_times(root, entry)
}

fn set_times(root: &Root, entry: &Entry) -> Result<()> {
    let fd = root.open_link(&entry.path).map_err(|e| from_store(e, "cannot open it"))?;
    let io =
        |e: rustix::io::Errno| Error::new(ErrorKind::Io, "cannot set its time").with_source(std::io::Error::from(e));
    attributes::set_mtime(fd.as_fd(), entry.mtime).map_err(io)
}
