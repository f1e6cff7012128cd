//! Runs docker's credential helpers (`docker-credential-<name> get|store|erase`). Decides nothing about which one to ask.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::error::sanitise;
use crate::{Credentials, Error, ErrorKind, Result};

/// A helper may ask a person to unlock a keyring; one that takes longer hangs.
const TIMEOUT: Duration = Duration::from_secs(60);
/// A helper's answer is a few hundred bytes of JSON.
const ANSWER_MAX: u64 = 64 * 1024;
/// The user name that marks the secret as an identity token.
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// What `docker-credential-<program>` knows of `registry`; nothing when it knows nothing.
pub async fn get(program: &str, registry: &str) -> Result<Option<Credentials>> {
    ask(&command(program)?, registry, TIMEOUT).await
}

/// Gives `docker-credential-<program>` what to show `registry` from now on. A bearer token has no place there.
pub async fn store(program: &str, registry: &str, credentials: &Credentials) -> Result<()> {
    let (username, secret) = match credentials {
        Credentials::Basic { username, password } => (username.as_str(), password.as_str()),
        Credentials::IdentityToken(token) => (TOKEN_USER, token.as_str()),
        Credentials::Bearer(_) => {
            return Err(Error::new(ErrorKind::Invalid, "a credential helper keeps no bearer tokens"));
        }
    };
    let input = serde_json::json!({"ServerURL": registry, "Username": username, "Secret": secret}).to_string();
    let call = Helper { command: &command(program)?, verb: "store", registry, timeout: TIMEOUT };
    call.done(&input).await
}

/// Makes `docker-credential-<program>` forget `registry`.
pub async fn erase(program: &str, registry: &str) -> Result<()> {
    let call = Helper { command: &command(program)?, verb: "erase", registry, timeout: TIMEOUT };
    call.done(registry).await
}

fn command(program: &str) -> Result<String> {
    if is_name(program) {
        return Ok(format!("docker-credential-{program}"));
    }
    Err(Error::new(ErrorKind::Invalid, format!("`{}` is no name of a credential helper", sanitise(program))))
}

async fn ask(command: &str, registry: &str, timeout: Duration) -> Result<Option<Credentials>> {
    let call = Helper { command, verb: "get", registry, timeout };
    let (success, output) = call.run(registry).await?;
    if success {
        // The parser's message would quote the secret.
        return read(&output).ok_or_else(|| call.failed("its answer is not understood".into())).map(Some);
    }
    let words = sanitise(&String::from_utf8_lossy(&output));
    if words.contains("credentials not found") { Ok(None) } else { Err(call.failed(words)) }
}

/// One call of a helper program.
struct Helper<'a> {
    command: &'a str,
    verb: &'a str,
    registry: &'a str,
    timeout: Duration,
}

impl Helper<'_> {
    fn failed(&self, why: String) -> Error {
        Error::new(ErrorKind::Io, format!("{} failed for {}: {why}", self.command, self.registry))
    }

    /// Whether it succeeded, and what it said.
    async fn run(&self, input: &str) -> Result<(bool, Vec<u8>)> {
        let child = spawn(self.command, self.verb).map_err(|e| self.failed(e.to_string()).with_source(e))?;
        // Dropping the child kills it.
        let answer = tokio::time::timeout(self.timeout, talk(child, input)).await;
        answer
            .map_err(|_| self.failed(format!("no answer within {} seconds", self.timeout.as_secs())))?
            .map_err(|e| self.failed(e.to_string()).with_source(e))
    }

    /// A verb that answers nothing.
    async fn done(&self, input: &str) -> Result<()> {
        match self.run(input).await? {
            (true, _) => Ok(()),
            (false, output) => Err(self.failed(sanitise(&String::from_utf8_lossy(&output)))),
        }
    }
}

/// The name becomes part of a program name that is looked up on the path.
fn is_name(program: &str) -> bool {
    !program.is_empty() && program.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn spawn(command: &str, verb: &str) -> std::io::Result<Child> {
    Command::new(command)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}

async fn talk(mut child: Child, text: &str) -> std::io::Result<(bool, Vec<u8>)> {
    if let Some(mut input) = child.stdin.take() {
        // A helper that knows nothing may end before it has read its input.
        let _ = input.write_all(text.as_bytes()).await;
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(ANSWER_MAX).read_to_end(&mut output).await?;
    }
    let status = child.wait().await?;
    Ok((status.success(), output))
}

fn read(output: &[u8]) -> Option<Credentials> {
    let answer: Answer = serde_json::from_slice(output).ok()?;
    Some(if answer.username == TOKEN_USER {
        Credentials::IdentityToken(answer.secret)
    } else {
        Credentials::Basic { username: answer.username, password: answer.secret }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_answers() {
        let basic = Credentials::Basic { username: "u".into(), password: "p".into() };
        for (text, expect) in [
            (r#"{"ServerURL":"r","Username":"u","Secret":"p"}"#, Some(basic)),
            (r#"{"Username":"<token>","Secret":"t"}"#, Some(Credentials::IdentityToken("t".into()))),
            (r#"{"Username":"u"}"#, None),
            ("", None),
        ] {
            assert_eq!(read(text.as_bytes()), expect, "{text}");
        }
    }

    #[tokio::test]
    async fn names_with_paths_are_refused_and_missing_programs_named() {
        for program in ["", "../x", "a/b", "a b"] {
            assert_eq!(get(program, "r").await.unwrap_err().kind(), ErrorKind::Invalid, "{program}");
        }
        let error = get("cooper-test-no-such", "r").await.unwrap_err();
        assert!(error.to_string().contains("docker-credential-cooper-test-no-such"), "{error}");
    }

    /// Asks a shell script.
    async fn script(text: &str) -> Result<Option<Credentials>> {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("helper");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        loop {
            match ask(path.to_str().unwrap(), "r.example", Duration::from_secs(2)).await {
                // Another test's fork may hold the script open for writing for a moment.
                Err(error) if error.to_string().contains("busy") => tokio::task::yield_now().await,
                other => return other,
            }
        }
    }

    #[tokio::test]
    async fn helpers_are_run_and_bounded() {
        let found = script(r#"read r; echo "{\"Username\":\"u\",\"Secret\":\"$1-$r\"}""#).await.unwrap();
        assert_eq!(found, Some(Credentials::Basic { username: "u".into(), password: "get-r.example".into() }));
        let none = script("echo credentials not found in native keychain; exit 1").await.unwrap();
        assert_eq!(none, None);
        for (text, expect) in [
            ("printf 'locked\\033[0m'; exit 1", "locked"),
            ("echo secret-x", "not understood"),
            ("exec sleep 1000", "no answer"),
            ("exec yes", ""),
        ] {
            let error = script(text).await.unwrap_err();
            assert!(error.to_string().contains(expect), "{text}: {error}");
            assert!(!format!("{error:?}").contains("secret-x"));
        }
    }
}
