//! Makes the guard of a server from its configuration and flags, and keeps it up to date while it runs.
//!
//! Knows nothing of how anything is guarded.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cooper_registry::server::{
    AccessLog, AuthOptions, Guard, Limits, LogFormat, Quotas, Rule, Rules, Running, TlsOptions, TokenIssuer,
    TokenOptions, Users, new_signing_key,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::args::Serve;
use super::config::{AccessFormat, Config, Token};
use crate::error::{CommandError, CommandResult};
use crate::{human, output, sanitise};

/// How often files of users, keys and certificates are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// The name of a registry in its own tokens, where none is given.
const SERVICE: &str = "cooper";

/// What the configuration and the flags say together: a flag wins.
pub(super) fn config(args: &Serve) -> CommandResult<Config> {
    let mut config = args.config.as_deref().map(Config::read).transpose()?.unwrap_or_default();
    if let (Some(certificate), Some(key)) = (&args.tls_certificate, &args.tls_key) {
        let client_ca = config.tls.take().and_then(|tls| tls.client_ca);
        config.tls = Some(super::config::Tls { certificate: certificate.clone(), key: key.clone(), client_ca });
    }
    config.auth.htpasswd = args.htpasswd.clone().or(config.auth.htpasswd);
    config.log.access = args.access_log.or(config.log.access);
    config.log.file = args.access_log_file.clone().or(config.log.file);
    config.metrics.listen = args.metrics_listen.clone().or(config.metrics.listen);
    config.metrics.public |= args.metrics;
    Ok(config)
}

impl Config {
    /// Whether it says who may do what; without, everybody may do everything.
    pub(super) fn asks(&self) -> bool {
        self.auth.htpasswd.is_some() || self.auth.token.is_some() || self.rule.is_some()
    }

    /// What it says, checked; files are read by the server. `token_key` is where the key of this server's own tokens is,
    /// or will be.
    pub(super) fn guard(&self, token_key: &Path) -> CommandResult<Guard> {
        let mut guard = Guard::new(Arc::new(human::system_time));
        guard.auth = self.auth(token_key)?;
        guard.tls = self.tls.as_ref().map(|tls| TlsOptions {
            certificate: tls.certificate.clone(),
            key: tls.key.clone(),
            client_ca: tls.client_ca.clone(),
        });
        guard.limits = self.limits()?;
        guard.shows_metrics = self.metrics.public;
        Ok(guard)
    }

    fn auth(&self, token_key: &Path) -> CommandResult<AuthOptions> {
        let rules = self.rules()?;
        let tokens = self.tokens(token_key)?;
        let is_outside = tokens.as_ref().is_some_and(|tokens| matches!(tokens.issuer, TokenIssuer::Outside { .. }));
        let users = match &self.auth.htpasswd {
            Some(_) if is_outside => {
                let error = CommandError::usage("there are users of `htpasswd` and tokens of an outside issuer");
                return Err(error.with_hint("the issuer knows its users: leave one of the two out"));
            }
            Some(file) => Users::File(file.clone()),
            None if tokens.is_some() && !is_outside => {
                let error = CommandError::usage("this server's own tokens are had for passwords, and there are none");
                return Err(error.with_hint("`htpasswd` in `[auth]` names the file of users; `issuer` and `public-key` in `[auth.token]` take somebody else's tokens"));
            }
            None => Users::None,
        };
        let nobody_can_log_in = matches!(users, Users::None) && !is_outside;
        let known = |rule: &Rule| !rule.groups.is_empty() || rule.users.iter().any(|user| user != "anonymous");
        if let Some(index) = self.registry_rules().iter().position(known).filter(|_| nobody_can_log_in) {
            let what = format!("rule {} is for users, and nobody can log in", index + 1);
            return Err(CommandError::usage(what).with_hint("`htpasswd` in `[auth]` names the file of users"));
        }
        Ok(AuthOptions { users, tokens, rules })
    }

    /// Tokens are also how clients log in where they need not: they send no password unless they are asked for one.
    fn tokens(&self, token_key: &Path) -> CommandResult<Option<TokenOptions>> {
        let names_anonymous = |rule: &Rule| rule.users.iter().any(|user| user == "anonymous");
        let mixed = self.auth.htpasswd.is_some() && self.registry_rules().iter().any(names_anonymous);
        let token = match &self.auth.token {
            Some(token) => token.clone(),
            None if mixed => Token::default(),
            None => return Ok(None),
        };
        let issuer = match (token.issuer, token.public_key, token.key) {
            (Some(issuer), Some(keys), None) => TokenIssuer::Outside { issuer, keys },
            (None, None, key) => TokenIssuer::Own { key: Some(key.unwrap_or_else(|| token_key.to_owned())) },
            (_, _, Some(_)) => {
                let error = CommandError::usage("`key` in `[auth.token]` signs this server's own tokens");
                return Err(error.with_hint("leave out `issuer` and `public-key`, or `key`"));
            }
            _ => {
                let error = CommandError::usage("`issuer` and `public-key` in `[auth.token]` belong together");
                return Err(error.with_hint("they name who makes the tokens, and the file of their public keys"));
            }
        };
        if matches!(issuer, TokenIssuer::Outside { .. }) && token.realm.is_none() {
            let error = CommandError::usage("`[auth.token]` does not say where tokens of the issuer are had");
            return Err(error.with_hint("`realm = \"https://auth.example.com/token\"`"));
        }
        let service = token.service.unwrap_or_else(|| SERVICE.to_owned());
        Ok(Some(TokenOptions { service, realm: token.realm, issuer }))
    }

