//! Git repositories: what a name leads to, and a commit as a layer. Objects are kept in one bare repository for each
//! remote, layers by their commit, so that a reference that did not move costs one question to its server.
//!
//! Knows nothing of contexts and instructions.

mod checkout;
mod command;
mod objects;

use base64::Engine as _;
use cooper_llb::{GitSource, decoded, is_commit, without_password};
use cooper_solver::Key;
use cooper_store::{LayerId, Sharing};

use super::outside::{Notes, Notice, Outside, key_of, once};
use crate::engine::blocking;
use crate::error::from_store;
use crate::{Error, ErrorKind, Result};
use command::{Access, Git, NETWORK};

pub use command::GitProgram;

/// The agent that ssh remotes are reached with.
const AGENT: &str = "default";

/// What a source leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Full name of the reference; `None` when a commit was asked for.
    reference: Option<String>,
    /// The object it points to: a commit, or a tag.
    object: String,
    /// The commit, if the remote told it: a tag's, or the object itself.
    commit: Option<String>,
}

/// A commit in the store.
#[derive(Clone, Debug)]
pub(crate) struct Checkout {
    /// Its files.
    pub(crate) layer: LayerId,
    /// When it was committed, seconds since 1970.
    pub(crate) date: i64,
}

impl Outside {
    /// The commit and all that decides which of its files are taken, as in BuildKit. Not where it comes from.
    pub(super) async fn git_key(&self, source: &GitSource) -> Result<Key> {
        Ok(key(source, &self.commit(source).await?))
    }

    /// What `source` leads to. A whole commit id needs no question.
    async fn commit(&self, source: &GitSource) -> Result<Commit> {
        once(&self.commits, source, || async {
            let commit = match by_commit(source)? {
                Some(commit) => commit,
                None => {
                    let access = self.access(source).await?;
                    let asked = ask(&self.engine.git, &access, source).await;
                    asked.map_err(|e| told(e, &format!("cannot find `{}`", source.shown())))?
                }
            };
            verify(source, &commit)?;
            Ok(commit)
        })
        .await
    }

    /// The files of `source`.
    pub(super) async fn checkout(&self, source: &GitSource, notice: &Notice) -> Result<Checkout> {
        let commit = self.commit(source).await?;
        once(&self.checkouts, source, || async {
            let key = key(source, &commit);
            if let Some((layer, notes)) = self.known(key)
                && let Some(date) = notes.get("date").and_then(|date| date.parse().ok())
            {
                return Ok(Checkout { layer, date });
            }
            let made = notice.during(self.fetch_commit(source, &commit)).await;
            let checkout = made.map_err(|e| told(e, &format!("cannot fetch `{}`", source.shown())))?;
            let notes = Notes::default()
                .with("remote", Some(source.shown()))
                .with("object", Some(commit.object.clone()))
                .with("date", Some(checkout.date.to_string()));
            self.keep(key, format!("git {}", source.shown()), &checkout.layer, notes)?;
            Ok(checkout)
        })
        .await
    }

    async fn fetch_commit(&self, source: &GitSource, commit: &Commit) -> Result<Checkout> {
        let access = self.access(source).await?;
        let remote = bare_remote(source);
        // NUL: no cache mount of a Dockerfile reaches it.
        let name = format!("git repository\0{}", without_password(&source.remote));
        let store = self.engine.store.clone();
        let opened = blocking(move || store.open_cache_mount(&name, Sharing::Locked)).await;
        let place = opened.map_err(|e| from_store(e, "cannot open the place of a repository"))?;
        let sha256 = commit.object.len() == 64;
        let repository = objects::Repository { program: &self.engine.git, access: &access, remote: &remote, sha256 };
        let dir = place.path().join(if sha256 { "sha256.git" } else { "sha1.git" });
        let was_there = dir.exists();
        let work = || async {
            let git = repository.fetch(&dir, source, commit).await?;
            checkout::layer(&self.engine, &git, source, commit).await
        };
        match work().await {
            // What is left of an earlier fetch may be broken: begin anew.
            Err(_) if was_there => {
                std::fs::remove_dir_all(&dir).map_err(|e| objects::cannot("remove", &dir, e))?;
                work().await
            }
            done => done,
        }
    }

