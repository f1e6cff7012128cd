//! Where filesystems come from: images by name (store first, then a registry) and OCI layouts.

mod image;
mod remote;

pub(crate) use image::{Image, Images};
pub(crate) use remote::Remotes;
