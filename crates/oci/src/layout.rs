//! An OCI layout directory (image-spec, image-layout.md):
//!
//! ```text
//! oci-layout               {"imageLayoutVersion":"1.0.0"}
//! index.json               what the layout holds, by name
//! blobs/<algorithm>/<hex>  the blobs
//! ```
//!
//! Files appear by rename. Paths are made of validated digests alone. Does not collect blobs that nothing names.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;

use crate::document::{DOCUMENT_LIMIT, Document, parse_document};
use crate::memory::BlobCheck;
use crate::{BlobSink, Blobs, Body, Descriptor, Digest, Error, ErrorKind, Index, MediaType, Reference, Result};

/// Annotation with the tag of an image (image-spec, annotations.md).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Annotation with the full name of an image, as containerd and BuildKit write it.
pub const IMAGE_NAME: &str = "io.containerd.image.name";

/// What `oci-layout` holds.
pub(crate) const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The marker file is some 30 bytes; more is not a layout.
const LAYOUT_LIMIT: u64 = 4096;

/// Bytes of a blob read at once.
pub(crate) const CHUNK: usize = 256 << 10;

/// Not to follow a link in the last part of a path; the standard library does not name the flag.
#[cfg(any(target_arch = "aarch64", target_arch = "arm", target_arch = "powerpc64", target_arch = "powerpc"))]
const O_NOFOLLOW: i32 = 0o100_000;
#[cfg(not(any(target_arch = "aarch64", target_arch = "arm", target_arch = "powerpc64", target_arch = "powerpc")))]
const O_NOFOLLOW: i32 = 0o400_000;

/// An OCI layout directory. File operations block for as long as the disk takes.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Opens the layout at `path`.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let layout = Self { root: path.into() };
        let marker = read_file(&layout.root.join("oci-layout"), LAYOUT_LIMIT).map_err(|error| {
            Error::new(error.kind(), format!("`{}` is not an OCI layout", layout.root.display())).with_source(error)
        })?;
        check_marker(&marker)?;
        Ok(layout)
    }

    /// Opens the layout at `path`, or makes an empty one there.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let layout = Self { root: path.into() };
        let blobs = layout.root.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(|error| Error::io(format!("cannot create `{}`", blobs.display()), error))?;
        if !layout.root.join("index.json").exists() {
            layout.write_index(&Index::new(Vec::new()))?;
        }
        if !layout.root.join("oci-layout").exists() {
            replace(&layout.root, "oci-layout", LAYOUT)?;
        }
        Self::open(layout.root)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// What it holds.
    pub fn index(&self) -> Result<Index> {
        let bytes = read_file(&self.root.join("index.json"), DOCUMENT_LIMIT)?;
        parse_index(&bytes)
    }

    /// The image called `target`: a tag, a full name, a digest, or `None` for the only one there is.
    pub fn find(&self, target: Option<&str>) -> Result<Descriptor> {
        find_image(&self.index()?, target, &self.root.display().to_string())
    }

    /// Adds `descriptor` to the index under `names`, taking them from whatever had them; without names, by digest.
    pub fn add(&self, descriptor: &Descriptor, names: &[Reference]) -> Result<()> {
        let marker = self.root.join("oci-layout");
        // Two processes that add at once would lose one of the names.
        let lock = File::open(&marker).and_then(|file| file.lock().map(|()| file));
        let lock = lock.map_err(|error| Error::io(format!("cannot lock `{}`", marker.display()), error))?;
        let mut index = self.index()?;
        for entry in named(descriptor, names) {
            index.manifests.retain(|known| !same_place(known, &entry));
            index.manifests.push(entry);
        }
        self.write_index(&index)?;
        drop(lock);
        Ok(())
    }

    fn write_index(&self, index: &Index) -> Result<()> {
        replace(&self.root, "index.json", &to_json(index)?)
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
    }
}

#[async_trait]
impl Blobs for Layout {
    async fn open(&self, descriptor: &Descriptor) -> Result<Body> {
        open_blob(&self.root, &self.blob(&descriptor.digest), descriptor)
    }
}

