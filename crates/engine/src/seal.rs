//! Turning layers that steps wrote into blobs, beside the steps that follow.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use cooper_oci::{Compression, Descriptor};
use cooper_store::{LayerId, Store};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use crate::Result;
use crate::engine::blocking;
use crate::error::{SharedError, from_store};

type Sealing = Shared<BoxFuture<'static, std::result::Result<Descriptor, SharedError>>>;

/// Layers being sealed in this build.
#[derive(Debug)]
pub(crate) struct Seals {
    store: Store,
    compression: Compression,
    running: Mutex<HashMap<LayerId, Sealing>>,
}

impl Seals {
    pub(crate) fn new(store: Store, compression: Compression) -> Self {
        Self { store, compression, running: Mutex::default() }
    }

    /// Starts sealing a layer, unless that is under way.
    pub(crate) fn start(&self, layer: &LayerId) -> Sealing {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.entry(layer.clone()).or_insert_with(|| self.seal(layer)).clone()
    }

    fn seal(&self, layer: &LayerId) -> Sealing {
        let (store, layer, compression) = (self.store.clone(), layer.clone(), self.compression);
        // Spawned, not lazy: it has to go on while nobody waits.
        let work = tokio::spawn(blocking(move || {
            store.seal(&layer, compression).map_err(|e| SharedError::from(from_store(e, "cannot pack a layer")))
        }));
        let joined = async move {
            match work.await {
                Ok(result) => result,
                Err(e) => {
                    Err(crate::Error::new(crate::ErrorKind::Io, "packing a layer was stopped").with_source(e).into())
                }
            }
        };
        joined.boxed().shared()
    }

    /// Waits until those of `layers` that are being sealed are.
    pub(crate) async fn wait(&self, layers: &[LayerId]) -> Result<()> {
        for layer in layers {
            let sealing = self.running.lock().unwrap_or_else(PoisonError::into_inner).get(layer).cloned();
            if let Some(sealing) = sealing {
                sealing.await.map_err(SharedError::into_error)?;
            }
        }
        Ok(())
    }

    /// A blob of a layer: one that is here, whatever its compression, else one made.
    pub(crate) async fn any_blob(&self, layer: &LayerId) -> Result<Descriptor> {
        self.wait(std::slice::from_ref(layer)).await?;
        let known = self.store.layer_blobs(layer).map_err(|e| from_store(e, "cannot look for a layer's blob"))?;
        let here = |blob: &&Descriptor| self.store.has_blob(&blob.digest).unwrap_or(false);
        match known.iter().find(here) {
            Some(blob) => Ok(blob.clone()),
            None => self.blob(layer, self.compression).await,
        }
    }

    /// The blob of a layer in this compression.
    pub(crate) async fn blob(&self, layer: &LayerId, compression: Compression) -> Result<Descriptor> {
        if compression == self.compression {
            return self.start(layer).await.map_err(SharedError::into_error);
        }
        self.wait(std::slice::from_ref(layer)).await?;
        let (store, layer) = (self.store.clone(), layer.clone());
        blocking(move || store.seal(&layer, compression)).await.map_err(|e| from_store(e, "cannot pack a layer"))
    }
}
