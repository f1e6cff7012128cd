//! A .deb as a stream (deb(5)): its control files, then its files one by one.
//!
//! Whatever is not as dpkg writes it is refused. Knows nothing of where the files go.

mod ar;
mod control;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use cooper_oci::{Entry, EntryKind, Limits, TarReader, decompress_within};

use crate::{Error, ErrorKind, Result};
use ar::Ar;
pub use control::Control;

/// Uncompressed bytes of one package; the largest of the distribution have some 3 GiB.
const DATA_LIMIT: u64 = 16 << 30;

/// Bytes of `debian-binary`: a version and a line end.
const VERSION_LIMIT: u64 = 64;

/// Takes each file of a package; the reader gives the content of a regular file.
pub(crate) type TakeFile<'a> = &'a mut dyn FnMut(Entry, &mut dyn Read) -> Result<()>;

/// Reads a package from its first byte to its last. The files come in the order of the archive: directories before what
/// is in them, targets before their hard links. The root directory is left out.
///
/// # Errors
/// A broken container, tar or compression; an entry that is a device, is there twice, lies below a link, or links
/// outside the package; or what `take` returns. Callers add the package's name.
pub(crate) fn read_deb(source: impl Read + Send, take: TakeFile<'_>) -> Result<Control> {
    let mut ar = Ar::new(source)?;
    version(&mut ar)?;
    let (name, _) = member(&mut ar, "control.tar")?;
    let control = control::read(tar(&name, &mut ar)?)?;
    let (name, _) = member(&mut ar, "data.tar")?;
    files(tar(&name, &mut ar)?, take)?;
    // To the end, so that whoever verifies the stream sees all of it.
    while ar.next_member()?.is_some() {}
    Ok(control)
}

fn version(ar: &mut Ar<impl Read>) -> Result<()> {
    let (_, size) = member(ar, "debian-binary")?;
    let mut text = String::new();
    if size > VERSION_LIMIT || ar.read_to_string(&mut text).is_err() || !text.starts_with("2.") {
        return Err(invalid("its format is not version 2 of .deb"));
    }
    Ok(())
}

/// The next member that counts, which must have this name up to a compression's extension.
fn member(ar: &mut Ar<impl Read>, wanted: &str) -> Result<(String, u64)> {
    loop {
        let (name, size) = ar.next_member()?.ok_or_else(|| invalid(format!("it has no {wanted}")))?;
        // deb(5): readers skip members of this kind.
        if name.starts_with('_') {
            continue;
        }
        return match name.strip_prefix(wanted) {
            Some("" | ".gz" | ".xz" | ".zst" | ".bz2") => Ok((name, size)),
            _ => Err(invalid(format!("it has `{name}` where {wanted} should be"))),
        };
    }
}

type Tar<'a> = TarReader<Box<dyn Read + Send + 'a>>;

fn tar<'a>(name: &str, member: impl Read + Send + 'a) -> Result<Tar<'a>> {
    let limits = Limits { bytes: DATA_LIMIT, ..Limits::default() };
    let plain = decompress_within(member, limits).map_err(|e| within(name, e.into()))?;
    Ok(TarReader::new(plain))
}

/// An error met in a member of the package.
fn within(member: &str, error: Error) -> Error {
    Error::new(error.kind(), format!("{member}: {error}")).with_source(error)
}

fn files(mut tar: Tar<'_>, take: TakeFile<'_>) -> Result<()> {
    let mut seen = Seen::default();
    while let Some(entry) = tar.next_entry().map_err(|e| within("data.tar", e.into()))? {
        if entry.path.as_os_str().is_empty() {
            continue;
        }
        seen.add(&entry)?;
        take(entry, &mut tar)?;
    }
    tar.finish().map(drop).map_err(|e| within("data.tar", e.into()))
}

/// What the package has shown so far.
#[derive(Default)]
struct Seen(BTreeMap<PathBuf, Kind>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Dir,
    Symlink,
}

impl Seen {
    fn add(&mut self, entry: &Entry) -> Result<()> {
        let at = |what: &str| Err(invalid(format!("`/{}` {what}", entry.path.display())));
        let kind = match &entry.kind {
            EntryKind::File { .. } => Kind::File,
            EntryKind::Dir => Kind::Dir,
            EntryKind::Symlink { .. } => Kind::Symlink,
            EntryKind::Hardlink { target } if self.0.get(target) == Some(&Kind::File) => Kind::File,
            EntryKind::Hardlink { .. } => return at("is a link to no file before it in the package"),
            EntryKind::Char { .. } | EntryKind::Block { .. } | EntryKind::Fifo => {
                return at("is a device or a pipe, which no package may hold");
            }
        };
        let parents = entry.path.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty());
        for parent in parents {
            if self.0.get(parent).is_some_and(|kind| *kind != Kind::Dir) {
                return at(&format!("lies below `/{}`, which is no directory", parent.display()));
            }
        }
        match self.0.insert(entry.path.clone(), kind) {
            Some(Kind::Dir) if kind == Kind::Dir => Ok(()),
            Some(_) => at("is there twice"),
            None => Ok(()),
        }
    }
}

/// Name of a file in a control tar: flat, without directories.
fn flat_name(path: &Path) -> Option<&str> {
    path.to_str().filter(|name| !name.is_empty() && !name.contains('/'))
}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, what)
}
