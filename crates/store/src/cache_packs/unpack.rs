//! Makes a cache mount from its listing and packs. Nothing of either is trusted: paths are those of a clean listing, applied
//! beneath a held directory without following links, and every content is verified.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use cooper_oci::tar::TarReader;
use cooper_oci::{Descriptor, Digest, EntryKind, VerifyReader, decompress_within};
use rusqlite::params;
use rustix::fs::{CWD, RenameFlags};

use super::{MountState, PackedMount, is_file};
use crate::cache_mounts::{id_of, note_use};
use crate::cache_sharing::lock_name;
use crate::layers::dir::LayerDir;
use crate::layers::{LIMITS, read_ahead, remove_path};
use crate::listing::{ContentDigest, Record};
use crate::root::refused;
use crate::{Error, ErrorKind, Lease, Result, Root, Store};

/// Opens a pack's blob to read its raw bytes; they are verified here.
pub type OpenPack<'a> = dyn FnMut(&Descriptor) -> Result<Box<dyn Read + Send>> + 'a;

impl Store {
    /// Makes a cache mount what was packed, all of it or nothing, and notes it as a copy of `digest`. What is in the mount
    /// already is replaced. `false`, and nothing done, if the mount is not in the state `from` any more or somebody uses it.
    /// Waits for steps that have it to themselves.
    ///
    /// # Errors
    /// A pack cannot be read, or is not what it should be.
    pub fn unpack_cache_mount(
        &self,
        name: &str,
        from: &MountState,
        mount: &PackedMount,
        digest: &Digest,
        open: &mut OpenPack<'_>,
    ) -> Result<bool> {
        let lease = self.lease();
        lease.hold_cache_mount(&id_of(name))?;
        let _lock = self.named_lock(&lock_name(name), true)?;
        if self.cache_mount_state(name)? != *from {
            return Ok(false);
        }
        let fresh = Fresh(self.temporary()?);
        fs::DirBuilder::new().mode(0o755).create(&fresh.0).map_err(|error| Error::at("create", &fresh.0, error))?;
        Filling::new(self, &fresh.0, mount)?.fill(mount, open)?;
        self.publish_mount(name, &fresh.0, digest, &lease)
    }

    /// Gives the directory its place in the transaction that looks whether anybody uses the mount: who opens it later waits.
    fn publish_mount(&self, name: &str, fresh: &Path, digest: &Digest, lease: &Lease) -> Result<bool> {
        self.drop_dead_leases()?;
        let id = id_of(name);
        let target = self.mount_dir(&id);
        self.db().write_with(false, |c| {
            if self.is_in_use(c, &id, lease)? {
                return Ok(false);
            }
            note_use(c, &id, name, self.now())?;
            let sql = "INSERT OR REPLACE INTO cache_mount_copies(id, of) VALUES(?1, ?2)";
            c.prepare_cached(sql)?.execute(params![id, digest.to_string()])?;
            // An empty directory is replaced everywhere; two are exchanged where the filesystem can.
            let has_files = fs::read_dir(&target).is_ok_and(|mut entries| entries.next().is_some());
            let flags = if has_files { RenameFlags::EXCHANGE } else { RenameFlags::empty() };
            rustix::fs::renameat_with(CWD, fresh, CWD, &target, flags).map_err(refused("rename to", &target))?;
            Ok(true)
        })
    }
}

/// A directory on its way, or what it took the place of; removed when dropped.
struct Fresh(std::path::PathBuf);

impl Drop for Fresh {
    fn drop(&mut self) {
        let _ = remove_path(&self.0);
    }
}

/// A mount being filled.
struct Filling<'a> {
    dir: LayerDir,
    root: Root,
    /// Files that wait for their content.
    wanted: HashMap<ContentDigest, Vec<&'a Record>>,
}

impl<'a> Filling<'a> {
    fn new(store: &Store, path: &Path, mount: &'a PackedMount) -> Result<Self> {
        if mount.listing.size() > LIMITS.bytes {
            let what = format!("the packed cache mount has {} bytes; at most {}", mount.listing.size(), LIMITS.bytes);
            return Err(Error::new(ErrorKind::TooLarge, what));
        }
        let mut wanted: HashMap<_, Vec<_>> = HashMap::new();
        for record in mount.listing.records().iter().filter(|record| is_file(record)) {
            let digest = record.digest.ok_or_else(|| corrupt(record.path(), "has no digest"))?;
            wanted.entry(digest).or_default().push(record);
        }
        Ok(Self { dir: LayerDir::open(path, store.ownership())?, root: Root::open(path)?, wanted })
    }

    /// Directories, then files, then links: so no path leads through a link of the listing while files are written.
    fn fill(mut self, mount: &PackedMount, open: &mut OpenPack<'_>) -> Result<()> {
        let records = mount.listing.records();
        for record in records.iter().filter(|record| record.is_dir()) {
            self.dir.put(&record.entry, &mut std::io::empty())?;
        }
        for pack in &mount.packs {
            let verified = VerifyReader::new(open(&pack.blob)?, pack.blob.digest.clone(), Some(pack.blob.size));
            self.pack(decompress_within(verified, LIMITS)?)?;
        }
        if let Some(record) = self.wanted.values().flatten().next() {
            return Err(corrupt(record.path(), "is in no pack"));
        }
        for record in records.iter().filter(|record| !is_link(record) && !is_file(record) && !record.is_dir()) {
            self.put_special(record)?;
        }
        for record in records.iter().filter(|record| is_link(record)) {
            self.dir.put(&record.entry, &mut std::io::empty())?;
        }
        self.dir.finish().map(drop)
    }

    /// Inflating has a thread of its own.
    fn pack(&mut self, tar: impl Read + Send) -> Result<()> {
        read_ahead(tar, |ahead| {
            let mut tar = TarReader::new(ahead);
            while let Some(entry) = tar.next_entry()? {
                let name = entry.path.to_str().and_then(|name| blake3::Hash::from_hex(name).ok());
                if let Some(digest) = name
                    && let Some(records) = self.wanted.remove(digest.as_bytes())
                {
                    self.content(&records, digest.as_bytes(), &mut tar)?;
                }
            }
            tar.finish().map(drop).map_err(Error::from)
        })
    }

    /// Writes one content to every file that has it.
    fn content(&mut self, records: &[&Record], digest: &ContentDigest, data: &mut dyn Read) -> Result<()> {
        let Some((first, others)) = records.split_first() else { return Ok(()) };
        if self.dir.put(&first.entry, data)?.as_ref() != Some(digest) {
            return Err(corrupt(first.path(), "has another content in its pack"));
        }
        for record in others {
            if record.size() != first.size() {
                return Err(corrupt(record.path(), "has another size than its content"));
            }
            let file = self.root.open_file(first.path())?;
            self.dir.put_copy(&record.entry, &file)?;
        }
        Ok(())
    }

    fn put_special(&mut self, record: &Record) -> Result<()> {
        match record.entry.kind {
            EntryKind::Symlink { .. } | EntryKind::Fifo => self.dir.put(&record.entry, &mut std::io::empty()).map(drop),
            _ => Err(corrupt(record.path(), "is a device")),
        }
    }
}

fn is_link(record: &Record) -> bool {
    matches!(record.entry.kind, EntryKind::Hardlink { .. })
}

fn corrupt(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("`{}` of a packed cache mount {why}", path.display()))
}
