//! What a build is asked for, and what comes of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cooper_dockerfile::Diagnostic;
use cooper_llb::{GitSource, RunOptions};
use cooper_oci::{Compression, Descriptor, Digest, Platform, Reference};

use crate::{CacheFrom, CacheTo, Error, ErrorKind, Result};

/// What a build is asked for. Paths are absolute; nothing is left to the environment.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where the main context comes from.
    pub context: ContextSource,
    /// Where the Dockerfile comes from.
    pub dockerfile_source: DockerfileSource,
    /// Name of the Dockerfile: for messages, or to find it in the context; empty for the usual one.
    pub dockerfile_name: String,
    /// Its text, if the caller has it.
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
    /// `--ulimit`, `--shm-size`, `--cgroup-parent`, `--resource`.
    pub run: RunOptions,
    /// `--allow`.
    pub entitlements: Entitlements,
    /// `--jobs`: steps that run at once.
    pub jobs: usize,
    /// `--timestamps`.
    pub timestamps: Timestamps,
    /// SOURCE_DATE_EPOCH of the caller, seconds since 1970.
    pub epoch: Option<i64>,
    /// `--cache-from`: caches that are asked after the store.
    pub cache_from: Vec<CacheFrom>,
    /// `--cache-to`: caches that are written after the build.
    pub cache_to: Vec<CacheTo>,
    /// Unique name of this context on this machine (its canonical path): finds the file digests of the last build again.
    pub context_key: String,
}

/// What a caller allows steps that the sandbox does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entitlements {
    /// `network.host`: RUN --network=host.
    pub network_host: bool,
    /// `security.insecure`: RUN --security=insecure.
    pub security_insecure: bool,
    /// `device`: any device.
    pub all_devices: bool,
    /// `device=NAME[,alias=ALIAS]`: devices by the name a Dockerfile asks for them.
    pub devices: BTreeMap<String, String>,
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
    /// A git repository.
    Git(GitSource),
    /// An address: one file, called `context`, as in BuildKit.
    Http(String),
}

/// Where the main context comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ContextSource {
    /// A directory, asked for through [`crate::Session::context`].
    #[default]
    Directory,
    /// A git repository.
    Git(GitSource),
    /// An address of an archive or of a Dockerfile.
    Http(String),
    /// An archive, asked for through [`crate::Session::archive`].
    Archive,
    /// No files.
    Empty,
}

/// Where the Dockerfile comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DockerfileSource {
    /// The caller gives its text.
    #[default]
    Given,
    /// It is in the main context, which is not a directory.
    Context,
    /// An address.
    Http(String),
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
    /// `--annotation` and `annotation.*`.
    pub annotations: Vec<Annotation>,
    /// `oci-mediatypes=false`: manifests, configs and layers under Docker's media types.
    pub docker_types: bool,
    /// `rewrite-timestamp`: times of the layers made are clamped to SOURCE_DATE_EPOCH.
    pub rewrite_timestamp: bool,
    /// `platform-split`: files of each platform in a directory of their own; when several are built if `None`.
    pub platform_split: Option<bool>,
    /// `store=false`: the image gets no name in the store, and goes with the next prune.
    pub transient: bool,
    /// `unpack`: the layers for this machine become directories, so that a first container starts without that work.
    pub unpack: bool,
    /// `push-by-digest`: the registry gets the image without a tag.
    pub by_digest: bool,
    /// `context`: the context of the docker command that `--load` calls.
    pub docker_context: Option<String>,
    /// `dangling-name-prefix`: the image is called `name@digest` too, or only if it has no other name.
    pub dangling: Option<Dangling>,
}

/// `dangling-name-prefix`, `danging-name-empty-only`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dangling {
    /// Repository of the name.
    pub name: Reference,
    /// Only if the image has no other name.
    pub only_nameless: bool,
}

