//! Places that keep a cache: blobs, and one name for what they belong to.
//!
//! Does not know what a cache consists of.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_oci::{
    BlobSink, Blobs, CopyOptions, Descriptor, ErrorKind as OciErrorKind, Layout, Reference, body_from_bytes, copy,
    read_archive,
};
use cooper_registry::Repository;
use cooper_store::Store;

use super::held::Held;
use super::objects::Objects;
use super::objects::gha::{Gha, GhaOptions};
use super::objects::s3::{S3, S3Options};
use crate::error::from_oci;
use crate::export::{Format, write_archive};
use crate::{Engine, Error, ErrorKind, Location, Result};

/// Where a cache is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CachePlace {
    /// In an image, which is the build's own when written.
    Inline,
    /// At a registry.
    Registry(Reference),
    /// In an OCI layout, under a tag or digest.
    Local(PathBuf, String),
    /// In a tar of an OCI layout.
    Archive(PathBuf),
    /// In an S3 bucket.
    S3(S3Options),
    /// In GitHub's cache service.
    Gha(GhaOptions),
}

impl CachePlace {
    /// The place of a cache at a place of images.
    ///
    /// # Errors
    /// Nothing but images is kept there.
    pub fn at(location: &Location) -> Result<Self> {
        match location {
            Location::Registry(reference) => Ok(Self::Registry(reference.clone())),
            Location::Layout(dir, tag) => Ok(Self::Local(dir.clone(), tag.clone().unwrap_or_else(|| "latest".into()))),
            Location::OciArchive(file, None) => Ok(Self::Archive(file.clone())),
            other => Err(Error::new(ErrorKind::User, format!("a cache cannot be kept at {other}"))
                .with_hint("places are a registry's `host/name:tag`, `oci:DIR[:TAG]` and `oci-archive:FILE`")),
        }
    }

    /// What a user calls it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Inline => "the image".into(),
            Self::Registry(reference) => reference.familiar(),
            Self::Local(dir, tag) => format!("{}:{tag}", dir.display()),
            Self::Archive(file) => file.display().to_string(),
            Self::S3(options) => format!("s3://{}/{}{}", options.bucket, options.prefix, options.names.join(";")),
            Self::Gha(options) => format!("GitHub's cache `{}`", options.scope),
        }
    }
}

/// A place, opened.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) sink: Arc<dyn BlobSink>,
    name: Name,
    pub(crate) shown: String,
}

/// How the place finds what its name stands for.
#[derive(Debug)]
enum Name {
    Registry(Repository),
    Layout(Layout, String),
    /// A file is written whole, from the store.
    Archive(Store, PathBuf, Option<Descriptor>),
    Objects(Objects),
}

/// What a place's name stands for.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub(crate) descriptor: Descriptor,
    /// The word by which a place of objects knows this very state of the name.
    version: Option<String>,
}

impl Place {
    /// Opens a place to read, or to read and write: then it is made if it is missing.
    pub(crate) async fn open(engine: &Engine, place: &CachePlace, write: bool) -> Result<Self> {
        let shown = place.shown();
        let what = format!("cannot open {shown}");
        match place {
            CachePlace::Inline => Err(Error::new(ErrorKind::User, "an inline cache is no place of its own")),
            CachePlace::Registry(reference) => {
                let repository = engine.client.repository(reference);
                Ok(Self::with(repository.clone(), Name::Registry(repository), shown))
            }
            CachePlace::Local(dir, tag) => {
                let layout = if write { Layout::create(dir) } else { Layout::open(dir) };
                let layout = layout.map_err(|e| from_oci(e, &what))?;
                Ok(Self::with(layout.clone(), Name::Layout(layout, tag.clone()), shown))
            }
            CachePlace::Archive(file) => {
                let root = taken_in(engine, file, write, &what).await?;
                let name = Name::Archive(engine.store.clone(), file.clone(), root);
                Ok(Self::with(engine.store.clone(), name, shown))
            }
            CachePlace::S3(options) => {
                let s3 = S3::open(&engine.client, engine.clock, options).map_err(|e| from_oci(e, &what))?;
                Ok(Self::objects(Objects::S3(s3), shown))
            }
            CachePlace::Gha(options) => Ok(Self::objects(Objects::Gha(Gha::open(&engine.client, options)), shown)),
        }
    }

