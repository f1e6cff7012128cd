//! The store as what a registry server holds: its images under their repositories' names, and what is pushed as images.
//!
//! ```text
//! names.rs    what an image of the store is called here
//! shown.rs    what an image is made of, remembered by digest
//! reading.rs  bytes out, verified once and not once for each client
//! writing.rs  bytes in
//! collect.rs  what nothing needs any more
//! tend.rs     what is done from time to time
//! ```
//!
//! A repository shows what its images are made of, and what is linked in it: what was pushed or mounted there. Knows no HTTP.

mod collect;
mod names;
mod reading;
mod shown;
mod tend;
#[cfg(test)]
mod tests;
mod writing;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, Range};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use cooper_oci::{Algorithm, Body, Descriptor, Digest, MediaType, Target};
use cooper_registry::server::{Backend, Document, Part, Refusal, StoredManifest, Upload};
use cooper_store::{Error, ErrorKind, Image, NewManifest, NewPart, Store};

pub use collect::Collected;
pub use names::Names;
pub use tend::{Schedule, Tended};

use tokio::sync::Notify;

use crate::engine::blocking;
use reading::Reading;
use shown::Shown;
use writing::StoreUpload;

/// Manifests and indexes are at most this long everywhere.
const DOCUMENT_MAX: u64 = 4 << 20;

/// A store, served. Clones are one.
#[derive(Clone, Debug)]
pub struct StoreBackend {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    names: Names,
    shown: Shown,
    reading: Reading,
    /// Names were given or taken away.
    renamed: Notify,
}

impl StoreBackend {
    /// Serves `store` under `names`.
    pub fn new(store: Store, names: Names) -> Self {
        let (shown, reading) = (Shown::default(), Reading::default());
        Self { inner: Arc::new(Inner { store, names, shown, reading, renamed: Notify::new() }) }
    }

    /// Where a cache has what is on its way: a directory of the store's file system, for files without a name.
    pub fn spool(&self) -> PathBuf {
        self.inner.store.root().join("tmp")
    }

    /// Does something with the store beside the runtime's own threads.
    async fn at_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let inner = Arc::clone(&self.inner);
        blocking(move || work(&inner)).await
    }
}

/// What the store could not do, as the server tells it.
fn refused(error: Error) -> Refusal {
    if error.kind() == ErrorKind::Full {
        return Refusal::new(507, "UNKNOWN", "the disk of the registry is full");
    }
    let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
    Refusal::internal(format!("{error}{source}"))
}

#[async_trait]
impl Backend for StoreBackend {
    async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, Refusal> {
        let after = after.map(str::to_owned);
        self.at_store(move |inner| Ok(page(&inner.repositories()?, after.as_deref(), limit))).await
    }

    async fn tags(&self, name: &str, after: Option<&str>, limit: usize) -> Result<Option<Vec<String>>, Refusal> {
        let (name, after) = (name.to_owned(), after.map(str::to_owned));
        self.at_store(move |inner| {
            let tags: BTreeSet<String> = inner.images(&name)?.into_keys().collect();
            let known = !tags.is_empty() || !inner.store.links(&name).map_err(refused)?.is_empty();
            Ok(known.then(|| page(&tags, after.as_deref(), limit)))
        })
        .await
    }

    async fn manifest(&self, name: &str, target: Target<'_>) -> Result<Option<StoredManifest>, Refusal> {
        let name = name.to_owned();
        match target {
            Target::Tag(tag) => {
                let tag = tag.to_owned();
                self.at_store(move |inner| match inner.image(&name, &tag)? {
                    Some(image) => {
                        let Descriptor { digest, media_type, .. } = &image.descriptor;
                        inner.read_manifest(digest, media_type).map_err(refused)
                    }
                    None => Ok(None),
                })
                .await
            }
            Target::Digest(digest) => {
                let digest = digest.clone();
                self.at_store(move |inner| match inner.manifest_type(&name, &digest)? {
                    Some(media_type) => inner.read_manifest(&digest, &media_type).map_err(refused),
                    None => Ok(None),
                })
                .await
            }
        }
    }

