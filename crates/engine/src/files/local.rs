//! A directory of the caller as [`Files`]: each directory in it is read once, when something looks into it, without what
//! the ignore file leaves out.
//!
//! Every directory is opened relative to its parent's descriptor and never through a link, so a tree that changes
//! while it is read can give an error or an old or a new file, but never a file from outside.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cooper_dockerfile::nearest;
use cooper_llb::{Ignore, MatchState};
use cooper_oci::{Entry, EntryKind, Mtime};
use cooper_store::{Stat as FileStat, StatCache};
use rayon::prelude::*;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};

use super::Files;
use crate::error::{SharedError, from_store};
use crate::{Error, ErrorKind, Result};

/// Directories may nest this deep; the kernel's own limit on paths is near.
const DEPTH_MAX: usize = 1000;

/// Bytes read at a time when a file is hashed.
const BLOCK: usize = 256 * 1024;

/// A directory, read as far as something looked.
#[derive(Debug)]
pub(crate) struct LocalFiles {
    root: OwnedFd,
    name: String,
    tree: Node,
    ignore: Ignore,
    stats: StatCache,
    fresh: Mutex<HashMap<PathBuf, [u8; 32]>>,
}

#[derive(Debug)]
struct Node {
    name: OsString,
    kind: Kind,
    stat: FileStat,
    mtime: Mtime,
}

#[derive(Debug)]
enum Kind {
    File,
    /// What the ignore file says of it, and what is in it, read when first asked for.
    Dir(MatchState, OnceLock<std::result::Result<Vec<Node>, Arc<Error>>>),
    Link(PathBuf),
    /// Sockets are left out; pipes and devices are refused when something wants to copy them.
    Special,
}

impl LocalFiles {
    /// Opens `root`. `name` is how messages call the directory; `stats` knows the digests of the last build.
    pub(crate) fn open(root: &Path, name: &str, ignore: Ignore, stats: StatCache) -> Result<Arc<Self>> {
        let open = || openat(rustix::fs::CWD, root, DIR_FLAGS, Mode::empty());
        Self::beneath(open().map_err(|e| cannot("open", name, root, e.into()))?, name, ignore, stats)
    }

    /// The tree below a directory that is open already.
    pub(crate) fn beneath(root: OwnedFd, name: &str, ignore: Ignore, stats: StatCache) -> Result<Arc<Self>> {
        let stat = rustix::fs::fstat(&root).map_err(|e| cannot("read", name, Path::new(""), e.into()))?;
        let tree = Node::new(OsString::new(), Kind::Dir(MatchState::default(), OnceLock::new()), &stat);
        Ok(Arc::new(Self { root, name: name.to_owned(), tree, ignore, stats, fresh: Mutex::default() }))
    }

    /// Keeps the digests for the next build.
    pub(crate) fn save(&self) -> Result<()> {
        self.stats.save().map_err(|e| from_store(e, "cannot keep the digests of the context"))
    }

    fn node(&self, path: &Path) -> Result<Option<&Node>> {
        let (mut node, mut seen) = (&self.tree, PathBuf::new());
        for name in path {
            let Some(children) = self.inside(node, &seen)? else { return Ok(None) };
            let found = children.binary_search_by(|child| child.name.as_bytes().cmp(name.as_bytes()));
            let Some(child) = found.ok().and_then(|index| children.get(index)) else { return Ok(None) };
            seen.push(name);
            node = child;
        }
        Ok(Some(node))
    }

    /// What is in a directory; `None` for anything else.
    fn inside<'a>(&'a self, node: &'a Node, path: &Path) -> Result<Option<&'a [Node]>> {
        let Kind::Dir(state, children) = &node.kind else { return Ok(None) };
        match children.get_or_init(|| self.list(path, state).map_err(Arc::new)) {
            Ok(children) => Ok(Some(children)),
            Err(e) => Err(SharedError(e.clone()).into_error()),
        }
    }

    fn list(&self, path: &Path, state: &MatchState) -> Result<Vec<Node>> {
        if path.iter().count() > DEPTH_MAX {
            return Err(Error::new(ErrorKind::User, format!("`{}` is nested too deeply", path.display())));
        }
        let fail = |e: rustix::io::Errno| cannot("read", &self.name, path, e.into());
        let dir = self.open_beneath(path, DIR_FLAGS).map_err(fail)?;
        let names = names(&dir).map_err(fail)?;
        names.into_iter().filter_map(|name| self.found(&dir, path, name, state).transpose()).collect()
    }

