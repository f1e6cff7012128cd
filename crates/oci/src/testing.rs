//! Images made of a few entries, for the tests of every crate above this one.
//!
//! Builds only what is right; a test that needs a broken image breaks one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::{
    Compression, Descriptor, Entry, EntryKind, History, ImageConfig, LayerWriter, Manifest, MediaType, MemoryBlobs,
    Mtime, Platform, TarWriter,
};

/// A file of `size` bytes, a directory and so on: an entry with plain owner, mode and time.
pub fn entry(path: &str, kind: EntryKind) -> Entry {
    let mode = if kind == EntryKind::Dir { 0o755 } else { 0o644 };
    let mtime = Mtime { secs: 1_700_000_000, nanos: 0 };
    Entry { path: PathBuf::from(path), kind, mode, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() }
}

/// A file with its content.
pub fn file(path: &str, content: &[u8]) -> (Entry, Vec<u8>) {
    (entry(path, EntryKind::File { size: content.len() as u64 }), content.to_vec())
}

/// A directory, as an entry without content.
pub fn dir(path: &str) -> (Entry, Vec<u8>) {
    (entry(path, EntryKind::Dir), Vec::new())
}

/// The tar of `entries`.
///
/// # Panics
/// When an entry cannot be written; this is for tests.
pub fn tar(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    for (entry, content) in entries {
        tar.append(entry, &mut content.as_slice()).expect("a test's entry can be written");
    }
    tar.finish().expect("memory takes any bytes")
}

/// A linux/amd64 image with one gzip layer for each list of entries; its blobs, and its manifest.
///
/// # Panics
/// When an entry cannot be written; this is for tests.
pub fn image(layers: &[Vec<(Entry, Vec<u8>)>]) -> (MemoryBlobs, Descriptor) {
    let blobs = MemoryBlobs::new();
    let platform = Platform::new("linux", "amd64");
    let mut config =
        ImageConfig { os: platform.os.clone(), architecture: platform.architecture.clone(), ..Default::default() };
    let mut descriptors = Vec::new();
    for (number, entries) in layers.iter().enumerate() {
        let mut writer = LayerWriter::new(Vec::new(), Compression::GZIP, None).expect("the default level exists");
        std::io::Write::write_all(&mut writer, &tar(entries)).expect("memory takes any bytes");
        let (bytes, sums) = writer.finish().expect("memory takes any bytes");
        descriptors.push(blobs.add(MediaType::LAYER_GZIP, bytes));
        config.rootfs.diff_ids.push(sums.diff_id);
        config.history.push(History { created_by: format!("layer {number}"), ..Default::default() });
    }
    let config = serde_json::to_vec(&config).expect("a config is JSON");
    let config = blobs.add(MediaType::CONFIG, config);
    let manifest = serde_json::to_vec_pretty(&Manifest::new(config, descriptors)).expect("a manifest is JSON");
    let mut manifest = blobs.add(MediaType::MANIFEST, manifest);
    manifest.platform = Some(platform);
    (blobs, manifest)
}
