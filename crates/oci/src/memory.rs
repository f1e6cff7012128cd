//! Blobs in memory, for tests and for small documents on their way.
//!
//! Knows no names: only digests.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;

use crate::{BlobSink, Blobs, Body, Descriptor, Digest, Error, ErrorKind, Hasher, MediaType, Result, body_from_bytes};

/// A set of blobs in memory.
#[derive(Debug, Default)]
pub struct MemoryBlobs {
    blobs: Mutex<BTreeMap<Digest, Bytes>>,
}

impl MemoryBlobs {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes; how to name them.
    pub fn add(&self, media_type: impl Into<MediaType>, bytes: impl Into<Bytes>) -> Descriptor {
        let bytes = bytes.into();
        let descriptor = Descriptor::of(media_type, &bytes);
        self.lock().insert(descriptor.digest.clone(), bytes);
        descriptor
    }

    /// The bytes of a digest.
    pub fn get(&self, digest: &Digest) -> Option<Bytes> {
        self.lock().get(digest).cloned()
    }

    /// Puts `bytes` under a digest that need not be theirs: a place that lies, for tests.
    pub fn insert_unverified(&self, digest: Digest, bytes: impl Into<Bytes>) {
        self.lock().insert(digest, bytes.into());
    }

    /// Forgets a blob; whether it was there.
    pub fn remove(&self, digest: &Digest) -> bool {
        self.lock().remove(digest).is_some()
    }

    /// All digests, sorted.
    pub fn digests(&self) -> Vec<Digest> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, Bytes>> {
        // A map is whole between any two calls, whoever panicked.
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Blobs for MemoryBlobs {
    async fn open(&self, descriptor: &Descriptor) -> Result<Body> {
        self.get(&descriptor.digest)
            .map(body_from_bytes)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("blob {} is not there", descriptor.digest)))
    }
}

#[async_trait]
impl BlobSink for MemoryBlobs {
    async fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        Ok(self.get(&descriptor.digest).is_some())
    }

    async fn put(&self, descriptor: &Descriptor, mut body: Body) -> Result<()> {
        let mut bytes = Vec::new();
        let mut check = BlobCheck::new(descriptor);
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            check.update(&chunk)?;
            bytes.extend_from_slice(&chunk);
        }
        check.finish()?;
        self.lock().insert(descriptor.digest.clone(), bytes.into());
        Ok(())
    }
}

/// Checks bytes on their way into a place.
#[derive(Debug)]
pub(crate) struct BlobCheck<'a> {
    descriptor: &'a Descriptor,
    hasher: Hasher,
}

impl<'a> BlobCheck<'a> {
    pub(crate) fn new(descriptor: &'a Descriptor) -> Self {
        Self { descriptor, hasher: Hasher::new(descriptor.digest.algorithm()) }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        if self.hasher.size() > self.descriptor.size {
            return Err(self.corrupt(format!("longer than its {} bytes", self.descriptor.size)));
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<()> {
        if self.hasher.size() != self.descriptor.size {
            return Err(self.corrupt(format!("expected {} bytes, found {}", self.descriptor.size, self.hasher.size())));
        }
        let found = self.hasher.clone().finish();
        if found != self.descriptor.digest {
            return Err(self.corrupt(format!("its content has digest {found}")));
        }
        Ok(())
    }

    fn corrupt(&self, why: String) -> Error {
        Error::new(ErrorKind::Corrupt, format!("blob {} is corrupt: {why}", self.descriptor.digest))
    }
}
