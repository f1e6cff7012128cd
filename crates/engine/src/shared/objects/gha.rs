//! A cache in GitHub's cache service, as runners of GitHub Actions see it: version 2 (twirp, blobs in Azure's storage) and
//! version 1 (still spoken by GitHub Enterprise Server and by other forges' runners).
//!
//! An entry never changes once it is written. So what a cache's name stands for is a row of numbered entries: the latest
//! counts, and whoever writes takes the next number. Does not know where address and token come from.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use cooper_oci::{Body, Descriptor, Digest, Error, ErrorKind, Result};
use cooper_registry::{Client, ErrorKind as WebErrorKind, ServiceRequest, WebAnswer};
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::body::{self, Part};
use super::{Named, described, document};

/// Bytes of one part of an upload.
const PART: u64 = 8 << 20;

/// Parts uploaded at once.
const UPLOADS: usize = 4;

/// Somebody who took a number and has not written by then has probably died; the next number is taken.
const BLOCKED: Duration = Duration::from_secs(15);

/// Between looks whether somebody has written.
const LOOK: Duration = Duration::from_secs(1);

/// Numbers tried in one go.
const NUMBERS_MAX: u64 = 20;

/// The service keeps entries apart by a word that its first users made of paths; ours have none.
const VERSION: &[u8] = b"cooper cache 1";

/// A cache in the service.
#[derive(Clone, PartialEq, Eq)]
pub struct GhaOptions {
    /// The service's URL.
    pub url: String,
    /// It is spoken to in version 2.
    pub is_v2: bool,
    /// The token of the runner.
    pub token: String,
    /// Name of the cache.
    pub scope: String,
    /// How long a request may be put off by the service's limits.
    pub timeout: Duration,
}

impl fmt::Debug for GhaOptions {
    /// Without the token; the URL has a secret part in version 1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GhaOptions").field("scope", &self.scope).field("is_v2", &self.is_v2).finish_non_exhaustive()
    }
}

/// The service, with a name in it.
#[derive(Clone, Debug)]
pub(crate) struct Gha {
    options: Arc<GhaOptions>,
    client: Client,
    room: Arc<Semaphore>,
    version: String,
    /// Keys of the name's entries without their number, the one that is written to first.
    keys: Vec<String>,
}

/// An entry of the service.
#[derive(Debug)]
struct Found {
    key: String,
    url: String,
}

impl Gha {
    /// Opens no connection.
    pub(crate) fn open(client: &Client, options: &GhaOptions) -> Self {
        let hash = |text: &str| Digest::of(text.as_bytes()).hex()[..8].to_owned();
        let key = |scope: &String| format!("cooper-index-{}-1-{}#", options.scope, hash(scope));
        Self {
            options: Arc::new(options.clone()),
            client: client.clone(),
            room: Arc::new(Semaphore::new(UPLOADS)),
            version: Digest::of(VERSION).hex().to_owned(),
            keys: scopes(&options.token).iter().map(key).collect(),
        }
    }

    fn blob(descriptor: &Descriptor) -> String {
        format!("cooper-blob-1-{}", descriptor.digest)
    }

    /// Asks the service itself, as often as its limits want.
    async fn ask(
        &self,
        method: &'static str,
        path: &str,
        body: Option<Value>,
        more: &[(&str, String)],
    ) -> Result<WebAnswer> {
        let base = self.options.url.trim_end_matches('/');
        let url = match self.options.is_v2 {
            true => format!("{base}/twirp/github.actions.results.api.v1.CacheService/{path}"),
            false => format!("{base}/_apis/artifactcache/{path}"),
        };
        let accept = if self.options.is_v2 { "application/json" } else { "application/json;api-version=6.0-preview.1" };
        let mut headers = vec![
            ("authorization".to_owned(), format!("Bearer {}", self.options.token)),
            ("accept".to_owned(), accept.to_owned()),
        ];
        headers.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        headers.extend(body.as_ref().map(|_| ("content-type".to_owned(), "application/json".to_owned())));
        let body = body.map(|body| body.to_string().into()).unwrap_or_default();
        self.patiently(&ServiceRequest { method, url, headers, body }).await
    }

