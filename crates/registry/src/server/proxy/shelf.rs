//! The part of a backend in which a proxy keeps what it fetched: the repositories below the upstream registry's name, shown
//! without it. What was fetched for `library/alpine` of docker.io is kept as `docker.io/library/alpine`, so that it cannot be
//! taken for an image of this registry's own, nor for another registry's.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use cooper_oci::{Algorithm, Body, Descriptor, Digest, Target};

use super::super::{Backend, Part, Refusal, StoredManifest, Upload};

/// Repositories of `inner` below a prefix.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    inner: Arc<dyn Backend>,
    /// With its slash.
    prefix: String,
}

impl Shelf {
    /// The shelf of a registry; its port's colon, which no repository's name can have, becomes a dash.
    pub(super) fn new(inner: Arc<dyn Backend>, registry: &str) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' };
        let name: String = registry.chars().map(plain).collect();
        Self { inner, prefix: format!("{}/", name.trim_matches(['-', '.'])) }
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

#[async_trait]
impl Backend for Shelf {
    async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, Refusal> {
        // The prefix itself is no repository, and all below it follow it.
        let after = self.name(after.unwrap_or_default());
        let found = self.inner.repositories(Some(&after), limit).await?;
        Ok(found.iter().map_while(|name| name.strip_prefix(&self.prefix)).map(str::to_owned).collect())
    }

    async fn tags(&self, name: &str, after: Option<&str>, limit: usize) -> Result<Option<Vec<String>>, Refusal> {
        self.inner.tags(&self.name(name), after, limit).await
    }

    async fn manifest(&self, name: &str, target: Target<'_>) -> Result<Option<StoredManifest>, Refusal> {
        self.inner.manifest(&self.name(name), target).await
    }

    async fn put_manifest(
        &self,
        name: &str,
        tags: &[String],
        manifest: &StoredManifest,
        parts: &[Part],
    ) -> Result<(), Refusal> {
        self.inner.put_manifest(&self.name(name), tags, manifest, parts).await
    }

    async fn delete_manifest(&self, name: &str, target: Target<'_>) -> Result<bool, Refusal> {
        self.inner.delete_manifest(&self.name(name), target).await
    }

    async fn referrers(&self, name: &str, subject: &Digest) -> Result<Vec<Descriptor>, Refusal> {
        self.inner.referrers(&self.name(name), subject).await
    }

    async fn blob_size(&self, name: &str, digest: &Digest) -> Result<Option<u64>, Refusal> {
        self.inner.blob_size(&self.name(name), digest).await
    }

    async fn open_blob(&self, name: &str, digest: &Digest, range: Range<u64>) -> Result<Option<Body>, Refusal> {
        self.inner.open_blob(&self.name(name), digest, range).await
    }

    async fn holders(&self, digest: &Digest) -> Result<Vec<String>, Refusal> {
        let found = self.inner.holders(digest).await?;
        Ok(found.iter().filter_map(|name| name.strip_prefix(&self.prefix)).map(str::to_owned).collect())
    }

    async fn mount_blob(&self, from: &str, name: &str, digest: &Digest) -> Result<bool, Refusal> {
        self.inner.mount_blob(&self.name(from), &self.name(name), digest).await
    }

    async fn delete_blob(&self, name: &str, digest: &Digest) -> Result<bool, Refusal> {
        self.inner.delete_blob(&self.name(name), digest).await
    }

    async fn upload(&self, name: &str, algorithm: Algorithm) -> Result<Box<dyn Upload>, Refusal> {
        self.inner.upload(&self.name(name), algorithm).await
    }

    async fn ready(&self) -> Result<(), Refusal> {
        self.inner.ready().await
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::MemoryBackend;
    use super::*;

    #[tokio::test]
    async fn a_shelf_shows_only_its_own() {
        let inner = Arc::new(MemoryBackend::default());
        let put = async |backend: &dyn Backend, name: &str| {
            let bytes = name.as_bytes().to_vec().into();
            let manifest = StoredManifest { digest: Digest::of(name.as_bytes()), media_type: "x".into(), bytes };
            backend.put_manifest(name, &["1".into()], &manifest, &[]).await.unwrap();
        };
        for name in ["app", "docker.io", "docker.io-x/a", "docker.iz/a"] {
            put(inner.as_ref(), name).await;
        }
        let shelf = Shelf::new(inner.clone(), "docker.io");
        for name in ["library/b", "library/a"] {
            put(&shelf, name).await;
        }
        assert_eq!(shelf.repositories(None, 10).await.unwrap(), ["library/a", "library/b"]);
        assert_eq!(shelf.repositories(Some("library/a"), 10).await.unwrap(), ["library/b"]);
        assert!(shelf.tags("app", None, 10).await.unwrap().is_none());
        assert!(inner.tags("docker.io/library/a", None, 10).await.unwrap().is_some());
    }

    #[test]
    fn every_registry_has_a_name_that_fits() {
        for (registry, expect) in [
            ("docker.io", "docker.io/"),
            ("localhost:5000", "localhost-5000/"),
            ("[::1]:5000", "1--5000/"),
            ("R.Example", "r.example/"),
        ] {
            let shelf = Shelf::new(Arc::new(MemoryBackend::default()), registry);
            assert_eq!(shelf.prefix, expect);
            assert!(super::super::super::route::is_name(&shelf.name("a")), "{expect}");
        }
    }
}