    /// Secrets and agent for a remote. The names and their order are BuildKit's.
    async fn access(&self, source: &GitSource) -> Result<Access> {
        if source.is_ssh() {
            let agent = self.session.ssh_agent(AGENT).await?.ok_or_else(|| {
                Error::new(ErrorKind::Unauthorized, format!("there is no ssh agent for `{}`", source.shown()))
                    .with_hint("add `--ssh default`, with an agent that holds the key (`ssh-add -l`)")
            })?;
            let store = self.engine.store.clone();
            let place = blocking(move || store.open_cache_mount("git known hosts\0", Sharing::Shared)).await;
            let place = place.map_err(|e| from_store(e, "cannot open the list of ssh hosts"))?;
            let known_hosts = Some(place.path().join("known_hosts"));
            return Ok(Access { header: None, agent: Some(agent), known_hosts });
        }
        let header = self.git_secret(source).await?.or_else(|| login(source));
        if header.as_ref().is_some_and(|header| header.contains(['\n', '\r', '\0'])) {
            return Err(Error::new(ErrorKind::User, "the secret for the repository is not one line of text"));
        }
        Ok(Access {
            header: header.map(|header| (scope(source), format!("Authorization: {header}"))),
            ..Access::default()
        })
    }

    async fn git_secret(&self, source: &GitSource) -> Result<Option<String>> {
        let bare = without_password(&source.remote);
        let authority = bare.split_once("://").map_or("", |(_, rest)| rest).split('/').next().unwrap_or_default();
        let (header, token) = ("GIT_AUTH_HEADER", "GIT_AUTH_TOKEN");
        let names = [format!("{header}.{authority}"), format!("{token}.{authority}"), header.into(), token.into()];
        for name in names {
            let Some(secret) = self.session.secret(&name).await? else { continue };
            let secret = String::from_utf8_lossy(&secret).trim_end().to_owned();
            let basic = || {
                format!(
                    "basic {}",
                    base64::engine::general_purpose::STANDARD.encode(format!("x-access-token:{secret}"))
                )
            };
            return Ok(Some(if name.starts_with(token) { basic() } else { secret }));
        }
        Ok(None)
    }
}

fn key(source: &GitSource, commit: &Commit) -> Key {
    let keep = checkout::keeps_git_dir(source);
    let object = if keep { &commit.object } else { commit.commit.as_ref().unwrap_or(&commit.object) };
    let reference = commit.reference.as_deref().filter(|_| keep).unwrap_or_default();
    // The kept directory says where it came from.
    let remote = if keep { without_password(&source.remote) } else { String::new() };
    let flag = |set: bool| if set { "1" } else { "" };
    let times = flag(source.commit_times == Some(true));
    key_of("git", [object, flag(keep), reference, &remote, &source.subdir, flag(source.skip_submodules), times])
}

/// What is known without asking: a commit id, or one that the source says to trust.
fn by_commit(source: &GitSource) -> Result<Option<Commit>> {
    if source.is_pinned() {
        let object = source.reference.clone().unwrap_or_default();
        return Ok(Some(Commit { reference: None, object, commit: None }));
    }
    if !source.fetch_by_commit {
        return Ok(None);
    }
    let Some(object) = source.checksum.clone().filter(|checksum| is_commit(checksum)) else {
        let what = format!("`{}`: fetch-by-commit needs a whole commit id", source.shown());
        return Err(Error::new(ErrorKind::User, what).with_hint("add `checksum=` with all of its digits"));
    };
    let full = |name: &String| if name.starts_with("refs/") { name.clone() } else { format!("refs/heads/{name}") };
    Ok(Some(Commit { reference: source.reference.as_ref().map(full), object, commit: None }))
}

