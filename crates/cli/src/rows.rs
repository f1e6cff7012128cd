//! What the verbs show and ask for: plain values, apart from how they are found and how they are printed.
//!
//! Knows nothing of the store and the engine.

use std::collections::BTreeMap;

use cooper_oci::{Digest, Reference};

/// An image in the store.
#[derive(Clone, Debug)]
pub(crate) struct ImageRow {
    /// Its name; `None` for one that has lost it.
    pub(crate) name: Option<Reference>,
    /// Digest of its manifest or index.
    pub(crate) digest: Digest,
    /// Digest of its config: docker's image id. That of the index where there is no single config.
    pub(crate) id: Digest,
    /// When it was made, seconds since 1970.
    pub(crate) created: Option<i64>,
    /// Bytes of its config and layers as they are kept.
    pub(crate) size: u64,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
}

/// One line of an image's history.
#[derive(Clone, Debug)]
pub(crate) struct HistoryRow {
    /// When, seconds since 1970.
    pub(crate) created: Option<i64>,
    /// The instruction.
    pub(crate) created_by: String,
    /// Bytes of its layer; 0 if it made none.
    pub(crate) size: u64,
    /// Comment.
    pub(crate) comment: String,
    /// The image this line ends, for the first.
    pub(crate) id: Option<Digest>,
}

/// Something that takes space.
#[derive(Clone, Debug)]
pub(crate) struct UsageRow {
    /// Its id.
    pub(crate) id: String,
    /// `image`, `layer`, `blob`, `record`, `cachemount`, `leftover`.
    pub(crate) kind: String,
    /// Bytes.
    pub(crate) size: u64,
    /// Bytes of those that something else is made of, too.
    pub(crate) shared: u64,
    /// Nothing keeps it: `prune` would take it.
    pub(crate) reclaimable: bool,
    /// When it was used last, seconds since 1970.
    pub(crate) used: Option<i64>,
    /// What it is, for a person.
    pub(crate) description: String,
}

/// What `rmi` did.
#[derive(Clone, Debug)]
pub(crate) enum Removed {
    /// A name was taken from an image.
    Untagged(Reference),
    /// An image has no name any more and is gone.
    Deleted(Digest),
}

/// A build and why its steps ran.
#[derive(Clone, Debug)]
pub(crate) struct Explained {
    /// The build.
    pub(crate) build: String,
    /// When it started, seconds since 1970.
    pub(crate) created: i64,
    /// The build it is compared with.
    pub(crate) before: Option<String>,
    /// Its steps: name, how they went (`cached`, `ran`, `failed`, `pending`), and the reasons why they ran.
    pub(crate) steps: Vec<(String, &'static str, Vec<String>)>,
}

/// What the whole store takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Bytes that `prune --all` would free now.
    pub(crate) reclaimable: u64,
    /// Bytes of everything, each counted once.
    pub(crate) total: u64,
}
