//! The referrers API: an index of the manifests that are statements about another, in pages.

use cooper_oci::{Descriptor, Digest, Index, MediaType};
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{HeaderName, LINK};
use url::form_urlencoded::byte_serialize;

use super::answer::{Answer, Refusal, header, query, with_body};
use super::{Backend, reads};

/// Bytes of descriptors in one answer: with the frame around them it stays within a manifest's 4 MiB.
const PAGE_BYTES: usize = 4_000_000;

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

pub(super) async fn respond(
    backend: &dyn Backend,
    request: &Request<Incoming>,
    name: &str,
    digest: &Digest,
) -> Result<Answer, Refusal> {
    if !reads(request.method()) {
        return Err(Refusal::method());
    }
    let wanted = query(request, "artifactType");
    let last = query(request, "last").and_then(|text| text.parse::<Digest>().ok());
    let mut found = backend.referrers(name, digest).await?;
    found.retain(|found| wanted.is_none() || found.artifact_type == wanted);
    found.retain(|found| last.as_ref().is_none_or(|last| found.digest > *last));
    let next = cut(&mut found, PAGE_BYTES);
    let body = serde_json::to_vec(&Index::new(found)).map_err(Refusal::internal)?;
    let mut answer = with_body(200, MediaType::INDEX, body.into());
    if let Some(last) = next {
        let filter = wanted.iter().map(|kind| byte_serialize(kind.as_bytes()).collect::<String>());
        let filter: String = filter.map(|kind| format!("&artifactType={kind}")).collect();
        let link = format!("</v2/{name}/referrers/{digest}?last={last}{filter}>; rel=\"next\"");
        answer = header(answer, LINK, &link);
    }
    Ok(if wanted.is_some() { header(answer, FILTERS_APPLIED, "artifactType") } else { answer })
}

/// Cuts the list where it has `bytes` as JSON, but not before its first entry; the last entry of a list that was cut.
fn cut(list: &mut Vec<Descriptor>, bytes: usize) -> Option<Digest> {
    let size = |found: &Descriptor| serde_json::to_vec(found).map_or(0, |json| json.len() + 1);
    let mut sum = 0;
    let fitting = list.iter().take_while(|found| {
        sum += size(found);
        sum <= bytes
    });
    let count = fitting.count().max(1);
    let more = list.len() > count;
    list.truncate(count);
    list.last().filter(|_| more).map(|last| last.digest.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_cut_by_their_bytes_and_never_empty() {
        let found: Vec<_> = (0..3_u8).map(|n| Descriptor::of("text/plain", &[n])).collect();
        let one = serde_json::to_vec(&found[0]).unwrap().len() + 1;
        for (bytes, count) in [(0, 1), (one, 1), (2 * one, 2), (3 * one, 3), (9 * one, 3)] {
            let mut list = found.clone();
            let next = cut(&mut list, bytes);
            assert_eq!(list, found[..count], "{bytes}");
            assert_eq!(next, (count < 3).then(|| found[count - 1].digest.clone()), "{bytes}");
        }
        assert_eq!(cut(&mut Vec::new(), 10), None);
    }
}
