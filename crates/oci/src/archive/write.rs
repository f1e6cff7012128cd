//! Writes images as one tar whose bytes depend on nothing but the images and their names.
//!
//! Does not compress the outer tar: layers are compressed already.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use futures::StreamExt;
use serde_json::json;

use crate::copy::{Plan, is_foreign, plan, read_manifest};
use crate::document::{Document, parse_document};
use crate::layout::{LAYOUT, named, to_json};
use crate::memory::BlobCheck;
use crate::{
    Blobs, Descriptor, Digest, Entry, EntryKind, Error, ErrorKind, Index, Mtime, Reference, Result, TarWriter,
};

/// Modes of other writers of archives, so that unpacking one by hand gives what people expect.
const FILE_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o755;

/// An image to write, and the names it gets.
pub type Named = (Descriptor, Vec<Reference>);

/// Writes images and all they name as a tar of an OCI layout. What they share is written once.
pub async fn write_oci_archive<W: Write + Send>(out: &mut W, images: &[Named], from: &dyn Blobs) -> Result<()> {
    let plans = plans(images, from).await?;
    write(out, &plans, &[("index.json", index(images)?), ("oci-layout", LAYOUT.to_vec())], from).await
}

/// Writes images as `docker save` does: an OCI layout with a `manifest.json` beside it, which `docker load` and readers
/// of either format accept. Each image must have one platform; an index may hold statements about it too.
pub async fn write_docker_archive<W: Write + Send>(out: &mut W, images: &[Named], from: &dyn Blobs) -> Result<()> {
    let plans = plans(images, from).await?;
    let mut entries = Vec::new();
    for (plan, (_, names)) in plans.iter().zip(images) {
        entries.push(docker_entry(plan, names, from).await?);
    }
    let manifest = to_json(&entries)?;
    let files = [("index.json", index(images)?), ("manifest.json", manifest), ("oci-layout", LAYOUT.to_vec())];
    write(out, &plans, &files, from).await
}

async fn plans(images: &[Named], from: &dyn Blobs) -> Result<Vec<Plan>> {
    let mut plans = Vec::new();
    for (root, _) in images {
        plans.push(plan(root, from).await?);
    }
    Ok(plans)
}

fn index(images: &[Named]) -> Result<Vec<u8>> {
    to_json(&Index::new(images.iter().flat_map(|(root, names)| named(root, names)).collect()))
}

/// What `manifest.json` says of an image.
async fn docker_entry(plan: &Plan, names: &[Reference], from: &dyn Blobs) -> Result<serde_json::Value> {
    let image = only_image(plan)?;
    let manifest = read_manifest(&image, from).await?;
    let tags: Vec<String> =
        names.iter().filter_map(|name| Some((name, name.tag()?))).map(|(name, tag)| tagged(name, tag)).collect();
    let layers: Vec<String> = manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect();
    Ok(json!({ "Config": blob_path(&manifest.config.digest), "RepoTags": tags, "Layers": layers }))
}

/// A name as docker prints it, without a digest.
fn tagged(name: &Reference, tag: &str) -> String {
    let full = format!("{}/{}:{tag}", name.registry(), name.repository());
    full.strip_prefix("docker.io/library/").or_else(|| full.strip_prefix("docker.io/")).unwrap_or(&full).to_owned()
}

/// The one image manifest of a plan. Statements about an image have the platform `unknown/unknown`.
fn only_image(plan: &Plan) -> Result<Descriptor> {
    let statement = |descriptor: &Descriptor| descriptor.platform.as_ref().is_some_and(|own| own.os == "unknown");
    let mut images = Vec::new();
    for (descriptor, bytes) in plan.documents.iter().flatten() {
        if matches!(parse_document(&descriptor.media_type, bytes)?, Document::Manifest(_)) && !statement(descriptor) {
            images.push(descriptor.clone());
        }
    }
    match images.len() {
        1 => Ok(images.remove(0)),
        0 => Err(Error::new(ErrorKind::Invalid, "there is no image to write as a docker archive")),
        count => Err(Error::new(ErrorKind::Invalid, format!("a docker archive holds one platform, not {count}"))
            .with_hint("choose a platform, or write an OCI archive")),
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

/// Blobs in the order of their digests, then the files of the layout.
async fn write<W: Write + Send>(
    out: &mut W,
    plans: &[Plan],
    files: &[(&str, Vec<u8>)],
    from: &dyn Blobs,
) -> Result<()> {
    let mut tar = TarWriter::new(out);
    let documents = plans.iter().flat_map(|plan| plan.documents.iter().flatten());
    let documents: BTreeMap<_, _> = documents.map(|(d, bytes)| (&d.digest, (d, Some(bytes)))).collect();
    let leaves = plans.iter().flat_map(|plan| &plan.leaves).filter(|(_, leaf)| !is_foreign(leaf));
    let leaves = leaves.map(|(digest, leaf)| (digest, (leaf, None)));
    let blobs: BTreeMap<_, _> = leaves.chain(documents).collect();
    let mut directories: Vec<&str> = blobs.keys().map(|digest| digest.algorithm().as_str()).collect();
    directories.dedup();
    tar.append(&directory("blobs".into()), &mut io::empty())?;
    for name in directories {
        tar.append(&directory(PathBuf::from("blobs").join(name)), &mut io::empty())?;
    }
    for (digest, (descriptor, bytes)) in blobs {
        match bytes {
            Some(bytes) => tar.append(&file(blob_path(digest).into(), descriptor.size), &mut bytes.as_slice())?,
            None => write_blob(&mut tar, descriptor, from).await?,
        }
    }
    for (name, bytes) in files {
        tar.append(&file((*name).into(), bytes.len() as u64), &mut bytes.as_slice())?;
    }
    let out = tar.finish()?;
    out.flush().map_err(|error| Error::io("cannot write the archive", error))
}

async fn write_blob<W: Write + Send>(tar: &mut TarWriter<W>, descriptor: &Descriptor, from: &dyn Blobs) -> Result<()> {
    let entry = file(blob_path(&descriptor.digest).into(), descriptor.size);
    if let Some(file) = from.known_file(descriptor) {
        return tar.append_file(&entry, &file);
    }
    tar.start(&entry)?;
    let mut check = BlobCheck::new(descriptor);
    let mut body = from.open(descriptor).await?;
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        check.update(&chunk)?;
        tar.write_all(&chunk).map_err(|error| Error::io("cannot write the archive", error))?;
    }
    check.finish()?;
    tar.end()
}

fn directory(path: PathBuf) -> Entry {
    entry(path, EntryKind::Dir, DIR_MODE)
}

fn file(path: PathBuf, size: u64) -> Entry {
    entry(path, EntryKind::File { size }, FILE_MODE)
}

fn entry(path: PathBuf, kind: EntryKind, mode: u32) -> Entry {
    Entry { path, kind, mode, uid: 0, gid: 0, mtime: Mtime::default(), xattrs: BTreeMap::new() }
}
