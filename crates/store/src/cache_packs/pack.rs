//! Packs a cache mount: its listing, and packs of what is not in packs yet.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::Path;

use cooper_oci::tar::TarWriter;
use cooper_oci::{Compression, Digest, Entry, EntryKind, Mtime};
use rusqlite::params;

use super::walk::{Found, walk};
use super::{Pack, PackedMount, contents, is_file};
use crate::cache_mounts::id_of;
use crate::cache_sharing::lock_name;
use crate::layers::scan::hashed;
use crate::listing::{ContentDigest, Record};
use crate::{Error, ErrorKind, Lease, Listing, ListingBuilder, Result, Root, StatCache, Store};

/// Contents are gathered up to this size: large enough for few requests, small enough that a pack which is half dead costs
/// little to write anew.
const PACK_SIZE: u64 = 64 << 20;

/// A pack with fewer bytes that are still needed is small; every round leaves one behind.
const PACK_SMALL: u64 = PACK_SIZE / 8;

/// Small packs before they are put together.
const SMALL_MAX: usize = 8;

/// Files of one mount. Those used last go; the numbers of a million packs are some megabytes.
const FILES_MAX: usize = 1_000_000;

/// What is where the mount goes to.
#[derive(Clone, Debug, Default)]
pub struct Earlier {
    /// The mount as it was packed last.
    pub mount: PackedMount,
    /// Blobs of its packs that can still be had.
    pub there: HashSet<Digest>,
}

/// A cache mount that was packed. It is held until this is dropped.
#[derive(Debug)]
pub struct Packing {
    /// The mount.
    pub mount: PackedMount,
    id: String,
    word: Option<String>,
    store: Store,
    _lease: Lease,
}

impl Packing {
    /// What was packed is kept under this digest: until a step opens the mount it is a copy of that.
    pub fn kept_as(&self, digest: &Digest) -> Result<()> {
        let Some(word) = &self.word else { return Ok(()) };
        self.store.db().write(|c| {
            let sql = "UPDATE cache_mount_copies SET of = ?1 WHERE id = ?2 AND of = ?3";
            c.prepare_cached(sql)?.execute(params![digest.to_string(), self.id, word]).map(drop)
        })
    }
}

impl Store {
    /// Packs a cache mount; `None` if there is none. With more than `max` bytes, the files used least recently stay behind.
    /// Waits for steps that have it to themselves.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`]: a file changes while it is read.
    pub fn pack_cache_mount(&self, name: &str, earlier: &Earlier, max: u64) -> Result<Option<Packing>> {
        let (id, lease) = (id_of(name), self.lease());
        if !lease.hold_cache_mount(&id)? || !self.mount_dir(&id).is_dir() {
            return Ok(None);
        }
        let _lock = self.named_lock(&lock_name(name), true)?;
        let word = self.begin_packing(&id, &lease)?;
        let root = Root::open(&self.mount_dir(&id))?;
        let (chosen, left_out) = choose(walk(&root)?, max);
        let listing = self.list(name, &root, chosen)?;
        let mut packing = Packer::new(self, &root, &listing, earlier);
        packing.add_new(&listing)?;
        let (packs, placed) = (packing.packs, packing.placed);
        let places = contents(&listing).filter_map(|(digest, _)| placed.get(&digest).copied()).collect();
        let mount = PackedMount { listing, packs, places, left_out };
        Ok(Some(Packing { mount, id, word, store: self.clone(), _lease: lease }))
    }

    /// Notes that the mount is being packed, under a random word that goes when a step opens it; not while one has it open.
    fn begin_packing(&self, id: &str, lease: &Lease) -> Result<Option<String>> {
        self.drop_dead_leases()?;
        let word = format!("packing {:016x}", crate::tree::random());
        self.db().write_with(false, |c| {
            if self.is_in_use(c, id, lease)? {
                return Ok(None);
            }
            let sql = "INSERT OR REPLACE INTO cache_mount_copies(id, of) VALUES(?1, ?2)";
            c.prepare_cached(sql)?.execute([id, &word])?;
            Ok(Some(word.clone()))
        })
    }

    /// The listing of what was found. A file is read only if it changed since it was read last.
    fn list(&self, name: &str, root: &Root, found: Vec<Found>) -> Result<Listing> {
        let digests = StatCache::load(self, format!("cache mount {name}").as_bytes());
        let mut listing = ListingBuilder::new();
        for Found { entry, stat, .. } in found {
            let digest = match entry.kind {
                EntryKind::File { size } => match digests.get(&entry.path, &stat) {
                    Some(digest) => Some(digest),
                    None => {
                        let Some(digest) = digest_of(root, &entry.path, size)? else { continue };
                        digests.put(&entry.path, &stat, digest);
                        Some(digest)
                    }
                },
                // The name that has the content may be gone by now.
                EntryKind::Hardlink { ref target } if listing.get(target).is_none() => continue,
                _ => None,
            };
            listing.put(Record::new(entry, digest))?;
        }
        // Without it the files are read once more, no worse.
        let _ = digests.save();
        Ok(listing.finish())
    }
}

