//! Checks an image as a whole: every digest, size and diff id is computed again, and the config must fit the layers.
//!
//! Repairs nothing, and does not know where the blobs come from.

use std::io;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Builder;

use bytes::{Buf, Bytes};
use futures::StreamExt;

use crate::copy::plan;
use crate::document::{DOCUMENT_LIMIT, Document, parse_document};
use crate::{
    Blobs, Body, Descriptor, Digest, Error, ErrorKind, ImageConfig, LayerReader, Manifest, MediaType, Result,
    TarReader, read_all,
};

/// Chunks of a blob that wait for the thread that unpacks it.
const AHEAD: usize = 4;

/// Checks `root` and all it names; the first fault is the error.
pub async fn validate(root: &Descriptor, blobs: &dyn Blobs) -> Result<()> {
    let plan = plan(root, blobs).await?;
    for (descriptor, bytes) in plan.documents.iter().flatten() {
        if let Document::Manifest(manifest) = parse_document(&descriptor.media_type, bytes)? {
            validate_manifest(descriptor, &manifest, blobs).await?;
        }
    }
    Ok(())
}

async fn validate_manifest(descriptor: &Descriptor, manifest: &Manifest, blobs: &dyn Blobs) -> Result<()> {
    let config = read_all(blobs, &manifest.config, DOCUMENT_LIMIT).await?;
    if !matches!(manifest.config.media_type.as_str(), MediaType::CONFIG | MediaType::DOCKER_CONFIG) {
        return validate_artifact(manifest, blobs).await;
    }
    let config: ImageConfig = serde_json::from_slice(&config).map_err(|error| {
        invalid(descriptor, format!("its config is not an image config: {error}")).with_source(error)
    })?;
    if manifest.layers.iter().all(|layer| layer.media_type.layer_compression().is_none()) && !manifest.layers.is_empty()
    {
        // Statements about an image use an image config, too.
        return validate_artifact(manifest, blobs).await;
    }
    check_config(descriptor, manifest, &config)?;
    for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
        validate_layer(layer, diff_id, blobs.open(layer).await?).await?;
    }
    Ok(())
}

async fn validate_artifact(manifest: &Manifest, blobs: &dyn Blobs) -> Result<()> {
    for layer in &manifest.layers {
        let mut check = crate::memory::BlobCheck::new(layer);
        let mut body = blobs.open(layer).await?;
        while let Some(chunk) = body.next().await {
            check.update(&chunk?)?;
        }
        check.finish()?;
    }
    Ok(())
}

fn check_config(descriptor: &Descriptor, manifest: &Manifest, config: &ImageConfig) -> Result<()> {
    let layers = manifest.layers.len();
    if config.rootfs.diff_ids.len() != layers {
        return Err(invalid(descriptor, format!("{layers} layers and {} diff ids", config.rootfs.diff_ids.len())));
    }
    let made = config.history.iter().filter(|entry| !entry.empty_layer).count();
    if !config.history.is_empty() && made != layers {
        return Err(invalid(descriptor, format!("{layers} layers and {made} lines of history that made one")));
    }
    if config.os.is_empty() || config.architecture.is_empty() {
        return Err(invalid(descriptor, "its config names no platform"));
    }
    match &descriptor.platform {
        Some(platform) if !config.platform().serves(platform) => {
            Err(invalid(descriptor, format!("its index says {platform}, its config {}", config.platform())))
        }
        _ => Ok(()),
    }
}

fn invalid(descriptor: &Descriptor, why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, format!("image {} is inconsistent: {why}", descriptor.digest))
}

/// Unpacks a layer to nowhere: both digests and every entry are checked. A thread does the reading, since a decoder
/// cannot wait for a stream.
async fn validate_layer(layer: &Descriptor, diff_id: &Digest, mut body: Body) -> Result<()> {
    let (sender, receiver) = sync_channel(AHEAD);
    let (owned, diff_id) = (layer.clone(), diff_id.clone());
    let thread = Builder::new()
        .name("layer-check".into())
        .spawn(move || read_layer(Chunks { receiver, current: Bytes::new() }, &owned, &diff_id))
        .map_err(|error| Error::io("cannot start a thread to check a layer", error))?;
    while let Some(chunk) = body.next().await {
        // The thread hangs up when it has found a fault; joining it tells which.
        if sender.send(chunk?).is_err() {
            break;
        }
    }
    drop(sender);
    thread.join().map_err(|_| Error::new(ErrorKind::Io, "the thread that checks a layer ended early"))?
}

fn read_layer(raw: Chunks, layer: &Descriptor, diff_id: &Digest) -> Result<()> {
    let mut tar = TarReader::new(LayerReader::new(raw, layer, diff_id)?);
    while tar.next_entry()?.is_some() {}
    tar.finish().map(drop)
}

/// The chunks of a body as a reader.
struct Chunks {
    receiver: Receiver<Bytes>,
    current: Bytes,
}

impl io::Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.recv() {
                Ok(chunk) => self.current = chunk,
                Err(_) => return Ok(0),
            }
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
