//! Cache mounts apart from builds: what the store and a place have of them, and from one to the other.

use std::time::Instant;

use cooper_oci::Descriptor;
use cooper_store::{CacheMountRow, Store};

use super::mounts::{self, BYTES, CREATED, ID, MountChoice};
use super::place::{CachePlace, Place};
use super::publish::{Ours, publish};
use super::tell_left_out;
use crate::engine::blocking;
use crate::error::from_store;
use crate::{Engine, Error, ErrorKind, Event, EventSink, Result, StepId, StepState};

/// A cache mount, here or at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedMount {
    /// The id that Dockerfiles give it.
    pub id: String,
    /// The store's id of it: mounts of one id that belong to different users differ in this.
    pub key: String,
    /// Bytes: on disk here, of the files at a place.
    pub size: u64,
    /// Last use here (seconds since 1970), or when it was kept at the place (RFC 3339).
    pub date: MountDate,
}

/// When something happened to a cache mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountDate {
    /// Last used, seconds since 1970.
    Used(i64),
    /// Kept, as the place writes it.
    Kept(String),
}

/// The cache mounts of the store that can travel, sorted by id.
///
/// # Errors
/// The store cannot be read.
pub async fn list_mounts(engine: &Engine) -> Result<Vec<ListedMount>> {
    let store = engine.store.clone();
    let rows = blocking(move || local(&store)).await?;
    let listed = |(id, row): (String, CacheMountRow)| ListedMount {
        id,
        key: row.id,
        size: row.size,
        date: MountDate::Used(row.used),
    };
    Ok(rows.into_iter().map(listed).collect())
}

/// The cache mounts that a place has, sorted by id.
///
/// # Errors
/// There is no cache, or it cannot be read.
pub async fn list_kept_mounts(engine: &Engine, place: &CachePlace) -> Result<Vec<ListedMount>> {
    let (_, kept) = kept(engine, place).await?;
    let listed = |(key, entry): (String, Descriptor)| {
        let text = |name: &str| entry.annotations.get(name).cloned().unwrap_or_default();
        ListedMount { id: text(ID), key, size: text(BYTES).parse().unwrap_or(0), date: MountDate::Kept(text(CREATED)) }
    };
    let mut listed: Vec<_> = kept.into_iter().map(listed).collect();
    listed.sort_by(|a, b| (&a.id, &a.key).cmp(&(&b.id, &b.key)));
    Ok(listed)
}

/// Writes cache mounts of the store to a place, beside what is there. Only what the place lacks is sent.
///
/// # Errors
/// No such mount; the place holds something else; it cannot be written.
pub async fn export_mounts(
    engine: &Engine,
    choice: &MountChoice,
    max_size: u64,
    to: &CachePlace,
    events: &dyn EventSink,
) -> Result<Vec<ListedMount>> {
    let engine = &Engine { store: engine.store.deferred(), ..engine.clone() };
    let store = engine.store.clone();
    let rows: Vec<_> = blocking(move || local(&store)).await?.into_iter().filter(|(id, _)| choice.takes(id)).collect();
    missing(choice, rows.iter().map(|(id, _)| id.as_str()), "this store has no cache mount")?;
    let place = Place::open(engine, to, true).await?;
    let held = place.held().await?;
    if held.is_other || held.is_image {
        let error = Error::new(ErrorKind::User, format!("{} is something else than a cache", place.shown));
        return Err(error.with_hint("give it a name of its own"));
    }
    let mut steps = Steps::plan(events, "writing", rows.iter().map(|(id, _)| id.as_str()));
    let (mut ours, mut all, mut listed) = (Ours::default(), Vec::new(), Vec::new());
    for (id, row) in rows {
        let limits = (max_size, (engine.clock)());
        let sending = async {
            let packed = mounts::pack(&engine.store, &row.name, limits, held.mounts.get(&row.id), &place).await?;
            if let Some(packed) = &packed {
                packed.send(&engine.store, &place).await?;
            }
            Ok(packed)
        };
        let Some(packed) = steps.run(sending).await? else { continue };
        tell_left_out(events, &id, packed.left_out);
        ours.mounts.insert(row.id.clone(), packed.entry.clone());
        let size = packed.entry.annotations.get(BYTES).and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
        listed.push(ListedMount { id, key: row.id, size, date: MountDate::Used(row.used) });
        all.push(packed);
    }
    publish(&place, &engine.store, &engine.store, &ours).await?;
    all.iter().try_for_each(mounts::Packed::is_named)?;
    Ok(listed)
}

