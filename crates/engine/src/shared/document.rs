//! A shared cache on the wire: which keys name which records, and the layers of each record. Format in
//! `docs/design/shared-cache.md`.
//!
//! Pure: reads and writes bytes, opens nothing.

use std::collections::{BTreeMap, HashMap};

use cooper_oci::{Descriptor, Digest, Manifest};
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// Media type of the document, which is the config of the cache's manifest.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.cooper.cache.v1+json";

/// Where an image config keeps an inline cache.
pub(crate) const INLINE_FIELD: &str = "cooper.cache.v1";

/// Records a document holds; the latest are kept.
const RECORDS_MAX: usize = 5_000;

/// The document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Document {
    /// Layers that records refer to by position: the manifest's layers, in its order.
    pub(crate) diff_ids: Vec<Digest>,
    /// Records, the latest first.
    pub(crate) records: Vec<Entry>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Its id, in hex.
    pub(crate) id: String,
    /// The keys that name it, in hex.
    pub(crate) keys: Vec<String>,
    /// Its layers, base first, as positions in the document's list.
    pub(crate) layers: Vec<usize>,
    /// Name of the step that made it, for people.
    pub(crate) step: String,
    /// When: seconds since 1970.
    pub(crate) created: i64,
}

/// A record with its layers spelled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) keys: Vec<String>,
    pub(crate) layers: Vec<(Descriptor, Digest)>,
    pub(crate) step: String,
    pub(crate) created: i64,
}

/// Records by id.
pub(crate) type Records = BTreeMap<String, Known>;

impl Document {
    /// The records of a cache, whose layers are `blobs`.
    ///
    /// # Errors
    /// Counts or positions do not fit.
    pub(crate) fn records(self, blobs: &[Descriptor]) -> Result<Records> {
        let wrong = |why: &str| Error::new(ErrorKind::User, format!("the cache is not well formed: {why}"));
        if self.diff_ids.len() != blobs.len() {
            return Err(wrong("its layers and their ids differ in number"));
        }
        let mut records = Records::new();
        for entry in self.records.into_iter().take(RECORDS_MAX) {
            let layer = |at: &usize| Some((blobs.get(*at)?.clone(), self.diff_ids.get(*at)?.clone()));
            let layers: Option<Vec<_>> = entry.layers.iter().map(layer).collect();
            let layers = layers.ok_or_else(|| wrong("a record names a layer that is not there"))?;
            let known = Known { keys: entry.keys, layers, step: entry.step, created: entry.created };
            records.insert(entry.id, known);
        }
        Ok(records)
    }

    /// The document of `records`, and the layers its manifest has.
    pub(crate) fn of(records: &Records) -> (Self, Vec<Descriptor>) {
        let mut latest: Vec<_> = records.iter().collect();
        latest.sort_by(|a, b| b.1.created.cmp(&a.1.created).then_with(|| a.0.cmp(b.0)));
        latest.truncate(RECORDS_MAX);
        let mut document = Self::default();
        let (mut blobs, mut places) = (Vec::new(), HashMap::new());
        for (id, known) in latest {
            let mut layers = Vec::new();
            for (blob, diff_id) in &known.layers {
                let place = *places.entry(blob.digest.clone()).or_insert_with(|| {
                    blobs.push(blob.clone());
                    document.diff_ids.push(diff_id.clone());
                    blobs.len() - 1
                });
                layers.push(place);
            }
            let (keys, step) = (known.keys.clone(), known.step.clone());
            document.records.push(Entry { id: id.clone(), keys, layers, step, created: known.created });
        }
        (document, blobs)
    }
}

/// Adds what `others` know to `records`: builders that write one cache add to it. A record that both know keeps all its keys.
pub(crate) fn merge(records: &mut Records, others: Records) {
    for (id, other) in others {
        match records.entry(id) {
            std::collections::btree_map::Entry::Vacant(slot) => drop(slot.insert(other)),
            std::collections::btree_map::Entry::Occupied(mut slot) => {
                let known = slot.get_mut();
                let more = other.keys.into_iter().filter(|key| !known.keys.contains(key)).collect::<Vec<_>>();
                known.keys.extend(more);
            }
        }
    }
}

/// The inline cache of an image: records whose filesystem is the image's lowest layers, by their number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inline(pub(crate) Vec<InlineEntry>);

/// One record of an inline cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InlineEntry {
    pub(crate) id: String,
    pub(crate) keys: Vec<String>,
    /// How many of the image's layers, from the base, it has.
    pub(crate) layers: usize,
}

impl Inline {
    /// The records of an image with these layers. Those that do not fit it are left out.
    pub(crate) fn records(self, manifest: &Manifest, diff_ids: &[Digest]) -> Records {
        let layers: Vec<_> = manifest.layers.iter().cloned().zip(diff_ids.iter().cloned()).collect();
        let record = |entry: InlineEntry| {
            let layers = layers.get(..entry.layers)?.to_vec();
            Some((entry.id, Known { keys: entry.keys, layers, step: String::new(), created: 0 }))
        };
        self.0.into_iter().take(RECORDS_MAX).filter_map(record).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str) -> (Descriptor, Digest) {
        (Descriptor::of("application/x", name.as_bytes()), Digest::of(name.as_bytes()))
    }

    fn known(keys: &[&str], layers: &[&str], created: i64) -> Known {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        Known { keys, layers: layers.iter().map(|name| layer(name)).collect(), step: "s".into(), created }
    }

    #[test]
    fn documents_come_back_as_they_went() {
        let records: Records =
            [("1".into(), known(&["a"], &["base", "x"], 1)), ("2".into(), known(&["b", "c"], &["base"], 2))].into();
        let (document, blobs) = Document::of(&records);
        assert_eq!(blobs.len(), 2, "a layer is listed once");
        assert_eq!(document.records[0].id, "2", "the latest first");
        let bytes = serde_json::to_vec(&document).unwrap();
        let again: Document = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(again.clone().records(&blobs).unwrap(), records);
        assert!(again.clone().records(&blobs[..1]).is_err());
        let mut wild = again;
        wild.records[0].layers = vec![7];
        assert!(wild.records(&blobs).is_err());
    }

    #[test]
    fn builders_add_to_a_cache() {
        let mut ours: Records = [("1".into(), known(&["a"], &["x"], 1))].into();
        let theirs = [("1".into(), known(&["a", "b"], &["x"], 1)), ("2".into(), known(&["c"], &["y"], 1))].into();
        merge(&mut ours, theirs);
        assert_eq!(ours["1"].keys, ["a", "b"]);
        assert_eq!(ours.len(), 2);
    }

    #[test]
    fn inline_records_are_the_lowest_layers() {
        let manifest = Manifest::new(layer("config").0, vec![layer("base").0, layer("x").0]);
        let diff_ids = [layer("base").1, layer("x").1];
        let entry = |id: &str, layers| InlineEntry { id: id.into(), keys: vec!["k".into()], layers };
        let records = Inline(vec![entry("1", 1), entry("2", 2), entry("3", 3)]).records(&manifest, &diff_ids);
        assert_eq!(records.keys().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(records["1"].layers, [layer("base")]);
    }
}
