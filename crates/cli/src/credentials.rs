//! Credentials as docker and podman keep them: config files and helper programs.
//!
//! Files are read when asked, so that a login during a long build is seen. Values are never printed.

use std::path::PathBuf;

use async_trait::async_trait;
use cooper_registry::config_file::{DockerConfig, Lookup};
use cooper_registry::{CredentialSource, Credentials, Error, Result, helper};

use crate::environment::Environment;
use crate::output;
use crate::sanitise;

/// Largest config file read; real ones have a few kilobytes.
const CONFIG_MAX: u64 = 1 << 20;

/// The files to look in, most specific first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files(Vec<PathBuf>);

impl Files {
    /// Those of the environment: the one named for all tools, docker's, then podman's.
    pub(crate) fn of(environment: &Environment) -> Self {
        let named = environment.path("REGISTRY_AUTH_FILE");
        let docker = environment.docker_config_dir().map(|dir| dir.join("config.json"));
        Self(named.into_iter().chain(docker).chain(environment.podman_auth_files()).collect())
    }

    /// What is known of a registry. A file that cannot be read is an error, because guessing would send the wrong secret.
    pub(crate) async fn find(&self, registry: &str) -> Result<Option<Credentials>> {
        for file in &self.0 {
            let Some(text) = read(file)? else { continue };
            let found = match DockerConfig::parse(&text)?.lookup(registry) {
                Lookup::Credentials(credentials) => Some(credentials),
                Lookup::Helper { program, key } => helper::get(&program, &key).await?,
                Lookup::None => None,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl CredentialSource for Files {
    /// The registry may well answer without: a failure is told, and the request goes on without credentials.
    async fn credentials(&self, registry: &str) -> Option<Credentials> {
        self.find(registry).await.unwrap_or_else(|error| {
            output::note(&format!("warning: no credentials for {registry}: {}", sanitise::line(&error.to_string())));
            None
        })
    }
}

fn read(path: &std::path::Path) -> Result<Option<String>> {
    use std::io::Read;
    let failed = |error: std::io::Error| {
        Error::new(cooper_registry::ErrorKind::Io, format!("cannot read `{}`", path.display())).with_source(error)
    };
    let file = match std::fs::File::open(path) {
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        file => file.map_err(failed)?,
    };
    let mut text = String::new();
    file.take(CONFIG_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text).filter(|text| !text.trim().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `dXNlcjpwYXNz` is `user:pass`.
    fn config(registry: &str, auth: &str) -> String {
        format!(r#"{{"auths": {{"{registry}": {{"auth": "{auth}"}}}}}}"#)
    }

    fn find(files: Files, registry: &str) -> Result<Option<Credentials>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(files.find(registry))
    }

    #[test]
    fn the_first_file_that_knows_the_registry_wins() {
        let dir = tempfile::tempdir().unwrap();
        let (docker, podman) = (dir.path().join("config.json"), dir.path().join("auth.json"));
        std::fs::write(&docker, config("a.example", "dXNlcjpwYXNz")).unwrap();
        std::fs::write(&podman, config("b.example", "dXNlcjpwYXNz")).unwrap();
        let files = Files(vec![dir.path().join("absent"), docker, podman]);
        let basic = Credentials::Basic { username: "user".into(), password: "pass".into() };
        assert_eq!(find(files.clone(), "a.example").unwrap(), Some(basic.clone()));
        assert_eq!(find(files.clone(), "b.example").unwrap(), Some(basic));
        assert_eq!(find(files, "c.example").unwrap(), None);
    }

    #[test]
    fn a_broken_file_is_an_error_and_an_empty_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        std::fs::write(&file, "{").unwrap();
        assert!(find(Files(vec![file.clone()]), "a.example").is_err());
        std::fs::write(&file, "\n").unwrap();
        assert_eq!(find(Files(vec![file]), "a.example").unwrap(), None);
    }

    #[test]
    fn files_of_the_environment_in_order() {
        let files =
            Files::of(&Environment::of(&[("HOME", "/h"), ("REGISTRY_AUTH_FILE", "/a"), ("DOCKER_CONFIG", "/d")]));
        assert_eq!(files.0, ["/a", "/d/config.json", "/h/.config/containers/auth.json"].map(PathBuf::from));
    }
}
