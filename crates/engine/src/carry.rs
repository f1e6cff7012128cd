//! Carries images between any two places: pull, push and copy are one function (`oci::copy`) with a place at either end.
//!
//! Does not know how bytes move; knows what a place needs before it is read and after it is written.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use cooper_oci::{
    BlobSink, Blobs, CopyOptions, Descriptor, Digest, Directory, Document, Layout, Platform, Progress, Reference,
    Target, choose, copy, parse_document, read_all, read_archive,
};
use cooper_registry::Repository;

use crate::error::{from_oci, from_store};
use crate::export::{Format, docker, write_archive};
use crate::homes::{self, Seen};
use crate::location::Location;
use crate::{Engine, Error, ErrorKind, Event, EventSink, Result, StepId, StepState};

/// Statements about statements are followed this deep: a signature of an SBOM of an image is two.
const REFERRERS_DEPTH: usize = 3;

/// Statements carried with one image.
const REFERRERS_MAX: usize = 1000;

/// Manifests and indexes are at most this long everywhere.
const DOCUMENT_MAX: u64 = 4 * 1024 * 1024;

/// What is carried, and how.
#[derive(Clone, Debug)]
pub struct Carry {
    /// From here.
    pub from: Location,
    /// To here.
    pub to: Location,
    /// Only the image for this platform; everything without.
    pub platform: Option<Platform>,
    /// Signatures, SBOMs and other statements about the image as well.
    pub referrers: bool,
}

/// What was carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The image.
    pub image: Descriptor,
    /// How many statements went with it.
    pub referrers: usize,
}

/// Carries images one after another; blobs that are already there are left alone, so a second try goes on where the
/// first one broke.
///
/// # Errors
/// A place cannot be read or written, the image is not there, or its bytes are not what their digests say.
pub async fn carry(engine: &Engine, work: &[Carry], events: &dyn EventSink) -> Result<Vec<Carried>> {
    let step = |n: usize| StepId(u32::try_from(n + 1).unwrap_or(u32::MAX));
    let title = |work: &Carry| format!("copying {} to {}", work.from, work.to);
    events.event(Event::Planned { steps: work.iter().enumerate().map(|(n, work)| (step(n), title(work))).collect() });
    // A handle of its own keeps what has arrived from being collected before it has a name.
    let engine = &Engine { store: engine.store.deferred(), ..engine.clone() };
    let mut carried = Vec::new();
    for (n, work) in work.iter().enumerate() {
        let (step, started) = (step(n), Instant::now());
        events.event(Event::Started { step, why: None });
        let result = one(engine, work, step, events).await;
        let state = result.as_ref().map_or_else(|error| StepState::Failed(error.what.clone()), |_| StepState::Done);
        events.event(Event::Finished { step, state, took: started.elapsed() });
        carried.push(result?);
    }
    Ok(carried)
}

async fn one(engine: &Engine, work: &Carry, step: StepId, events: &dyn EventSink) -> Result<Carried> {
    let what = format!("cannot copy {} to {}", work.from, work.to);
    let source = Source::open(engine, &work.from, &what).await.map_err(|error| or_of_the_store(engine, work, error))?;
    let image = match &work.platform {
        Some(platform) => choose(&source.image, platform, &*source.blobs).await.map_err(|e| from_oci(e, &what))?,
        None => source.image.clone(),
    };
    let destination = Destination::open(engine, work, &what)?;
    let (told, seen) = (told(), Seen::default());
    let options = CopyOptions { progress: Some(seen.noting(Some(told.sink()))), ..CopyOptions::default() };
    let copying = destination.take(&image, &source, &options, &what);
    told.pass_on(copying, step, events).await?;
    seen.remember(&engine.store, work.from.registry().into_iter().chain(work.to.registry()));
    let referrers = match work.referrers {
        true => destination.referrers(&image, &source, &what).await?,
        false => 0,
    };
    destination.name(&image, &source, &what).await?;
    Ok(Carried { image, referrers })
}

