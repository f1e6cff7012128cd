//! Makes a new database when the old one cannot be read: blobs and images are found again from the files.
//! Records are not: they are a cache.

use std::fs;
use std::path::Path;

use rusqlite::params;

use crate::db::column;
use crate::events::EventKind;
use crate::tree::{Tree, random};
use crate::{Error, ErrorKind, Result, Store, images_index, lock};

/// The `state` of rows found again, or whose sync failed: of no boot, so the bytes are verified on first use.
pub(crate) const FOUND: &str = "volatile:found";

/// Its presence says that rows are to be found again: it comes before the old database goes, and goes after.
const MARK: &str = "rebuild";

/// Leaves the mark when a store that was whole has no database.
pub(crate) fn notice_loss(tree: &Tree) -> Result<()> {
    if tree.existed() && !tree.join("db.sqlite").exists() {
        return tree.write_file(&tree.join(MARK), b"the database was missing");
    }
    Ok(())
}

/// Moves a database that cannot be read aside, unless another process was first.
pub(crate) fn set_aside_alone(tree: &Tree, why: Error) -> Result<()> {
    let Some(_alone) = lock::exclusive_now(&tree.join("lock"))? else {
        return Err(why.with_hint("other cooper processes use the store; end them and try again"));
    };
    match crate::db::Db::open(&tree.join("db.sqlite")) {
        Err(error) if error.kind() == ErrorKind::Corrupt => set_aside(tree, &why.to_string()),
        _ => Ok(()),
    }
}

/// Moves the database aside. The caller is alone in the store.
pub(crate) fn set_aside(tree: &Tree, why: &str) -> Result<()> {
    tree.write_file(&tree.join(MARK), why.as_bytes())?;
    let number = random();
    for name in ["db.sqlite", "db.sqlite-wal", "db.sqlite-shm", "db.sqlite-journal"] {
        let (from, to) = (tree.join(name), tree.join("quarantine").join(format!("{number:016x}.{name}")));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::at("move", &from, error)),
            _ => {}
        }
    }
    Ok(())
}

impl Store {
    pub(crate) fn rebuild_if_lost(&self) -> Result<()> {
        let mark = self.tree().join(MARK);
        if !mark.exists() {
            return Ok(());
        }
        let why = fs::read_to_string(&mark).unwrap_or_default();
        self.rebuild_rows(&why)?;
        fs::remove_file(&mark).map_err(|error| Error::at("remove", &mark, error))
    }

    /// Writes rows for every blob file, then for every image of `index.json`: all of them at once, because the file is
    /// written anew from the rows later.
    fn rebuild_rows(&self, why: &str) -> Result<()> {
        let blobs = self.blob_files()?;
        let now = self.now();
        self.db().write_durable(|c| {
            let sql = "INSERT OR IGNORE INTO blobs(digest, size, created, used, state) VALUES(?1, ?2, ?3, ?3, ?4)";
            let mut statement = c.prepare_cached(sql)?;
            blobs
                .iter()
                .try_for_each(|(digest, size)| statement.execute(params![digest, column(*size), now, FOUND]).map(drop))
        })?;
        let mut images = Vec::new();
        for (name, descriptor) in images_index::read(self).unwrap_or_default() {
            if self.has_blob(&descriptor.digest)? {
                images.push(self.image_row(&descriptor, name.as_ref())?);
            }
        }
        self.db().write_durable(|c| images.iter().try_for_each(|image| image.insert(c)))?;
        images_index::write(self)?;
        let what = format!("{why}; {} blobs and {} images were found again", blobs.len(), images.len());
        self.record_event(EventKind::Rebuilt, "db.sqlite", &what);
        Ok(())
    }

    /// Digest and length of every file that is named like a blob.
    pub(crate) fn blob_files(&self) -> Result<Vec<(String, u64)>> {
        let mut out = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            for (name, path) in list(&self.tree().join("blobs").join(algorithm))? {
                let digest = format!("{algorithm}:{name}");
                let size = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file).map(|meta| meta.len());
                if let Some(size) = size.filter(|_| digest.parse::<cooper_oci::Digest>().is_ok()) {
                    out.push((digest, size));
                }
            }
        }
        Ok(out)
    }
}

/// Names and paths in a directory; names that are not text are not ours. A missing directory is empty.
pub(crate) fn list(dir: &Path) -> Result<Vec<(String, std::path::PathBuf)>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::at("list", dir, error)),
    };
    let mut out = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| Error::at("list", dir, error))?;
        if let Ok(name) = entry.file_name().into_string() {
            out.push((name, entry.path()));
        }
    }
    Ok(out)
}
