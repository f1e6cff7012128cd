//! Layers that are known by descriptor and fetched only when something needs their bytes.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use cooper_oci::{BlobSink, Blobs, Body, Descriptor, Digest, from_sources};
use cooper_store::{LayerId, Store};
use futures::StreamExt;
use tokio::sync::OnceCell;

use crate::Result;
use crate::error::from_oci;

/// Blobs fetched at once from one place.
const FETCHES: usize = 4;

type Place = Arc<dyn Blobs>;

/// A blob, where it is to be had, and its fetch, which happens once.
type Known = (Descriptor, Place, Arc<OnceCell<()>>);

/// Which place has which blob that the store may lack.
#[derive(Debug)]
pub(crate) struct Remotes {
    store: Store,
    blobs: Mutex<HashMap<Digest, Known>>,
    layers: Mutex<HashMap<LayerId, Descriptor>>,
}

impl Remotes {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, blobs: Mutex::default(), layers: Mutex::default() }
    }

    /// `layer` is `descriptor`'s content, to be had at `place`.
    pub(crate) fn add(&self, layer: LayerId, descriptor: &Descriptor, place: Place) {
        let entry = (descriptor.clone(), place, Arc::default());
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner).insert(descriptor.digest.clone(), entry);
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).insert(layer, descriptor.clone());
    }

    /// The layer comes from an image of this build.
    pub(crate) fn knows(&self, layer: &LayerId) -> bool {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).contains_key(layer)
    }

    /// The blob that a layer from elsewhere came in.
    pub(crate) fn blob_of(&self, layer: &LayerId) -> Option<Descriptor> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).get(layer).cloned()
    }

    /// Brings the blobs of these layers into the store, those that come from elsewhere and are missing.
    pub(crate) async fn fetch(&self, layers: &[LayerId]) -> Result<()> {
        self.fetch_all(layers, false).await
    }

    /// As [`Remotes::fetch`], for layers that will be mounted: what is fetched is unpacked on the way.
    pub(crate) async fn fetch_to_mount(&self, layers: &[LayerId]) -> Result<()> {
        self.fetch_all(layers, true).await
    }

    async fn fetch_all(&self, layers: &[LayerId], unpack: bool) -> Result<()> {
        let wanted: Vec<(LayerId, Descriptor)> = {
            let known = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
            layers.iter().filter_map(|layer| Some((layer.clone(), known.get(layer)?.clone()))).collect()
        };
        let fetches = wanted
            .into_iter()
            .map(|(layer, descriptor)| async move { self.fetch_one(&descriptor, unpack.then_some(&layer)).await });
        futures::stream::iter(fetches).buffer_unordered(FETCHES).fold(Ok(()), |all, one| async { all.and(one) }).await
    }

    async fn fetch_one(&self, descriptor: &Descriptor, unpack: Option<&LayerId>) -> Result<()> {
        let known = self.blobs.lock().unwrap_or_else(PoisonError::into_inner).get(&descriptor.digest).cloned();
        let Some((descriptor, place, once)) = known else { return Ok(()) };
        let work = || async {
            if self.store.has(&descriptor).await? {
                return Ok(());
            }
            let take = || async {
                let body = place.open(&descriptor).await?;
                match unpack {
                    Some(layer) => self.store.put_layer(layer, &descriptor, body).await.map(drop).map_err(Into::into),
                    None => self.store.put(&descriptor, body).await,
                }
            };
            from_sources(&*place, take).await
        };
        once.get_or_try_init(work).await.map(drop).map_err(|e: cooper_oci::Error| from_oci(e, "cannot fetch a layer"))
    }
}

/// Reads through: the store's copy, else the place that is known to have it.
#[async_trait]
impl Blobs for Remotes {
    async fn open(&self, descriptor: &Descriptor) -> cooper_oci::Result<Body> {
        if !self.store.has(descriptor).await? {
            let known = self.blobs.lock().unwrap_or_else(PoisonError::into_inner).get(&descriptor.digest).cloned();
            if let Some((_, place, _)) = known {
                return place.open(descriptor).await;
            }
        }
        self.store.open(descriptor).await
    }

    fn known_file(&self, descriptor: &Descriptor) -> Option<File> {
        self.store.known_file(descriptor)
    }

    fn sources(&self) -> usize {
        let known = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().map(|(_, place, _)| place.sources()).sum()
    }
}