/// A bare name is a registry's; who meant an image of the store is told.
fn or_of_the_store(engine: &Engine, work: &Carry, error: Error) -> Error {
    let (Location::Registry(name), false) = (&work.from, matches!(work.to, Location::Store(_))) else { return error };
    match engine.store.image(name) {
        Ok(Some(_)) => error.with_hint(format!("the image of this name in the store is `store:{}`", name.familiar())),
        _ => error,
    }
}

/// Progress crosses from the copy's callback, which must be `'static`, to the borrowed sink of events.
struct Told {
    send: tokio::sync::mpsc::UnboundedSender<(Digest, u64, u64)>,
    receive: tokio::sync::mpsc::UnboundedReceiver<(Digest, u64, u64)>,
}

fn told() -> Told {
    let (send, receive) = tokio::sync::mpsc::unbounded_channel();
    Told { send, receive }
}

impl Told {
    fn sink(&self) -> Progress {
        let send = self.send.clone();
        // The receiver is gone only when nobody looks any more.
        Arc::new(move |blob: &Descriptor, done| drop(send.send((blob.digest.clone(), done, blob.size))))
    }

    async fn pass_on<T>(mut self, work: impl Future<Output = T>, step: StepId, events: &dyn EventSink) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                Some((digest, done, total)) = self.receive.recv() => {
                    events.event(Event::Progress { step, what: digest.to_string(), done, total: Some(total) });
                }
                result = &mut work => return result,
            }
        }
    }
}

/// A place that is read.
struct Source {
    blobs: Arc<dyn Blobs>,
    image: Descriptor,
    /// For statements, and for mounting blobs from it.
    repository: Option<Repository>,
    /// The name it has there.
    name: Option<Reference>,
    /// Removed when done with.
    _spooled: Option<Spooled>,
}

impl Source {
    async fn open(engine: &Engine, from: &Location, what: &str) -> Result<Self> {
        let plain = |blobs: Arc<dyn Blobs>, image, name| Self { blobs, image, repository: None, name, _spooled: None };
        match from {
            Location::Registry(reference) => {
                let repository = engine.client.repository(reference);
                let image = repository.resolve().await.map_err(|e| from_oci(e.into(), what))?;
                let name = Some(reference.clone());
                Ok(Self { repository: Some(repository.clone()), ..plain(Arc::new(repository), image, name) })
            }
            Location::Store(name) => {
                let found = engine.store.resolve(name).map_err(|e| from_store(e, what))?;
                Ok(plain(Arc::new(engine.store.clone()), found.descriptor, found.name))
            }
            Location::Layout(dir, name) => {
                let layout = Layout::open(dir).map_err(|e| from_oci(e, what))?;
                let image = layout.find(name.as_deref()).map_err(|e| from_oci(e, what))?;
                Ok(plain(Arc::new(layout), image, None))
            }
            Location::Directory(dir) => {
                let directory = Directory::open(dir).map_err(|e| from_oci(e, what))?;
                let image = directory.image().map_err(|e| from_oci(e, what))?;
                Ok(plain(Arc::new(directory), image, None))
            }
            Location::OciArchive(file, name) | Location::DockerArchive(file, name) => {
                Self::archive(engine, file, name.as_deref(), what)
            }
            Location::Daemon(name) => {
                let spooled = Spooled::new(engine, what)?;
                docker::save(name, &spooled.0).await?;
                let source = Self::archive(engine, &spooled.0, None, what)?;
                Ok(Self { _spooled: Some(spooled), ..source })
            }
        }
    }

    fn archive(engine: &Engine, file: &Path, name: Option<&str>, what: &str) -> Result<Self> {
        let archive = read_archive(file, &engine.store.root().join("tmp")).map_err(|e| from_oci(e, what))?;
        let image = archive.find(name).map_err(|e| from_oci(e, what))?;
        Ok(Self { blobs: Arc::new(archive), image, repository: None, name: None, _spooled: None })
    }
}

/// A place that is written.
enum Destination<'a> {
    Registry(Repository),
    Store(&'a Engine, Reference),
    Layout(Layout, Option<String>),
    Directory(Directory),
    Archive { file: PathBuf, name: Option<String>, format: Format },
    Daemon(String),
}