    fn registry_rules(&self) -> Vec<Rule> {
        let rules = self.rule.iter().flatten().cloned();
        rules
            .map(|rule| Rule {
                users: rule.users,
                groups: rule.groups,
                repositories: rule.repositories,
                actions: rule.actions,
            })
            .collect()
    }

    fn rules(&self) -> CommandResult<Option<Rules>> {
        let rules = self.rule.is_some().then(|| Rules::new(&self.registry_rules(), &self.groups));
        rules.transpose().map_err(usage)
    }

    fn limits(&self) -> CommandResult<Limits> {
        let (own, usual) = (&self.limits, Limits::default());
        let count = |own: Option<u32>, usual: usize| own.map_or(usual, |count| count.max(1) as usize);
        let by_pattern: Vec<_> = self.quota.iter().map(|quota| (quota.repositories.clone(), quota.size)).collect();
        Ok(Limits {
            connections: count(own.connections, usual.connections),
            connections_per_client: count(own.connections_per_client, usual.connections_per_client),
            requests_per_second: own.requests_per_second.filter(|rate| *rate > 0),
            uploads: count(own.uploads, usual.uploads),
            uploads_per_client: count(own.uploads_per_client, usual.uploads_per_client),
            upload_bytes: own.upload_size,
            quotas: Quotas::new(&by_pattern, own.quota).map_err(usage)?,
            handshake: own.handshake_timeout.unwrap_or(usual.handshake),
            head: own.head_timeout.unwrap_or(usual.head),
            idle: own.idle_timeout.unwrap_or(usual.idle),
            bytes_per_second: own.bytes_per_second.unwrap_or(usual.bytes_per_second),
        })
    }

    /// Opens the access log, if there is to be one.
    pub(super) fn open_log(&self) -> CommandResult<Option<AccessLog>> {
        let format = match self.log.access.unwrap_or(AccessFormat::None) {
            AccessFormat::None => return Ok(None),
            AccessFormat::Plain => LogFormat::Plain,
            AccessFormat::Json => LogFormat::Json,
        };
        let file = self.log.file.clone();
        let open = move || -> std::io::Result<Box<dyn Write + Send>> {
            Ok(match &file {
                None => Box::new(std::io::stdout()),
                Some(file) => Box::new(OpenOptions::new().create(true).append(true).mode(0o640).open(file)?),
            })
        };
        let log = AccessLog::new(format, Box::new(open)).map_err(|error| {
            let place = self.log.file.as_deref().unwrap_or(Path::new("standard output"));
            CommandError::failure(format!("cannot write the access log to `{}`", place.display())).with_source(error)
        })?;
        Ok(Some(log))
    }
}

fn usage(error: cooper_registry::Error) -> CommandError {
    CommandError::from(error).with_kind(crate::error::Kind::Usage)
}

/// Makes the key of a server's own tokens, if the guard needs one and there is none: whoever restarts a server logs nobody out.
pub(super) fn ensure_token_key(guard: &Guard, path: &Path) -> CommandResult {
    let issuer = guard.auth.tokens.as_ref().map(|tokens| &tokens.issuer);
    let is_ours = matches!(issuer, Some(TokenIssuer::Own { key: Some(key) }) if key == path);
    if !is_ours || path.exists() {
        return Ok(());
    }
    let failed = |error: std::io::Error| {
        CommandError::failure(format!("cannot make the key of tokens `{}`", path.display())).with_source(error)
    };
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(failed)?;
    let mut file = tempfile::Builder::new().prefix(".token-key").tempfile_in(dir).map_err(failed)?;
    file.write_all(new_signing_key()?.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        // Another server of the same store was quicker.
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error.error)),
    }
}

/// Reads every file that the guard needs, and changes nothing.
pub(super) fn check(mut guard: Guard, token_key: &Path) -> CommandResult {
    if let Some(TokenIssuer::Own { key }) = guard.auth.tokens.as_mut().map(|tokens| &mut tokens.issuer) {
        // It is made at the first start.
        key.take_if(|key| key == token_key && !key.exists());
    }
    Ok(guard.check()?)
}

/// Where the key of a server's own tokens is kept.
pub(super) fn token_key(root: &Path) -> PathBuf {
    root.join("serve").join("token-key.pem")
}

/// Follows the files of a running server: those of users, keys and certificates when they change, all and the configuration
/// at SIGHUP. What is broken is complained about, and what was in force stays.
pub(super) async fn keep(running: &Running, args: &Serve, token_key: &Path) -> CommandResult<std::convert::Infallible> {
    let mut hangups = signal(SignalKind::hangup())
        .map_err(|error| CommandError::failure("cannot listen to signals").with_source(error))?;
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let errors = tokio::select! {
            _ = looks.tick() => running.refresh(false),
            _ = hangups.recv() => {
                let errors = running.refresh(true);
                match config(args).and_then(|config| config.guard(token_key)) {
                    Ok(guard) => running.set_policy(guard.auth.rules, guard.limits),
                    Err(error) => complain(&error.message()),
                }
                errors
            }
        };
        for error in errors {
            complain(&CommandError::from(error).message());
        }
    }
}

fn complain(message: &str) {
    let message = message.trim_end().trim_start_matches("error: ");
    output::note(&format!("error: {}\nwarning: what was in force stays", sanitise::text(message)));
}
