//! Blobs that are not here: how long they are, where they come from, and how they are put away.

use std::sync::Arc;
use std::time::Duration;

use cooper_oci::{Body, Descriptor, Digest};
use futures::StreamExt;

use super::super::{Backend, Refusal};
use super::Inner;
use super::flight::{Flight, State};
use super::upstream::Failure;

impl Inner {
    /// The length of a blob that is not here: as a manifest says, else as upstream says.
    pub(super) async fn size(&self, name: &str, digest: &Digest) -> Result<Option<u64>, Refusal> {
        let thing = digest.to_string();
        if let Some(size) = self.sizes.get(name, &thing, Duration::MAX) {
            return Ok(Some(size));
        }
        let asked = self.upstream.ask(name, &thing, |repository| async move { repository.blob_size(digest).await });
        match asked.await {
            Ok(size) => {
                self.sizes.put(name, &thing, size);
                Ok(Some(size))
            }
            Err(Failure::Unknown) => Ok(None),
            Err(Failure::Refused(refusal) | Failure::Fails(refusal)) => Err(refusal),
        }
    }

    /// Brings the blob of a flight; from here, if it came in between.
    async fn fetch(&self, flight: &Flight, name: &str, digest: &Digest) -> Result<bool, State> {
        let size = flight.size();
        let failed = |refusal| State::Failed(Some(refusal));
        let kept = self.shelf.open_blob(name, digest, 0..size).await.map_err(failed)?;
        let is_kept = kept.is_some();
        let mut body = match kept {
            Some(body) => body,
            None => self.open_upstream(name, digest, size).await?,
        };
        flight.set(State::Coming(0));
        let broken = |why: String| {
            self.say(&format!("the download of {digest} for {name} ends: {why}"));
            State::Failed(Some(Refusal::new(502, "UNKNOWN", "the download from upstream failed")))
        };
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| broken(error.to_string()))?;
            flight.write(chunk).await.map_err(|error| broken(error.to_string()))?;
        }
        Ok(is_kept)
    }

    /// A stream that ends well only if its bytes are the digest's.
    async fn open_upstream(&self, name: &str, digest: &Digest, size: u64) -> Result<Body, State> {
        let descriptor = Descriptor::new("application/octet-stream", digest.clone(), size);
        let thing = digest.to_string();
        let asked = self.upstream.ask(name, &thing, |repository| async move { repository.blob(&descriptor).await });
        asked.await.map_err(|failure| match failure {
            Failure::Unknown => State::Failed(None),
            Failure::Refused(refusal) | Failure::Fails(refusal) => State::Failed(Some(refusal)),
        })
    }

    pub(super) async fn fly(&self, flight: Arc<Flight>, name: &str, digest: &Digest) {
        let ended = tokio::select! {
            ended = self.fetch(&flight, name, digest) => ended,
            () = flight.abandoned() => Err(State::Failed(None)),
        };
        match ended {
            Ok(is_kept) => {
                flight.set(State::Proved);
                if !is_kept && let Err(refusal) = self.land(&flight, name, digest).await {
                    self.cannot_keep(&format!("blob {digest}"), &refusal);
                }
                self.flights.end(&flight);
                self.make_room().await;
            }
            Err(state) => {
                self.flights.end(&flight);
                flight.set(state);
            }
        }
    }

    /// Puts a blob that is proved onto the shelf.
    async fn land(&self, flight: &Arc<Flight>, name: &str, digest: &Digest) -> Result<(), Refusal> {
        let mut upload = self.shelf.upload(name, digest.algorithm()).await?;
        let mut body = flight.whole();
        while let Some(chunk) = body.next().await {
            upload.write(chunk.map_err(Refusal::internal)?).await?;
        }
        upload.commit(digest).await?;
        self.room.came(digest, flight.size());
        self.give_names(name).await;
        Ok(())
    }

    /// Takes a blob over from another repository of this cache, once upstream says that this one has it too.
    pub(super) async fn mount(&self, name: &str, digest: &Digest) -> Result<bool, Refusal> {
        for holder in self.shelf.holders(digest).await? {
            if self.shelf.mount_blob(&holder, name, digest).await? {
                self.give_names(name).await;
                return Ok(true);
            }
        }
        Ok(false)
    }
}