impl<'a> Destination<'a> {
    fn open(engine: &'a Engine, work: &Carry, what: &str) -> Result<Self> {
        Ok(match &work.to {
            Location::Registry(reference) => Self::Registry(homes::repository(engine, reference, work.from.registry())),
            Location::Store(name) => Self::Store(engine, parse_name(name, what)?),
            Location::Layout(dir, name) => {
                Self::Layout(Layout::create(dir).map_err(|e| from_oci(e, what))?, name.clone())
            }
            Location::Directory(dir) => Self::Directory(Directory::create(dir).map_err(|e| from_oci(e, what))?),
            Location::OciArchive(file, name) => {
                Self::Archive { file: file.clone(), name: name.clone(), format: Format::Oci }
            }
            Location::DockerArchive(file, name) => {
                Self::Archive { file: file.clone(), name: name.clone(), format: Format::Docker }
            }
            Location::Daemon(name) => Self::Daemon(name.clone()),
        })
    }

    fn sink(&self) -> Option<&dyn BlobSink> {
        match self {
            Self::Registry(repository) => Some(repository),
            Self::Store(engine, _) => Some(&engine.store),
            Self::Layout(layout, _) => Some(layout),
            Self::Directory(directory) => Some(directory),
            Self::Archive { .. } | Self::Daemon(_) => None,
        }
    }

    /// Takes the image's blobs in; an archive is written whole, with its name.
    async fn take(&self, image: &Descriptor, source: &Source, options: &CopyOptions, what: &str) -> Result<()> {
        if let Some(sink) = self.sink() {
            return copy(image, &*source.blobs, sink, options).await.map_err(|e| from_oci(e, what));
        }
        let names = |name: Option<&str>| match name {
            Some(name) => Ok(vec![parse_name(name, what)?]),
            None => Ok(source.name.iter().cloned().collect()),
        };
        match self {
            Self::Archive { file, name, format, .. } => {
                let images = [(image.clone(), names(name.as_deref())?)];
                write_archive(&*source.blobs, &images, *format, true, Some(file)).await
            }
            Self::Daemon(name) => docker::load(&*source.blobs, image, &names(Some(name))?, None).await,
            _ => Ok(()),
        }
    }

    /// Gives the image its name there, once everything it needs is there.
    async fn name(&self, image: &Descriptor, source: &Source, what: &str) -> Result<()> {
        match self {
            Self::Registry(repository) => {
                let bytes = read_all(&*source.blobs, image, DOCUMENT_MAX).await.map_err(|e| from_oci(e, what))?;
                if let Target::Digest(digest) = repository.reference().target()
                    && *digest != image.digest
                {
                    let error = Error::new(ErrorKind::User, format!("{what}: the image's digest is {}", image.digest));
                    return Err(error.with_hint("copy to a tag, or leave the digest out"));
                }
                let put = repository.put_manifest(repository.reference().target(), image.media_type.clone(), bytes);
                put.await.map(drop).map_err(|e| from_oci(e.into(), what))
            }
            Self::Store(engine, name) => {
                engine.store.add_image(image).map_err(|e| from_store(e, what))?;
                engine.store.tag(name, image).map_err(|e| from_store(e, what))?;
                if source.repository.is_some() && source.name.as_ref() == Some(name) {
                    engine.store.set_remote_tag(name, &source.image).map_err(|e| from_store(e, what))?;
                }
                engine.store.durable().map_err(|e| from_store(e, what))
            }
            Self::Layout(layout, tag) => {
                let name = layout_name(tag.as_deref(), source, what)?;
                layout.add(image, &name.into_iter().collect::<Vec<_>>()).map_err(|e| from_oci(e, what))
            }
            Self::Directory(directory) => directory.set_image(image).map_err(|e| from_oci(e, what)),
            Self::Archive { .. } | Self::Daemon(_) => Ok(()),
        }
    }

