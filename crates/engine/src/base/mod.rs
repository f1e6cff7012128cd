//! `cooper base build`: from a lock and its verified packages in the store to an image in the store.
//!
//! Knows nothing of archives and of how packages were chosen and fetched. A layer is found again by what it is made of.

mod attest;
mod configure;
mod layers;
mod place;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use cooper_base::{Described, Given, Lock, architecture_of, image_config, platform_of};
use cooper_oci::{Compression, Descriptor, ImageConfig, Index, MediaType, Platform, Reference};
use cooper_store::LayerId;
use serde::{Deserialize, Serialize};

use crate::assemble::{Packed, put_image};
use crate::error::{from_base, from_store};
use crate::seal::Seals;
use crate::{Engine, Error, ErrorKind, Event, EventSink, Result, StepId, StepState};

/// What is to be built.
#[derive(Clone, Debug)]
pub struct BaseRequest {
    /// What people call it: a preset's name, or the file's.
    pub name: String,
    /// The declared file, with all it extends.
    pub manifest: cooper_base::Manifest,
    /// Its lock. The packages are in the store by their digests.
    pub lock: Lock,
    /// Files of the machine that the declared file names.
    pub given: Given,
    /// Platforms; all that the lock has packages for when empty.
    pub platforms: Vec<Platform>,
    /// Names of the image.
    pub tags: Vec<Reference>,
    /// Compression of the layers.
    pub compression: Compression,
    /// SOURCE_DATE_EPOCH of the caller, seconds since 1970; else the date of the newest release of the lock.
    pub epoch: Option<i64>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct BaseOutcome {
    /// The image: an index of one manifest a platform, each with its statement.
    pub image: Descriptor,
    /// The platforms, and whether the layers of each were found in the store.
    pub platforms: Vec<(Platform, bool)>,
}

/// One platform of an image.
struct OnePlatform<'a> {
    engine: &'a Engine,
    request: &'a BaseRequest,
    architecture: &'a str,
    platform: Platform,
    created: i64,
    step: StepId,
    events: &'a Arc<dyn EventSink>,
    seals: Seals,
}

/// The layers of one platform.
#[derive(Clone, Debug)]
struct Made {
    layers: Vec<LayerId>,
    detail: Detail,
    found: bool,
}

/// What is kept of the packages beside the layers made of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Detail {
    /// A title for each layer.
    titles: Vec<String>,
    /// For the list of packages.
    described: Described,
}

/// Builds a base image.
///
/// # Errors
/// A lock that is of other declarations, a package that is broken or that does not fit the others or the declarations.
pub async fn build_base(engine: &Engine, request: BaseRequest, events: Arc<dyn EventSink>) -> Result<BaseOutcome> {
    crate::build::start_pool()?;
    request.lock.expect_fresh(&request.manifest).map_err(|e| from_base(e, &request.name))?;
    let engine = Engine { store: engine.store.deferred(), ..engine.clone() };
    let created = request.epoch.unwrap_or_else(|| request.lock.date());
    let chosen = choose(&request)?;
    let title = |architecture: &str| format!("[{} {architecture}] make the layers", request.name);
    let step = |index: usize| StepId(index as u32 + 1);
    let steps = chosen.iter().enumerate().map(|(i, (architecture, _))| (step(i), title(architecture))).collect();
    events.event(Event::Planned { steps });
    let (mut manifests, mut statements, mut platforms) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (architecture, platform)) in chosen.into_iter().enumerate() {
        let step = step(index);
        let (engine, request, events) = (&engine, &request, &events);
        let seals = Seals::new(engine.store.clone(), request.compression);
        let one = OnePlatform { engine, request, architecture, platform, created, step, events, seals };
        let (image, statement, found) = one.build().await?;
        manifests.push(image);
        statements.push(statement);
        platforms.push((one.platform, found));
    }
    manifests.extend(statements);
    let image = finish(&engine, manifests, &request.tags)?;
    Ok(BaseOutcome { image, platforms })
}

/// The architectures to build, each with its platform.
fn choose(request: &BaseRequest) -> Result<Vec<(&str, Platform)>> {
    let unknown =
        |name: &str| Error::new(ErrorKind::User, format!("{}: no platform is known for {name}", request.name));
    if request.platforms.is_empty() {
        let all = request.lock.packages.keys();
        return all.map(|name| Ok((name.as_str(), platform_of(name).ok_or_else(|| unknown(name))?))).collect();
    }
    let one = |platform: &Platform| {
        let name = architecture_of(platform).ok_or_else(|| unknown(&platform.to_string()))?;
        Ok((name, platform_of(name).ok_or_else(|| unknown(name))?))
    };
    request.platforms.iter().map(one).collect()
}

fn finish(engine: &Engine, manifests: Vec<Descriptor>, tags: &[Reference]) -> Result<Descriptor> {
    let what = "cannot write the image";
    let index = serde_json::to_vec_pretty(&Index::new(manifests))
        .map_err(|e| Error::new(ErrorKind::Io, what).with_source(e))?;
    let told = |e| from_store(e, what);
    let image = engine.store.put_bytes(MediaType::INDEX, &index).map_err(told)?;
    engine.store.add_image(&image).map_err(told)?;
    for tag in tags {
        engine.store.tag(tag, &image).map_err(told)?;
    }
    engine.store.durable().map_err(told)?;
    Ok(image)
}

impl OnePlatform<'_> {
    async fn build(&self) -> Result<(Descriptor, Descriptor, bool)> {
        let began = Instant::now();
        self.events.event(Event::Started { step: self.step, why: None });
        let result = self.image().await;
        let state = match &result {
            Ok((_, _, true)) => StepState::Cached,
            Ok(_) => StepState::Done,
            Err(e) => StepState::Failed(e.what.clone()),
        };
        self.events.event(Event::Finished { step: self.step, state, took: began.elapsed() });
        result
    }

    async fn image(&self) -> Result<(Descriptor, Descriptor, bool)> {
        let packages = self.request.lock.packages(self.architecture).map_err(|e| from_base(e, &self.request.name))?;
        let made = self.layers(packages).await?;
        let config = image_config(&self.request.manifest, &self.platform, self.created, &made.detail.titles)
            .map_err(|e| from_base(e, &self.request.name))?;
        let mut image = self.assemble(&config, &made.layers).await?;
        image.platform = Some(config.platform());
        let statement = self.statement(&image, packages, &made.detail.described)?;
        Ok((image, statement, made.found))
    }

    async fn assemble(&self, config: &ImageConfig, layers: &[LayerId]) -> Result<Descriptor> {
        let store = &self.engine.store;
        let mut packed = Vec::new();
        for layer in layers {
            let blob = self.seals.blob(layer, self.request.compression).await?;
            let diff_id = store.layer_diff_id(layer).map_err(|e| from_store(e, "cannot write the image"))?;
            let missing = || Error::new(ErrorKind::Io, "cannot write the image: a layer has no diff id");
            packed.push(Packed { diff_id: diff_id.ok_or_else(missing)?, blob });
        }
        put_image(store, config, packed, false, BTreeMap::new()).map(|(manifest, _)| manifest)
    }

    fn output(&self) -> crate::ops::OutputSink {
        let (events, step) = (self.events.clone(), self.step);
        crate::ops::OutputSink(Arc::new(move |stderr, data| {
            events.event(Event::Output { step, stderr, data: data.to_vec() });
        }))
    }
}
