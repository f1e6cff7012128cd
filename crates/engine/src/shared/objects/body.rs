//! Bodies of objects: downloads that are taken up where they broke, and uploads in parts.

use bytes::{Bytes, BytesMut};
use cooper_oci::{Body, Descriptor, Error, ErrorKind, Hasher, Result};
use cooper_registry::WebAnswer;
use futures::future::BoxFuture;
use futures::stream::{self, Fuse, Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Times that one download is taken up.
const RESUMES_MAX: usize = 4;

/// Asks for the object from this byte on.
pub(super) type Again = Box<dyn Fn(u64) -> BoxFuture<'static, Result<WebAnswer>> + Send + Sync>;

/// The body of an answer; when it breaks, what is missing is asked for.
pub(super) fn resumed(answer: WebAnswer, again: Again) -> Body {
    let open = Download { answer, again, offset: 0, resumes: 0 };
    Box::pin(stream::unfold(Some(open), |open| async move {
        let mut open = open?;
        match open.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(open))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    }))
}

struct Download {
    answer: WebAnswer,
    again: Again,
    offset: u64,
    resumes: usize,
}

impl Download {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let error = match self.answer.chunk().await {
                Ok(chunk) => {
                    self.offset += chunk.as_ref().map_or(0, Bytes::len) as u64;
                    return Ok(chunk);
                }
                Err(error) => error,
            };
            self.resumes += 1;
            if self.resumes > RESUMES_MAX {
                return Err(error.into());
            }
            let answer = (self.again)(self.offset).await?;
            let wanted = format!("bytes {}-", self.offset);
            let fits = answer.header("content-range").is_some_and(|range| range.starts_with(&wanted));
            if answer.status() != 206 || !fits {
                return Err(error.into());
            }
            self.answer = answer;
        }
    }
}

/// One part of an upload, counted from 1, and its place in memory.
pub(super) struct Part {
    pub(super) number: u32,
    pub(super) bytes: Bytes,
    pub(super) room: OwnedSemaphorePermit,
}

/// The whole of a small blob, verified.
pub(super) async fn whole(descriptor: &Descriptor, body: Body, room: &std::sync::Arc<Semaphore>) -> Result<Bytes> {
    let mut parts = Box::pin(parts(descriptor, body, descriptor.size.max(1) as usize, room));
    let mut out = Bytes::new();
    while let Some(part) = parts.next().await {
        out = part?.bytes;
    }
    Ok(out)
}

/// A blob in parts of `size` bytes, the last one shorter. The last part comes only if the blob is right.
pub(super) fn parts(
    descriptor: &Descriptor,
    body: Body,
    size: usize,
    room: &std::sync::Arc<Semaphore>,
) -> impl Stream<Item = Result<Part>> + use<> {
    let hasher = Hasher::new(descriptor.digest.algorithm());
    let open =
        Upload { descriptor: descriptor.clone(), body: body.fuse(), rest: BytesMut::new(), hasher, number: 0, size };
    let room = room.clone();
    stream::unfold(Some(open), move |open| {
        let room = room.clone();
        async move {
            let mut open = open?;
            // Room first, bytes then: memory is bounded by the room for all uploads together.
            let room = room.acquire_owned().await.ok()?;
            match open.next().await {
                Ok(Some((number, bytes))) => Some((Ok(Part { number, bytes, room }), Some(open))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        }
    })
}

struct Upload {
    descriptor: Descriptor,
    body: Fuse<Body>,
    rest: BytesMut,
    hasher: Hasher,
    number: u32,
    size: usize,
}

impl Upload {
    async fn next(&mut self) -> Result<Option<(u32, Bytes)>> {
        while self.rest.len() < self.size {
            let Some(chunk) = self.body.next().await.transpose()? else { break };
            self.hasher.update(&chunk);
            self.rest.extend_from_slice(&chunk);
            if self.hasher.size() > self.descriptor.size {
                return Err(self.wrong());
            }
        }
        let is_all = self.hasher.size() == self.descriptor.size;
        let part = self.rest.split_to(self.rest.len().min(self.size)).freeze();
        let is_last = self.rest.is_empty() && (is_all || part.len() < self.size);
        if is_last && (!is_all || self.hasher.clone().finish() != self.descriptor.digest) {
            return Err(self.wrong());
        }
        if part.is_empty() && self.number > 0 {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some((self.number, part)))
    }

    fn wrong(&self) -> Error {
        let what = format!("{} does not have the content its digest names", self.descriptor.digest);
        Error::new(ErrorKind::Corrupt, what)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cooper_oci::body_from_bytes;

    use super::*;

    async fn cut(bytes: &'static [u8], descriptor: Descriptor, size: usize) -> Result<Vec<(u32, Bytes)>> {
        let room = Arc::new(Semaphore::new(1));
        let body = body_from_bytes(bytes);
        let parts: Vec<_> = parts(&descriptor, body, size, &room)
            .map(|part| part.map(|part| (part.number, part.bytes)))
            .collect()
            .await;
        parts.into_iter().collect()
    }

    #[tokio::test]
    async fn blobs_are_cut_and_verified() {
        let of = |bytes: &[u8]| Descriptor::of("application/x", bytes);
        for (bytes, size, expect) in [
            (&b"abcdefg"[..], 3, &["abc", "def", "g"][..]),
            (b"abcdef", 3, &["abc", "def"]),
            (b"ab", 3, &["ab"]),
            (b"", 3, &[""]),
        ] {
            let found = cut(bytes, of(bytes), size).await.unwrap();
            let expect: Vec<_> = (1..).zip(expect.iter().map(|part| Bytes::from_static(part.as_bytes()))).collect();
            assert_eq!(found, expect);
        }
        for wrong in [of(b"abcdeg"), of(b"abc"), of(b"abcdefg")] {
            assert_eq!(cut(b"abcdef", wrong, 3).await.unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}
