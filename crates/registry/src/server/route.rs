//! Takes a path apart. Whatever is not exactly one of the spec's paths, with a valid name in it, is refused here.

use cooper_oci::{Digest, Reference};
use hyper::Method;

use super::answer::{Refusal, digest_of};

/// What a manifest is asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Tag(String),
    Digest(Digest),
}

impl Target {
    pub(super) fn as_oci(&self) -> cooper_oci::Target<'_> {
        match self {
            Self::Tag(tag) => cooper_oci::Target::Tag(tag),
            Self::Digest(digest) => cooper_oci::Target::Digest(digest),
        }
    }
}

/// What a request does to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    Pull,
    /// Adds; taking an upload back is part of pushing.
    Push,
    /// Takes away what is there.
    Delete,
}

impl Action {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    /// The word of token scopes and of rules.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }

    /// The action of that name.
    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

/// One of the spec's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/v2/`.
    Root,
    /// `/v2/_catalog`: not of the spec, and everybody's.
    Catalog,
    Blob {
        name: String,
        digest: Digest,
    },
    Uploads {
        name: String,
    },
    Upload {
        name: String,
        id: String,
    },
    Manifest {
        name: String,
        target: Target,
    },
    Tags {
        name: String,
    },
    Referrers {
        name: String,
        digest: Digest,
    },
}

impl Route {
    /// The route of a path. Names need no escapes, so a path with `%` is none of ours.
    pub(super) fn parse(path: &str) -> Result<Self, Refusal> {
        let rest = path.strip_prefix("/v2/").or_else(|| (path == "/v2").then_some("")).ok_or_else(nowhere)?;
        if rest.is_empty() {
            return Ok(Self::Root);
        }
        if rest == "_catalog" {
            return Ok(Self::Catalog);
        }
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags { name: check_name(name)? });
        }
        if let Some((name, id)) = rest.rsplit_once("/blobs/uploads/") {
            return Self::upload(name, id);
        }
        if let Some(name) = rest.strip_suffix("/blobs/uploads") {
            return Ok(Self::Uploads { name: check_name(name)? });
        }
        let (rest, last) = rest.rsplit_once('/').ok_or_else(nowhere)?;
        let (name, noun) = rest.rsplit_once('/').ok_or_else(nowhere)?;
        let name = check_name(name)?;
        match noun {
            "blobs" => Ok(Self::Blob { name, digest: digest_of(last)? }),
            "referrers" => Ok(Self::Referrers { name, digest: digest_of(last)? }),
            "manifests" => Ok(Self::Manifest { name, target: check_target(last)? }),
            _ => Err(nowhere()),
        }
    }

    fn upload(name: &str, id: &str) -> Result<Self, Refusal> {
        let name = check_name(name)?;
        if id.is_empty() {
            return Ok(Self::Uploads { name });
        }
        if !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Refusal::new(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown to registry"));
        }
        Ok(Self::Upload { name, id: id.to_owned() })
    }

    /// What a request of this method does here. A mount also pulls from the repository it names.
    pub(super) fn action(&self, method: &Method) -> Action {
        match (self, method) {
            (_, &Method::GET | &Method::HEAD) if !matches!(self, Self::Upload { .. }) => Action::Pull,
            (Self::Blob { .. } | Self::Manifest { .. }, &Method::DELETE) => Action::Delete,
            _ => Action::Push,
        }
    }

    /// The repository, except at the root and the catalog.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Root | Self::Catalog => None,
            Self::Blob { name, .. }
            | Self::Uploads { name }
            | Self::Upload { name, .. }
            | Self::Manifest { name, .. }
            | Self::Tags { name }
            | Self::Referrers { name, .. } => Some(name),
        }
    }
}

fn nowhere() -> Refusal {
    Refusal::new(404, "UNSUPPORTED", "no such endpoint")
}

fn check_name(name: &str) -> Result<String, Refusal> {
    if is_name(name) { Ok(name.to_owned()) } else { Err(Refusal::new(400, "NAME_INVALID", "invalid repository name")) }
}