    /// One name of a directory, unless the ignore file leaves it out.
    fn found(&self, dir: &OwnedFd, parent: &Path, name: OsString, state: &MatchState) -> Result<Option<Node>> {
        let path = parent.join(&name);
        let text = path.to_string_lossy();
        let state = self.ignore.step(state, &text);
        let excluded = state.excluded();
        if excluded && !self.ignore.may_include_below(&text) {
            return Ok(None);
        }
        let fail = |e: rustix::io::Errno| cannot("read", &self.name, &path, e.into());
        let stat = match statat(dir, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            stat => stat.map_err(fail)?,
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Dir(state, OnceLock::new()),
            FileType::Symlink => {
                let target = readlinkat(dir, name.as_os_str(), Vec::new()).map_err(fail)?;
                Kind::Link(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
            }
            FileType::RegularFile => Kind::File,
            FileType::Socket => return Ok(None),
            _ => Kind::Special,
        };
        let node = Node::new(name, kind, &stat);
        // A directory that is itself left out stays where a pattern brings something below it back.
        let bare = excluded && self.inside(&node, &path)?.is_none_or(<[Node]>::is_empty);
        Ok((!bare).then_some(node))
    }

    /// Reads everything below a directory, side by side.
    fn read_below(&self, node: &Node, path: &Path) -> Result<()> {
        let Some(children) = self.inside(node, path)? else { return Ok(()) };
        let dirs: Vec<&Node> = children.iter().filter(|child| matches!(child.kind, Kind::Dir(..))).collect();
        dirs.par_iter().try_for_each(|dir| self.read_below(dir, &path.join(&dir.name)))
    }

    /// Opens a path without following a link anywhere on it.
    fn open_beneath(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = rustix::fs::ResolveFlags::BENEATH | rustix::fs::ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(self.root.as_fd(), path, flags, Mode::empty(), resolve)
    }

    fn read(&self, path: &Path) -> Result<std::fs::File> {
        // Not blocking: what was a file when it was listed may be a pipe by now.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        self.open_beneath(path, flags).map(std::fs::File::from).map_err(|e| cannot("open", &self.name, path, e.into()))
    }

    fn hash(&self, path: &Path) -> Result<[u8; 32]> {
        let mut file = self.read(path)?;
        let (mut hasher, mut block) = (blake3::Hasher::new(), vec![0; BLOCK]);
        loop {
            let n = file.read(&mut block).map_err(|e| cannot("read", &self.name, path, e))?;
            if n == 0 {
                return Ok(*hasher.finalize().as_bytes());
            }
            hasher.update(&block[..n]);
        }
    }

    fn known(&self, path: &Path, stat: &FileStat) -> Option<[u8; 32]> {
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner).get(path).copied();
        fresh.or_else(|| self.stats.get(path, stat))
    }

    fn learn(&self, path: &Path, stat: &FileStat, digest: [u8; 32]) {
        self.stats.put(path, stat, digest);
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), digest);
    }
}

impl Node {
    fn new(name: OsString, kind: Kind, stat: &Stat) -> Self {
        let mtime = Mtime { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 };
        Self { name, kind, stat: file_stat(stat), mtime }
    }

    /// As an entry: a context has no owners of its own, everything is 0:0 (BuildKit's client does the same).
    fn entry(&self, path: PathBuf) -> Entry {
        let kind = match &self.kind {
            Kind::File => EntryKind::File { size: self.stat.size },
            Kind::Dir(..) => EntryKind::Dir,
            Kind::Link(target) => EntryKind::Symlink { target: target.clone() },
            Kind::Special => EntryKind::Fifo,
        };
        let (uid, gid, xattrs) = (0, 0, Default::default());
        Entry { path, kind, mode: self.stat.mode & 0o7777, uid, gid, mtime: self.mtime, xattrs }
    }
}

fn file_stat(stat: &Stat) -> FileStat {
    let ns = |secs: i64, nanos: u64| secs.saturating_mul(1_000_000_000).saturating_add(nanos as i64);
    FileStat {
        dev: stat.st_dev,
        ino: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        mtime_ns: ns(stat.st_mtime, stat.st_mtime_nsec),
        ctime_ns: ns(stat.st_ctime, stat.st_ctime_nsec),
        mode: stat.st_mode,
    }
}

const DIR_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Names in a directory, sorted by bytes.
fn names(dir: &OwnedFd) -> rustix::io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    Ok(names)
}

fn cannot(what: &str, context: &str, path: &Path, e: std::io::Error) -> Error {
    Error::new(ErrorKind::User, format!("cannot {what} `{}` of the {context}", path.display())).with_source(e)
}

impl Files for LocalFiles {
    fn lookup(&self, path: &Path) -> Result<Option<Entry>> {
        Ok(self.node(path)?.map(|node| node.entry(path.to_owned())))
    }

    fn children(&self, dir: &Path) -> Result<Vec<Entry>> {
        let Some(node) = self.node(dir)? else { return Ok(Vec::new()) };
        let children = self.inside(node, dir)?.unwrap_or_default();
        Ok(children.iter().map(|child| child.entry(dir.join(&child.name))).collect())
    }

    fn read_ahead(&self, dir: &Path) -> Result<()> {
        self.node(dir)?.map_or(Ok(()), |node| self.read_below(node, dir))
    }

    fn digest(&self, entry: &Entry) -> Result<[u8; 32]> {
        let gone = || Error::new(ErrorKind::User, format!("`{}` is gone from the {}", entry.path.display(), self.name));
        let stat = self.node(&entry.path)?.ok_or_else(gone)?.stat;
        if let Some(digest) = self.known(&entry.path, &stat) {
            return Ok(digest);
        }
        let digest = self.hash(&entry.path)?;
        self.learn(&entry.path, &stat, digest);
        Ok(digest)
    }