/// Asks the remote what a name leads to.
async fn ask(program: &GitProgram, access: &Access, source: &GitSource) -> Result<Commit> {
    let git = Git { program, access, git_dir: None, work_tree: None, protocols: NETWORK };
    let remote = bare_remote(source);
    let Some(name) = &source.reference else {
        let answer = git.run(["ls-remote", "--symref", "--", &remote, "HEAD"]).await?;
        return default_branch(&String::from_utf8_lossy(&answer))
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "the repository has no default branch"));
    };
    let answer = git.run(["ls-remote", "--", &remote, name, &format!("{name}^{{}}")]).await?;
    named(&String::from_utf8_lossy(&answer), name).ok_or_else(|| {
        let error = Error::new(ErrorKind::NotFound, format!("the repository has no branch or tag `{name}`"));
        let hex = name.len() >= 7 && name.bytes().all(|b| b.is_ascii_hexdigit());
        if hex { error.with_hint("a commit is given by all of its digits") } else { error }
    })
}

/// `ref: refs/heads/main\tHEAD` and `<id>\tHEAD`.
fn default_branch(answer: &str) -> Option<Commit> {
    let lines = || answer.lines().filter_map(|line| line.strip_suffix("\tHEAD"));
    let reference = lines().find_map(|line| line.strip_prefix("ref: ")).map(str::to_owned);
    let object = lines().find(|line| is_commit(line))?.to_owned();
    Some(Commit { reference: Some(reference.unwrap_or_else(|| "HEAD".into())), commit: Some(object.clone()), object })
}

/// The reference that a name stands for: as written, then a branch, then a tag, as git-checkout prefers.
fn named(answer: &str, name: &str) -> Option<Commit> {
    let found = |full: &str| {
        let line = answer.lines().filter_map(|line| line.split_once('\t')).find(|(_, name)| *name == full);
        line.map(|(id, _)| id.to_owned()).filter(|id| is_commit(id))
    };
    let short = |prefix: &str| format!("{prefix}{}", name.strip_prefix(prefix).unwrap_or(name));
    let tag = short("refs/tags/");
    let names = [short("refs/"), short("refs/heads/"), tag.clone()];
    let (reference, object) = names.into_iter().find_map(|full| found(&full).map(|object| (full, object)))?;
    let peeled = (reference == tag).then(|| found(&format!("{tag}^{{}}"))).flatten();
    Some(Commit { reference: Some(reference), commit: Some(peeled.unwrap_or_else(|| object.clone())), object })
}

fn verify(source: &GitSource, found: &Commit) -> Result<()> {
    let Some(wanted) = &source.checksum else { return Ok(()) };
    let mut ids = std::iter::once(&found.object).chain(&found.commit);
    if ids.any(|id| id.starts_with(wanted.as_str())) {
        return Ok(());
    }
    let is = found.commit.as_ref().unwrap_or(&found.object);
    let what = format!("`{}` is not what the checksum says: it leads to {is}, not {wanted}", source.shown());
    Err(Error::new(ErrorKind::User, what).with_hint(format!("if it is to be trusted: --checksum={is}")))
}

/// The remote as git is given it: user and password of an address go into a header.
fn bare_remote(source: &GitSource) -> String {
    if source.is_ssh() { source.remote.clone() } else { without_password(&source.remote) }
}

/// User and password of the address.
fn login(source: &GitSource) -> Option<String> {
    let (_, rest) = source.remote.split_once("://")?;
    let (user, _) = rest.split('/').next()?.rsplit_once('@')?;
    let user = if user.contains(':') { user.to_owned() } else { format!("{user}:") };
    // What is escaped in an address is not in a header.
    Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(decoded(&user))))
}

/// Who is shown the secret: the remote, and as far as it goes for GitHub, its neighbours, so that private submodules work.
fn scope(source: &GitSource) -> String {
    let remote = without_password(&source.remote);
    let hosts = ["https://github.com/", "https://www.github.com/"];
    hosts.into_iter().find(|host| remote.starts_with(host)).map_or(remote.clone(), str::to_owned)
}

