//! Where results go: the store, registries, archives, directories.

mod archive;
pub(crate) mod docker;
mod tree;

use std::sync::Arc;
use std::time::Instant;

use cooper_oci::{CopyOptions, Descriptor, Digest, Platform, Reference, Target, copy};
use futures::future::try_join;

use crate::assemble::{Assembled, Assembly};
use crate::build::Built;
use crate::engine::blocking;
use crate::error::{from_oci, from_store};
use crate::files::LayerFiles;
use crate::homes::{self, Seen};
use crate::seal::Seals;
use crate::shared::SharedCaches;
use crate::source::Remotes;
use crate::{
    CachePlace, Engine, Error, ErrorKind, Event, EventSink, Export, ExportKind, Request, Result, StepId, StepState,
};

pub use archive::Format;
pub(crate) use archive::write_archive;
use tree::Part;
pub(crate) use tree::place;

/// What came of the exports.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exported {
    pub(crate) image: Option<Descriptor>,
    pub(crate) config: Option<Digest>,
    pub(crate) names: Vec<Reference>,
}

/// What is shown while an export goes on.
pub(crate) fn title(export: &Export) -> String {
    let dest = export.dest.as_deref().map_or_else(|| "standard output".into(), |path| path.display().to_string());
    match export.kind {
        ExportKind::Image { push: false } => "exporting to the store".into(),
        ExportKind::Image { push: true } => "exporting to the store and pushing".into(),
        ExportKind::Oci { .. } => format!("exporting to OCI {dest}"),
        ExportKind::Docker { .. } => format!("exporting to docker archive {dest}"),
        ExportKind::Tar => format!("exporting files to {dest}"),
        ExportKind::Local => format!("exporting files to {dest}"),
        ExportKind::Load => "loading into the docker engine".into(),
    }
}

/// What an error is about whose place is the store's disk.
pub(crate) const CANNOT_SYNC: &str = "cannot write the results to disk";

/// The exports of a build, under way.
#[derive(Debug)]
pub(crate) struct Exporter<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) request: &'a Request,
    pub(crate) remotes: &'a Arc<Remotes>,
    pub(crate) seals: &'a Seals,
    pub(crate) events: &'a dyn EventSink,
    pub(crate) built: &'a [Built],
    pub(crate) caches: &'a SharedCaches,
}

