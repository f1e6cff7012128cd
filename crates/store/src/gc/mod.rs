//! Collecting: chooses what goes, removes its rows in one durable transaction, then removes what has no row.
//! Does not know what the things are for; what keeps what is in `graph`.

pub(crate) mod contents;
pub(crate) mod graph;
mod plan;
pub(crate) mod sweep;

use std::collections::HashMap;

use rusqlite::Connection;

use crate::blobs::forget_blob;
use crate::{Error, ErrorKind, Result, Store, images_index, links};
use contents::Contents;
use graph::Graph;
use plan::{Limits, Plan};

/// Images may appear while their contents are read; a store in which one always does is not being pruned by a person.
const ATTEMPTS: u32 = 16;

/// Removals in the first transaction after one did not fit on a full disk: some hundred pages, well within the reserve.
const FIRST_STEP: usize = 32;

/// A step that fits is followed by one this much larger.
const STEP_GROWTH: usize = 4;

/// What kind of thing something in the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A record of a finished step, with the layers and blobs that only it needs.
    Record,
    /// An unpacked layer that no record names (of a base image).
    Layer,
    /// A blob that neither an image nor a layer names.
    Blob,
    /// An image.
    Image,
    /// A directory of `RUN --mount=type=cache`.
    CacheMount,
    /// What a killed process or a found fault left behind.
    Leftover,
}

impl Kind {
    /// Its word in filters and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Layer => "layer",
            Self::Blob => "blob",
            Self::Image => "image",
            Self::CacheMount => "cachemount",
            Self::Leftover => "leftover",
        }
    }
}

/// What to remove. By default everything that no tagged image and no running build needs: dangling images, records, layers,
/// blobs and cache mounts. Tagged images themselves are never removed.
#[derive(Clone, Debug, Default)]
pub struct PruneOptions {
    /// Also the records and unpacked layers of tagged images; the images stay, as blobs.
    pub all: bool,
    /// Only what has not been used for this many seconds.
    pub unused_for_secs: Option<i64>,
    /// Only these kinds; empty is every kind.
    pub kinds: Vec<Kind>,
    /// Only what has an id that starts with one of these; empty is everything.
    pub ids: Vec<String>,
    /// Keep at least this many bytes of cache, the latest used.
    pub reserved_bytes: Option<u64>,
    /// Keep at most this many bytes.
    pub max_used_bytes: Option<u64>,
    /// Remove until the file system has this many bytes free.
    pub min_free_bytes: Option<u64>,
    /// Only report what would go.
    pub dry_run: bool,
}

/// Something that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Its kind.
    pub kind: Kind,
    /// Its id.
    pub id: String,
    /// Bytes that went with it.
    pub bytes: u64,
}

/// What a prune did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What was removed, least recently used first.
    pub removed: Vec<Removed>,
    /// Bytes of all of it.
    pub bytes: u64,
    /// Paths that could not be removed, and why; the next prune tries again.
    pub left: Vec<String>,
}

impl Report {
    pub(crate) fn add(&mut self, kind: Kind, id: impl Into<String>, bytes: u64) {
        self.removed.push(Removed { kind, id: id.into(), bytes });
        self.bytes += bytes;
    }
}

impl Store {
    /// Removes what nobody needs. Works beside running builds, which keep what they hold, and on a full disk.
    pub fn prune(&self, options: &PruneOptions) -> Result<Report> {
        if options.dry_run {
            return Ok(self.collect(options, usize::MAX)?.0);
        }
        self.tree().free_reserve();
        let report = self.prune_with_room(options);
        self.tree().fill_reserve();
        report
    }

    fn prune_with_room(&self, options: &PruneOptions) -> Result<Report> {
        let _turn = self.named_lock("prune", true)?;
        self.inner.flush_touched();
        self.drop_dead_leases()?;
        let mut report = Report::default();
        let mut limit = usize::MAX;
        loop {
            let more = match self.collect(options, limit) {
                Ok((done, more)) => {
                    report.bytes += done.bytes;
                    report.removed.extend(done.removed);
                    more
                }
                Err(error) if error.kind() == ErrorKind::Full && limit > 1 => {
                    limit = if limit == usize::MAX { FIRST_STEP } else { limit / STEP_GROWTH };
                    continue;
                }
                Err(error) => return Err(error),
            };
            sweep::sweep(self, options, &mut report)?;
            self.db().checkpoint()?;
            if !more {
                break;
            }
            limit = limit.saturating_mul(STEP_GROWTH);
        }
        images_index::catch_up(self)?;
        Ok(report)
    }

