//! Cache mounts as artifacts: one manifest each, its layers a listing of the files and packs of their contents. Format in
//! `docs/design/shared-cache.md`.
//!
//! Knows neither what a pack consists of (`cooper_store::PackedMount`) nor which mounts a build wants.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use cooper_oci::{Blobs, Body, CopyOptions, Descriptor, Digest, Manifest, MediaType, copy, read_all};
use cooper_store::{Earlier, Listing, MountState, Pack, PackedMount, Packing, Store};
use futures::stream::{self, Fuse, StreamExt};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::runtime::Handle;

use super::held::{DOCUMENT_MAX, parsed};
use super::place::Place;
use super::publish::json;
use crate::engine::blocking;
use crate::error::{from_oci, from_store};
use crate::{Error, ErrorKind, Result};

/// Type of the artifact and of its config.
const MOUNT_TYPE: &str = "application/vnd.cooper.cache-mount.v1+json";
/// Type of the listing.
const LISTING_TYPE: &str = "application/vnd.cooper.listing.v1+zstd";

/// In the index, the store's id of the mount: a hash of its name.
pub(crate) const KEY: &str = "vnd.cooper.cache-mount.key";
/// In the index, the id that Dockerfiles give it.
pub(crate) const ID: &str = "vnd.cooper.cache-mount.id";
/// In the index, bytes of its files.
pub(crate) const BYTES: &str = "vnd.cooper.cache-mount.bytes";
/// In the index, when it was packed (image-spec, annotations.md).
pub(crate) const CREATED: &str = "org.opencontainers.image.created";

/// Longest listing read, as it comes and as text: a million files, the most that travel, have a third of it.
const LISTING_MAX: u64 = 512 << 20;

/// Packs asked for at once whether they are there.
const QUESTIONS: usize = 8;

/// Which cache mounts travel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MountChoice {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// Those of these ids.
    Ids(Vec<String>),
}

impl MountChoice {
    /// Mounts of this id travel.
    pub fn takes(&self, id: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Ids(ids) => ids.iter().any(|wanted| wanted == id),
        }
    }
}

/// The config of the artifact.
#[derive(Debug, Serialize, Deserialize)]
struct MountDocument {
    /// The name the store knows the mount by.
    name: String,
    /// Bytes of contents in each pack, uncompressed.
    packs: Vec<u64>,
    /// For each content, in the order of its first file in the listing, the number of its pack.
    places: Vec<u32>,
}

/// The entry of an index is a cache mount.
pub(crate) fn is_mount(descriptor: &Descriptor) -> bool {
    descriptor.artifact_type.as_deref() == Some(MOUNT_TYPE)
}

/// The id that Dockerfiles give a mount of this name; `None` for what must not travel: copies of private mounts, and
/// directories that are not a Dockerfile's. The parts of a name are those of `ops::cache_names`.
pub(crate) fn id_of(name: &str) -> Option<&str> {
    let mut parts = name.split('\0');
    let id = parts.next()?;
    let is_owner = |part: &str| part.len() > 4 && part.as_bytes()[4] == b' ' && part.contains(':');
    parts.all(|part| is_owner(part) || part.starts_with('/')).then_some(id)
}

/// Entries of one mount at several places, the one that was kept last before the others; of equals the first.
pub(crate) fn newest_first<'a, T>(kept: impl Iterator<Item = (&'a Descriptor, T)>) -> Vec<(&'a Descriptor, T)> {
    let mut kept: Vec<_> = kept.collect();
    let date = |entry: &Descriptor| {
        let date = entry.annotations.get(CREATED).and_then(|date| OffsetDateTime::parse(date, &Rfc3339).ok());
        date.unwrap_or(OffsetDateTime::UNIX_EPOCH)
    };
    kept.sort_by_key(|(entry, _)| std::cmp::Reverse(date(entry)));
    kept
}

/// A mount, packed for a place, and its entry for the index.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) entry: Descriptor,
    /// Files left behind, and their bytes.
    pub(crate) left_out: (usize, u64),
    /// Nothing when the place has it just so.
    packing: Option<Packing>,
}

impl Packed {
    /// Sends what the place lacks.
    pub(crate) async fn send(&self, store: &Store, place: &Place) -> Result<()> {
        if self.packing.is_none() {
            return Ok(());
        }
        let sent = copy(&self.entry, store, &*place.sink, &CopyOptions::default()).await;
        sent.map_err(|e| from_oci(e, &format!("cannot write a cache mount to {}", place.shown)))
    }

    /// The place has it under its name from now on.
    pub(crate) fn is_named(&self) -> Result<()> {
        let kept = self.packing.as_ref().map(|packing| packing.kept_as(&self.entry.digest));
        kept.unwrap_or(Ok(())).map_err(|e| from_store(e, "cannot note where a cache mount was kept"))
    }
}

