//! From layers and configs to an image: diff ids, manifests and an index, and their blobs in the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use cooper_oci::{Compression, Descriptor, Digest, ImageConfig, Index, Manifest, MediaType, Platform};
use cooper_store::{LayerId, Store};
use serde::Serialize;

use crate::build::Built;
use crate::error::from_store;
use crate::request::AnnotationLevel;
use crate::rewrite::rewrite;
use crate::seal::Seals;
use crate::shared::{INLINE_FIELD, SharedCaches};
use crate::source::Remotes;
use crate::{Error, ErrorKind, Export, Request, Result};

const WHAT: &str = "cannot write the image";

/// What images are assembled with.
#[derive(Debug)]
pub(crate) struct Assembly<'a> {
    pub(crate) store: &'a Store,
    pub(crate) seals: &'a Seals,
    pub(crate) remotes: &'a Arc<Remotes>,
    pub(crate) request: &'a Request,
    pub(crate) export: &'a Export,
    /// Caches whose part of the image travels in its config, if that is asked for.
    pub(crate) inline: Option<&'a SharedCaches>,
}

/// An assembled image.
#[derive(Clone, Debug)]
pub(crate) struct Assembled {
    /// Its manifest, or its index where several platforms are built.
    pub(crate) root: Descriptor,
    /// The config of a single manifest.
    pub(crate) config: Option<Digest>,
}

/// A layer as its manifest has it.
struct Packed {
    diff_id: Digest,
    blob: Descriptor,
}

impl Assembly<'_> {
    /// Writes configs, manifests and index; every layer is packed by then.
    pub(crate) async fn image(&self, built: &[Built]) -> Result<Assembled> {
        let mut manifests = Vec::new();
        for built in built {
            manifests.push(self.manifest(built).await?);
        }
        if !self.request.multi_platform()
            && let [(manifest, config)] = &manifests[..]
        {
            return Ok(Assembled { root: manifest.clone(), config: Some(config.clone()) });
        }
        let mut index = Index::new(manifests.into_iter().map(|(manifest, _)| manifest).collect());
        let media_type = if self.export.docker_types { MediaType::DOCKER_LIST } else { MediaType::INDEX };
        index.media_type = Some(media_type.into());
        index.annotations = self.annotations(AnnotationLevel::Index, None);
        let mut root = self.put(media_type, &index)?;
        root.annotations = self.annotations(AnnotationLevel::IndexDescriptor, None);
        Ok(Assembled { root, config: None })
    }

    /// Writes config and manifest of one platform.
    async fn manifest(&self, built: &Built) -> Result<(Descriptor, Digest)> {
        let image = &built.lowered.image;
        let mut layers = Vec::new();
        for layer in built.filesystem.layers() {
            layers.push(self.layer(built, layer).await?);
        }
        check_history(image, layers.len())?;
        let (config_type, manifest_type) = match self.export.docker_types {
            true => (MediaType::DOCKER_CONFIG, MediaType::DOCKER_MANIFEST),
            false => (MediaType::CONFIG, MediaType::MANIFEST),
        };
        let mut config = image.clone();
        config.rootfs.diff_ids.extend(layers.iter().map(|layer| layer.diff_id.clone()));
        if let Some(caches) = self.inline {
            let inline = caches.inline(self.store, built.filesystem.layers()).await?;
            let inline = serde_json::to_value(&inline).map_err(|e| Error::new(ErrorKind::Io, WHAT).with_source(e))?;
            config.other.insert(INLINE_FIELD.into(), inline);
        }
        let config = serde_json::to_vec(&config).map_err(|e| Error::new(ErrorKind::Io, WHAT).with_source(e))?;
        let config = self.store.put_bytes(config_type, &config).map_err(|e| from_store(e, WHAT))?;
        let digest = config.digest.clone();
        let mut manifest = Manifest::new(config, layers.into_iter().map(|layer| layer.blob).collect());
        manifest.media_type = Some(manifest_type.into());
        manifest.annotations = self.annotations(AnnotationLevel::Manifest, Some(&built.platform));
        let mut manifest = self.put(manifest_type, &manifest)?;
        manifest.annotations = self.annotations(AnnotationLevel::ManifestDescriptor, Some(&built.platform));
        // What was asked for; without that an image says itself what it is for.
        let asked = !self.request.platforms.is_empty();
        manifest.platform = Some(if asked { built.platform.clone() } else { image.platform() });
        Ok((manifest, digest))
    }

    /// Two blanks of indentation, as BuildKit prints manifests: equal images have equal digests.
    fn put(&self, media_type: &str, document: &impl Serialize) -> Result<Descriptor> {
        let bytes = serde_json::to_vec_pretty(document).map_err(|e| Error::new(ErrorKind::Io, WHAT).with_source(e))?;
        self.store.put_bytes(media_type, &bytes).map_err(|e| from_store(e, WHAT))
    }

    fn annotations(&self, at: AnnotationLevel, platform: Option<&Platform>) -> BTreeMap<String, String> {
        let annotations = self.export.annotations.iter().filter(|annotation| annotation.at == at);
        let (all, own): (Vec<_>, Vec<_>) = annotations.partition(|annotation| annotation.platform.is_none());
        let own = own.into_iter().filter(|annotation| annotation.platform.as_ref() == platform);
        all.into_iter().chain(own).map(|a| (a.key.clone(), a.value.clone())).collect()
    }

    /// A base's layer keeps its blob, whatever its compression, unless that is forced.
    async fn layer(&self, built: &Built, layer: &LayerId) -> Result<Packed> {
        let export = self.export;
        let of_base = built.bases.iter().find_map(|image| {
            let index = image.layers.iter().position(|other| other == layer)?;
            image.blobs.get(index)
        });
        let blob = match of_base {
            Some(blob) if !export.force_compression => blob.clone(),
            Some(_) => {
                self.remotes.fetch(std::slice::from_ref(layer)).await?;
                self.seals.blob(layer, export.compression).await?
            }
            None => self.made(layer).await?,
        };
        let diff_id = self.store.layer_diff_id(layer).map_err(|e| from_store(e, WHAT))?;
        let diff_id = diff_id.ok_or_else(|| Error::new(ErrorKind::Io, format!("{WHAT}: a layer has no diff id")))?;
        if let (None, true, Some(epoch)) = (of_base, export.rewrite_timestamp, self.request.epoch) {
            let new = rewrite(self.store, (blob, diff_id), export.compression, epoch).await?;
            return Ok(Packed { diff_id: new.diff_id, blob: typed(&new.descriptor, export.docker_types)? });
        }
        Ok(Packed { diff_id, blob: typed(&blob, export.docker_types)? })
    }

    /// A layer of a step: as a shared cache has it if that is the kind of compression asked for, else packed here.
    async fn made(&self, layer: &LayerId) -> Result<Descriptor> {
        let wanted = self.export.compression;
        let Some(blob) = self.remotes.blob_of(layer) else { return self.seals.blob(layer, wanted).await };
        let own = blob.media_type.layer_compression();
        if own.is_some_and(|own| std::mem::discriminant(&own) == std::mem::discriminant(&wanted)) {
            return Ok(blob);
        }
        self.remotes.fetch(std::slice::from_ref(layer)).await?;
        self.seals.blob(layer, wanted).await
    }
}

