//! Layers shown by copying their files, for hosts without overlayfs; what changed is found by comparing inodes.
//!
//! Does not know what layers are; only directories in overlayfs's form.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use cooper_oci::{Entry, EntryKind, Mtime};
use rustix::fs::{AtFlags, CWD, StatxFlags};

use super::{Mounted, Snapshotter, View, root_of};
use crate::layers::dir::{LayerDir, OPAQUE};
use crate::layers::scan::{Visit, describe, kind_of, scan};
use crate::layers::{dress_root, remove_path};
use crate::root::{FileKind, attributes, names, refused};
use crate::{Error, Ownership, Result};

/// The copying snapshotter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Native;

/// What tells an inode that was touched from one that was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    /// Inode number and birth: numbers are used again at once.
    id: (u64, (i64, u32)),
    is_dir: bool,
    /// Change time.
    ctime: (i64, u32),
}

#[derive(Debug)]
struct Copied {
    work: PathBuf,
    before: BTreeMap<PathBuf, Stamp>,
}

impl Snapshotter for Native {
    fn mount(&self, view: View<'_>) -> Result<Box<dyn Mounted>> {
        let root = root_of(view.work);
        std::fs::create_dir(&root).map_err(|error| Error::at("create", &root, error))?;
        let ownership = if view.owners { Ownership::All } else { Ownership::Single };
        for lower in view.lowers {
            let dir = LayerDir::open(&root, ownership)?;
            let mut copying = Copying { dir, root: crate::Root::open(&root)?, lower: crate::Root::open(lower)? };
            scan(lower, &mut copying)?;
            copying.dir.finish()?;
        }
        dress_root(&root, view.root, view.owners)?;
        let before = if view.readonly { BTreeMap::new() } else { stamps(&root)? };
        if let Some(newest) = before.values().map(|stamp| stamp.ctime).max() {
            let tick = view.work.join("tick");
            wait_for_a_later_time(&tick, newest).map_err(|error| Error::at("touch", &tick, error))?;
        }
        Ok(Box::new(Copied { work: view.work.to_owned(), before }))
    }
}

/// Applies one layer directory on top of others.
struct Copying {
    dir: LayerDir,
    root: crate::Root,
    lower: crate::Root,
}

impl Copying {
    /// A further name of a file becomes a file of its own: in overlayfs, too, such names part when one is changed.
    fn further_name(&mut self, entry: &Entry, target: &Path) -> Result<()> {
        let fd = self.lower.open_link(target)?;
        let inode = attributes::inode(fd.as_fd(), target)?;
        if inode.kind != FileKind::File {
            return self.dir.put(entry, &mut std::io::empty()).map(drop);
        }
        let own = describe(fd.as_fd(), &entry.path, &inode, kind_of(fd.as_fd(), &inode, target)?)?;
        self.dir.put_copy(&own, &self.lower.open_file(target)?)
    }
}

impl Visit for Copying {
    fn entry(&mut self, entry: Entry, _: Option<&mut dyn Read>) -> Result<()> {
        match &entry.kind {
            EntryKind::File { .. } => self.dir.put_copy(&entry, &self.lower.open_file(&entry.path)?),
            EntryKind::Hardlink { target } => self.further_name(&entry, target),
            _ => self.dir.put(&entry, &mut std::io::empty()).map(drop),
        }
    }

    fn removed(&mut self, path: &Path, _: Mtime) -> Result<()> {
        self.dir.erase(path)
    }

    fn opaque(&mut self, dir: &Path, _: Mtime) -> Result<()> {
        let children = self.root.read_dir(dir)?;
        children.iter().try_for_each(|(name, _)| self.dir.erase(&dir.join(name)))
    }
}