#[async_trait]
impl BlobSink for Layout {
    async fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        Ok(is_there(&self.blob(&descriptor.digest), descriptor))
    }

    async fn put(&self, descriptor: &Descriptor, body: Body) -> Result<()> {
        let path = self.blob(&descriptor.digest);
        let parent = self.root.join("blobs").join(descriptor.digest.algorithm().as_str());
        fs::create_dir_all(&parent)
            .map_err(|error| Error::io(format!("cannot create `{}`", parent.display()), error))?;
        write_blob(&self.root, &path, descriptor, body).await
    }
}

/// A plain file of the blob's size.
pub(crate) fn is_there(path: &Path, descriptor: &Descriptor) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == descriptor.size)
}

/// Writes a verified blob to `path`, by way of a file in `directory`.
pub(crate) async fn write_blob(directory: &Path, path: &Path, descriptor: &Descriptor, mut body: Body) -> Result<()> {
    let mut file = Pending::create(directory)?;
    let mut check = BlobCheck::new(descriptor);
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        check.update(&chunk)?;
        file.write(&chunk)?;
    }
    check.finish()?;
    file.rename(path)
}

/// Writes a file of `directory` as a whole.
pub(crate) fn replace(directory: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let mut file = Pending::create(directory)?;
    file.write(bytes)?;
    file.rename(&directory.join(name))
}

/// A file that has no name yet; dropped, it is gone.
struct Pending {
    path: PathBuf,
    file: File,
    kept: bool,
}

/// Tells apart the pending files of one process.
static PENDING: AtomicU64 = AtomicU64::new(0);

impl Pending {
    fn create(directory: &Path) -> Result<Self> {
        loop {
            let number = PENDING.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!(".pending-{}-{number}", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { path, file, kept: false }),
                // Left by a process that died, or of one with the same id in another namespace.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io(format!("cannot create `{}`", path.display()), error)),
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| Error::io(format!("cannot write `{}`", self.path.display()), error))
    }

    fn rename(mut self, to: &Path) -> Result<()> {
        fs::rename(&self.path, to).map_err(|error| Error::io(format!("cannot create `{}`", to.display()), error))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing is lost by leaving it: the name is never looked for.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The entries of an index for one image: one a name, or a bare one.
pub(crate) fn named(descriptor: &Descriptor, names: &[Reference]) -> Vec<Descriptor> {
    if names.is_empty() {
        return vec![descriptor.clone()];
    }
    let entry = |name: &Reference| {
        let mut entry = descriptor.clone();
        entry.annotations.insert(IMAGE_NAME.into(), name.to_string());
        if let Some(tag) = name.tag() {
            entry.annotations.insert(REF_NAME.into(), tag.into());
        }
        entry
    };
    names.iter().map(entry).collect()
}

/// One entry replaces the other: they share a full name; or a tag, where one has no more than that (other tools write
/// tags alone); or the known one has no name at all and is the same image.
fn same_place(known: &Descriptor, new: &Descriptor) -> bool {
    let full = |entry: &Descriptor| entry.annotations.get(IMAGE_NAME).cloned();
    let tag = |entry: &Descriptor| entry.annotations.get(REF_NAME).cloned();
    match (full(known), full(new), tag(known), tag(new)) {
        (Some(known), Some(new), _, _) => known == new,
        (_, _, Some(known), Some(new)) => known == new,
        (None, _, None, _) => known.digest == new.digest,
        _ => false,
    }
}

/// The names an entry of an index goes by.
pub(crate) fn names_of(entry: &Descriptor) -> Vec<String> {
    [IMAGE_NAME, REF_NAME].iter().filter_map(|name| entry.annotations.get(*name)).cloned().collect()
}

/// Finds an image in an index; errors say what is there.
pub(crate) fn find_image(index: &Index, target: Option<&str>, place: &str) -> Result<Descriptor> {
    let full = target.and_then(|target| target.parse::<Reference>().ok()).map(|name| name.to_string());
    let digest = target.and_then(|target| target.parse::<Digest>().ok());
    let matches = |entry: &&Descriptor| match target {
        None => true,
        Some(target) => {
            digest.as_ref() == Some(&entry.digest)
                || names_of(entry).iter().any(|name| name == target)
                || full.as_ref().is_some_and(|full| entry.annotations.get(IMAGE_NAME) == Some(full))
        }
    };
    let found: Vec<&Descriptor> = index.manifests.iter().filter(matches).collect();
    let first = found.first().filter(|first| found.iter().all(|other| other.digest == first.digest));
    let what = target.unwrap_or("one image");
    match (first, found.is_empty()) {
        (Some(first), _) => Ok((*first).clone()),
        (None, true) => Err(Error::new(ErrorKind::NotFound, format!("{place} does not hold {what}"))),
        (None, false) => Err(Error::new(ErrorKind::Invalid, format!("{place} holds several images: which one?"))),
    }
    .map_err(|error| error.with_hint(format!("it holds {}", contents(index))))
}

/// Entries a hint lists; the rest are counted.
const HINT_ENTRIES: usize = 10;

fn contents(index: &Index) -> String {
    if index.manifests.is_empty() {
        return "nothing".into();
    }
    let one = |entry: &Descriptor| names_of(entry).into_iter().next().unwrap_or_else(|| entry.digest.to_string());
    let mut list: Vec<String> = index.manifests.iter().take(HINT_ENTRIES).map(one).collect();
    if index.manifests.len() > HINT_ENTRIES {
        list.push(format!("{} more", index.manifests.len() - HINT_ENTRIES));
    }
    list.join(", ")
}

pub(crate) fn check_marker(bytes: &[u8]) -> Result<()> {
    let version = serde_json::from_slice::<serde_json::Value>(bytes)
        .ok()
        .and_then(|value| value.get("imageLayoutVersion")?.as_str().map(str::to_owned));
    match version.as_deref() {
        Some(version) if version.starts_with("1.") => Ok(()),
        Some(other) => Err(Error::new(ErrorKind::Invalid, format!("OCI layout version `{other}` is not supported"))),
        None => Err(Error::new(ErrorKind::Invalid, "the file `oci-layout` has no version")),
    }
}

pub(crate) fn parse_index(bytes: &[u8]) -> Result<Index> {
    match parse_document(&MediaType::INDEX.into(), bytes)? {
        Document::Index(index) => Ok(index),
        _ => Err(Error::new(ErrorKind::Invalid, "index.json is no index")),
    }
}

/// JSON as BuildKit writes indexes: two spaces.
pub(crate) fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value)
        .map_err(|error| Error::new(ErrorKind::Invalid, "cannot write a document as JSON").with_source(error))
}

