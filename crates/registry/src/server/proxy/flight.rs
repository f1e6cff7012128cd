//! One blob on its way from upstream: written to a file as it comes, read from there by all who want it at once.
//!
//! Nobody gets a byte too many: the last one is given only when all are proved right, and a part that ends earlier, which its
//! reader cannot prove, not before that either. Knows nothing of upstream.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cooper_oci::{Body, Digest, Error, ErrorKind};
use tokio::sync::{Notify, watch};

use super::super::Refusal;

/// Bytes read at once.
const CHUNK: u64 = 256 * 1024;

/// A blob of a repository.
pub(super) type Key = (String, Digest);

/// The blobs that are on their way.
#[derive(Clone, Debug, Default)]
pub(super) struct Flights {
    open: Arc<Mutex<HashMap<Key, Arc<Flight>>>>,
}

/// How far a flight is.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Upstream has not answered.
    Asked,
    /// So many bytes are in the file.
    Coming(u64),
    /// All bytes are there, and they are the digest's.
    Proved,
    /// There will be no more: not known upstream (`None`), or what upstream or this machine refuses.
    Failed(Option<Refusal>),
}

/// One blob.
#[derive(Debug)]
pub(super) struct Flight {
    key: Key,
    size: u64,
    file: Arc<File>,
    state: watch::Sender<State>,
    /// Changed under the lock of [`Flights`] only.
    readers: Mutex<usize>,
    abandoned: Notify,
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Flight>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The length of a blob that is on its way.
    pub(super) fn size(&self, key: &Key) -> Option<u64> {
        self.lock().get(key).map(|flight| flight.size)
    }

    /// A seat in the flight of a blob if there is one.
    pub(super) fn join(&self, key: &Key) -> Option<Reader> {
        let open = self.lock();
        open.get(key).map(|flight| self.seat(flight.clone()))
    }

    /// A seat in the flight of a blob; the flight itself if it is a new one, which the caller has to fly.
    pub(super) fn start(&self, key: Key, size: u64, file: File) -> (Reader, Option<Arc<Flight>>) {
        let mut open = self.lock();
        if let Some(flight) = open.get(&key) {
            return (self.seat(flight.clone()), None);
        }
        let flight = Arc::new(Flight {
            key: key.clone(),
            size,
            file: Arc::new(file),
            state: watch::Sender::new(State::Asked),
            readers: Mutex::new(0),
            abandoned: Notify::new(),
        });
        open.insert(key, flight.clone());
        (self.seat(flight.clone()), Some(flight))
    }

    fn seat(&self, flight: Arc<Flight>) -> Reader {
        *flight.readers() += 1;
        Reader { flights: self.clone(), state: flight.state.subscribe(), flight }
    }

    /// Forgets a flight that has landed or failed.
    pub(super) fn end(&self, flight: &Arc<Flight>) {
        let mut open = self.lock();
        if open.get(&flight.key).is_some_and(|known| Arc::ptr_eq(known, flight)) {
            open.remove(&flight.key);
        }
    }
}

impl Flight {
    fn readers(&self) -> MutexGuard<'_, usize> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Adds the next bytes.
    pub(super) async fn write(&self, bytes: Bytes) -> io::Result<()> {
        let at = self.written();
        let (file, length) = (self.file.clone(), bytes.len() as u64);
        blocking(move || file.write_all_at(&bytes, at)).await?;
        self.state.send_replace(State::Coming(at + length));
        Ok(())
    }

    fn written(&self) -> u64 {
        match *self.state.borrow() {
            State::Coming(written) => written,
            State::Proved => self.size,
            State::Asked | State::Failed(_) => 0,
        }
    }

    pub(super) fn set(&self, state: State) {
        self.state.send_replace(state);
    }

    /// Waits until nobody wants it any more, early enough for stopping to be worth it.
    pub(super) async fn abandoned(&self) {
        self.abandoned.notified().await;
    }

    /// All bytes, once they are proved.
    pub(super) fn whole(self: &Arc<Self>) -> Body {
        body(Source::Flight(self.clone()), 0..self.size)
    }
}

/// A seat in a flight.
#[derive(Debug)]
pub(super) struct Reader {
    flights: Flights,
    flight: Arc<Flight>,
    state: watch::Receiver<State>,
}

impl Drop for Reader {
    /// With the last reader goes a flight that is less than half way; later the rest costs less than beginning anew.
    fn drop(&mut self) {
        let mut open = self.flights.lock();
        let mut readers = self.flight.readers();
        *readers -= 1;
        if *readers == 0 && self.flight.written() < self.flight.size / 2 {
            if open.get(&self.flight.key).is_some_and(|known| Arc::ptr_eq(known, &self.flight)) {
                open.remove(&self.flight.key);
            }
            self.flight.abandoned.notify_one();
        }
    }
}

impl Reader {
    /// Waits for upstream's answer, then gives the bytes within `range` as they come; `None` when upstream has none.
    pub(super) async fn open(mut self, range: Range<u64>) -> Result<Option<Body>, Refusal> {
        let gone = || Refusal::internal("a download ended without a word");
        let state = self.state.wait_for(|state| !matches!(state, State::Asked)).await.map_err(|_| gone())?.clone();
        match state {
            State::Failed(None) => Ok(None),
            State::Failed(Some(refusal)) => Err(refusal),
            State::Asked | State::Coming(_) | State::Proved => Ok(Some(body(Source::Reader(self), range))),
        }
    }

