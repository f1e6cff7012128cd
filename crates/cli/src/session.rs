//! The caller's side of a build: context directories, secrets, the ssh agent, credentials.
//!
//! Knows nothing of what a build does with them. Values of secrets are read when asked for and never kept or printed.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use cooper_engine::{Error, ErrorKind, Result};
use cooper_registry::Credentials;

use crate::credentials::Files;
use crate::environment::Environment;
use crate::ssh_keys::KeyAgent;

/// Largest secret: BuildKit's own limit.
const SECRET_MAX: u64 = 500 * 1024;

/// Name of the main context.
pub(crate) const MAIN_CONTEXT: &str = "context";

/// Where a secret comes from.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum SecretSource {
    /// A file, read when asked for.
    File(PathBuf),
    /// A value taken from the environment.
    Value(Vec<u8>),
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({path:?})"),
            Self::Value(_) => f.write_str("Value(..)"),
        }
    }
}

/// Where an ssh agent comes from.
#[derive(Debug)]
pub(crate) enum SshSource {
    /// One that listens here.
    Socket(PathBuf),
    /// Keys of files.
    Keys(KeyAgent),
}

/// An archive on standard input, until somebody takes it.
#[derive(Default)]
pub(crate) struct Sent(pub(crate) Mutex<Option<Box<dyn Read + Send>>>);

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sent(..)")
    }
}

/// The command line as a session.
#[derive(Debug, Default)]
pub(crate) struct LocalSession {
    /// Directories by context name.
    pub(crate) contexts: BTreeMap<String, PathBuf>,
    /// The main context, where it is an archive on standard input.
    pub(crate) archive: Sent,
    /// Secrets by id.
    pub(crate) secrets: BTreeMap<String, SecretSource>,
    /// Agents by id.
    pub(crate) ssh: BTreeMap<String, SshSource>,
    /// Where credentials are looked for.
    pub(crate) credentials: Files,
}

impl LocalSession {
    /// One without contexts, secrets or agents, with the credentials that docker and podman keep.
    pub(crate) fn new(environment: &Environment) -> Self {
        Self { credentials: Files::of(environment), ..Self::default() }
    }
}

#[async_trait]
impl cooper_engine::Session for LocalSession {
    async fn context(&self, name: &str) -> Result<PathBuf> {
        self.contexts.get(name).cloned().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no context named `{name}`"))
                .with_hint(format!("give it a directory: `--build-context {name}=DIR`"))
        })
    }

    async fn archive(&self) -> Result<Box<dyn Read + Send>> {
        let archive = self.archive.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        archive.ok_or_else(|| Error::new(ErrorKind::User, "standard input was read already"))
    }

    async fn secret(&self, id: &str) -> Result<Option<Vec<u8>>> {
        match self.secrets.get(id) {
            None => Ok(None),
            Some(SecretSource::Value(value)) => Ok(Some(value.clone())),
            Some(SecretSource::File(path)) => read_secret(id, path).map(Some).map_err(|error| *error),
        }
    }

    async fn ssh_agent(&self, id: &str) -> Result<Option<PathBuf>> {
        Ok(self.ssh.get(id).map(|source| match source {
            SshSource::Socket(path) => path.clone(),
            SshSource::Keys(agent) => agent.socket(),
        }))
    }

    async fn credentials(&self, registry: &str) -> Result<Option<Credentials>> {
        self.credentials.find(registry).await.map_err(|error| {
            let what = format!("cannot get credentials for {registry}");
            let hint = error.hint().map(str::to_owned);
            let error = Error::new(ErrorKind::Unauthorized, what).with_source(error);
            hint.into_iter().fold(error, Error::with_hint)
        })
    }
}

fn read_secret(id: &str, path: &Path) -> std::result::Result<Vec<u8>, Box<Error>> {
    let what = format!("cannot read secret `{id}` from `{}`", path.display());
    let file = std::fs::File::open(path).map_err(|e| Error::new(ErrorKind::User, what.clone()).with_source(e))?;
    let mut value = Vec::new();
    file.take(SECRET_MAX + 1).read_to_end(&mut value).map_err(|e| Error::new(ErrorKind::User, what).with_source(e))?;
    if value.len() as u64 > SECRET_MAX {
        return Err(Box::new(Error::new(ErrorKind::User, format!("secret `{id}` is larger than {SECRET_MAX} bytes"))));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use cooper_engine::Session;

    use super::*;

    fn wait<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn serves_what_it_was_given_and_says_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s");
        std::fs::write(&file, b"top\xff").unwrap();
        let session = LocalSession {
            contexts: [("context".to_owned(), dir.path().to_owned())].into(),
            secrets: [
                ("file".to_owned(), SecretSource::File(file)),
                ("value".to_owned(), SecretSource::Value(b"v".to_vec())),
                ("gone".to_owned(), SecretSource::File(dir.path().join("gone"))),
            ]
            .into(),
            ..LocalSession::default()
        };
        assert_eq!(wait(session.context("context")).unwrap(), dir.path());
        let error = wait(session.context("other")).unwrap_err();
        assert_eq!(error.hints, ["give it a directory: `--build-context other=DIR`"]);
        assert_eq!(wait(session.secret("file")).unwrap(), Some(b"top\xff".to_vec()));
        assert_eq!(wait(session.secret("value")).unwrap(), Some(b"v".to_vec()));
        assert_eq!(wait(session.secret("none")).unwrap(), None);
        assert!(wait(session.secret("gone")).is_err());
        assert_eq!(wait(session.ssh_agent("default")).unwrap(), None);
        assert_eq!(wait(session.credentials("a.example")).unwrap(), None);
    }

    #[test]
    fn a_secret_that_is_too_large_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(SECRET_MAX + 1).unwrap();
        let error = read_secret("big", file.path()).unwrap_err();
        assert_eq!(error.what, format!("secret `big` is larger than {SECRET_MAX} bytes"));
    }
}
