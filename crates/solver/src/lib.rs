//! What is known and what must run, generic over a [`Worker`].
//!
//! Three memoised questions are asked of every node. *Define*: which key does its definition have (arithmetic on the
//! definitions below it and on the content of sources; nothing runs). *Identify*: is there a record of it, by definition
//! or else by the content of its selected inputs. *Realize*: load that record, else realize the inputs and run.
//!
//! Knows nothing of operations, containers, media types, sessions, credentials, disks or async runtimes.

mod graph;
mod key;
mod solve;

pub use graph::{Edge, Graph, Node, NodeId};
pub use key::{Key, KeyHasher, RecordId};
pub use solve::{Realized, Solver};

use async_trait::async_trait;

/// How an input entered a node's content key: kept with the record, so that a miss can be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// By what it is: the record (or pinned source) it comes from.
    Identity(RecordId),
    /// By the content of the selected paths.
    Content(Key),
}

/// A result to keep: its id, every key that names it, and how its inputs entered the content key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Identity of the result, by which its dependants are keyed.
    pub id: RecordId,
    /// Keys that find it: definition and content.
    pub names: Vec<Key>,
    /// One per edge, in order.
    pub parts: Vec<Part>,
}

/// What the solver asks of the world.
#[async_trait]
pub trait Worker: Send + Sync + 'static {
    /// How an edge looks at its input.
    type Selector: Clone + Send + Sync + 'static;
    /// What a node yields.
    type Output: Clone + Send + Sync + 'static;
    /// Why something failed. Cloned to everyone who waited for it.
    type Error: Clone + Send + Sync + 'static;

    /// Key of the node's own operation, inputs apart. For a source: of exactly what it brings, pinned; equal keys mean equal filesystems.
    async fn op_key(&self, node: NodeId) -> Result<Key, Self::Error>;

    /// Content of the selected part of a *source*, without running anything; `None` when only [`Worker::content`] can tell.
    async fn source_content(&self, source: NodeId, selector: &Self::Selector) -> Result<Option<Key>, Self::Error>;

    /// Content of the selected part of a result.
    async fn content(&self, output: &Self::Output, selector: &Self::Selector) -> Result<Key, Self::Error>;

    /// The record that a key names. Faults of the store are misses, not errors.
    async fn lookup(&self, key: &Key) -> Option<RecordId>;

    /// The result of a record, `None` when it is gone or broken. Must be cheap: nothing is brought to disk.
    async fn load(&self, record: &RecordId) -> Option<Self::Output>;

    /// The node was found: it will not run.
    fn found(&self, node: NodeId, record: &RecordId);

    /// Runs the node on its inputs' outputs, in edge order. `missed` tells how each input entered the key that missed.
    async fn run(&self, node: NodeId, inputs: Vec<Self::Output>, missed: &[Part]) -> Result<Self::Output, Self::Error>;

    /// Keeps a result.
    async fn save(&self, node: NodeId, saved: &Saved, output: &Self::Output);

    /// Lets `name` find a record that another key found.
    async fn alias(&self, name: &Key, record: &RecordId);

    /// A key never seen before, for a node that must not be found.
    fn fresh(&self) -> Key;
}
