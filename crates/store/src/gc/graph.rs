//! What refers to what: images and records to layers and blobs, layers and links to blobs. Counts references, so that removing one
//! thing says what goes with it. Does not know files, nor which things should go.

use std::collections::{HashMap, HashSet};

use rusqlite::Connection;

use crate::db::length;
use crate::gc::contents::Contents;
use crate::leases::Held;
use crate::links;

/// A layer and what it keeps.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    pub(crate) size: u64,
    pub(crate) used: i64,
    pub(crate) blobs: Vec<String>,
    pub(crate) refs: u32,
    pub(crate) held: bool,
}

/// A blob.
#[derive(Debug, Default)]
pub(crate) struct Blob {
    pub(crate) size: u64,
    pub(crate) used: i64,
    pub(crate) refs: u32,
    pub(crate) held: bool,
}

/// A record.
#[derive(Debug)]
pub(crate) struct RecordNode {
    pub(crate) id: Vec<u8>,
    pub(crate) step: String,
    pub(crate) used: i64,
    pub(crate) layers: Vec<String>,
    pub(crate) detail: Option<String>,
    /// It counts: durable, or of this boot.
    pub(crate) current: bool,
}

/// An image with its names.
#[derive(Debug)]
pub(crate) struct ImageNode {
    pub(crate) digest: String,
    pub(crate) names: Vec<String>,
    pub(crate) created: i64,
    pub(crate) contents: Contents,
}

/// A cache mount.
#[derive(Debug)]
pub(crate) struct CacheMount {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) used: i64,
    pub(crate) held: bool,
}

/// Everything in the store.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) layers: HashMap<String, Layer>,
    pub(crate) blobs: HashMap<String, Blob>,
    pub(crate) records: Vec<RecordNode>,
    pub(crate) images: Vec<ImageNode>,
    pub(crate) cache_mounts: Vec<CacheMount>,
    /// Layers that tagged images are made of.
    pub(crate) in_images: HashSet<String>,
}

/// What went with a removal.
#[derive(Debug, Default)]
pub(crate) struct Freed {
    pub(crate) layers: Vec<String>,
    pub(crate) blobs: Vec<String>,
    pub(crate) bytes: u64,
}

impl Graph {
    /// Reads the rows. `None` when an image appeared whose contents are not among `contents`. With `keep_images`, tagged
    /// images keep the layers they are made of and not only their blobs.
    pub(crate) fn load(
        c: &Connection,
        contents: &HashMap<String, Contents>,
        keep_images: bool,
        is_current: &dyn Fn(&str) -> bool,
    ) -> rusqlite::Result<Option<Self>> {
        let mut graph = Self { layers: layers(c)?, blobs: blobs(c)?, ..Self::default() };
        let Some(images) = images(c, contents)? else { return Ok(None) };
        graph.images = images;
        graph.records = records(c, is_current)?;
        graph.cache_mounts = cache_mounts(c)?;
        graph.hold(&held(c)?);
        count_blobs(&mut graph.blobs, &links::linked(c)?);
        graph.count(keep_images);
        Ok(Some(graph))
    }

    fn hold(&mut self, held: &HashSet<(String, String)>) {
        let is_held = |kind: Held, id: &str| held.contains(&(kind.as_str().to_owned(), id.to_owned()));
        for (id, layer) in &mut self.layers {
            layer.held = is_held(Held::Layer, id);
            layer.refs += u32::from(layer.held);
        }
        for (digest, blob) in &mut self.blobs {
            blob.held = is_held(Held::Blob, digest);
            blob.refs += u32::from(blob.held);
        }
        for mount in &mut self.cache_mounts {
            mount.held = is_held(Held::CacheMount, &mount.id);
        }
    }

    fn count(&mut self, keep_images: bool) {
        let Self { layers, blobs, records, images, in_images, .. } = self;
        for image in images.iter() {
            count_blobs(blobs, &image.contents.blobs);
            if !image.names.is_empty() {
                in_images.extend(image.contents.layers.iter().filter(|id| layers.contains_key(*id)).cloned());
            }
        }
        if keep_images {
            count_layers(layers, in_images.iter());
        }
        for record in records.iter() {
            count_layers(layers, record.layers.iter());
            count_blobs(blobs, record.detail.iter());
        }
        for layer in layers.values() {
            count_blobs(blobs, &layer.blobs);
        }
    }

    /// Bytes of all layers and blobs.
    pub(crate) fn bytes(&self) -> u64 {
        let layers: u64 = self.layers.values().map(|layer| layer.size).sum();
        layers + self.blobs.values().map(|blob| blob.size).sum::<u64>()
    }

    /// Takes the references of a record away.
    pub(crate) fn drop_record(&mut self, index: usize) -> Freed {
        let mut freed = Freed::default();
        let (ids, detail) = match self.records.get_mut(index) {
            Some(record) => (std::mem::take(&mut record.layers), record.detail.take()),
            None => return freed,
        };
        ids.iter().for_each(|id| self.drop_layer(id, &mut freed));
        detail.iter().for_each(|digest| self.drop_blob(digest, &mut freed));
        freed
    }

