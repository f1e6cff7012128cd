//! The graph as the solver sees it: nodes, edges, and how an edge looks at its input.

/// Index of a node in its [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// An edge to an input.
#[derive(Clone, Debug)]
pub struct Edge<S> {
    /// The input.
    pub from: NodeId,
    /// `None`: the input counts by identity. `Some`: by the content of what is selected.
    pub selector: Option<S>,
}

/// What there is to do.
#[derive(Clone, Debug)]
pub enum Node<S> {
    /// Brings something from outside; pinned by its key, never recorded.
    Source,
    /// Makes something from its inputs.
    Step {
        /// The inputs, in order.
        inputs: Vec<Edge<S>>,
        /// Run even if there is a record. Its dependants see a result they have not seen before.
        no_cache: bool,
    },
}

/// Nodes in topological order: inputs come first.
#[derive(Clone, Debug)]
pub struct Graph<S> {
    /// The nodes.
    pub nodes: Vec<Node<S>>,
}

impl<S> Graph<S> {
    /// The edges of a node.
    pub fn edges(&self, node: NodeId) -> &[Edge<S>] {
        match &self.nodes[node.0 as usize] {
            Node::Source => &[],
            Node::Step { inputs, .. } => inputs,
        }
    }

    pub(crate) fn is_source(&self, node: NodeId) -> bool {
        matches!(self.nodes[node.0 as usize], Node::Source)
    }

    pub(crate) fn no_cache(&self, node: NodeId) -> bool {
        matches!(self.nodes[node.0 as usize], Node::Step { no_cache: true, .. })
    }
}
