//! What the verbs show of the store: plain rows, apart from how they are found and how they are printed.
//!
//! Knows nothing of the store's own types.

use std::path::PathBuf;

use cooper_oci::{Digest, Platform, Reference};

/// An image in the store.
#[derive(Clone, Debug)]
pub(crate) struct ImageRow {
    /// Its name; `None` for one that has lost it.
    pub(crate) name: Option<Reference>,
    /// Digest of its manifest or index.
    pub(crate) digest: Digest,
    /// Digest of its config: docker's image id. That of the manifest or index where there is no single config.
    pub(crate) id: Digest,
    /// When it was made, seconds since 1970.
    pub(crate) created: Option<i64>,
    /// Bytes of its blobs.
    pub(crate) size: u64,
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
    /// `image`, `layer`, `blob`, `record`, `cachemount`, ...
    pub(crate) kind: String,
    /// Bytes.
    pub(crate) size: u64,
    /// Nothing refers to it: `prune` would take it.
    pub(crate) reclaimable: bool,
    /// When it was used last, seconds since 1970.
    pub(crate) used: Option<i64>,
    /// What it is, for a person.
    pub(crate) description: String,
}

/// What `prune` shall take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PruneRequest {
    /// Not only what nothing refers to.
    pub(crate) all: bool,
    /// Only what was not used since this moment, seconds since 1970.
    pub(crate) unused_since: Option<i64>,
    /// Only these kinds; all if empty.
    pub(crate) kinds: Vec<String>,
    /// Stop when the store has at most this many bytes.
    pub(crate) keep_bytes: Option<u64>,
}

/// What `prune` took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pruned {
    /// Ids.
    pub(crate) removed: Vec<String>,
    /// Bytes.
    pub(crate) bytes: u64,
}

/// What `rmi` did.
#[derive(Clone, Debug)]
pub(crate) enum Removed {
    /// A name was taken from an image.
    Untagged(Reference),
    /// An image has no name any more and is gone.
    Deleted(Digest),
}

/// Why a step of a build was not cached.
#[derive(Clone, Debug)]
pub(crate) struct StepReason {
    /// The step's name.
    pub(crate) step: String,
    /// It was found in the cache.
    pub(crate) cached: bool,
    /// What differs from its nearest earlier record: name, before, now.
    pub(crate) changes: Vec<(String, Option<String>, Option<String>)>,
    /// The reason in one line, if there are no changes to list.
    pub(crate) note: Option<String>,
}

/// What `check` and `repair` found: a line each.
#[derive(Clone, Debug, Default)]
pub(crate) struct CheckReport {
    /// Things looked at.
    pub(crate) checked: u64,
    /// What is wrong, or was.
    pub(crate) problems: Vec<String>,
}

/// What `run` shall start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunRequest {
    /// Name or id of the image.
    pub(crate) image: String,
    /// Platform, where the image has several.
    pub(crate) platform: Option<Platform>,
    /// Pull the image even if it is in the store.
    pub(crate) pull: bool,
    /// Replaces the image's ENTRYPOINT (and then its CMD is not used).
    pub(crate) entrypoint: Option<Vec<String>>,
    /// Replaces the image's CMD, if not empty.
    pub(crate) command: Vec<String>,
    /// Added to the image's environment, `K=v`.
    pub(crate) env: Vec<String>,
    /// Replaces the image's USER.
    pub(crate) user: Option<String>,
    /// Replaces the image's WORKDIR.
    pub(crate) workdir: Option<String>,
    /// Host name.
    pub(crate) hostname: Option<String>,
    /// Network `none`, else the host's.
    pub(crate) no_network: bool,
    /// The root filesystem is read-only.
    pub(crate) read_only: bool,
    /// Directories of the host: where, in the container, read-only.
    pub(crate) volumes: Vec<(PathBuf, String, bool)>,
    /// Size of its pseudo-terminal, rows and columns, if it gets one.
    pub(crate) terminal: Option<(u16, u16)>,
    /// Standard input is passed on.
    pub(crate) interactive: bool,
}