/// A key and value of `--annotation`, and what it is put on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// What it is put on.
    pub at: AnnotationLevel,
    /// Of this platform only; `None` is all. Never set for an index.
    pub platform: Option<Platform>,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// What an [`Annotation`] is put on, in BuildKit's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnotationLevel {
    /// The manifest.
    Manifest,
    /// The descriptor of the manifest, in the index or layout that names it.
    ManifestDescriptor,
    /// The index.
    Index,
    /// The descriptor of the index, in the layout that names it.
    IndexDescriptor,
}

impl Export {
    /// An export with nothing but defaults.
    pub fn new(kind: ExportKind, dest: Option<PathBuf>) -> Self {
        Self {
            kind,
            dest,
            compression: Compression::GZIP,
            force_compression: false,
            names: Vec::new(),
            annotations: Vec::new(),
            docker_types: false,
            rewrite_timestamp: false,
            platform_split: None,
            transient: false,
            unpack: false,
            by_digest: false,
            docker_context: None,
            dangling: None,
        }
    }
}

impl ExportKind {
    /// The result is an image, not bare files.
    pub fn is_image(self) -> bool {
        !matches!(self, Self::Tar | Self::Local)
    }

    /// It can hold images for several platforms.
    fn takes_index(self) -> bool {
        !matches!(self, Self::Docker { .. } | Self::Load)
    }
}

impl Request {
    /// The result is an index: several platforms, or BUILDKIT_MULTI_PLATFORM.
    pub fn multi_platform(&self) -> bool {
        let asked = self.build_args.get("BUILDKIT_MULTI_PLATFORM").map(String::as_str);
        self.platforms.len() > 1 || matches!(asked, Some("1" | "t" | "T" | "true" | "True" | "TRUE"))
    }

    /// What the platforms are, and what is asked of the exports, goes together: before anything runs.
    ///
    /// # Errors
    /// The first thing that does not.
    pub(crate) fn check(&self) -> Result<()> {
        self.exports.iter().try_for_each(|export| self.check_export(export))
    }

    fn check_export(&self, export: &Export) -> Result<()> {
        let user = |what: &str| Error::new(ErrorKind::User, what);
        let multi = self.multi_platform();
        if multi && !export.kind.takes_index() {
            return Err(user("a docker archive holds one platform, not several")
                .with_hint("build one platform, or write `--output type=oci,dest=FILE`"));
        }
        let index = |a: &&Annotation| matches!(a.at, AnnotationLevel::Index | AnnotationLevel::IndexDescriptor);
        if let Some(annotation) = export.annotations.iter().find(index).filter(|_| !multi) {
            return Err(user(&format!("there is no index to put the annotation `{}` on", annotation.key))
                .with_hint("an index is made when several platforms are built"));
        }
        let bare = |a: &&Annotation| a.at != AnnotationLevel::Manifest;
        if export.docker_types && export.annotations.iter().any(|a| bare(&a)) {
            return Err(user("oci-mediatypes=false leaves no place for annotations of descriptors and indexes"));
        }
        let built = self.built_platforms();
        let missing = export.annotations.iter().filter_map(|a| a.platform.as_ref()).find(|p| !built.contains(p));
        if let Some(platform) = missing {
            let there: Vec<String> = built.iter().map(ToString::to_string).collect();
            return Err(user(&format!("an annotation is for {platform}, which is not built"))
                .with_hint(format!("the platforms are: {}", there.join(", "))));
        }
        if export.rewrite_timestamp && self.epoch.is_none() {
            return Err(user("rewrite-timestamp needs a time")
                .with_hint("set SOURCE_DATE_EPOCH in the environment or with --build-arg"));
        }
        Ok(())
    }

    /// `platforms`, or the host's.
    pub(crate) fn built_platforms(&self) -> Vec<Platform> {
        match self.platforms.is_empty() {
            true => vec![Platform::host()],
            false => self.platforms.clone(),
        }
    }
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
