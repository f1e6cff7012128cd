//! Images by name: the store first, then an OCI layout the caller named, then a registry.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cooper_dockerfile::{BaseKey, nearest};
use cooper_oci::{
    Blobs, Descriptor, Digest, Document, ImageConfig, Layout, Manifest, Platform, Reference, best, parse_document,
    read_all,
};
use cooper_registry::Client;
use cooper_store::{LayerId, Store};

use super::Remotes;
use crate::error::{from_oci, from_store};
use crate::{Error, ErrorKind, Result, homes};

/// A manifest, index or config larger than this is not one.
const DOCUMENT_MAX: u64 = 4 * 1024 * 1024;

/// Indexes may point to indexes this deep.
const INDEX_DEPTH: usize = 3;

/// An image, pinned: what a name meant when this build first asked.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// Its config.
    pub(crate) config: Arc<ImageConfig>,
    /// Its layers, base first; they may not be on disk yet.
    pub(crate) layers: Arc<[LayerId]>,
    /// The layers as its manifest has them.
    pub(crate) blobs: Arc<[Descriptor]>,
    /// Digest of its manifest.
    pub(crate) manifest: Digest,
}

/// Pins images; a name means the same for the whole build.
#[derive(Debug)]
pub(crate) struct Images {
    pub(crate) store: Store,
    pub(crate) client: Client,
    pub(crate) remotes: Arc<Remotes>,
    /// OCI layouts by the name of their context.
    pub(crate) layouts: HashMap<String, PathBuf>,
    /// Images of the store that the request names by descriptor.
    pub(crate) stored: HashMap<Reference, Descriptor>,
    /// Ask the registry even if the store has the name.
    pub(crate) pull: bool,
    /// Names of the Dockerfile's stages, for hints.
    pub(crate) stages: OnceLock<Vec<String>>,
    pub(crate) pinned: Mutex<HashMap<BaseKey, Image>>,
}

