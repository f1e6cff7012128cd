//! Finds what is broken: in the database, blobs, layers, images and records. Changes nothing; see `repair`.
//! A file without a row is not broken: a killed process leaves some, and the next prune removes them.

use std::collections::{HashMap, HashSet};
use std::fmt;

use rayon::prelude::*;

use crate::gc::contents;
use crate::{LayerId, Result, Store, images_index};

/// What a [`Problem`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProblemKind {
    /// The database fails its own check.
    Database,
    /// A blob's file is missing, of the wrong length, or of the wrong content.
    Blob,
    /// A layer's directory is missing or not what it was.
    Layer,
    /// An image's manifest, or something it names, is not in the store.
    Image,
    /// A record names a layer or side file that is not in the store.
    Record,
    /// `index.json` does not say what the rows say.
    Index,
}

/// Something that is broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// What it is about.
    pub kind: ProblemKind,
    /// Which one: a digest, a layer id, a record id, a name, a path.
    pub subject: String,
    /// What is wrong with it.
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.detail)
    }
}

impl Store {
    /// Everything that is broken, in a fixed order. With `read_data` every byte is read; else only names and lengths.
    pub fn check(&self, read_data: bool) -> Result<Vec<Problem>> {
        let mut out: Vec<Problem> =
            self.db().faults()?.into_iter().map(|fault| problem(ProblemKind::Database, "db.sqlite", fault)).collect();
        if !out.is_empty() {
            return Ok(out);
        }
        self.check_blobs(read_data, &mut out)?;
        self.check_layers(read_data, &mut out)?;
        self.check_images(&mut out)?;
        self.check_image_blobs(&mut out)?;
        self.check_records(&mut out)?;
        out.sort();
        Ok(out)
    }

    fn check_blobs(&self, read_data: bool, out: &mut Vec<Problem>) -> Result<()> {
        let rows: Vec<(String, i64)> = self.pairs("SELECT digest, size FROM blobs")?;
        let found =
            rows.par_iter().map(|(digest, size)| self.check_blob(digest, u64::try_from(*size).unwrap_or(0), read_data));
        out.extend(found.collect::<Result<Vec<_>>>()?.into_iter().flatten());
        Ok(())
    }

    fn check_blob(&self, text: &str, size: u64, read_data: bool) -> Result<Option<Problem>> {
        let Ok(digest) = text.parse() else {
            return Ok(Some(problem(ProblemKind::Blob, text, "its row does not hold a digest")));
        };
        let found = std::fs::symlink_metadata(self.blob_path(&digest)).ok().filter(std::fs::Metadata::is_file);
        let fault = match found.map(|meta| meta.len()) {
            None => Some("its file is gone".to_owned()),
            Some(len) if len != size => Some(format!("its file has {len} bytes instead of {size}")),
            Some(_) if read_data => self.verify_file(&digest, size)?,
            Some(_) => None,
        };
        Ok(fault.map(|fault| problem(ProblemKind::Blob, text, fault)))
    }

    fn check_layers(&self, read_data: bool, out: &mut Vec<Problem>) -> Result<()> {
        let rows: Vec<(String, i64)> = self.pairs("SELECT id, coalesce(unpacked, 0) FROM layers")?;
        let found = rows.par_iter().map(|(text, unpacked)| {
            let faults = match text.parse::<LayerId>() {
                Ok(id) => self.layer_faults(&id, *unpacked != 0, read_data)?,
                Err(_) => vec!["its row does not hold a layer id".into()],
            };
            Ok(faults.into_iter().map(|fault| problem(ProblemKind::Layer, text, fault)).collect::<Vec<_>>())
        });
        out.extend(found.collect::<Result<Vec<_>>>()?.into_iter().flatten());
        Ok(())
    }

    fn layer_faults(&self, id: &LayerId, unpacked: bool, read_data: bool) -> Result<Vec<String>> {
        let there = std::fs::symlink_metadata(self.layer_path(id)).is_ok_and(|meta| meta.is_dir());
        match (unpacked, there) {
            (true, false) => Ok(vec!["its directory is gone".into()]),
            (false, false) => Ok(Vec::new()),
            (unpacked, true) => self.check_layer(id, unpacked && read_data),
        }
    }