    fn with(both: impl Blobs + BlobSink + Clone + 'static, name: Name, shown: String) -> Self {
        Self { blobs: Arc::new(both.clone()), sink: Arc::new(both), name, shown }
    }

    fn objects(objects: Objects, shown: String) -> Self {
        Self::with(objects.clone(), Name::Objects(objects), shown)
    }

    /// What the name stands for; `None` if it stands for nothing.
    pub(crate) async fn root(&self) -> Result<Option<Root>> {
        let what = format!("cannot find {}", self.shown);
        let plain = |descriptor| Root { descriptor, version: None };
        let found = match &self.name {
            Name::Registry(repository) => repository.resolve().await.map(plain).map_err(cooper_oci::Error::from),
            Name::Layout(layout, tag) => layout.find(Some(tag)).map(plain),
            Name::Archive(_, _, root) => return Ok(root.clone().map(plain)),
            Name::Objects(objects) => {
                let root = objects.root().await.map_err(|e| from_oci(e, &what))?;
                return Ok(root.map(|(descriptor, version)| Root { descriptor, version: Some(version) }));
            }
        };
        match found {
            Ok(root) => Ok(Some(root)),
            Err(error) if error.kind() == OciErrorKind::NotFound => Ok(None),
            Err(error) => Err(from_oci(error, &what)),
        }
    }

    /// Lets the name stand for `root`, whose parts are there, instead of `over`. `false`: the place knows that the name stands
    /// for something else by now.
    pub(crate) async fn set_root(&self, root: &Descriptor, bytes: Vec<u8>, over: Option<&Root>) -> Result<bool> {
        let what = format!("cannot write the cache to {}", self.shown);
        let failed = |e: cooper_oci::Error| from_oci(e, &what);
        match &self.name {
            Name::Registry(repository) => {
                let target = repository.reference().target();
                let put = repository.put_manifest(target, root.media_type.clone(), bytes).await;
                put.map_err(|e| failed(e.into()))?;
            }
            Name::Layout(layout, tag) => {
                layout.put(root, body_from_bytes(bytes)).await.map_err(failed)?;
                let name = format!("cache.invalid/cache:{tag}").parse().map_err(failed)?;
                layout.add(root, &[name]).map_err(failed)?;
            }
            Name::Archive(store, file, _) => {
                store.put(root, body_from_bytes(bytes)).await.map_err(failed)?;
                write_archive(store, &[(root.clone(), Vec::new())], Format::Oci, true, Some(file)).await?;
            }
            Name::Objects(objects) => {
                objects.put(root, body_from_bytes(bytes)).await.map_err(failed)?;
                let over = over.and_then(|over| over.version.as_deref());
                return objects.set_root(root, over).await.map_err(failed);
            }
        }
        Ok(true)
    }

    /// What is there to be added to. What is no cache, or a broken one, counts as nothing.
    pub(crate) async fn held(&self) -> Result<Held> {
        let Some(root) = self.root().await? else { return Ok(Held::default()) };
        match Held::read(&*self.blobs, root.clone()).await {
            Err(error) if matches!(error.kind, ErrorKind::User | ErrorKind::NotFound) => {
                Ok(Held { root: Some(root), is_other: true, ..Held::default() })
            }
            held => held,
        }
    }
}

/// Brings what an archive holds into the store; `None` if there is no such file yet.
async fn taken_in(engine: &Engine, file: &Path, write: bool, what: &str) -> Result<Option<Descriptor>> {
    if write && !file.exists() {
        return Ok(None);
    }
    let archive = read_archive(file, &engine.store.root().join("tmp")).map_err(|e| from_oci(e, what))?;
    let root = archive.find(None).map_err(|e| from_oci(e, what))?;
    copy(&root, &archive, &engine.store, &CopyOptions::default()).await.map_err(|e| from_oci(e, what))?;
    Ok(Some(root))
}
