//! Where the disk space is. Does not know what should go.

use std::collections::{HashMap, HashSet};

use crate::db::length;
use crate::gc::contents;
use crate::gc::graph::Graph;
use crate::gc::sweep::cache_mount_sizes;
use crate::{Error, ErrorKind, Kind, RecordId, Result, Store};

/// One thing in the store that can be used or removed by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuRow {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: Kind,
    /// Bytes of all it is made of.
    pub size: u64,
    /// Bytes of those that something else is made of, too: removing this alone does not free them.
    pub shared: u64,
    /// Seconds since 1970.
    pub last_used: i64,
    /// The step of a record, the names of an image, the name of a cache mount.
    pub description: String,
    /// A running build, or a tagged image, keeps it.
    pub in_use: bool,
}

impl Store {
    /// Everything that can be removed by itself, and what it takes.
    pub fn du(&self) -> Result<Vec<DuRow>> {
        let mut known = HashMap::new();
        let mounts = cache_mount_sizes(self)?;
        contents::of_images(self, &mut known)?;
        let graph = self.db().read_with(|c| self.graph(c, &known, true))?;
        // An image appeared in between: the store is busy, and the caller can look again.
        let graph = graph.ok_or_else(|| Error::new(ErrorKind::Busy, "an image appeared while the store was read"))?;
        let mut rows = records(&graph)?;
        rows.extend(images(&graph));
        rows.extend(loose(&graph));
        rows.extend(graph.cache_mounts.iter().map(|mount| DuRow {
            id: mount.id.clone(),
            kind: Kind::CacheMount,
            size: mounts.get(&mount.id).copied().unwrap_or(0),
            shared: 0,
            last_used: mount.used,
            description: mount.name.clone(),
            in_use: mount.held,
        }));
        Ok(rows)
    }

    /// Bytes of all layers, blobs and cache mounts, each counted once.
    pub fn used_bytes(&self) -> Result<u64> {
        let mounts: u64 = cache_mount_sizes(self)?.values().sum();
        let sql = "SELECT (SELECT coalesce(sum(size), 0) FROM layers) + (SELECT coalesce(sum(size), 0) FROM blobs)";
        Ok(mounts + self.db().read(|c| c.query_row(sql, [], |row| length(row, 0)))?)
    }
}

fn records(graph: &Graph) -> Result<Vec<DuRow>> {
    graph
        .records
        .iter()
        .map(|record| {
            let sum = Sum::of(graph, &record.layers, record.detail.as_slice());
            let in_use = record.layers.iter().any(|id| graph.layers.get(id).is_some_and(|layer| layer.held));
            Ok(DuRow {
                id: RecordId::from_slice(&record.id)?.to_string(),
                kind: Kind::Record,
                size: sum.size,
                shared: sum.shared,
                last_used: record.used,
                description: record.step.clone(),
                in_use,
            })
        })
        .collect()
}

fn images(graph: &Graph) -> Vec<DuRow> {
    let row = |image: &crate::gc::graph::ImageNode| {
        let blobs: Vec<String> = image.contents.blobs.iter().cloned().collect();
        let sum = Sum::of(graph, &[], &blobs);
        DuRow {
            id: image.digest.clone(),
            kind: Kind::Image,
            size: sum.size,
            shared: sum.shared,
            last_used: image.created,
            description: image.names.join(", "),
            in_use: !image.names.is_empty(),
        }
    };
    graph.images.iter().map(row).collect()
}

/// Layers and blobs that no record and no image accounts for.
fn loose(graph: &Graph) -> Vec<DuRow> {
    let of_records: HashSet<&String> = graph.records.iter().flat_map(|record| &record.layers).collect();
    let of_details: HashSet<&String> = graph.records.iter().filter_map(|record| record.detail.as_ref()).collect();
    let of_images: HashSet<&String> = graph.images.iter().flat_map(|image| &image.contents.blobs).collect();
    let of_layers: HashSet<&String> = graph.layers.values().flat_map(|layer| &layer.blobs).collect();
    let layers = graph.layers.iter().filter(|(id, _)| !of_records.contains(id)).map(|(id, layer)| {
        let sum = Sum::of(graph, std::slice::from_ref(id), &[]);
        let in_use = layer.held || graph.in_images.contains(id);
        row(Kind::Layer, id, &sum, layer.used, in_use)
    });
    let is_loose = |digest: &String| ![&of_details, &of_images, &of_layers].iter().any(|set| set.contains(digest));
    let blobs = graph
        .blobs
        .iter()
        .filter(|(digest, _)| is_loose(digest))
        .map(|(digest, blob)| row(Kind::Blob, digest, &Sum { size: blob.size, shared: 0 }, blob.used, blob.held));
    layers.chain(blobs).collect()
}

fn row(kind: Kind, id: &str, sum: &Sum, last_used: i64, in_use: bool) -> DuRow {
    DuRow { id: id.to_owned(), kind, size: sum.size, shared: sum.shared, last_used, description: String::new(), in_use }
}

#[derive(Debug, Default)]
struct Sum {
    size: u64,
    shared: u64,
}

impl Sum {
    fn of(graph: &Graph, layers: &[String], blobs: &[String]) -> Self {
        let mut sum = Self::default();
        for layer in layers.iter().filter_map(|id| graph.layers.get(id)) {
            let refs = layer.refs - u32::from(layer.held);
            sum.add(layer.size, refs);
            // What a shared layer is made of is shared with it.
            layer.blobs.iter().for_each(|digest| sum.add_blob(graph, digest, refs));
        }
        blobs.iter().for_each(|digest| sum.add_blob(graph, digest, 1));
        sum
    }

    fn add_blob(&mut self, graph: &Graph, digest: &str, above: u32) {
        if let Some(blob) = graph.blobs.get(digest) {
            self.add(blob.size, above.max(blob.refs - u32::from(blob.held)));
        }
    }

    fn add(&mut self, size: u64, refs: u32) {
        self.size += size;
        self.shared += if refs > 1 { size } else { 0 };
    }
}
