//! Where things are: the names of the store's files and directories, and making them safely.
//! Does not know what they hold.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cooper_oci::Digest;
use rustix::fs::FallocateFlags;

use crate::owner::Owner;
use crate::{Error, ErrorKind, LayerId, Result};

/// The format this program writes, and the newest it reads.
pub(crate) const FORMAT: u32 = 1;

/// Space and inodes set aside for the transaction that deletes rows when the disk is full: the database's log grows by
/// the pages it changes, and its log and index are files that must first be made.
const RESERVES: [(&str, u64); 4] = [("reserve", 1 << 20), ("reserve.1", 0), ("reserve.2", 0), ("reserve.3", 0)];

/// The reserve is not taken from a disk with less than this: whoever is short of space needs it more.
const RESERVE_FROM_BYTES: u64 = 8 << 20;

/// Directories of a store. `version` is written after they exist, so a tree that has it is whole.
const DIRS: [&str; 11] = [
    "blobs",
    "blobs/sha256",
    "blobs/sha512",
    "tmp",
    "layers",
    "mounts",
    "cache-mounts",
    "leases",
    "locks",
    "stat",
    "quarantine",
];

/// Called with the name of each step that changes the disk, before it; an error is that step's failure.
/// Tests stop or fail a run there. Programs leave it out.
pub type Failpoint = fn(&'static str) -> std::io::Result<()>;

/// The paths of one store.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    owner: OnceLock<Owner>,
    failpoint: Option<Failpoint>,
    existed: bool,
}

impl Tree {
    /// Finds the store at `root`, making it if there is none; refuses one that is someone else's or newer.
    pub(crate) fn open(root: &Path, failpoint: Option<Failpoint>) -> Result<Self> {
        let mut tree = Self { root: root.to_owned(), owner: OnceLock::new(), failpoint, existed: true };
        match fs::symlink_metadata(root) {
            Ok(meta) => check_owner(root, &meta)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => make_dir(root)?,
            Err(error) => return Err(Error::at("open the store at", root, error)),
        }
        if !tree.check_version()? {
            tree.existed = false;
            tree.create()?;
        }
        Ok(tree)
    }

    /// The store was there, whole, before this process opened it.
    pub(crate) fn existed(&self) -> bool {
        self.existed
    }

    /// The store's directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A file or directory directly below the root.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Where a blob is.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        let mut path = self.join("blobs");
        path.push(digest.algorithm().as_str());
        path.push(digest.hex());
        path
    }

    /// Where a layer is unpacked.
    pub(crate) fn layer(&self, id: &LayerId) -> PathBuf {
        self.join("layers").join(id.as_str())
    }

    /// `true` when the tree is complete; an error when this program must not touch it.
    fn check_version(&self) -> Result<bool> {
        let path = self.join("version");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::at("read", &path, error)),
        };
        let found: u32 = text.trim().parse().map_err(|_| {
            Error::new(ErrorKind::Corrupt, format!("{} does not hold a format number", path.display()))
                .with_hint("is this directory a cooper store?")
        })?;
        if found > FORMAT {
            return Err(Error::new(
                ErrorKind::Newer,
                format!("the store at {} has format {found}; this cooper reads up to {FORMAT}", self.root.display()),
            )
            .with_hint("use a newer cooper, or another --root"));
        }
        Ok(true)
    }

    /// Every step can be repeated, so a cut at any point leaves something the next open completes.
    fn create(&self) -> Result<()> {
        for dir in DIRS {
            make_dir(&self.join(dir))?;
        }
        for (name, bytes) in [
            ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#.as_bytes()),
            (
                "index.json",
                br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#,
            ),
        ] {
            if !self.join(name).exists() {
                self.write_file(&self.join(name), bytes)?;
            }
        }
        Ok(())
    }

    /// Writes `version`: the database is there as well now, so from here on a missing one was lost.
    pub(crate) fn finish(&self) -> Result<()> {
        self.fill_reserve();
        if self.existed { Ok(()) } else { self.write_file(&self.join("version"), format!("{FORMAT}\n").as_bytes()) }
    }

    /// Sets space aside; best effort, because a store on a full disk must still open.
    pub(crate) fn fill_reserve(&self) {
        if self.join(RESERVES[0].0).exists() || self.free_bytes().is_none_or(|free| free < RESERVE_FROM_BYTES) {
            return;
        }
        for (name, bytes) in RESERVES.iter().rev() {
            let path = self.join(name);
            let made = private(&path, OpenOptions::new().write(true).create(true)).is_ok_and(|file| {
                *bytes == 0 || rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, *bytes).is_ok()
            });
            if !made {
                let _ = fs::remove_file(&path);
            }
        }
    }

    /// Gives the space back.
    pub(crate) fn free_reserve(&self) {
        RESERVES.iter().for_each(|(name, _)| {
            let _ = fs::remove_file(self.join(name));
        });
    }

    /// Bytes this user may still write to the store's file system.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.root).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// This process as the others see it; made at the first call, so that a reader writes nothing.
    pub(crate) fn owner(&self) -> Result<&Owner> {
        if let Some(owner) = self.owner.get() {
            return Ok(owner);
        }
        let made = Owner::new(&self.join("leases"))?;
        Ok(self.owner.get_or_init(|| made))
    }

    /// A fresh name in `tmp/` that nobody else uses. What is there is removed once this process is gone.
    pub(crate) fn temporary(&self) -> Result<PathBuf> {
        Ok(self.join("tmp").join(format!("{}.{:016x}", self.owner()?.name(), random())))
    }

    /// Announces a step that changes the disk.
    pub(crate) fn step(&self, name: &'static str) -> Result<()> {
        self.failpoint.map_or(Ok(()), |failpoint| {
            failpoint(name).map_err(|error| Error::io(format!("step `{name}` failed"), error))
        })
    }

    /// Replaces a file with `bytes`, durably: after a cut it has either the old content or all of the new.
    pub(crate) fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let temporary = self.temporary()?;
        self.step("file.write")?;
        let written = private(&temporary, OpenOptions::new().write(true).create_new(true))
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_data()))
            .and_then(|()| self.step("file.rename").map_err(std::io::Error::from))
            .and_then(|()| fs::rename(&temporary, path));
        if let Err(error) = written {
            let _ = fs::remove_file(&temporary);
            return Err(Error::at("write", path, error));
        }
        sync_dir(path.parent().unwrap_or(&self.root))
    }
}

/// A random number that two processes do not share.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| Error::at("sync", dir, error))
}

/// Opens a file that only its owner may read.
pub(crate) fn private(path: &Path, options: &mut OpenOptions) -> std::io::Result<File> {
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path)
}

fn make_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| Error::at("create", path, error))?;
    path.parent().map_or(Ok(()), sync_dir)
}

fn check_owner(root: &Path, meta: &fs::Metadata) -> Result<()> {
    let refuse = |why: String| {
        Err(Error::new(ErrorKind::Permission, format!("the store at {} {why}", root.display()))
            .with_hint("choose another directory with --root or COOPER_ROOT"))
    };
    if !meta.is_dir() {
        return refuse("is not a directory".into());
    }
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != me && me != 0 {
        return refuse(format!("belongs to user {}", meta.uid()));
    }
    if meta.permissions().mode() & 0o022 != 0 {
        return refuse("can be written by others".into());
    }
    Ok(())
}
