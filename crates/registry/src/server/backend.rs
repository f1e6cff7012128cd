//! What a registry holds, as the server asks for it: repositories of blobs, manifests and tags. Knows no HTTP, nobody's
//! rights and no pages: names and digests come well formed, and whoever asks may ask.
//!
//! [`cooper_oci::Blobs`] and [`cooper_oci::BlobSink`] would not do: they know neither repositories, tags and uploads that
//! come piece by piece, nor how to take something away.

use std::fmt::Debug;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_oci::{Algorithm, Body, Descriptor, Digest, MediaType, Target};

use super::Refusal;

/// A manifest or index, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredManifest {
    /// The digest it is known by.
    pub digest: Digest,
    /// The type it was put as.
    pub media_type: MediaType,
    /// The document.
    pub bytes: Bytes,
}

/// Something a manifest names and cannot do without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A config or layer.
    Blob(Digest),
    /// A manifest of an index.
    Manifest(Digest),
}

/// What a registry holds. A blob or manifest is in a repository only if it was put there, mounted there, or belongs to a
/// manifest of it: digests that others hold are unknown. What was acknowledged by a method that writes outlives the process
/// and a power cut, if the implementation outlives them at all.
#[async_trait]
pub trait Backend: Debug + Send + Sync {
    /// At most `limit` repositories in the order of their bytes, those after `after`.
    async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, Refusal>;

    /// At most `limit` tags of a repository in the order of their bytes, those after `after`; `None` when there is no such
    /// repository.
    async fn tags(&self, name: &str, after: Option<&str>, limit: usize) -> Result<Option<Vec<String>>, Refusal>;

    /// The manifest of a tag or digest.
    async fn manifest(&self, name: &str, target: Target<'_>) -> Result<Option<StoredManifest>, Refusal>;

    /// Keeps a manifest whose digest is right, under these tags too. Refused as `MANIFEST_BLOB_UNKNOWN`, with nothing kept,
    /// when one of its `parts` is not in the repository.
    async fn put_manifest(
        &self,
        name: &str,
        tags: &[String],
        manifest: &StoredManifest,
        parts: &[Part],
    ) -> Result<(), Refusal>;

    /// Takes a tag away, or a manifest and every tag of it; `false` when there is none.
    async fn delete_manifest(&self, name: &str, target: Target<'_>) -> Result<bool, Refusal>;

    /// The manifests of the repository that are about `subject`, in the order of their digests, each with its artifact type
    /// and annotations (distribution-spec, "Listing Referrers").
    async fn referrers(&self, name: &str, subject: &Digest) -> Result<Vec<Descriptor>, Refusal>;

    /// The length of a blob.
    async fn blob_size(&self, name: &str, digest: &Digest) -> Result<Option<u64>, Refusal>;

    /// The bytes of a blob within `range`, which lies within its length. They are the right ones, or the body ends in an
    /// error.
    async fn open_blob(&self, name: &str, digest: &Digest, range: Range<u64>) -> Result<Option<Body>, Refusal>;

    /// Repositories that have a blob, for a mount that names none.
    async fn holders(&self, digest: &Digest) -> Result<Vec<String>, Refusal>;

    /// Puts a blob of `from` into `name` as well, without its bytes; `false` when `from` does not have it.
    async fn mount_blob(&self, from: &str, name: &str, digest: &Digest) -> Result<bool, Refusal>;

    /// Takes a blob out of a repository; `false` when it is not there.
    async fn delete_blob(&self, name: &str, digest: &Digest) -> Result<bool, Refusal>;

    /// The bytes of a repository, for its quota: each manifest, config and layer once, and what came and has no manifest
    /// yet. What is said here sees the tagged images only.
    async fn repository_size(&self, name: &str) -> Result<u64, Refusal> {
        super::quota::size_by_tags(self, name).await
    }

    /// Whether something could be put now; refused with the reason when not.
    async fn ready(&self) -> Result<(), Refusal> {
        Ok(())
    }

    /// What is here, without asking another registry: what the pages show. `None` when that is everything.
    fn kept(&self) -> Option<&dyn Backend> {
        None
    }

    /// Whether images of `registry` may be asked for here, as a mirror of it is asked (`?ns=`).
    fn serves(&self, _registry: &str) -> bool {
        true
    }

    /// What whoever reads should know: a cache whose upstream gives no answer says that it is one.
    fn warning(&self) -> Option<String> {
        None
    }

    /// Begins an upload into a repository whose digest will most likely be of this algorithm.
    async fn upload(&self, name: &str, algorithm: Algorithm) -> Result<Box<dyn Upload>, Refusal>;
}

/// A blob on its way in. What is dropped without a commit leaves nothing behind.
#[async_trait]
pub trait Upload: Debug + Send {
    /// Takes the next bytes.
    async fn write(&mut self, bytes: Bytes) -> Result<(), Refusal>;

    /// Puts the blob into its repository. Refused as `DIGEST_INVALID` when its bytes are not the digest's.
    async fn commit(self: Box<Self>, digest: &Digest) -> Result<(), Refusal>;
}
