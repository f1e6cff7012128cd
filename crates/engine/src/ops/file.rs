//! COPY, ADD, here-document files and WORKDIR: one layer, written in one pass.

use std::collections::BTreeMap;
use std::sync::Arc;

use cooper_llb::{FileAction, FileOp, Paths};
use cooper_oci::{Compression, Entry, EntryKind, Mtime};
use cooper_store::{LayerId, Store};

use crate::copy::{CopySpec, Data, Draft, Made, Placer, each_read_ahead, ignore, owner, pick};
use crate::error::from_store;
use crate::files::{Files, clean, resolve};
use crate::{Error, ErrorKind, Result};

/// Where a file operation reads and writes.
#[derive(Debug)]
pub(crate) struct FileWork<'a> {
    pub(crate) store: &'a Store,
    /// What the new layer will lie on.
    pub(crate) base: Arc<dyn Files>,
    /// The vertex's inputs, by index; 0 is the base.
    pub(crate) inputs: Vec<Arc<dyn Files>>,
    pub(crate) compression: Compression,
    /// Seconds since 1970, for what has no time of its own.
    pub(crate) now: i64,
}

/// Carries out `op`; returns the new layer.
pub(crate) fn file(op: &FileOp, work: &FileWork<'_>) -> Result<LayerId> {
    let at = |secs| Mtime { secs, nanos: 0 };
    let mut draft = Draft::new(work.base.clone(), op.clamp.map(at), at(work.now));
    for action in &op.actions {
        act(action, work, &mut draft)?;
    }
    write(draft, work.store, work.compression)
}

fn act(action: &FileAction, work: &FileWork<'_>, draft: &mut Draft) -> Result<()> {
    match action {
        FileAction::Copy { input, sources, dest, chown, chmod, excludes, unpack, parents, link: _ } => {
            let files = work.inputs.get(*input).cloned();
            let files =
                files.ok_or_else(|| Error::new(ErrorKind::Io, "a copy names an input that it does not have"))?;
            let owner = chown.as_ref().map(|chown| owner(draft, chown)).transpose()?;
            let excludes = ignore(excludes)?;
            let (chmod, unpack, parents) = (chmod.as_ref(), *unpack, *parents);
            let spec = CopySpec { files, sources, dest, owner, chmod, excludes, unpack, parents };
            let spool = || scratch_file(work.store);
            Placer { draft, spool: &spool }.copy(&spec)
        }
        FileAction::MakeFile { path, name, data, mode, chown } => {
            let owner = chown.as_ref().map(|chown| owner(draft, chown)).transpose()?.unwrap_or_default();
            let mut path = resolve(draft, &clean(path))?;
            let into_dir =
                path.as_os_str().is_empty() || draft.lookup(&path)?.is_some_and(|entry| entry.kind == EntryKind::Dir);
            if let Some(name) = name.as_ref().filter(|_| into_dir) {
                path = path.join(name);
            }
            let kind = EntryKind::File { size: data.len() as u64 };
            let mtime = draft.time(Mtime { secs: work.now, nanos: 0 });
            let entry = Entry { path, kind, mode: *mode, uid: owner.0, gid: owner.1, mtime, xattrs: BTreeMap::new() };
            draft.put(entry, Data::Bytes(data.as_slice().into()), Made::by(owner))
        }
        FileAction::MakeDir { path, chown } => make_dir(path, chown.as_ref(), draft),
    }
}

/// WORKDIR adds nothing where the directory is there already.
fn make_dir(path: &str, chown: Option<&cooper_llb::Chown>, draft: &mut Draft) -> Result<()> {
    let path = resolve(draft, &clean(path))?;
    match draft.lookup(&path)? {
        Some(entry) if entry.kind == EntryKind::Dir => Ok(()),
        _ => {
            let owner = chown.map(|chown| owner(draft, chown)).transpose()?.unwrap_or_default();
            draft.make_dir(&path, Made::by(owner))
        }
    }
}

fn write(draft: Draft, store: &Store, compression: Compression) -> Result<LayerId> {
    let what = "cannot write a layer";
    let mut layer = store.new_layer(compression, None).map_err(|e| from_store(e, what))?;
    let entries: Vec<_> = draft.into_entries().collect();
    each_read_ahead(&entries, |entry, data, bytes| layer.append(entry, bytes).map_err(|e| not_copied(e, entry, data)))?;
    let layer = layer.finish().map_err(|e| from_store(e, what))?;
    // The digests that entered the key are those of the bytes that were written, or else there is no record.
    for (entry, data) in &entries {
        let Data::File(files, source) = data else { continue };
        let written = layer.listing.get(&entry.path).and_then(|record| record.digest);
        if written != Some(files.digest(source)?) {
            return Err(files.differs(source));
        }
    }
    Ok(layer.id)
}

/// A file that grew or shrank is told of by the name its author knows.
fn not_copied(error: cooper_store::Error, entry: &Entry, data: &Data) -> Error {
    match data {
        Data::File(files, source) if error.kind() == cooper_store::ErrorKind::Busy => files.differs(source),
        _ => from_store(error, &format!("cannot copy to `/{}`", entry.path.display())),
    }
}

/// A layer of what `paths` select, at the same paths: how a context is shown to a step.
pub(crate) fn layer_of(store: &Store, files: &Arc<dyn Files>, paths: &Paths) -> Result<LayerId> {
    let none: Arc<dyn Files> = crate::files::LayerFiles::open(store, &[])?;
    let mut draft = Draft::new(none, None, Mtime::default());
    let excludes = ignore(&paths.excludes)?;
    for source in &paths.sources {
        for found in pick(&**files, source, &excludes)? {
            let all = std::iter::once(&found.entry).chain(found.below.iter().map(|(_, entry)| entry));
            for entry in all.filter(|entry| !entry.path.as_os_str().is_empty()) {
                let data = match entry.kind {
                    EntryKind::File { .. } => Data::File(files.clone(), entry.clone()),
                    _ => Data::None,
                };
                draft.put(entry.clone(), data, Made::by((0, 0)))?;
            }
        }
    }
    write(draft, store, Compression::None)
}

/// An unnamed file in the store's directory.
fn scratch_file(store: &Store) -> std::io::Result<std::fs::File> {
    let path = store.temporary().map_err(std::io::Error::other)?;
    let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
