//! What the host's files say of registries: certificates, mirrors, and which may be spoken to without TLS.
//!
//! Reads docker's `certs.d` and `daemon.json`, and `registries.conf` of podman, buildah and skopeo (containers-registries.conf(5),
//! version 2), so that a machine set up for those is set up for cooper. Knows nothing of how a registry is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cooper_registry::HostTls;
use serde::Deserialize;

use crate::environment::Environment;
use crate::error::{CommandError, CommandResult};

/// Largest file read of these.
const FILE_MAX: u64 = 1 << 20;

/// Certificates and keys of one host.
const FILES_MAX: usize = 100;

/// What is known of registries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts {
    /// TLS by host.
    pub(crate) tls: BTreeMap<String, HostTls>,
    /// Mirrors by registry.
    pub(crate) mirrors: BTreeMap<String, Vec<String>>,
    /// Registries spoken to by plain HTTP.
    pub(crate) plain_http: BTreeSet<String>,
}

/// docker's engine, the part that concerns registries.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Daemon {
    registry_mirrors: Vec<String>,
    insecure_registries: Vec<String>,
}

/// containers-registries.conf(5), version 2, the part used here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Registries {
    registry: Vec<Registry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Registry {
    prefix: String,
    location: String,
    insecure: bool,
    mirror: Vec<Mirror>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Mirror {
    location: String,
    insecure: bool,
}

impl Hosts {
    /// Reads the files of this machine and this user. A file that cannot be understood is an error: it may say whom not to trust.
    pub(crate) fn of(environment: &Environment) -> CommandResult<Self> {
        let mut hosts = Self::default();
        for file in environment
            .path("CONTAINERS_REGISTRIES_CONF")
            .map_or_else(|| registries_files(environment), |file| vec![file])
        {
            if let Some(text) = read(&file)? {
                hosts.registries(&text, &file)?;
                break;
            }
        }
        let daemon = Path::new("/etc/docker/daemon.json");
        if let Some(text) = read(daemon)? {
            hosts.daemon(&text, daemon)?;
        }
        for dir in certificate_dirs(environment) {
            hosts.certificates(&dir)?;
        }
        Ok(hosts)
    }

    fn registries(&mut self, text: &str, file: &Path) -> CommandResult {
        let parsed: Registries = toml::from_str(text).map_err(|error| broken(file, &error.to_string()))?;
        for registry in parsed.registry {
            let named = if registry.prefix.is_empty() { &registry.location } else { &registry.prefix };
            // Rules for one repository or for patterns of hosts are not a whole registry's.
            if named.is_empty() || named.contains(['/', '*']) {
                continue;
            }
            let named = named.clone();
            if registry.insecure {
                self.insecure(&named);
            }
            let other = Some(registry.location).filter(|location| !location.is_empty() && *location != named);
            let mirrors = registry.mirror.into_iter().map(|mirror| (mirror.location, mirror.insecure));
            for (mirror, insecure) in mirrors.chain(other.map(|location| (location, registry.insecure))) {
                self.mirror(&named, &mirror, insecure);
            }
        }
        Ok(())
    }

    fn daemon(&mut self, text: &str, file: &Path) -> CommandResult {
        let parsed: Daemon = serde_json::from_str(text).map_err(|error| broken(file, &error.to_string()))?;
        for host in parsed.insecure_registries.iter().filter(|host| !host.contains('/')) {
            self.insecure(host);
        }
        for mirror in &parsed.registry_mirrors {
            let plain = mirror.starts_with("http://");
            let host = mirror.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
            self.mirror("docker.io", host, plain);
        }
        Ok(())
    }

    /// A mirror is another host with the same paths; one below a path of its own cannot be used.
    fn mirror(&mut self, of: &str, host: &str, insecure: bool) {
        if host.is_empty() || host.contains('/') {
            return;
        }
        if insecure {
            self.insecure(host);
        }
        self.mirrors.entry(of.to_owned()).or_default().push(host.to_owned());
    }

    /// Both of what the files mean by it: plain HTTP, or TLS with any certificate. Here it is plain HTTP; TLS is still
    /// checked where a host speaks it and has a directory of certificates.
    fn insecure(&mut self, host: &str) {
        self.plain_http.insert(host.to_owned());
    }

    /// `certs.d/<host>/`: `*.crt` are roots, `x.cert` with `x.key` is shown to the host.
    fn certificates(&mut self, dir: &Path) -> CommandResult {
        let Ok(hosts) = std::fs::read_dir(dir) else { return Ok(()) };
        for host in hosts.flatten() {
            let Ok(name) = host.file_name().into_string() else { continue };
            let tls = host_tls(&host.path())?;
            if tls.roots.is_some() || tls.identity.is_some() {
                self.plain_http.remove(&name);
                self.tls.entry(name).or_insert(tls);
            }
        }
        Ok(())
    }
}

fn host_tls(dir: &Path) -> CommandResult<HostTls> {
    let mut tls = HostTls::default();
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(tls) };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).take(FILES_MAX).collect();
    files.sort();
    for file in files {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => {
                let roots = tls.roots.get_or_insert_default();
                roots.push_str(&read(&file)?.unwrap_or_default());
                roots.push('\n');
            }
            Some("cert") => {
                let chain = read(&file)?.unwrap_or_default();
                let key = read(&file.with_extension("key"))?.ok_or_else(|| {
                    CommandError::failure(format!("`{}` has no key beside it", file.display()))
                        .with_hint("put the private key into a file of the same name that ends in `.key`")
                })?;
                tls.identity.get_or_insert((chain, key));
            }
            _ => {}
        }
    }
    Ok(tls)
}

