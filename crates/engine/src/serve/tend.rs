//! What a server does beside its requests: collects, keeps `index.json` up to date, tells what the store noticed.

use std::time::Duration;

use cooper_store::Event;

use super::{Collected, StoreBackend};
use crate::Error;
use crate::engine::blocking;
use crate::error::from_store;

/// Between two writings of `index.json`: it is written whole each time, and pushes come in crowds.
const INDEX_PAUSE: Duration = Duration::from_secs(1);

/// When a server collects.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// How often; `None` is never.
    pub every: Option<Duration>,
    /// How long what no tag needs is kept, in seconds; `None` is until it is deleted.
    pub grace_secs: Option<i64>,
}

/// Something that tending did, or that went wrong with it.
#[derive(Debug)]
pub enum Tended {
    /// It removed something.
    Collected(Collected),
    /// The store noticed something, as a rotten blob.
    Noticed(Event),
    /// It could not be done; it is tried again.
    Failed(Error),
}

impl StoreBackend {
    /// Tends the store until it is dropped.
    pub async fn tend(&self, schedule: Schedule, tell: impl Fn(Tended)) {
        let collecting = async {
            let Some(every) = schedule.every else { return std::future::pending().await };
            loop {
                tokio::time::sleep(every).await;
                match self.collect(schedule.grace_secs).await {
                    Ok(collected) if collected == Collected::default() => {}
                    Ok(collected) => tell(Tended::Collected(collected)),
                    Err(error) => tell(Tended::Failed(error)),
                }
                // It may have taken images away.
                self.inner.renamed.notify_one();
            }
        };
        let indexing = async {
            loop {
                self.inner.renamed.notified().await;
                self.write_index().await.unwrap_or_else(|error| tell(Tended::Failed(error)));
                tokio::time::sleep(INDEX_PAUSE).await;
            }
        };
        let watching = async {
            loop {
                tokio::time::sleep(INDEX_PAUSE).await;
                self.inner.store.take_events().into_iter().for_each(|event| tell(Tended::Noticed(event)));
            }
        };
        let ((), (), ()) = futures::join!(collecting, indexing, watching);
    }

    /// Brings `index.json` up to date: pushes leave it behind.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn write_index(&self) -> crate::Result<()> {
        let store = self.inner.store.clone();
        blocking(move || store.write_index()).await.map_err(|error| from_store(error, "cannot write index.json"))
    }
}
