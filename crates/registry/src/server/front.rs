//! What happens to every request before and after the registry itself: it gets an id, is counted, limited, admitted, and
//! written down when the last byte of its answer is sent.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_LENGTH, HeaderName};
use hyper::{Method, Request};

use super::answer::{Answer, Refusal, header, warned, with_body};
use super::buckets::{Buckets, Rate};
use super::gate::{secret_id, too_many, visitor};
use super::limits::Limits;
use super::log::{self, AccessLog};
use super::metrics::{Gauges, Metrics, class};
use super::pace::Pace;
use super::peer::Peer;
use super::tls::Tls;
use super::{Shared, dispatch, gate};
use crate::client::Clock;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Whoever asks steadily may ask for so many seconds at once: a pull comes in a burst.
const BURST_SECS: f64 = 10.0;

/// What all connections share, beside the registry itself.
pub(super) struct Front {
    pub(super) tls: Option<Tls>,
    pub(super) metrics: Metrics,
    /// Whether `/metrics` is answered on the registry's own port.
    pub(super) shows_metrics: bool,
    pub(super) log: Option<AccessLog>,
    pub(super) clock: Clock,
    pub(super) draining: AtomicBool,
    limits: RwLock<Arc<Limits>>,
    rates: Buckets,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("tls", &self.tls).field("log", &self.log).finish_non_exhaustive()
    }
}

impl Front {
    pub(super) fn new(guard: &super::Guard) -> crate::Result<Self> {
        Ok(Self {
            tls: guard.tls.as_ref().map(Tls::new).transpose()?,
            metrics: Metrics::default(),
            shows_metrics: guard.shows_metrics,
            log: guard.log.clone(),
            clock: guard.clock.clone(),
            draining: AtomicBool::new(false),
            limits: RwLock::new(Arc::new(guard.limits.clone())),
            rates: Buckets::default(),
        })
    }

    /// The limits in force.
    pub(super) fn limits(&self) -> Arc<Limits> {
        self.limits.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts others in force, for what comes.
    pub(super) fn set_limits(&self, limits: Limits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(limits);
    }

    fn check_rate(&self, peer: &Peer) -> Result<(), Refusal> {
        let Some(per_second) = self.limits().requests_per_second else { return Ok(()) };
        let rate = Rate { per_second: per_second.into(), burst: (f64::from(per_second) * BURST_SECS).max(1.0) };
        self.rates.take(peer.client(), rate, Instant::now()).map_err(|pause| too_many("too many requests", pause))
    }
}

/// Answers a request to the registry.
pub(super) async fn respond(shared: &Arc<Shared>, peer: Peer, mut request: Request<Incoming>) -> Answer {
    let mut record = Record::of(shared, peer, &mut request);
    shared.note(&request);
    let outcome = match watch(shared, &request, shared.front.shows_metrics).await {
        Some(answer) => Ok(answer),
        None => admit(shared, &peer, request, &mut record).await,
    };
    record.finish(outcome)
}

/// Answers a request to the port of those who watch the server.
pub(super) async fn respond_to_watchers(shared: &Arc<Shared>, peer: Peer, mut request: Request<Incoming>) -> Answer {
    let record = Record::of(shared, peer, &mut request);
    let nowhere = || Refusal::new(404, "UNSUPPORTED", "no such endpoint");
    record.finish(watch(shared, &request, true).await.ok_or_else(nowhere))
}

async fn admit(
    shared: &Arc<Shared>,
    peer: &Peer,
    mut request: Request<Incoming>,
    record: &mut Record,
) -> Result<Answer, Refusal> {
    shared.front.check_rate(peer)?;
    if request.uri().path() == gate::TOKEN_PATH {
        return shared.gate.token(request).await;
    }
    shared.gate.admit(&mut request).await?;
    record.user = visitor(&request).and_then(|visitor| visitor.user()).map(str::to_owned);
    dispatch(shared, request).await.map(|answer| warned(answer, shared.backend.warning()))
}

/// `/healthz`, `/readyz` and, where they are shown, `/metrics`: for whoever asks.
async fn watch(shared: &Shared, request: &Request<Incoming>, shows_metrics: bool) -> Option<Answer> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let text = |status, words: &str| Some(with_body(status, "text/plain; charset=utf-8", words.to_owned().into()));
    match request.uri().path() {
        "/healthz" => text(200, "ok\n"),
        "/readyz" if shared.front.draining.load(Ordering::Acquire) => text(503, "shutting down\n"),
        "/readyz" => match shared.backend.ready().await {
            Ok(()) => text(200, "ok\n"),
            Err(_) => text(503, "the store cannot be written\n"),
        },
        "/metrics" if shows_metrics => {
            let gauges = Gauges {
                uploads_open: shared.sessions.count() as u64,
                failed_logins: shared.gate.failed_logins(),
                log_lines_lost: shared.front.log.as_ref().map_or(0, AccessLog::lost),
            };
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            Some(with_body(200, kind, shared.front.metrics.text(gauges).into()))
        }
        _ => None,
    }
}

