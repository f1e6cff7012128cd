//! A pull-through cache: a [`Backend`] that fetches from an upstream registry what it does not have, keeps it, and serves what
//! it has when upstream fails.
//!
//! - A digest that is here is never asked for again. A tag is believed for a while, then compared with upstream's.
//! - A blob is sent on while it comes, once for all who want it; it is kept only if its bytes are the digest's.
//! - What upstream does not have is not here either, except while upstream gives no answer at all.
//! - An image has its name in the backend from when all of it came: until then the cache alone remembers the tag.
//! - Nothing is pushed here.

mod address;
mod blobs;
mod flight;
mod memory;
mod room;
mod shelf;
mod upstream;
mod waiting;

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cooper_oci::{Algorithm, Body, Descriptor, Digest, Target};
use tokio::sync::{Mutex, MutexGuard};

pub use self::address::UpstreamAddress;
use self::flight::Flights;
use self::memory::Memory;
use self::room::Room;
use self::shelf::Shelf;
pub use self::upstream::Notes;
use self::upstream::{Failure, Upstream};
use self::waiting::Waiting;
use super::{Backend, Document, Part, Refusal, StoredManifest, Upload};
use crate::{Client, Result as ClientResult};

/// Tags whose digest is remembered.
const TAGS_MAX: usize = 100_000;
/// Blobs whose length is remembered.
const SIZES_MAX: usize = 100_000;
/// Lists that are remembered; one may have 200,000 names.
const LISTS_MAX: usize = 32;
/// Locks that requests for one tag or manifest take turns at.
const TURNS: usize = 64;
/// Names listed at once when the books are opened.
const NAMES: usize = 1000;

/// How a [`Proxy`] behaves.
#[derive(Clone)]
pub struct ProxyOptions {
    /// How long a tag, or a list, is believed without asking upstream.
    pub ttl: Duration,
    /// Bytes that are kept; what was least recently used goes first. Everything is kept without.
    pub max_size: Option<u64>,
    /// Registries besides upstream whose images may be asked for by `?ns=`: those that upstream is a mirror of.
    pub names: Vec<String>,
    /// Where blobs are while they come; on the file system of the backend.
    pub spool: PathBuf,
    /// Told when upstream fails and when it answers again, and what could not be kept.
    pub notes: Notes,
}

impl std::fmt::Debug for ProxyOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyOptions").field("ttl", &self.ttl).field("max_size", &self.max_size).finish_non_exhaustive()
    }
}

/// A pull-through cache of one registry. Clones are the same cache.
#[derive(Clone, Debug)]
pub struct Proxy {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shelf: Shelf,
    upstream: Upstream,
    options: ProxyOptions,
    flights: Flights,
    room: Room,
    /// Digests of tags, as upstream said.
    tags: Memory<Digest>,
    /// Lengths of blobs, as manifests say.
    sizes: Memory<u64>,
    waiting: Waiting,
    names: Memory<Vec<String>>,
    statements: Memory<Vec<Descriptor>>,
    turns: Vec<Mutex<()>>,
}

impl Proxy {
    /// A cache of `registry`, reached by `client`, in `backend`. Looks at what `backend` has of it.
    ///
    /// # Errors
    /// The backend cannot be read.
    pub async fn open(
        backend: Arc<dyn Backend>,
        client: Client,
        registry: &str,
        options: ProxyOptions,
    ) -> Result<Self, Refusal> {
        let inner = Inner {
            shelf: Shelf::new(backend, registry),
            upstream: Upstream::new(client, registry.to_owned(), options.notes.clone()),
            options,
            flights: Flights::default(),
            room: Room::default(),
            tags: Memory::new(TAGS_MAX),
            sizes: Memory::new(SIZES_MAX),
            waiting: Waiting::default(),
            names: Memory::new(LISTS_MAX),
            statements: Memory::new(TAGS_MAX / 100),
            turns: (0..TURNS).map(|_| Mutex::default()).collect(),
        };
        inner.open_books().await?;
        Ok(Self { inner: Arc::new(inner) })
    }
}