    /// Removes blobs that lost a link and that nothing else needs; how many, and their bytes.
    pub fn collect_unlinked(&self) -> Result<(usize, u64)> {
        let _turn = self.named_lock("prune", true)?;
        self.drop_dead_leases()?;
        let lost = self.db().read(links::unlinked)?;
        if lost.is_empty() {
            return Ok((0, 0));
        }
        let plan = self.plan_with(&PruneOptions::default(), &|graph| Plan::of_blobs(graph, &lost))?;
        self.db().write(|c| {
            let mut statement = c.prepare_cached("DELETE FROM unlinked WHERE digest = ?1")?;
            lost.iter().try_for_each(|digest| statement.execute([digest]).map(drop))
        })?;
        sweep::blobs(self)?;
        Ok((plan.blobs.len(), plan.report.bytes))
    }

    /// Chooses and removes rows of at most `limit` things; `true` when there is more to do.
    fn collect(&self, options: &PruneOptions, limit: usize) -> Result<(Report, bool)> {
        let limits = Limits { now: self.now(), free: self.tree().free_bytes(), count: limit };
        let mounts = sweep::cache_mount_sizes(self)?;
        let plan = self.plan_with(options, &|graph| Plan::make(graph, &mounts, options, &limits))?;
        Ok((plan.report, plan.more))
    }

    /// Chooses what goes and, unless this is a dry run, removes its rows.
    fn plan_with(&self, options: &PruneOptions, choose: &dyn Fn(Graph) -> Plan) -> Result<Plan> {
        let mut contents = HashMap::new();
        for _ in 0..ATTEMPTS {
            contents::of_images(self, &mut contents)?;
            let plan =
                |c: &Connection| -> Result<Option<Plan>> { Ok(self.graph(c, &contents, !options.all)?.map(choose)) };
            let done = if options.dry_run {
                self.db().read_with(plan)?
            } else {
                self.tree().step("prune.rows")?;
                self.db().write_with(true, |c| {
                    let plan = plan(c)?;
                    if let Some(plan) = &plan {
                        delete(c, plan)?;
                    }
                    Ok(plan)
                })?
            };
            if let Some(plan) = done {
                return Ok(plan);
            }
        }
        Err(Error::new(ErrorKind::Busy, "images kept appearing while the store was read"))
    }

    /// What refers to what, as of this transaction.
    pub(crate) fn graph(
        &self,
        c: &Connection,
        contents: &HashMap<String, Contents>,
        keep_images: bool,
    ) -> Result<Option<Graph>> {
        Ok(Graph::load(c, contents, keep_images, &|state| self.is_current(state))?)
    }
}

fn delete(c: &Connection, plan: &Plan) -> rusqlite::Result<()> {
    if !plan.images.is_empty() {
        images_index::mark(c)?;
    }
    for id in &plan.records {
        c.prepare_cached("DELETE FROM keys WHERE record = ?1")?.execute([id])?;
        c.prepare_cached("DELETE FROM records WHERE id = ?1")?.execute([id])?;
    }
    for (sql, ids) in [
        ("DELETE FROM images WHERE digest = ?1", &plan.images),
        ("DELETE FROM layer_blobs WHERE layer = ?1", &plan.layers),
        ("DELETE FROM layers WHERE id = ?1", &plan.layers),
        ("DELETE FROM cache_mounts WHERE id = ?1", &plan.cache_mounts),
        ("DELETE FROM cache_mount_copies WHERE id = ?1", &plan.cache_mounts),
    ] {
        let mut statement = c.prepare_cached(sql)?;
        ids.iter().try_for_each(|id| statement.execute([id]).map(drop))?;
    }
    for digest in &plan.blobs {
        forget_blob(c, digest)?;
    }
    // Of blobs that were never brought here too.
    c.execute("DELETE FROM origins WHERE digest NOT IN (SELECT digest FROM blobs)", [])?;
    Ok(())
}
