//! The environment of the process, read once: the only place that knows it.
//!
//! Knows nothing of what the variables are used for beyond where things live.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A snapshot of the environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    vars: BTreeMap<OsString, OsString>,
    root_user: bool,
}

impl Environment {
    /// The process's own.
    pub(crate) fn read() -> Self {
        Self { vars: std::env::vars_os().collect(), root_user: rustix::process::geteuid().is_root() }
    }

    /// One made of pairs, for tests.
    #[cfg(test)]
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        Self { vars: pairs.iter().map(|(k, v)| (k.into(), v.into())).collect(), root_user: false }
    }

    /// A variable that is set and valid text.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(std::ffi::OsStr::new(name))?.to_str()
    }

    /// A variable that is set and not empty, as a path.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.vars.get(std::ffi::OsStr::new(name)).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// A variable that is set to something not empty: how switches such as `NO_COLOR` are read.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !value.is_empty())
    }

    /// The store: `--root` (or COOPER_ROOT, which the argument parser reads), else the user's or the system's place.
    pub(crate) fn store_root(&self, given: Option<&Path>) -> Option<PathBuf> {
        if let Some(root) = given {
            return std::path::absolute(root).ok();
        }
        if self.root_user {
            return Some("/var/lib/cooper".into());
        }
        let data = self.path("XDG_DATA_HOME").filter(|path| path.is_absolute());
        data.or_else(|| Some(self.path("HOME")?.join(".local/share"))).map(|data| data.join("cooper"))
    }

    /// Where what a user's programs remember between runs is kept (XDG base directories).
    pub(crate) fn state_dir(&self) -> Option<PathBuf> {
        let state = self.path("XDG_STATE_HOME").filter(|path| path.is_absolute());
        state.or_else(|| Some(self.path("HOME")?.join(".local/state"))).map(|state| state.join("cooper"))
    }

    /// The directory of docker's `config.json`.
    pub(crate) fn docker_config_dir(&self) -> Option<PathBuf> {
        self.path("DOCKER_CONFIG").or_else(|| Some(self.path("HOME")?.join(".docker")))
    }

    /// Podman's credential files, most specific first.
    pub(crate) fn podman_auth_files(&self) -> Vec<PathBuf> {
        let runtime = self.path("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
        let config = self.path("XDG_CONFIG_HOME").or_else(|| Some(self.path("HOME")?.join(".config")));
        runtime.into_iter().chain(config.map(|dir| dir.join("containers/auth.json"))).collect()
    }

    /// Proxies, in the words every HTTP program reads; the lower-case ones win, as in curl.
    pub(crate) fn proxies(&self) -> cooper_registry::Proxies {
        let either = |lower: &str, upper: &str| {
            self.get(lower).or_else(|| self.get(upper)).filter(|value| !value.is_empty()).map(str::to_owned)
        };
        cooper_registry::Proxies {
            // Upper-case HTTP_PROXY can be set by a web server's request (CGI): curl ignores it, docker does not; we are no CGI.
            http: either("http_proxy", "HTTP_PROXY"),
            https: either("https_proxy", "HTTPS_PROXY"),
            no_proxy: either("no_proxy", "NO_PROXY"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_root_prefers_the_flag_then_xdg_then_home() {
        for (pairs, given, expect) in [
            (&[("HOME", "/h")][..], Some("/r"), Some("/r/")),
            (&[("HOME", "/h"), ("XDG_DATA_HOME", "/x")], None, Some("/x/cooper")),
            (&[("HOME", "/h"), ("XDG_DATA_HOME", "rel")], None, Some("/h/.local/share/cooper")),
            (&[("HOME", "/h")], None, Some("/h/.local/share/cooper")),
            (&[], None, None),
        ] {
            let found = Environment::of(pairs).store_root(given.map(Path::new));
            assert_eq!(found, expect.map(PathBuf::from), "{pairs:?} {given:?}");
        }
    }

    #[test]
    fn podman_files_in_order() {
        let environment = Environment::of(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run")]);
        let expect = ["/run/containers/auth.json", "/h/.config/containers/auth.json"].map(PathBuf::from);
        assert_eq!(environment.podman_auth_files(), expect);
    }

    #[test]
    fn proxies_of_either_case() {
        let proxies =
            Environment::of(&[("HTTP_PROXY", "http://a"), ("https_proxy", "http://b"), ("NO_PROXY", "")]).proxies();
        let found = (proxies.http.as_deref(), proxies.https.as_deref(), proxies.no_proxy.as_deref());
        assert_eq!(found, (Some("http://a"), Some("http://b"), None));
    }
}
