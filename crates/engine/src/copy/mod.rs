//! Copying without running anything: what is picked from a tree, what key it has, and where it lands in a new layer.

mod ahead;
mod content;
mod draft;
mod pick;
mod place;
mod users;

pub(crate) use ahead::each_read_ahead;
pub(crate) use content::{content_key, content_lines};
pub(crate) use draft::{Data, Draft, Made};
pub(crate) use pick::{Match, pick};
pub(crate) use place::{CopySpec, Placer};
pub(crate) use users::owner;

use cooper_llb::Ignore;

use crate::{Error, ErrorKind, Result};

/// Patterns of `--exclude`.
pub(crate) fn ignore(patterns: &[String]) -> Result<Ignore> {
    Ignore::new(patterns).map_err(|e| Error::new(ErrorKind::User, e.to_string()))
}
