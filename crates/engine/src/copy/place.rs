//! Where picked files land (docker's rules): contents of directories, files into directories or to a name, archives unpacked.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_llb::{Chmod, CopySource, Ignore};
use cooper_oci::{Entry, EntryKind, Format, TarReader, decompress, detect};

use super::{Data, Draft, Made, Match, pick};
use crate::files::{Files, clean, resolve};
use crate::{Error, ErrorKind, Result};

/// Bytes looked at to recognise an archive: one tar header.
const HEAD: usize = 512;

/// One copy, names of owners resolved.
#[derive(Debug)]
pub(crate) struct CopySpec<'a> {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) sources: &'a [CopySource],
    pub(crate) dest: &'a str,
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) chmod: Option<&'a Chmod>,
    pub(crate) excludes: Ignore,
    pub(crate) unpack: bool,
    pub(crate) parents: bool,
}

impl CopySpec<'_> {
    /// Directories made on the way get the mode of an octal `--chmod`, as in BuildKit, where the copier makes them.
    fn made(&self) -> Made {
        let mode = match self.chmod {
            Some(Chmod::Mode(mode)) => mode & 0o777,
            _ => 0o755,
        };
        Made { mode, owner: self.owner.unwrap_or_default() }
    }
}

/// Places copies into a draft.
pub(crate) struct Placer<'a> {
    pub(crate) draft: &'a mut Draft,
    /// An empty unnamed file, made when an archive is unpacked.
    pub(crate) spool: &'a dyn Fn() -> std::io::Result<File>,
}

impl std::fmt::Debug for Placer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Placer").field("draft", self.draft).finish_non_exhaustive()
    }
}

