//! Secrets for a registry; never printed.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;

/// What to show a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// User name and password.
    Basic {
        /// User name.
        username: String,
        /// Password or access token.
        password: String,
    },
    /// An OAuth2 refresh token (docker's identity token).
    IdentityToken(String),
    /// A bearer token used as it is.
    Bearer(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// Where credentials come from: a config file, a helper program, a session's caller.
#[async_trait]
pub trait CredentialSource: fmt::Debug + Send + Sync {
    /// What to show `registry` (`docker.io`, `localhost:5000`), or nothing. Asked once for each challenge, so that a
    /// login while the program runs is seen; a source that is slow keeps its own memory.
    async fn credentials(&self, registry: &str) -> Option<Credentials>;
}

/// Has no credentials for anyone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

#[async_trait]
impl CredentialSource for Anonymous {
    async fn credentials(&self, _registry: &str) -> Option<Credentials> {
        None
    }
}

/// Credentials known beforehand, by registry.
#[derive(Clone, Debug, Default)]
pub struct Fixed(pub BTreeMap<String, Credentials>);

#[async_trait]
impl CredentialSource for Fixed {
    async fn credentials(&self, registry: &str) -> Option<Credentials> {
        self.0.get(registry).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_no_secret() {
        let all = [
            Credentials::Basic { username: "user-x".into(), password: "pass-x".into() },
            Credentials::IdentityToken("identity-x".into()),
            Credentials::Bearer("bearer-x".into()),
        ];
        for credentials in all {
            let fixed = Fixed([("r".to_owned(), credentials.clone())].into());
            let text = format!("{credentials:?} {fixed:?}");
            assert!(!text.contains("-x"), "{text}");
        }
    }
}
