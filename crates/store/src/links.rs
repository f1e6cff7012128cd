//! Links: which repository of a registry server shows which blob, and which of its blobs are manifests. What is linked is
//! kept. Does not know what manifests name: who calls says what they need.

use cooper_oci::{Descriptor, Digest, MediaType, Reference};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::images::ImageRow;
use crate::{BlobWriter, Error, ErrorKind, Result, Store, images_index};

/// `media_type` is empty for what is no manifest: a digest may be linked as both. `loose` says since when nothing is known to
/// need the link. `unlinked` names blobs that lost a link: the next collection looks whether anything else needs them.
pub(crate) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS links(
    repository TEXT NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL, subject TEXT, loose INTEGER,
    PRIMARY KEY(repository, digest, media_type)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS links_digest ON links(digest);
CREATE INDEX IF NOT EXISTS links_subject ON links(repository, subject) WHERE subject IS NOT NULL;
CREATE TABLE IF NOT EXISTS unlinked(digest TEXT PRIMARY KEY) WITHOUT ROWID;
";

const COLUMNS: &str = "digest, media_type, subject, loose";

/// A blob or manifest of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The bytes.
    pub digest: Digest,
    /// The type of a manifest; `None` for a blob.
    pub media_type: Option<MediaType>,
    /// What a manifest is a statement about.
    pub subject: Option<Digest>,
    /// Since when nothing is known to need it: seconds since 1970.
    pub loose_since: Option<i64>,
}

/// A manifest on its way into a repository.
#[derive(Debug)]
pub struct NewManifest<'a> {
    /// The repository.
    pub repository: &'a str,
    /// The manifest.
    pub descriptor: &'a Descriptor,
    /// Its bytes, which are the digest's.
    pub bytes: &'a [u8],
    /// What it is a statement about.
    pub subject: Option<&'a Digest>,
    /// Names it is given.
    pub names: &'a [Reference],
    /// What it cannot do without.
    pub parts: &'a [NewPart],
}

/// Something a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPart {
    /// Its digest.
    pub digest: Digest,
    /// The type of a manifest, if the caller knows it; `None` for a blob.
    pub media_type: Option<MediaType>,
    /// It must be linked in the repository; else it need only be in the store: an image of the repository shows it.
    pub linked: bool,
}

