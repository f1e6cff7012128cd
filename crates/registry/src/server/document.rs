//! A manifest or index as a registry looks at it: what it names, and what it is about.

use cooper_oci::{Descriptor, Digest, Index, Manifest, MediaType};

use super::{Part, Refusal, StoredManifest};

/// A parsed manifest or index.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// An image manifest, or an artifact's.
    Manifest(Box<Manifest>),
    /// An index or manifest list.
    Index(Box<Index>),
}

impl Document {
    /// Reads `bytes` that are put as `media_type`; what could be taken for both kinds is refused (CVE-2021-41190).
    pub fn parse(media_type: &MediaType, bytes: &[u8]) -> Result<Self, Refusal> {
        let invalid = |why: String| Refusal::new(400, "MANIFEST_INVALID", why);
        let document = cooper_oci::parse_document(media_type, bytes).map_err(|error| invalid(error.to_string()))?;
        match document {
            cooper_oci::Document::Index(index) => Ok(Self::Index(Box::new(index))),
            cooper_oci::Document::Manifest(manifest) => Ok(Self::Manifest(Box::new(manifest))),
            cooper_oci::Document::Other => Err(invalid(format!("unknown media type `{}`", media_type.as_str()))),
        }
    }

    /// The document of a manifest that was taken in; `None` when it is broken.
    pub fn of(manifest: &StoredManifest) -> Option<Self> {
        Self::parse(&manifest.media_type, &manifest.bytes).ok()
    }

    /// What must be in the repository for it to be whole. A subject need not, nor layers that are elsewhere by design.
    pub fn parts(&self) -> Vec<Part> {
        match self {
            Self::Manifest(manifest) => {
                let local = manifest.layers.iter().filter(|layer| layer.urls.is_empty());
                std::iter::once(&manifest.config).chain(local).map(|part| Part::Blob(part.digest.clone())).collect()
            }
            Self::Index(index) => index.manifests.iter().map(|part| Part::Manifest(part.digest.clone())).collect(),
        }
    }

    /// The manifest it is a statement about.
    pub fn subject(&self) -> Option<&Descriptor> {
        match self {
            Self::Manifest(manifest) => manifest.subject.as_ref(),
            Self::Index(index) => index.subject.as_ref(),
        }
    }

    /// How the list of what is said about `subject` names it (distribution-spec, "Listing Referrers"); `None` when it is
    /// about something else.
    pub fn referrer(&self, manifest: &StoredManifest, subject: &Digest) -> Option<Descriptor> {
        self.subject().filter(|about| about.digest == *subject)?;
        let size = manifest.bytes.len() as u64;
        let mut found = Descriptor::new(manifest.media_type.clone(), manifest.digest.clone(), size);
        let (artifact_type, annotations) = match self {
            Self::Manifest(own) => {
                let config = &own.config.media_type.0;
                (own.artifact_type.clone().or_else(|| Some(config.clone())), &own.annotations)
            }
            Self::Index(own) => (own.artifact_type.clone(), &own.annotations),
        };
        found.artifact_type = artifact_type;
        found.annotations.clone_from(annotations);
        Some(found)
    }
}