    async fn put_manifest(
        &self,
        name: &str,
        tags: &[String],
        manifest: &StoredManifest,
        parts: &[Part],
    ) -> Result<(), Refusal> {
        let (name, tags, manifest, parts) = (name.to_owned(), tags.to_vec(), manifest.clone(), parts.to_vec());
        self.at_store(move |inner| inner.put_manifest(&name, &tags, &manifest, &parts)).await?;
        self.inner.renamed.notify_one();
        Ok(())
    }

    async fn delete_manifest(&self, name: &str, target: Target<'_>) -> Result<bool, Refusal> {
        let name = name.to_owned();
        let deleted = match target {
            Target::Tag(tag) => {
                let tag = tag.to_owned();
                self.at_store(move |inner| inner.delete_tag(&name, &tag)).await
            }
            Target::Digest(digest) => {
                let digest = digest.clone();
                self.at_store(move |inner| inner.delete_manifest(&name, &digest)).await
            }
        };
        self.inner.renamed.notify_one();
        deleted
    }

    async fn referrers(&self, name: &str, subject: &Digest) -> Result<Vec<Descriptor>, Refusal> {
        let (name, subject) = (name.to_owned(), subject.clone());
        self.at_store(move |inner| {
            let links = inner.store.links_about(&name, &subject).map_err(refused)?;
            let mut found = Vec::with_capacity(links.len());
            for link in links {
                let Some(media_type) = link.media_type else { continue };
                let Some(manifest) = inner.read_manifest(&link.digest, &media_type).map_err(refused)? else { continue };
                found.extend(Document::of(&manifest).and_then(|document| document.referrer(&manifest, &subject)));
            }
            Ok(found)
        })
        .await
    }

    async fn blob_size(&self, name: &str, digest: &Digest) -> Result<Option<u64>, Refusal> {
        let (name, digest) = (name.to_owned(), digest.clone());
        self.at_store(move |inner| inner.blob_size(&name, &digest)).await
    }

    async fn open_blob(&self, name: &str, digest: &Digest, range: Range<u64>) -> Result<Option<Body>, Refusal> {
        let (own, wanted) = (name.to_owned(), digest.clone());
        let Some(size) = self.at_store(move |inner| inner.blob_size(&own, &wanted)).await? else { return Ok(None) };
        reading::open(&self.inner, digest, size, range).await
    }

    async fn holders(&self, digest: &Digest) -> Result<Vec<String>, Refusal> {
        let digest = digest.clone();
        self.at_store(move |inner| inner.holders(&digest)).await
    }

    async fn mount_blob(&self, from: &str, name: &str, digest: &Digest) -> Result<bool, Refusal> {
        let (from, name, digest) = (from.to_owned(), name.to_owned(), digest.clone());
        self.at_store(move |inner| {
            let shown = inner.blob_size(&from, &digest)?.is_some();
            Ok(shown && inner.store.link_blob(&name, &digest).map_err(refused)?)
        })
        .await
    }

    async fn delete_blob(&self, name: &str, digest: &Digest) -> Result<bool, Refusal> {
        let (name, digest) = (name.to_owned(), digest.clone());
        self.at_store(move |inner| {
            if let Some(tag) = inner.image_with(&name, |parts| parts.blobs.contains(&digest))? {
                return Err(Refusal::denied(format!("the image tagged `{tag}` needs it: delete that first")));
            }
            inner.store.unlink(&name, &digest, false, &[]).map_err(refused)
        })
        .await
    }

    async fn repository_size(&self, name: &str) -> Result<u64, Refusal> {
        let name = name.to_owned();
        self.at_store(move |inner| inner.size_of(&name)).await
    }

    async fn ready(&self) -> Result<(), Refusal> {
        // Dropped without a commit: nothing stays of it.
        self.at_store(|inner| inner.store.blob_writer_of(Algorithm::Sha256).map(drop).map_err(refused)).await
    }

    async fn upload(&self, name: &str, algorithm: Algorithm) -> Result<Box<dyn Upload>, Refusal> {
        let name = name.to_owned();
        let store = self.inner.store.clone();
        let writer = blocking(move || store.blob_writer_of(algorithm)).await.map_err(refused)?;
        Ok(Box::new(StoreUpload::new(name, writer)))
    }
}