/// What goes with the mount, and the number and bytes of files that stay behind.
fn choose(found: Vec<Found>, max: u64) -> (Vec<Found>, (usize, u64)) {
    let (mut files, mut chosen): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|found| matches!(found.entry.kind, EntryKind::File { .. } | EntryKind::Hardlink { .. }));
    // A stable sort: of one inode's names, which are used at the same time, the one with the content comes first.
    files.sort_by_key(|file| std::cmp::Reverse(file.used));
    let (mut bytes, mut left, mut full) = (0_u64, (0, 0), false);
    for (number, file) in files.into_iter().enumerate() {
        let own = if matches!(file.entry.kind, EntryKind::File { .. }) { file.size } else { 0 };
        // One file that is larger than everything may be is no reason to leave out the others.
        let too_large = file.size > max;
        full |= number >= FILES_MAX || (!too_large && bytes.saturating_add(own) > max);
        if full || too_large {
            left = (left.0 + 1, left.1 + own);
        } else {
            bytes += own;
            chosen.push(file);
        }
    }
    chosen.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    (chosen, left)
}

/// The content of a file; `None` if it is gone.
fn digest_of(root: &Root, path: &Path, size: u64) -> Result<Option<ContentDigest>> {
    let mut file = match root.open_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut read = 0;
    let digest = hashed(&mut file, |data| {
        read = std::io::copy(data, &mut std::io::sink()).map_err(|error| Error::at("read", path, error))?;
        Ok(())
    })?;
    if read == size { Ok(Some(digest)) } else { Err(changed(path)) }
}

fn changed(path: &Path) -> Error {
    Error::new(ErrorKind::Busy, format!("`{}` changes while it is read", path.display()))
        .with_hint("another build uses the cache mount; try again when it is over")
}

/// Packs in the making.
struct Packer<'a> {
    store: &'a Store,
    root: &'a Root,
    packs: Vec<Pack>,
    placed: HashMap<ContentDigest, u32>,
}

impl<'a> Packer<'a> {
    /// Begins with the earlier packs that are still there and worth keeping: at least half of them is needed.
    fn new(store: &'a Store, root: &'a Root, listing: &Listing, earlier: &Earlier) -> Self {
        let before = earlier.mount.placed();
        let mut live = vec![0_u64; earlier.mount.packs.len()];
        for (digest, size) in contents(listing) {
            if let Some(pack) = before.get(&digest) {
                live[*pack as usize] += size;
            }
        }
        let is_kept = |(pack, live): &(&Pack, &u64)| {
            **live > 0 && live.saturating_mul(2) >= pack.size && earlier.there.contains(&pack.blob.digest)
        };
        let small = earlier.mount.packs.iter().zip(&live).filter(is_kept).filter(|(_, live)| **live < PACK_SMALL);
        let too_many = small.count() > SMALL_MAX;
        let (mut packs, mut numbers) = (Vec::new(), HashMap::new());
        for (number, kept) in earlier.mount.packs.iter().zip(&live).enumerate() {
            if is_kept(&kept) && !(too_many && *kept.1 < PACK_SMALL) {
                numbers.insert(number as u32, packs.len() as u32);
                packs.push(kept.0.clone());
            }
        }
        let placed = before.iter().filter_map(|(digest, pack)| Some((*digest, *numbers.get(pack)?))).collect();
        Self { store, root, packs, placed }
    }

    /// Writes packs of the contents that are in none.
    fn add_new(&mut self, listing: &Listing) -> Result<()> {
        let mut waiting: Vec<(&Record, ContentDigest)> = Vec::new();
        let mut bytes = 0;
        for record in listing.records().iter().filter(|record| is_file(record)) {
            let Some(digest) = record.digest else { continue };
            if self.placed.contains_key(&digest) {
                continue;
            }
            if bytes > 0 && bytes + record.size() > PACK_SIZE {
                self.write(&std::mem::take(&mut waiting), bytes)?;
                bytes = 0;
            }
            self.placed.insert(digest, self.packs.len() as u32);
            waiting.push((record, digest));
            bytes += record.size();
        }
        if waiting.is_empty() { Ok(()) } else { self.write(&waiting, bytes) }
    }

    fn write(&mut self, files: &[(&Record, ContentDigest)], size: u64) -> Result<()> {
        let compression = Compression::ZSTD;
        let mut tar = TarWriter::new(self.store.layer_sink(compression)?);
        for (record, digest) in files {
            let entry = Entry {
                path: name_of(digest).into(),
                kind: EntryKind::File { size: record.size() },
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime: Mtime::default(),
                xattrs: Default::default(),
            };
            let mut file = self.root.open_file(record.path()).map_err(|_| changed(record.path()))?;
            let mut data = (&mut file).take(record.size());
            let found = hashed(&mut data, |data| tar.append(&entry, data).map_err(|_| changed(record.path())))?;
            if found != *digest {
                return Err(changed(record.path()));
            }
        }
        let (blob, _) = self.store.publish_layer_blob(tar.finish()?, compression)?;
        self.packs.push(Pack { blob, size });
        Ok(())
    }
}

/// What a content is called in a pack.
pub(super) fn name_of(digest: &ContentDigest) -> String {
    blake3::Hash::from(*digest).to_hex().to_string()
}