    /// Waits as long as the service says, up to the timeout.
    async fn patiently(&self, request: &ServiceRequest) -> Result<WebAnswer> {
        let end = Instant::now() + self.options.timeout;
        loop {
            let error = match self.client.ask(request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let pause = error.retry_after().unwrap_or(LOOK);
            if error.kind() != WebErrorKind::TooMany || Instant::now() + pause > end {
                return Err(error.into());
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// The entry of exactly this key, or the latest whose key begins with it.
    async fn find(&self, key: &str) -> Result<Option<Found>> {
        let mut answer = match self.options.is_v2 {
            true => {
                let body = json!({"key": key, "restore_keys": [key], "version": self.version});
                self.ask("POST", "GetCacheEntryDownloadURL", Some(body), &[]).await?
            }
            false => {
                let query = url::form_urlencoded::Serializer::new(String::new())
                    .append_pair("keys", key)
                    .append_pair("version", &self.version)
                    .finish();
                self.ask("GET", &format!("cache?{query}"), None, &[]).await?
            }
        };
        match answer.status() {
            204 | 404 => return Ok(None),
            200 => {}
            _ => return Err(self.refused(answer).await),
        }
        #[derive(Deserialize)]
        struct Entry {
            #[serde(alias = "matched_key", alias = "matchedKey", alias = "cacheKey", default)]
            key: String,
            #[serde(alias = "signed_download_url", alias = "signedDownloadUrl", alias = "archiveLocation", default)]
            url: String,
        }
        let entry: Entry = parsed(&mut answer).await?;
        let fits = entry.key.starts_with(key) && !entry.url.is_empty();
        Ok(fits.then_some(Found { key: entry.key, url: entry.url }))
    }

    /// A download needs no token: its URL is signed.
    async fn get(&self, url: &str, from: u64) -> Result<WebAnswer> {
        let headers = (from > 0).then(|| ("range".to_owned(), format!("bytes={from}-"))).into_iter().collect();
        self.patiently(&ServiceRequest { method: "GET", url: url.to_owned(), headers, body: Bytes::new() }).await
    }

    pub(super) async fn open_blob(&self, descriptor: &Descriptor) -> Result<Body> {
        let key = Self::blob(descriptor);
        let missing =
            || Error::new(ErrorKind::NotFound, format!("the cache service does not have {}", descriptor.digest));
        let found = self.find(&key).await?.ok_or_else(missing)?;
        let answer = self.get(&found.url, 0).await?;
        if answer.status() != 200 {
            return Err(self.refused(answer).await);
        }
        let gha = self.clone();
        let again = move |from| -> futures::future::BoxFuture<'static, _> {
            let (gha, key) = (gha.clone(), key.clone());
            Box::pin(async move {
                // The signed URL may have come to its end meanwhile.
                let gone = || Error::new(ErrorKind::NotFound, "the cache service has lost an entry");
                let found = gha.find(&key).await?.ok_or_else(gone)?;
                gha.get(&found.url, from).await
            })
        };
        Ok(body::resumed(answer, Box::new(again)))
    }

    pub(super) async fn has_blob(&self, descriptor: &Descriptor) -> Result<bool> {
        Ok(self.find(&Self::blob(descriptor)).await?.is_some())
    }

    pub(super) async fn put_blob(&self, descriptor: &Descriptor, body: Body) -> Result<()> {
        let key = Self::blob(descriptor);
        // Taken already: somebody else writes the same bytes.
        let Some(place) = self.reserve(&key).await? else { return Ok(()) };
        let parts = body::parts(descriptor, body, PART as usize, &self.room);
        let place = &place;
        let sending = parts.map(|part| async move { self.send_part(place, part?, descriptor.size).await });
        let sent: Vec<u32> = sending.buffered(UPLOADS).try_collect().await?;
        self.finish(&key, place, &sent, descriptor.size).await
    }

    /// Takes a key; where to write, or `None` if it is taken.
    async fn reserve(&self, key: &str) -> Result<Option<String>> {
        let path = if self.options.is_v2 { "CreateCacheEntry" } else { "caches" };
        let body = json!({"key": key, "version": self.version});
        let mut answer = self.ask("POST", path, Some(body), &[]).await?;
        if answer.status() == 409 {
            return Ok(None);
        }
        if !matches!(answer.status(), 200 | 201) {
            // Version 1 says it in words.
            let text = document(&mut answer).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&text).to_ascii_lowercase();
            let exists = text.contains("already exists") || text.contains("alreadyexists");
            return if exists { Ok(None) } else { Err(Error::from(answer.refused())) };
        }
        #[derive(Deserialize)]
        struct Reserved {
            #[serde(alias = "signed_upload_url", alias = "signedUploadUrl", default)]
            url: String,
            #[serde(alias = "cacheId", alias = "cacheID", default)]
            id: u64,
        }
        let reserved: Reserved = parsed(&mut answer).await?;
        let place = if self.options.is_v2 { reserved.url } else { format!("caches/{}", reserved.id) };
        Ok(Some(place).filter(|_| reserved.id != 0 || self.options.is_v2).filter(|place| !place.is_empty()))
    }

    async fn send_part(&self, place: &str, part: Part, size: u64) -> Result<u32> {
        let answer = match self.options.is_v2 {
            // All at once, or as a block that the list at the end puts in its place.
            true if size <= PART => self.put_azure(place, part.bytes).await?,
            true => {
                let id = url::form_urlencoded::byte_serialize(block(part.number).as_bytes()).collect::<String>();
                self.put_azure(&format!("{place}&comp=block&blockid={id}"), part.bytes).await?
            }
            false => {
                let start = u64::from(part.number - 1) * PART;
                let range = format!("bytes {start}-{}/*", start + part.bytes.len() as u64 - 1);
                self.patch(place, range, part.bytes).await?
            }
        };
        match answer.status() {
            200 | 201 | 204 => Ok(part.number),
            _ => Err(self.refused(answer).await),
        }
    }

    async fn put_azure(&self, url: &str, body: Bytes) -> Result<WebAnswer> {
        let headers = vec![("x-ms-blob-type".to_owned(), "BlockBlob".to_owned())];
        self.patiently(&ServiceRequest { method: "PUT", url: url.to_owned(), headers, body }).await
    }

    async fn patch(&self, place: &str, range: String, body: Bytes) -> Result<WebAnswer> {
        let headers = vec![
            ("authorization".to_owned(), format!("Bearer {}", self.options.token)),
            ("accept".to_owned(), "application/json;api-version=6.0-preview.1".to_owned()),
            ("content-type".to_owned(), "application/octet-stream".to_owned()),
            ("content-range".to_owned(), range),
        ];
        let url = format!("{}/_apis/artifactcache/{place}", self.options.url.trim_end_matches('/'));
        self.patiently(&ServiceRequest { method: "PATCH", url, headers, body }).await
    }

    /// Makes what was sent an entry.
    async fn finish(&self, key: &str, place: &str, parts: &[u32], size: u64) -> Result<()> {
        if self.options.is_v2 && size > PART {
            let blocks: String = parts.iter().map(|part| format!("<Latest>{}</Latest>", block(*part))).collect();
            let list = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{blocks}</BlockList>");
            let answer = self.put_azure(&format!("{place}&comp=blocklist"), list.into()).await?;
            if answer.status() != 201 {
                return Err(self.refused(answer).await);
            }
        }
        let answer = match self.options.is_v2 {
            true => {
                let body = json!({"key": key, "size_bytes": size, "version": self.version});
                self.ask("POST", "FinalizeCacheEntryUpload", Some(body), &[]).await?
            }
            false => self.ask("POST", place, Some(json!({"size": size})), &[]).await?,
        };
        match answer.status() {
            200 | 201 | 204 => Ok(()),
            _ => Err(self.refused(answer).await),
        }
    }

    /// The latest entry of the name: of the runner's own scope, else of those it may read.
    pub(super) async fn root(&self) -> Result<Option<Named>> {
        for key in &self.keys {
            let Some(found) = self.find(key).await? else { continue };
            let mut answer = self.get(&found.url, 0).await?;
            if answer.status() != 200 {
                return Err(self.refused(answer).await);
            }
            return Ok(Some((described(&document(&mut answer).await?)?, found.key)));
        }
        Ok(None)
    }

    /// Writes the entry after `over`. Somebody who has the number but not written yet is waited for.
    pub(super) async fn set_root(&self, bytes: Bytes, over: Option<&str>) -> Result<bool> {
        let Some(key) = self.keys.first() else { return Ok(false) };
        let mut number = over.and_then(|over| over.strip_prefix(key.as_str())?.parse::<u64>().ok()).unwrap_or(0);
        let patience = Instant::now() + BLOCKED.min(self.options.timeout);
        for _ in 0..NUMBERS_MAX {
            number += 1;
            let next = format!("{key}{number}");
            let mut place = self.reserve(&next).await?;
            while place.is_none() && Instant::now() < patience {
                tokio::time::sleep(LOOK).await;
                let latest = self.find(key).await?.map(|found| found.key);
                if latest.as_deref().is_some_and(|latest| Some(latest) != over) {
                    return Ok(false);
                }
                place = self.reserve(&next).await?;
            }
            let Some(place) = place else { continue };
            let room = self.room.clone().acquire_owned().await;
            let room = room.map_err(|_| Error::new(ErrorKind::Io, "the upload was given up"))?;
            let size = bytes.len() as u64;
            self.send_part(&place, Part { number: 1, bytes, room }, size).await?;
            self.finish(&next, &place, &[1], size).await?;
            return Ok(true);
        }
        Err(Error::new(ErrorKind::Retry, "no number is free for the cache's next state"))
    }

    async fn refused(&self, answer: WebAnswer) -> Error {
        let error = Error::from(answer.refused());
        match answer.status() {
            401 | 403 => error.with_hint(
                "the token of a runner is good for its job only; is ACTIONS_RUNTIME_TOKEN passed to this step, and may the workflow write caches?",
            ),
            _ => error,
        }
    }
}

/// All block ids of a blob have one length.
fn block(number: u32) -> String {
    STANDARD.encode(format!("{number:08}"))
}

async fn parsed<T: serde::de::DeserializeOwned>(answer: &mut WebAnswer) -> Result<T> {
    let bytes = document(answer).await?;
    serde_json::from_slice(&bytes).map_err(|e| {
        Error::new(ErrorKind::Invalid, "the cache service answers what is no JSON of its own").with_source(e)
    })
}

/// The scopes (branches) that a token is good for, the one it may write to first. They are read, not trusted: the service
/// looks at the token itself. A token that tells none has one.
fn scopes(token: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Claims {
        #[serde(default)]
        ac: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Scope {
        scope: String,
        #[serde(default)]
        permission: u64,
    }
    const WRITE: u64 = 2;
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok());
    let claims = claims.and_then(|json| serde_json::from_slice::<Claims>(&json).ok());
    let mut scopes: Vec<Scope> = claims.and_then(|claims| serde_json::from_str(&claims.ac).ok()).unwrap_or_default();
    scopes.sort_by_key(|scope| scope.permission & WRITE == 0);
    let mut seen = BTreeSet::new();
    let mut names: Vec<String> = scopes.into_iter().map(|scope| scope.scope).collect();
    names.retain(|name| seen.insert(name.clone()));
    if names.is_empty() { vec![String::new()] } else { names }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_those_of_the_token() {
        let token = |claims: &str| format!("x.{}.y", URL_SAFE_NO_PAD.encode(claims));
        let ac = r#"[{"Scope":"refs/heads/main","Permission":1},{"Scope":"refs/heads/work","Permission":3}]"#;
        let claims = json!({"ac": ac}).to_string();
        assert_eq!(scopes(&token(&claims)), ["refs/heads/work", "refs/heads/main"]);
        for none in ["", "a.b.c", "opaque", &token("{}")] {
            assert_eq!(scopes(none), [""]);
        }
    }
}
