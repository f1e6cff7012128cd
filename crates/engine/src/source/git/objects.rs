//! The objects of a remote in a bare repository of the store. Knows nothing of work trees.

use std::path::{Path, PathBuf};

use cooper_llb::GitSource;

use super::Commit;
use super::command::{Access, Git, GitProgram, NETWORK};
use crate::{Error, ErrorKind, Result};

/// A remote and the way to it.
pub(super) struct Repository<'a> {
    pub(super) program: &'a GitProgram,
    pub(super) access: &'a Access,
    pub(super) remote: &'a str,
    pub(super) sha256: bool,
}

impl<'a> Repository<'a> {
    /// Sees to it that the objects of `commit` are in the bare repository at `dir`, which the caller has locked.
    pub(super) async fn fetch(&self, dir: &Path, source: &GitSource, commit: &Commit) -> Result<Git<'a>> {
        let git = self.open(dir).await?;
        if has(&git, &commit.object).await {
            return Ok(git);
        }
        remove_locks(dir)?;
        let by_name = commit.reference.as_deref().filter(|_| !source.fetch_by_commit);
        for wanted in by_name.into_iter().chain([commit.object.as_str()]) {
            match self.shallow(&git, wanted).await {
                Ok(()) if has(&git, &commit.object).await => return Ok(git),
                Err(error) if by_name == Some(wanted) => return Err(error),
                // It moved in the meantime, or the server does not serve what has no name.
                _ => {}
            }
        }
        self.everything(&git, dir).await?;
        if has(&git, &commit.object).await {
            return Ok(git);
        }
        Err(Error::new(ErrorKind::NotFound, format!("the repository has no commit {}", commit.object)))
    }

    async fn open(&self, dir: &Path) -> Result<Git<'a>> {
        let bare = Git {
            program: self.program,
            access: self.access,
            git_dir: Some(dir.to_owned()),
            work_tree: None,
            protocols: NETWORK,
        };
        if !dir.join("HEAD").exists() {
            let mut args = vec!["init", "--quiet", "--bare", "--template="];
            args.extend(self.sha256.then_some("--object-format=sha256"));
            bare.run(args).await?;
        }
        Ok(bare)
    }

    /// Fetches one commit without its history, where the server can.
    async fn shallow(&self, git: &Git<'_>, wanted: &str) -> Result<()> {
        let common = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force"];
        // A name of its own keeps what was fetched.
        let refspec = format!("{wanted}:refs/cooper/{}", wanted.strip_prefix("refs/").unwrap_or(wanted));
        let rest = ["--", self.remote, &refspec];
        match git.run(common.iter().chain(&["--depth=1"]).chain(&rest)).await {
            Err(error) if error.what.contains("depth") || error.what.contains("shallow") => {
                git.run(common.iter().chain(&rest)).await.map(drop)
            }
            done => done.map(drop),
        }
    }

    /// Fetches all branches and tags with their history.
    async fn everything(&self, git: &Git<'_>, dir: &Path) -> Result<()> {
        let mut args = vec!["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force"];
        args.extend(dir.join("shallow").exists().then_some("--unshallow"));
        args.extend(["--", self.remote, "refs/heads/*:refs/cooper/heads/*", "refs/tags/*:refs/cooper/tags/*"]);
        git.run(args).await.map(drop)
    }
}

async fn has(git: &Git<'_>, object: &str) -> bool {
    git.run(["cat-file", "-e", &format!("{object}^{{tree}}")]).await.is_ok()
}

/// Locks of a process that was killed: nobody else is here.
fn remove_locks(dir: &Path) -> Result<()> {
    let mut todo: Vec<PathBuf> = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).map_err(|e| cannot("read", &dir, e))? {
            let entry = entry.map_err(|e| cannot("read", &dir, e))?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(|e| cannot("read", &dir, e))?);
            if kind.is_dir() && entry.file_name() != "objects" {
                todo.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "lock") {
                std::fs::remove_file(&path).map_err(|e| cannot("remove", &path, e))?;
            }
        }
    }
    Ok(())
}

pub(super) fn cannot(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot {what} `{}`", path.display())).with_source(error)
}
