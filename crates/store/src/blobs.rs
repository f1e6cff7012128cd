//! Blobs by digest in `blobs/<algorithm>/<hex>`: which there are, and what is done with a broken one.
//! Does not know what a blob holds; bytes are read and written by `blob_io`.

use std::fs;

use cooper_oci::{Algorithm, Descriptor, Digest, Hasher};
use rusqlite::{Connection, OptionalExtension, params};

use crate::blob_io::{BlobReader, BlobWriter};
use crate::db::length;
use crate::events::EventKind;
use crate::tree::sync_dir;
use crate::{Error, ErrorKind, Result, Store};

/// `state` is `durable`, or `volatile:<boot id>` of the boot that wrote the file and has not synced it.
pub(crate) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS blobs(
    digest TEXT PRIMARY KEY, size INTEGER NOT NULL, created INTEGER NOT NULL, used INTEGER NOT NULL,
    state TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blobs_state ON blobs(state) WHERE state <> 'durable';
CREATE TABLE IF NOT EXISTS origins(
    digest TEXT NOT NULL, registry TEXT NOT NULL, repository TEXT NOT NULL,
    PRIMARY KEY(digest, registry, repository)) WITHOUT ROWID;
";

/// Cross-repository mounts try a few places; more are noise.
const ORIGINS_MAX: i64 = 16;

/// A row of `blobs`.
#[derive(Clone, Debug)]
pub(crate) struct BlobRow {
    pub(crate) size: u64,
    pub(crate) state: String,
    used: i64,
}

impl Store {
    /// The store has the blob, whole as far as can be seen without reading it. One that a power cut may have torn is read.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool> {
        Ok(self.blob_size(digest)?.is_some())
    }

    /// The blob's length, if the store has it.
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        let Some(row) = self.blob_row(digest)? else { return Ok(None) };
        if let Some(why) = self.blob_fault(digest, &row)? {
            self.quarantine_blob(digest, &why)?;
            return Ok(None);
        }
        self.touch("blobs", &digest.to_string(), row.used);
        Ok(Some(row.size))
    }

    /// Opens a blob; the reader ends in an error, not in the last bytes, when they are not the digest's.
    pub fn open_blob(&self, digest: &Digest) -> Result<BlobReader> {
        let size = self.blob_size(digest)?.ok_or_else(|| not_found(digest))?;
        let path = self.blob_path(digest);
        let file = fs::File::open(&path).map_err(|error| Error::at("open", &path, error))?;
        Ok(BlobReader::new(self.clone(), file, digest.clone(), size))
    }

    /// Reads a whole blob of at most `limit` bytes, verified.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let mut reader = self.open_blob(digest)?;
        if reader.size() > limit {
            let what = format!("{digest} has {} bytes; at most {limit} are read", reader.size());
            return Err(Error::new(ErrorKind::TooLarge, what));
        }
        let mut out = Vec::with_capacity(reader.size() as usize);
        std::io::Read::read_to_end(&mut reader, &mut out)
            .map_err(|error| Error::io(format!("cannot read {digest}"), error))?;
        Ok(out)
    }

    /// Stores `bytes`.
    pub fn put_bytes(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
        let descriptor = Descriptor::of(media_type, bytes);
        if let Some(lease) = &self.build {
            lease.hold_blob(&descriptor.digest)?;
        }
        if !self.has_blob(&descriptor.digest)? {
            let mut writer = self.blob_writer_unhashed()?;
            std::io::Write::write_all(&mut writer, bytes).map_err(|error| Error::io("cannot write a blob", error))?;
            writer.commit_known(&descriptor.digest, descriptor.size)?;
        }
        Ok(descriptor)
    }

    /// A writer that hashes what it is given (SHA-256).
    pub fn blob_writer(&self) -> Result<BlobWriter> {
        BlobWriter::new(self.clone(), Some(Hasher::default()))
    }

    /// A writer that hashes what it is given, for a digest of this algorithm.
    pub fn blob_writer_of(&self, algorithm: Algorithm) -> Result<BlobWriter> {
        BlobWriter::new(self.clone(), Some(Hasher::new(algorithm)))
    }

    /// A writer for bytes that the caller hashes: only [`BlobWriter::commit_known`] ends it.
    pub fn blob_writer_unhashed(&self) -> Result<BlobWriter> {
        BlobWriter::new(self.clone(), None)
    }

    /// Remembers that a registry's repository has these blobs, so that they can be mounted from there.
    pub fn add_origins(&self, digests: &[Digest], registry: &str, repository: &str) -> Result<()> {
        let mut unknown = Vec::new();
        for digest in digests {
            let is_it = |(other, name): &(String, String)| other == registry && name == repository;
            if !self.origins(digest)?.iter().any(is_it) {
                unknown.push(digest.to_string());
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        self.db().write(|c| {
            let sql = "INSERT OR IGNORE INTO origins(digest, registry, repository) VALUES(?1, ?2, ?3)";
            let mut statement = c.prepare_cached(sql)?;
            unknown.iter().try_for_each(|digest| statement.execute(params![digest, registry, repository]).map(drop))
        })
    }

    /// Registries and repositories known to have the blob.
    pub fn origins(&self, digest: &Digest) -> Result<Vec<(String, String)>> {
        self.db().read(|c| {
            let sql = "SELECT registry, repository FROM origins WHERE digest = ?1 LIMIT ?2";
            let mut statement = c.prepare_cached(sql)?;
            let rows = statement.query_map(params![digest.to_string(), ORIGINS_MAX], |r| Ok((r.get(0)?, r.get(1)?)))?;
            rows.collect()
        })
    }

    pub(crate) fn blob_row(&self, digest: &Digest) -> Result<Option<BlobRow>> {
        self.db().read(|c| row(c, digest))
    }

    /// Why the file is not what its row says. Reads it only when an earlier boot left it unsynced.
    fn blob_fault(&self, digest: &Digest, row: &BlobRow) -> Result<Option<String>> {
        let path = self.blob_path(digest);
        let size = match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => meta.len(),
            Ok(_) => return Ok(Some("it is not a file".into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Some("its file is gone".into())),
            Err(error) => return Err(Error::at("look at", &path, error)),
        };
        if size != row.size {
            return Ok(Some(format!("its file has {size} bytes instead of {}", row.size)));
        }
        if self.is_current(&row.state) {
            return Ok(None);
        }
        match self.verify_file(digest, size)? {
            None => self.settle(digest).map(|()| None),
            fault => Ok(fault),
        }
    }

    /// Reads the file; `Some` says what is wrong with it.
    pub(crate) fn verify_file(&self, digest: &Digest, size: u64) -> Result<Option<String>> {
        let path = self.blob_path(digest);
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Some("its file is gone".into())),
            Err(error) => return Err(Error::at("open", &path, error)),
        };
        let mut reader = BlobReader::unwatched(file, digest.clone(), size);
        match std::io::copy(&mut reader, &mut std::io::sink()) {
            Ok(_) => Ok(None),
            Err(error) => {
                let error = Error::io(format!("cannot read {digest}"), error);
                // A disk that cannot give the bytes back has lost them.
                let lost = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Io);
                if lost { Ok(Some(source_text(&error))) } else { Err(error) }
            }
        }
    }

    /// A blob of an earlier boot proved whole: sync it once, so that it need not be read again.
    fn settle(&self, digest: &Digest) -> Result<()> {
        let path = self.blob_path(digest);
        fs::File::open(&path).and_then(|file| file.sync_data()).map_err(|error| Error::at("sync", &path, error))?;
        sync_dir(path.parent().unwrap_or(self.root()))?;
        self.db().write(|c| {
            c.prepare_cached("UPDATE blobs SET state = 'durable' WHERE digest = ?1")?
                .execute([digest.to_string()])
                .map(drop)
        })
    }

    /// Moves a broken blob aside and forgets it, so that whoever needs it makes or fetches it again.
    pub(crate) fn quarantine_blob(&self, digest: &Digest, why: &str) -> Result<()> {
        let from = self.blob_path(digest);
        let to = self.tree().join("quarantine").join(digest.hex());
        self.db().write_with(false, |c| {
            forget_blob(c, &digest.to_string())?;
            match fs::rename(&from, &to) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::at("move", &from, error)),
                _ => Ok(()),
            }
        })?;
        self.record_event(EventKind::Quarantined, &digest.to_string(), why);
        Ok(())
    }

    /// Quarantines a blob whose bytes were found wrong while they were read, unless it was replaced meanwhile.
    pub(crate) fn blob_was_wrong(&self, digest: &Digest, why: &str) {
        let still = fs::metadata(self.blob_path(digest)).map(|meta| meta.len());
        let wrong = still.is_ok_and(|size| self.verify_file(digest, size).is_ok_and(|fault| fault.is_some()));
        if wrong {
            let _ = self.quarantine_blob(digest, why);
        }
    }
}

pub(crate) fn row(c: &Connection, digest: &Digest) -> rusqlite::Result<Option<BlobRow>> {
    c.prepare_cached("SELECT size, state, used FROM blobs WHERE digest = ?1")?
        .query_row([digest.to_string()], |row| {
            Ok(BlobRow { size: length(row, 0)?, state: row.get(1)?, used: row.get(2)? })
        })
        .optional()
}

/// Drops the row of a blob and every row that says where it is used as bytes.
pub(crate) fn forget_blob(c: &Connection, digest: &str) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM blobs WHERE digest = ?1",
        "DELETE FROM layer_blobs WHERE digest = ?1",
        "DELETE FROM pieces WHERE blob = ?1",
    ] {
        c.prepare_cached(sql)?.execute([digest])?;
    }
    Ok(())
}

pub(crate) fn not_found(digest: &Digest) -> Error {
    Error::new(ErrorKind::NotFound, format!("the store does not have {digest}"))
}

fn source_text(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