    fn open(&self, entry: &Entry) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.read(&entry.path)?))
    }

    fn unchanged(&self, entry: &Entry) -> Result<()> {
        let now = statat(self.root.as_fd(), &entry.path, AtFlags::SYMLINK_NOFOLLOW).ok();
        let same = now.zip(self.node(&entry.path)?).is_some_and(|(now, node)| file_stat(&now) == node.stat);
        if same { Ok(()) } else { Err(self.differs(entry)) }
    }

    fn differs(&self, entry: &Entry) -> Error {
        let what = format!("`{}` of the {} changed while it was read", entry.path.display(), self.name);
        Error::new(ErrorKind::Retry, what).with_hint("build again when nothing writes to it")
    }

    fn prepare(&self, entries: &[&Entry]) -> Result<()> {
        let unknown = |entry: &&&Entry| {
            matches!(entry.kind, EntryKind::File { .. })
                && self
                    .node(&entry.path)
                    .is_ok_and(|node| node.is_some_and(|node| self.known(&entry.path, &node.stat).is_none()))
        };
        let unknown: Vec<_> = entries.iter().filter(unknown).collect();
        unknown.par_iter().try_for_each(|entry| self.digest(entry).map(drop))
    }

    fn called(&self) -> String {
        format!("the {}", self.name)
    }

    fn shown(&self, path: &Path) -> String {
        path.display().to_string()
    }

    fn explain_missing(&self, path: &Path) -> Vec<String> {
        let on_disk = statat(self.root.as_fd(), path, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        if on_disk && let Some(pattern) = self.ignore.which(&path.to_string_lossy()) {
            return vec![format!("the file exists, but the ignore file leaves it out (pattern `{pattern}`)")];
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        let inside = self.node(parent).ok().flatten().and_then(|node| self.inside(node, parent).ok().flatten());
        let Some(children) = inside else {
            return vec![format!("the {} has no directory `{}`", self.name, parent.display())];
        };
        let names: Vec<_> = children.iter().map(|child| child.name.to_string_lossy()).collect();
        let name = path.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
        nearest(&name, names.iter().map(AsRef::as_ref))
            .map(|near| vec![format!("did you mean `{}`?", parent.join(near).display())])
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A context of these files (each holds its own name), opened with an ignore file.
    fn context(files: &[&str], ignore: &str) -> (tempfile::TempDir, Arc<LocalFiles>) {
        let dir = tempfile::tempdir().unwrap();
        for name in files {
            let path = dir.path().join("context").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, name).unwrap();
        }
        let options = cooper_store::OpenOptions::new("boot", || 0);
        let store = cooper_store::Store::open(&dir.path().join("store"), options).unwrap();
        let (ignore, errors) = Ignore::parse(ignore);
        assert!(errors.is_empty());
        let root = dir.path().join("context");
        let files = LocalFiles::open(&root, "build context", ignore, StatCache::load(&store, b"key")).unwrap();
        (dir, files)
    }

    /// Paths of everything below a directory.
    fn tree(files: &LocalFiles, dir: &str) -> Vec<String> {
        let mut out = Vec::new();
        for entry in files.children(Path::new(dir)).unwrap() {
            out.push(entry.path.display().to_string());
            out.extend(tree(files, &entry.path.display().to_string()));
        }
        out
    }

    #[test]
    fn leaves_out_what_is_ignored_and_keeps_what_is_brought_back() {
        let (_dir, files) = context(&["a/x", "a/y", "b/x", "c/d/x"], "a\n!a/y\nb\nc\n!c/d/z\n");
        assert_eq!(tree(&files, ""), ["a", "a/y"]);
    }

    #[test]
    fn reads_only_the_directories_that_are_looked_into() {
        let (dir, files) = context(&["a/x", "b/x"], "");
        fs::remove_dir_all(dir.path().join("context/b")).unwrap();
        assert_eq!(tree(&files, "a"), ["a/x"], "the other directory is not touched");
        fs::write(dir.path().join("context/late"), "").unwrap();
        files.read_ahead(Path::new("")).unwrap();
        assert!(files.lookup(Path::new("late")).unwrap().is_none(), "a directory is read once");
    }

    #[test]
    fn a_link_that_replaces_a_directory_is_not_followed() {
        let (dir, files) = context(&["a/x", "outside"], "");
        assert_eq!(files.children(Path::new("")).unwrap().len(), 2);
        fs::remove_dir_all(dir.path().join("context/a")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("context/a")).unwrap();
        assert!(files.children(Path::new("a")).is_err());
    }

    #[test]
    fn says_why_a_file_is_not_there() {
        let (_dir, files) = context(&["src/main.rs", "secret.key"], "*.key\n");
        let hints = |path: &str| files.explain_missing(Path::new(path)).join("; ");
        assert_eq!(hints("secret.key"), "the file exists, but the ignore file leaves it out (pattern `*.key`)");
        assert_eq!(hints("src/mian.rs"), "did you mean `src/main.rs`?");
        assert_eq!(hints("nowhere/x"), "the build context has no directory `nowhere`");
    }
}
