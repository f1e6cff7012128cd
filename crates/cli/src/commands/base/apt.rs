//! The host's apt configuration, found and read: where packages come from when a declared file does not say.
//!
//! Knows the places of apt's files; what is in them is read by the base crate.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use cooper_base::Manifest;
use cooper_base::sources::Archive;
use cooper_base::sources::apt::{AptSource, archives as host_archives, parse_list, parse_sources, setting};
use cooper_registry::Proxies;

use crate::error::{CommandError, CommandResult};
use crate::surroundings::Surroundings;

/// Bytes of one of apt's files.
const FILE_MAX: u64 = 1 << 20;

/// How archives are reached.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    /// Mirrors by suite: those the file declares, else the host's own.
    pub(crate) mirrors: BTreeMap<String, Vec<String>>,
    /// Proxies: apt's, else the environment's.
    pub(crate) proxies: Proxies,
}

/// How the archives of a declared file are reached. A host without apt has no routes of its own.
pub(crate) fn routes(at: &Surroundings, manifest: &Manifest) -> CommandResult<Routes> {
    let root = root(at);
    let proxies = proxies(at, &config(&root)?);
    let own = if manifest.sources.is_empty() { sources(&root)? } else { Vec::new() };
    Ok(Routes { mirrors: mirrors(manifest, &own), proxies })
}

fn mirrors(manifest: &Manifest, own: &[AptSource]) -> BTreeMap<String, Vec<String>> {
    let declared = manifest.sources.iter().map(|source| (&source.uris, &source.suites));
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (uris, suites) in declared.chain(own.iter().map(|source| (&source.uris, &source.suites))) {
        for suite in suites {
            out.entry(suite.clone()).or_default().extend(uris.iter().cloned());
        }
    }
    out
}

/// The archives of a declared file, or the host's when it names none. With `optional`, a host that has none is no error.
pub(crate) fn archives(at: &Surroundings, manifest: &Manifest, optional: bool) -> CommandResult<Vec<Archive>> {
    if !manifest.sources.is_empty() {
        return Ok(manifest.sources.iter().map(Archive::of_source).collect::<cooper_base::Result<_>>()?);
    }
    let root = root(at);
    let own = sources(&root)?;
    if own.is_empty() && optional {
        return Ok(Vec::new());
    }
    let suite = match &manifest.suite {
        Some(suite) => suite.clone(),
        None => host_suite()?,
    };
    let check_dates = setting(&config(&root)?, "Acquire::Check-Valid-Until").is_none_or(|value| value != "false");
    let found = host_archives(&own, &suite, &trusted(&root)?, check_dates)?;
    if found.is_empty() && !optional {
        let what = format!("the apt configuration of this host ({}) has no source of {suite}", root.display());
        return Err(CommandError::failure(what)
            .with_hint("declare `sources` in the file, or give a directory of .debs with `--deb-dir`"));
    }
    Ok(found)
}

fn root(at: &Surroundings) -> PathBuf {
    at.environment.path("COOPER_APT_DIR").unwrap_or_else(|| "/etc/apt".into())
}

fn config(root: &Path) -> CommandResult<Vec<String>> {
    texts(root, "apt.conf", "apt.conf.d", &["", "conf"])
}

/// apt's proxy wins over the environment's, as in apt; `DIRECT` is none.
fn proxies(at: &Surroundings, config: &[String]) -> Proxies {
    let mut out = at.environment.proxies();
    let http = setting(config, "Acquire::http::Proxy");
    let https = setting(config, "Acquire::https::Proxy").or_else(|| http.clone());
    let told = |value: String| if value == "DIRECT" { None } else { Some(value) };
    if let Some(value) = http {
        out.http = told(value);
    }
    if let Some(value) = https {
        out.https = told(value);
    }
    out
}

fn sources(root: &Path) -> CommandResult<Vec<AptSource>> {
    let mut out = Vec::new();
    for path in [root.join("sources.list")].into_iter().chain(listed(&root.join("sources.list.d"))?) {
        let what = path.display().to_string();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("list") => out.extend(parse_list(&text(&path)?, &what)?),
            Some("sources") => out.extend(parse_sources(&text(&path)?, &what)?),
            _ => {}
        }
    }
    Ok(out)
}

