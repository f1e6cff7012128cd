//! A cache in an S3 bucket: `<prefix><blobs_prefix><digest>` and `<prefix><manifests_prefix><name>`.
//!
//! Requests are signed by `rusty_s3` in the URL. Does not know where credentials come from.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cooper_oci::{Body, Descriptor, Error, ErrorKind, Result};
use cooper_registry::{Client, ServiceRequest, WebAnswer};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use rusty_s3::actions::CreateMultipartUpload;
use rusty_s3::{Bucket, Credentials, Method, S3Action, UrlStyle};
use tokio::sync::Semaphore;

use super::body::{self, Part};
use super::{Named, described, document};

/// Blobs longer than this go up in parts, which are tried again by themselves.
const PART: u64 = 8 << 20;

/// Parts of one upload (S3's own limit is 10,000).
const PARTS_MAX: u64 = 9_000;

/// Longest object that one copy request can copy.
const COPY_MAX: u64 = 5 << 30;

/// A signed URL is good for this long: a download may be taken up.
const VALID: Duration = Duration::from_secs(3600);

/// A cache in a bucket.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Options {
    /// The bucket.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// The service's URL; Amazon's of the region without.
    pub endpoint: Option<String>,
    /// The bucket stands in the path, not in the host name.
    pub path_style: bool,
    /// Before every object's name.
    pub prefix: String,
    /// Then, before digests.
    pub blobs_prefix: String,
    /// Then, before names of caches.
    pub manifests_prefix: String,
    /// Names of the cache: all are written; the first that there is, is read.
    pub names: Vec<String>,
    /// Access key, its secret, and the token of a session.
    pub credentials: (String, String, Option<String>),
    /// A blob that is there and older than this is copied onto itself, so that rules which delete by age spare it.
    pub touch_refresh: Duration,
    /// Parts uploaded at once.
    pub upload_parallelism: usize,
}

impl fmt::Debug for S3Options {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Options").field("bucket", &self.bucket).field("names", &self.names).finish_non_exhaustive()
    }
}

/// A bucket, opened.
#[derive(Clone, Debug)]
pub(crate) struct S3 {
    options: Arc<S3Options>,
    bucket: Bucket,
    credentials: Credentials,
    client: Client,
    clock: fn() -> i64,
    room: Arc<Semaphore>,
}

impl S3 {
    /// Opens no connection.
    pub(crate) fn open(client: &Client, clock: fn() -> i64, options: &S3Options) -> Result<Self> {
        let invalid = |why: String| Error::new(ErrorKind::Invalid, format!("the bucket `{}`: {why}", options.bucket));
        let amazon = format!("https://s3.{}.amazonaws.com", options.region);
        let endpoint = options.endpoint.as_deref().unwrap_or(&amazon).parse();
        let endpoint = endpoint.map_err(|e| invalid(format!("its endpoint is not a URL: {e}")))?;
        let style = if options.path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let bucket = Bucket::new(endpoint, style, options.bucket.clone(), options.region.clone());
        let bucket = bucket.map_err(|e| {
            invalid(format!("{e}")).with_hint("with `use_path_style=true` the bucket need not be part of a host name")
        })?;
        let (key, secret, token) = options.credentials.clone();
        let credentials = match token {
            Some(token) => Credentials::new_with_token(key, secret, token),
            None => Credentials::new(key, secret),
        };
        let room = Arc::new(Semaphore::new(options.upload_parallelism.max(1)));
        Ok(Self { options: Arc::new(options.clone()), bucket, credentials, client: client.clone(), clock, room })
    }

    fn blob(&self, descriptor: &Descriptor) -> String {
        format!("{}{}{}", self.options.prefix, self.options.blobs_prefix, descriptor.digest)
    }

    fn name(&self, name: &str) -> String {
        format!("{}{}{name}", self.options.prefix, self.options.manifests_prefix)
    }

    async fn ask<'a, A: S3Action<'a>>(
        &self,
        mut action: A,
        headers: &[(&str, String)],
        body: Bytes,
    ) -> Result<WebAnswer> {
        for (name, value) in headers {
            action.headers_mut().insert((*name).to_owned(), value.clone());
        }
        let now = Timestamp::from_second((self.clock)()).unwrap_or(Timestamp::UNIX_EPOCH);
        let url = action.sign_with_time(VALID, &now).into();
        let method = match A::METHOD {
            Method::Head => "HEAD",
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
        };
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Ok(self.client.ask(&ServiceRequest { method, url, headers, body }).await?)
    }

