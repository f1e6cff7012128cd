//! What is asked of a git repository, read from the addresses that BuildKit takes for one.
//!
//! Opens no connection and runs nothing.

use std::fmt;

use url::form_urlencoded;

use crate::clean;

/// What to check out of a git repository.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GitSource {
    /// Where the repository is, in git's words: a URL, or `user@host:path`. May hold a password: [`GitSource::shown`] does not.
    pub remote: String,
    /// Branch, tag or commit; the default branch when absent.
    pub reference: Option<String>,
    /// Directory of the repository that is taken instead of its root: clean, relative, empty for the root.
    pub subdir: String,
    /// A commit, or the first digits of one, that `reference` must lead to. Lower-case hex.
    pub checksum: Option<String>,
    /// Keep `.git`. `None` when the address does not say.
    pub keep_git_dir: Option<bool>,
    /// Leave submodules out.
    pub skip_submodules: bool,
    /// Files have the commit's date instead of that of the checkout. `None` when the address does not say.
    pub commit_times: Option<bool>,
    /// Take `checksum` for the commit without asking what `reference` leads to.
    pub fetch_by_commit: bool,
}

/// Passwords stay out of logs.
impl fmt::Debug for GitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GitSource({})", self.shown())
    }
}

impl GitSource {
    /// Reads a source of ADD; `None` if it is not a repository but a path or another address.
    ///
    /// # Errors
    /// What is wrong with the address of a repository.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        let (address, fragment) = text.split_once('#').map_or((text, None), |(a, f)| (a, Some(f)));
        let (remote, query) = address.split_once('?').map_or((address, None), |(r, q)| (r, Some(q)));
        match scheme(remote) {
            Some("git" | "ssh") => Some(Self::read(remote, query, fragment.map(decoded).as_deref())),
            Some("http" | "https") if remote.ends_with(".git") => {
                Some(Self::read(remote, query, fragment.map(decoded).as_deref()))
            }
            None if is_scp(remote) => Some(Self::read(remote, query, fragment)),
            _ => None,
        }
    }

    /// Reads a build context: besides the sources of ADD, `github.com/owner/repository` is taken for one.
    ///
    /// # Errors
    /// As [`GitSource::parse`].
    pub fn parse_context(text: &str) -> Option<Result<Self, String>> {
        if !text.starts_with("github.com/") {
            return Self::parse(text);
        }
        let (address, fragment) = text.split_once('#').map_or((text, None), |(a, f)| (a, Some(f)));
        let (remote, query) = address.split_once('?').map_or((address, None), |(r, q)| (r, Some(q)));
        Some(Self::read(&format!("https://{remote}"), query, fragment.map(decoded).as_deref()))
    }

    fn read(remote: &str, query: Option<&str>, fragment: Option<&str>) -> Result<Self, String> {
        check_remote(remote)?;
        let mut source = Self { remote: remote.to_owned(), ..Self::default() };
        if let Some(fragment) = fragment {
            let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
            source.reference = Some(reference.to_owned()).filter(|reference| !reference.is_empty());
            subdir.clone_into(&mut source.subdir);
        }
        source.query(query.unwrap_or_default())?;
        source.subdir = clean(&format!("/{}", source.subdir)).trim_start_matches('/').to_owned();
        if let Some(reference) = &source.reference {
            check_reference(reference)?;
        }
        if source.subdir.contains(char::is_control) {
            return Err("the directory of the repository has control characters".into());
        }
        if let Some(checksum) = &mut source.checksum {
            *checksum = commit_digits(checksum)?;
        }
        Ok(source)
    }

    /// The part after `?`, with the names and the rules of BuildKit.
    fn query(&mut self, query: &str) -> Result<(), String> {
        let (mut tag, mut branch) = (None, None);
        let mut seen = Vec::new();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            if seen.contains(&key) {
                return Err(format!("`{key}` is given twice"));
            }
            let flag = || switch(&key, &value);
            match &*key {
                "keep-git-dir" => self.keep_git_dir = Some(flag()?),
                "submodules" => self.skip_submodules = !flag()?,
                "fetch-by-commit" => self.fetch_by_commit = flag()?,
                "ref" | "tag" | "branch" | "subdir" | "checksum" | "commit" | "mtime" if value.is_empty() => {
                    return Err(format!("`{key}` has no value"));
                }
                "ref" => set(&mut self.reference, &value, "ref")?,
                "tag" => tag = Some(prefixed("refs/tags/", &value)),
                "branch" => branch = Some(prefixed("refs/heads/", &value)),
                "subdir" if self.subdir.is_empty() || self.subdir == *value => self.subdir = value.to_string(),
                "subdir" => return Err(format!("two directories: `{}` and `{value}`", self.subdir)),
                "checksum" | "commit" => set(&mut self.checksum, &value, &key)?,
                "mtime" if matches!(&*value, "checkout" | "commit") => self.commit_times = Some(value == "commit"),
                "mtime" => return Err(format!("mtime is `checkout` or `commit`, not `{value}`")),
                _ => {
                    let known =
                        "ref, tag, branch, subdir, checksum, commit, keep-git-dir, submodules, mtime, fetch-by-commit";
                    return Err(format!("`{key}` is not known; there are: {known}"));
                }
            }
            seen.push(key);
        }
        if tag.is_some() && branch.is_some() {
            return Err("a tag and a branch cannot both be given".into());
        }
        tag.or(branch).map_or(Ok(()), |name| set(&mut self.reference, &name, "ref"))
    }

    /// The address without user names and passwords, with `#ref:subdir`.
    pub fn shown(&self) -> String {
        let mut out = without_password(&self.remote);
        if self.reference.is_some() || !self.subdir.is_empty() {
            out.push('#');
            out.push_str(self.reference.as_deref().unwrap_or_default());
        }
        if !self.subdir.is_empty() {
            out.push(':');
            out.push_str(&self.subdir);
        }
        out
    }

    /// Spoken to over ssh, so that an agent is needed.
    pub fn is_ssh(&self) -> bool {
        scheme(&self.remote).is_none_or(|scheme| scheme == "ssh")
    }

    /// `reference` is a whole commit id and not a name.
    pub fn is_pinned(&self) -> bool {
        self.reference.as_deref().is_some_and(is_commit)
    }
}

