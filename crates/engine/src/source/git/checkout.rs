//! A commit as a layer: git writes a work tree into a directory of the store, which is then read without following links.
//!
//! Knows nothing of the network, except that git fetches submodules from there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cooper_llb::{GitSource, Ignore, without_password};
use cooper_oci::{Compression, Entry, EntryKind, Mtime};
use cooper_store::{LayerId, StatCache};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::command::{Git, STORE};
use super::objects::cannot;
use super::{Checkout, Commit};
use crate::engine::blocking;
use crate::error::from_store;
use crate::files::{Files, LocalFiles};
use crate::{Engine, Error, ErrorKind, Result};

/// `.git` is kept for a whole repository only, as in BuildKit.
pub(super) fn keeps_git_dir(source: &GitSource) -> bool {
    source.keep_git_dir == Some(true) && source.subdir.is_empty()
}

/// The directories of one checkout, removed when it is over.
struct Work {
    root: PathBuf,
    tree: PathBuf,
    git_dir: PathBuf,
}

impl Work {
    fn new(engine: &Engine, keep: bool) -> Result<Self> {
        let root = engine.store.temporary().map_err(|e| from_store(e, "cannot check out"))?;
        let tree = root.join("tree");
        std::fs::create_dir_all(&tree).map_err(|e| cannot("create", &tree, e))?;
        let git_dir = if keep { tree.join(".git") } else { root.join("git") };
        Ok(Self { root, tree, git_dir })
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What stays is removed by the next collector.
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// Checks `commit` out of `bare`.
pub(super) async fn layer(engine: &Engine, bare: &Git<'_>, source: &GitSource, commit: &Commit) -> Result<Checkout> {
    let keep = keeps_git_dir(source);
    let id = bare.line(["rev-parse", "--verify", "--quiet", &format!("{}^{{commit}}", commit.object)]).await?;
    let date = bare.line(["log", "-1", "--no-show-signature", "--format=%ct", &id, "--"]).await?;
    let date: i64 = date.parse().map_err(|_| Error::new(ErrorKind::User, format!("the commit {id} has no date")))?;
    let work = Work::new(engine, keep)?;
    let git = Git { git_dir: Some(work.git_dir.clone()), work_tree: Some(work.tree.clone()), ..bare.clone() };
    init(&git, bare, source, id.len() == 64).await?;
    if keep {
        adopt(&git, bare, commit).await?;
    } else {
        borrow(&work.git_dir, bare)?;
    }
    git.run(["update-ref", "--no-deref", "HEAD", &id]).await?;
    git.run(["read-tree", "--reset", "-u", &id]).await?;
    if !source.skip_submodules && work.tree.join(".gitmodules").symlink_metadata().is_ok_and(|file| file.is_file()) {
        git.run(["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"]).await?;
    }
    if keep {
        tidy(&git, &work.git_dir, &id).await?;
    }
    let (engine, subdir) = (engine.clone(), source.subdir.clone());
    let times = (source.commit_times == Some(true)).then_some(date);
    let layer = blocking(move || read(&engine, &work, &subdir, keep, times)).await?;
    Ok(Checkout { layer, date })
}

/// A repository for the work tree, with the remote that addresses of submodules are relative to.
async fn init(git: &Git<'_>, bare: &Git<'_>, source: &GitSource, sha256: bool) -> Result<()> {
    // `init` makes a work tree's configuration; the bare one's has no place for one.
    let alone = Git { work_tree: None, ..git.clone() };
    let dir = git.git_dir.clone().unwrap_or_default();
    std::fs::create_dir_all(&dir).map_err(|e| cannot("create", &dir, e))?;
    let mut args = vec!["init", "--quiet", "--template="];
    args.extend(sha256.then_some("--object-format=sha256"));
    alone.run(args).await?;
    alone.run(["config", "core.bare", "false"]).await?;
    let remote = if source.is_ssh() { source.remote.clone() } else { without_password(&source.remote) };
    alone.run(["config", "remote.origin.url", &remote]).await?;
    alone.run(["config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"]).await?;
    debug_assert_ne!(bare.git_dir, git.git_dir, "a checkout has a repository of its own");
    Ok(())
}

/// The kept repository has its own objects, and the reference that was asked for.
async fn adopt(git: &Git<'_>, bare: &Git<'_>, commit: &Commit) -> Result<()> {
    let name = format!("refs/cooper/checkout/{}", commit.object);
    bare.run(["update-ref", &name, &commit.object]).await?;
    let from = format!("file://{}", bare.git_dir.clone().unwrap_or_default().display());
    let store = Git { protocols: STORE, ..git.clone() };
    let fetch =
        ["fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", "--update-head-ok", "--", &from];
    // A detached head alone keeps a commit that was asked for by its id.
    let to = commit.reference.as_deref().filter(|name| *name != "HEAD").unwrap_or("refs/cooper/head");
    store.run(fetch.into_iter().chain([format!("{name}:{to}").as_str()])).await?;
    Ok(())
}

/// The passing repository of a work tree reads the objects of the store.
fn borrow(git_dir: &Path, bare: &Git<'_>) -> Result<()> {
    let objects = bare.git_dir.clone().unwrap_or_default().join("objects");
    let file = git_dir.join("objects/info/alternates");
    let write = || {
        std::fs::create_dir_all(file.parent().unwrap_or(git_dir))?;
        std::fs::write(&file, format!("{}\n", objects.display()))?;
        // Where the store's history ends, that of the work tree does.
        match std::fs::copy(objects.with_file_name("shallow"), git_dir.join("shallow")) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    };
    write().map_err(|e: std::io::Error| cannot("write", &file, e))
}

/// Leaves in a kept repository only what is the same for every checkout of the commit: an index without times.
async fn tidy(git: &Git<'_>, git_dir: &Path, id: &str) -> Result<()> {
    git.run(["update-ref", "-d", "refs/cooper/head"]).await?;
    // Empty by now; where a reference of that name was asked for, it stays.
    let _ = std::fs::remove_dir(git_dir.join("refs/cooper"));
    for name in ["index", "FETCH_HEAD", "ORIG_HEAD"] {
        match std::fs::remove_file(git_dir.join(name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(cannot("remove", &git_dir.join(name), e)),
            _ => {}
        }
    }
    git.run(["read-tree", id]).await.map(drop)
}

/// The layer of what was checked out.
fn read(engine: &Engine, work: &Work, subdir: &str, keep: bool, times: Option<i64>) -> Result<LayerId> {
    let root = open_subdir(&work.tree, subdir)?;
    let (ignore, _) = Ignore::parse("");
    let stats = StatCache::load(&engine.store, work.root.as_os_str().as_encoded_bytes());
    let files = LocalFiles::beneath(root, "repository", ignore, stats)?;
    let what = "cannot keep a checkout";
    let mut layer = engine.store.new_layer(Compression::None, None).map_err(|e| from_store(e, what))?;
    let mut todo: Vec<Entry> = files.children(Path::new(""))?.into_iter().rev().collect();
    while let Some(entry) = todo.pop() {
        // No file of a commit has this name; submodules leave one that points to where they were checked out.
        if !keep && entry.path.file_name().is_some_and(|name| name == ".git") {
            continue;
        }
        let plain = plain(&entry, times);
        match entry.kind {
            EntryKind::File { .. } => layer.append(&plain, &mut files.open(&entry)?),
            _ => layer.append(&plain, &mut std::io::empty()),
        }
        .map_err(|e| from_store(e, what))?;
        if entry.kind == EntryKind::Dir {
            todo.extend(files.children(&entry.path)?.into_iter().rev());
        }
    }
    Ok(layer.finish().map_err(|e| from_store(e, what))?.id)
}

/// Every part of the way is a directory of the repository and no link (CVE-2026-33748).
fn open_subdir(tree: &Path, subdir: &str) -> Result<std::os::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |dir: &Path| rustix::fs::open(dir, flags, Mode::empty());
    let root = open(tree).map_err(|e| cannot("open", tree, e.into()))?;
    if subdir.is_empty() {
        return Ok(root);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(&root, subdir, flags, Mode::empty(), resolve).map_err(|e| {
        let why = match e {
            rustix::io::Errno::NOENT => "it does not exist",
            rustix::io::Errno::NOTDIR => "it is not a directory",
            rustix::io::Errno::LOOP => "there is a link on the way",
            _ => "it cannot be opened",
        };
        Error::new(ErrorKind::User, format!("the repository has no directory `{subdir}`: {why}")).with_source(e)
    })
}

/// Git knows one bit of a mode; the rest is that of a umask of 022.
fn plain(entry: &Entry, times: Option<i64>) -> Entry {
    let mode = match entry.kind {
        EntryKind::Symlink { .. } => 0o777,
        _ => {
            let owner = entry.mode & 0o700;
            owner | (owner & 0o500) >> 3 | (owner & 0o500) >> 6
        }
    };
    let mtime = times.map_or(entry.mtime, |secs| Mtime { secs, nanos: 0 });
    Entry { mode, mtime, uid: 0, gid: 0, xattrs: BTreeMap::new(), ..entry.clone() }
}