fn registries_files(environment: &Environment) -> Vec<PathBuf> {
    let config = environment.path("XDG_CONFIG_HOME").or_else(|| Some(environment.path("HOME")?.join(".config")));
    let own = config.map(|dir| dir.join("containers/registries.conf"));
    own.into_iter().chain(["/etc/containers/registries.conf".into()]).collect()
}

fn certificate_dirs(environment: &Environment) -> Vec<PathBuf> {
    let own = environment.docker_config_dir().map(|dir| dir.join("certs.d"));
    own.into_iter().chain(["/etc/docker/certs.d".into(), "/etc/containers/certs.d".into()]).collect()
}

fn read(file: &Path) -> CommandResult<Option<String>> {
    use std::io::{ErrorKind, Read};
    let failed =
        |error: std::io::Error| CommandError::failure(format!("cannot read `{}`", file.display())).with_source(error);
    let opened = match std::fs::File::open(file) {
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied) =>
        {
            return Ok(None);
        }
        opened => opened.map_err(failed)?,
    };
    let mut text = String::new();
    opened.take(FILE_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

fn broken(file: &Path, why: &str) -> CommandError {
    CommandError::failure(format!("`{}` cannot be understood: {why}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_conf_has_mirrors_and_plain_hosts() {
        let text = "unqualified-search-registries = [\"docker.io\"]\n[[registry]]\nlocation = \"docker.io\"\n\
            [[registry.mirror]]\nlocation = \"mirror.example:5000\"\ninsecure = true\n\
            [[registry]]\nprefix = \"old.example\"\nlocation = \"new.example\"\n\
            [[registry]]\nlocation = \"plain.example\"\ninsecure = true\n\
            [[registry]]\nprefix = \"*.wild.example\"\ninsecure = true\n";
        let mut hosts = Hosts::default();
        hosts.registries(text, Path::new("r.conf")).unwrap();
        assert_eq!(hosts.mirrors["docker.io"], ["mirror.example:5000"]);
        assert_eq!(hosts.mirrors["old.example"], ["new.example"]);
        assert_eq!(hosts.plain_http.iter().collect::<Vec<_>>(), ["mirror.example:5000", "plain.example"]);
        let error = hosts.registries("[[registry]\n", Path::new("r.conf")).unwrap_err();
        assert!(error.what.contains("`r.conf` cannot be understood"), "{}", error.what);
    }

    #[test]
    fn daemon_json_has_mirrors_of_docker_hub() {
        let mut hosts = Hosts::default();
        let text = r#"{"registry-mirrors": ["https://m.example/", "http://p.example:80"], "insecure-registries": ["10.0.0.0/8", "i.example"], "debug": true}"#;
        hosts.daemon(text, Path::new("daemon.json")).unwrap();
        assert_eq!(hosts.mirrors["docker.io"], ["m.example", "p.example:80"]);
        assert_eq!(hosts.plain_http.iter().collect::<Vec<_>>(), ["i.example", "p.example:80"]);
    }

    #[test]
    fn certificates_are_found_by_host() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("r.example:5000");
        std::fs::create_dir(&host).unwrap();
        std::fs::write(host.join("ca.crt"), "root").unwrap();
        std::fs::write(host.join("client.cert"), "chain").unwrap();
        let mut hosts = Hosts::default();
        let error = hosts.certificates(dir.path()).unwrap_err();
        assert!(error.what.contains("has no key"), "{}", error.what);
        std::fs::write(host.join("client.key"), "key").unwrap();
        hosts.certificates(dir.path()).unwrap();
        let tls = &hosts.tls["r.example:5000"];
        assert_eq!(tls.roots.as_deref(), Some("root\n"));
        assert_eq!(tls.identity, Some(("chain".into(), "key".into())));
    }
}
