//! A repository as a place that blobs are copied from and to: manifests and indexes by their media type, the rest as blobs.

use async_trait::async_trait;
use cooper_oci::{BlobSink, Blobs, Body, Descriptor, Target, body_from_bytes};

use super::Repository;
use super::manifest::MANIFEST_MAX;
use super::sending::{Supply, collect};
use super::upload::is_manifest;
use crate::{Error, ErrorKind, Result};

#[async_trait]
impl Blobs for Repository {
    async fn open(&self, descriptor: &Descriptor) -> cooper_oci::Result<Body> {
        if is_manifest(descriptor) {
            check_size(descriptor)?;
            return Ok(body_from_bytes(self.manifest_of(descriptor).await?));
        }
        Ok(self.blob(descriptor).await?)
    }

    fn sources(&self) -> usize {
        1 + self.usable_mirrors().count()
    }
}

#[async_trait]
impl BlobSink for Repository {
    async fn has(&self, descriptor: &Descriptor) -> cooper_oci::Result<bool> {
        if self.has_blob(descriptor).await? {
            return Ok(true);
        }
        Ok(!is_manifest(descriptor) && self.mount(descriptor).await?)
    }

    async fn put(&self, descriptor: &Descriptor, body: Body) -> cooper_oci::Result<()> {
        if is_manifest(descriptor) {
            check_size(descriptor)?;
            let bytes = collect(descriptor, body).await?;
            let target = Target::Digest(&descriptor.digest);
            self.put_manifest(target, descriptor.media_type.clone(), bytes).await?;
            return Ok(());
        }
        Ok(self.put_blob(descriptor, &mut Supply::Once(Some(body))).await?)
    }

    async fn take(&self, descriptor: &Descriptor, from: &dyn Blobs) -> cooper_oci::Result<()> {
        if is_manifest(descriptor) {
            return self.put(descriptor, from.open(descriptor).await?).await;
        }
        Ok(self.put_blob(descriptor, &mut Supply::Again(from)).await?)
    }
}

fn check_size(descriptor: &Descriptor) -> Result<()> {
    if descriptor.size <= MANIFEST_MAX {
        return Ok(());
    }
    let what =
        format!("manifest {} has {} bytes; at most {MANIFEST_MAX} are handled", descriptor.digest, descriptor.size);
    Err(Error::new(ErrorKind::TooLarge, what))
}
