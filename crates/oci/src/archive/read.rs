//! Opens an archive as a place of blobs, without unpacking it: blobs are stretches of the file.
//!
//! Digests are not checked here; whoever reads a blob does.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use super::docker;
use crate::layout::{body_from_reader, check_marker, find_image, names_of, parse_index};
use crate::{
    Blobs, Body, Descriptor, Digest, EntryKind, Error, ErrorKind, Format, Index, Limits, Result, TarReader,
    body_from_bytes, decompress_within, detect,
};

/// Entries of an outer archive: each is kept in memory. A docker archive has three a layer.
const ENTRIES_LIMIT: usize = 100_000;

/// Bytes a compressed archive may spool: far above any image, far below a disk full of zeros from one small file.
const SPOOL_LIMIT: u64 = 128 << 30;

/// Links followed from one name to a file. Old `docker save` writes one.
const LINKS_LIMIT: usize = 8;

/// An archive open for reading.
#[derive(Debug)]
pub struct Archive {
    pub(super) file: Arc<File>,
    pub(super) entries: BTreeMap<PathBuf, Place>,
    pub(super) blobs: BTreeMap<Digest, Stretch>,
    /// Documents that the archive does not hold and that were made up for it.
    pub(super) documents: BTreeMap<Digest, Vec<u8>>,
    pub(super) index: Index,
}

/// What a name of the archive stands for.
#[derive(Clone, Debug)]
pub(super) enum Place {
    File(Stretch),
    Link(PathBuf),
}

/// Bytes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// Opens the archive at `path`. A compressed one is spooled to a file without a name in `spool` first.
pub fn read_archive(path: &Path, spool: &Path) -> Result<Archive> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::new(ErrorKind::NotFound, format!("`{}` does not exist", path.display())),
        _ => Error::io(format!("cannot open `{}`", path.display()), error),
    })?;
    Archive::open(file, spool)
}

impl Archive {
    /// Opens an archive. A compressed one, or one that cannot seek, is spooled to a file without a name in `spool`.
    pub fn open(mut file: File, spool: &Path) -> Result<Self> {
        let mut head = Vec::new();
        let seeks = file.stream_position().is_ok();
        let read = (&mut file).take(512).read_to_end(&mut head);
        read.map_err(|error| Error::io("cannot read the archive", error))?;
        let mut file = match detect(&head) {
            Some(Format::Tar) if seeks => file,
            Some(_) => spooled(io::Cursor::new(head).chain(file), spool)?,
            None => {
                return Err(Error::new(ErrorKind::Invalid, "this is no archive: neither a tar nor a compressed one"));
            }
        };
        file.seek(SeekFrom::Start(0)).map_err(|error| Error::io("cannot read the archive", error))?;
        let entries = scan(&file)?;
        let file = Arc::new(file);
        let empty = Index::new(Vec::new());
        let mut archive = Self { file, entries, blobs: BTreeMap::new(), documents: BTreeMap::new(), index: empty };
        archive.load()?;
        Ok(archive)
    }

    /// The images it holds, each with its names.
    pub fn images(&self) -> Vec<(Vec<String>, Descriptor)> {
        let mut images: Vec<(Vec<String>, Descriptor)> = Vec::new();
        for entry in &self.index.manifests {
            match images.iter_mut().find(|(_, known)| known.digest == entry.digest) {
                Some((names, _)) => names.extend(names_of(entry)),
                None => images.push((names_of(entry), entry.clone())),
            }
        }
        images
    }

    /// The image called `target`: a tag, a full name, a digest, or `None` for the only one there is.
    pub fn find(&self, target: Option<&str>) -> Result<Descriptor> {
        find_image(&self.index, target, "the archive")
    }

    fn load(&mut self) -> Result<()> {
        self.blobs = self.layout_blobs();
        if let (Ok(marker), Ok(index)) = (self.stretch("oci-layout"), self.stretch("index.json")) {
            check_marker(&self.bytes(marker)?)?;
            self.index = parse_index(&self.bytes(index)?)?;
            return Ok(());
        }
        if self.stretch("manifest.json").is_ok() {
            return docker::load(self);
        }
        Err(Error::new(ErrorKind::Invalid, "the archive holds no image: it has neither index.json nor manifest.json"))
    }

    /// Files whose name is a digest.
    fn layout_blobs(&self) -> BTreeMap<Digest, Stretch> {
        let blob = |(path, place): (&PathBuf, &Place)| {
            let mut parts = path.to_str()?.strip_prefix("blobs/")?.splitn(2, '/');
            let digest: Digest = format!("{}:{}", parts.next()?, parts.next()?).parse().ok()?;
            match place {
                Place::File(stretch) => Some((digest, *stretch)),
                Place::Link(_) => None,
            }
        };
        self.entries.iter().filter_map(blob).collect()
    }