impl Inner {
    fn repositories(&self) -> Result<BTreeSet<String>, Refusal> {
        let mut found: BTreeSet<String> = self.store.linking_repositories().map_err(refused)?.into_iter().collect();
        for registry in self.names.registries() {
            let images = self.store.images_of(registry, None).map_err(refused)?;
            let names = images.iter().filter_map(|image| image.name.as_ref());
            found.extend(names.map(names::repository_of));
        }
        Ok(found)
    }

    /// The images of a repository by tag: of several that have a tag, the one that was named last.
    fn images(&self, name: &str) -> Result<BTreeMap<String, Image>, Refusal> {
        let mut found: BTreeMap<String, Image> = BTreeMap::new();
        for (registry, repository) in self.names.of(name) {
            for image in self.store.images_of(&registry, Some(&repository)).map_err(refused)? {
                let Some(tag) = image.name.as_ref().and_then(|name| name.tag()).map(str::to_owned) else { continue };
                match found.get(&tag) {
                    Some(other) if other.created_at >= image.created_at => {}
                    _ => drop(found.insert(tag, image)),
                }
            }
        }
        Ok(found)
    }

    fn image(&self, name: &str, tag: &str) -> Result<Option<Image>, Refusal> {
        let mut found: Option<Image> = None;
        for reference in self.names.references(name, tag) {
            let image = self.store.named(&reference).map_err(refused)?;
            let is_later = |image: &Image| found.as_ref().is_none_or(|found| image.created_at > found.created_at);
            if let Some(image) = image.filter(is_later) {
                found = Some(image);
            }
        }
        Ok(found)
    }

    /// The tag of an image of the repository whose parts fit, if there is one.
    fn image_with(&self, name: &str, fits: impl Fn(&shown::Parts) -> bool) -> Result<Option<String>, Refusal> {
        let images = self.images(name)?;
        let mut fitting = images.iter().filter(|(_, image)| fits(&self.shown.parts(&self.store, &image.descriptor)));
        Ok(fitting.next().map(|(tag, _)| tag.clone()))
    }

    /// Bytes of what is linked in a repository, or belongs to its images; what is not here costs nothing.
    fn size_of(&self, name: &str) -> Result<u64, Refusal> {
        let links = self.store.links(name).map_err(refused)?;
        let mut held: BTreeSet<Digest> = links.into_iter().map(|link| link.digest).collect();
        for image in self.images(name)?.values() {
            let parts = self.shown.parts(&self.store, &image.descriptor);
            held.extend(parts.manifests.keys().chain(&parts.blobs).cloned());
        }
        let sizes = held.iter().map(|digest| self.store.blob_size(digest).map_err(refused));
        sizes.map(|size| size.map(Option::unwrap_or_default)).sum()
    }

    /// The type of a manifest, if the repository has it.
    fn manifest_type(&self, name: &str, digest: &Digest) -> Result<Option<MediaType>, Refusal> {
        if let Some(link) = self.store.link(name, digest, true).map_err(refused)? {
            return Ok(link.media_type);
        }
        if !self.store.has_blob(digest).map_err(refused)? {
            return Ok(None);
        }
        for image in self.images(name)?.values() {
            if let Some(media_type) = self.shown.parts(&self.store, &image.descriptor).manifests.get(digest) {
                return Ok(Some(media_type.clone()));
            }
        }
        Ok(None)
    }

