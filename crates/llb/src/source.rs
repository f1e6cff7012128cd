//! Where filesystems come from.

use cooper_oci::{Platform, Reference};

/// A filesystem from outside the graph.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The empty list of layers.
    Scratch,
    /// An image, by the name the Dockerfile gives; the engine pins it to a manifest digest.
    Image {
        /// Its full name.
        reference: Reference,
        /// Which manifest of an index.
        platform: Platform,
        /// Where to look.
        resolve: ResolveMode,
    },
    /// An image of an OCI layout that the caller holds under `name`.
    OciLayout {
        /// Name of the layout in the request (`--build-context name=oci-layout://..`).
        name: String,
        /// Tag or digest in the layout's index; the only image when absent.
        target: Option<String>,
        /// Which manifest of an index.
        platform: Platform,
    },
    /// A directory of the caller: the build context (`context`) or a named one. Has no layers; its files are selected by the operations that read it.
    Local {
        /// `context`, or the name given with `--build-context`.
        name: String,
    },
}

/// Whether a local image may answer for its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResolveMode {
    /// The store first, then the registry.
    #[default]
    Default,
    /// Always ask the registry (`--pull`).
    Pull,
}
