//! Statements about an image: manifests whose `subject` it is (distribution-spec, "Listing Referrers"), through the API or,
//! at a registry that has none, through the tag that stands in for it.

use bytes::Bytes;
use cooper_oci::{Descriptor, Digest, Document, Index, MediaType, Target, parse_document};
use reqwest::Method;
use reqwest::header::{ACCEPT, HeaderMap};
use url::Url;

use super::Repository;
use super::exchange::Call;
use super::manifest::MANIFEST_MAX;
use super::repository::Access;
use super::tags::next_link;
use crate::{Error, ErrorKind, Result};

/// Pages read of one list.
const PAGES_MAX: usize = 100;
/// Statements kept of one subject.
const REFERRERS_MAX: usize = 10_000;

impl Repository {
    /// The manifests that are about `subject`, of one type if `artifact_type` names it. Empty when there are none.
    pub async fn referrers(&self, subject: &Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>> {
        let found = match self.listed(subject, artifact_type).await? {
            Some(found) => found,
            None => self.tagged(subject).await?.manifests,
        };
        let fits = |found: &Descriptor| artifact_type.is_none_or(|kind| found.artifact_type.as_deref() == Some(kind));
        Ok(found.into_iter().filter(fits).collect())
    }

    /// What the API lists; nothing when the registry has no such API.
    async fn listed(&self, subject: &Digest, artifact_type: Option<&str>) -> Result<Option<Vec<Descriptor>>> {
        let mut url = self.url(&format!("referrers/{subject}")).await?;
        if let Some(kind) = artifact_type {
            url.query_pairs_mut().append_pair("artifactType", kind);
        }
        let mut next = Some(url);
        let mut found = Vec::new();
        for _ in 0..PAGES_MAX {
            let Some(url) = next else { break };
            let Some((index, link)) = self.referrers_page(url, subject).await? else { return Ok(None) };
            found.extend(index.manifests);
            next = link;
        }
        if next_is_left(found.len(), next.as_ref()) {
            let what = format!("{} names too many statements about {subject}", self.registry.name);
            return Err(Error::new(ErrorKind::TooLarge, what));
        }
        Ok(Some(found))
    }

    async fn referrers_page(&self, url: Url, subject: &Digest) -> Result<Option<(Index, Option<Url>)>> {
        let what = format!("list the statements about {subject} in {}", self.name());
        let call =
            Call::new(Method::GET, url.clone(), what, self.scopes(Access::Pull)).header(ACCEPT, MediaType::INDEX);
        let response = match self.registry.send(&call).await {
            Ok(response) => response,
            // No such API: distribution-spec says 404; some say that they do not know the address.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => return Ok(None),
            Err(error) => return Err(error),
        };
        let link = next_link(&url, response.headers(), &self.registry.name)?;
        let limit = usize::try_from(MANIFEST_MAX).unwrap_or(usize::MAX);
        let body = self.registry.read(&call.what, response, limit).await?;
        // A page for browsers is no list either.
        let index = body.and_then(|body| serde_json::from_slice::<Index>(&body).ok());
        Ok(index.map(|index| (index, link)))
    }

    /// What the stand-in tag lists.
    async fn tagged(&self, subject: &Digest) -> Result<Index> {
        match self.manifest(Target::Tag(&fallback_tag(subject))).await {
            Ok((descriptor, bytes)) => match parse_document(&descriptor.media_type, &bytes) {
                Ok(Document::Index(index)) => Ok(index),
                _ => Ok(Index::new(Vec::new())),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Index::new(Vec::new())),
            Err(error) => Err(error),
        }
    }

    /// After a manifest was written: a registry that did not take note of its subject gets it into the stand-in tag.
    /// Two writers at once may lose one entry; the specification has no way around it.
    pub(crate) async fn note_subject(&self, written: &Descriptor, bytes: &Bytes, answer: &HeaderMap) -> Result<()> {
        let Some((subject, entry)) = entry(written, bytes) else { return Ok(()) };
        if answer.contains_key("oci-subject") {
            return Ok(());
        }
        let mut index = self.tagged(&subject).await?;
        if index.manifests.iter().any(|known| known.digest == entry.digest) {
            return Ok(());
        }
        index.manifests.push(entry);
        let failed = |e| Error::new(ErrorKind::Invalid, "cannot write the list of statements").with_source(e);
        let bytes = serde_json::to_vec(&index).map_err(failed)?;
        self.write_manifest(Target::Tag(&fallback_tag(&subject)), MediaType::INDEX.into(), bytes.into()).await.map(drop)
    }
}

fn next_is_left(found: usize, next: Option<&Url>) -> bool {
    next.is_some() || found > REFERRERS_MAX
}

/// `sha256-<hex>`: the digest as a tag, cut where the specification cuts it.
fn fallback_tag(subject: &Digest) -> String {
    let text = subject.to_string();
    let (algorithm, hex) = text.split_once(':').unwrap_or((&text, ""));
    format!("{}-{}", &algorithm[..algorithm.len().min(32)], &hex[..hex.len().min(64)])
}

/// The subject of a manifest, and the entry its list has for the manifest.
fn entry(written: &Descriptor, bytes: &[u8]) -> Option<(Digest, Descriptor)> {
    let (subject, artifact_type, annotations) = match parse_document(&written.media_type, bytes).ok()? {
        Document::Manifest(manifest) => {
            let config = manifest.config.media_type.0;
            (manifest.subject?, manifest.artifact_type.or(Some(config)), manifest.annotations)
        }
        Document::Index(index) => (index.subject?, index.artifact_type, index.annotations),
        Document::Other => return None,
    };
    let mut entry = Descriptor::new(written.media_type.as_str(), written.digest.clone(), written.size);
    entry.artifact_type = artifact_type;
    entry.annotations = annotations;
    Some((subject.digest, entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_that_stand_in() {
        let sha256 = Digest::of(b"x");
        assert_eq!(fallback_tag(&sha256), sha256.to_string().replace(':', "-"));
        let sha512: Digest = format!("sha512:{}", "ab".repeat(64)).parse().unwrap();
        assert_eq!(fallback_tag(&sha512), format!("sha512-{}", "ab".repeat(32)));
    }
}
