//! From layers and a config to an image: diff ids, manifest, and their blobs in the store.

use std::sync::Arc;

use cooper_oci::{Compression, Descriptor, ImageConfig, Manifest, MediaType};
use cooper_store::{LayerId, Store};

use crate::error::from_store;
use crate::seal::Seals;
use crate::shared::{INLINE_FIELD, Inline};
use crate::source::{Image, Remotes};
use crate::{Error, ErrorKind, Result};

/// What an image is made of.
#[derive(Debug)]
pub(crate) struct Assembly<'a> {
    pub(crate) store: &'a Store,
    pub(crate) seals: &'a Seals,
    pub(crate) remotes: &'a Arc<Remotes>,
    /// Images the build is based on: their layers keep their blobs.
    pub(crate) bases: &'a [Image],
    pub(crate) config: &'a ImageConfig,
    pub(crate) layers: &'a [LayerId],
    /// Cache that travels in the image's config.
    pub(crate) inline: Option<Inline>,
}

/// An assembled image.
#[derive(Clone, Debug)]
pub(crate) struct Assembled {
    pub(crate) manifest: Descriptor,
    pub(crate) config: Descriptor,
}

impl Assembly<'_> {
    /// Writes config and manifest; every layer is packed by then, in `compression` where this build made it.
    pub(crate) async fn image(&self, compression: Compression, force: bool) -> Result<Assembled> {
        let mut blobs = Vec::new();
        for layer in self.layers {
            blobs.push(self.blob(layer, compression, force).await?);
        }
        let what = "cannot write the image";
        let mut config = self.config.clone();
        for layer in self.layers {
            let diff_id = self.store.layer_diff_id(layer).map_err(|e| from_store(e, what))?;
            config
                .rootfs
                .diff_ids
                .push(diff_id.ok_or_else(|| Error::new(ErrorKind::Io, format!("{what}: a layer has no diff id")))?);
        }
        if let Some(inline) = &self.inline {
            let value = serde_json::to_value(inline).map_err(|e| Error::new(ErrorKind::Io, what).with_source(e))?;
            config.other.insert(INLINE_FIELD.into(), value);
        }
        let counted = config.history.iter().filter(|line| !line.empty_layer).count();
        if counted != self.layers.len() && !config.history.is_empty() {
            let counts = format!("{} layers but {counted} lines of history", self.layers.len());
            return Err(Error::new(ErrorKind::Io, format!("{what}: it has {counts} that made one"))
                .with_hint("please report this as a bug of cooper"));
        }
        let json = |e| Error::new(ErrorKind::Io, what).with_source(e);
        let config = serde_json::to_vec(&config).map_err(|e: serde_json::Error| json(e))?;
        let config = self.store.put_bytes(MediaType::CONFIG, &config).map_err(|e| from_store(e, what))?;
        // Two blanks of indentation, as BuildKit prints manifests: equal images have equal digests.
        let manifest = serde_json::to_vec_pretty(&Manifest::new(config.clone(), blobs)).map_err(json)?;
        let mut manifest = self.store.put_bytes(MediaType::MANIFEST, &manifest).map_err(|e| from_store(e, what))?;
        manifest.platform = Some(self.config.platform());
        Ok(Assembled { manifest, config })
    }

    /// A base's layer keeps its blob, whatever its compression, unless that is forced.
    async fn blob(&self, layer: &LayerId, compression: Compression, force: bool) -> Result<Descriptor> {
        let of_base = self.bases.iter().find_map(|image| {
            let index = image.layers.iter().position(|other| other == layer)?;
            image.blobs.get(index)
        });
        match of_base {
            Some(blob) if !force => Ok(oci_layer(blob)),
            Some(_) => {
                self.remotes.fetch(std::slice::from_ref(layer)).await?;
                self.seals.blob(layer, compression).await
            }
            None => self.made(layer, compression).await,
        }
    }

    /// A layer of a step: as a shared cache has it if that is the kind of compression asked for, else packed here.
    async fn made(&self, layer: &LayerId, compression: Compression) -> Result<Descriptor> {
        let Some(blob) = self.remotes.blob_of(layer) else { return self.seals.blob(layer, compression).await };
        let own = blob.media_type.layer_compression();
        if own.is_some_and(|own| std::mem::discriminant(&own) == std::mem::discriminant(&compression)) {
            return Ok(oci_layer(&blob));
        }
        self.remotes.fetch(std::slice::from_ref(layer)).await?;
        self.seals.blob(layer, compression).await
    }
}

/// A Docker layer under its OCI media type: the bytes are the same.
fn oci_layer(blob: &Descriptor) -> Descriptor {
    let media_type = match blob.media_type.layer_compression() {
        Some(Compression::None) => MediaType::LAYER,
        Some(Compression::Gzip(_)) => MediaType::LAYER_GZIP,
        Some(Compression::Zstd(_)) => MediaType::LAYER_ZSTD,
        None => return blob.clone(),
    };
    Descriptor { media_type: media_type.into(), ..blob.clone() }
}
