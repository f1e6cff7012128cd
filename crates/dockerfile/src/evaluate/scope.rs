//! Variables in force at a place of the Dockerfile.
//!
//! Knows nothing of instructions; it is filled by those who read them.

use std::collections::BTreeMap;

use cooper_oci::Platform;

use super::Args;

/// Variables in the order they were first set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    names: BTreeMap<String, usize>,
    variables: Vec<(String, String)>,
}

/// `--build-arg`s that reach every RUN without being declared, in either case of letters.
const PROXY_ARGS: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

impl Scope {
    /// From the `K=v` lines of an image config.
    pub(crate) fn of_env(env: &[String]) -> Self {
        let mut scope = Self::default();
        for line in env {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            scope.set(name, value);
        }
        scope
    }

    /// The variables that are predefined before the first FROM; `--build-arg` overrides them.
    pub(crate) fn predefined(args: &Args, target_stage: &str) -> Self {
        let mut scope = Self::default();
        for (prefix, platform) in [("BUILD", &args.build_platform), ("TARGET", &args.platform)] {
            for (suffix, value) in platform_values(platform) {
                scope.set(&format!("{prefix}{suffix}"), &value);
            }
        }
        scope.set("TARGETSTAGE", if target_stage.is_empty() { "default" } else { target_stage });
        for (name, value) in &args.build_args {
            if scope.names.contains_key(name) {
                scope.set(name, value);
            }
        }
        scope
    }

    /// The value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let at = *self.names.get(name)?;
        self.variables.get(at).map(|(_, value)| value.as_str())
    }

    /// Sets a variable.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        match self.names.get(name).and_then(|at| self.variables.get_mut(*at)) {
            Some((_, old)) => value.clone_into(old),
            None => {
                self.names.insert(name.to_owned(), self.variables.len());
                self.variables.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    /// All names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|(name, _)| name.as_str())
    }

    /// What it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.variables.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// As `K=v` lines.
    pub(crate) fn to_env(&self) -> Vec<String> {
        self.variables.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

fn platform_values(platform: &Platform) -> [(&'static str, String); 5] {
    [
        ("PLATFORM", platform.to_string()),
        ("OS", platform.os.clone()),
        ("OSVERSION", platform.os_version.clone().unwrap_or_default()),
        ("ARCH", platform.architecture.clone()),
        ("VARIANT", platform.variant.clone().unwrap_or_default()),
    ]
}

/// The proxy variables among the build arguments, in both spellings, as processes look for either.
pub(crate) fn proxy_env(args: &Args) -> Vec<String> {
    let mut found = Vec::new();
    for name in PROXY_ARGS {
        // As in BuildKit the last spelling in the order of names wins.
        let given = args.build_args.iter().rfind(|(key, _)| key.eq_ignore_ascii_case(name));
        if let Some((_, value)) = given {
            found.push(format!("{}={value}", name.to_uppercase()));
            found.push(format!("{name}={value}"));
        }
    }
    found
}
