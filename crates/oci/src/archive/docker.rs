//! Reads a docker archive without an OCI index: makes the manifests that `manifest.json` only implies.
//!
//! Layers stay as they are, whatever their compression; their diff ids are checked when they are unpacked.

use std::collections::BTreeMap;
use std::io::{self, Read};

use serde::Deserialize;

use super::read::{Archive, Stretch};
use crate::layout::{IMAGE_NAME, REF_NAME, to_json};
use crate::{
    Descriptor, Error, ErrorKind, Format, Hasher, ImageConfig, Index, Manifest, MediaType, Reference, Result, detect,
};

/// Images of one archive.
const IMAGES_LIMIT: usize = 1000;

/// One image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Fills the index of `archive` from its `manifest.json`.
pub(super) fn load(archive: &mut Archive) -> Result<()> {
    let bytes = archive.bytes(archive.stretch("manifest.json")?)?;
    let images: Vec<Image> = serde_json::from_slice(&bytes).map_err(|error| {
        Error::new(ErrorKind::Invalid, "manifest.json of the archive is invalid").with_source(error)
    })?;
    if images.len() > IMAGES_LIMIT {
        return Err(Error::new(ErrorKind::TooLarge, format!("the archive has more than {IMAGES_LIMIT} images")));
    }
    let mut layers = BTreeMap::new();
    let mut entries = Vec::new();
    for image in &images {
        let descriptor = load_image(archive, image, &mut layers)?;
        entries.extend(named(&descriptor, image.repo_tags.as_deref().unwrap_or_default()));
    }
    archive.index = Index::new(entries);
    Ok(())
}

/// Makes the manifest of one image. `known` keeps the layers hashed so far: images share them.
fn load_image(archive: &mut Archive, image: &Image, known: &mut BTreeMap<u64, Descriptor>) -> Result<Descriptor> {
    let stretch = archive.stretch(&image.config)?;
    let bytes = archive.bytes(stretch)?;
    let config: ImageConfig = serde_json::from_slice(&bytes).map_err(|error| {
        Error::new(ErrorKind::Invalid, format!("the image config `{}` is invalid", image.config)).with_source(error)
    })?;
    let names = image.layers.as_deref().unwrap_or_default();
    let ids = config.rootfs.diff_ids.len();
    if names.len() != ids {
        let why = format!("the image config `{}` has {ids} layers, its archive {}", image.config, names.len());
        return Err(Error::new(ErrorKind::Invalid, why));
    }
    let mut layers = Vec::new();
    for name in names {
        layers.push(layer(archive, name, known)?);
    }
    let config_descriptor = Descriptor::of(MediaType::CONFIG, &bytes);
    archive.blobs.insert(config_descriptor.digest.clone(), stretch);
    let manifest = to_json(&Manifest::new(config_descriptor, layers))?;
    let mut descriptor = Descriptor::of(MediaType::MANIFEST, &manifest);
    descriptor.platform = Some(config.platform());
    archive.documents.insert(descriptor.digest.clone(), manifest);
    Ok(descriptor)
}

fn layer(archive: &mut Archive, name: &str, known: &mut BTreeMap<u64, Descriptor>) -> Result<Descriptor> {
    let stretch = archive.stretch(name)?;
    if let Some(known) = known.get(&stretch.offset) {
        return Ok(known.clone());
    }
    let mut hasher = Hasher::default();
    let hashed = io::copy(&mut archive.reader(stretch), &mut hasher);
    hashed.map_err(|error| Error::io(format!("cannot read the layer `{name}`"), error))?;
    if hasher.size() != stretch.size {
        return Err(Error::new(ErrorKind::Corrupt, format!("the layer `{name}` is cut off")));
    }
    let descriptor = Descriptor::new(media_type(archive, stretch, name)?, hasher.finish(), stretch.size);
    archive.blobs.insert(descriptor.digest.clone(), stretch);
    known.insert(stretch.offset, descriptor.clone());
    Ok(descriptor)
}

fn media_type(archive: &Archive, stretch: Stretch, name: &str) -> Result<&'static str> {
    let mut head = Vec::new();
    let read = archive.reader(stretch).take(512).read_to_end(&mut head);
    read.map_err(|error| Error::io(format!("cannot read the layer `{name}`"), error))?;
    match detect(&head) {
        Some(Format::Tar) => Ok(MediaType::LAYER),
        // An empty tar is zeros, which are no header.
        None if head.iter().all(|byte| *byte == 0) => Ok(MediaType::LAYER),
        Some(Format::Gzip) => Ok(MediaType::LAYER_GZIP),
        Some(Format::Zstd) => Ok(MediaType::LAYER_ZSTD),
        Some(other) => {
            Err(Error::new(ErrorKind::Invalid, format!("the layer `{name}` is {other}, which no image may hold")))
        }
        None => Err(Error::new(ErrorKind::Invalid, format!("the layer `{name}` is no tar"))),
    }
}

/// Entries for the tags of an image, or one without a name. A tag that is no image name is kept as it is.
fn named(descriptor: &Descriptor, tags: &[String]) -> Vec<Descriptor> {
    if tags.is_empty() {
        return vec![descriptor.clone()];
    }
    let entry = |tag: &String| {
        let mut entry = descriptor.clone();
        let name = tag.parse::<Reference>();
        entry.annotations.insert(IMAGE_NAME.into(), name.as_ref().map_or(tag.clone(), Reference::to_string));
        if let Some(tag) = name.ok().as_ref().and_then(Reference::tag) {
            entry.annotations.insert(REF_NAME.into(), tag.into());
        }
        entry
    };
    tags.iter().map(entry).collect()
}
