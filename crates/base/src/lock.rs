//! The lock file: exactly which packages an image is made of, and which signed releases said so.
//!
//! TOML, sorted, one package a table, so that a diff of two locks reads as the change it is. Knows nothing of how the
//! packages were chosen or are fetched.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use cooper_oci::{Descriptor, Digest, MediaType};

use crate::{Error, ErrorKind, Manifest, Result};

/// The form of lock files that this program writes and reads.
pub const LOCK_VERSION: u32 = 1;

/// Bytes of a lock file: some 100,000 packages.
const LOCK_LIMIT: u64 = 64 << 20;

/// Media type of a .deb in a store.
pub const DEB_MEDIA_TYPE: &str = "application/vnd.debian.binary-package";

/// The head of every lock file.
const HEAD: &str = "# Written by `cooper base lock`. Not meant to be edited; commit it beside the file it locks.\n";

/// A lock file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Lock {
    /// [`LOCK_VERSION`].
    pub version: u32,
    /// [`Manifest::lock_inputs`] of the declared file.
    pub inputs: Digest,
    /// The signed releases that were read, by name.
    pub releases: BTreeMap<String, LockedRelease>,
    /// Packages by the image's Debian architecture, sorted by name, then architecture.
    pub packages: BTreeMap<String, Vec<LockedPackage>>,
}

/// One signed release of an archive, as it was when locked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedRelease {
    /// Address of the archive; [`LockedPackage::filename`] is relative to it.
    pub uri: String,
    /// Suite as asked for (`bookworm-security`).
    pub suite: String,
    /// `Origin` of the release: whose packages they are (`Debian`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Components read, sorted.
    pub components: Vec<String>,
    /// `Date` of the release, seconds since 1970. An older one is refused at the next lock.
    pub date: i64,
    /// SHA-256 of the signed text: InRelease, or Release.
    pub digest: Digest,
    /// Fingerprints of the keys whose signatures were good, upper-case hex, sorted.
    pub signed_by: Vec<String>,
}

/// One package, as the release's index names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedPackage {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Debian architecture of the package, or `all`.
    pub architecture: String,
    /// Source package, when its name differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Version of the source package, when it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_version: Option<String>,
    /// Name of the release in [`Lock::releases`]; absent for a package of `--deb-dir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Path relative to the release's address, or the file's name in the `--deb-dir`.
    pub filename: String,
    /// Bytes of the .deb.
    pub size: u64,
    /// SHA-256 of the .deb.
    pub digest: Digest,
}

impl LockedPackage {
    /// The .deb as a blob.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(MediaType::from(DEB_MEDIA_TYPE), self.digest.clone(), self.size)
    }

    /// Name of the source package.
    pub fn source_name(&self) -> &str {
        self.source.as_deref().unwrap_or(&self.name)
    }

    /// Version of the source package.
    pub fn source_version(&self) -> &str {
        self.source_version.as_deref().unwrap_or(&self.version)
    }
}

impl Lock {
    /// The lock file of a declared file: beside it, `.lock` in place of its extension.
    pub fn path_for(manifest: &Path) -> PathBuf {
        manifest.with_extension("lock")
    }

    /// Reads a lock file. [`ErrorKind::NotFound`] when there is none.
    pub fn read(path: &Path) -> Result<Self> {
        let file = fs::File::open(path).map_err(|e| Error::at("open", path, e))?;
        let mut text = String::new();
        file.take(LOCK_LIMIT + 1).read_to_string(&mut text).map_err(|e| Error::at("read", path, e))?;
        if text.len() as u64 > LOCK_LIMIT {
            return Err(Error::new(ErrorKind::TooLarge, format!("{} is too long for a lock file", path.display())));
        }
        Self::parse(&text).map_err(|e| {
            let hint = e.hint().unwrap_or("write it anew with `cooper base lock`").to_owned();
            Error::new(e.kind(), format!("{}: {e}", path.display())).with_hint(hint)
        })
    }

    /// Reads the text of a lock file.
    pub fn parse(text: &str) -> Result<Self> {
        let lock: Self = toml::from_str(text)
            .map_err(|e| Error::new(ErrorKind::Invalid, format!("not a lock file: {}", e.message())))?;
        if lock.version != LOCK_VERSION {
            let what = format!("version {} of the lock file is not known", lock.version);
            return Err(Error::new(ErrorKind::Invalid, what).with_hint("lock again with this program, or update it"));
        }
        lock.check()?;
        Ok(lock)
    }

    /// A lock file may come from anyone: names must not lead out of where they are used.
    fn check(&self) -> Result<()> {
        let invalid = |package: &LockedPackage, what: &str| {
            Err(Error::new(ErrorKind::Invalid, format!("package {}: {what}", package.name)))
        };
        for package in self.packages.values().flatten() {
            if !crate::manifest::is_package_name(&package.name)
                || !crate::manifest::is_architecture(&package.architecture)
            {
                return invalid(package, "its name or architecture is not one");
            }
            let is_plain = |part: &str| !matches!(part, "" | "." | "..");
            if !package.filename.split('/').all(is_plain) || package.filename.contains(['\0', '\\']) {
                return invalid(package, "its file name leaves the archive");
            }
            if package.release.as_ref().is_some_and(|name| !self.releases.contains_key(name)) {
                return invalid(package, "its release is not in the file");
            }
        }
        Ok(())
    }

    /// The text of the lock file.
    pub fn to_text(&self) -> String {
        let body = toml::to_string(self).expect("maps with string keys and plain values always have TOML");
        format!("{HEAD}\n{body}")
    }

    /// Writes the lock file: the old one stays until the new one is whole and on disk.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        let written = fs::File::create(&temporary).and_then(|mut file| {
            file.write_all(self.to_text().as_bytes())?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&temporary, path)).map_err(|e| {
            // The error that matters is the first.
            let _ = fs::remove_file(&temporary);
            Error::at("write", path, e)
        })
    }

    /// An error unless the lock was made from these declarations.
    pub fn expect_fresh(&self, manifest: &Manifest) -> Result<()> {
        if self.inputs == manifest.lock_inputs() {
            return Ok(());
        }
        let what = "the lock file does not belong to the declared file: packages, sources or architectures changed";
        Err(Error::new(ErrorKind::Stale, what).with_hint("lock again with `cooper base lock`"))
    }

    /// Packages of one architecture of image.
    pub fn packages(&self, architecture: &str) -> Result<&[LockedPackage]> {
        self.packages.get(architecture).map(Vec::as_slice).ok_or_else(|| {
            let known: Vec<&str> = self.packages.keys().map(String::as_str).collect();
            Error::new(ErrorKind::NotFound, format!("the lock file has no packages for {architecture}"))
                .with_hint(format!("it has {}; add it to `architectures` and lock again", known.join(", ")))
        })
    }
}