/// Keyrings that may sign where a source names none.
fn trusted(root: &Path) -> CommandResult<Vec<PathBuf>> {
    let is_keyring =
        |path: &PathBuf| path.extension().is_some_and(|extension| extension == "gpg" || extension == "asc");
    let legacy = Some(root.join("trusted.gpg")).filter(|path| path.metadata().is_ok_and(|it| it.len() > 0));
    let listed = listed(&root.join("trusted.gpg.d"))?.into_iter().filter(is_keyring);
    Ok(legacy.into_iter().chain(listed).collect())
}

/// The texts of a directory's files with one of these extensions, then of one file, as apt reads its configuration.
fn texts(root: &Path, file: &str, dir: &str, extensions: &[&str]) -> CommandResult<Vec<String>> {
    let is_one = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        extensions.contains(&extension)
    };
    let paths = listed(&root.join(dir))?.into_iter().filter(is_one).chain([root.join(file)]);
    paths.map(|path| text(&path)).collect()
}

/// Files of a directory, sorted; none when it is not there.
fn listed(dir: &Path) -> CommandResult<Vec<PathBuf>> {
    let failed = |e: std::io::Error| CommandError::failure(format!("cannot read {}", dir.display())).with_source(e);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut out =
        entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect::<CommandResult<Vec<_>>>()?;
    out.retain(|path| path.is_file());
    out.sort();
    Ok(out)
}

/// A file's text; empty when it is not there.
fn text(path: &Path) -> CommandResult<String> {
    let failed = |e: std::io::Error| CommandError::failure(format!("cannot read {}", path.display())).with_source(e);
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The release this host runs.
fn host_suite() -> CommandResult<String> {
    let release = text(Path::new("/etc/os-release"))?;
    let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.map(|name| name.trim_matches('"').to_owned()).filter(|name| !name.is_empty()).ok_or_else(|| {
        CommandError::failure("this host does not tell which release of Debian or Ubuntu it is")
            .with_hint("name one in the file: `suite: bookworm`")
    })
}

#[cfg(test)]
mod tests {
    use cooper_base::manifest::Source;

    use super::*;

    #[test]
    fn every_address_of_a_declared_archive_may_have_its_packages() {
        let uris = vec!["http://mirror".to_owned(), "http://snapshot".to_owned()];
        let source = Source { uris: uris.clone(), suites: vec!["one".into(), "two".into()], ..Source::default() };
        let manifest = Manifest { sources: vec![source], ..Manifest::default() };
        assert_eq!(mirrors(&manifest, &[]), BTreeMap::from([("one".into(), uris.clone()), ("two".into(), uris)]));
    }

    #[test]
    fn files_are_found_as_apt_finds_them() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("sources.list", "deb http://a/ one main\n");
        write("sources.list.d/b.list", "deb http://b/ two main\n");
        write("sources.list.d/c.sources", "Types: deb\nURIs: http://c/\nSuites: three\nComponents: main\n");
        write("sources.list.d/d.sources.off", "nonsense\n");
        write("trusted.gpg", "");
        write("trusted.gpg.d/k.gpg", "x");
        write("trusted.gpg.d/readme", "x");
        write("apt.conf.d/10a", "Acquire::http::Proxy \"http://first\";");
        write("apt.conf.d/20b.off", "Acquire::http::Proxy \"http://second\";");
        let suites: Vec<String> = sources(dir.path()).unwrap().into_iter().flat_map(|source| source.suites).collect();
        assert_eq!(suites, ["one", "two", "three"]);
        assert_eq!(trusted(dir.path()).unwrap(), [dir.path().join("trusted.gpg.d/k.gpg")]);
        let config = config(dir.path()).unwrap();
        assert_eq!(setting(&config, "Acquire::http::Proxy").as_deref(), Some("http://first"));
        assert!(sources(&dir.path().join("missing")).unwrap().is_empty());
    }
}
