//! Uploads that are open: who they belong to, how far they are, whose turn it is. Knows no HTTP.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::gate::secret_id;
use super::{Refusal, Upload};

/// Uploads open at once; more is a client that never finishes any.
const OPEN_MAX: usize = 256;

/// An upload that nobody touched for so long makes room for others.
const IDLE_MAX: Duration = Duration::from_secs(3600);

/// The uploads that are open, by id.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: Mutex<HashMap<String, Arc<Session>>>,
}

/// One upload. Ids are secrets: who does not know one cannot go on with it.
pub(super) struct Session {
    name: String,
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
    pub(super) fn open(&self, name: &str, upload: Box<dyn Upload>) -> Result<String, Refusal> {
        let id = secret_id().ok_or_else(|| Refusal::internal("no random numbers"))?;
        let mut open = self.lock();
        open.retain(|_, session| !session.is_idle());
        if open.len() >= OPEN_MAX {
            return Err(Refusal::new(429, "TOOMANYREQUESTS", "too many uploads are open"));
        }
        let session = Session {
            name: name.to_owned(),
            size: AtomicU64::new(0),
            used: Mutex::new(Instant::now()),
            upload: tokio::sync::Mutex::new(Some(upload)),
        };
        open.insert(id.clone(), Arc::new(session));
        Ok(id)
    }

    /// An open upload. It is known only in the repository it was opened for.
    pub(super) fn find(&self, name: &str, id: &str) -> Result<Arc<Session>, Refusal> {
        self.lock().get(id).filter(|session| session.name == name).cloned().ok_or_else(unknown)
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
