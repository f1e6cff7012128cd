//! Addresses of the pages: read from a request, and written into links. A name that is no repository's gets neither.
//!
//! ```text
//! /?q=TEXT&last=NAME                 repositories
//! /r/NAME?last=TAG                   tags
//! /r/NAME:TAG, /r/NAME@DIGEST        an image, an index or another artifact
//!   ?platform=OS/ARCH                of an index, the image of one platform
//!   ?view=manifest, ?view=config     the document
//!   ?blob=DIGEST                     a JSON document that the manifest lists
//! ```

use cooper_oci::Digest;
use url::form_urlencoded::{self, Serializer};

use super::super::route::{self, Target};
use super::text::{cut, plain};

/// Characters of a search or of a platform that are looked at: the longest repository name.
const WORD_MAX: usize = 255;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Place {
    Front { query: String, last: Option<String> },
    Repository { name: String, last: Option<String> },
    Image { name: String, target: Target, view: View },
}

/// Which part of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum View {
    Whole { platform: Option<String> },
    Manifest,
    Config,
    Blob(Digest),
}

impl Place {
    /// The page at a path; `None` when there is none.
    pub(in super::super) fn parse(path: &str, query: &str) -> Option<Self> {
        let word = |name: &str| {
            let found = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
            found.map(|(_, value)| plain(cut(&value, WORD_MAX).0)).filter(|value| !value.is_empty())
        };
        if path == "/" {
            return Some(Self::Front { query: word("q").unwrap_or_default(), last: word("last") });
        }
        let rest = path.strip_prefix("/r/")?;
        let split = rest.find(['@', ':']).unwrap_or(rest.len());
        let (name, target) = rest.split_at_checked(split)?;
        let name = route::is_name(name).then(|| name.to_owned())?;
        if target.is_empty() {
            return Some(Self::Repository { name, last: word("last") });
        }
        // `@` is before a digest and `:` before a tag, as in the name of an image.
        let is_digest = target.starts_with('@');
        let target = route::check_target(target.get(1..)?).ok()?;
        let view = View::parse(word)?;
        (is_digest == matches!(target, Target::Digest(_))).then_some(Self::Image { name, target, view })
    }

    /// The repository that may have to be hidden.
    pub(in super::super) fn name(&self) -> Option<&str> {
        match self {
            Self::Front { .. } => None,
            Self::Repository { name, .. } | Self::Image { name, .. } => Some(name),
        }
    }
}

impl View {
    fn parse(word: impl Fn(&str) -> Option<String>) -> Option<Self> {
        if let Some(digest) = word("blob") {
            return digest.parse().ok().map(Self::Blob);
        }
        match word("view").as_deref() {
            Some("manifest") => Some(Self::Manifest),
            Some("config") => Some(Self::Config),
            Some(_) => None,
            None => Some(Self::Whole { platform: word("platform") }),
        }
    }
}

/// `:TAG` or `@DIGEST`: how an image's name goes on.
pub(super) fn suffix(target: &Target) -> String {
    match target {
        Target::Tag(tag) => format!(":{tag}"),
        Target::Digest(digest) => format!("@{digest}"),
    }
}

pub(super) fn href_repository(name: &str) -> String {
    format!("/r/{name}")
}

pub(super) fn href_image(name: &str, target: &Target) -> String {
    format!("/r/{name}{}", suffix(target))
}

pub(super) fn href_digest(name: &str, digest: &Digest) -> String {
    format!("/r/{name}@{digest}")
}

/// A part of an image: `view` and `blob` as above.
pub(super) fn href_part(name: &str, target: &Target, key: &str, value: &str) -> String {
    with_query(&href_image(name, target), &[(key, value)])
}

pub(super) fn href_search(query: &str) -> String {
    with_query("/", &[("q", query)])
}

/// `path` with the pairs that have a value.
pub(super) fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let mut query = Serializer::new(String::new());
    query.extend_pairs(pairs.iter().filter(|(_, value)| !value.is_empty()));
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let digest = Digest::of(b"");
        let image = |target: Target, view: View| Some(Place::Image { name: "a/b".into(), target, view });
        let whole = View::Whole { platform: None };
        for (path, query, expect) in [
            ("/", "", Some(Place::Front { query: String::new(), last: None })),
            ("/", "last=a%2Fb&q=x+y", Some(Place::Front { query: "x y".into(), last: Some("a/b".into()) })),
            ("/r/a/b", "last=1", Some(Place::Repository { name: "a/b".into(), last: Some("1".into()) })),
            ("/r/a/b:1.0", "", image(Target::Tag("1.0".into()), whole.clone())),
            (&format!("/r/a/b@{digest}"), "", image(Target::Digest(digest.clone()), whole.clone())),
            (
                "/r/a/b:1",
                "platform=linux/amd64",
                image(Target::Tag("1".into()), View::Whole { platform: Some("linux/amd64".into()) }),
            ),
            ("/r/a/b:1", "view=config", image(Target::Tag("1".into()), View::Config)),
            ("/r/a/b:1", &format!("blob={digest}"), image(Target::Tag("1".into()), View::Blob(digest.clone()))),
        ] {
            assert_eq!(Place::parse(path, query), expect, "{path}?{query}");
        }
        for (path, query) in [
            ("/r/", ""),
            ("/r/A", ""),
            ("/r/a/../b", ""),
            ("/r/a//b", ""),
            ("/r/%61", ""),
            ("/r/a:", ""),
            ("/r/a@1", ""),
            ("/r/a:sha256:00", ""),
            (&format!("/r/a:{digest}"), ""),
            ("/r/a:..", ""),
            ("/r/é", ""),
            ("/r/a:1", "view=secrets"),
            ("/r/a:1", "blob=../x"),
            ("/x", ""),
            ("", ""),
        ] {
            assert_eq!(Place::parse(path, query), None, "{path}?{query}");
        }
    }

    #[test]
    fn links_carry_what_was_searched() {
        assert_eq!(with_query("/", &[("q", "a&b=\""), ("last", "")]), "/?q=a%26b%3D%22");
        assert_eq!(with_query("/r/a", &[]), "/r/a");
    }
}
