//! The commands that fetch an image, to be copied: by its tag, and pinned by digest.

use std::net::SocketAddr;

use cooper_oci::Digest;
use hyper::HeaderMap;
use hyper::header::HOST;
use maud::{Markup, html};

use super::super::route::Target;
use super::place::suffix;

/// Where clients reach this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Address {
    /// Host, and port if it is not the scheme's.
    pub(in super::super) host: String,
    /// By TLS.
    pub(in super::super) tls: bool,
}

impl Address {
    /// As the client wrote it, if that is a host; else where the server listens.
    pub(in super::super) fn new(headers: &HeaderMap, listens: SocketAddr, tls: bool) -> Self {
        let mut all = headers.get_all(HOST).iter();
        let named = all.next().and_then(|value| value.to_str().ok()).filter(|host| is_host(host));
        let host = named.filter(|_| all.next().is_none()).map_or_else(|| listens.to_string(), str::to_ascii_lowercase);
        Self { host, tls }
    }

    /// Everyone takes plain HTTP from this machine.
    fn is_here(&self) -> bool {
        let name = self.host.rsplit_once(':').map_or(self.host.as_str(), |(name, _)| name);
        let ip = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        name == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    }
}

/// A name or an address, and perhaps a port: what may stand in an image's name and needs no quotes in a shell.
fn is_host(text: &str) -> bool {
    let url = url::Url::parse(&format!("http://{text}/"));
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b));
    plain
        && text.len() <= 255
        && url.is_ok_and(|url| url.path() == "/" && url.host_str().is_some_and(|host| !host.is_empty()))
}

/// The commands for an image that was asked for by `target` and has `digest`.
pub(super) fn block(address: &Address, name: &str, target: &Target, digest: &Digest) -> Markup {
    let pinned = format!("{}/{name}@{digest}", address.host);
    html! {
        section.pull aria-label="Pull" {
            @if let Target::Tag(tag) = target {
                (lines(address, &format!("{}/{name}{}", address.host, suffix(target)), &format!("{}:{tag}", last(name))))
                details {
                    summary { "Pinned by digest" }
                    (lines(address, &pinned, last(name)))
                }
            } @else {
                (lines(address, &pinned, last(name)))
            }
        }
    }
}

/// The last part of a repository's name.
fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn lines(address: &Address, image: &str, layout: &str) -> Markup {
    let plain = !address.tls;
    let skopeo = if plain { "--src-tls-verify=false " } else { "" };
    let crane = if plain && !address.is_here() { "--insecure " } else { "" };
    html! {
        dl.pairs {
            dt { "cooper" } dd { code { "cooper pull " (image) } }
            dt { "docker" } dd { code { "docker pull " (image) } }
            dt { "skopeo" } dd { code { "skopeo copy " (skopeo) "docker://" (image) " oci:" (layout) } }
            dt { "crane" } dd { code { "crane pull " (crane) (image) " " (last(layout).replace(':', "-")) ".tar" } }
            dt { "FROM" } dd { code { "FROM " (image) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_are_believed() {
        for host in ["localhost:5000", "127.0.0.1:1", "[::1]:5000", "r.example", "R.Example:443"] {
            assert!(is_host(host), "{host}");
        }
        for host in ["", "a b", "a;rm", "a/b", "user@a", "a\"b", "a:99999", "$(x)", "a?b", "[::1", "é"] {
            assert!(!is_host(host), "{host}");
        }
        let listens = "127.0.0.1:5000".parse().unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(Address::new(&headers, listens, false).host, "127.0.0.1:5000");
        headers.append(HOST, "R.example".parse().unwrap());
        assert_eq!(Address::new(&headers, listens, false).host, "r.example");
        headers.append(HOST, "evil.example".parse().unwrap());
        assert_eq!(Address::new(&headers, listens, false).host, "127.0.0.1:5000", "two hosts are none");
    }

    #[test]
    fn commands_fit_the_connection() {
        let digest = Digest::of(b"");
        let text = |host: &str, tls| {
            block(&Address { host: host.into(), tls }, "team/app", &Target::Tag("1".into()), &digest).into_string()
        };
        let plain = text("r.example:80", false);
        assert!(plain.contains("skopeo copy --src-tls-verify=false docker://r.example:80/team/app:1 oci:app:1<"));
        assert!(plain.contains("crane pull --insecure r.example:80/team/app:1 app-1.tar<"));
        assert!(plain.contains(&format!("docker pull r.example:80/team/app@{digest}<")));
        assert!(!text("localhost:5000", false).contains("--insecure"));
        let tls = text("r.example", true);
        assert!(!tls.contains("--insecure") && !tls.contains("tls-verify"), "{tls}");
    }
}