    /// A manifest that the store has lost, or that has rotted and was moved aside, is not there.
    fn read_manifest(&self, digest: &Digest, media_type: &MediaType) -> cooper_store::Result<Option<StoredManifest>> {
        match self.store.read_blob(digest, DOCUMENT_MAX) {
            Ok(bytes) => {
                let (digest, media_type) = (digest.clone(), media_type.clone());
                Ok(Some(StoredManifest { digest, media_type, bytes: bytes.into() }))
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn blob_size(&self, name: &str, digest: &Digest) -> Result<Option<u64>, Refusal> {
        let Some(size) = self.store.blob_size(digest).map_err(refused)? else { return Ok(None) };
        if let Some(link) = self.store.link(name, digest, false).map_err(refused)? {
            // Whoever asks may rely on the answer in what they push next.
            if link.loose_since.is_some() {
                self.store.tighten_link(name, digest).map_err(refused)?;
            }
            return Ok(Some(size));
        }
        Ok(self.image_with(name, |parts| parts.blobs.contains(digest))?.map(|_| size))
    }

    /// Repositories that link to a blob, then those of images that are made of it.
    fn holders(&self, digest: &Digest) -> Result<Vec<String>, Refusal> {
        if !self.store.has_blob(digest).map_err(refused)? {
            return Ok(Vec::new());
        }
        let mut found = self.store.repositories_linking(digest).map_err(refused)?;
        for registry in self.names.registries() {
            for image in self.store.images_of(registry, None).map_err(refused)? {
                let Some(name) = &image.name else { continue };
                let repository = names::repository_of(name);
                if !found.contains(&repository)
                    && self.shown.parts(&self.store, &image.descriptor).blobs.contains(digest)
                {
                    found.push(repository);
                }
            }
        }
        Ok(found)
    }

    fn put_manifest(
        &self,
        name: &str,
        tags: &[String],
        manifest: &StoredManifest,
        parts: &[Part],
    ) -> Result<(), Refusal> {
        let parts = parts.iter().map(|part| self.new_part(name, part)).collect::<Result<Vec<_>, _>>()?;
        let descriptor =
            Descriptor::new(manifest.media_type.clone(), manifest.digest.clone(), manifest.bytes.len() as u64);
        let names: Vec<_> = tags.iter().filter_map(|tag| self.names.pushed(name, tag)).collect();
        let document = Document::of(manifest);
        let subject = document.as_ref().and_then(|document| document.subject()).map(|subject| &subject.digest);
        let new = NewManifest {
            repository: name,
            descriptor: &descriptor,
            bytes: &manifest.bytes,
            subject,
            names: &names,
            parts: &parts,
        };
        match self.store.put_manifest(&new).map_err(refused)? {
            None => Ok(()),
            Some(missing) => Err(Refusal::missing_part(&Part::Blob(missing))),
        }
    }

    /// How the store is to look for a part: among the repository's links, or where one of its images shows it.
    fn new_part(&self, name: &str, part: &Part) -> Result<NewPart, Refusal> {
        let (Part::Blob(digest) | Part::Manifest(digest)) = part;
        let is_manifest = matches!(part, Part::Manifest(_));
        let linked = self.store.link(name, digest, is_manifest).map_err(refused)?;
        if let Some(link) = linked {
            return Ok(NewPart { digest: digest.clone(), media_type: link.media_type, linked: true });
        }
        let (shown, media_type) = match is_manifest {
            true => {
                let media_type = self.manifest_type(name, digest)?;
                (media_type.is_some(), media_type)
            }
            false => (self.image_with(name, |parts| parts.blobs.contains(digest))?.is_some(), None),
        };
        Ok(NewPart { digest: digest.clone(), media_type, linked: !shown })
    }

    /// Takes the server's own names away. One that only the builder gave is the builder's.
    fn delete_tag(&self, name: &str, tag: &str) -> Result<bool, Refusal> {
        if self.store.untag_all(&self.names.own(name, tag)).map_err(refused)? {
            return Ok(true);
        }
        match self.image(name, tag)? {
            None => Ok(false),
            Some(_) => Err(builders(tag)),
        }
    }

    fn delete_manifest(&self, name: &str, digest: &Digest) -> Result<bool, Refusal> {
        let images = self.images(name)?;
        for (tag, image) in &images {
            let is_own = image.name.as_ref().is_some_and(|name| self.names.is_own(name));
            if image.descriptor.digest == *digest && !is_own {
                return Err(builders(tag));
            }
            let parts = self.shown.parts(&self.store, &image.descriptor);
            if image.descriptor.digest != *digest && parts.manifests.contains_key(digest) {
                return Err(Refusal::denied(format!("the index tagged `{tag}` needs it: delete that first")));
            }
        }
        let named = images.iter().filter(|(_, image)| image.descriptor.digest == *digest);
        let names: Vec<_> = named.flat_map(|(tag, _)| self.names.own(name, tag)).collect();
        self.store.unlink(name, digest, true, &names).map_err(refused)
    }
}

fn builders(tag: &str) -> Refusal {
    Refusal::denied(format!("`{tag}` is an image of the builder: `cooper rmi` removes it"))
}

fn page(all: &BTreeSet<String>, after: Option<&str>, limit: usize) -> Vec<String> {
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    all.range::<str, _>((start, Bound::Unbounded)).take(limit).cloned().collect()
}