/// Change times are as fine as the clock tick: whatever is touched from now on must differ from `newest`. Where the
/// kernel gives a finer time to what was looked at (6.13), this does not wait at all.
fn wait_for_a_later_time(tick: &Path, newest: (i64, u32)) -> std::io::Result<()> {
    let file = std::fs::File::create_new(tick)?;
    loop {
        attributes::set_mtime(file.as_fd(), Mtime { secs: 0, nanos: 0 })?;
        let change = rustix::fs::statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?.stx_ctime;
        if (change.tv_sec, change.tv_nsec) > newest {
            return std::fs::remove_file(tick);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn stamps(root: &Path) -> Result<BTreeMap<PathBuf, Stamp>> {
    let mut out = BTreeMap::new();
    let held = crate::Root::open(root)?;
    stamp_below(&held, Path::new(""), &mut out)?;
    Ok(out)
}

fn stamp_below(root: &crate::Root, dir: &Path, out: &mut BTreeMap<PathBuf, Stamp>) -> Result<()> {
    let fd = root.open_dir(dir)?;
    for (name, kind) in names(fd.as_fd()).map_err(refused("list", dir))? {
        let path = dir.join(&name);
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let stat = rustix::fs::statx(&fd, &name, AtFlags::SYMLINK_NOFOLLOW, wanted).map_err(refused("stat", &path))?;
        let is_dir = kind == FileKind::Dir;
        let (birth, change) = (stat.stx_btime, stat.stx_ctime);
        let id = (stat.stx_ino, (birth.tv_sec, birth.tv_nsec));
        out.insert(path.clone(), Stamp { id, is_dir, ctime: (change.tv_sec, change.tv_nsec) });
        if is_dir {
            stamp_below(root, &path, out)?;
        }
    }
    Ok(())
}

impl Mounted for Copied {
    fn commit(self: Box<Self>) -> Result<PathBuf> {
        let (root, upper) = (root_of(&self.work), self.work.join("upper"));
        let after = stamps(&root)?;
        std::fs::create_dir(&upper).map_err(|error| Error::at("create", &upper, error))?;
        let mut keep: BTreeMap<&Path, bool> = BTreeMap::new();
        for (path, stamp) in after.iter().filter(|(path, stamp)| self.before.get(*path) != Some(stamp)) {
            keep.extend(parents(path).map(|dir| (dir, true)));
            keep.insert(path, stamp.is_dir);
        }
        let gone = gone(&self.before, &after);
        for path in &gone {
            keep.extend(parents(path).map(|dir| (dir, true)));
        }
        let mut times = Vec::new();
        for (path, is_dir) in &keep {
            // Before its children move away, which changes it.
            times.extend(take(&root, &upper, path, *is_dir)?.map(|mtime| (*path, mtime)));
            if *is_dir && self.before.contains_key(*path) && !same_dir(self.before.get(*path), after.get(*path)) {
                mark_opaque(&upper.join(path))?;
            }
        }
        let mut dir = LayerDir::open(&upper, Ownership::All)?;
        gone.iter().try_for_each(|path| dir.remove(path))?;
        dir.finish()?;
        for (path, mtime) in times.into_iter().rev() {
            let held = crate::Root::open(&upper.join(path))?;
            attributes::set_mtime(held.as_fd(), mtime).map_err(refused("set the time of", path))?;
        }
        copy_attributes(&root, &upper)?;
        remove_path(&root)?;
        Ok(upper)
    }
}

/// Names that were there and are not, the topmost of each tree.
fn gone<'a>(before: &'a BTreeMap<PathBuf, Stamp>, after: &BTreeMap<PathBuf, Stamp>) -> Vec<&'a PathBuf> {
    let is_dir = |path: &Path| path.as_os_str().is_empty() || after.get(path).is_some_and(|stamp| stamp.is_dir);
    before
        .keys()
        .filter(|path| !after.contains_key(*path) && path.parent().is_some_and(is_dir))
        .filter(|path| path.parent().is_none_or(|dir| same_dir(before.get(dir), after.get(dir))))
        .collect()
}

/// The directories above a path, without the root.
fn parents(path: &Path) -> impl Iterator<Item = &Path> {
    path.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty())
}

/// One directory, still the same.
fn same_dir(before: Option<&Stamp>, after: Option<&Stamp>) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => before.id == after.id && before.is_dir && after.is_dir,
        // The root, which has no stamp.
        (None, None) => true,
        _ => false,
    }
}

/// Moves a file, or makes a directory with the attributes of the one it stands for, whose time is given back. Nothing
/// runs in the view any more, so paths may be joined; the last name is never followed.
fn take(root: &Path, upper: &Path, path: &Path, is_dir: bool) -> Result<Option<Mtime>> {
    let (from, to) = (root.join(path), upper.join(path));
    if !is_dir {
        return rustix::fs::renameat(CWD, &from, CWD, &to).map(|()| None).map_err(refused("move", &from));
    }
    std::fs::create_dir(&to).map_err(|error| Error::at("create", &to, error))?;
    copy_attributes(&from, &to).map(Some)
}

fn copy_attributes(from: &Path, to: &Path) -> Result<Mtime> {
    let entry = crate::layers::scan::root_entry(from)?;
    dress_root(to, &entry, true)?;
    Ok(entry.mtime)
}

fn mark_opaque(path: &Path) -> Result<()> {
    let root = crate::Root::open(path)?;
    attributes::set_xattr(root.as_fd(), OPAQUE, b"y").map_err(refused("make opaque", path))
}