    /// Carries what is said about the image and everything it names: signatures, SBOMs, provenance.
    async fn referrers(&self, image: &Descriptor, source: &Source, what: &str) -> Result<usize> {
        let Some(repository) = &source.repository else {
            let error =
                Error::new(ErrorKind::User, format!("{what}: only a registry tells what is said about an image"));
            return Err(error.with_hint("leave --referrers out"));
        };
        let Some(sink) = self.sink().filter(|_| !matches!(self, Self::Directory(_))) else {
            let error = Error::new(ErrorKind::User, format!("{what}: this kind of place cannot hold statements"));
            return Err(error.with_hint("copy to a registry, the store or an OCI layout"));
        };
        let mut subjects = documents(&*source.blobs, image).await.map_err(|e| from_oci(e, what))?;
        let mut count = 0;
        for _ in 0..REFERRERS_DEPTH {
            let mut next = Vec::new();
            for subject in &subjects {
                let found = statements(repository, subject).await.map_err(|e| from_oci(e.into(), what))?;
                for (statement, tag) in found {
                    count += 1;
                    if count > REFERRERS_MAX {
                        let error = Error::new(ErrorKind::User, format!("{what}: it has too many statements"));
                        return Err(error.with_hint("leave --referrers out"));
                    }
                    let carried = copy(&statement, repository, sink, &CopyOptions::default()).await;
                    carried.map_err(|e| from_oci(e, what))?;
                    self.keep_statement(&statement, tag, repository, what).await?;
                    next.push(statement.digest);
                }
            }
            subjects = next;
        }
        Ok(count)
    }

    /// A registry lists statements by itself, or by their tag; other places need them named.
    async fn keep_statement(
        &self,
        statement: &Descriptor,
        tag: Option<String>,
        from: &Repository,
        what: &str,
    ) -> Result<()> {
        match (self, tag) {
            (Self::Registry(to), Some(tag)) => {
                let bytes = read_all(from, statement, DOCUMENT_MAX).await.map_err(|e| from_oci(e, what))?;
                let put = to.put_manifest(Target::Tag(&tag), statement.media_type.clone(), bytes).await;
                put.map(drop).map_err(|e| from_oci(e.into(), what))
            }
            (Self::Store(engine, _), _) => engine.store.add_image(statement).map_err(|e| from_store(e, what)),
            (Self::Layout(layout, _), _) => layout.add(statement, &[]).map_err(|e| from_oci(e, what)),
            _ => Ok(()),
        }
    }
}

/// Manifests that are about `subject`: those listed as referrers, and those that cosign finds by their tag.
async fn statements(
    repository: &Repository,
    subject: &Digest,
) -> cooper_registry::Result<Vec<(Descriptor, Option<String>)>> {
    let listed = repository.referrers(subject, None).await?;
    let mut found: Vec<_> = listed.into_iter().map(|statement| (statement, None)).collect();
    for suffix in ["sig", "att", "sbom"] {
        let tag = format!("{}.{suffix}", subject.to_string().replace(':', "-"));
        match repository.manifest(Target::Tag(&tag)).await {
            Ok((statement, _)) => found.push((statement, Some(tag))),
            Err(error) if error.kind() == cooper_registry::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Digests of the image's index, if it is one, and its manifests.
async fn documents(blobs: &dyn Blobs, image: &Descriptor) -> cooper_oci::Result<Vec<Digest>> {
    let mut out = vec![image.digest.clone()];
    if image.media_type.is_index() {
        let bytes = read_all(blobs, image, DOCUMENT_MAX).await?;
        if let Document::Index(index) = parse_document(&image.media_type, &bytes)? {
            out.extend(index.manifests.into_iter().map(|manifest| manifest.digest));
        }
    }
    Ok(out)
}

/// The full name of a layout's entry: the one given, or the source's with the tag given.
fn layout_name(given: Option<&str>, source: &Source, what: &str) -> Result<Option<Reference>> {
    match (given, &source.name) {
        (Some(tag), Some(name)) if !tag.contains(['/', ':']) => {
            parse_name(&format!("{}/{}:{tag}", name.registry(), name.repository()), what).map(Some)
        }
        (Some(name), _) => parse_name(name, what).map(Some),
        (None, name) => Ok(name.clone()),
    }
}

fn parse_name(name: &str, what: &str) -> Result<Reference> {
    name.parse().map_err(|e| from_oci(e, what))
}

/// A file of the store's temporary directory, gone with this value.
struct Spooled(PathBuf);

impl Spooled {
    fn new(engine: &Engine, what: &str) -> Result<Self> {
        engine.store.temporary().map(Self).map_err(|e| from_store(e, what))
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
