//! Layers: known by diff id, held as blobs or as directories, made by builders, steps and imports.
//!
//! Does not know images, steps or the network.

mod apply;
pub(crate) mod dir;
pub(crate) mod scan;

pub(crate) use apply::{Applied, Applier, Chain, dress_root};
