//! Bodies and answers that do not come to an end: a client that sends or takes too slowly is given up.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use hyper::{Request, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::answer::Refusal;
use super::limits::Limits;

/// How slowly a body may come, and how much of it came. It goes with the request.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    idle: Duration,
    bytes_per_second: u64,
    /// Bytes of the body so far.
    pub(super) received: Arc<AtomicU64>,
}

impl Pace {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { idle: limits.idle, bytes_per_second: limits.bytes_per_second, received: Arc::default() }
    }

    /// How long the next bytes may take, after `bytes` for which the client was waited for `waited`.
    fn patience(&self, bytes: u64, waited: Duration) -> Duration {
        let earned = Duration::from_secs(bytes / self.bytes_per_second.max(1)).saturating_add(Limits::GRACE);
        self.idle.min(earned.saturating_sub(waited))
    }
}

/// The body of a request, read at the pace it has to keep.
#[derive(Debug)]
pub(super) struct Paced<B> {
    body: B,
    pace: Pace,
    bytes: u64,
    /// Time spent waiting for the client, and none for the disk.
    waited: Duration,
}

impl<B: Body<Data = Bytes> + Unpin> Paced<B> {
    /// The body of `request`.
    pub(super) fn of(request: Request<B>) -> Self {
        let pace = request.extensions().get().cloned().unwrap_or_else(|| Pace::new(&Limits::default()));
        Self { body: request.into_body(), pace, bytes: 0, waited: Duration::ZERO }
    }

    /// The next bytes; nothing at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let since = Instant::now();
            let patience = self.pace.patience(self.bytes, self.waited);
            let frame = tokio::time::timeout(patience, self.body.frame()).await.map_err(|_| too_slow())?;
            self.waited += since.elapsed();
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|_| Refusal::new(400, "BLOB_UPLOAD_INVALID", "the body ended early"))?;
            let Ok(chunk) = frame.into_data() else { continue };
            self.bytes += chunk.len() as u64;
            self.pace.received.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            return Ok(Some(chunk));
        }
    }
}

fn too_slow() -> Refusal {
    Refusal::new(408, "BLOB_UPLOAD_INVALID", "the body comes too slowly").with_header(header::CONNECTION, "close")
}

/// A connection whose other end has to take what it asked for.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    idle: Duration,
    /// When it is given up, while it takes nothing.
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, idle: Duration) -> Self {
        Self { stream, idle, until: None }
    }

    /// What a write came to; an error if nothing was taken for too long.
    fn judge<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.until = None;
            return written;
        }
        let until = self.until.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.idle)));
        ready!(until.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.judge(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(shut, context)
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, stream};
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn limits(idle: Duration) -> Limits {
        Limits { idle, bytes_per_second: 1000, ..Limits::default() }
    }

    /// Reads a body to its end; the bytes that came, and the status if it was given up.
    async fn read(
        body: impl stream::Stream<Item = io::Result<Frame<Bytes>>> + Unpin,
        idle: Duration,
    ) -> (u64, Option<u16>) {
        let pace = Pace::new(&limits(idle));
        let received = pace.received.clone();
        let mut request = Request::new(StreamBody::new(body));
        request.extensions_mut().insert(pace);
        let mut body = Paced::of(request);
        let refused = loop {
            match body.next().await {
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(refusal) => break Some(refusal.status()),
            }
        };
        (received.load(Ordering::Relaxed), refused)
    }

    #[test]
    fn patience_is_earned_by_bytes() {
        let pace = Pace::new(&limits(Duration::from_secs(60)));
        let secs = Duration::from_secs;
        for (bytes, waited, expect) in [(0, 0, 30), (0, 29, 1), (0, 31, 0), (10_000, 30, 10), (1_000_000, 30, 60)] {
            assert_eq!(pace.patience(bytes, secs(waited)), secs(expect), "{bytes} {waited}");
        }
    }

    #[tokio::test]
    async fn a_body_that_stops_is_given_up() {
        let pieces = || stream::iter([3, 4]).map(|length| Ok(Frame::data(Bytes::from(vec![0; length]))));
        assert_eq!(read(pieces(), Duration::from_secs(60)).await, (7, None));
        let stopping = pieces().chain(stream::pending());
        assert_eq!(read(stopping, Duration::from_millis(20)).await, (7, Some(408)));
        let broken = pieces().chain(stream::iter([Err(io::Error::other("reset"))]));
        assert_eq!(read(broken, Duration::from_secs(60)).await, (7, Some(400)));
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (ours, theirs) = tokio::io::duplex(10);
        let mut patient = Patient::new(ours, Duration::from_millis(20));
        patient.write_all(&[0; 10]).await.unwrap();
        assert_eq!(patient.write_all(&[0; 10]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(theirs);
    }
}
