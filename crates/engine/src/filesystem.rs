//! What a vertex yields: an ordered list of layers, or a directory of the caller.

use std::sync::Arc;

use cooper_store::LayerId;

/// The output of a vertex.
#[derive(Clone, Debug)]
pub(crate) enum Filesystem {
    /// Layers, base first.
    Layers(Arc<[LayerId]>),
    /// A context of this name; it has files but no layers.
    Local(String),
}

impl Filesystem {
    /// The layers; a context has none.
    pub(crate) fn layers(&self) -> &[LayerId] {
        match self {
            Self::Layers(layers) => layers,
            Self::Local(_) => &[],
        }
    }

    /// These layers and one more on top.
    pub(crate) fn with(&self, layer: LayerId) -> Self {
        Self::Layers(self.layers().iter().cloned().chain([layer]).collect())
    }
}
