//! Layers as compressed bytes: written in independent pieces, read with both digests checked.
//!
//! Knows nothing of what a tar holds, nor of where blobs are kept.

mod chunk;
mod detect;
mod limit;
mod output;
mod piece;
mod read;
mod sums;
mod write;

pub use detect::{Format, detect};
pub use limit::{Limited, Limits};
pub use piece::{Piece, PieceKey, Pieces};
pub use read::{LayerReader, decompress, decompress_within};
pub use sums::LayerSums;
pub use write::LayerWriter;
