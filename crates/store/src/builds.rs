//! The journal of builds, for `explain`. Does not know what an entry says.

use rusqlite::{OptionalExtension, params};

use crate::{Error, ErrorKind, Result, Store};

/// Builds that are kept: a few days of a busy machine.
const BUILDS_KEPT: i64 = 100;

pub(crate) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS builds(
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, created INTEGER NOT NULL, entry BLOB NOT NULL);
";

/// One build of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// Its id.
    pub id: String,
    /// Seconds since 1970.
    pub created: i64,
}

impl Store {
    /// Writes a build down, replacing one of the same id; the oldest of more than a hundred go.
    pub fn save_build(&self, id: &str, json: &[u8], created: i64) -> Result<()> {
        self.db().write(|c| {
            c.prepare_cached("INSERT OR REPLACE INTO builds(id, created, entry) VALUES(?1, ?2, ?3)")?
                .execute(params![id, created, json])?;
            c.prepare_cached("DELETE FROM builds WHERE number <= (SELECT max(number) FROM builds) - ?1")?
                .execute([BUILDS_KEPT])
                .map(drop)
        })
    }

    /// The builds, newest first.
    pub fn builds(&self) -> Result<Vec<Build>> {
        self.db().read(|c| {
            let mut statement = c.prepare_cached("SELECT id, created FROM builds ORDER BY number DESC")?;
            let rows = statement.query_map([], |row| Ok(Build { id: row.get(0)?, created: row.get(1)? }))?;
            rows.collect()
        })
    }

    /// The entry of a build, by its id or a prefix that only one has.
    pub fn build(&self, id: &str) -> Result<Vec<u8>> {
        let mut found: Vec<String> =
            self.builds()?.into_iter().map(|build| build.id).filter(|other| other.starts_with(id)).collect();
        if found.iter().any(|other| other == id) {
            found = vec![id.to_owned()];
        }
        match &found[..] {
            [only] => self.entry(only)?.ok_or_else(|| no_build(id)),
            [] => Err(no_build(id)),
            many => Err(Error::new(ErrorKind::Ambiguous, format!("`{id}` could be any of {} builds", many.len()))
                .with_hint("write more of the id")),
        }
    }

    fn entry(&self, id: &str) -> Result<Option<Vec<u8>>> {
        self.db().read(|c| {
            c.prepare_cached("SELECT entry FROM builds WHERE id = ?1")?.query_row([id], |row| row.get(0)).optional()
        })
    }
}

fn no_build(id: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("no build `{id}` in the journal"))
        .with_hint(format!("the last {BUILDS_KEPT} builds are kept"))
}
