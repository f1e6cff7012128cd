//! Reads and edits docker's `config.json` and podman's `auth.json`, which have one format. Pure: the text comes in and goes
//! out, the file is found and the helper is run by the caller.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{Credentials, Error, ErrorKind, Result};

/// Docker Hub's key in `auths`, from before there were registry names.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// Files written by hand often lack the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A parsed config file. Prints no secret.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: String,
}

#[derive(Clone, Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

impl fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerConfig")
            .field("registries", &self.auths.keys().collect::<Vec<_>>())
            .field("cred_helpers", &self.cred_helpers)
            .field("creds_store", &self.creds_store)
            .finish()
    }
}

/// What a config file says of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Credentials, in the file itself.
    Credentials(Credentials),
    /// Ask the helper of this name about `key`, with [`crate::helper::get`].
    Helper {
        /// The name after `docker-credential-`.
        program: String,
        /// What the helper knows the registry by.
        key: String,
    },
    /// Nothing.
    None,
}

impl DockerConfig {
    /// Parses the text of a config file.
    pub fn parse(text: &str) -> Result<Self> {
        // The parser's own message may quote a secret: only its place is kept.
        serde_json::from_str(text).map_err(|e| {
            let what = format!("the registry config file is not valid: line {}, column {}", e.line(), e.column());
            Error::new(ErrorKind::Invalid, what)
        })
    }

    /// What the file says of `registry`: a helper of its own, else an entry in the file, else the common helper.
    pub fn lookup(&self, registry: &str) -> Lookup {
        let key = key_of(registry);
        let own = self.cred_helpers.iter().find(|(name, _)| same(name, registry)).map(|(_, program)| program);
        if let Some(program) = own.filter(|program| !program.is_empty()) {
            return Lookup::Helper { program: program.clone(), key: key.to_owned() };
        }
        let exact = self.auths.get(registry).or_else(|| self.auths.get(key));
        let alike = self.auths.iter().filter(|(name, _)| same(name, registry)).map(|(_, entry)| entry);
        let found = exact.into_iter().chain(alike).find_map(Entry::credentials);
        match found {
            Some(credentials) => Lookup::Credentials(credentials),
            None if !self.creds_store.is_empty() => {
                Lookup::Helper { program: self.creds_store.clone(), key: key.to_owned() }
            }
            None => Lookup::None,
        }
    }
}

/// Where a login belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// With the helper of this name, under `key`.
    Helper {
        /// The name after `docker-credential-`.
        program: String,
        /// What the helper knows the registry by.
        key: String,
    },
    /// In the file itself.
    File,
}

impl DockerConfig {
    /// Who keeps the credentials of `registry`: its own helper, the common one, or the file.
    pub fn keeper(&self, registry: &str) -> Keeper {
        let own = self.cred_helpers.iter().find(|(name, _)| same(name, registry)).map(|(_, program)| program);
        let program = own.unwrap_or(&self.creds_store);
        match program.is_empty() {
            true => Keeper::File,
            false => Keeper::Helper { program: program.clone(), key: key_of(registry).to_owned() },
        }
    }

    /// The registries that the file itself has an entry for.
    pub fn registries(&self) -> impl Iterator<Item = &str> {
        self.auths.keys().map(String::as_str)
    }
}

/// What a registry is kept under.
fn key_of(registry: &str) -> &str {
    if is_hub(registry) { HUB_KEY } else { registry }
}

/// The text of a config file after a login (`Some`) or a logout (`None`); nothing else in it changes. An empty text is a new
/// file. With a helper's credentials elsewhere, a login leaves an entry without a secret, as docker does.
///
/// # Errors
/// The text is not a config file.
pub fn edited(text: &str, registry: &str, entry: Option<Option<&Credentials>>) -> Result<String> {
    let invalid =
        |place: String| Error::new(ErrorKind::Invalid, format!("the registry config file is not valid{place}"));
    let text = if text.trim().is_empty() { "{}" } else { text };
    let mut document: Value =
        serde_json::from_str(text).map_err(|e| invalid(format!(": line {}, column {}", e.line(), e.column())))?;
    let file = document.as_object_mut().ok_or_else(|| invalid(String::new()))?;
    let auths = file.entry("auths").or_insert_with(|| Value::Object(Map::new()));
    let auths = auths.as_object_mut().ok_or_else(|| invalid(": `auths` is no object".into()))?;
    auths.retain(|name, _| !same(name, registry));
    if let Some(credentials) = entry {
        auths.insert(key_of(registry).to_owned(), credentials.map_or_else(|| json!({}), entry_of));
    }
    let mut out = serde_json::to_string_pretty(&document).map_err(|e| invalid(format!(": {e}")))?;
    out.push('\n');
    Ok(out)
}

fn entry_of(credentials: &Credentials) -> Value {
    match credentials {
        Credentials::Basic { username, password } => json!({"auth": BASE64.encode(format!("{username}:{password}"))}),
        Credentials::IdentityToken(token) => json!({"identitytoken": token}),
        Credentials::Bearer(token) => json!({"registrytoken": token}),
    }
}

