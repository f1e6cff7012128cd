//! What a build is asked for, as far as the Dockerfile's meaning depends on it.
//!
//! Knows nothing of where the values come from.

use std::collections::BTreeMap;

use cooper_llb::RunOptions;
use cooper_oci::{ImageConfig, Platform, Reference};

/// What a build is asked for.
#[derive(Clone, Debug)]
pub struct Args {
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--target`: name or index of a stage; the last one when absent.
    pub target: Option<String>,
    /// Platform the image is for.
    pub platform: Platform,
    /// `platform` was asked for (`--platform`), so the image says so whatever its base says.
    pub platform_explicit: bool,
    /// Several platforms are built: names of steps start with theirs.
    pub multi_platform: bool,
    /// Platform of the machine that builds.
    pub build_platform: Platform,
    /// `--build-context`, by name.
    pub contexts: BTreeMap<String, Named>,
    /// `--network`: `default`, `none` or `host`.
    pub network: Option<String>,
    /// `--add-host`: name and address.
    pub add_hosts: Vec<(String, String)>,
    /// `--ulimit`, `--shm-size`, `--cgroup-parent`, `--resource`.
    pub run: RunOptions,
    /// Host name seen by steps.
    pub hostname: Option<String>,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--no-cache-filter`: names of stages.
    pub no_cache_stages: Vec<String>,
    /// `--pull`.
    pub pull: bool,
    /// SOURCE_DATE_EPOCH of the caller: `created` of the image and its history, in seconds since 1970.
    pub epoch: Option<i64>,
    /// What `SOURCE_DATE_EPOCH=context` stands for, if the context has a date.
    pub context_date: Option<i64>,
    /// The epoch where neither the caller nor the file says one.
    pub default_epoch: Option<i64>,
    /// Clamp the times of new layers to the base image's date; else keep what the files have (`--timestamps=preserve`).
    pub clamp: bool,
    /// Now, in seconds since 1970: `created` when times are neither clamped nor given.
    pub now: i64,
}

impl Args {
    /// A build of the last stage for the machine's own platform, with nothing else asked for.
    pub fn new(platform: Platform) -> Self {
        Self {
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            target: None,
            build_platform: platform.clone(),
            platform,
            platform_explicit: false,
            multi_platform: false,
            contexts: BTreeMap::new(),
            network: None,
            add_hosts: Vec::new(),
            run: RunOptions::default(),
            hostname: None,
            no_cache: false,
            no_cache_stages: Vec::new(),
            pull: false,
            epoch: None,
            context_date: None,
            default_epoch: None,
            clamp: true,
            now: 0,
        }
    }
}

/// What a name given with `--build-context` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// A directory of the caller, asked for by the name.
    Local,
    /// `docker-image://ref`.
    Image(Reference),
    /// `oci-layout://path[:tag|@digest]`: tag or digest in the layout.
    OciLayout {
        /// Tag or digest; the only image when absent.
        target: Option<String>,
    },
}

/// An image whose config is needed to go on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BaseKey {
    /// An image by its full name.
    Image {
        /// The name.
        reference: Reference,
        /// Which manifest of an index.
        platform: Platform,
    },
    /// An image of a layout given with `--build-context`.
    OciLayout {
        /// Name of the context.
        name: String,
        /// Tag or digest; the only image when absent.
        target: Option<String>,
        /// Which manifest of an index.
        platform: Platform,
    },
}

/// The configs of base images found so far.
pub type Bases = BTreeMap<BaseKey, ImageConfig>;
