//! Places that keep objects by name: S3 buckets and GitHub's cache service. A blob is an object named by its digest; what a
//! cache's name stands for is an object that holds a descriptor.
//!
//! Does not know what a cache consists of.

mod body;
pub(crate) mod gha;
pub(crate) mod s3;

use async_trait::async_trait;
use cooper_oci::{BlobSink, Blobs, Body, Descriptor, Error, ErrorKind, Result};
use cooper_registry::WebAnswer;

use self::gha::Gha;
use self::s3::S3;

/// A descriptor has some hundred bytes.
const ROOT_MAX: usize = 64 * 1024;

/// A place of objects.
#[derive(Clone, Debug)]
pub(crate) enum Objects {
    S3(S3),
    Gha(Gha),
}

/// What a name stands for, and the word by which the place knows this very state.
pub(crate) type Named = (Descriptor, String);

impl Objects {
    /// What the cache's name stands for.
    pub(crate) async fn root(&self) -> Result<Option<Named>> {
        match self {
            Self::S3(s3) => s3.root().await,
            Self::Gha(gha) => gha.root().await,
        }
    }

    /// Lets the name stand for `root` instead of what it stood for (`over`); `false` if somebody else was faster.
    pub(crate) async fn set_root(&self, root: &Descriptor, over: Option<&str>) -> Result<bool> {
        let bytes = serde_json::to_vec(root)
            .map_err(|e| Error::new(ErrorKind::Invalid, "cannot write a descriptor as JSON").with_source(e))?;
        match self {
            Self::S3(s3) => s3.set_root(bytes.into(), over).await,
            Self::Gha(gha) => gha.set_root(bytes.into(), over).await,
        }
    }
}

#[async_trait]
impl Blobs for Objects {
    async fn open(&self, descriptor: &Descriptor) -> Result<Body> {
        match self {
            Self::S3(s3) => s3.open_blob(descriptor).await,
            Self::Gha(gha) => gha.open_blob(descriptor).await,
        }
    }
}

#[async_trait]
impl BlobSink for Objects {
    async fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        match self {
            Self::S3(s3) => s3.has_blob(descriptor).await,
            Self::Gha(gha) => gha.has_blob(descriptor).await,
        }
    }

    async fn put(&self, descriptor: &Descriptor, body: Body) -> Result<()> {
        match self {
            Self::S3(s3) => s3.put_blob(descriptor, body).await,
            Self::Gha(gha) => gha.put_blob(descriptor, body).await,
        }
    }
}

/// The whole body of an answer that is a document.
async fn document(answer: &mut WebAnswer) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        out.extend_from_slice(&chunk);
        if out.len() > ROOT_MAX {
            return Err(Error::new(ErrorKind::TooLarge, format!("an answer has more than {ROOT_MAX} bytes")));
        }
    }
    Ok(out)
}

/// The descriptor that a root object holds.
fn described(bytes: &[u8]) -> Result<Descriptor> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::new(ErrorKind::Invalid, "what has the cache's name is not of cooper").with_source(e))
        .map_err(|e| e.with_hint("give the cache a name of its own"))
}
