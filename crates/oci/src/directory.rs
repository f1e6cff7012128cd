//! One image as a plain directory, as skopeo's `dir:` has it:
//!
//! ```text
//! version                 Directory Transport Version: 1.1
//! manifest.json           the image's manifest or index
//! <hex>.manifest.json     manifests that an index names
//! <hex>                   configs and layers, by SHA-256
//! ```
//!
//! Files appear by rename, the manifest last. Holds no names, and does not remove what an earlier image left.

use std::fs;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::Deserialize;

use crate::document::{DOCUMENT_LIMIT, parse_document};
use crate::layout::{is_there, open_blob, read_file, replace, write_blob};
use crate::{Algorithm, BlobSink, Blobs, Body, Descriptor, Error, ErrorKind, MediaType, Result};

/// What `version` holds; readers compare the whole of it.
const VERSION: &[u8] = b"Directory Transport Version: 1.1\n";

/// What it begins with in all versions.
const VERSION_START: &[u8] = b"Directory Transport Version: ";

/// The version is a line.
const VERSION_LIMIT: u64 = 100;

/// An image in a directory of its own. File operations block for as long as the disk takes.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
}

/// As much of a manifest as says what it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    media_type: Option<MediaType>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Directory {
    /// Opens the directory of an image.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let root = path.into();
        match read_file(&root.join("version"), VERSION_LIMIT) {
            Ok(version) if version.starts_with(VERSION_START) => Ok(Self { root }),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Err(Error::new(ErrorKind::NotFound, format!("`{}` is not the directory of an image", root.display()))
                .with_hint("a directory written by `cooper copy` or skopeo holds a file `version`")),
        }
    }

    /// Opens the directory of an image, or makes one of an empty or absent directory.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let root = path.into();
        fs::create_dir_all(&root).map_err(|error| Error::io(format!("cannot create `{}`", root.display()), error))?;
        let mut entries =
            fs::read_dir(&root).map_err(|error| Error::io(format!("cannot read `{}`", root.display()), error))?;
        if entries.next().is_none() {
            replace(&root, "version", VERSION)?;
        }
        Self::open(root)
    }

    /// The image.
    pub fn image(&self) -> Result<Descriptor> {
        let path = self.root.join("manifest.json");
        let bytes = read_file(&path, DOCUMENT_LIMIT)?;
        let invalid = || Error::new(ErrorKind::Invalid, format!("`{}` is no manifest", path.display()));
        let shape: Shape = serde_json::from_slice(&bytes).map_err(|error| invalid().with_source(error))?;
        let kind = if shape.manifests.is_some() { MediaType::INDEX } else { MediaType::MANIFEST };
        let kind = shape.media_type.unwrap_or_else(|| kind.into());
        if !kind.is_index() && !kind.is_manifest() {
            return Err(invalid());
        }
        parse_document(&kind, &bytes)?;
        Ok(Descriptor::of(kind, &bytes))
    }

    /// Makes `image`, all of which is there, the directory's image.
    pub fn set_image(&self, image: &Descriptor) -> Result<()> {
        let (from, to) = (self.path(image)?, self.root.join("manifest.json"));
        fs::rename(&from, &to).map_err(|error| Error::io(format!("cannot create `{}`", to.display()), error))
    }

    fn path(&self, descriptor: &Descriptor) -> Result<PathBuf> {
        if descriptor.digest.algorithm() != Algorithm::Sha256 {
            let what = format!("{} cannot be kept in a directory: its names are SHA-256", descriptor.digest);
            return Err(Error::new(ErrorKind::Invalid, what).with_hint("an OCI layout (`oci:DIR`) holds any digest"));
        }
        let hex = descriptor.digest.hex();
        Ok(match descriptor.media_type.is_index() || descriptor.media_type.is_manifest() {
            true => self.root.join(format!("{hex}.manifest.json")),
            false => self.root.join(hex),
        })
    }

    /// The image's own manifest has a name of its own.
    fn is_image(&self, descriptor: &Descriptor) -> bool {
        self.image().is_ok_and(|image| image.digest == descriptor.digest)
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

#[async_trait]
impl Blobs for Directory {
    async fn open(&self, descriptor: &Descriptor) -> Result<Body> {
        let path = self.path(descriptor)?;
        let document = descriptor.media_type.is_index() || descriptor.media_type.is_manifest();
        let path = if document && self.is_image(descriptor) { self.root.join("manifest.json") } else { path };
        open_blob(&self.root, &path, descriptor)
    }
}

#[async_trait]
impl BlobSink for Directory {
    async fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        Ok(is_there(&self.path(descriptor)?, descriptor))
    }

    async fn put(&self, descriptor: &Descriptor, body: Body) -> Result<()> {
        write_blob(&self.root, &self.path(descriptor)?, descriptor, body).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CopyOptions, Index, Manifest, MemoryBlobs, copy, read_all};

    fn image(blobs: &MemoryBlobs, text: &str) -> Descriptor {
        let config = blobs.add(MediaType::CONFIG, &b"{}"[..]);
        let layer = blobs.add(MediaType::LAYER, text.as_bytes().to_vec());
        let manifest = serde_json::to_vec(&Manifest::new(config, vec![layer])).unwrap();
        blobs.add(MediaType::MANIFEST, manifest)
    }

    #[test]
    fn an_image_comes_back_and_is_replaced() {
        let (dir, blobs) = (tempfile::tempdir().unwrap(), MemoryBlobs::new());
        let one = image(&blobs, "one");
        let index = Index::new(vec![one.clone(), image(&blobs, "two")]);
        let both = blobs.add(MediaType::INDEX, serde_json::to_vec(&index).unwrap());
        futures::executor::block_on(async {
            for image in [&one, &both, &one, &one] {
                let directory = Directory::create(dir.path().join("new/image")).unwrap();
                copy(image, &blobs, &directory, &CopyOptions::default()).await.unwrap();
                directory.set_image(image).unwrap();
                let found = Directory::open(directory.root()).unwrap().image().unwrap();
                assert_eq!(found, *image);
                let back = MemoryBlobs::new();
                copy(&found, &directory, &back, &CopyOptions::default()).await.unwrap();
                assert_eq!(read_all(&back, image, DOCUMENT_LIMIT).await.unwrap(), blobs.get(&image.digest).unwrap());
            }
        });
    }

    #[test]
    fn other_directories_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Directory::open(dir.path()).unwrap_err().kind(), ErrorKind::NotFound);
        fs::write(dir.path().join("mine"), "").unwrap();
        assert_eq!(Directory::create(dir.path()).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(dir.path().join("version"), VERSION).unwrap();
        let directory = Directory::create(dir.path()).unwrap();
        assert_eq!(directory.image().unwrap_err().kind(), ErrorKind::NotFound);
        for text in ["", "[]", "{\"mediaType\": \"text/plain\"}", "{\"manifests\": [], \"layers\": []}"] {
            fs::write(dir.path().join("manifest.json"), text).unwrap();
            assert_eq!(directory.image().unwrap_err().kind(), ErrorKind::Invalid, "{text}");
        }
    }
}