fn read_only(registry: &str) -> Refusal {
    Refusal::new(405, "UNSUPPORTED", format!("this is a cache of {registry}: push there"))
}

impl Inner {
    fn say(&self, text: &str) {
        (self.options.notes)(text);
    }

    /// One request at a time for a thing of a repository: who comes later finds what the first one brought.
    async fn turn(&self, name: &str, thing: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        (name, thing).hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % TURNS as u64).unwrap_or_default();
        self.turns[at].lock().await
    }

    async fn by_digest(&self, name: &str, digest: &Digest) -> Result<Option<StoredManifest>, Refusal> {
        if let Some(manifest) = self.shelf.manifest(name, Target::Digest(digest)).await? {
            return Ok(Some(self.used(name, manifest)));
        }
        let thing = digest.to_string();
        let _turn = self.turn(name, &thing).await;
        if let Some(manifest) = self.shelf.manifest(name, Target::Digest(digest)).await? {
            return Ok(Some(self.used(name, manifest)));
        }
        let asked = self
            .upstream
            .ask(name, &thing, |repository| async move { repository.manifest(Target::Digest(digest)).await });
        match asked.await {
            Ok((descriptor, bytes)) => Ok(Some(self.keep(name, stored(descriptor, bytes)).await)),
            Err(Failure::Unknown) => Ok(None),
            Err(Failure::Refused(refusal) | Failure::Fails(refusal)) => Err(refusal),
        }
    }

    async fn by_tag(&self, name: &str, tag: &str) -> Result<Option<StoredManifest>, Refusal> {
        if let Some(manifest) = self.believed(name, tag).await? {
            return Ok(Some(manifest));
        }
        let _turn = self.turn(name, tag).await;
        if let Some(manifest) = self.believed(name, tag).await? {
            return Ok(Some(manifest));
        }
        let kept = self.kept_at(name, tag).await?;
        match self.compare(name, tag, kept.as_ref()).await {
            Ok(found) => {
                let is_kept = kept.is_some_and(|kept| kept.digest == found.digest);
                let found = if is_kept { self.used(name, found) } else { self.keep(name, found).await };
                self.tags.put(name, tag, found.digest.clone());
                if !is_kept {
                    self.waiting.add(name, tag, &found.digest);
                    self.give_names(name).await;
                }
                Ok(Some(found))
            }
            Err(Failure::Unknown) => {
                self.tags.forget(name, tag);
                self.waiting.remove(name, tag);
                // What this registry may not delete was not brought by this cache.
                let _ = self.shelf.delete_manifest(name, Target::Tag(tag)).await;
                Ok(None)
            }
            Err(Failure::Refused(refusal)) => Err(refusal),
            Err(Failure::Fails(refusal)) => kept.map(|kept| Some(self.used(name, kept))).ok_or(refusal),
        }
    }

    /// The manifest that a tag stood for when upstream was last asked.
    async fn kept_at(&self, name: &str, tag: &str) -> Result<Option<StoredManifest>, Refusal> {
        if let Some(digest) = self.tags.get(name, tag, Duration::MAX)
            && let Some(manifest) = self.shelf.manifest(name, Target::Digest(&digest)).await?
        {
            return Ok(Some(manifest));
        }
        self.shelf.manifest(name, Target::Tag(tag)).await
    }

    /// Names the images of a repository that became whole.
    async fn give_names(&self, name: &str) {
        for (tag, digest) in self.waiting.of(name) {
            if let Err(refusal) = self.give_name(name, &tag, &digest).await {
                self.cannot_keep(&format!("{name}:{tag}"), &refusal);
            }
        }
    }

    async fn give_name(&self, name: &str, tag: &str, digest: &Digest) -> Result<(), Refusal> {
        let manifest = self.shelf.manifest(name, Target::Digest(digest)).await?;
        if let Some(manifest) = &manifest {
            if !self.is_whole(name, manifest).await? {
                return Ok(());
            }
            self.shelf.put_manifest(name, &[tag.to_owned()], manifest, &[]).await?;
        }
        self.waiting.remove(name, tag);
        Ok(())
    }

    /// Whether all blobs of an image are here; of an index, those of its images that are here at all, of which there is one.
    async fn is_whole(&self, name: &str, manifest: &StoredManifest) -> Result<bool, Refusal> {
        let inside = children(manifest);
        let mut images = if inside.is_empty() { vec![manifest.clone()] } else { Vec::new() };
        for child in &inside {
            images.extend(self.shelf.manifest(name, Target::Digest(child)).await?);
        }
        for blob in images.iter().flat_map(blobs) {
            if self.shelf.blob_size(name, &blob.digest).await?.is_none() {
                return Ok(false);
            }
        }
        Ok(!images.is_empty())
    }

    /// The manifest of a tag that was compared with upstream's a short while ago.
    async fn believed(&self, name: &str, tag: &str) -> Result<Option<StoredManifest>, Refusal> {
        let Some(digest) = self.tags.get(name, tag, self.options.ttl) else { return Ok(None) };
        let found = self.shelf.manifest(name, Target::Digest(&digest)).await?;
        Ok(found.map(|manifest| self.used(name, manifest)))
    }

    /// What a tag stands for upstream, which is asked for no more than its digest if that is the one of `kept`.
    async fn compare(&self, name: &str, tag: &str, kept: Option<&StoredManifest>) -> Result<StoredManifest, Failure> {
        if let Some(kept) = kept {
            let resolved =
                self.upstream.ask_briefly(name, tag, |repository| async move { repository.resolve().await }).await?;
            if resolved.digest == kept.digest {
                return Ok(kept.clone());
            }
        }
        let asked =
            self.upstream.ask(name, tag, |repository| async move { repository.manifest(Target::Tag(tag)).await });
        let (descriptor, bytes) = asked.await?;
        Ok(stored(descriptor, bytes))
    }

    /// Keeps a manifest that the client proved. It is served even if it cannot be kept.
    async fn keep(&self, name: &str, manifest: StoredManifest) -> StoredManifest {
        // Its parts come when they are asked for.
        if let Err(refusal) = self.shelf.put_manifest(name, &[], &manifest, &[]).await {
            self.cannot_keep(&format!("manifest {}", manifest.digest), &refusal);
        }
        let manifest = self.used(name, manifest);
        self.make_room().await;
        manifest
    }

    fn cannot_keep(&self, what: &str, refusal: &Refusal) {
        let why = refusal.cause().unwrap_or_else(|| refusal.message());
        self.say(&format!("cannot keep {what}: {why}"));
    }

    /// Notes the use of a manifest, and the lengths that it tells.
    fn used(&self, name: &str, manifest: StoredManifest) -> StoredManifest {
        let entry = (name.to_owned(), manifest.digest.clone());
        self.room.used(&entry, manifest.bytes.len() as u64, || {
            let blobs = blobs(&manifest);
            blobs.iter().for_each(|blob| self.sizes.put(name, &blob.digest.to_string(), blob.size));
            blobs.into_iter().map(|blob| blob.digest).chain(children(&manifest)).collect()
        });
        manifest
    }

    /// Takes away what was least recently used until there is no more than is allowed.
    async fn make_room(&self) {
        let Some(max) = self.options.max_size else { return };
        while self.room.total() > max {
            let Some(gone) = self.room.evict() else { return };
            let (name, digest) = &gone.entry;
            // What was not brought by this cache stays, and is counted no more.
            let _ = self.shelf.delete_manifest(name, Target::Digest(digest)).await;
            for blob in &gone.blobs {
                let _ = self.shelf.delete_blob(name, blob).await;
            }
        }
    }

    /// Counts what is here already.
    async fn open_books(&self) -> Result<(), Refusal> {
        let mut after: Option<String> = None;
        loop {
            let names = self.shelf.repositories(after.as_deref(), NAMES).await?;
            for name in &names {
                self.open_book(name).await?;
            }
            match names.last() {
                Some(last) if names.len() == NAMES => after = Some(last.clone()),
                _ => return Ok(()),
            }
        }
    }

    async fn open_book(&self, name: &str) -> Result<(), Refusal> {
        let mut after: Option<String> = None;
        loop {
            let tags = self.shelf.tags(name, after.as_deref(), NAMES).await?.unwrap_or_default();
            for tag in &tags {
                let Some(manifest) = self.shelf.manifest(name, Target::Tag(tag)).await? else { continue };
                for child in children(&manifest) {
                    let Some(child) = self.shelf.manifest(name, Target::Digest(&child)).await? else { continue };
                    self.count(name, child).await?;
                }
                self.count(name, manifest).await?;
            }
            match tags.last() {
                Some(last) if tags.len() == NAMES => after = Some(last.clone()),
                _ => return Ok(()),
            }
        }
    }

    async fn count(&self, name: &str, manifest: StoredManifest) -> Result<(), Refusal> {
        let manifest = self.used(name, manifest);
        for blob in blobs(&manifest) {
            if let Some(size) = self.shelf.blob_size(name, &blob.digest).await? {
                self.room.came(&blob.digest, size);
            }
        }
        Ok(())
    }

    /// A list that upstream gives, remembered for a while; `None` when upstream gives no answer.
    async fn list<T: Clone, F>(
        &self,
        memory: &Memory<Vec<T>>,
        name: &str,
        thing: &str,
        ask: impl FnOnce(crate::Repository) -> F,
    ) -> Result<Option<Vec<T>>, Refusal>
    where
        F: Future<Output = ClientResult<Vec<T>>>,
    {
        let _turn = self.turn(name, thing).await;
        if let Some(known) = memory.get(name, thing, self.options.ttl) {
            return Ok(Some(known));
        }
        match self.upstream.ask_briefly(name, thing, ask).await {
            Ok(found) => {
                memory.put(name, thing, found.clone());
                Ok(Some(found))
            }
            Err(Failure::Unknown) => Ok(Some(Vec::new())),
            Err(Failure::Refused(refusal)) => Err(refusal),
            Err(Failure::Fails(_)) => Ok(None),
        }
    }
}