/// The id of a commit or other object: 40 hex digits, or 64 in a repository of SHA-256.
pub fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The digits of a commit or of its beginning, in lower case.
///
/// # Errors
/// Says what a commit is.
pub fn commit_digits(text: &str) -> Result<String, String> {
    let hex = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    if hex { Ok(text.to_ascii_lowercase()) } else { Err(format!("`{text}` is not the hex digits of a commit")) }
}

/// A URL without what stands before the host: `https://user:password@host/x` is shown as `https://host/x`. The user
/// that ssh needs stays.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let Some((user, host)) = authority.rsplit_once('@') else { return url.to_owned() };
    let user = user.split(':').next().filter(|_| scheme == "ssh").map(|user| format!("{user}@")).unwrap_or_default();
    format!("{scheme}://{user}{host}{path}")
}

/// Letters and digits before `://`, in lower case where they are one that git speaks.
fn scheme(text: &str) -> Option<&'static str> {
    let (scheme, _) = text.split_once("://")?;
    ["http", "https", "git", "ssh"].into_iter().find(|known| known.eq_ignore_ascii_case(scheme)).or(Some("other"))
}

/// `user@host:path`.
fn is_scp(text: &str) -> bool {
    let Some((login, _)) = text.split_once(':') else { return false };
    let Some((user, host)) = login.split_once('@') else { return false };
    let word = |text: &str, more: char| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == more)
    };
    word(user, '_') && word(host, '.')
}

