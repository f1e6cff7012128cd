//! Where a URL leads, for deciding who may see a secret, and which URLs a registry name stands for. Opens no connection.

use cooper_oci::Reference;
use url::{Host, Url};

use crate::{Error, ErrorKind, Result};

/// Scheme, host and port. Two URLs share secrets only when all three are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    pub(crate) fn of(url: &Url) -> Self {
        Self {
            scheme: url.scheme().to_owned(),
            host: url.host_str().unwrap_or_default().to_owned(),
            port: url.port_or_known_default(),
        }
    }
}

/// A URL as an error may show it: without user, query and fragment, which may hold secrets.
pub(crate) fn printable(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    crate::error::sanitise(url.as_str())
}

/// A URL that a registry told us to go to. Only HTTP, never with a user name in it, and never from TLS to none.
pub(crate) fn follow(from: &Url, location: &str, who: &str) -> Result<Url> {
    let refuse = |why: &str| Err(Error::new(ErrorKind::Invalid, format!("{who} sends the client to {why}")));
    let Ok(next) = from.join(location) else {
        return refuse("an address that is no URL");
    };
    if !matches!(next.scheme(), "http" | "https") || next.host_str().is_none_or(str::is_empty) {
        return refuse("an address that is not HTTP");
    }
    if !next.username().is_empty() || next.password().is_some() {
        return refuse("an address with a user name in it");
    }
    Ok(next)
}

/// From TLS to no TLS.
pub(crate) fn is_downgrade(from: &Url, to: &Url) -> bool {
    from.scheme() == "https" && to.scheme() != "https"
}

/// The host is this machine by its very address, so that plain HTTP shows nothing to a network.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The base URLs of `registry`, most wanted first: TLS only, unless the host is loopback or was named as plain.
pub(crate) fn bases(registry: &str, plain_http: &[String]) -> Result<Vec<Url>> {
    let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
    let secure = base("https", host, registry)?;
    let plain = base("http", host, registry)?;
    if plain_http.iter().any(|named| named == registry) {
        return Ok(vec![plain]);
    }
    Ok(if is_loopback(&plain) { vec![plain, secure] } else { vec![secure] })
}

fn base(scheme: &str, host: &str, registry: &str) -> Result<Url> {
    let invalid =
        || Error::new(ErrorKind::Invalid, format!("`{}` is not a registry host", crate::error::sanitise(registry)));
    let url = Url::parse(&format!("{scheme}://{host}/v2/")).map_err(|e| invalid().with_source(e))?;
    let clean = url.path() == "/v2/"
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if clean { Ok(url) } else { Err(invalid()) }
}

/// Whether `name` can be asked for at all: guards URLs against names that did not come through [`Reference`].
pub(crate) fn is_repository(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/".contains(&b);
    name.bytes().all(plain) && format!("registry.invalid/{name}").parse::<Reference>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_become_urls() {
        let plain = vec!["plain.example".to_owned()];
        for (registry, expect) in [
            ("docker.io", "https://registry-1.docker.io/v2/"),
            ("ghcr.example", "https://ghcr.example/v2/"),
            ("plain.example", "http://plain.example/v2/"),
            ("localhost:5000", "http://localhost:5000/v2/ https://localhost:5000/v2/"),
            ("127.9.0.1", "http://127.9.0.1/v2/ https://127.9.0.1/v2/"),
            ("[::1]:1", "http://[::1]:1/v2/ https://[::1]:1/v2/"),
            ("localhost.evil.example", "https://localhost.evil.example/v2/"),
            ("10.0.0.1:5000", "https://10.0.0.1:5000/v2/"),
        ] {
            let found = bases(registry, &plain).unwrap().iter().map(Url::to_string).collect::<Vec<_>>().join(" ");
            assert_eq!(found, expect);
        }
        for registry in ["", "a/b", "user@host", "a?b", "a#b", "host:99999", "a b"] {
            assert!(bases(registry, &[]).is_err(), "{registry}");
        }
    }

    #[test]
    fn look_alikes_are_other_origins() {
        let origin = |text: &str| Origin::of(&Url::parse(text).unwrap());
        let home = origin("https://registry.example/v2/");
        for same in ["https://registry.example:443/x", "https://REGISTRY.example/", "https://user@registry.example/"] {
            assert_eq!(origin(same), home, "{same}");
        }
        for other in [
            "http://registry.example/",
            "https://registry.example:444/",
            "https://registry.example./",
            "https://registry.example.evil.example/",
            "https://evilregistry.example/",
            "https://registry.example@evil.example/",
            "https://r\u{435}gistry.example/",
        ] {
            assert_ne!(origin(other), home, "{other}");
        }
    }

    #[test]
    fn locations_stay_http() {
        let from = Url::parse("https://registry.example/v2/a/blobs/uploads/").unwrap();
        for (location, expect) in [
            ("/v2/x?s=1", Some("https://registry.example/v2/x?s=1")),
            ("x", Some("https://registry.example/v2/a/blobs/uploads/x")),
            ("//cdn.example/x", Some("https://cdn.example/x")),
            ("file:///etc/passwd", None),
            ("https://user:pw@registry.example/x", None),
            ("http://", None),
        ] {
            assert_eq!(follow(&from, location, "it").ok().map(|url| url.to_string()).as_deref(), expect);
        }
    }

    #[test]
    fn repository_names_are_checked() {
        assert!(is_repository("a/b-c/d.e__f"));
        for name in ["", "../x", "a/../b", "a:b", "a@b", "A", "a//b", "a%2fb"] {
            assert!(!is_repository(name), "{name}");
        }
    }
}
