//! Images in one file: OCI layouts and docker archives as tars.
//!
//! Nothing is ever unpacked: names inside an archive are only looked up, never used as paths of a disk.

mod docker;
mod read;
mod write;

pub use read::{Archive, read_archive};
pub use write::{Named, write_docker_archive, write_oci_archive};
