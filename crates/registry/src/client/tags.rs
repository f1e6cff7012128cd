//! Lists the tags of a repository, page by page.

use cooper_oci::Reference;
use reqwest::Method;
use reqwest::header::{HeaderMap, LINK};
use serde::Deserialize;
use url::Url;

use super::Repository;
use super::exchange::Call;
use super::origin::{self, Origin};
use super::repository::Access;
use crate::{Error, ErrorKind, Result};

/// Tags asked for at once; what most registries cap a page at.
const PAGE: usize = 1000;
/// Pages read; a registry that always has a next page is not followed for ever.
const PAGES_MAX: usize = 1000;
/// Tags kept; the largest public repositories have tens of thousands.
const TAGS_MAX: usize = 200_000;
/// Bytes of one page: [`PAGE`] tags of 128 characters, with room to spare.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Deserialize)]
struct Page {
    /// `null` when there are none, in some registries.
    tags: Option<Vec<String>>,
}

impl Repository {
    /// All tags, in the registry's order. Names that are no tags are left out.
    pub async fn tags(&self) -> Result<Vec<String>> {
        let what = format!("list the tags of {}", self.name());
        let mut next = Some(self.url(&format!("tags/list?n={PAGE}")).await?);
        let mut tags = Vec::new();
        let mut pages = 0;
        while let Some(url) = next {
            pages += 1;
            let (page, link) = self.tags_page(url, &what).await?;
            tags.extend(page.into_iter().filter(|tag| is_tag(tag)));
            if tags.len() > TAGS_MAX || pages > PAGES_MAX {
                let what = format!("failed to {what}: {} never ends the list", self.registry.name);
                return Err(Error::new(ErrorKind::TooLarge, what));
            }
            next = link;
        }
        Ok(tags)
    }

    async fn tags_page(&self, url: Url, what: &str) -> Result<(Vec<String>, Option<Url>)> {
        let name = &self.registry.name;
        let call = Call::new(Method::GET, url.clone(), what, self.scopes(Access::Pull));
        let response = self.registry.send(&call).await?;
        let link = next_link(&url, response.headers(), name)?;
        let body = self.registry.read(what, response, PAGE_BYTES_MAX).await?;
        let bad =
            || Error::new(ErrorKind::Invalid, format!("{name} failed to {what}: it answers with no list of tags"));
        let page: Page = serde_json::from_slice(&body.ok_or_else(bad)?).map_err(|e| bad().with_source(e))?;
        Ok((page.tags.unwrap_or_default(), link))
    }
}

/// The next page (RFC 8288), which must be at the same origin.
fn next_link(from: &Url, headers: &HeaderMap, name: &str) -> Result<Option<Url>> {
    let Some(text) = headers.get(LINK).and_then(|value| value.to_str().ok()) else { return Ok(None) };
    let Some((target, rest)) = text.trim_start().strip_prefix('<').and_then(|text| text.split_once('>')) else {
        return Ok(None);
    };
    let rel = rest.split(';').map(|part| part.trim().replace('"', "").to_ascii_lowercase());
    if !rel.into_iter().any(|part| part == "rel=next") {
        return Ok(None);
    }
    let next = origin::follow(from, target, name)?;
    if Origin::of(&next) != Origin::of(from) {
        let what = format!("{name} continues its list of tags at another place, {}", origin::printable(&next));
        return Err(Error::new(ErrorKind::Invalid, what));
    }
    Ok(Some(next))
}

fn is_tag(tag: &str) -> bool {
    !tag.contains(['/', ':', '@']) && format!("registry.invalid/x:{tag}").parse::<Reference>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_links() {
        let from = Url::parse("https://r.example/v2/a/tags/list?n=2").unwrap();
        for (text, expect) in [
            ("</v2/a/tags/list?last=b&n=2>; rel=\"next\"", Ok(Some("https://r.example/v2/a/tags/list?last=b&n=2"))),
            ("<?last=b>;rel=next", Ok(Some("https://r.example/v2/a/tags/list?last=b"))),
            ("</x>; rel=\"prev\"", Ok(None)),
            ("garbage", Ok(None)),
            ("<https://evil.example/>; rel=next", Err(())),
            ("<file:///x>; rel=next", Err(())),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, text.parse().unwrap());
            let found = next_link(&from, &headers, "r").map(|url| url.map(|url| url.to_string())).map_err(|_| ());
            assert_eq!(found, expect.map(|url| url.map(str::to_owned)), "{text}");
        }
    }
}
