//! Where filesystems come from: images by name (store first, then a registry), OCI layouts, and what is fetched besides
//! images: git repositories, files at addresses, archives that the caller sends.

mod context;
mod git;
mod http;
mod image;
mod outside;
mod remote;

pub(crate) use context::MAIN as MAIN_CONTEXT;
pub use git::GitProgram;
pub(crate) use image::{Image, Images};
pub(crate) use outside::{Notice, Outside};
pub(crate) use remote::Remotes;