impl Exporter<'_> {
    /// Carries out all exports of the request, in order; the first one has step number `first`.
    pub(crate) async fn all(&self, first: u32) -> Result<Exported> {
        let mut out = Exported::default();
        for (index, export) in self.request.exports.iter().enumerate() {
            let step = StepId(first + index as u32);
            let started = Instant::now();
            self.events.event(Event::Started { step, why: None });
            let result = self.one(export, &mut out).await;
            let state = result.as_ref().map_or_else(|e| StepState::Failed(e.what.clone()), |()| StepState::Done);
            self.events.event(Event::Finished { step, state, took: started.elapsed() });
            result?;
        }
        Ok(out)
    }

    async fn one(&self, export: &Export, out: &mut Exported) -> Result<()> {
        match export.kind {
            ExportKind::Tar => return self.tar(export).await,
            ExportKind::Local => return self.directory(export).await,
            _ => {}
        }
        let image = self.assemble(export).await?;
        match export.kind {
            ExportKind::Oci { tar } => self.archive(export, &image.root, Format::Oci, tar).await?,
            ExportKind::Docker { tar } => self.archive(export, &image.root, Format::Docker, tar).await?,
            ExportKind::Load => self.load(export, &image.root).await?,
            _ => self.image(export, &image.root).await?,
        }
        let names = self.names_of(export, &image.root);
        out.names.extend(names.into_iter().filter(|name| !out.names.contains(name)).collect::<Vec<_>>());
        out.image = Some(image.root);
        out.config = image.config;
        Ok(())
    }

    async fn assemble(&self, export: &Export) -> Result<Assembled> {
        let inline = self.request.cache_to.iter().any(|to| to.place == CachePlace::Inline);
        let assembly = Assembly {
            store: &self.engine.store,
            seals: self.seals,
            remotes: self.remotes,
            request: self.request,
            export,
            inline: inline.then_some(self.caches),
        };
        assembly.image(self.built).await
    }

    fn names(&self, export: &Export) -> Vec<Reference> {
        let mut names = self.request.tags.clone();
        names.extend(export.names.iter().filter(|name| !self.request.tags.contains(name)).cloned());
        names
    }

    /// Names by tag, or by digest where that is asked for.
    fn names_of(&self, export: &Export, image: &Descriptor) -> Vec<Reference> {
        let mut names = self.names(export);
        if export.by_digest {
            names = names.iter().map(|name| name.at(image.digest.clone())).collect();
        }
        let dangling = export.dangling.as_ref().filter(|dangling| names.is_empty() || !dangling.only_nameless);
        names.extend(dangling.map(|dangling| dangling.name.at(image.digest.clone())));
        names
    }

    async fn fetch(&self) -> Result<()> {
        for built in self.built {
            self.remotes.fetch(built.filesystem.layers()).await?;
        }
        Ok(())
    }

    async fn image(&self, export: &Export, image: &Descriptor) -> Result<()> {
        let names = self.names_of(export, image);
        if !export.transient {
            self.fetch().await?;
            self.name(image, &names)?;
        }
        if export.unpack {
            self.unpack().await?;
        }
        if export.kind == (ExportKind::Image { push: true }) {
            if names.is_empty() {
                return Err(Error::new(ErrorKind::User, "there is no name to push to")
                    .with_hint("name the image with -t registry/repository:tag"));
            }
            for name in &names {
                push_image(self.engine, &**self.remotes, image, name).await?;
            }
        }
        Ok(())
    }

    /// Enters the image into the store. By its digest it is known there in any case.
    fn name(&self, image: &Descriptor, names: &[Reference]) -> Result<()> {
        let what = "cannot name the image";
        self.engine.store.add_image(image).map_err(|e| from_store(e, what))?;
        for name in names.iter().filter(|name| name.digest().is_none()) {
            self.engine.store.tag(name, image).map_err(|e| from_store(e, what))?;
        }
        Ok(())
    }

    /// Makes directories of the layers for this machine.
    async fn unpack(&self) -> Result<()> {
        let host = Platform::host();
        for built in self.built.iter().filter(|built| built.platform.serves(&host)) {
            let (store, layers) = (self.engine.store.clone(), built.filesystem.layers().to_vec());
            self.remotes.fetch(&layers).await?;
            let mounted = blocking(move || store.mount(&layers, false).map(drop)).await;
            mounted.map_err(|e| from_store(e, "cannot unpack the image"))?;
        }
        Ok(())
    }

    async fn archive(&self, export: &Export, image: &Descriptor, format: Format, tar: bool) -> Result<()> {
        self.fetch().await?;
        let images = [(image.clone(), self.names(export))];
        let writing = write_archive(&self.engine.store, &images, format, tar, export.dest.as_deref());
        // The disk takes what is in the store while the archive is written.
        let store = self.engine.store.clone();
        let durable = async { blocking(move || store.durable()).await.map_err(|e| from_store(e, CANNOT_SYNC)) };
        try_join(durable, writing).await.map(drop)
    }

    async fn load(&self, export: &Export, image: &Descriptor) -> Result<()> {
        self.fetch().await?;
        docker::load(&self.engine.store, image, &self.names(export), export.docker_context.as_deref()).await
    }

    async fn directory(&self, export: &Export) -> Result<()> {
        let dest = export.dest.clone();
        let dest = dest.ok_or_else(|| Error::new(ErrorKind::User, "a directory cannot go to standard output"))?;
        self.files(export, move |parts| tree::write_directory(parts, &dest)).await
    }

    async fn tar(&self, export: &Export) -> Result<()> {
        let dest = export.dest.clone();
        self.files(export, move |parts| tree::write_tar(parts, dest.as_deref())).await
    }

    /// Gives the files of each platform to `write`.
    async fn files(&self, export: &Export, write: impl FnOnce(&[Part]) -> Result<()> + Send + 'static) -> Result<()> {
        self.fetch().await?;
        let split = export.platform_split.unwrap_or(self.request.multi_platform());
        let platform = |built: &Built| (built.platform.clone(), built.filesystem.layers().to_vec());
        let (store, built) = (self.engine.store.clone(), self.built.iter().map(platform).collect::<Vec<_>>());
        blocking(move || {
            let open = |(platform, layers): &(Platform, Vec<_>)| {
                Ok(Part { platform: platform.clone(), split, files: LayerFiles::open(&store, layers)? })
            };
            write(&built.iter().map(open).collect::<Result<Vec<_>>>()?)
        })
        .await
    }
}

/// Pushes an image and everything it needs.
pub(crate) async fn push_image(
    engine: &Engine,
    from: &dyn cooper_oci::Blobs,
    image: &Descriptor,
    name: &Reference,
) -> Result<()> {
    let what = format!("cannot push `{}`", name.familiar());
    let (repository, seen) = (homes::repository(engine, name, None), Seen::default());
    let options = CopyOptions { progress: Some(seen.noting(None)), ..CopyOptions::default() };
    copy(image, from, &repository, &options).await.map_err(|e| from_oci(e, &what))?;
    seen.remember(&engine.store, [name]);
    if matches!(name.target(), Target::Digest(_)) {
        return Ok(());
    }
    let bytes = cooper_oci::read_all(from, image, image.size).await.map_err(|e| from_oci(e, &what))?;
    let put = repository.put_manifest(name.target(), image.media_type.clone(), bytes).await;
    put.map(drop).map_err(|e| from_oci(e.into(), &what))
}