    async fn get(&self, object: &str, from: u64) -> Result<WebAnswer> {
        let range: Vec<_> = (from > 0).then(|| ("range", format!("bytes={from}-"))).into_iter().collect();
        self.ask(self.bucket.get_object(Some(&self.credentials), object), &range, Bytes::new()).await
    }

    pub(super) async fn open_blob(&self, descriptor: &Descriptor) -> Result<Body> {
        let object = self.blob(descriptor);
        let answer = self.get(&object, 0).await?;
        if answer.status() != 200 {
            return Err(self.refused(answer).await);
        }
        let s3 = self.clone();
        let again = move |from| -> futures::future::BoxFuture<'static, _> {
            let (s3, object) = (s3.clone(), object.clone());
            Box::pin(async move { s3.get(&object, from).await })
        };
        Ok(body::resumed(answer, Box::new(again)))
    }

    pub(super) async fn has_blob(&self, descriptor: &Descriptor) -> Result<bool> {
        let object = self.blob(descriptor);
        let answer = self.ask(self.bucket.head_object(Some(&self.credentials), &object), &[], Bytes::new()).await?;
        match answer.status() {
            404 => return Ok(false),
            200 => {}
            _ => return Err(self.refused(answer).await),
        }
        let size = answer.header("content-length").and_then(|size| size.parse().ok());
        if size != Some(descriptor.size) {
            return Ok(false);
        }
        if self.is_old(&answer) && descriptor.size <= COPY_MAX {
            self.touch(&object).await?;
        }
        Ok(true)
    }

    fn is_old(&self, answer: &WebAnswer) -> bool {
        let modified = answer.header("last-modified").and_then(|date| httpdate::parse_http_date(date).ok());
        let modified = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let age = modified.map(|time| (self.clock)().saturating_sub_unsigned(time.as_secs()));
        age.is_some_and(|age| age > self.options.touch_refresh.as_secs() as i64)
    }

    /// Copies an object onto itself, which makes it new.
    async fn touch(&self, object: &str) -> Result<()> {
        let escaped: String = url::form_urlencoded::byte_serialize(object.as_bytes()).collect();
        let source = format!("/{}/{}", self.options.bucket, escaped.replace('+', "%20").replace("%2F", "/"));
        let headers = [("x-amz-copy-source", source), ("x-amz-metadata-directive", "REPLACE".to_owned())];
        let action = self.bucket.put_object(Some(&self.credentials), object);
        let answer = self.ask(action, &headers, Bytes::new()).await?;
        if answer.status() == 200 { Ok(()) } else { Err(self.refused(answer).await) }
    }

    pub(super) async fn put_blob(&self, descriptor: &Descriptor, body: Body) -> Result<()> {
        let object = self.blob(descriptor);
        if descriptor.size > PART {
            return self.put_parts(&object, descriptor, body).await;
        }
        let bytes = body::whole(descriptor, body, &self.room).await?;
        let action = self.bucket.put_object(Some(&self.credentials), &object);
        let answer = self.ask(action, &[], bytes).await?;
        if answer.status() == 200 { Ok(()) } else { Err(self.refused(answer).await) }
    }

    async fn put_parts(&self, object: &str, descriptor: &Descriptor, body: Body) -> Result<()> {
        let action = self.bucket.create_multipart_upload(Some(&self.credentials), object);
        let mut answer = self.ask(action, &[], Bytes::new()).await?;
        if answer.status() != 200 {
            return Err(self.refused(answer).await);
        }
        let invalid = |_| Error::new(ErrorKind::Invalid, "the bucket's service began no upload in parts");
        let text = String::from_utf8(document(&mut answer).await?).unwrap_or_default();
        let created = CreateMultipartUpload::parse_response(&text).map_err(invalid)?;
        let sent = self.send_parts(object, created.upload_id(), descriptor, body).await;
        if sent.is_err() {
            let action = self.bucket.abort_multipart_upload(Some(&self.credentials), object, created.upload_id());
            // Parts that stay behind cost space, not correctness.
            let _ = self.ask(action, &[], Bytes::new()).await;
        }
        sent
    }

    async fn send_parts(&self, object: &str, upload: &str, descriptor: &Descriptor, body: Body) -> Result<()> {
        let size = PART.max(descriptor.size.div_ceil(PARTS_MAX)) as usize;
        let parts = body::parts(descriptor, body, size, &self.room);
        let sending = parts.map(|part| async move { self.send_part(object, upload, part?).await });
        let tags: Vec<String> = sending.buffered(self.options.upload_parallelism.max(1)).try_collect().await?;
        let tags = || tags.iter().map(String::as_str);
        let complete = |tags| self.bucket.complete_multipart_upload(Some(&self.credentials), object, upload, tags);
        let bytes = complete(tags()).body();
        let mut answer = self.ask(complete(tags()), &[], bytes.into()).await?;
        if answer.status() != 200 {
            return Err(self.refused(answer).await);
        }
        // The status is sent before the work is done; what became of it is in the document.
        let text = String::from_utf8_lossy(&document(&mut answer).await?).into_owned();
        match text.contains("<Error>") {
            true => Err(Error::new(
                ErrorKind::Retry,
                format!("the parts of `{object}` were not put together{}", said(&text)),
            )),
            false => Ok(()),
        }
    }

    async fn send_part(&self, object: &str, upload: &str, part: Part) -> Result<String> {
        let number = u16::try_from(part.number)
            .map_err(|_| Error::new(ErrorKind::TooLarge, format!("`{object}` has too many parts")))?;
        let action = self.bucket.upload_part(Some(&self.credentials), object, number, upload);
        let answer = self.ask(action, &[], part.bytes).await?;
        drop(part.room);
        match (answer.status(), answer.header("etag")) {
            (200, Some(tag)) => Ok(tag.to_owned()),
            _ => Err(self.refused(answer).await),
        }
    }

    pub(super) async fn root(&self) -> Result<Option<Named>> {
        for name in &self.options.names {
            let mut answer = self.get(&self.name(name), 0).await?;
            match answer.status() {
                404 => {}
                200 => {
                    let tag = answer.header("etag").unwrap_or_default().to_owned();
                    return Ok(Some((described(&document(&mut answer).await?)?, tag)));
                }
                _ => return Err(self.refused(answer).await),
            }
        }
        Ok(None)
    }

    /// The first name only over what was read; the others are copies of it.
    pub(super) async fn set_root(&self, bytes: Bytes, over: Option<&str>) -> Result<bool> {
        for (number, name) in self.options.names.iter().enumerate() {
            let object = self.name(name);
            let put = |headers| self.ask_put(object.clone(), headers, bytes.clone());
            let condition = match over {
                Some(tag) if !tag.is_empty() => vec![("if-match", tag.to_owned())],
                Some(_) => Vec::new(),
                None => vec![("if-none-match", "*".to_owned())],
            };
            let mut answer = put(if number == 0 { condition } else { Vec::new() }).await?;
            if number == 0 && matches!(answer.status(), 409 | 412) {
                return Ok(false);
            }
            if answer.status() == 501 {
                // The service knows no conditions: who writes last wins, and is checked by reading again.
                answer = put(Vec::new()).await?;
            }
            if answer.status() != 200 {
                return Err(self.refused(answer).await);
            }
        }
        Ok(true)
    }

    async fn ask_put(&self, object: String, headers: Vec<(&str, String)>, bytes: Bytes) -> Result<WebAnswer> {
        self.ask(self.bucket.put_object(Some(&self.credentials), &object), &headers, bytes).await
    }

    /// The error that an answer stands for, in the service's words where it has any.
    async fn refused(&self, mut answer: WebAnswer) -> Error {
        let region = answer.header("x-amz-bucket-region").filter(|region| *region != self.options.region);
        let hint = match (answer.status(), region) {
            (_, Some(region)) => Some(format!("the bucket is in the region {region}")),
            (401 | 403, _) => Some(format!(
                "check the access key and what it may do in the bucket `{}`; reading needs s3:GetObject and s3:ListBucket, writing s3:PutObject",
                self.options.bucket
            )),
            (404, _) => Some(format!("is there a bucket `{}`?", self.options.bucket)),
            _ => None,
        };
        let error = Error::from(answer.refused());
        let words = document(&mut answer).await.unwrap_or_default();
        let error = Error::new(error.kind(), format!("{error}{}", said(&String::from_utf8_lossy(&words))));
        hint.into_iter().fold(error, Error::with_hint)
    }
}

/// The code in an error document of S3.
fn said(text: &str) -> String {
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    let code = code.map(|(code, _)| code.chars().filter(char::is_ascii_alphanumeric).take(64).collect::<String>());
    code.map(|code| format!(" ({code})")).unwrap_or_default()
}
