//! The configuration of `cooper serve`: a TOML file. Unknown keys are errors, with their place and the nearest key; paths are
//! relative to the file.
//!
//! Knows nothing of what the values do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cooper_dockerfile::nearest;
use serde::{Deserialize, Deserializer};

use crate::context;
use crate::error::{CommandError, CommandResult};
use crate::human;

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Config {
    pub(super) tls: Option<Tls>,
    pub(super) auth: Auth,
    pub(super) groups: BTreeMap<String, Vec<String>>,
    pub(super) rule: Option<Vec<Rule>>,
    pub(super) quota: Vec<Quota>,
    pub(super) limits: Limits,
    pub(super) log: Log,
    pub(super) metrics: Metrics,
}

/// Files of TLS.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Tls {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) client_ca: Option<PathBuf>,
}

/// Who can log in.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Auth {
    pub(super) htpasswd: Option<PathBuf>,
    pub(super) token: Option<Token>,
}

/// Tokens: of this server, or of an `issuer` by its `public-key`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Token {
    pub(super) service: Option<String>,
    pub(super) realm: Option<String>,
    pub(super) key: Option<PathBuf>,
    pub(super) issuer: Option<String>,
    pub(super) public_key: Option<PathBuf>,
}

/// Who may do what.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Rule {
    pub(super) users: Vec<String>,
    pub(super) groups: Vec<String>,
    pub(super) repositories: Vec<String>,
    pub(super) actions: Vec<String>,
}

/// The size of some repositories.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Quota {
    pub(super) repositories: Vec<String>,
    #[serde(deserialize_with = "size")]
    pub(super) size: u64,
}

/// What a client may have; what is not said is as by default.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Limits {
    pub(super) connections: Option<u32>,
    pub(super) connections_per_client: Option<u32>,
    pub(super) requests_per_second: Option<u32>,
    pub(super) uploads: Option<u32>,
    pub(super) uploads_per_client: Option<u32>,
    #[serde(deserialize_with = "size_or_none")]
    pub(super) upload_size: Option<u64>,
    #[serde(deserialize_with = "size_or_none")]
    pub(super) quota: Option<u64>,
    #[serde(deserialize_with = "time_or_none")]
    pub(super) handshake_timeout: Option<Duration>,
    #[serde(deserialize_with = "time_or_none")]
    pub(super) head_timeout: Option<Duration>,
    #[serde(deserialize_with = "time_or_none")]
    pub(super) idle_timeout: Option<Duration>,
    #[serde(deserialize_with = "size_or_none")]
    pub(super) bytes_per_second: Option<u64>,
}

/// A line for each request.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Log {
    pub(super) access: Option<AccessFormat>,
    pub(super) file: Option<PathBuf>,
}

/// `--access-log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AccessFormat {
    /// Words, for people.
    Plain,
    /// An object of JSON each.
    Json,
    /// No lines.
    None,
}

/// Numbers for Prometheus.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Metrics {
    pub(super) public: bool,
    pub(super) listen: Option<String>,
}

impl Config {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> CommandResult<Self> {
        let mut config = Self::parse(&context::read_file(path)?).map_err(|(why, hint)| {
            let error = CommandError::usage(format!("`{}` cannot be used: {}", path.display(), why.trim_end()));
            hint.into_iter().fold(error, CommandError::with_hint)
        })?;
        let dir = path.parent().unwrap_or(Path::new("."));
        for file in config.files() {
            *file = dir.join(&*file);
        }
        Ok(config)
    }

    /// Reads text: what is wrong with it, and a hint.
    fn parse(text: &str) -> Result<Self, (String, Option<String>)> {
        toml::from_str(text).map_err(|error| {
            let hint = near(error.message());
            (error.to_string(), hint)
        })
    }

    fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let tls = self
            .tls
            .iter_mut()
            .flat_map(|tls| [&mut tls.certificate, &mut tls.key].into_iter().chain(&mut tls.client_ca));
        let token = self.auth.token.iter_mut().flat_map(|token| token.key.iter_mut().chain(&mut token.public_key));
        tls.chain(token).chain(&mut self.auth.htpasswd).chain(&mut self.log.file)
    }
}

/// What an error of an unknown key would have liked better: its words are between backticks, the wrong one first.
fn near(message: &str) -> Option<String> {
    let mut words = message.split('`').skip(1).step_by(2);
    let wrong = words.next().filter(|_| message.starts_with("unknown "))?;
    nearest(wrong, words).map(|word| format!("did you mean `{word}`?"))
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    let wrong = || serde::de::Error::custom(format!("`{text}` is no size, such as \"10GiB\""));
    human::parse_size(&text).ok_or_else(wrong)
}

fn size_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    size(from).map(Some)
}

fn time_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    let time = human::parse_duration(&text).filter(|time| !time.is_zero());
    time.map(Some).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no time to wait, such as \"30s\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_key() {
        let config = Config::parse(
            r#"
            [tls]
            certificate = "a.pem"
            key = "b.pem"
            client-ca = "c.pem"
            [auth]
            htpasswd = "users"
            [auth.token]
            service = "s"
            realm = "https://registry.example.com/token"
            key = "k"
            issuer = "i"
            public-key = "p"
            [groups]
            dev = ["ann"]
            [[rule]]
            users = ["*"]
            groups = ["dev"]
            repositories = ["team/**"]
            actions = ["pull"]
            [[quota]]
            repositories = ["big/**"]
            size = "10GiB"
            [limits]
            connections = 1
            connections-per-client = 2
            requests-per-second = 3
            uploads = 4
            uploads-per-client = 5
            upload-size = "6kB"
            quota = "7MB"
            handshake-timeout = "8s"
            head-timeout = "9s"
            idle-timeout = "10m"
            bytes-per-second = "11"
            [log]
            access = "json"
            file = "log"
            [metrics]
            public = true
            listen = "127.0.0.1:9090"
            "#,
        )
        .unwrap();
        assert_eq!(config.rule.unwrap()[0].actions, ["pull"]);
        assert_eq!(config.quota[0].size, 10 << 30);
        assert_eq!(config.limits.upload_size, Some(6000));
        assert_eq!(config.limits.idle_timeout, Some(Duration::from_secs(600)));
        assert_eq!(config.log.access, Some(AccessFormat::Json));
    }

    #[test]
    fn what_is_wrong_is_shown_with_its_place_and_the_nearest_key() {
        for (text, expect, hint) in [
            ("[auth]\nhtpaswd = 'x'", "line 2", Some("did you mean `htpasswd`?")),
            ("[limit]", "unknown field `limit`", Some("did you mean `limits`?")),
            ("[[rule]]\naction = []", "line 2", Some("did you mean `actions`?")),
            ("[log]\naccess = 'jsn'", "unknown variant `jsn`", Some("did you mean `json`?")),
            ("zzz = 1", "unknown field `zzz`", None),
            ("[limits]\nquota = '10 apples'", "`10 apples` is no size", None),
            ("[limits]\nquota = 10", "invalid type: integer", None),
            ("[limits]\nidle-timeout = '0s'", "`0s` is no time to wait", None),
            ("[limits]\nconnections = -1", "invalid value", None),
            ("[tls]\nkey = 'x'", "missing field `certificate`", None),
            ("[[rule]\n", "line 1", None),
        ] {
            let (why, found) = Config::parse(text).unwrap_err();
            assert!(why.contains(expect), "{why}");
            assert_eq!(found.as_deref(), hint, "{why}");
        }
    }
}
