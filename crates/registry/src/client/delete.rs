//! Takes manifests, tags and blobs away. Whether a registry allows it is the registry's to say.

use cooper_oci::{Digest, Target};
use reqwest::Method;

use super::Repository;
use super::exchange::Call;
use super::repository::target_text;
use crate::Result;

impl Repository {
    /// Deletes a tag, or a manifest with all its tags.
    pub async fn delete(&self, target: Target<'_>) -> Result<()> {
        let name = target_text(&target);
        self.take_away(&format!("manifests/{name}"), format!("delete manifest {name} of {}", self.name())).await
    }

    /// Deletes a blob.
    pub async fn delete_blob(&self, digest: &Digest) -> Result<()> {
        self.take_away(&format!("blobs/{digest}"), format!("delete blob {digest} of {}", self.name())).await
    }

    async fn take_away(&self, rest: &str, what: String) -> Result<()> {
        let scopes = vec![format!("repository:{}:delete", self.name())];
        let call = Call::new(Method::DELETE, self.url(rest).await?, what, scopes);
        self.registry.send(&call).await.map(drop)
    }
}
