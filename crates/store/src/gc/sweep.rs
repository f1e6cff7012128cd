//! Removes files that have no row, and what processes that are gone left behind. Does not know why a row went.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rusqlite::Connection;

use super::{Kind, PruneOptions, Report};
use crate::rebuild::list;
use crate::{Error, Result, Store};

/// Blobs unlinked in one transaction: other writers wait for some milliseconds at most.
const BATCH: usize = 64;

/// Stat caches of contexts that nobody has built for a month.
const STAT_KEPT_SECS: i64 = 30 * 24 * 3600;

/// Removes everything that has neither a row nor a living owner.
pub(crate) fn sweep(store: &Store, options: &PruneOptions, report: &mut Report) -> Result<()> {
    blobs(store)?;
    directories(store, "layers", "SELECT id FROM layers", report)?;
    directories(store, "cache-mounts", "SELECT id FROM cache_mounts", report)?;
    for name in ["tmp", "mounts"] {
        owned(store, name, report)?;
    }
    for (name, path) in list(&store.tree().join("quarantine"))? {
        remove_counted(&path, &format!("quarantine/{name}"), report);
    }
    for (name, _) in list(&store.tree().join("leases"))? {
        store.is_owner_alive(&name)?;
    }
    stat_caches(store, options, report)
}

/// Blob files without rows. Their bytes were counted when the rows went.
pub(crate) fn blobs(store: &Store) -> Result<()> {
    let known = ids(store, "SELECT digest FROM blobs")?;
    let files: Vec<_> = store.blob_files()?.into_iter().filter(|(digest, _)| !known.contains(digest)).collect();
    for batch in files.chunks(BATCH) {
        store.tree().step("prune.unlink")?;
        store.db().write_with(false, |c| {
            batch.iter().try_for_each(|(digest, _)| {
                // A blob may have come back since the list was made.
                if c.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?.exists([digest])? {
                    return Ok(());
                }
                let digest = digest.parse()?;
                let path = store.blob_path(&digest);
                fs::remove_file(&path).or_else(gone_is_fine).map_err(|error| Error::at("remove", &path, error))
            })
        })?;
    }
    Ok(())
}

/// Directories without rows: moved to `tmp/` inside a transaction, removed outside, because that may take long.
fn directories(store: &Store, dir: &str, sql: &str, report: &mut Report) -> Result<()> {
    let known = ids(store, sql)?;
    let exists = format!("{sql} WHERE id = ?1");
    for (name, path) in list(&store.tree().join(dir))? {
        if known.contains(&name) {
            continue;
        }
        let aside = store.temporary()?;
        store.tree().step("prune.rename")?;
        let moved = store.db().write_with(false, |c| {
            if c.prepare_cached(&exists)?.exists([&name])? || is_held(c, dir, &name)? {
                return Ok(false);
            }
            fs::rename(&path, &aside).map_err(|error| Error::at("move", &path, error))?;
            Ok(true)
        })?;
        if moved {
            remove_tree(&aside).unwrap_or_else(|error| leave(&error, report));
        }
    }
    Ok(())
}

/// A build made the directory and has not written its row, or is about to use it.
fn is_held(c: &Connection, dir: &str, id: &str) -> Result<bool> {
    let kind = if dir == "layers" { "layer" } else { "cachemount" };
    Ok(c.prepare_cached("SELECT 1 FROM leases WHERE kind = ?1 AND id = ?2")?.exists([kind, id])?)
}

/// Files and directories named `<owner>.<random>` whose owner is gone.
fn owned(store: &Store, dir: &str, report: &mut Report) -> Result<()> {
    let mut alive: HashMap<String, bool> = HashMap::new();
    for (name, path) in list(&store.tree().join(dir))? {
        let owner = name.split('.').next().unwrap_or_default().to_owned();
        let is_alive = match alive.get(&owner) {
            Some(known) => *known,
            None => store.is_owner_alive(&owner)?,
        };
        alive.insert(owner, is_alive);
        if !is_alive {
            remove_counted(&path, &format!("{dir}/{name}"), report);
        }
    }
    Ok(())
}

fn stat_caches(store: &Store, options: &PruneOptions, report: &mut Report) -> Result<()> {
    for (name, path) in list(&store.tree().join("stat"))? {
        let used = fs::symlink_metadata(&path).map_or(0, |meta| meta.mtime());
        if options.all || used < store.now().saturating_sub(STAT_KEPT_SECS) {
            remove_counted(&path, &format!("stat/{name}"), report);
        }
    }
    Ok(())
}

fn remove_counted(path: &Path, id: &str, report: &mut Report) {
    let bytes = disk_usage(path);
    match remove_tree(path) {
        Ok(()) => report.add(Kind::Leftover, id, bytes),
        Err(error) => leave(&error, report),
    }
}

/// One thing that cannot be removed (a mount, another user's file) must not keep the rest from going.
fn leave(error: &Error, report: &mut Report) {
    let why = std::error::Error::source(error).map(|why| format!(": {why}")).unwrap_or_default();
    report.left.push(format!("{error}{why}"));
}

fn ids(store: &Store, sql: &str) -> Result<HashSet<String>> {
    store.db().read(|c| {
        let mut statement = c.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| row.get(0))?;
        rows.collect()
    })
}

/// Bytes of every cache mount.
pub(crate) fn cache_mount_sizes(store: &Store) -> Result<HashMap<String, u64>> {
    Ok(list(&store.tree().join("cache-mounts"))?.into_iter().map(|(id, path)| (id, disk_usage(&path))).collect())
}

/// Bytes on disk of everything below `path`, following nothing.
pub(crate) fn disk_usage(path: &Path) -> u64 {
    let mut bytes = 0;
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        // st_blocks counts 512 bytes whatever the file system's blocks are.
        bytes += meta.blocks() * 512;
        if meta.is_dir() {
            waiting.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    bytes
}

/// Removes a file or tree without following links or crossing into a mount.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::at("look at", path, error)),
    };
    if !meta.is_dir() {
        return fs::remove_file(path).or_else(gone_is_fine).map_err(|error| Error::at("remove", path, error));
    }
    unmount_below(path)?;
    let removed = fs::remove_dir_all(path).or_else(gone_is_fine).or_else(|error| {
        if error.kind() != std::io::ErrorKind::PermissionDenied {
            return Err(error);
        }
        open_up(path);
        fs::remove_dir_all(path)
    });
    removed.map_err(|error| Error::at("remove", path, error))
}

/// A killed process may have left mounts: their content is not ours to remove.
fn unmount_below(path: &Path) -> Result<()> {
    let Ok(path) = fs::canonicalize(path) else { return Ok(()) };
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut points: Vec<String> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape)
        .filter(|point| Path::new(point).starts_with(&path))
        .collect();
    // The ones on top of others come later in the table.
    points.reverse();
    for point in points {
        rustix::mount::unmount(point.as_str(), rustix::mount::UnmountFlags::NOFOLLOW)
            .map_err(|error| Error::at("unmount", Path::new(&point), error))?;
    }
    Ok(())
}

/// proc(5): space, tab, newline and backslash are octal escapes.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

/// A step may leave directories that even their owner cannot enter.
fn open_up(path: &Path) {
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
            let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o700));
            waiting.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
}

fn gone_is_fine(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