    /// Takes the references of an image away.
    pub(crate) fn drop_image(&mut self, index: usize) -> Freed {
        let mut freed = Freed::default();
        let contents = self.images.get_mut(index).map(|image| std::mem::take(&mut image.contents)).unwrap_or_default();
        contents.blobs.iter().for_each(|digest| self.drop_blob(digest, &mut freed));
        freed
    }

    /// Takes one reference to a layer away, and the layer with its last.
    pub(crate) fn drop_layer(&mut self, id: &str, freed: &mut Freed) {
        let Some(layer) = self.layers.get_mut(id) else { return };
        layer.refs = layer.refs.saturating_sub(1);
        if layer.refs > 0 {
            return;
        }
        let Some(layer) = self.layers.remove(id) else { return };
        freed.bytes += layer.size;
        freed.layers.push(id.to_owned());
        layer.blobs.iter().for_each(|digest| self.drop_blob(digest, freed));
    }

    /// Takes one reference to a blob away, and the blob with its last.
    pub(crate) fn drop_blob(&mut self, digest: &str, freed: &mut Freed) {
        let Some(blob) = self.blobs.get_mut(digest) else { return };
        blob.refs = blob.refs.saturating_sub(1);
        if blob.refs > 0 {
            return;
        }
        freed.bytes += blob.size;
        freed.blobs.push(digest.to_owned());
        self.blobs.remove(digest);
    }
}

fn count_layers<'a>(layers: &mut HashMap<String, Layer>, ids: impl IntoIterator<Item = &'a String>) {
    for id in ids {
        if let Some(layer) = layers.get_mut(id) {
            layer.refs += 1;
        }
    }
}

fn count_blobs<'a>(blobs: &mut HashMap<String, Blob>, digests: impl IntoIterator<Item = &'a String>) {
    for digest in digests {
        if let Some(blob) = blobs.get_mut(digest) {
            blob.refs += 1;
        }
    }
}

fn layers(c: &Connection) -> rusqlite::Result<HashMap<String, Layer>> {
    let mut out: HashMap<String, Layer> = HashMap::new();
    let mut statement = c.prepare_cached("SELECT id, coalesce(size, 0), coalesce(used, 0) FROM layers")?;
    let rows = statement
        .query_map([], |r| Ok((r.get(0)?, Layer { size: length(r, 1)?, used: r.get(2)?, ..Layer::default() })))?;
    for row in rows {
        let (id, layer) = row?;
        out.insert(id, layer);
    }
    let mut statement = c.prepare_cached("SELECT layer, digest FROM layer_blobs")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
    for row in rows {
        let (id, digest) = row?;
        if let Some(layer) = out.get_mut(&id) {
            layer.blobs.push(digest);
        }
    }
    Ok(out)
}

fn blobs(c: &Connection) -> rusqlite::Result<HashMap<String, Blob>> {
    let mut statement = c.prepare_cached("SELECT digest, size, used FROM blobs")?;
    let rows = statement
        .query_map([], |r| Ok((r.get(0)?, Blob { size: length(r, 1)?, used: r.get(2)?, ..Blob::default() })))?;
    rows.collect()
}

fn records(c: &Connection, is_current: &dyn Fn(&str) -> bool) -> rusqlite::Result<Vec<RecordNode>> {
    let mut statement = c.prepare_cached("SELECT id, step, used, layers, detail, state FROM records")?;
    let rows = statement.query_map([], |row| {
        let (layers, state): (String, String) = (row.get(3)?, row.get(5)?);
        Ok(RecordNode {
            id: row.get(0)?,
            step: row.get(1)?,
            used: row.get(2)?,
            layers: layers.split_whitespace().map(str::to_owned).collect(),
            detail: row.get(4)?,
            current: is_current(&state),
        })
    })?;
    rows.collect()
}

fn images(c: &Connection, contents: &HashMap<String, Contents>) -> rusqlite::Result<Option<Vec<ImageNode>>> {
    let sql = "SELECT images.digest, tags.name, images.created FROM images LEFT JOIN tags USING(digest) ORDER BY images.digest";
    let mut statement = c.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut out: Vec<ImageNode> = Vec::new();
    while let Some(row) = rows.next()? {
        let (digest, name): (String, Option<String>) = (row.get(0)?, row.get(1)?);
        if let Some(last) = out.last_mut().filter(|last| last.digest == digest) {
            last.names.extend(name);
            continue;
        }
        let Some(contents) = contents.get(&digest).cloned() else { return Ok(None) };
        out.push(ImageNode { digest, names: name.into_iter().collect(), created: row.get(2)?, contents });
    }
    Ok(Some(out))
}

fn cache_mounts(c: &Connection) -> rusqlite::Result<Vec<CacheMount>> {
    let mut statement = c.prepare_cached("SELECT id, name, used FROM cache_mounts")?;
    let rows = statement
        .query_map([], |row| Ok(CacheMount { id: row.get(0)?, name: row.get(1)?, used: row.get(2)?, held: false }))?;
    rows.collect()
}

fn held(c: &Connection) -> rusqlite::Result<HashSet<(String, String)>> {
    let mut statement = c.prepare_cached("SELECT kind, id FROM leases")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}
