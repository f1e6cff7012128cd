//! The referrers API: an index of the manifests that are statements about another.

use bytes::Bytes;
use cooper_oci::{Descriptor, Digest, Index, MediaType};
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::HeaderName;

use super::answer::{Answer, Refusal, header, query, with_body};
use super::manifests::Document;
use super::reads;
use super::state::State;

/// Statements listed at most: the answer stays within a manifest's 4 MiB.
const REFERRERS_MAX: usize = 2000;

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

pub(super) fn respond(
    state: &State,
    request: &Request<Incoming>,
    name: &str,
    digest: &Digest,
) -> Result<Answer, Refusal> {
    if !reads(request.method()) {
        return Err(Refusal::method());
    }
    let wanted = query(request, "artifactType");
    let contents = state.lock();
    let manifests = contents.repository(name).map(|repository| &repository.manifests);
    let known = manifests.into_iter().flatten().filter_map(|(own, kind)| {
        let (_, bytes) = contents.manifest(name, own)?;
        referrer(own, kind, &bytes, digest)
    });
    let fitting = known.filter(|found| wanted.is_none() || found.artifact_type == wanted);
    let index = Index::new(fitting.take(REFERRERS_MAX).collect());
    let body = serde_json::to_vec(&index).map_err(|e| Refusal::new(500, "UNKNOWN", e.to_string()))?;
    let answer = with_body(200, MediaType::INDEX, body.into());
    Ok(if wanted.is_some() { header(answer, FILTERS_APPLIED, "artifactType") } else { answer })
}

/// The manifest's descriptor, if it is about `subject`.
fn referrer(own: &Digest, kind: &str, bytes: &Bytes, subject: &Digest) -> Option<Descriptor> {
    let document = Document::parse(&kind.into(), bytes).ok()?;
    let (about, artifact_type, annotations) = match document {
        Document::Manifest(manifest) => {
            let config = manifest.config.media_type.0;
            (manifest.subject, manifest.artifact_type.or(Some(config)), manifest.annotations)
        }
        Document::Index(index) => (index.subject, index.artifact_type, index.annotations),
    };
    about.filter(|about| about.digest == *subject)?;
    let mut descriptor = Descriptor::new(kind, own.clone(), bytes.len() as u64);
    descriptor.artifact_type = artifact_type;
    descriptor.annotations = annotations;
    Some(descriptor)
}