impl Images {
    /// The image of `key`.
    pub(crate) async fn pin(&self, key: &BaseKey) -> Result<Image> {
        if let Some(image) = self.pinned.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            return Ok(image.clone());
        }
        let image = match key {
            BaseKey::Image { reference, platform } => self.named(reference, platform).await?,
            BaseKey::OciLayout { name, target, platform } => self.layout(name, target.as_deref(), platform).await?,
        };
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), image.clone());
        Ok(image)
    }

    async fn named(&self, reference: &Reference, platform: &Platform) -> Result<Image> {
        let name = reference.familiar();
        let stored = self.stored.get(reference).cloned();
        let by_name = || self.store.image(reference).map_err(|e| from_store(e, "cannot look up an image"));
        let found = if stored.is_none() && !self.pull { by_name()? } else { stored };
        let repository = Arc::new(self.client.repository(reference));
        if let Some(found) = found {
            let place: Arc<dyn Blobs> = Arc::new(self.store.clone());
            let image = self.open(&place, &found, platform, &name).await;
            let serves = image.as_ref().is_ok_and(|image| image.config.platform().serves(platform));
            return match self.pulled(reference).filter(|_| !serves) {
                Some(root) => self.open(&(repository as Arc<dyn Blobs>), &root, platform, &name).await,
                None => image,
            };
        }
        let what = format!("cannot resolve `{name}`");
        let root = repository.resolve().await.map_err(|e| self.unresolved(from_oci(e.into(), &what), reference))?;
        let image = self.open(&(repository as Arc<dyn Blobs>), &root, platform, &name).await?;
        homes::remember(&self.store, image.blobs.iter(), reference);
        Ok(image)
    }

    /// What a name meant at its registry when it was pulled: it may have been pulled for another platform than a build asks for.
    fn pulled(&self, reference: &Reference) -> Option<Descriptor> {
        self.store.remote_tag(reference).ok().flatten().map(|(root, _)| root)
    }

    /// Says what else the name could have meant: a stage or an image of the store.
    fn unresolved(&self, error: Error, reference: &Reference) -> Error {
        let short = |reference: &Reference| reference.familiar().trim_end_matches(":latest").to_owned();
        let wanted = short(reference);
        let stages = self.stages.get().map(Vec::as_slice).unwrap_or_default();
        if let Some(near) = nearest(&wanted, stages.iter().map(String::as_str)) {
            return error.with_hint(format!("did you mean the stage `{near}`?"));
        }
        let images = self.store.images().unwrap_or_default();
        let names: Vec<String> = images.iter().filter_map(|image| image.name.as_ref()).map(short).collect();
        match nearest(&wanted, names.iter().map(String::as_str)) {
            Some(near) if near != wanted => error.with_hint(format!("did you mean `{near}`, an image of the store?")),
            _ => error,
        }
    }

    async fn layout(&self, name: &str, target: Option<&str>, platform: &Platform) -> Result<Image> {
        let path = self
            .layouts
            .get(name)
            .ok_or_else(|| Error::new(ErrorKind::User, format!("no OCI layout is named `{name}`")))?;
        let what = format!("cannot read the OCI layout `{}`", path.display());
        let layout = Layout::open(path).map_err(|e| from_oci(e, &what))?;
        let root = layout.find(target).map_err(|e| from_oci(e, &what))?;
        self.open(&(Arc::new(layout) as Arc<dyn Blobs>), &root, platform, name).await
    }

    /// Reads manifest and config of the image for `platform` at `place`; layers stay where they are.
    async fn open(&self, place: &Arc<dyn Blobs>, root: &Descriptor, platform: &Platform, name: &str) -> Result<Image> {
        let what = format!("cannot read the image `{name}`");
        let (descriptor, manifest) = self.manifest(place, root, platform, name).await?;
        let config = self.document(place, &manifest.config, &what).await?;
        let config: ImageConfig = serde_json::from_slice(&config).map_err(|e| {
            Error::new(ErrorKind::User, format!("{what}: its config is not an image config")).with_source(e)
        })?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            let counts = (manifest.layers.len(), config.rootfs.diff_ids.len());
            return Err(Error::new(
                ErrorKind::User,
                format!("{what}: it has {} layers but {} diff ids", counts.0, counts.1),
            ));
        }
        if let Some(other) = manifest.layers.iter().find(|layer| !is_layer(layer)) {
            let kind = other.media_type.as_str();
            return Err(Error::new(ErrorKind::User, format!("{what}: it has a layer of the unknown type `{kind}`")));
        }
        let mut layers = Vec::new();
        for (blob, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
            let layer = self.store.import_layer(blob, diff_id).map_err(|e| from_store(e, &what))?;
            self.remotes.add(layer.clone(), blob, place.clone());
            layers.push(layer);
        }
        Ok(Image {
            config: Arc::new(config),
            layers: layers.into(),
            blobs: manifest.layers.into(),
            manifest: descriptor.digest,
        })
    }

    async fn manifest(
        &self,
        place: &Arc<dyn Blobs>,
        root: &Descriptor,
        platform: &Platform,
        name: &str,
    ) -> Result<(Descriptor, Manifest)> {
        let what = format!("cannot read the image `{name}`");
        let mut current = root.clone();
        for _ in 0..INDEX_DEPTH {
            let bytes = self.document(place, &current, &what).await?;
            match parse_document(&current.media_type, &bytes).map_err(|e| from_oci(e, &what))? {
                Document::Manifest(manifest) => return Ok((current, manifest)),
                Document::Index(index) => current = choose(&index.manifests, platform, name)?.clone(),
                Document::Other => break,
            }
        }
        Err(Error::new(ErrorKind::User, format!("{what}: `{}` is not an image", current.media_type.as_str())))
    }

    /// A manifest or config, from the store if it is there, else from the place and then kept.
    async fn document(&self, place: &Arc<dyn Blobs>, descriptor: &Descriptor, what: &str) -> Result<Vec<u8>> {
        if let Ok(bytes) = self.store.read_blob(&descriptor.digest, DOCUMENT_MAX) {
            return Ok(bytes);
        }
        let bytes = read_all(&**place, descriptor, DOCUMENT_MAX).await.map_err(|e| from_oci(e, what))?;
        self.store.put_bytes(descriptor.media_type.as_str(), &bytes).map_err(|e| from_store(e, what))?;
        Ok(bytes)
    }
}

/// A filesystem, also one that may not be given on (`nondistributable`, `foreign`); anything else is an artifact.
fn is_layer(blob: &Descriptor) -> bool {
    let kind = blob.media_type.as_str();
    kind.starts_with("application/vnd.oci.image.layer.") || kind.starts_with("application/vnd.docker.image.rootfs.")
}

fn choose<'a>(manifests: &'a [Descriptor], wanted: &Platform, name: &str) -> Result<&'a Descriptor> {
    if let Some(found) = best(&manifests.iter().collect::<Vec<_>>(), wanted) {
        return Ok(found);
    }
    let there: Vec<String> = manifests.iter().filter_map(|d| d.platform.as_ref()).map(ToString::to_string).collect();
    let error = Error::new(ErrorKind::NotFound, format!("the image `{name}` has no manifest for {wanted}"));
    Err(error.with_hint(format!("it has: {}", there.join(", "))))
}