    fn check_images(&self, out: &mut Vec<Problem>) -> Result<()> {
        let rows: Vec<(String, String)> = self.pairs(
            "SELECT images.digest, coalesce(tags.name, images.digest) FROM images LEFT JOIN tags USING(digest)
             WHERE NOT EXISTS (SELECT 1 FROM blobs WHERE blobs.digest = images.digest)",
        )?;
        let bare: Vec<(String, String)> = self.pairs(
            "SELECT digest, name FROM tags WHERE NOT EXISTS (SELECT 1 FROM images WHERE images.digest = tags.digest)",
        )?;
        for (digest, name) in rows.into_iter().chain(bare) {
            out.push(problem(ProblemKind::Image, &digest, format!("{name} has no manifest in the store")));
        }
        let mut told: Vec<String> = match images_index::read(self) {
            Ok(images) => {
                images.into_iter().map(|(name, d)| shown(name.map(|n| n.to_string()), d.digest.to_string())).collect()
            }
            Err(error) => {
                out.push(problem(ProblemKind::Index, "index.json", error.to_string()));
                return Ok(());
            }
        };
        let mut known: Vec<String> =
            self.db().read(crate::images::tagged)?.into_iter().map(|(digest, name, _)| shown(name, digest)).collect();
        told.sort();
        known.sort();
        if told != known {
            out.push(problem(ProblemKind::Index, "index.json", "it does not list the images of the store"));
        }
        Ok(())
    }

    /// What the images of the store name is here: they come in whole, but for platforms that nobody asked for. Not asked while blobs are broken, because reading
    /// a broken manifest moves it aside.
    fn check_image_blobs(&self, out: &mut Vec<Problem>) -> Result<()> {
        if out.iter().any(|problem| problem.kind == ProblemKind::Blob) {
            return Ok(());
        }
        let blobs: HashSet<String> =
            self.pairs::<i64>("SELECT digest, 0 FROM blobs")?.into_iter().map(|(digest, _)| digest).collect();
        let mut images = HashMap::new();
        contents::of_images(self, &mut images)?;
        for (digest, contents) in images.iter().filter(|(digest, _)| blobs.contains(*digest)) {
            let is_missing = |blob: &&String| !blobs.contains(*blob) && !contents.spare.contains(*blob);
            if let Some(missing) = contents.blobs.iter().filter(is_missing).min() {
                out.push(problem(ProblemKind::Image, digest, format!("its blob {missing} is not in the store")));
            }
        }
        Ok(())
    }

    fn check_records(&self, out: &mut Vec<Problem>) -> Result<()> {
        let layers: HashSet<String> =
            self.pairs::<i64>("SELECT id, 0 FROM layers")?.into_iter().map(|(id, _)| id).collect();
        let rows: Vec<(String, String)> = self.pairs("SELECT lower(hex(id)), layers FROM records")?;
        for (id, names) in rows {
            if let Some(missing) = names.split_whitespace().find(|name| !layers.contains(*name)) {
                out.push(problem(ProblemKind::Record, &id, format!("its layer {missing} is not in the store")));
            }
        }
        let details: Vec<(String, String)> = self.pairs(
            "SELECT lower(hex(id)), detail FROM records WHERE detail IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM blobs WHERE blobs.digest = detail)",
        )?;
        for (id, digest) in details {
            out.push(problem(ProblemKind::Record, &id, format!("its side file {digest} is not in the store")));
        }
        Ok(())
    }

    fn pairs<T: rusqlite::types::FromSql>(&self, sql: &str) -> Result<Vec<(String, T)>> {
        self.db().read(|c| {
            let mut statement = c.prepare(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
    }
}

fn shown(name: Option<String>, digest: String) -> String {
    format!("{} {digest}", name.unwrap_or_default())
}

fn problem(kind: ProblemKind, subject: &str, detail: impl Into<String>) -> Problem {
    Problem { kind, subject: subject.to_owned(), detail: detail.into() }
}
