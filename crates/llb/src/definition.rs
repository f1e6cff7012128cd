//! The graph: an arena of vertices, each with an operation and the edges it takes its inputs from.

use crate::{Exec, FileOp, Source};
use cooper_oci::Platform;

/// Index of a vertex in its [`Definition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VertexId(pub u32);

/// A build graph. Inputs have smaller ids than the vertices that use them, so ids are a topological order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definition {
    /// All vertices.
    pub vertices: Vec<Vertex>,
}

impl Definition {
    /// Adds a vertex. Its inputs must be in the graph already.
    pub fn add(&mut self, vertex: Vertex) -> VertexId {
        let id =
            VertexId(u32::try_from(self.vertices.len()).expect("parser limits keep graphs far below 2^32 vertices"));
        assert!(vertex.inputs.iter().all(|input| input.vertex < id), "inputs come before their users");
        self.vertices.push(vertex);
        id
    }

    /// The vertex of an id of this graph.
    pub fn vertex(&self, id: VertexId) -> &Vertex {
        &self.vertices[id.0 as usize]
    }
}

/// One operation of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Vertex {
    /// What it does.
    pub op: Op,
    /// What it works on. The first input of Exec and File is the filesystem they change; how further inputs
    /// are used is said by the operation, by index into this list.
    pub inputs: Vec<Input>,
    /// What is shown and obeyed but never hashed.
    pub meta: Meta,
}

/// An edge: the filesystem (list of layers) that another vertex yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Input {
    /// Where it comes from.
    pub vertex: VertexId,
}

/// What a vertex does. A filesystem is a list of layers: a source yields a list, Exec and File append one layer to
/// that of their first input, Merge concatenates, Diff takes the suffix of the second input past the first.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Brings a filesystem from outside.
    Source(Source),
    /// Runs a process.
    Exec(Exec),
    /// Copies, makes or removes files without running anything.
    File(FileOp),
    /// Concatenates the layers of the inputs.
    Merge,
    /// The layers that the second input has on top of the first.
    Diff,
}

/// Facts about a vertex that do not change its result and never enter a key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meta {
    /// As shown to the user: `[build 2/5] RUN make`.
    pub name: String,
    /// Name of the stage, or its index where it has none.
    pub stage: String,
    /// The instruction as BuildKit prints it: `RUN make`.
    pub instruction: String,
    /// Lines of the Dockerfile it comes from.
    pub location: Option<SourceLocation>,
    /// Do not look this vertex up; run it.
    pub no_cache: bool,
    /// Platform the step runs for.
    pub platform: Option<Platform>,
}

/// Lines of a source file, counted from 1, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceLocation {
    /// First line.
    pub first_line: u32,
    /// Last line.
    pub last_line: u32,
}