impl Placer<'_> {
    /// Places everything that `spec` picks.
    pub(crate) fn copy(&mut self, spec: &CopySpec<'_>) -> Result<()> {
        let dest = resolve(self.draft, &clean(spec.dest))?;
        let says_dir = spec.sources.len() > 1 || spec.dest.ends_with('/') || dest.as_os_str().is_empty();
        for source in spec.sources {
            for found in pick(&*spec.files, source, &spec.excludes)? {
                self.place(spec, &found, &dest, says_dir)?;
            }
        }
        Ok(())
    }

    fn place(&mut self, spec: &CopySpec<'_>, found: &Match, dest: &Path, says_dir: bool) -> Result<()> {
        if spec.parents {
            self.source_parents(spec, found, dest)?;
            let target = dest.join(&found.path);
            return if found.is_dir() {
                self.dir(spec, found, &target, true)
            } else {
                self.file(spec, &found.entry, target)
            };
        }
        if found.is_dir() {
            return self.dir(spec, found, dest, false);
        }
        if spec.unpack && self.unpack(spec, &found.entry, dest)? {
            return Ok(());
        }
        let into_dir = says_dir || self.draft.lookup(dest)?.is_some_and(|entry| entry.kind == EntryKind::Dir);
        self.file(spec, &found.entry, if into_dir { dest.join(&found.name) } else { dest.to_owned() })
    }

    /// With `--parents`, the directories above a source keep their attributes.
    fn source_parents(&mut self, spec: &CopySpec<'_>, found: &Match, dest: &Path) -> Result<()> {
        let depth = found.path.iter().count();
        let above: Vec<&Path> = found.entry.path.ancestors().skip(1).take(depth.saturating_sub(1)).collect();
        let below: Vec<&Path> = found.path.ancestors().skip(1).take(depth.saturating_sub(1)).collect();
        for (source, target) in above.into_iter().zip(below).rev() {
            if let Some(entry) = spec.files.lookup(source)? {
                self.entry(spec, &entry, dest.join(target))?;
            }
        }
        Ok(())
    }

    fn dir(&mut self, spec: &CopySpec<'_>, found: &Match, dest: &Path, overwrite: bool) -> Result<()> {
        match self.draft.lookup(dest)? {
            Some(old) if old.kind != EntryKind::Dir => {
                let what = format!("cannot copy a directory to `/{}`: a file is there", dest.display());
                return Err(Error::new(ErrorKind::User, what));
            }
            _ if dest.as_os_str().is_empty() => {}
            // The contents are copied, not the directory itself.
            _ if !overwrite => self.draft.make_dir(dest, spec.made())?,
            _ => self.entry(spec, &found.entry, dest.to_owned())?,
        }
        for (relative, entry) in &found.below {
            self.file(spec, entry, dest.join(relative))?;
        }
        Ok(())
    }

    fn file(&mut self, spec: &CopySpec<'_>, entry: &Entry, dest: PathBuf) -> Result<()> {
        if matches!(entry.kind, EntryKind::Fifo | EntryKind::Char { .. } | EntryKind::Block { .. }) {
            let what = format!("`{}` is a device or pipe, which a context cannot hold", entry.path.display());
            return Err(Error::new(ErrorKind::User, what));
        }
        self.entry(spec, entry, dest)
    }

    fn entry(&mut self, spec: &CopySpec<'_>, entry: &Entry, dest: PathBuf) -> Result<()> {
        let data = match entry.kind {
            EntryKind::File { .. } => Data::File(spec.files.clone(), entry.clone()),
            _ => Data::None,
        };
        let placed = self.placed(spec, entry.clone(), dest);
        self.draft.put(placed, data, spec.made())
    }

    /// The entry under its new name, owner, mode and time.
    fn placed(&self, spec: &CopySpec<'_>, entry: Entry, dest: PathBuf) -> Entry {
        let mode = spec.chmod.map_or(entry.mode, |chmod| chmod.apply(entry.mode, entry.kind == EntryKind::Dir));
        self.owned(spec, Entry { mode, ..entry }, dest)
    }

    /// The entry under its new name, owner and time.
    fn owned(&self, spec: &CopySpec<'_>, entry: Entry, dest: PathBuf) -> Entry {
        let (uid, gid) = spec.owner.unwrap_or((entry.uid, entry.gid));
        // Whatever an archive says, the kernel gives all links one mode.
        let mode = if matches!(entry.kind, EntryKind::Symlink { .. }) { 0o777 } else { entry.mode };
        Entry { path: dest, uid, gid, mode, mtime: self.draft.time(entry.mtime), ..entry }
    }

    /// Unpacks `entry` below `dest` if it is an archive; says whether it was.
    fn unpack(&mut self, spec: &CopySpec<'_>, entry: &Entry, dest: &Path) -> Result<bool> {
        let mut head = Vec::with_capacity(HEAD);
        let cannot = |e: std::io::Error| {
            Error::new(ErrorKind::User, format!("cannot read `{}`", entry.path.display())).with_source(e)
        };
        spec.files.open(entry)?.take(HEAD as u64).read_to_end(&mut head).map_err(cannot)?;
        if detect(&head).is_none() {
            return Ok(false);
        }
        let broken = |e: cooper_oci::Error| {
            Error::new(ErrorKind::User, format!("cannot unpack `{}`: {e}", entry.path.display())).with_source(e)
        };
        let mut stream = decompress(spec.files.open(entry)?).map_err(broken)?;
        head.clear();
        let read = (&mut stream).take(HEAD as u64).read_to_end(&mut head);
        // A compressed file that holds no archive is copied as it is (docker does the same). One that does, but may not
        // be unpacked, is an error.
        if read.is_err() || detect(&head) != Some(Format::Tar) {
            return Ok(false);
        }
        let mut tar = TarReader::new(std::io::Cursor::new(head).chain(stream));
        let mut spool = (self.spool)().map_err(cannot)?;
        let shared = Arc::new(Spooled(spool.try_clone().map_err(cannot)?));
        self.draft.make_dir(dest, Made::by(spec.owner.unwrap_or_default()))?;
        while let Some(item) = tar.next_entry().map_err(broken)? {
            let data = spooled(&item, &mut tar, &mut spool, &shared).map_err(cannot)?;
            self.unpacked(spec, item, data, dest)?;
        }
        spec.files.unchanged(entry)?;
        Ok(true)
    }

    /// Where an archive's path lands: links above it are followed inside the root, as docker does.
    fn below(&self, dest: &Path, path: &Path) -> Result<PathBuf> {
        let parent = resolve(self.draft, &dest.join(path.parent().unwrap_or(Path::new(""))))?;
        Ok(parent.join(path.file_name().unwrap_or_default()))
    }

    fn unpacked(&mut self, spec: &CopySpec<'_>, item: Entry, data: Data, dest: &Path) -> Result<()> {
        if item.path.as_os_str().is_empty() {
            return Ok(());
        }
        let path = self.below(dest, &item.path)?;
        // `--chmod` is for what is copied, not for what an archive holds.
        let mut placed = self.owned(spec, item, path);
        if let EntryKind::Hardlink { target } = &placed.kind {
            placed.kind = EntryKind::Hardlink { target: self.below(dest, target)? };
        }
        self.draft.replace(placed, data, Made::by(spec.owner.unwrap_or_default()))
    }
}

/// Bytes of unpacked files, one after the other in an unnamed file.
#[derive(Debug)]
pub(crate) struct Spooled(File);

impl Spooled {
    /// A range of the file.
    pub(crate) fn range(self: &Arc<Self>, offset: u64, size: u64) -> impl Read + Send + use<> {
        let (this, mut at, end) = (self.clone(), offset, offset + size);
        ReadFn(move |buf: &mut [u8]| {
            let want = buf.len().min((end - at) as usize);
            let n = this.0.read_at(&mut buf[..want], at)?;
            at += n as u64;
            Ok(n)
        })
    }
}

struct ReadFn<F>(F);

impl<F: FnMut(&mut [u8]) -> std::io::Result<usize>> Read for ReadFn<F> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        (self.0)(buf)
    }
}

fn spooled(item: &Entry, tar: &mut impl Read, spool: &mut File, shared: &Arc<Spooled>) -> std::io::Result<Data> {
    let EntryKind::File { size } = item.kind else { return Ok(Data::None) };
    let offset = spool.seek(SeekFrom::End(0))?;
    let copied = std::io::copy(&mut tar.take(size), spool)?;
    spool.flush()?;
    if copied != size {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Data::Spooled(shared.clone(), offset, size))
}
