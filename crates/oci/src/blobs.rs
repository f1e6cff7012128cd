//! A place is a set of blobs: the two traits every registry, layout, archive and store implements.

use std::fmt::Debug;
use std::fs::File;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt};

use crate::{Descriptor, Error, ErrorKind, Hasher, Result};

/// A stream of bytes. Whoever consumes it checks length and digest; implementations of [`BlobSink::put`] must.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// A place that blobs are read from.
#[async_trait]
pub trait Blobs: Debug + Send + Sync {
    /// Opens a blob. [`ErrorKind::NotFound`] when the place does not have it. Layers, configs, manifests and
    /// indexes are all blobs here; a registry tells them apart by media type.
    async fn open(&self, descriptor: &Descriptor) -> Result<Body>;

    /// The blob as a file whose bytes this very process hashed when it wrote them, and that nobody touched since: they
    /// need no second look. Most places have none.
    fn known_file(&self, _: &Descriptor) -> Option<File> {
        None
    }

    /// How many sources the place reads from: itself, and mirrors that it has not left out for what they did. A read
    /// that failed while this number fell goes elsewhere when it is done again: see [`from_sources`].
    fn sources(&self) -> usize {
        1
    }
}

/// A place that blobs are written to.
#[async_trait]
pub trait BlobSink: Debug + Send + Sync {
    /// The place has the blob already, or could take it over from a neighbour without its bytes (cross-repository mount).
    async fn has(&self, descriptor: &Descriptor) -> Result<bool>;

    /// Stores the blob, verified: on a wrong digest or size nothing is kept and [`ErrorKind::Corrupt`] is returned.
    async fn put(&self, descriptor: &Descriptor, body: Body) -> Result<()>;

    /// Stores the blob that `from` has. A place whose connection may break opens the blob again and goes on.
    async fn take(&self, descriptor: &Descriptor, from: &dyn Blobs) -> Result<()> {
        self.put(descriptor, from.open(descriptor).await?).await
    }
}

/// Does `read`, which reads from `from`; again for as long as it fails and `from` has a source less than before.
pub async fn from_sources<T, F>(from: &dyn Blobs, read: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    loop {
        let before = from.sources();
        match read().await {
            Err(_) if from.sources() < before => {}
            done => return done,
        }
    }
}

/// A body of bytes in memory.
pub fn body_from_bytes(bytes: impl Into<Bytes>) -> Body {
    let bytes = bytes.into();
    Box::pin(futures::stream::once(async move { Ok(bytes) }))
}

/// Reads a whole blob into memory, verified against its descriptor and no longer than `limit` bytes.
pub async fn read_all(from: &dyn Blobs, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
    if descriptor.size > limit {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!("{} has {} bytes; at most {limit} are read", descriptor.digest, descriptor.size),
        ));
    }
    from_sources(from, || read_once(from, descriptor)).await
}

async fn read_once(from: &dyn Blobs, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let mut body = from.open(descriptor).await?;
    let mut out = Vec::with_capacity(descriptor.size as usize);
    while let Some(chunk) = body.next().await {
        out.extend_from_slice(&chunk?);
        if out.len() as u64 > descriptor.size {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("{} is longer than its {} bytes", descriptor.digest, descriptor.size),
            ));
        }
    }
    let mut hasher = Hasher::new(descriptor.digest.algorithm());
    hasher.update(&out);
    if hasher.size() != descriptor.size || hasher.finish() != descriptor.digest {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("{} does not have the content its digest names", descriptor.digest),
        ));
    }
    Ok(out)
}
