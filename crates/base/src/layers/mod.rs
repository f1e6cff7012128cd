//! From packages to layers: unpack each, put all into one tree, cut the tree as declared.
//!
//! Knows nothing of stores and compression: a layer here is a sorted list of entries with their content.

mod arrange;
mod filter;
mod item;
mod links;
mod unpack;

pub use arrange::{Layer, arrange, declared_layer};
pub use filter::Filter;
pub use item::{Content, Item};
pub(crate) use unpack::{MERGED_DIRS, merged};
pub use unpack::{Unpacked, unpack};
