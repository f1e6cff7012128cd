//! Where an image is, as a user writes it: `docker://host/name:tag`, `store:name`, `oci:dir:tag`, and so on, in skopeo's words.
//!
//! Opens nothing.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use cooper_oci::Reference;

use crate::{Error, ErrorKind};

/// A place an image is copied from or to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `docker://NAME`, or just `NAME`: a repository of a registry.
    Registry(Reference),
    /// `store:NAME`: cooper's own store.
    Store(String),
    /// `oci:DIR[:TAG]`: an OCI image layout.
    Layout(PathBuf, Option<String>),
    /// `dir:DIR`: one image as plain files.
    Directory(PathBuf),
    /// `oci-archive:FILE[:NAME]`: an OCI image layout in one tar.
    OciArchive(PathBuf, Option<String>),
    /// `docker-archive:FILE[:NAME]`: what `docker load` reads.
    DockerArchive(PathBuf, Option<String>),
    /// `docker-daemon:NAME`: a running docker engine.
    Daemon(String),
}

impl Location {
    /// The name at a registry, if it is one.
    pub(crate) fn registry(&self) -> Option<&Reference> {
        match self {
            Self::Registry(reference) => Some(reference),
            _ => None,
        }
    }
}

/// The kinds that are no registry.
const SCHEMES: [&str; 6] = ["store", "oci", "dir", "oci-archive", "docker-archive", "docker-daemon"];

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(name) = text.strip_prefix("docker://") {
            return registry(name);
        }
        let Some((scheme, rest)) = text.split_once(':').filter(|(scheme, _)| SCHEMES.contains(scheme)) else {
            return registry(text);
        };
        if rest.is_empty() {
            return Err(Error::new(ErrorKind::User, format!("`{text}` names nothing"))
                .with_hint(format!("write what it is after `{scheme}:`")));
        }
        Ok(match scheme {
            "store" => Self::Store(rest.to_owned()),
            "docker-daemon" => Self::Daemon(rest.to_owned()),
            "dir" => Self::Directory(rest.into()),
            "oci" => with_name(rest, Self::Layout),
            "oci-archive" => with_name(rest, Self::OciArchive),
            _ => with_name(rest, Self::DockerArchive),
        })
    }
}

fn registry(name: &str) -> Result<Location, Error> {
    let reference = name.parse::<Reference>().map_err(|error| {
        let kinds = SCHEMES.map(|scheme| format!("`{scheme}:`")).join(", ");
        let hint = error.hint().map(str::to_owned);
        let hint = hint.or_else(|| name.starts_with(['.', '/']).then(|| format!("a directory is `oci:{name}`")));
        let hint = hint.unwrap_or_else(|| format!("a registry's image is `host/name:tag`; other places are {kinds}"));
        Error::new(ErrorKind::User, format!("`{name}` is not a place of an image: {error}")).with_hint(hint)
    })?;
    Ok(Location::Registry(reference))
}

/// A path ends at its first colon, as in skopeo; what follows is a name within.
fn with_name(rest: &str, kind: fn(PathBuf, Option<String>) -> Location) -> Location {
    match rest.split_once(':') {
        Some((path, name)) if !name.is_empty() => kind(path.into(), Some(name.to_owned())),
        Some((path, _)) => kind(path.into(), None),
        None => kind(rest.into(), None),
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = |f: &mut fmt::Formatter<'_>, scheme: &str, path: &PathBuf, name: &Option<String>| {
            write!(f, "{scheme}:{}", path.display())?;
            name.iter().try_for_each(|name| write!(f, ":{name}"))
        };
        match self {
            Self::Registry(reference) => f.write_str(&reference.familiar()),
            Self::Store(name) => write!(f, "store:{name}"),
            Self::Daemon(name) => write!(f, "docker-daemon:{name}"),
            Self::Directory(path) => write!(f, "dir:{}", path.display()),
            Self::Layout(path, name) => file(f, "oci", path, name),
            Self::OciArchive(path, name) => file(f, "oci-archive", path, name),
            Self::DockerArchive(path, name) => file(f, "docker-archive", path, name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_in_skopeo() {
        for (text, shown) in [
            ("alpine", "alpine:latest"),
            ("docker://localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            ("localhost:5000/a", "localhost:5000/a:latest"),
            ("store:app:1", "store:app:1"),
            ("oci:/tmp/x", "oci:/tmp/x"),
            ("oci:/tmp/x:1", "oci:/tmp/x:1"),
            ("oci:/tmp/x:", "oci:/tmp/x"),
            ("dir:/tmp/x:1", "dir:/tmp/x:1"),
            ("oci-archive:x.tar:host/a:1", "oci-archive:x.tar:host/a:1"),
            ("docker-archive:x.tar", "docker-archive:x.tar"),
            ("docker-daemon:a:1", "docker-daemon:a:1"),
        ] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_place_is_told_with_the_kinds_there_are() {
        for text in ["", "oci:", "a/UPPER", "docker://", "dir:"] {
            let error = text.parse::<Location>().unwrap_err();
            assert!(!error.hints.is_empty(), "{text}: {error}");
        }
        assert_eq!("./dir".parse::<Location>().unwrap_err().hints, ["a directory is `oci:./dir`"]);
    }
}
