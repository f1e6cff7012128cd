//! Sources of ADD that are fetched: files at addresses and git repositories.
//!
//! Knows nothing of how they are fetched.

use cooper_llb::{GitSource, HttpSource, commit_digits};
use cooper_oci::Digest;

use super::Origin;
use super::run::find_flag;
use super::stage::Evaluator;
use crate::Span;
use crate::ast::Copy;
use crate::parse::is_true;

/// What the flags say of a fetched source.
#[derive(Clone, Debug, Default)]
pub(super) struct RemoteOptions {
    /// `--checksum`, expanded; empty when absent.
    checksum: String,
    keep_git_dir: Option<bool>,
    /// `--unpack` was asked for: unlike a file of the context, one from elsewhere is kept as it is by default.
    pub(super) unpack: bool,
}

/// Whether a source is fetched.
fn is_http(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

impl Evaluator<'_> {
    pub(super) fn remote_options(&mut self, copy: &Copy) -> Option<RemoteOptions> {
        let flag = |name: &str| find_flag(&copy.flags, name);
        let keep_git_dir = flag("keep-git-dir").map(is_true);
        let unpack = flag("unpack").is_some_and(is_true);
        let checksum = self.flag_text(copy, "checksum")?;
        Some(RemoteOptions { checksum, keep_git_dir, unpack })
    }

    /// What an expanded source is fetched from; `Ok(None)` if it is a path.
    pub(super) fn remote_source(
        &mut self,
        span: Span,
        source: &str,
        options: &RemoteOptions,
    ) -> Result<Option<Origin>, ()> {
        let found = match GitSource::parse(source) {
            Some(Ok(git)) => options.git(git).map(Origin::Git),
            Some(Err(why)) => Err(why),
            None if is_http(source) => options.http(source).map(Origin::Http),
            None => return Ok(None),
        };
        found.map(Some).map_err(|why| self.error(span, format!("invalid source: {why}")))
    }

    /// `--checksum` is for one source, which must be a fetched one.
    pub(super) fn check_checksum(
        &mut self,
        copy: &Copy,
        options: &RemoteOptions,
        origins: &[Option<Origin>],
    ) -> Option<()> {
        if options.checksum.is_empty() {
            return Some(());
        }
        let why = match origins {
            [Some(_)] => return Some(()),
            [_] | [] => "--checksum requires an HTTP(S) or git source",
            _ => "--checksum can't be specified for multiple sources",
        };
        let span = find_flag(&copy.flags, "checksum").map_or(copy.dest.span, |flag| flag.name.span);
        self.error(span, why);
        None
    }
}

impl RemoteOptions {
    fn git(&self, mut git: GitSource) -> Result<GitSource, String> {
        if let (Some(flag), Some(query)) = (self.keep_git_dir, git.keep_git_dir)
            && flag != query
        {
            return Err(format!("--keep-git-dir={flag} contradicts keep-git-dir={query} of the address"));
        }
        git.keep_git_dir = git.keep_git_dir.or(self.keep_git_dir);
        if !self.checksum.is_empty() {
            let flag = commit_digits(&self.checksum).map_err(|why| format!("--checksum: {why}"))?;
            if let Some(query) = git.checksum.as_ref().filter(|query| **query != flag) {
                return Err(format!("--checksum={flag} contradicts checksum={query} of the address"));
            }
            git.checksum = Some(flag);
        }
        Ok(git)
    }

    fn http(&self, url: &str) -> Result<HttpSource, String> {
        let mut source = HttpSource::of(url);
        if !self.checksum.is_empty() {
            let digest: Digest = self.checksum.parse().map_err(|e: cooper_oci::Error| format!("--checksum: {e}"))?;
            source.checksum = Some(digest);
        }
        Ok(source)
    }
}
