//! Uploads that are open: who they belong to, how far they are, whose turn it is. Knows no HTTP.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::buckets::Client;
use super::gate::{secret_id, too_many};
use super::limits::Limits;
use super::{Refusal, Upload};

/// An upload that nobody touched for so long makes room for others.
const IDLE_MAX: Duration = Duration::from_secs(3600);
/// When to ask again for an upload.
const RETRY: Duration = Duration::from_secs(5);

/// The uploads that are open, by id.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: Mutex<HashMap<String, Arc<Session>>>,
}

/// Who opened an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) client: Client,
    pub(super) user: Option<String>,
}

/// One upload. Ids are secrets: who does not know one cannot go on with it.
pub(super) struct Session {
    name: String,
    owner: Owner,
    size: AtomicU64,
    used: Mutex<Instant>,
    /// Empty once it is ended.
    upload: tokio::sync::Mutex<Option<Box<dyn Upload>>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("name", &self.name).field("size", &self.size).finish_non_exhaustive()
    }
}

fn unknown() -> Refusal {
    Refusal::new(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown to registry")
}

impl Sessions {
    /// Gives the upload an id.
    pub(super) fn open(
        &self,
        name: &str,
        owner: Owner,
        upload: Box<dyn Upload>,
        limits: &Limits,
    ) -> Result<String, Refusal> {
        let id = secret_id().ok_or_else(|| Refusal::internal("no random numbers"))?;
        let mut open = self.lock();
        open.retain(|_, session| !session.is_idle());
        let own = open.values().filter(|session| session.owner.client == owner.client).count();
        if open.len() >= limits.uploads || own >= limits.uploads_per_client {
            return Err(too_many("too many uploads are open", RETRY));
        }
        let session = Session {
            name: name.to_owned(),
            owner,
            size: AtomicU64::new(0),
            used: Mutex::new(Instant::now()),
            upload: tokio::sync::Mutex::new(Some(upload)),
        };
        open.insert(id.clone(), Arc::new(session));
        Ok(id)
    }

    /// An open upload. It is known only in the repository it was opened for, and to the user who did; addresses may change.
    pub(super) fn find(&self, name: &str, id: &str, owner: &Owner) -> Result<Arc<Session>, Refusal> {
        let is_own = |session: &&Arc<Session>| session.name == name && session.owner.user == owner.user;
        self.lock().get(id).filter(is_own).cloned().ok_or_else(unknown)
    }

    /// Uploads that are open.
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Bytes that came so far into uploads of a repository.
    pub(super) fn size_of(&self, name: &str) -> u64 {
        self.lock().values().filter(|session| session.name == name).map(|session| session.size()).sum()
    }

    /// Forgets an upload; what came of it goes with the last request that works on it.
    pub(super) fn close(&self, id: &str) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Bytes so far.
    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// The right to write to it, for one request at a time.
    pub(super) fn turn(&self) -> Result<Turn<'_>, Refusal> {
        let busy = |_| Refusal::new(409, "BLOB_UPLOAD_INVALID", "two requests write to one upload");
        let upload = self.upload.try_lock().map_err(busy)?;
        self.touch();
        Ok(Turn { session: self, upload })
    }

    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Nobody works on it, nor has for long.
    fn is_idle(&self) -> bool {
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.elapsed() > IDLE_MAX && self.upload.try_lock().is_ok()
    }
}

/// One request's turn at an upload.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    session: &'a Session,
    upload: tokio::sync::MutexGuard<'a, Option<Box<dyn Upload>>>,
}

impl Turn<'_> {
    pub(super) fn size(&self) -> u64 {
        self.session.size()
    }

    /// The upload, and what is to be told of the length of each chunk written.
    pub(super) fn parts(&mut self) -> Result<(&mut dyn Upload, impl Fn(u64) + use<'_>), Refusal> {
        let session = self.session;
        let note = move |length| {
            session.size.fetch_add(length, Ordering::AcqRel);
            session.touch();
        };
        match self.upload.as_mut() {
            Some(upload) => Ok((upload.as_mut(), note)),
            None => Err(unknown()),
        }
    }

    /// Takes the upload out: whoever comes later does not know it any more.
    pub(super) fn end(mut self) -> Result<Box<dyn Upload>, Refusal> {
        self.upload.take().ok_or_else(unknown)
    }
}
