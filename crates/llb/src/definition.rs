//! The graph: an arena of vertices, each with an operation and the edges it takes its inputs from.

use crate::{Exec, FileAction, FileOp, Selection, Source};
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
#[expect(clippy::large_enum_variant, reason = "a graph has dozens of operations, not millions")]
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

/// Text of a content in a dump: longer ones are given by their length.
const SHOWN_BYTES_MAX: usize = 200;

impl Definition {
    /// A stable dump for tests and people: a line for each vertex with its number, its name, its key inputs, and how it
    /// looks at its inputs.
    pub fn to_text(&self) -> String {
        let lines = self.vertices.iter().enumerate().map(|(id, vertex)| vertex.to_line(id));
        lines.collect()
    }
}

impl Vertex {
    fn to_line(&self, id: usize) -> String {
        let mut line = format!("{id}:");
        for (index, input) in self.inputs.iter().enumerate() {
            let selection = match self.op.selection(index) {
                Selection::Whole => String::new(),
                paths => format!("({})", paths.text()),
            };
            line.push_str(&format!(" <{}{selection}>", input.vertex.0));
        }
        for input in self.op.key_inputs() {
            match (input.name.as_str(), input.value.as_str()) {
                ("op", op) => line.push_str(&format!(" {op}")),
                // Shown as text below.
                ("content" | "pipe content", _) => {}
                (name, value) => line.push_str(&format!(" {name}={}", shown(value))),
            }
        }
        for content in contents(&self.op) {
            line.push_str(&format!(" data={}", shown(&content)));
        }
        if self.meta.no_cache {
            line.push_str(" no-cache");
        }
        line.push_str(&format!(" # {}\n", self.meta.name));
        line
    }
}

/// Here-documents, whose key inputs are only hashes.
fn contents(op: &Op) -> Vec<String> {
    let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
    match op {
        Op::Exec(Exec { pipe: Some((_, data)), .. }) => vec![text(data)],
        Op::File(file) => file
            .actions
            .iter()
            .filter_map(|action| match action {
                FileAction::MakeFile { data, .. } => Some(text(data)),
                FileAction::Copy { .. } | FileAction::MakeDir { .. } => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Quoted where it is not one plain word.
fn shown(value: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && c != '"';
    if value.len() > SHOWN_BYTES_MAX {
        format!("<{} bytes>", value.len())
    } else if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("{value:?}")
    }
}