#[async_trait]
impl Backend for Proxy {
    /// What is here: most registries do not tell what they have.
    async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, Refusal> {
        self.inner.shelf.repositories(after, limit).await
    }

    async fn tags(&self, name: &str, after: Option<&str>, limit: usize) -> Result<Option<Vec<String>>, Refusal> {
        let (inner, name) = (&self.inner, &*self.inner.upstream.canonical(name));
        let ask = |repository: crate::Repository| async move {
            let mut tags = repository.tags().await?;
            tags.sort_unstable();
            Ok(tags)
        };
        match inner.list(&inner.names, name, "tags/list", ask).await? {
            Some(tags) if tags.is_empty() => Ok(None),
            Some(tags) => {
                let start = after.map_or(0, |after| tags.partition_point(|tag| tag.as_str() <= after));
                Ok(Some(tags.into_iter().skip(start).take(limit).collect()))
            }
            None => inner.shelf.tags(name, after, limit).await,
        }
    }

    async fn manifest(&self, name: &str, target: Target<'_>) -> Result<Option<StoredManifest>, Refusal> {
        let name = self.inner.upstream.canonical(name);
        match target {
            Target::Digest(digest) => self.inner.by_digest(&name, digest).await,
            Target::Tag(tag) => self.inner.by_tag(&name, tag).await,
        }
    }

