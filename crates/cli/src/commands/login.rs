//! `cooper login` and `cooper logout`: credentials kept where docker keeps them.
//!
//! Knows nothing of how a registry is asked.

use std::io::{IsTerminal, Read};

use clap::Args;
use cooper_registry::Credentials;

use crate::credentials::Files;
use crate::error::{CommandError, CommandResult};
use crate::surroundings::Surroundings;
use crate::{open, output, sanitise, terminal};

/// What a registry is called without a name.
const HUB: &str = "docker.io";

/// Passwords and tokens are shorter; more is not one.
const PASSWORD_MAX: u64 = 64 * 1024;

/// Log in to a registry: the credentials are tried, then kept in docker's config file or credential helper
#[derive(Args, Clone, Debug)]
pub(crate) struct Login {
    /// The registry
    #[arg(value_name = "REGISTRY", default_value = HUB)]
    pub(crate) registry: String,

    /// User name [default: asked for]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) username: Option<String>,

    /// Password; other users of this machine can see it here
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    pub(crate) password: Option<String>,

    /// Read the password from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

/// Log out of a registry: its credentials are forgotten
#[derive(Args, Clone, Debug)]
pub(crate) struct Logout {
    /// The registry
    #[arg(value_name = "REGISTRY", default_value = HUB, conflicts_with = "all")]
    pub(crate) registry: String,

    /// Log out of every registry of the file
    #[arg(short, long)]
    pub(crate) all: bool,
}

/// Logs in.
pub(crate) async fn login(args: &Login, at: &Surroundings) -> CommandResult {
    let registry = registry_name(&args.registry)?;
    if args.password.is_some() {
        output::note("warning: a password on the command line is seen by others; use --password-stdin");
    }
    let username = match &args.username {
        Some(name) => name.clone(),
        None if args.password_stdin => {
            return Err(CommandError::usage("--password-stdin needs --username"));
        }
        None => ask("Username: ", false)?,
    };
    let password = match &args.password {
        Some(password) => password.clone(),
        None if args.password_stdin => from_stdin()?,
        None => ask("Password: ", true)?,
    };
    if username.is_empty() || password.is_empty() {
        return Err(CommandError::usage("a login needs a user name and a password"));
    }
    let credentials = Credentials::Basic { username, password };
    open::client_with(at, &registry, credentials.clone())?.check(&registry).await?;
    let kept = Files::of(&at.environment).keep(&registry, &credentials).await?;
    output::note(&format!("Login succeeded; kept in {}", sanitise::line(&kept)));
    Ok(())
}

/// Logs out.
pub(crate) async fn logout(args: &Logout, at: &Surroundings) -> CommandResult {
    let files = Files::of(&at.environment);
    let registries = match args.all {
        true => files.registries()?,
        false => vec![registry_name(&args.registry)?],
    };
    for registry in registries {
        let shown = sanitise::line(&registry);
        match files.forget(&registry).await? {
            true => output::note(&format!("Removed the login of {shown}")),
            false => output::note(&format!("Not logged in to {shown}")),
        }
    }
    Ok(())
}

/// A host, with or without a port; addresses as docker shows them are taken as well.
fn registry_name(text: &str) -> CommandResult<String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let host = host.trim_end_matches('/');
    let host =
        if matches!(host, "index.docker.io" | "index.docker.io/v1" | "registry-1.docker.io") { HUB } else { host };
    let is_host = format!("{host}/x").parse::<cooper_oci::Reference>().is_ok_and(|name| name.registry() == host);
    if is_host {
        return Ok(host.to_owned());
    }
    Err(CommandError::usage(format!("`{}` is not a registry", sanitise::line(text)))
        .with_hint("give its host, with a port if it has one: `registry.example`, `localhost:5000`"))
}

fn from_stdin() -> CommandResult<String> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(PASSWORD_MAX).read_to_string(&mut text);
    read.map_err(|error| CommandError::failure("cannot read the password").with_source(error))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks the person at the terminal.
fn ask(question: &str, secret: bool) -> CommandResult<String> {
    if !std::io::stdin().is_terminal() {
        return Err(CommandError::usage("nobody can be asked: standard input is no terminal")
            .with_hint("give --username, and the password by --password-stdin"));
    }
    let read = terminal::ask(question, secret);
    read.map_err(|error| CommandError::failure("cannot read from the terminal").with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_hosts() {
        for (text, expect) in [
            ("docker.io", Some("docker.io")),
            ("https://index.docker.io/v1/", Some("docker.io")),
            ("localhost:5000", Some("localhost:5000")),
            ("https://registry.example/", Some("registry.example")),
            ("registry.example/team", None),
            ("alpine", None),
            ("", None),
        ] {
            assert_eq!(registry_name(text).ok().as_deref(), expect, "{text}");
        }
    }
}