    /// How far a reader at `at` of `range` may read; waits until it may.
    async fn until(&mut self, at: u64, range: &Range<u64>) -> cooper_oci::Result<u64> {
        let size = self.flight.size;
        let limit = |state: &State| match state {
            State::Proved => Some(range.end),
            // The last byte, and what nobody else can prove, waits.
            State::Coming(written) if range.end == size => Some((*written).min(size.saturating_sub(1))),
            _ => None,
        };
        let ready = |state: &State| matches!(state, State::Failed(_)) || limit(state).is_some_and(|limit| limit > at);
        let broken = |why: &str| Error::new(ErrorKind::Retry, format!("the download of {} {why}", self.flight.key.1));
        let state = self.state.wait_for(ready).await.map_err(|_| broken("ended without a word"))?.clone();
        limit(&state).ok_or_else(|| broken("failed"))
    }
}

/// Where a body's bytes are.
enum Source {
    Reader(Reader),
    /// Proved: all may be read.
    Flight(Arc<Flight>),
}

impl Source {
    fn file(&self) -> Arc<File> {
        match self {
            Self::Reader(reader) => reader.flight.file.clone(),
            Self::Flight(flight) => flight.file.clone(),
        }
    }

    async fn until(&mut self, at: u64, range: &Range<u64>) -> cooper_oci::Result<u64> {
        match self {
            Self::Reader(reader) => reader.until(at, range).await,
            Self::Flight(_) => Ok(range.end),
        }
    }
}

fn body(source: Source, range: Range<u64>) -> Body {
    let state = Some((source, range.start));
    Box::pin(futures::stream::unfold(state, move |state| {
        let range = range.clone();
        async move {
            let (mut source, at) = state.filter(|(_, at)| *at < range.end)?;
            match piece(&mut source, at, &range).await {
                Ok(bytes) => {
                    let next = at + bytes.len() as u64;
                    Some((Ok(bytes), Some((source, next))))
                }
                Err(error) => Some((Err(error), None)),
            }
        }
    }))
}

async fn piece(source: &mut Source, at: u64, range: &Range<u64>) -> cooper_oci::Result<Bytes> {
    let until = source.until(at, range).await?;
    let length = usize::try_from((until - at).min(CHUNK)).unwrap_or_default();
    let file = source.file();
    let read = blocking(move || {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, at)?;
        Ok(Bytes::from(bytes))
    });
    read.await.map_err(|e| Error::new(ErrorKind::Io, "cannot read what was downloaded").with_source(e))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;

    fn key() -> Key {
        ("a".into(), Digest::of(b"0123456789"))
    }

    fn flight(flights: &Flights) -> (Reader, Arc<Flight>) {
        let (reader, flight) = flights.start(key(), 10, tempfile::tempfile().unwrap());
        (reader, flight.unwrap())
    }

    async fn all(mut body: Body) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        while let Some(piece) = body.next().await {
            match piece {
                Ok(bytes) => out.extend_from_slice(&bytes),
                Err(_) => return (out, false),
            }
        }
        (out, true)
    }

    #[tokio::test]
    async fn the_last_byte_waits_for_the_proof() {
        let flights = Flights::default();
        let (first, flight) = flight(&flights);
        let second = flights.join(&key()).unwrap();
        let part = flights.join(&key()).unwrap();
        assert_eq!(flights.size(&key()), Some(10));
        flight.write(Bytes::from_static(b"01234")).await.unwrap();
        let mut first = first.open(0..10).await.unwrap().unwrap();
        assert_eq!(first.next().await.unwrap().unwrap(), "01234");
        flight.write(Bytes::from_static(b"56789")).await.unwrap();
        assert_eq!(first.next().await.unwrap().unwrap(), "5678");
        let mut part = part.open(2..4).await.unwrap().unwrap();
        assert!(futures::poll!(part.next()).is_pending(), "a part cannot be proved by who gets it");
        assert!(futures::poll!(first.next()).is_pending());
        flight.set(State::Proved);
        assert_eq!(first.next().await.unwrap().unwrap(), "9");
        assert!(first.next().await.is_none());
        assert_eq!(all(part).await, (b"23".to_vec(), true));
        assert_eq!(all(second.open(5..10).await.unwrap().unwrap()).await, (b"56789".to_vec(), true));
        assert_eq!(all(flight.whole()).await, (b"0123456789".to_vec(), true));
    }

    #[tokio::test]
    async fn wrong_bytes_never_end_well() {
        let flights = Flights::default();
        let (reader, flight) = flight(&flights);
        flight.write(Bytes::from_static(b"0123456789")).await.unwrap();
        let body = reader.open(0..10).await.unwrap().unwrap();
        let late = flights.join(&key()).unwrap();
        flight.set(State::Failed(None));
        let (bytes, is_whole) = all(body).await;
        assert!(!is_whole && bytes.len() < 10, "{bytes:?}");
        assert!(late.open(0..10).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_flight_goes_with_its_last_reader_unless_it_is_half_way() {
        for (written, goes_on) in [(4, false), (5, true)] {
            let flights = Flights::default();
            let (reader, flight) = flight(&flights);
            flight.write(Bytes::from(vec![0; written])).await.unwrap();
            let other = flights.join(&key()).unwrap();
            drop(reader);
            assert!(flights.size(&key()).is_some(), "another one waits");
            drop(other);
            assert_eq!(flights.size(&key()).is_some(), goes_on, "{written}");
            let abandoned = std::pin::pin!(flight.abandoned());
            assert_eq!(futures::poll!(abandoned).is_pending(), goes_on);
            flights.end(&flight);
            assert_eq!(flights.size(&key()), None);
        }
    }
}