/// Nothing that git, ssh or a helper of theirs could take for an option or a second line (CVE-2017-1000117 and its kin).
fn check_remote(remote: &str) -> Result<(), String> {
    if remote.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err("the address of the repository has blanks or control characters".into());
    }
    let rest = remote.split_once("://").map_or(remote, |(_, rest)| rest);
    let mut parts = rest.split(['@', ':', '/']);
    if parts.any(|part| part.starts_with('-')) || rest.is_empty() {
        return Err(format!("`{}` is not the address of a repository", without_password(remote)));
    }
    Ok(())
}

/// What `git check-ref-format` allows, so that a name is neither an option nor a pattern.
fn check_reference(name: &str) -> Result<(), String> {
    let bad = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    let bad_part = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    if name.starts_with('-')
        || name.contains(bad)
        || name.contains("..")
        || name.contains("@{")
        || name.split('/').any(bad_part)
        || name.ends_with('.')
    {
        return Err(format!("`{}` is not the name of a branch, tag or commit", name.escape_debug()));
    }
    Ok(())
}

fn set(field: &mut Option<String>, value: &str, what: &str) -> Result<(), String> {
    match field.as_deref() {
        Some(old) if old != value => Err(format!("two values of `{what}`: `{old}` and `{value}`")),
        _ => {
            *field = Some(value.to_owned());
            Ok(())
        }
    }
}

fn prefixed(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}

/// A switch without a value is on; the words are those of Go's `strconv.ParseBool`.
fn switch(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("`{key}` is `true` or `false`, not `{value}`")),
    }
}

