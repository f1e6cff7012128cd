//! Mends what `check` finds, by forgetting it: whatever is gone is fetched or built again when it is next needed.
//! Does not know how to make anything again.

use std::path::Path;

use crate::events::EventKind;
use crate::gc::sweep::remove_tree;
use crate::{Error, ErrorKind, LayerId, OpenOptions, Problem, ProblemKind, Result, Store, images_index, lock, rebuild};

/// Something that repair did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// What was broken.
    pub problem: Problem,
    /// What was done about it.
    pub done: String,
}

/// A mended thing may uncover another (a record of a layer that is gone): that ends after the longest chain.
const ROUNDS: u32 = 4;

impl Store {
    /// Replaces a database that cannot be trusted, then opens the store. Needs to be alone: [`ErrorKind::Busy`] otherwise.
    pub fn open_for_repair(root: &Path, options: OpenOptions) -> Result<Self> {
        let store = Self::open(root, options.clone())?;
        let faults = store.db().faults();
        if faults.as_ref().is_ok_and(Vec::is_empty) {
            return Ok(store);
        }
        let why = faults.map_or_else(|error| error.to_string(), |faults| faults.join("; "));
        let path = store.tree().join("lock");
        drop(store);
        let alone = lock::exclusive_now(&path)?.ok_or_else(|| {
            Error::new(ErrorKind::Busy, "the store is in use").with_hint("end other cooper processes and try again")
        })?;
        let tree = crate::tree::Tree::open(root, options.failpoint)?;
        rebuild::set_aside(&tree, &format!("the database was corrupt ({why})"))?;
        drop(alone);
        Self::open(root, options)
    }

    /// Moves aside or forgets everything that is broken. Reads every byte of the store.
    pub fn repair(&self) -> Result<Vec<Action>> {
        let mut actions = Vec::new();
        for _ in 0..ROUNDS {
            let problems = self.check(true)?;
            if problems.is_empty() {
                break;
            }
            for problem in problems {
                let done = self.mend(&problem)?;
                actions.push(Action { problem, done });
            }
        }
        Ok(actions)
    }

    /// Forgets a layer's directory if it is not what its listing says; whether that was so.
    pub fn mend_layer(&self, id: &LayerId) -> Result<bool> {
        let faults = self.check_layer(id, true)?;
        if let Some(why) = faults.first() {
            self.drop_broken_layer(id.as_str(), why)?;
        }
        Ok(!faults.is_empty())
    }

    fn mend(&self, problem: &Problem) -> Result<String> {
        let subject = problem.subject.as_str();
        match problem.kind {
            ProblemKind::Database => {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    format!("the store's database is corrupt: {}", problem.detail),
                )
                .with_hint("run `cooper store repair` while nothing else uses the store"));
            }
            ProblemKind::Blob => self.mend_blob(subject, &problem.detail)?,
            ProblemKind::Layer => self.drop_broken_layer(subject, &problem.detail)?,
            ProblemKind::Image => self.delete(&[
                ("DELETE FROM tags WHERE digest = ?1", subject),
                ("DELETE FROM images WHERE digest = ?1", subject),
            ])?,
            ProblemKind::Record => self.delete(&[
                ("DELETE FROM keys WHERE record = unhex(?1)", subject),
                ("DELETE FROM records WHERE id = unhex(?1)", subject),
            ])?,
            ProblemKind::Index => {}
        }
        if matches!(problem.kind, ProblemKind::Image | ProblemKind::Index) {
            images_index::write(self)?;
        }
        Ok(match problem.kind {
            ProblemKind::Database | ProblemKind::Blob => "moved aside",
            ProblemKind::Layer | ProblemKind::Record => "forgotten; it is made again when it is needed",
            ProblemKind::Image => "forgotten; pull or build it again",
            ProblemKind::Index => "written again",
        }
        .into())
    }

    fn mend_blob(&self, subject: &str, why: &str) -> Result<()> {
        match subject.parse() {
            Ok(digest) => self.quarantine_blob(&digest, why),
            Err(_) => self.delete(&[("DELETE FROM blobs WHERE digest = ?1", subject)]),
        }
    }

    /// Forgets a layer's directory. Its blobs stay: it is unpacked again from them.
    fn drop_broken_layer(&self, subject: &str, why: &str) -> Result<()> {
        let Ok(id) = subject.parse::<LayerId>() else {
            return self.delete(&[("DELETE FROM layers WHERE id = ?1", subject)]);
        };
        let (from, aside) = (self.layer_path(&id), self.temporary()?);
        self.db().write_with(true, |c| {
            let has_blobs = c.prepare_cached("SELECT 1 FROM layer_blobs WHERE layer = ?1")?.exists([subject])?;
            let sql = if has_blobs {
                "UPDATE layers SET unpacked = 0, size = 0 WHERE id = ?1"
            } else {
                "DELETE FROM layers WHERE id = ?1"
            };
            c.execute(sql, [subject])?;
            match std::fs::rename(&from, &aside) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::at("move", &from, error)),
                _ => Ok(()),
            }
        })?;
        self.record_event(EventKind::Quarantined, subject, why);
        remove_tree(&aside)
    }

    fn delete(&self, statements: &[(&str, &str)]) -> Result<()> {
        self.db().write_durable(|c| statements.iter().try_for_each(|(sql, id)| c.execute(sql, [id]).map(drop)))
    }
}
