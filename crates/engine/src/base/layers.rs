//! The layers of one platform: found by what they are made of, else made from the packages.

use std::fs::File;

use cooper_base::manifest::Configure;
use cooper_base::{Described, Filter, Layer, LockedPackage, Unpacked, arrange, check_scripts, generate, unpack};
use cooper_oci::{Compression, Digest, Entry, Hasher, Mtime};
use cooper_store::{Key, KeyInputRow, LayerId, Record, RecordId, Store};
use rayon::prelude::*;

use super::place::place;
use super::{Detail, Made, OnePlatform};
use crate::engine::blocking;
use crate::error::{from_base, from_store};
use crate::{Error, ErrorKind, Result};

/// The way layers are made. Another number makes all of them anew.
const RECIPE: &str = "1";

/// The title of the layer with what no package holds.
const DECLARED: &str = "declared files";

/// What is made of the packages before anything runs.
struct Unconfigured {
    layers: Vec<Layer>,
    packages: Vec<Unpacked>,
    described: Described,
}

impl OnePlatform<'_> {
    /// The layers, from the store if it has them.
    pub(super) async fn layers(&self, packages: &[LockedPackage]) -> Result<Made> {
        let runs = self.request.manifest.configure == Some(Configure::Run);
        let inputs = self.inputs(packages)?;
        if let Some(found) = self.find(&inputs) {
            return Ok(found);
        }
        let Unconfigured { layers, packages, described } = self.unpack(packages).await?;
        let mut titles: Vec<String> = layers.iter().map(|layer| layer.title.clone()).collect();
        let making = Making {
            store: self.engine.store.clone(),
            clock: self.engine.clock,
            runs,
            compression: self.request.compression,
            created: self.created,
        };
        let made = blocking(move || layers.iter().map(|layer| making.layer(layer)).collect::<Result<Vec<_>>>()).await?;
        let there = made.iter().filter(|(_, found)| *found).count();
        if there > 0 {
            (self.output().0)(false, format!("{there} of {} layers are there already\n", made.len()).as_bytes());
        }
        let mut ids: Vec<LayerId> = made.into_iter().map(|(id, _)| id).collect();
        if runs {
            // They are packed while the packages are configured.
            ids.iter().for_each(|id| drop(self.seals.start(id)));
            let (title, id) = self.configure(&ids, &packages).await?;
            titles.push(title);
            ids.push(id);
        }
        let made = Made { layers: ids, detail: Detail { titles, described }, found: false };
        self.keep(&inputs, &made)?;
        Ok(made)
    }

    /// Unpacks all packages, in parallel, and puts them together.
    async fn unpack(&self, packages: &[LockedPackage]) -> Result<Unconfigured> {
        let (request, architecture) = (self.request.clone(), self.architecture.to_owned());
        let (store, packages) = (self.engine.store.clone(), packages.to_vec());
        blocking(move || {
            let told = |e| from_base(e, &request.name);
            let filter = Filter::new(&request.manifest).map_err(told)?;
            let one = |package: &LockedPackage| unpack_one(&store, package, &filter);
            let unpacked: Vec<Unpacked> = packages.par_iter().map(one).collect::<Result<_>>()?;
            let manifest = &request.manifest;
            let generated = match manifest.configure {
                Some(Configure::Run) => {
                    cooper_base::dpkg::items(manifest, &architecture, &request.lock, &unpacked, &request.given)
                        .map_err(told)?
                }
                _ => {
                    check_scripts(manifest, &unpacked).map_err(told)?;
                    generate(manifest, &architecture, &unpacked, &request.given).map_err(told)?
                }
            };
            let mut layers = arrange(&unpacked, &manifest.layers.clone().unwrap_or_default()).map_err(told)?;
            layers.push(cooper_base::declared_layer(DECLARED, generated, &unpacked));
            Ok(Unconfigured { layers, described: Described::of(&unpacked), packages: unpacked })
        })
        .await
    }

    /// All that decides what the layers hold, by name.
    fn inputs(&self, packages: &[LockedPackage]) -> Result<Vec<KeyInputRow>> {
        let row = |name: &str, value: String| KeyInputRow { name: name.to_owned(), value };
        let bug = |e| Error::new(ErrorKind::Io, "cannot write down what an image is made of").with_source(e);
        // Of the declared file all but what only the config or the lock tells.
        let mut manifest = self.request.manifest.clone();
        (manifest.sources, manifest.tags, manifest.packages) = Default::default();
        manifest.config = Default::default();
        let declared = serde_json::to_string(&manifest).map_err(bug)?;
        let mut rows = vec![
            row("recipe", RECIPE.into()),
            row("architecture", self.architecture.into()),
            row("created", self.created.to_string()),
            row("compression", format!("{:?}", self.request.compression)),
            row("declared", declared),
            row("releases", serde_json::to_string(&self.request.lock.releases).map_err(bug)?),
        ];
        let given = self.request.given.files.iter();
        rows.extend(given.map(|(path, bytes)| row(&format!("file {}", path.display()), Digest::of(bytes).to_string())));
        rows.extend(packages.iter().map(|p| row(&format!("package {} {}", p.name, p.version), p.digest.to_string())));
        Ok(rows)
    }

    fn find(&self, inputs: &[KeyInputRow]) -> Option<Made> {
        let store = &self.engine.store;
        let id = store.lookup(&key(inputs)).ok().flatten()?;
        let record = store.record(&id).ok().flatten()?;
        let detail: Detail =
            record.detail.as_ref().and_then(|detail| serde_json::from_slice(&store.detail(detail).ok()?).ok())?;
        let here =
            |layer: &LayerId| store.hold_layer(layer).unwrap_or(false) && store.layer_is_here(layer).unwrap_or(false);
        let whole = detail.titles.len() == record.layers.len() && record.layers.iter().all(here);
        whole.then_some(Made { layers: record.layers, detail, found: true })
    }

    fn keep(&self, inputs: &[KeyInputRow], made: &Made) -> Result<()> {
        let told = |e| from_store(e, "cannot keep the layers for the next build");
        let store = &self.engine.store;
        let detail = serde_json::to_vec(&made.detail)
            .map_err(|e| Error::new(ErrorKind::Io, "cannot write what the layers are made of").with_source(e))?;
        let record = Record {
            id: RecordId(key(inputs).0),
            layers: made.layers.clone(),
            inputs: inputs.to_vec(),
            detail: Some(store.put_detail(&detail).map_err(told)?),
            step: format!("base {} {}", self.request.name, self.architecture),
            created: (self.engine.clock)(),
            trace: None,
        };
        store.save(&record, &[key(inputs)]).map_err(told)
    }
}

