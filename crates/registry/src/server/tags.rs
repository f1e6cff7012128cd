//! The list of tags, in pages.

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::LINK;

use super::answer::{Answer, Refusal, header, query, with_body};
use super::reads;
use super::state::State;

/// Tags of one page at most, whatever `n` asks for: the answer's size is not the client's to choose (CVE-2023-2253).
const PAGE_MAX: usize = 1000;

pub(super) fn respond(state: &State, request: &Request<Incoming>, name: &str) -> Result<Answer, Refusal> {
    if !reads(request.method()) {
        return Err(Refusal::method());
    }
    let count = count(query(request, "n").as_deref())?;
    let last = query(request, "last");
    let contents = state.lock();
    let unknown = || Refusal::new(404, "NAME_UNKNOWN", "repository name not known to registry");
    let repository = contents.repository(name).ok_or_else(unknown)?;
    let mut after = repository.tags.keys().filter(|tag| last.as_ref().is_none_or(|last| *tag > last));
    let page: Vec<&String> = after.by_ref().take(count).collect();
    let more = after.next().is_some();
    let body = serde_json::json!({ "name": name, "tags": page });
    let answer = with_body(200, "application/json", body.to_string().into());
    Ok(match page.last().filter(|_| more) {
        Some(last) => header(answer, LINK, &format!("</v2/{name}/tags/list?n={count}&last={last}>; rel=\"next\"")),
        None => answer,
    })
}

fn count(text: Option<&str>) -> Result<usize, Refusal> {
    let Some(text) = text else { return Ok(PAGE_MAX) };
    let invalid = |_| Refusal::new(400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested");
    text.parse::<u64>().map_err(invalid).map(|count| usize::try_from(count).unwrap_or(PAGE_MAX).min(PAGE_MAX))
}