    async fn put_manifest(&self, _: &str, _: &[String], _: &StoredManifest, _: &[Part]) -> Result<(), Refusal> {
        Err(read_only(self.inner.upstream.registry()))
    }

    async fn delete_manifest(&self, _: &str, _: Target<'_>) -> Result<bool, Refusal> {
        Err(read_only(self.inner.upstream.registry()))
    }

    async fn referrers(&self, name: &str, subject: &Digest) -> Result<Vec<Descriptor>, Refusal> {
        let (inner, name) = (&self.inner, &*self.inner.upstream.canonical(name));
        let ask = |repository: crate::Repository| async move { repository.referrers(subject, None).await };
        match inner.list(&inner.statements, name, &format!("referrers/{subject}"), ask).await? {
            Some(found) => Ok(found),
            None => inner.shelf.referrers(name, subject).await,
        }
    }

    async fn blob_size(&self, name: &str, digest: &Digest) -> Result<Option<u64>, Refusal> {
        let name = &*self.inner.upstream.canonical(name);
        if let Some(size) = self.inner.shelf.blob_size(name, digest).await? {
            return Ok(Some(size));
        }
        match self.inner.flights.size(&(name.to_owned(), digest.clone())) {
            Some(size) => Ok(Some(size)),
            None => self.inner.size(name, digest).await,
        }
    }

