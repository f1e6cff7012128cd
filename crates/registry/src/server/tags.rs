//! The list of tags, in pages.

use hyper::Request;
use hyper::body::Incoming;

use super::answer::{Answer, Refusal, with_body};
use super::paging::Page;
use super::{Backend, reads};

pub(super) async fn respond(backend: &dyn Backend, request: &Request<Incoming>, name: &str) -> Result<Answer, Refusal> {
    if !reads(request.method()) {
        return Err(Refusal::method());
    }
    let page = Page::of(request)?;
    let unknown = || Refusal::new(404, "NAME_UNKNOWN", "repository name not known to registry");
    let mut tags = backend.tags(name, page.last.as_deref(), page.count + 1).await?.ok_or_else(unknown)?;
    let next = page.cut(&mut tags);
    let body = serde_json::json!({ "name": name, "tags": tags });
    let answer = with_body(200, "application/json", body.to_string().into());
    Ok(page.link(answer, &format!("/v2/{name}/tags/list"), next))
}