    /// The file called `name`, through links.
    pub(super) fn stretch(&self, name: &str) -> Result<Stretch> {
        let missing = || Error::new(ErrorKind::NotFound, format!("the archive has no file `{name}`"));
        let mut path = Path::new(name);
        for _ in 0..LINKS_LIMIT {
            match self.entries.get(path).ok_or_else(missing)? {
                Place::File(stretch) => return Ok(*stretch),
                Place::Link(target) => path = target,
            }
        }
        Err(missing())
    }

    /// All bytes of a small file.
    pub(super) fn bytes(&self, stretch: Stretch) -> Result<Vec<u8>> {
        let limit = crate::DOCUMENT_LIMIT;
        if stretch.size > limit {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("a document of the archive has more than {limit} bytes"),
            ));
        }
        let mut bytes = vec![0; stretch.size as usize];
        let read = self.file.read_exact_at(&mut bytes, stretch.offset);
        read.map_err(|error| Error::io("cannot read the archive", error))?;
        Ok(bytes)
    }

    pub(super) fn reader(&self, stretch: Stretch) -> StretchReader {
        StretchReader { file: self.file.clone(), at: stretch.offset, left: stretch.size }
    }
}

#[async_trait]
impl Blobs for Archive {
    async fn open(&self, descriptor: &Descriptor) -> Result<Body> {
        if let Some(bytes) = self.documents.get(&descriptor.digest) {
            return Ok(body_from_bytes(bytes.clone()));
        }
        match self.blobs.get(&descriptor.digest) {
            Some(stretch) => Ok(body_from_reader(self.reader(*stretch))),
            None => Err(Error::new(ErrorKind::NotFound, format!("blob {} is not in the archive", descriptor.digest))),
        }
    }
}

/// Reads a stretch of the file, beside other readers of it.
#[derive(Debug)]
pub(super) struct StretchReader {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for StretchReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..length], self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// Lists an archive. A name that is there twice is an error: readers differ on which one counts.
fn scan(file: &File) -> Result<BTreeMap<PathBuf, Place>> {
    let mut tar = TarReader::new(file);
    let mut entries = BTreeMap::new();
    while let Some(entry) = tar.next_entry()? {
        let (offset, plain) = tar.position();
        let place = match entry.kind {
            EntryKind::File { size } if plain => Place::File(Stretch { offset, size }),
            EntryKind::Symlink { target } => Place::Link(beside(&entry.path, &target)),
            EntryKind::Hardlink { target } => Place::Link(target),
            EntryKind::Dir => continue,
            _ => return Err(Error::new(ErrorKind::Invalid, format!("`{}` is no plain file", entry.path.display()))),
        };
        if entries.len() == ENTRIES_LIMIT {
            return Err(Error::new(ErrorKind::TooLarge, format!("the archive has more than {ENTRIES_LIMIT} entries")));
        }
        let shown = entry.path.display().to_string();
        if entries.insert(entry.path, place).is_some() {
            return Err(Error::new(ErrorKind::Invalid, format!("the archive has `{shown}` twice")));
        }
    }
    Ok(entries)
}

/// What a link beside `path` names; a target that leaves the archive names nothing in it.
fn beside(path: &Path, target: &Path) -> PathBuf {
    let mut result = path.parent().unwrap_or(Path::new("")).to_owned();
    for part in target.as_os_str().as_bytes().split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(result.pop()),
            part => result.push(std::ffi::OsStr::from_bytes(part)),
        }
    }
    result
}

/// Tells apart the spool files of one process.
static SPOOLED: AtomicU64 = AtomicU64::new(0);

/// The content of `reader`, decompressed, in a file that no longer has a name.
fn spooled(reader: impl Read + Send, directory: &Path) -> Result<File> {
    let number = SPOOLED.fetch_add(1, Ordering::Relaxed);
    let path = directory.join(format!(".archive-{}-{number}", std::process::id()));
    let failed = |error| Error::io(format!("cannot spool the archive to `{}`", path.display()), error);
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(failed)?;
    std::fs::remove_file(&path).map_err(failed)?;
    let limits = Limits { bytes: SPOOL_LIMIT, ..Limits::default() };
    io::copy(&mut decompress_within(reader, limits)?, &mut file).map_err(failed)?;
    Ok(file)
}
