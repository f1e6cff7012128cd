//! Tests of the store as a whole: what it promises after kills, cuts, rot and a full disk. Layers are stood in for by rows.

mod basics;
mod crash;
mod full_disk;
mod heal;
mod processes;
mod prune;

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use cooper_oci::{Descriptor, Digest, ImageConfig, Manifest, MediaType};
use rusqlite::params;

use crate::{Key, LayerId, OpenOptions, Record, RecordId, Store};

static NOW: AtomicI64 = AtomicI64::new(1_700_000_000);

fn clock() -> i64 {
    NOW.load(Ordering::Relaxed)
}

fn options(boot_id: &str) -> OpenOptions {
    OpenOptions::new(boot_id, clock)
}

fn open(root: &Path) -> Store {
    Store::open(root, options("boot")).unwrap()
}

/// An image of one layer with the given content.
fn put_image(store: &Store, content: &str) -> Descriptor {
    let layer = store.put_bytes(MediaType::LAYER, content.as_bytes()).unwrap();
    let mut config = ImageConfig { architecture: "amd64".into(), os: "linux".into(), ..ImageConfig::default() };
    config.rootfs.diff_ids = vec![layer.digest.clone()];
    let config = store.put_bytes(MediaType::CONFIG, &serde_json::to_vec(&config).unwrap()).unwrap();
    let manifest = serde_json::to_vec(&Manifest::new(config, vec![layer])).unwrap();
    store.put_bytes(MediaType::MANIFEST, &manifest).unwrap()
}

/// A row and a directory of a layer, with a blob.
fn put_layer(store: &Store, content: &str) -> LayerId {
    let blob = store.put_bytes(MediaType::LAYER, content.as_bytes()).unwrap();
    let id = LayerId::diff(&blob.digest);
    let temporary = store.temporary().unwrap();
    std::fs::create_dir(&temporary).unwrap();
    std::fs::write(temporary.join("file"), content).unwrap();
    store
        .db()
        .write_with(false, |c| {
            c.execute(
                "INSERT OR REPLACE INTO layers(id, diff_id, size, created, used, unpacked, state)
                 VALUES(?1, ?2, ?3, ?4, ?4, 1, ?5)",
                params![id.as_str(), blob.digest.to_string(), content.len() as i64, store.now(), store.volatile()],
            )?;
            c.execute(
                "INSERT OR REPLACE INTO layer_blobs(layer, compression, digest, size, media_type)
                 VALUES(?1, 'none', ?2, ?3, ?4)",
                params![id.as_str(), blob.digest.to_string(), content.len() as i64, MediaType::LAYER],
            )?;
            if !store.layer_path(&id).exists() {
                std::fs::rename(&temporary, store.layer_path(&id)).unwrap();
            }
            Ok(())
        })
        .unwrap();
    id
}

fn record(name: &str, layers: Vec<LayerId>) -> Record {
    Record {
        id: RecordId::of(name.as_bytes()),
        layers,
        inputs: Vec::new(),
        detail: None,
        step: name.to_owned(),
        created: clock(),
        trace: None,
    }
}

fn key(name: &str) -> Key {
    Key::of(name.as_bytes())
}

/// Flips a bit in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn digests(store: &Store) -> Vec<Digest> {
    store.blob_files().unwrap().into_iter().map(|(digest, _)| digest.parse().unwrap()).collect()
}

/// Says on standard error why a test does nothing here.
fn skipped(why: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}