fn check_history(image: &ImageConfig, layers: usize) -> Result<()> {
    let counted = image.history.iter().filter(|line| !line.empty_layer).count();
    if counted == layers || image.history.is_empty() {
        return Ok(());
    }
    let counts = format!("{layers} layers but {counted} lines of history");
    Err(Error::new(ErrorKind::Io, format!("{WHAT}: it has {counts} that made one"))
        .with_hint("please report this as a bug of cooper"))
}

/// A layer under its OCI or its Docker media type: the bytes are the same. One of another type stays as it is.
fn typed(blob: &Descriptor, docker: bool) -> Result<Descriptor> {
    let media_type = match (blob.media_type.layer_compression(), docker) {
        (Some(Compression::None), false) => MediaType::LAYER,
        (Some(Compression::Gzip(_)), false) => MediaType::LAYER_GZIP,
        (Some(Compression::Zstd(_)), false) => MediaType::LAYER_ZSTD,
        (Some(Compression::None), true) => MediaType::DOCKER_LAYER,
        (Some(Compression::Gzip(_)), true) => MediaType::DOCKER_LAYER_GZIP,
        (Some(Compression::Zstd(_)), true) => {
            let what = "Docker's media types have none for a layer compressed with zstd";
            return Err(Error::new(ErrorKind::User, what)
                .with_hint("leave out oci-mediatypes=false, or add compression=gzip,force-compression=true"));
        }
        (None, _) => return Ok(blob.clone()),
    };
    Ok(Descriptor { media_type: media_type.into(), ..blob.clone() })
}
