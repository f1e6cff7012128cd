//! The list of repositories, in pages: those that the requester may pull.

use hyper::Request;
use hyper::body::Incoming;

use super::answer::{Answer, Refusal, with_body};
use super::paging::Page;
use super::{Shared, reads};

/// Repositories asked of the backend at once.
const CHUNK: usize = 1000;

pub(super) async fn respond(shared: &Shared, request: &Request<Incoming>) -> Result<Answer, Refusal> {
    if !reads(request.method()) {
        return Err(Refusal::method());
    }
    let page = Page::of(request)?;
    let mut names = Vec::new();
    let mut after = page.last.clone();
    while names.len() <= page.count {
        let found = shared.backend.repositories(after.as_deref(), CHUNK).await?;
        let is_last = found.len() < CHUNK;
        after = found.last().cloned();
        names.extend(found.into_iter().filter(|name| shared.gate.may_see(request, name)));
        if is_last {
            break;
        }
    }
    let next = page.cut(&mut names);
    let body = serde_json::json!({ "repositories": names });
    Ok(page.link(with_body(200, "application/json", body.to_string().into()), "/v2/_catalog", next))
}
