//! Lists in pages (distribution-spec, "Listing Tags"): `n`, `last`, and the link to the next page.

use hyper::Request;
use hyper::header::LINK;
use url::form_urlencoded::byte_serialize;

use super::answer::{Answer, Refusal, header, query};

/// Entries of one page at most, whatever `n` asks for: the answer's size is not the client's to choose (CVE-2023-2253).
const PAGE_MAX: usize = 1000;

/// What part of a list is asked for.
#[derive(Debug)]
pub(super) struct Page {
    /// Entries at most.
    pub(super) count: usize,
    /// The entry that the page follows.
    pub(super) last: Option<String>,
}

impl Page {
    pub(super) fn of<B>(request: &Request<B>) -> Result<Self, Refusal> {
        let last = query(request, "last");
        let Some(text) = query(request, "n") else { return Ok(Self { count: PAGE_MAX, last }) };
        let invalid = |_| Refusal::new(400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested");
        let count = text.parse::<u64>().map_err(invalid)?;
        Ok(Self { count: usize::try_from(count).unwrap_or(PAGE_MAX).min(PAGE_MAX), last })
    }

    /// Cuts a list that was asked for one entry more than the page has; where the next page starts, if there is one.
    pub(super) fn cut(&self, list: &mut Vec<String>) -> Option<String> {
        let more = list.len() > self.count;
        list.truncate(self.count);
        list.last().filter(|_| more).cloned()
    }

    /// Adds the link to the page after `last`.
    pub(super) fn link(&self, answer: Answer, path: &str, last: Option<String>) -> Answer {
        let Some(last) = last else { return answer };
        let last: String = byte_serialize(last.as_bytes()).collect();
        header(answer, LINK, &format!("<{path}?n={}&last={last}>; rel=\"next\"", self.count))
    }
}
