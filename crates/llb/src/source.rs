//! Where filesystems come from.

use std::fmt;

use cooper_oci::{Digest, Platform, Reference};

use crate::GitSource;

/// A filesystem from outside the graph.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The empty list of layers.
    Scratch,
    /// An image, by the name the Dockerfile gives; the engine pins it to a manifest digest.
    Image {
        /// Its full name.
        reference: Reference,
        /// Which manifest of an index.
        platform: Platform,
        /// Where to look.
        resolve: ResolveMode,
    },
    /// An image of an OCI layout that the caller holds under `name`.
    OciLayout {
        /// Name of the layout in the request (`--build-context name=oci-layout://..`).
        name: String,
        /// Tag or digest in the layout's index; the only image when absent.
        target: Option<String>,
        /// Which manifest of an index.
        platform: Platform,
    },
    /// A context of the caller: the main one (`context`) or a named one. Its files are selected by the operations that read it.
    Local {
        /// `context`, or the name given with `--build-context`.
        name: String,
    },
    /// A commit of a git repository, checked out.
    Git(GitSource),
    /// A file at an address.
    Http(HttpSource),
}

/// A file at an `http` or `https` address.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HttpSource {
    /// The address. Its query and user name may be secrets: [`HttpSource::shown`] leaves them out.
    pub url: String,
    /// What the file is called.
    pub name: String,
    /// The digest it must have.
    pub checksum: Option<Digest>,
}

impl HttpSource {
    /// The file at `url` under its own name, as BuildKit finds it: the last part of the path.
    pub fn of(url: &str) -> Self {
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let path = path.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
        let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let name = crate::git::decoded(last);
        let is_name = !matches!(name.as_str(), "" | "." | "..") && !name.contains(['/', '\0']);
        let name = if is_name { name } else { "__unnamed__".to_owned() };
        Self { url: url.to_owned(), name, checksum: None }
    }

    /// The address without user name and query.
    pub fn shown(&self) -> String {
        let url = self.url.split(['?', '#']).next().unwrap_or_default();
        crate::git::without_password(url)
    }
}

/// Secrets stay out of logs.
impl fmt::Debug for HttpSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpSource({} as {})", self.shown(), self.name)
    }
}

/// Whether a local image may answer for its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResolveMode {
    /// The store first, then the registry.
    #[default]
    Default,
    /// Always ask the registry (`--pull`).
    Pull,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_at_addresses() {
        for (url, name) in [
            ("https://host/a/b.tar.gz", "b.tar.gz"),
            ("https://host/a/b?x=/y#/z", "b"),
            ("https://host/a/", "a"),
            ("https://host/a%20b", "a b"),
            ("https://host/a%2Fb", "__unnamed__"),
            ("https://host/..", "__unnamed__"),
            ("https://host/", "__unnamed__"),
            ("https://host", "__unnamed__"),
        ] {
            assert_eq!(HttpSource::of(url).name, name, "{url}");
        }
        let source = HttpSource::of("https://u:p@host/f?token=secret");
        assert_eq!(format!("{source:?}"), "HttpSource(https://host/f as f)");
    }
}