/// Packs a mount for a place, given the entry it has there. `None` if the store has no such mount.
pub(crate) async fn pack(
    store: &Store,
    name: &str,
    (max_size, now): (u64, i64),
    held: Option<&Descriptor>,
    place: &Place,
) -> Result<Option<Packed>> {
    let Some(id) = id_of(name) else { return Ok(None) };
    let what = format!("cannot pack the cache mount `{id}`");
    let earlier = match held {
        Some(held) => earlier(held, name, place).await,
        None => None,
    };
    if let (Some(held), Some(earlier)) = (held, &earlier)
        && earlier.there.len() == earlier.mount.packs.len()
        && store.cache_mount_state(name).map_err(|e| from_store(e, &what))? == MountState::CopyOf(held.digest.clone())
    {
        return Ok(Some(Packed { entry: held.clone(), left_out: (0, 0), packing: None }));
    }
    let (packer, packed_name) = (store.clone(), name.to_owned());
    let earlier = earlier.unwrap_or_default();
    let packed = blocking(move || {
        let Some(packing) = packer.pack_cache_mount(&packed_name, &earlier, max_size)? else { return Ok(None) };
        let manifest = write(&packer, &packed_name, &packing.mount)?;
        Ok(Some((packing, manifest)))
    });
    let packed = packed.await.map_err(|e: cooper_oci::Error| from_oci(e, &what))?;
    let Some((packing, manifest)) = packed else { return Ok(None) };
    let entry = match held.filter(|held| held.digest == manifest.digest) {
        Some(held) => held.clone(),
        None => entry(manifest, name, id, packing.mount.listing.size(), now),
    };
    Ok(Some(Packed { entry, left_out: packing.mount.left_out, packing: Some(packing) }))
}

/// What the place has of the mount. What cannot be read is packed anew.
async fn earlier(held: &Descriptor, name: &str, place: &Place) -> Option<Earlier> {
    let mount = read(&*place.blobs, held, name).await.ok()?;
    let asked = stream::iter(mount.packs.iter().map(|pack| pack.blob.clone()).collect::<Vec<_>>()).map(|blob| async {
        let has = place.sink.has(&blob).await.unwrap_or(false);
        has.then_some(blob.digest)
    });
    let there: HashSet<Digest> = asked.buffer_unordered(QUESTIONS).filter_map(|found| async { found }).collect().await;
    Some(Earlier { mount, there })
}

/// Puts listing, config and manifest into the store, where the new packs are.
fn write(store: &Store, name: &str, mount: &PackedMount) -> cooper_oci::Result<Descriptor> {
    let document = MountDocument {
        name: name.to_owned(),
        packs: mount.packs.iter().map(|pack| pack.size).collect(),
        places: mount.places.clone(),
    };
    let config = store.put_bytes(MOUNT_TYPE, &json(&document)?)?;
    let listing = store.put_bytes(LISTING_TYPE, &mount.listing.encode()?)?;
    let blobs = std::iter::once(listing).chain(mount.packs.iter().map(|pack| pack.blob.clone()));
    let mut manifest = Manifest::new(config, blobs.collect());
    manifest.artifact_type = Some(MOUNT_TYPE.into());
    Ok(store.put_bytes(MediaType::MANIFEST, &json(&manifest)?)?)
}

fn entry(manifest: Descriptor, name: &str, id: &str, bytes: u64, now: i64) -> Descriptor {
    let date = OffsetDateTime::from_unix_timestamp(now).ok().and_then(|date| date.format(&Rfc3339).ok());
    let mut annotations = std::collections::BTreeMap::from([
        (KEY.into(), Store::cache_mount_id(name)),
        (ID.into(), id.into()),
        (BYTES.into(), bytes.to_string()),
    ]);
    annotations.extend(date.map(|date| (CREATED.into(), date)));
    Descriptor { annotations, artifact_type: Some(MOUNT_TYPE.into()), ..manifest }
}

