//! What the store noticed and mended by itself: kept in a table, and handed to the build that was running.
//! Does not know how it is shown.

use rusqlite::params;

use crate::{Result, Store};

/// A short history for `store check`; the oldest rows go first.
const EVENTS_KEPT: i64 = 1000;

pub(crate) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS events(
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL);
";

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Something was broken and has been moved aside; what needs it makes it again.
    Quarantined,
    /// The database was lost and its rows were found again from the files.
    Rebuilt,
}

impl EventKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Quarantined => "quarantined",
            Self::Rebuilt => "rebuilt",
        }
    }
}

/// Something the store noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Seconds since 1970.
    pub at: i64,
    /// What kind of thing.
    pub kind: EventKind,
    /// What it happened to (a digest, a layer id, a path).
    pub subject: String,
    /// What exactly.
    pub detail: String,
}

impl Store {
    /// Events of this process since the last call.
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.inner.events.lock().unwrap_or_else(|poison| poison.into_inner()))
    }

    /// Events of every process, oldest first.
    pub fn events(&self) -> Result<Vec<Event>> {
        self.db().read(|c| {
            let mut statement = c.prepare_cached("SELECT at, kind, subject, detail FROM events ORDER BY id")?;
            let rows = statement.query_map([], |row| {
                let kind: String = row.get(1)?;
                let kind = if kind == "rebuilt" { EventKind::Rebuilt } else { EventKind::Quarantined };
                Ok(Event { at: row.get(0)?, kind, subject: row.get(2)?, detail: row.get(3)? })
            })?;
            rows.collect()
        })
    }

    /// Remembers an event. A failure to write it down must not hide what it tells of.
    pub(crate) fn record_event(&self, kind: EventKind, subject: &str, detail: &str) {
        let event = Event { at: self.now(), kind, subject: subject.to_owned(), detail: detail.to_owned() };
        let _ = self.db().write(|c| {
            c.prepare_cached("INSERT INTO events(at, kind, subject, detail) VALUES(?1, ?2, ?3, ?4)")?
                .execute(params![event.at, kind.as_str(), subject, detail])?;
            c.prepare_cached("DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?1")?.execute([EVENTS_KEPT])
        });
        self.inner.events.lock().unwrap_or_else(|poison| poison.into_inner()).push(event);
    }
}