impl Entry {
    fn credentials(&self) -> Option<Credentials> {
        if !self.identitytoken.is_empty() {
            return Some(Credentials::IdentityToken(self.identitytoken.clone()));
        }
        if !self.registrytoken.is_empty() {
            return Some(Credentials::Bearer(self.registrytoken.clone()));
        }
        if !self.auth.is_empty() {
            let text = String::from_utf8(BASE64.decode(self.auth.trim()).ok()?).ok()?;
            let (username, password) = text.split_once(':')?;
            let password = password.trim_end_matches('\0').to_owned();
            return Some(Credentials::Basic { username: username.to_owned(), password });
        }
        let given = !self.username.is_empty();
        given.then(|| Credentials::Basic { username: self.username.clone(), password: self.password.clone() })
    }
}

fn is_hub(registry: &str) -> bool {
    matches!(registry, "docker.io" | "index.docker.io" | "registry-1.docker.io")
}

/// Keys are hosts, or URLs of any kind that have one: `https://host/v1/`. Compared whole, never by suffix.
fn same(key: &str, registry: &str) -> bool {
    let host = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let host = match host {
        Some(rest) => rest.split('/').next().unwrap_or(rest),
        None => key,
    };
    host == registry || (is_hub(host) && is_hub(registry))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
        "auths": {
            "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
            "ghcr.example": {"auth": "dTpwOnc"},
            "https://old.example/v1/": {"username": "u", "password": "p"},
            "token.example": {"auth": "eDp5", "identitytoken": "id"},
            "bearer.example": {"registrytoken": "rt"},
            "empty.example": {},
            "bad.example": {"auth": "!!!"}
        },
        "credHelpers": {"gcr.example": "gcloud"},
        "HttpHeaders": {"x": "y"}
    }"#;

    fn basic(username: &str, password: &str) -> Lookup {
        Lookup::Credentials(Credentials::Basic { username: username.into(), password: password.into() })
    }

    #[test]
    fn looks_up_registries() {
        let config = DockerConfig::parse(FILE).unwrap();
        for (registry, expect) in [
            ("docker.io", basic("hub", "pw")),
            ("ghcr.example", basic("u", "p:w")),
            ("old.example", basic("u", "p")),
            ("token.example", Lookup::Credentials(Credentials::IdentityToken("id".into()))),
            ("bearer.example", Lookup::Credentials(Credentials::Bearer("rt".into()))),
            ("gcr.example", Lookup::Helper { program: "gcloud".into(), key: "gcr.example".into() }),
            ("empty.example", Lookup::None),
            ("bad.example", Lookup::None),
            ("evil-ghcr.example", Lookup::None),
            ("ghcr.example.evil.example", Lookup::None),
            ("ghcr.example.", Lookup::None),
            ("ghcr.example:444", Lookup::None),
        ] {
            assert_eq!(config.lookup(registry), expect, "{registry}");
        }
    }

    #[test]
    fn the_common_helper_is_last() {
        let config = DockerConfig::parse(r#"{"auths":{"docker.io":{}},"credsStore":"desktop"}"#).unwrap();
        assert_eq!(config.lookup("docker.io"), Lookup::Helper { program: "desktop".into(), key: HUB_KEY.into() });
        assert_eq!(config.lookup("r.example"), Lookup::Helper { program: "desktop".into(), key: "r.example".into() });
    }

    #[test]
    fn logins_and_logouts_leave_the_rest_alone() {
        let basic = Credentials::Basic { username: "u".into(), password: "p:w".into() };
        let text = edited(FILE, "new.example:5000", Some(Some(&basic))).unwrap();
        assert!(text.contains("\"HttpHeaders\"") && text.contains("gcloud"), "{text}");
        assert_eq!(DockerConfig::parse(&text).unwrap().lookup("new.example:5000"), Lookup::Credentials(basic.clone()));
        let text = edited(&text, "docker.io", Some(Some(&basic))).unwrap();
        assert_eq!(text.matches(HUB_KEY).count(), 1, "{text}");
        let text = edited(&text, "old.example", None).unwrap();
        assert_eq!(DockerConfig::parse(&text).unwrap().lookup("old.example"), Lookup::None);
        assert_eq!(edited("", "a.example", Some(None)).unwrap(), "{\n  \"auths\": {\n    \"a.example\": {}\n  }\n}\n");
        for broken in ["[]", "{\"auths\": 1}", "{"] {
            assert!(edited(broken, "a.example", None).is_err(), "{broken}");
        }
    }

    #[test]
    fn helpers_keep_what_they_are_named_for() {
        let config = DockerConfig::parse(FILE).unwrap();
        let gcloud = Keeper::Helper { program: "gcloud".into(), key: "gcr.example".into() };
        assert_eq!((config.keeper("gcr.example"), config.keeper("other.example")), (gcloud, Keeper::File));
        let common = DockerConfig::parse(r#"{"credsStore":"pass"}"#).unwrap();
        assert_eq!(common.keeper("docker.io"), Keeper::Helper { program: "pass".into(), key: HUB_KEY.into() });
    }

    #[test]
    fn secrets_are_not_printed() {
        let config = DockerConfig::parse(FILE).unwrap();
        let text = format!("{config:?} {:?}", config.lookup("docker.io"));
        assert!(!text.contains("aHViOnB3") && !text.contains("pw"), "{text}");
        let error = DockerConfig::parse(r#"{"auths": {"r": {"auth": secret-x}}}"#).unwrap_err();
        assert!(!format!("{error:?}").contains("secret-x"));
    }
}