/// Reads what a mount consists of; its packs stay where they are.
async fn read(place: &dyn Blobs, descriptor: &Descriptor, name: &str) -> Result<PackedMount> {
    let what = "cannot read it";
    let wrong = |why: &str| Error::new(ErrorKind::User, format!("the packed cache mount is not well formed: {why}"));
    let bytes = read_all(place, descriptor, DOCUMENT_MAX).await.map_err(|e| from_oci(e, what))?;
    let manifest: Manifest = parsed(&bytes)?;
    if manifest.config.media_type.as_str() != MOUNT_TYPE {
        return Err(wrong("its config is of another type"));
    }
    let config = read_all(place, &manifest.config, DOCUMENT_MAX).await.map_err(|e| from_oci(e, what))?;
    let document: MountDocument = parsed(&config)?;
    let Some((listing, packs)) = manifest.layers.split_first() else { return Err(wrong("it has no listing")) };
    if document.name != name || document.packs.len() != packs.len() {
        return Err(wrong("its name or its packs are not those of the entry"));
    }
    let bytes = read_all(place, listing, LISTING_MAX).await.map_err(|e| from_oci(e, what))?;
    let listing =
        blocking(move || Listing::decode_within(&bytes, LISTING_MAX)).await.map_err(|e| from_store(e, what))?;
    let packs = packs.iter().zip(document.packs).map(|(blob, size)| Pack { blob: blob.clone(), size }).collect();
    Ok(PackedMount { listing, packs, places: document.places, left_out: (0, 0) })
}

/// The name of the mount that an entry stands for.
pub(crate) async fn name_of(place: &dyn Blobs, descriptor: &Descriptor) -> Result<String> {
    let what = "cannot read it";
    let bytes = read_all(place, descriptor, DOCUMENT_MAX).await.map_err(|e| from_oci(e, what))?;
    let manifest: Manifest = parsed(&bytes)?;
    let config = read_all(place, &manifest.config, DOCUMENT_MAX).await.map_err(|e| from_oci(e, what))?;
    let name = parsed::<MountDocument>(&config)?.name;
    match id_of(&name).is_some() && descriptor.annotations.get(KEY) == Some(&Store::cache_mount_id(&name)) {
        true => Ok(name),
        false => Err(Error::new(ErrorKind::User, "the packed cache mount has another name than its entry")),
    }
}

/// Makes the store's mount what is kept at a place: if it has none, or an untouched copy of something else, or if its own is
/// to be replaced. `begin` is told the bytes of its files before they come. Those bytes; `None` if the store keeps what it has.
pub(crate) async fn restore(
    store: &Store,
    name: &str,
    place: Arc<dyn Blobs>,
    (descriptor, replace): (&Descriptor, bool),
    begin: &(dyn Fn(u64) + Sync),
) -> Result<Option<u64>> {
    let what = "cannot restore the cache mount";
    let state = store.cache_mount_state(name).map_err(|e| from_store(e, what))?;
    match &state {
        MountState::CopyOf(digest) if *digest == descriptor.digest => return Ok(None),
        MountState::Own if !replace => return Ok(None),
        _ => {}
    }
    let mount = read(&*place, descriptor, name).await?;
    let bytes = mount.listing.size();
    begin(bytes);
    let (store, name, digest, handle) = (store.clone(), name.to_owned(), descriptor.digest.clone(), Handle::current());
    let unpacked = blocking(move || {
        let mut open = |blob: &Descriptor| {
            let body = handle.block_on(place.open(blob)).map_err(cooper_store::Error::from)?;
            Ok(Box::new(BodyReader { handle: handle.clone(), body: body.fuse(), chunk: Bytes::new() })
                as Box<dyn Read + Send>)
        };
        store.unpack_cache_mount(&name, &state, &mount, &digest, &mut open)
    });
    let done = unpacked.await.map_err(|e| from_store(e, what))?;
    Ok(done.then_some(bytes))
}

/// Reads a body on a thread that may block.
struct BodyReader {
    handle: Handle,
    body: Fuse<Body>,
    chunk: Bytes,
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.handle.block_on(self.body.next()) {
                None => return Ok(0),
                Some(chunk) => self.chunk = chunk?,
            }
        }
        let n = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_of_dockerfiles_travel() {
        for (name, id) in [
            ("npm", Some("npm")),
            ("/root/.npm", Some("/root/.npm")),
            ("npm\u{0}0755 1000:1000", Some("npm")),
            ("npm\u{0}0700 0:0\u{0}/seed sha256:ab", Some("npm")),
            ("npm\u{0}1", None),
            ("npm\u{0}0755 1000:1000\u{0}12", None),
            ("git repository\u{0}https://host/x", None),
            ("git known hosts\u{0}", None),
        ] {
            assert_eq!(id_of(name), id, "{name:?}");
        }
    }

    #[test]
    fn the_newest_counts() {
        let at = |now| entry(Descriptor::of("application/x", b""), "npm", "npm", 0, now);
        let (old, new, none) = (at(1_000_000_000), at(1_600_000_000), Descriptor::of("application/x", b""));
        let kept = [(&none, 1), (&old, 2), (&new, 3), (&new, 4)];
        let order: Vec<_> = newest_first(kept.into_iter()).into_iter().map(|(_, number)| number).collect();
        assert_eq!(order, [3, 4, 2, 1]);
    }
}