/// Text of a URL without its percent escapes.
pub fn decoded(text: &str) -> String {
    // A plus sign is itself outside of queries.
    let escaped = format!("={}", text.replace('+', "%2B").replace('&', "%26"));
    form_urlencoded::parse(escaped.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `remote|reference|subdir|checksum|flags`, or what is wrong, or `no` for what is no repository.
    fn read(text: &str) -> String {
        let Some(parsed) = GitSource::parse(text) else { return "no".into() };
        let source = match parsed {
            Ok(source) => source,
            Err(why) => return why,
        };
        let mut flags = Vec::new();
        flags.extend(source.keep_git_dir.map(|keep| format!("keep={keep}")));
        flags.extend(source.skip_submodules.then(|| "no submodules".to_owned()));
        flags.extend(source.commit_times.map(|commit| format!("commit times={commit}")));
        flags.extend(source.fetch_by_commit.then(|| "by commit".to_owned()));
        let or_none = |value: &Option<String>| value.clone().unwrap_or_default();
        format!(
            "{}|{}|{}|{}|{}",
            source.remote,
            or_none(&source.reference),
            source.subdir,
            or_none(&source.checksum),
            flags.join(",")
        )
    }

    #[test]
    fn addresses_of_repositories() {
        for (text, expect) in [
            ("https://host/a/b.git", "https://host/a/b.git||||"),
            ("https://host/a/b.git#main", "https://host/a/b.git|main|||"),
            ("https://host/a/b.git#main:x/../y/", "https://host/a/b.git|main|y||"),
            ("https://host/a/b.git#:../../etc", "https://host/a/b.git||etc||"),
            ("https://host/b.git#feat%2Fx+y", "https://host/b.git|feat/x+y|||"),
            ("https://u:p@host/b.git#v1", "https://u:p@host/b.git|v1|||"),
            ("git://host/a", "git://host/a||||"),
            ("ssh://git@host:22/a#x:y", "ssh://git@host:22/a|x|y||"),
            ("git@host:a/b", "git@host:a/b||||"),
            ("me_1@my-host.org:a/b.git?branch=x#:y", "me_1@my-host.org:a/b.git|refs/heads/x|y||"),
            ("git@host:a/b#x", "git@host:a/b|x|||"),
            ("https://host/b.git?ref=v1&subdir=a/b", "https://host/b.git|v1|a/b||"),
            ("https://host/b.git?tag=v1&commit=ABC", "https://host/b.git|refs/tags/v1||abc|"),
            ("https://host/b.git?tag=refs/tags/v1", "https://host/b.git|refs/tags/v1|||"),
            ("https://host/b.git?keep-git-dir&submodules=0", "https://host/b.git||||keep=true,no submodules"),
            (
                "https://host/b.git?keep-git-dir=false&mtime=commit",
                "https://host/b.git||||keep=false,commit times=true",
            ),
            ("https://host/b.git?checksum=a1&fetch-by-commit=1", "https://host/b.git|||a1|by commit"),
        ] {
            assert_eq!(read(text), expect, "{text}");
        }
    }

    #[test]
    fn what_is_no_repository() {
        for text in [
            "https://host/a.tar",
            "http://host/b.git/",
            "./git@host:x",
            "../a.git",
            "a.git",
            "github.com/a/b",
            "ftp://host/a.git",
            "a b@host:x",
            "@host:x",
            "user@:x",
            "a/b@host:x",
            "",
            "ext::sh -c id",
            "file:///tmp/x.git",
            "C:x",
        ] {
            assert_eq!(read(text), "no", "{text}");
        }
        let context = GitSource::parse_context("github.com/a/b#main:c").unwrap().unwrap();
        assert_eq!(context.shown(), "https://github.com/a/b#main:c");
    }

    #[test]
    fn addresses_that_are_refused() {
        for (text, expect) in [
            ("https://host/b.git#--upload-pack=x", "is not the name of a branch"),
            ("https://host/b.git?ref=-h", "is not the name of a branch"),
            ("https://host/b.git#a b", "is not the name of a branch"),
            ("https://host/b.git#a..b", "is not the name of a branch"),
            ("https://host/b.git?ref=a:b", "is not the name of a branch"),
            ("https://host/b.git#refs/heads/*", "is not the name of a branch"),
            ("https://host/b.git?ref=a%0d", "is not the name of a branch"),
            ("https://host/b.git#a.lock", "is not the name of a branch"),
            ("https://host/b.git#x:a%00b", "has control characters"),
            ("ssh://-oProxyCommand=x/b", "is not the address of a repository"),
            ("ssh://a@-oProxyCommand=x/b", "is not the address of a repository"),
            ("git@-oProxyCommand:b", "is not the address of a repository"),
            ("-x@host:b", "is not the address of a repository"),
            ("git@host:-b", "is not the address of a repository"),
            ("git://host/-b", "is not the address of a repository"),
            ("ssh://", "is not the address of a repository"),
            ("ssh://host/a\nb", "has blanks or control characters"),
            ("ssh://host/a\rb", "has blanks or control characters"),
            ("https://host/b.git#a:x?ref=b", "https://host/b.git|a|x?ref=b||"),
            ("https://host/b.git?ref=b#a", "two values of `ref`: `a` and `b`"),
            ("https://host/b.git?subdir=b#a:c", "two directories: `c` and `b`"),
            ("https://host/b.git?tag=a&branch=b", "cannot both be given"),
            ("https://host/b.git?tag=a&ref=b", "two values of `ref`"),
            ("https://host/b.git?ref=", "`ref` has no value"),
            ("https://host/b.git?ref=a&ref=a", "`ref` is given twice"),
            ("https://host/b.git?reff=a", "`reff` is not known; there are: ref, tag"),
            ("https://host/b.git?mtime=now", "mtime is `checkout` or `commit`"),
            ("https://host/b.git?submodules=no", "`submodules` is `true` or `false`"),
            ("https://host/b.git?checksum=xyz", "is not the hex digits of a commit"),
        ] {
            assert!(read(text).contains(expect), "{text}: {}", read(text));
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let source = GitSource::parse("https://user:secret@host/a.git?ref=x#:d").unwrap().unwrap();
        assert_eq!(
            (source.shown(), format!("{source:?}")),
            ("https://host/a.git#x:d".into(), "GitSource(https://host/a.git#x:d)".into())
        );
        let source = GitSource::parse("ssh://me:secret@host/a").unwrap().unwrap();
        assert_eq!(source.shown(), "ssh://me@host/a");
        assert!(source.is_ssh() && GitSource::parse("git@host:a").unwrap().unwrap().is_ssh());
    }
}