    async fn open_blob(&self, name: &str, digest: &Digest, range: Range<u64>) -> Result<Option<Body>, Refusal> {
        let (inner, name) = (&self.inner, &*self.inner.upstream.canonical(name));
        if let Some(body) = inner.shelf.open_blob(name, digest, range.clone()).await? {
            return Ok(Some(body));
        }
        let key = (name.to_owned(), digest.clone());
        if let Some(reader) = inner.flights.join(&key) {
            return reader.open(range).await;
        }
        let Some(size) = inner.size(name, digest).await? else { return Ok(None) };
        if inner.mount(name, digest).await?
            && let Some(body) = inner.shelf.open_blob(name, digest, range.clone()).await?
        {
            return Ok(Some(body));
        }
        let spool = inner.options.spool.clone();
        let file = tokio::task::spawn_blocking(move || tempfile::tempfile_in(spool)).await;
        let file = file.map_err(Refusal::internal)?.map_err(Refusal::internal)?;
        let (reader, flight) = inner.flights.start(key, size, file);
        if let Some(flight) = flight {
            let inner = inner.clone();
            tokio::spawn(async move {
                let (name, digest) = flight.key();
                inner.fly(flight.clone(), name, digest).await;
            });
        }
        reader.open(range).await
    }

    async fn holders(&self, _: &Digest) -> Result<Vec<String>, Refusal> {
        Ok(Vec::new())
    }

    async fn mount_blob(&self, _: &str, _: &str, _: &Digest) -> Result<bool, Refusal> {
        Err(read_only(self.inner.upstream.registry()))
    }

    async fn delete_blob(&self, _: &str, _: &Digest) -> Result<bool, Refusal> {
        Err(read_only(self.inner.upstream.registry()))
    }

    async fn upload(&self, _: &str, _: Algorithm) -> Result<Box<dyn Upload>, Refusal> {
        Err(read_only(self.inner.upstream.registry()))
    }

    async fn ready(&self) -> Result<(), Refusal> {
        self.inner.shelf.ready().await
    }

    fn kept(&self) -> Option<&dyn Backend> {
        Some(&self.inner.shelf)
    }

    fn serves(&self, registry: &str) -> bool {
        registry == self.inner.upstream.registry() || self.inner.options.names.iter().any(|name| name == registry)
    }

    fn warning(&self) -> Option<String> {
        let fails = self.inner.upstream.fails();
        fails.then(|| format!("{} gives no answer; what is kept is served", self.inner.upstream.registry()))
    }
}

fn stored(descriptor: Descriptor, bytes: bytes::Bytes) -> StoredManifest {
    StoredManifest { digest: descriptor.digest, media_type: descriptor.media_type, bytes }
}

/// Config and layers of an image.
fn blobs(manifest: &StoredManifest) -> Vec<Descriptor> {
    match Document::of(manifest) {
        Some(Document::Manifest(document)) => std::iter::once(document.config)
            .chain(document.layers.into_iter().filter(|layer| layer.urls.is_empty()))
            .collect(),
        _ => Vec::new(),
    }
}

/// The manifests of an index.
fn children(manifest: &StoredManifest) -> Vec<Digest> {
    match Document::of(manifest) {
        Some(Document::Index(index)) => index.manifests.into_iter().map(|child| child.digest).collect(),
        _ => Vec::new(),
    }
}
