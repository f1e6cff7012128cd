//! Lists the tags of a repository and the repositories of a registry, page by page.

use cooper_oci::Reference;
use reqwest::Method;
use reqwest::header::{HeaderMap, LINK};
use serde::Deserialize;
use url::Url;

use super::exchange::{Call, Registry};
use super::origin::{self, Origin};
use super::repository::Access;
use super::{Client, Repository};
use crate::{Error, ErrorKind, Result};

/// Names asked for at once; what most registries cap a page at.
const PAGE: usize = 1000;
/// Pages read; a registry that always has a next page is not followed for ever.
const PAGES_MAX: usize = 1000;
/// Names kept; the largest public repositories have tens of thousands of tags.
const NAMES_MAX: usize = 200_000;
/// Bytes of one page: [`PAGE`] repositories of 256 characters, with room to spare.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One page of either list. A list without names is `null` in some registries.
#[derive(Deserialize)]
struct Page {
    tags: Option<Vec<String>>,
    repositories: Option<Vec<String>>,
}

impl Repository {
    /// All tags, in the registry's order. Names that are no tags are left out.
    pub async fn tags(&self) -> Result<Vec<String>> {
        let what = format!("list the tags of {}", self.name());
        let first = self.url(&format!("tags/list?n={PAGE}")).await?;
        let names = self.registry.list(first, &what, self.scopes(Access::Pull), |page| page.tags).await?;
        Ok(names.into_iter().filter(|tag| is_tag(tag)).collect())
    }
}

impl Client {
    /// All repositories of a registry, in its order (distribution's catalog). Names that are no repositories are left out.
    /// Many registries do not tell, or tell only some.
    pub async fn catalog(&self, registry: &str) -> Result<Vec<String>> {
        let registry = self.registry(registry);
        let what = "list the repositories";
        let invalid = |e| Error::new(ErrorKind::Invalid, format!("cannot {what}")).with_source(e);
        let first = registry.base().await?.join(&format!("_catalog?n={PAGE}")).map_err(invalid)?;
        let scopes = vec!["registry:catalog:*".to_owned()];
        let names = registry.list(first, what, scopes, |page| page.repositories).await?;
        Ok(names.into_iter().filter(|name| origin::is_repository(name)).collect())
    }
}

impl Registry {
    /// Follows a list from page to page.
    async fn list(
        &self,
        first: Url,
        what: &str,
        scopes: Vec<String>,
        names: fn(Page) -> Option<Vec<String>>,
    ) -> Result<Vec<String>> {
        let mut next = Some(first);
        let mut all = Vec::new();
        let mut pages = 0;
        while let Some(url) = next {
            pages += 1;
            let (page, link) = self.page(url, what, scopes.clone()).await?;
            all.extend(names(page).unwrap_or_default());
            if all.len() > NAMES_MAX || pages > PAGES_MAX {
                let what = format!("failed to {what}: {} never ends the list", self.name);
                return Err(Error::new(ErrorKind::TooLarge, what));
            }
            next = link;
        }
        Ok(all)
    }

    async fn page(&self, url: Url, what: &str, scopes: Vec<String>) -> Result<(Page, Option<Url>)> {
        let call = Call::new(Method::GET, url.clone(), what, scopes);
        let response = self.send(&call).await?;
        let link = next_link(&url, response.headers(), &self.name)?;
        let body = self.read(what, response, PAGE_BYTES_MAX).await?;
        let bad = || Error::new(ErrorKind::Invalid, format!("{} failed to {what}: it answers with no list", self.name));
        let page = serde_json::from_slice(&body.ok_or_else(bad)?).map_err(|e| bad().with_source(e))?;
        Ok((page, link))
    }
}

/// The next page (RFC 8288), which must be at the same origin.
pub(crate) fn next_link(from: &Url, headers: &HeaderMap, name: &str) -> Result<Option<Url>> {
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
