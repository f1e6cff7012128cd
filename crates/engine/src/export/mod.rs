//! Where results go: the store, registries, archives, directories.

mod archive;
mod tree;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cooper_oci::{CopyOptions, Descriptor, Digest, Reference, copy};

use crate::build::Built;
use crate::engine::blocking;
use crate::error::{from_oci, from_store};
use crate::files::{Files, LayerFiles};
use crate::source::Remotes;
use crate::{Engine, Error, ErrorKind, Event, EventSink, Export, ExportKind, Request, Result, StepId, StepState};

pub use archive::Format;
pub(crate) use archive::write_archive;
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

/// One export under way.
#[derive(Debug)]
pub(crate) struct Exporter<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) request: &'a Request,
    pub(crate) remotes: &'a Arc<Remotes>,
    pub(crate) events: &'a dyn EventSink,
    pub(crate) built: &'a [Built],
}

impl Exporter<'_> {
    /// Carries out all exports of the request, in order; the first one has step number `first`.
    pub(crate) async fn all(&self, first: u32, images: &[Option<(Descriptor, Digest)>]) -> Result<Exported> {
        let mut out = Exported::default();
        for (index, (export, image)) in self.request.exports.iter().zip(images).enumerate() {
            let step = StepId(first + index as u32);
            let started = Instant::now();
            self.events.event(Event::Started { step, why: None });
            let result = self.one(export, image.as_ref(), &mut out).await;
            let state = result.as_ref().map_or_else(|e| StepState::Failed(e.what.clone()), |()| StepState::Done);
            self.events.event(Event::Finished { step, state, took: started.elapsed() });
            result?;
        }
        Ok(out)
    }

    async fn one(&self, export: &Export, image: Option<&(Descriptor, Digest)>, out: &mut Exported) -> Result<()> {
        if let Some((descriptor, config)) = image {
            out.image = Some(descriptor.clone());
            out.config = Some(config.clone());
        }
        let image = || {
            image
                .map(|(descriptor, _)| descriptor)
                .ok_or_else(|| Error::new(ErrorKind::Io, "there is no image to export"))
        };
        match export.kind {
            ExportKind::Image { push } => self.image(export, image()?, push, out).await,
            ExportKind::Oci { tar } => self.archive(export, image()?, Format::Oci, tar).await,
            ExportKind::Docker { tar } => self.archive(export, image()?, Format::Docker, tar).await,
            ExportKind::Load => self.load(image()?).await,
            ExportKind::Tar => self.files(export, tree::write_tar).await,
            ExportKind::Local => {
                self.files(export, |files, dest| {
                    let dest =
                        dest.ok_or_else(|| Error::new(ErrorKind::User, "a directory cannot go to standard output"))?;
                    tree::write_directory(files, dest)
                })
                .await
            }
        }
    }

    fn names(&self, export: &Export) -> Vec<Reference> {
        let mut names = self.request.tags.clone();
        names.extend(export.names.iter().filter(|name| !self.request.tags.contains(name)).cloned());
        names
    }

    async fn image(&self, export: &Export, image: &Descriptor, push: bool, out: &mut Exported) -> Result<()> {
        for built in self.built {
            self.remotes.fetch(built.filesystem.layers()).await?;
        }
        let names = self.names(export);
        let what = "cannot name the image";
        self.engine.store.add_image(image).map_err(|e| from_store(e, what))?;
        for name in &names {
            self.engine.store.tag(name, image).map_err(|e| from_store(e, what))?;
        }
        if push {
            if names.is_empty() {
                return Err(Error::new(ErrorKind::User, "there is no name to push to")
                    .with_hint("name the image with -t registry/repository:tag"));
            }
            for name in &names {
                push_image(self.engine, &**self.remotes, image, name).await?;
            }
        }
        out.names.extend(names);
        Ok(())
    }

    async fn archive(&self, export: &Export, image: &Descriptor, format: Format, tar: bool) -> Result<()> {
        for built in self.built {
            self.remotes.fetch(built.filesystem.layers()).await?;
        }
        write_archive(&self.engine.store, image, &self.names(export), format, tar, export.dest.as_deref()).await
    }

    /// `docker load` does the talking: it knows the engine's address, context and credentials.
    async fn load(&self, image: &Descriptor) -> Result<()> {
        for built in self.built {
            self.remotes.fetch(built.filesystem.layers()).await?;
        }
        let dir = self
            .engine
            .store
            .temporary()
            .map_err(|e| from_store(e, "cannot write the archive for the docker engine"))?;
        let names = self.request.tags.clone();
        write_archive(&self.engine.store, image, &names, Format::Docker, true, Some(&dir)).await?;
        let output = tokio::process::Command::new("docker").arg("load").arg("-i").arg(&dir).output().await;
        let _ = std::fs::remove_file(&dir);
        let hint =
            "is a docker engine running? without one, leave --load away: the image is in cooper's store either way";
        let output = output
            .map_err(|e| Error::new(ErrorKind::Host, "cannot run `docker load`").with_source(e).with_hint(hint))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Error::new(ErrorKind::Host, format!("`docker load` failed: {said}")).with_hint(hint))
    }

    async fn files(
        &self,
        export: &Export,
        write: impl FnOnce(&dyn Files, Option<&Path>) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let [built] = self.built else {
            return Err(Error::new(ErrorKind::User, "files of several platforms cannot be exported together"));
        };
        let layers = built.filesystem.layers();
        self.remotes.fetch(layers).await?;
        let (store, layers, dest) = (self.engine.store.clone(), layers.to_vec(), export.dest.clone());
        blocking(move || write(&*LayerFiles::open(&store, &layers)?, dest.as_deref())).await
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
    let repository = engine.client.repository(name);
    copy(image, from, &repository, &CopyOptions::default()).await.map_err(|e| from_oci(e, &what))?;
    let bytes = cooper_oci::read_all(from, image, image.size).await.map_err(|e| from_oci(e, &what))?;
    let put = repository.put_manifest(name.target(), image.media_type.clone(), bytes).await;
    put.map(drop).map_err(|e| from_oci(e.into(), &what))
}
