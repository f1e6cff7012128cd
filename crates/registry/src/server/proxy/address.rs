//! The address of an upstream registry, as a command line has it. Opens no connection.

use url::Url;

use crate::{Error, ErrorKind, Result};

/// A registry by its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamAddress {
    /// As in the name of an image: `docker.io`, `registry.example:5000`.
    pub registry: String,
    /// By plain HTTP.
    pub plain_http: bool,
}

impl std::str::FromStr for UpstreamAddress {
    type Err = Error;

    /// `https://HOST[:PORT]`, `http://HOST[:PORT]` or the registry as in the name of an image.
    fn from_str(text: &str) -> Result<Self> {
        // A password is not repeated.
        let shown = text.rsplit('@').next().unwrap_or_default();
        let invalid = |why: &str| {
            Error::new(ErrorKind::Invalid, format!("`{shown}` is no address of a registry: {why}"))
                .with_hint("such as https://registry-1.docker.io or docker.io")
        };
        let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let url = Url::parse(&full).map_err(|e| invalid(&e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("it is neither http nor https"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("it has more than a host and a port"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("log in with `cooper login` instead of writing a password here"));
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| invalid("it has no host"))?;
        let registry = match (host, url.port()) {
            ("registry-1.docker.io" | "index.docker.io" | "registry.hub.docker.com", None) => "docker.io".to_owned(),
            (host, Some(port)) => format!("{host}:{port}"),
            (host, None) => host.to_owned(),
        };
        Ok(Self { registry, plain_http: url.scheme() == "http" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_registries() {
        for (text, registry, plain_http) in [
            ("https://registry-1.docker.io", "docker.io", false),
            ("docker.io", "docker.io", false),
            ("http://127.0.0.1:5000/", "127.0.0.1:5000", true),
            ("https://r.example:8443", "r.example:8443", false),
            ("r.example", "r.example", false),
        ] {
            let expect = UpstreamAddress { registry: registry.into(), plain_http };
            assert_eq!(text.parse::<UpstreamAddress>().unwrap(), expect, "{text}");
        }
        for text in [
            "",
            "https://",
            "ftp://x",
            "https://user:pw@r.example",
            "https://r.example/team",
            "https://r.example?x",
            "a b",
        ] {
            let error = text.parse::<UpstreamAddress>().unwrap_err();
            assert!(!error.to_string().contains("pw"), "{error}");
        }
    }
}