/// The blob of a place at `root` that is the file `path`.
pub(crate) fn open_blob(root: &Path, path: &Path, descriptor: &Descriptor) -> Result<Body> {
    open_file(path).map(body_from_reader).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let what = format!("blob {} is not in `{}`", descriptor.digest, root.display());
            Error::new(ErrorKind::NotFound, what)
        }
        _ => error,
    })
}

/// Opens a plain file, never through a link.
pub(crate) fn open_file(path: &Path) -> Result<File> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Error::new(ErrorKind::NotFound, format!("`{}` does not exist", path.display())),
        _ => Error::io(format!("cannot open `{}`", path.display()), error),
    };
    // Asked before opening too, since opening a pipe would wait for its writer.
    if !fs::symlink_metadata(path).map_err(failed)?.is_file() {
        return Err(Error::new(ErrorKind::Invalid, format!("`{}` is not a plain file", path.display())));
    }
    OpenOptions::new().read(true).custom_flags(O_NOFOLLOW).open(path).map_err(failed)
}

pub(crate) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = open_file(path)?.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| Error::io(format!("cannot read `{}`", path.display()), error))?;
    if bytes.len() as u64 > limit {
        return Err(Error::new(ErrorKind::TooLarge, format!("`{}` has more than {limit} bytes", path.display())));
    }
    Ok(bytes)
}

/// A body that reads as it is polled.
pub fn body_from_reader(reader: impl Read + Send + 'static) -> Body {
    Box::pin(futures::stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        let mut buffer = vec![0; CHUNK];
        loop {
            return match reader.read(&mut buffer) {
                Ok(0) => None,
                Ok(read) => {
                    buffer.truncate(read);
                    Some((Ok(Bytes::from(buffer)), Some(reader)))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Some((Err(Error::io("cannot read a blob", error)), None)),
            };
        }
    }))
}
