//! The declared file: what a base image is made of, in YAML or TOML.
//!
//! The same keys in both; an unknown key is an error. Knows nothing of archives, packages' contents or the lock file.

mod read;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use cooper_oci::Digest;

pub use read::{MANIFEST_LIMIT, Origin};
pub use words::{Layers, Mode, PackageSpec, Wanted};
pub(crate) use words::{is_architecture, is_package_name};

/// A base image as declared. Lists and maps that are absent are empty; `None` stands for the default each field names.
///
/// After [`Manifest::load`] the file's `extends` has been followed and paths of the building machine are anchored at
/// the directory of the file that names them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Manifest {
    /// A preset's name, or a path (with a `/` or an extension) relative to this file, whose declarations come first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extends: Option<String>,
    /// The release (`bookworm`) that the host's own sources are read for when [`Manifest::sources`] is empty.
    /// Default: the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// Archives, most wanted first. Empty: the host's apt configuration for [`Manifest::suite`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
    /// Debian architectures (`amd64`). Empty: the host's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
    /// Packages taken beside the listed ones. Default: [`Variant::Extract`], none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<Variant>,
    /// Packages wanted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<PackageSpec>,
    /// Package names, real or virtual, that count as there and are not installed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub omit: Vec<String>,
    /// Recommends are followed like Depends. Default: no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recommends: Option<bool>,
    /// How packages are configured. Default: [`Configure::Declared`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configure: Option<Configure>,
    /// By package: what is done about maintainer scripts that are not known. Default: an error.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub scripts: BTreeMap<String, ScriptRule>,
    /// Users of `/etc/passwd`, beside those of the packages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<User>,
    /// Groups of `/etc/group`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// Files written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<File>,
    /// Directories made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<Directory>,
    /// Symbolic links: absolute path to target.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, String>,
    /// The bundle of trusted certificates. Default: made when the package `ca-certificates` is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Certificates>,
    /// Zone of `/etc/localtime` (`Etc/UTC`). Default: none is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// `/etc/ld.so.cache` is written. Default: yes when there are shared libraries and a loader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ldconfig: Option<bool>,
    /// Alternatives: name (`editor`) to the absolute path that provides it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub alternatives: BTreeMap<String, String>,
    /// Python modules are byte-compiled. Default: no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub byte_compile: Option<bool>,
    /// Globs of absolute paths that are left out, as dpkg's `path-exclude`; licences always stay.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub path_exclude: Vec<String>,
    /// Globs of paths kept although excluded, as dpkg's `path-include`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub path_include: Vec<String>,
    /// By package: globs of the only paths kept of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub slices: BTreeMap<String, Vec<String>>,
    /// How packages are spread over layers. Default: [`Layers::Single`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Layers>,
    /// Configuration of the image.
    pub config: ImageSettings,
    /// Names the image is tagged with. Not inherited.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// One archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Source {
    /// Where it is served: `http`, `https` or `file` addresses of the same archive, tried in order.
    pub uris: Vec<String>,
    /// Suites or codenames (`bookworm`, `bookworm-updates`).
    pub suites: Vec<String>,
    /// Components. Default: `main`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// Keyring, armoured or not, with the keys that may sign.
    pub signed_by: Vec<PathBuf>,
    /// A release without `Valid-Until` older than this many days is refused. Default: any age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_days: Option<u32>,
    /// `Valid-Until` counts. Default: yes; a snapshot's has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_valid_until: Option<bool>,
}

/// Packages taken without being named, in the words of mmdebstrap's `--variant`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// None.
    #[default]
    Extract,
    /// `Essential: yes`.
    Essential,
    /// Essential, and apt.
    Apt,
    /// Those, and `Priority: required`.
    Minbase,
    /// Those, and `Priority: important`.
    Important,
    /// Those, and `Priority: standard`.
    Standard,
}

/// How packages are configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Configure {
    /// Declared actions stand in for maintainer scripts; nothing of a package runs.
    #[default]
    Declared,
    /// dpkg runs the maintainer scripts in a sandbox.
    Run,
}

/// What is done about a maintainer script that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScriptRule {
    /// Its effect is not wanted, or declared elsewhere in the file.
    Ignore,
}

/// One line of `/etc/passwd`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group. Default: the user's id, with a group of the user's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Home directory, made when absent. Default: `/nonexistent`, which is not made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Login shell. Default: `/usr/sbin/nologin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// Full name. Default: the login name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gecos: Option<String>,
}

/// One line of `/etc/group`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Group {
    /// Name.
    pub name: String,
    /// Group id.
    pub gid: u32,
    /// Users beside those whose primary group it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
}

/// A file written into the image, from text or from a file of the building machine: exactly one of them is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct File {
    /// Absolute path in the image.
    pub path: String,
    /// Its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A file of the building machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<PathBuf>,
    /// Permissions. Default: 0644.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Owner. Default: 0.
    #[serde(default)]
    pub uid: u32,
    /// Group. Default: 0.
    #[serde(default)]
    pub gid: u32,
}

/// A directory made in the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Directory {
    /// Absolute path in the image.
    pub path: String,
    /// Permissions. Default: 0755.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Owner. Default: 0.
    #[serde(default)]
    pub uid: u32,
    /// Group. Default: 0.
    #[serde(default)]
    pub gid: u32,
}

/// The bundle `/etc/ssl/certs/ca-certificates.crt`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Certificates {
    /// The certificates of the package `ca-certificates` are left out.
    pub only_added: bool,
    /// PEM files of the building machine, added to the bundle.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<PathBuf>,
}

/// What the image's config says (image-spec, config.md), in the words of the Dockerfile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ImageSettings {
    /// Environment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Entry point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Arguments of the entry point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// `user[:group]`, names or ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Ports (`8080/tcp`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<String>,
    /// Volumes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// Signal that stops a container (`SIGTERM`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
}

impl Manifest {
    /// Digest of all that decides which packages are locked; a lock file names it. Users, files and the image's config
    /// may change without locking again.
    pub fn lock_inputs(&self) -> Digest {
        let sources: Vec<_> = self.sources.iter().map(|s| (&s.uris, &s.suites, &s.components)).collect();
        let (variant, recommends) = (self.variant.unwrap_or_default(), self.recommends.unwrap_or_default());
        let inputs = (&self.suite, sources, &self.architectures, variant, &self.packages, &self.omit, recommends);
        Digest::of(&serde_json::to_vec(&inputs).expect("strings, lists and enums always have JSON"))
    }
}