impl Store {
    /// What a repository links to under a digest, as blob or as manifest.
    pub fn link(&self, repository: &str, digest: &Digest, is_manifest: bool) -> Result<Option<Link>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM links WHERE repository = ?1 AND digest = ?2 AND (media_type <> '') = ?3 LIMIT 1"
        );
        let row = self.db().read(|c| {
            c.prepare_cached(&sql)?.query_row(params![repository, digest.to_string(), is_manifest], raw).optional()
        })?;
        row.map(link).transpose()
    }

    /// Everything a repository links to.
    pub fn links(&self, repository: &str) -> Result<Vec<Link>> {
        self.select_links(&format!("SELECT {COLUMNS} FROM links WHERE repository = ?1"), &[repository])
    }

    /// The manifests of a repository that are about `subject`, by digest.
    pub fn links_about(&self, repository: &str, subject: &Digest) -> Result<Vec<Link>> {
        let sql = format!("SELECT {COLUMNS} FROM links WHERE repository = ?1 AND subject = ?2 ORDER BY digest");
        self.select_links(&sql, &[repository, &subject.to_string()])
    }

    /// Repositories that link to something.
    pub fn linking_repositories(&self) -> Result<Vec<String>> {
        self.texts("SELECT DISTINCT repository FROM links ORDER BY repository", &[])
    }

    /// Repositories that link to a blob.
    pub fn repositories_linking(&self, digest: &Digest) -> Result<Vec<String>> {
        let sql = "SELECT repository FROM links WHERE digest = ?1 AND media_type = '' ORDER BY repository";
        self.texts(sql, &[&digest.to_string()])
    }

    /// Links a blob that the store has; `false` when it does not have it. Survives a power cut.
    pub fn link_blob(&self, repository: &str, digest: &Digest) -> Result<bool> {
        self.db().write_durable(|c| {
            let there = has_row(c, digest)?;
            if there {
                insert(c, repository, digest, None, None)?;
            }
            Ok(there)
        })
    }

    /// Somebody counts on a loose link: it is as good as new.
    pub fn tighten_link(&self, repository: &str, digest: &Digest) -> Result<()> {
        self.db().write(|c| {
            c.prepare_cached(
                "UPDATE links SET loose = NULL WHERE repository = ?1 AND digest = ?2 AND loose IS NOT NULL",
            )?
            .execute(params![repository, digest.to_string()])
            .map(drop)
        })
    }

    /// Stores a manifest, links it and its parts and names it, all or nothing and safe from a power cut. `Some` is the first
    /// part that is not there: then nothing was kept.
    pub fn put_manifest(&self, manifest: &NewManifest<'_>) -> Result<Option<Digest>> {
        let image = ImageRow::of_bytes(manifest.descriptor, manifest.bytes, self.now())?;
        let mut writer = self.blob_writer_unhashed()?;
        std::io::Write::write_all(&mut writer, manifest.bytes)
            .map_err(|error| Error::io("cannot write a manifest", error))?;
        let mut missing = None;
        let put = writer.commit_with(&manifest.descriptor.digest, manifest.descriptor.size, |c| {
            missing = first_missing(c, manifest)?;
            if missing.is_some() {
                return Err(Error::new(ErrorKind::NotFound, "a part of the manifest is not there"));
            }
            let media_type = Some(&manifest.descriptor.media_type);
            insert(c, manifest.repository, &manifest.descriptor.digest, media_type, manifest.subject)?;
            manifest.names.iter().try_for_each(|name| image.insert_named(c, name))?;
            Ok(())
        });
        match (put, missing) {
            (Err(_), Some(missing)) => Ok(Some(missing)),
            (put, _) => put.map(|()| None),
        }
    }

    /// Takes a blob or manifest out of a repository, with these names of it; `false` when neither was there.
    pub fn unlink(&self, repository: &str, digest: &Digest, is_manifest: bool, names: &[Reference]) -> Result<bool> {
        self.db().write_durable(|c| {
            let digest = digest.to_string();
            let sql = "DELETE FROM links WHERE repository = ?1 AND digest = ?2 AND (media_type <> '') = ?3";
            let mut gone = c.prepare_cached(sql)?.execute(params![repository, digest, is_manifest])?;
            if !names.is_empty() {
                images_index::mark(c)?;
            }
            for name in names {
                let sql = "DELETE FROM tags WHERE name = ?1 AND digest = ?2";
                gone += c.prepare_cached(sql)?.execute(params![name.to_string(), digest])?;
            }
            forget(c, &digest)?;
            Ok(gone > 0)
        })
    }

    /// Takes names away, whatever they name; `false` when there was none of them.
    pub fn untag_all(&self, names: &[Reference]) -> Result<bool> {
        self.db().write_durable(|c| {
            images_index::mark(c)?;
            let mut statement = c.prepare_cached("DELETE FROM tags WHERE name = ?1")?;
            let gone = names.iter().map(|name| statement.execute([name.to_string()]));
            gone.sum::<rusqlite::Result<usize>>().map(|gone| gone > 0)
        })
    }

    /// Writes down which of a repository's links are needed, and drops those that were not for `grace_secs`; how many. Links
    /// that changed since they were read stay as they are.
    pub fn settle_links(&self, repository: &str, looked: &[(Link, bool)], grace_secs: i64) -> Result<usize> {
        let now = self.now();
        self.db().write_durable(|c| {
            let mut dropped = 0;
            for (link, needed) in looked {
                let key = (repository, link.digest.to_string(), link.media_type.as_ref().map_or("", MediaType::as_str));
                match (needed, link.loose_since) {
                    (true, None) => {}
                    (true, since) => set_loose(c, &key, since, None)?,
                    (false, None) => set_loose(c, &key, None, Some(now))?,
                    (false, Some(since)) if since > now.saturating_sub(grace_secs) => {}
                    (false, Some(since)) => dropped += usize::from(drop_loose(c, &key, since)?),
                }
            }
            Ok(dropped)
        })
    }

    /// Brings `index.json` up to date with what [`Store::put_manifest`] and others named.
    pub fn write_index(&self) -> Result<()> {
        images_index::catch_up(self)
    }

    fn select_links(&self, sql: &str, arguments: &[&str]) -> Result<Vec<Link>> {
        let rows = self.db().read(|c| {
            let mut statement = c.prepare_cached(sql)?;
            let rows = statement.query_map(rusqlite::params_from_iter(arguments), raw)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter().map(link).collect()
    }

    fn texts(&self, sql: &str, arguments: &[&str]) -> Result<Vec<String>> {
        self.db().read(|c| {
            let mut statement = c.prepare_cached(sql)?;
            let rows = statement.query_map(rusqlite::params_from_iter(arguments), |row| row.get(0))?;
            rows.collect()
        })
    }
}

impl BlobWriter {
    /// Publishes the blob under `digest`, which must be that of what was written, and links it in a repository with the same
    /// transaction: it is never there without its link.
    pub fn commit_linked(self, digest: &Digest, repository: &str) -> Result<()> {
        self.commit_hashed(digest, |c| Ok(insert(c, repository, digest, None, None)?))
    }
}

fn first_missing(c: &Connection, manifest: &NewManifest<'_>) -> Result<Option<Digest>> {
    for part in manifest.parts {
        let there = match part.linked {
            true => has_row(c, &part.digest)? && tighten(c, manifest.repository, part)?,
            false => has_row(c, &part.digest)?,
        };
        if !there {
            return Ok(Some(part.digest.clone()));
        }
        if !part.linked {
            insert(c, manifest.repository, &part.digest, part.media_type.as_ref(), None)?;
        }
    }
    Ok(None)
}

fn has_row(c: &Connection, digest: &Digest) -> rusqlite::Result<bool> {
    c.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?.exists([digest.to_string()])
}

/// Whether the part is linked; from then on something needs it.
fn tighten(c: &Connection, repository: &str, part: &NewPart) -> rusqlite::Result<bool> {
    let sql = "UPDATE links SET loose = NULL WHERE repository = ?1 AND digest = ?2 AND (media_type <> '') = ?3";
    let changed =
        c.prepare_cached(sql)?.execute(params![repository, part.digest.to_string(), part.media_type.is_some()])?;
    Ok(changed > 0)
}

fn insert(
    c: &Connection,
    repository: &str,
    digest: &Digest,
    media_type: Option<&MediaType>,
    subject: Option<&Digest>,
) -> rusqlite::Result<()> {
    let sql =
        "INSERT OR REPLACE INTO links(repository, digest, media_type, subject, loose) VALUES(?1, ?2, ?3, ?4, NULL)";
    let media_type = media_type.map_or("", MediaType::as_str);
    let subject = subject.map(Digest::to_string);
    c.prepare_cached(sql)?.execute(params![repository, digest.to_string(), media_type, subject]).map(drop)
}

/// After a link went: the image goes too when neither a name nor a link is left, and the blob is looked at.
fn forget(c: &Connection, digest: &str) -> rusqlite::Result<()> {
    let sql = "DELETE FROM images WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM tags WHERE tags.digest = ?1)
        AND NOT EXISTS (SELECT 1 FROM links WHERE links.digest = ?1)";
    if c.prepare_cached(sql)?.execute([digest])? > 0 {
        images_index::mark(c)?;
    }
    c.prepare_cached("INSERT OR IGNORE INTO unlinked(digest) VALUES(?1)")?.execute([digest]).map(drop)
}

/// Repository, digest, media type.
type Key<'a> = (&'a str, String, &'a str);

fn set_loose(c: &Connection, key: &Key<'_>, from: Option<i64>, to: Option<i64>) -> rusqlite::Result<()> {
    let sql = "UPDATE links SET loose = ?5 WHERE repository = ?1 AND digest = ?2 AND media_type = ?3 AND loose IS ?4";
    c.prepare_cached(sql)?.execute(params![key.0, key.1, key.2, from, to]).map(drop)
}

fn drop_loose(c: &Connection, key: &Key<'_>, since: i64) -> rusqlite::Result<bool> {
    let sql = "DELETE FROM links WHERE repository = ?1 AND digest = ?2 AND media_type = ?3 AND loose = ?4";
    let dropped = c.prepare_cached(sql)?.execute(params![key.0, key.1, key.2, since])? > 0;
    if dropped {
        forget(c, &key.1)?;
    }
    Ok(dropped)
}

type Raw = (String, String, Option<String>, Option<i64>);

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn link((digest, media_type, subject, loose_since): Raw) -> Result<Link> {
    Ok(Link {
        digest: digest.parse()?,
        media_type: Some(media_type).filter(|text| !text.is_empty()).map(MediaType),
        subject: subject.map(|text| text.parse()).transpose()?,
        loose_since,
    })
}

/// Digests that lost a link.
pub(crate) fn unlinked(c: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = c.prepare_cached("SELECT digest FROM unlinked")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}

/// Every digest that is linked, as often as it is.
pub(crate) fn linked(c: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = c.prepare_cached("SELECT digest FROM links")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}