/// Makes cache mounts of the store what a place has of them. One that steps of this store have written to is only replaced if
/// asked; mounts it keeps are not in the answer.
///
/// # Errors
/// The place has no such mount, or cannot be read.
pub async fn import_mounts(
    engine: &Engine,
    from: &CachePlace,
    choice: &MountChoice,
    replace: bool,
    events: &dyn EventSink,
) -> Result<Vec<(String, Option<u64>)>> {
    let (place, kept) = kept(engine, from).await?;
    let id_of = |entry: &Descriptor| entry.annotations.get(ID).cloned().unwrap_or_default();
    let wanted: Vec<_> = kept.into_iter().map(|(_, entry)| (id_of(&entry), entry)).collect();
    let wanted: Vec<_> = wanted.into_iter().filter(|(id, _)| choice.takes(id)).collect();
    missing(choice, wanted.iter().map(|(id, _)| id.as_str()), &format!("{} has no cache mount", place.shown))?;
    let mut steps = Steps::plan(events, "restoring", wanted.iter().map(|(id, _)| id.as_str()));
    let mut done = Vec::new();
    for (id, entry) in wanted {
        let restoring = async {
            let name = mounts::name_of(&*place.blobs, &entry).await?;
            mounts::restore(&engine.store, &name, place.blobs.clone(), (&entry, replace), &|_| ()).await
        };
        done.push((id, steps.run(restoring).await?));
    }
    Ok(done)
}

/// The store's mounts that can travel, by the ids that Dockerfiles give them.
fn local(store: &Store) -> Result<Vec<(String, CacheMountRow)>> {
    let rows = store.cache_mounts().map_err(|e| from_store(e, "cannot list the cache mounts"))?;
    Ok(rows.into_iter().filter_map(|row| Some((mounts::id_of(&row.name)?.to_owned(), row))).collect())
}

/// The mounts that a place has.
async fn kept(engine: &Engine, place: &CachePlace) -> Result<(Place, Vec<(String, Descriptor)>)> {
    let place = Place::open(engine, place, false).await?;
    let none = || Error::new(ErrorKind::NotFound, format!("there is no cache at {}", place.shown));
    let held = place.held().await?;
    if held.root.is_none() || held.is_other {
        return Err(none());
    }
    Ok((place, held.mounts.into_iter().collect()))
}

/// Every id that was asked for by name is among those there are.
fn missing<'a>(choice: &MountChoice, there: impl Iterator<Item = &'a str> + Clone, what: &str) -> Result<()> {
    let MountChoice::Ids(ids) = choice else { return Ok(()) };
    match ids.iter().find(|id| !there.clone().any(|found| found == *id)) {
        None => Ok(()),
        Some(id) => Err(Error::new(ErrorKind::NotFound, format!("{what} `{id}`"))
            .with_hint("`cooper cache list` shows the cache mounts there are")),
    }
}

/// Shows work on one mount after another.
struct Steps<'a> {
    events: &'a dyn EventSink,
    next: u32,
}

impl<'a> Steps<'a> {
    fn plan<'i>(events: &'a dyn EventSink, verb: &str, ids: impl Iterator<Item = &'i str>) -> Self {
        let steps = (1..).map(StepId).zip(ids.map(|id| format!("{verb} the cache mount {id}"))).collect();
        events.event(Event::Planned { steps });
        Self { events, next: 1 }
    }

    async fn run<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let (step, started) = (StepId(self.next), Instant::now());
        self.next += 1;
        self.events.event(Event::Started { step, why: None });
        let result = work.await;
        let state = result.as_ref().map_or_else(|error| StepState::Failed(error.what.clone()), |_| StepState::Done);
        self.events.event(Event::Finished { step, state, took: started.elapsed() });
        result
    }
}