/// A repository name by the spec's grammar.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/".contains(&b);
    name.bytes().all(plain) && format!("registry.invalid/{name}").parse::<Reference>().is_ok()
}

pub(super) fn check_target(text: &str) -> Result<Target, Refusal> {
    if text.contains(':') {
        return digest_of(text).map(Target::Digest);
    }
    if is_tag(text) { Ok(Target::Tag(text.to_owned())) } else { Err(invalid_tag()) }
}

/// A tag by the spec's grammar.
pub(super) fn is_tag(text: &str) -> bool {
    !text.contains(['@', ':', '/']) && format!("registry.invalid/x:{text}").parse::<Reference>().is_ok()
}

pub(super) fn invalid_tag() -> Refusal {
    Refusal::new(400, "MANIFEST_INVALID", "invalid tag")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_paths() {
        let digest = Digest::of(b"");
        let name = "a/b".to_owned();
        for (path, expect) in [
            ("/v2/".to_owned(), Route::Root),
            ("/v2".to_owned(), Route::Root),
            ("/v2/_catalog".to_owned(), Route::Catalog),
            (format!("/v2/a/b/blobs/{digest}"), Route::Blob { name: name.clone(), digest: digest.clone() }),
            ("/v2/a/b/blobs/uploads/".to_owned(), Route::Uploads { name: name.clone() }),
            ("/v2/a/b/blobs/uploads/0af".to_owned(), Route::Upload { name: name.clone(), id: "0af".into() }),
            ("/v2/a/b/tags/list".to_owned(), Route::Tags { name: name.clone() }),
            (
                "/v2/a/b/manifests/v1".to_owned(),
                Route::Manifest { name: name.clone(), target: Target::Tag("v1".into()) },
            ),
            (
                "/v2/blobs/manifests/x".to_owned(),
                Route::Manifest { name: "blobs".into(), target: Target::Tag("x".into()) },
            ),
            (format!("/v2/a/b/referrers/{digest}"), Route::Referrers { name, digest }),
        ] {
            assert_eq!(Route::parse(&path).unwrap(), expect, "{path}");
        }
    }

    #[test]
    fn every_method_is_some_action() {
        let digest = Digest::of(b"");
        for (path, expect) in [
            (format!("/v2/a/blobs/{digest}"), "GET pull, HEAD pull, PUT push, DELETE delete"),
            ("/v2/a/manifests/x".to_owned(), "GET pull, HEAD pull, PUT push, DELETE delete"),
            ("/v2/a/blobs/uploads/".to_owned(), "GET pull, POST push"),
            ("/v2/a/blobs/uploads/0a".to_owned(), "GET push, PATCH push, PUT push, DELETE push"),
            ("/v2/a/tags/list".to_owned(), "GET pull"),
        ] {
            let route = Route::parse(&path).unwrap();
            for pair in expect.split(", ") {
                let (method, action) = pair.split_once(' ').unwrap();
                let found = route.action(&method.parse().unwrap());
                assert_eq!(format!("{found:?}").to_lowercase(), action, "{method} {path}");
            }
        }
    }

    #[test]
    fn refuses_everything_else() {
        let digest = Digest::of(b"");
        for path in [
            "/".to_owned(),
            "/v1/".to_owned(),
            "/v2/../manifests/x".to_owned(),
            "/v2/a/../b/manifests/x".to_owned(),
            "/v2/a//b/manifests/x".to_owned(),
            "/v2/A/manifests/x".to_owned(),
            "/v2/a%2f..%2fb/manifests/x".to_owned(),
            "/v2/a/manifests/..".to_owned(),
            "/v2/a/manifests/%00".to_owned(),
            "/v2/a/blobs/sha256:../../x".to_owned(),
            "/v2/a/blobs/uploads/../x".to_owned(),
            format!("/v2//blobs/{digest}"),
            format!("/v2/{}/blobs/{digest}", "a".repeat(300)),
        ] {
            assert!(Route::parse(&path).is_err(), "{path}");
        }
    }
}