/// An error of git, told as `what`.
fn told(error: Error, what: &str) -> Error {
    let words = error.what.to_lowercase();
    let denied = ["authentication failed", "could not read username", "permission denied", "returned error: 403"];
    let missing = ["not found", "does not exist", "does not appear to be a git repository"];
    let mut out = Error { what: format!("{what}: {}", error.what), ..error };
    if denied.iter().any(|word| words.contains(word)) {
        out.kind = ErrorKind::Unauthorized;
        return out.with_hint("a token is given with `--secret id=GIT_AUTH_TOKEN`, a key with `--ssh default`");
    }
    if missing.iter().any(|word| words.contains(word)) {
        out.kind = ErrorKind::NotFound;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn names_are_found_as_git_checkout_finds_them() {
        let answer =
            |lines: &[(&str, &str)]| lines.iter().map(|(id, name)| format!("{id}\t{name}\n")).collect::<String>();
        for (lines, name, expect) in [
            (&[(A, "refs/heads/main"), (B, "refs/heads/x/main")][..], "main", Some(("refs/heads/main", A, A))),
            (&[(A, "refs/heads/v1"), (B, "refs/tags/v1")], "v1", Some(("refs/heads/v1", A, A))),
            (&[(A, "refs/tags/v1"), (B, "refs/tags/v1^{}")], "v1", Some(("refs/tags/v1", A, B))),
            (&[(A, "refs/tags/v1"), (B, "refs/tags/v1^{}")], "refs/tags/v1", Some(("refs/tags/v1", A, B))),
            (&[(A, "refs/pull/1/head")], "refs/pull/1/head", Some(("refs/pull/1/head", A, A))),
            (&[(A, "refs/pull/1/head")], "pull/1/head", Some(("refs/pull/1/head", A, A))),
            (&[(A, "refs/heads/x/main")], "main", None),
            (&[("not an id", "refs/heads/main")], "main", None),
            (&[], "main", None),
        ] {
            let found = named(&answer(lines), name);
            let expect = expect.map(|(reference, object, commit)| Commit {
                reference: Some(reference.into()),
                object: object.into(),
                commit: Some(commit.into()),
            });
            assert_eq!(found, expect, "{lines:?} {name}");
        }
        let head = default_branch(&format!("ref: refs/heads/trunk\tHEAD\n{A}\tHEAD\n")).unwrap();
        assert_eq!((head.reference.as_deref(), head.object.as_str()), (Some("refs/heads/trunk"), A));
        assert_eq!(default_branch(""), None);
    }

    #[test]
    fn a_checksum_is_that_of_the_tag_or_of_its_commit() {
        let found = Commit { reference: None, object: A.into(), commit: Some(B.into()) };
        let wanting = |checksum: &str| GitSource { checksum: Some(checksum.into()), ..GitSource::default() };
        assert!(verify(&GitSource::default(), &found).is_ok());
        assert!(verify(&wanting("aaa"), &found).is_ok() && verify(&wanting(B), &found).is_ok());
        assert!(verify(&wanting("c"), &found).unwrap_err().what.contains("leads to bbbb"));
    }

    #[test]
    fn secrets_are_shown_to_their_own_remote() {
        let of = |remote: &str| GitSource { remote: remote.into(), ..GitSource::default() };
        assert_eq!(scope(&of("https://u:p@host/a.git")), "https://host/a.git");
        assert_eq!(scope(&of("https://github.com/a/b.git")), "https://github.com/");
        assert_eq!(scope(&of("https://github.com.evil.org/a/b.git")), "https://github.com.evil.org/a/b.git");
        assert_eq!(login(&of("https://u:p%40@host/a.git")).unwrap(), "Basic dTpwQA==");
        assert_eq!(bare_remote(&of("https://u:p@host/a.git")), "https://host/a.git");
        assert_eq!(bare_remote(&of("ssh://git@host/a")), "ssh://git@host/a");
    }
}
