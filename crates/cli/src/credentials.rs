//! Credentials as docker and podman keep them: config files and helper programs.
//!
//! Files are read when asked, so that a login during a long build is seen. Values are never printed.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use cooper_registry::config_file::{DockerConfig, Keeper, Lookup, edited};
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

/// Logins and logouts.
impl Files {
    /// Keeps credentials where docker would: with the helper that its config names, else in the first file. Says where.
    pub(crate) async fn keep(&self, registry: &str, credentials: &Credentials) -> Result<String> {
        let file = self.first()?;
        let keeper = parsed(&read(file)?.unwrap_or_default())?.keeper(registry);
        if let Keeper::Helper { program, key } = keeper {
            helper::store(&program, &key, credentials).await?;
            edit(file, |text| edited(text, registry, Some(None)))?;
            return Ok(format!("the credential helper `{program}`"));
        }
        edit(file, |text| edited(text, registry, Some(Some(credentials))))?;
        Ok(format!("`{}`", file.display()))
    }

    /// Forgets a registry in the first file and its helper; whether there was something to forget.
    pub(crate) async fn forget(&self, registry: &str) -> Result<bool> {
        let file = self.first()?;
        let Some(text) = read(file)? else { return Ok(false) };
        let mut known = false;
        if let Keeper::Helper { program, key } = parsed(&text)?.keeper(registry) {
            known = helper::get(&program, &key).await.is_ok_and(|found| found.is_some());
            if known {
                helper::erase(&program, &key).await?;
            }
        }
        let after = edited(&text, registry, None)?;
        if parsed(&after)?.registries().count() < parsed(&text)?.registries().count() {
            edit(file, |text| edited(text, registry, None))?;
            known = true;
        }
        Ok(known)
    }

    /// The registries with an entry in the first file.
    pub(crate) fn registries(&self) -> Result<Vec<String>> {
        let text = read(self.first()?)?.unwrap_or_default();
        Ok(parsed(&text)?.registries().map(str::to_owned).collect())
    }

    fn first(&self) -> Result<&PathBuf> {
        self.0.first().ok_or_else(|| {
            Error::new(cooper_registry::ErrorKind::Io, "no place for credentials: HOME is not set")
                .with_hint("name a file in REGISTRY_AUTH_FILE, or a directory in DOCKER_CONFIG")
        })
    }
}

fn parsed(text: &str) -> Result<DockerConfig> {
    if text.is_empty() { Ok(DockerConfig::default()) } else { DockerConfig::parse(text) }
}

/// Changes a file to what `change` makes of its text. One process at a time, so that of two logins neither is lost; docker
/// takes no such lock.
fn edit(path: &Path, change: impl FnOnce(&str) -> Result<String>) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let failed = |error| cannot("write", path, error);
    // A link to a file kept elsewhere stays a link.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    // Beside the file, which is replaced; never removed, or two could hold locks of the same name.
    let mut options = std::fs::OpenOptions::new();
    let lock = options.write(true).create(true).truncate(false).mode(0o600).open(beside(path, "lock"));
    let _held = lock.and_then(|lock| lock.lock().map(|()| lock)).map_err(failed)?;
    let text = change(&read(path)?.unwrap_or_default())?;
    write(path, &text).map_err(failed)
}

/// Replaces a file as a whole; only its owner may read it.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let temporary = beside(path, &format!("{}.tmp", std::process::id()));
    // Left by a process that was killed, or put there by someone: the secret goes only into a file made here.
    let _ = std::fs::remove_file(&temporary);
    let mut options = std::fs::OpenOptions::new();
    let written = options.write(true).create_new(true).mode(0o600).open(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// The file's name with something after it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{suffix}"));
    path.with_file_name(name)
}

fn cannot(verb: &str, path: &Path, error: std::io::Error) -> Error {
    Error::new(cooper_registry::ErrorKind::Io, format!("cannot {verb} `{}`", path.display())).with_source(error)
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

fn read(path: &Path) -> Result<Option<String>> {
    use std::io::Read;
    let failed = |error| cannot("read", path, error);
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
    fn logins_are_kept_for_their_owner_and_forgotten() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new/config.json");
        let files = Files(vec![file.clone()]);
        let basic = Credentials::Basic { username: "user".into(), password: "pass".into() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            files.keep("a.example", &basic).await.unwrap();
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(files.find("a.example").await.unwrap(), Some(basic));
            assert_eq!(files.registries().unwrap(), ["a.example"]);
            assert!(files.forget("a.example").await.unwrap());
            assert!(!files.forget("a.example").await.unwrap());
            assert_eq!(files.find("a.example").await.unwrap(), None);
        });
    }

    #[test]
    fn logins_at_the_same_time_are_all_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        std::fs::write(&file, r#"{"HttpHeaders": {"x": "y"}, "credHelpers": {"gcr.example": "gcloud"}}"#).unwrap();
        let names: Vec<String> = (0..16).map(|n| format!("r{n:02}.example")).collect();
        std::thread::scope(|scope| {
            for name in &names {
                let files = Files(vec![file.clone()]);
                scope.spawn(move || {
                    let basic = Credentials::Basic { username: "user".into(), password: "pass".into() };
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    runtime.block_on(files.keep(name, &basic)).unwrap();
                });
            }
        });
        assert_eq!(Files(vec![file.clone()]).registries().unwrap(), names);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(r#""x": "y""#) && text.contains("gcloud"), "{text}");
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "the file and its lock: {left:?}");
    }

    #[test]
    fn files_of_the_environment_in_order() {
        let files =
            Files::of(&Environment::of(&[("HOME", "/h"), ("REGISTRY_AUTH_FILE", "/a"), ("DOCKER_CONFIG", "/d")]));
        assert_eq!(files.0, ["/a", "/d/config.json", "/h/.config/containers/auth.json"].map(PathBuf::from));
    }
}