/// Makes single layers.
struct Making {
    store: Store,
    clock: fn() -> i64,
    runs: bool,
    compression: Compression,
    created: i64,
}

impl Making {
    /// A layer, and whether it was there: one is found by its packages and by what it keeps of them, whatever the others are.
    fn layer(&self, layer: &Layer) -> Result<(LayerId, bool)> {
        let inputs = self.inputs(layer);
        let is_known = !layer.packages.is_empty();
        if let Some(found) = is_known.then(|| self.find(&inputs)).flatten() {
            return Ok((found, true));
        }
        let id = match self.runs {
            true => place(&self.store, layer, self.created)?,
            false => write(&self.store, layer, self.compression, self.created)?,
        };
        if is_known {
            self.keep(layer, inputs, &id)?;
        }
        Ok((id, false))
    }

    fn inputs(&self, layer: &Layer) -> Vec<KeyInputRow> {
        let row = |name: &str, value: String| KeyInputRow { name: name.to_owned(), value };
        let mut entries = Hasher::default();
        for item in &layer.items {
            // The date of the image counts only where it changes something: every update of the lock moves it.
            let mtime = item.entry.mtime.min(Mtime { secs: self.created, nanos: 0 });
            entries.update(format!("{:?}\n", Entry { mtime, ..item.entry.clone() }).as_bytes());
        }
        let mut rows = vec![
            row("recipe", RECIPE.into()),
            row("compression", format!("{:?}", self.compression)),
            row("unpacked", self.runs.to_string()),
            row("entries", entries.finish().to_string()),
        ];
        rows.extend(layer.packages.iter().map(|package| row("package", package.to_string())));
        rows
    }

    fn find(&self, inputs: &[KeyInputRow]) -> Option<LayerId> {
        let store = &self.store;
        let record = store.record(&store.lookup(&layer_key(inputs)).ok().flatten()?).ok().flatten()?;
        let [layer] = &record.layers[..] else { return None };
        let is_here = store.hold_layer(layer).unwrap_or(false) && store.layer_is_here(layer).unwrap_or(false);
        is_here.then(|| layer.clone())
    }

    fn keep(&self, layer: &Layer, inputs: Vec<KeyInputRow>, id: &LayerId) -> Result<()> {
        let key = layer_key(&inputs);
        let record = Record {
            id: RecordId(key.0),
            layers: vec![id.clone()],
            inputs,
            detail: None,
            step: format!("base layer {}", layer.title),
            created: (self.clock)(),
            trace: None,
        };
        self.store.save(&record, &[key]).map_err(|e| from_store(e, "cannot keep a layer for the next build"))
    }
}

fn layer_key(inputs: &[KeyInputRow]) -> Key {
    Key::of(&serde_json::to_vec(&("base layer", inputs)).unwrap_or_default())
}

fn key(inputs: &[KeyInputRow]) -> Key {
    Key::of(&serde_json::to_vec(&("base", inputs)).unwrap_or_default())
}

fn unpack_one(store: &Store, package: &LockedPackage, filter: &Filter) -> Result<Unpacked> {
    let what = format!("cannot read package {} {}", package.name, package.version);
    let told = |e| from_store(e, &what);
    let source = store.open_blob(&package.digest).map_err(told)?;
    let path = store.temporary().map_err(told)?;
    let spool = File::options().read(true).write(true).create_new(true).open(&path);
    // Its name is not needed: what is written goes when the last reader does.
    let spool = spool.and_then(|file| std::fs::remove_file(&path).map(|()| file));
    let spool = spool.map_err(|e| Error::new(ErrorKind::Io, what.clone()).with_source(e))?;
    unpack(package, source, filter, spool).map_err(|e| from_base(e, "cannot unpack"))
}

/// Writes a layer, unless the store has it.
fn write(store: &Store, layer: &Layer, compression: Compression, created: i64) -> Result<LayerId> {
    let told = |e| from_store(e, "cannot write a layer");
    let mut builder = store.new_layer(compression, Some(created)).map_err(told)?;
    for item in &layer.items {
        builder.append(&item.entry, &mut *item.open()).map_err(told)?;
    }
    Ok(builder.finish().map_err(told)?.id)
}
