//! What a build is asked for, and what comes of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cooper_dockerfile::Diagnostic;
use cooper_oci::{Compression, Descriptor, Digest, Platform, Reference};

/// What a build is asked for. Paths are absolute; nothing is left to the environment.
#[derive(Clone, Debug)]
pub struct Request {
    /// Name of the Dockerfile, for messages.
    pub dockerfile_name: String,
    /// Its text.
    pub dockerfile: String,
    /// Text and name of the ignore file that governs the context, if there is one.
    pub ignore: Option<(String, String)>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--target`.
    pub target: Option<String>,
    /// `--platform`; the host's when empty.
    pub platforms: Vec<Platform>,
    /// `--build-context`.
    pub contexts: BTreeMap<String, NamedContext>,
    /// Texts of the ignore files of named contexts that are directories, by name.
    pub context_ignores: BTreeMap<String, String>,
    /// `-t`.
    pub tags: Vec<Reference>,
    /// `--output`, `--push`, `--load`.
    pub exports: Vec<Export>,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--no-cache-filter`: stages that are not looked up.
    pub no_cache_filter: Vec<String>,
    /// `--pull`.
    pub pull: bool,
    /// `--network`.
    pub network: Option<String>,
    /// `--add-host`: name and address.
    pub add_hosts: Vec<(String, String)>,
    /// `--jobs`: steps that run at once.
    pub jobs: usize,
    /// `--timestamps`.
    pub timestamps: Timestamps,
    /// SOURCE_DATE_EPOCH of the caller, seconds since 1970.
    pub epoch: Option<i64>,
    /// Unique name of this context on this machine (its canonical path): finds the file digests of the last build again.
    pub context_key: String,
}

/// `--build-context name=..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory, asked for through [`crate::Session::context`] by its name.
    Local,
    /// `docker-image://ref`.
    Image(Reference),
    /// `oci-layout://path[:tag|@digest]`.
    OciLayout(PathBuf, Option<String>),
    /// An image of the store, under the name that messages call it by.
    Stored(Reference, Descriptor),
}

/// Modification times of the layers made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timestamps {
    /// Clamped to the base image's date: the same input gives the same digest.
    #[default]
    Clamp,
    /// As BuildKit does by default: what the files have.
    Preserve,
}

/// `--output`.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// What kind.
    pub kind: ExportKind,
    /// Where; `None` is standard output, only for archives.
    pub dest: Option<PathBuf>,
    /// Compression of the layers made by this build.
    pub compression: Compression,
    /// Compress every layer so, those of the base too (`force-compression`).
    pub force_compression: bool,
    /// Names written into the archive or pushed to, besides the request's tags.
    pub names: Vec<Reference>,
}

/// The kinds of `--output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportKind {
    /// Into the store under the tags; pushed as well if `push`.
    Image {
        /// Push to the registries of the names.
        push: bool,
    },
    /// An OCI archive, or layout directory when not `tar`.
    Oci {
        /// One tar file.
        tar: bool,
    },
    /// A `docker load` archive, or its directory when not `tar`.
    Docker {
        /// One tar file.
        tar: bool,
    },
    /// The filesystem as a tar.
    Tar,
    /// The filesystem as a directory.
    Local,
    /// Into a running docker engine (`--load`).
    Load,
}

/// What came of a build.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The image: manifest, or index when several platforms were asked for. `None` for builds of only `tar` and `local`.
    pub image: Option<Descriptor>,
    /// Digest of the image config (what `--iidfile` holds), for one platform.
    pub config: Option<Digest>,
    /// The names it got.
    pub names: Vec<Reference>,
    /// Warnings of the Dockerfile.
    pub warnings: Vec<Diagnostic>,
    /// Name of the build, for `cooper explain`.
    pub build: String,
    /// Steps that ran and steps that were found in the cache.
    pub ran_and_cached: (usize, usize),
}
