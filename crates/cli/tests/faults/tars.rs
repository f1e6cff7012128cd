//! Hostile archives and the images made of them: headers are written by hand, since no honest writer writes them.

use std::path::{Path, PathBuf};

use cooper_oci::Digest;
use serde_json::json;

const BLOCK: usize = 512;

/// One entry: type flag, name, link target, mode, data.
#[derive(Clone, Debug)]
pub(crate) struct Item(pub(crate) u8, pub(crate) Vec<u8>, pub(crate) Vec<u8>, pub(crate) u32, pub(crate) Vec<u8>);

pub(crate) fn file(name: &str, data: &str) -> Item {
    Item(b'0', name.into(), Vec::new(), 0o644, data.into())
}

pub(crate) fn dir(name: &str) -> Item {
    Item(b'5', name.into(), Vec::new(), 0o777, Vec::new())
}

pub(crate) fn symlink(name: &str, target: &str) -> Item {
    Item(b'2', name.into(), target.into(), 0o777, Vec::new())
}

pub(crate) fn hardlink(name: &str, target: &str) -> Item {
    Item(b'1', name.into(), target.into(), 0o777, Vec::new())
}

/// A special file: `3` character device 1:5 (zero), `4` block device, `6` pipe.
pub(crate) fn special(flag: u8, name: &str) -> Item {
    Item(flag, name.into(), Vec::new(), 0o666, Vec::new())
}

/// An item of GNU's long names (`L`) or long links (`K`).
fn long(flag: u8, text: &[u8]) -> Vec<u8> {
    write(&Item(flag, b"././@LongLink".to_vec(), Vec::new(), 0o644, [text, b"\0"].concat()))
}

fn write(item: &Item) -> Vec<u8> {
    let Item(flag, name, link, mode, data) = item;
    let mut out = Vec::new();
    if name.len() > 100 {
        out.extend(long(b'L', name));
    }
    if link.len() > 100 {
        out.extend(long(b'K', link));
    }
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8], most: usize| {
        let bytes = &bytes[..bytes.len().min(most)];
        header[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(0, name, 100);
    put(100, format!("{mode:07o}").as_bytes(), 8);
    put(108, b"0000000", 8);
    put(116, b"0000000", 8);
    put(124, format!("{:011o}", data.len()).as_bytes(), 12);
    put(136, b"00000000001", 12);
    put(156, &[*flag], 1);
    put(157, link, 100);
    put(257, b"ustar\x0000", 8);
    put(329, b"0000001", 8);
    put(337, b"0000005", 8);
    put(148, b"        ", 8);
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend(header);
    out.extend(data);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    out
}

/// The archive of these items.
pub(crate) fn tar(items: &[Item]) -> Vec<u8> {
    let mut out: Vec<u8> = items.iter().flat_map(write).collect();
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

/// A layer as an image has it: its blob, what it claims to unpack to, and how it is packed.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) blob: Vec<u8>,
    pub(crate) diff_id: Digest,
    pub(crate) media_type: &'static str,
    /// Size in the manifest, when it lies.
    pub(crate) size: Option<u64>,
}

impl Layer {
    pub(crate) fn of(items: &[Item]) -> Self {
        let blob = tar(items);
        let media_type = "application/vnd.oci.image.layer.v1.tar";
        Self { diff_id: Digest::of(&blob), blob, media_type, size: None }
    }
}

/// An OCI layout being written.
#[derive(Debug)]
pub(crate) struct Layout(pub(crate) PathBuf);

impl Layout {
    pub(crate) fn new(at: &Path) -> Self {
        let _ = std::fs::remove_dir_all(at);
        std::fs::create_dir_all(at.join("blobs/sha256")).unwrap();
        std::fs::write(at.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(at.to_owned())
    }

    /// Writes a blob; its descriptor.
    pub(crate) fn blob(&self, media_type: &str, bytes: &[u8]) -> serde_json::Value {
        let digest = Digest::of(bytes);
        std::fs::write(self.0.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    }

    /// Writes the index that names these descriptors.
    pub(crate) fn index(&self, manifests: &[serde_json::Value]) {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        std::fs::write(self.0.join("index.json"), index.to_string()).unwrap();
    }

    /// Writes an image of these layers.
    pub(crate) fn image(&self, layers: &[Layer]) {
        let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
            "config": {"Env": ["PATH=/bin"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = self.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let blobs = layers.iter().map(|layer| {
            let mut blob = self.blob(layer.media_type, &layer.blob);
            if let Some(size) = layer.size {
                blob["size"] = size.into();
            }
            blob
        });
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let blobs: Vec<_> = blobs.collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": blobs});
        let mut manifest = self.blob(media_type, manifest.to_string().as_bytes());
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "hostile:1"});
        self.index(&[manifest]);
    }
}