/// One request, from its head to the last byte of its answer. It is counted and written down when it goes, whatever ends it.
struct Record {
    shared: Arc<Shared>,
    time: SystemTime,
    since: Instant,
    peer: Peer,
    method: Method,
    class: &'static str,
    path: String,
    id: String,
    pace: Pace,
    user: Option<String>,
    /// Zero until there is an answer: the client went before.
    status: u16,
    cause: Option<String>,
    /// Bytes that the answer is said to have, where that is known before.
    length: Option<u64>,
    sent: u64,
    whole: bool,
}

impl Record {
    /// Begins; what goes with the request is put into it.
    fn of(shared: &Arc<Shared>, peer: Peer, request: &mut Request<Incoming>) -> Self {
        shared.front.metrics.in_flight.fetch_add(1, Ordering::Relaxed);
        let pace = Pace::new(&shared.front.limits());
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(pace.clone());
        let uri = request.uri();
        Self {
            time: (shared.front.clock)(),
            since: Instant::now(),
            peer,
            method: request.method().clone(),
            class: class(uri.path()),
            path: log::shown_path(uri.path(), uri.query()),
            id: secret_id().unwrap_or_default(),
            pace,
            user: None,
            status: 0,
            cause: None,
            length: None,
            sent: 0,
            whole: false,
            shared: shared.clone(),
        }
    }

    /// The answer, with the request's id, and with this record in its body.
    fn finish(mut self, outcome: Result<Answer, Refusal>) -> Answer {
        let answer = outcome.unwrap_or_else(|refusal| {
            self.cause = refusal.cause().map(str::to_owned);
            refusal.answer()
        });
        self.status = answer.status().as_u16();
        self.whole = answer.body().is_end_stream();
        self.length = text_of(&answer, CONTENT_LENGTH).and_then(|text| text.parse().ok());
        if self.status == 429 {
            self.shared.front.metrics.limited.fetch_add(1, Ordering::Relaxed);
        }
        let answer = header(answer, REQUEST_ID, &self.id);
        answer.map(|body| Recorded { body, record: self }.boxed_unsync())
    }
}

fn text_of(answer: &Answer, name: HeaderName) -> Option<&str> {
    answer.headers().get(name)?.to_str().ok()
}

impl Drop for Record {
    fn drop(&mut self) {
        let metrics = &self.shared.front.metrics;
        let received = self.pace.received.load(Ordering::Relaxed);
        metrics.in_flight.fetch_sub(1, Ordering::Relaxed);
        metrics.received.fetch_add(received, Ordering::Relaxed);
        metrics.sent.fetch_add(self.sent, Ordering::Relaxed);
        let took = self.since.elapsed();
        metrics.answered(&self.method, self.class, self.status, took);
        let Some(log) = &self.shared.front.log else { return };
        log.put(&log::Line {
            time: self.time,
            address: self.peer.address.ip().to_canonical(),
            user: self.user.as_deref(),
            method: self.method.as_str(),
            path: &self.path,
            status: self.status,
            received,
            sent: self.sent,
            took,
            id: &self.id,
            whole: self.whole,
            cause: self.cause.as_deref(),
        });
    }
}

/// A body that tells its record what was sent of it.
struct Recorded<B> {
    body: B,
    record: Record,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Recorded<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            None => self.record.whole = true,
            Some(Ok(frame)) => {
                self.record.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                // Nobody asks for the end of a body whose length is known.
                self.record.whole = self.body.is_end_stream() || self.record.length == Some(self.record.sent);
            }
            Some(Err(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
