//! Files at addresses: downloaded once, and asked after by their ETag or date in later builds.
//!
//! Knows nothing of proxies, redirects or TLS, which are the client's.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::PathBuf;

use cooper_llb::HttpSource;
use cooper_oci::{Algorithm, Digest, Entry, EntryKind, Hasher, Mtime};
use cooper_registry::{WebAnswer, WebRequest};
use cooper_solver::Key;
use cooper_store::LayerId;

use super::outside::{Notes, Notice, Outside, file_layer, key_of, once};
use crate::engine::blocking;
use crate::{Error, ErrorKind, Result};

/// Larger than any file people put into images; ends an answer without end.
const SIZE_MAX: u64 = 64 << 30;

/// As BuildKit creates what it downloads.
const MODE: u32 = 0o600;

/// Bytes between two events of progress.
const PROGRESS: u64 = 4 << 20;

/// A file that is in the store.
#[derive(Clone, Debug)]
pub(crate) struct Download {
    /// SHA-256 of its bytes.
    pub(crate) digest: Digest,
    /// The layer that holds it alone.
    pub(crate) layer: LayerId,
    /// When it last changed, as its server says; seconds since 1970.
    pub(crate) modified: Option<i64>,
    /// Bytes.
    pub(crate) size: u64,
}

/// A download of an earlier build.
struct Earlier {
    download: Download,
    checksum: Option<String>,
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Earlier {
    /// Its digest was verified to be the one that is asked for.
    fn is_pinned_by(&self, source: &HttpSource) -> bool {
        let wanted = source.checksum.as_ref().map(ToString::to_string);
        wanted.is_some() && (wanted == self.checksum || wanted == Some(self.download.digest.to_string()))
    }
}

impl Outside {
    /// A file with a checksum is named by it, and fetched only when its bytes are needed.
    pub(super) async fn http_key(&self, source: &HttpSource, notice: &Notice) -> Result<Key> {
        let digest = match &source.checksum {
            Some(checksum) => checksum.clone(),
            None => self.download(source, notice).await?.digest,
        };
        Ok(key_of("http", [source.name.as_str(), &digest.to_string()]))
    }

    /// The file of `source`.
    pub(super) async fn download(&self, source: &HttpSource, notice: &Notice) -> Result<Download> {
        once(&self.files, source, || async {
            match self.earlier(source) {
                Some(earlier) if earlier.is_pinned_by(source) => Ok(earlier.download),
                earlier => self.fetch_file(source, earlier, notice).await,
            }
        })
        .await
    }

    fn earlier(&self, source: &HttpSource) -> Option<Earlier> {
        let (layer, notes) = self.known(record_key(source))?;
        let text = |name: &str| notes.get(name).map(str::to_owned);
        let last_modified = text("last-modified");
        let download = Download {
            digest: notes.get("digest")?.parse().ok()?,
            layer,
            modified: last_modified.as_deref().and_then(seconds),
            size: notes.get("size")?.parse().ok()?,
        };
        Some(Earlier { download, checksum: text("checksum"), etag: text("etag"), last_modified })
    }

    async fn fetch_file(&self, source: &HttpSource, earlier: Option<Earlier>, notice: &Notice) -> Result<Download> {
        // Of what is kept only the SHA-256 is known; another digest needs the bytes.
        let comparable = source.checksum.as_ref().is_none_or(|wanted| wanted.algorithm() == Algorithm::Sha256);
        let earlier = earlier.filter(|_| comparable);
        let request = self.request(source, earlier.as_ref()).await?;
        let mut answer = self.engine.client.fetch(&request).await.map_err(not_fetched)?;
        if let Some(earlier) = earlier.filter(|earlier| is_same(&answer, earlier)) {
            verify(source, &earlier.download.digest, &earlier.download.digest)?;
            return Ok(earlier.download);
        }
        if answer.is_unchanged() {
            let what = format!("`{}` says that nothing changed, but was not asked", source.shown());
            return Err(Error::new(ErrorKind::Retry, what));
        }
        notice.during(self.receive(source, &mut answer, notice)).await
    }

    async fn request(&self, source: &HttpSource, earlier: Option<&Earlier>) -> Result<WebRequest> {
        let mut headers = Vec::new();
        if let Some(earlier) = earlier {
            let by_date = earlier.last_modified.clone().filter(|_| earlier.etag.is_none());
            headers.extend(earlier.etag.clone().map(|etag| ("If-None-Match".to_owned(), etag)));
            headers.extend(by_date.map(|date| ("If-Modified-Since".to_owned(), date)));
        }
        let authorization = self.http_secret(&source.url).await?;
        Ok(WebRequest { url: source.url.clone(), headers, authorization })
    }

    /// Secrets for addresses, by the names BuildKit has for them: `HTTP_AUTH_HEADER_<host>`, `HTTP_AUTH_TOKEN_<host>`.
    async fn http_secret(&self, url: &str) -> Result<Option<String>> {
        let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split(['/', '?', '#']).next();
        let host = authority.unwrap_or_default().rsplit('@').next().unwrap_or_default();
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        for (name, prefix) in [("HTTP_AUTH_HEADER_", ""), ("HTTP_AUTH_TOKEN_", "Bearer ")] {
            if let Some(secret) = self.session.secret(&format!("{name}{host}")).await? {
                return Ok(Some(format!("{prefix}{}", String::from_utf8_lossy(&secret).trim_end())));
            }
        }
        Ok(None)
    }

    async fn receive(&self, source: &HttpSource, answer: &mut WebAnswer, notice: &Notice) -> Result<Download> {
        let temporary = self.engine.store.temporary().map_err(|e| crate::error::from_store(e, "cannot download"))?;
        let mut spool = Spool::new(temporary, source)?;
        let (total, mut told) = (answer.size(), 0);
        while let Some(chunk) = answer.chunk().await.map_err(not_fetched)? {
            spool.add(&chunk)?;
            if spool.size > SIZE_MAX {
                let what = format!("`{}` has more than {SIZE_MAX} bytes", source.shown());
                return Err(Error::new(ErrorKind::User, what));
            }
            if spool.size - told >= PROGRESS {
                told = spool.size;
                notice.progress(&source.name, told, total);
            }
        }
        if total.is_some_and(|total| total != spool.size) {
            let what = format!("`{}` ended after {} of its bytes", source.shown(), spool.size);
            return Err(Error::new(ErrorKind::Retry, what));
        }
        let last_modified = answer.header("last-modified").map(str::to_owned);
        let etag = answer.header("etag").map(str::to_owned);
        let (download, checksum) = self.store_file(source, spool, last_modified.as_deref()).await?;
        let notes = Notes::default()
            .with("url", Some(source.shown()))
            .with("digest", Some(download.digest.to_string()))
            .with("checksum", checksum)
            .with("size", Some(download.size.to_string()))
            .with("etag", etag)
            .with("last-modified", last_modified);
        self.keep(record_key(source), format!("ADD {}", source.shown()), &download.layer, notes)?;
        Ok(download)
    }

    /// Makes the layer of what was received, if it has the digest it must have.
    async fn store_file(
        &self,
        source: &HttpSource,
        spool: Spool,
        last_modified: Option<&str>,
    ) -> Result<(Download, Option<String>)> {
        let (engine, source) = (self.engine.clone(), source.clone());
        let modified = last_modified.and_then(seconds);
        blocking(move || {
            let (mut file, size, digest, asked) = spool.finish()?;
            verify(&source, &asked, &digest)?;
            let entry = Entry {
                path: PathBuf::from(&source.name),
                kind: EntryKind::File { size },
                mode: MODE,
                uid: 0,
                gid: 0,
                // BuildKit's, where the server says nothing.
                mtime: Mtime { secs: modified.unwrap_or(0), nanos: 0 },
                xattrs: BTreeMap::new(),
            };
            let layer = file_layer(&engine, &entry, &mut file)?;
            let checksum = source.checksum.map(|checksum| checksum.to_string());
            Ok((Download { digest, layer, modified, size }, checksum))
        })
        .await
    }
}

/// What is received, on its way to a layer, in an unnamed file.
struct Spool {
    file: File,
    size: u64,
    sha256: Hasher,
    /// The algorithm of the checksum, where that is another one.
    other: Option<Hasher>,
}

impl Spool {
    fn new(path: PathBuf, source: &HttpSource) -> Result<Self> {
        let open = || {
            let file = File::options().read(true).write(true).create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        };
        let algorithm = source.checksum.as_ref().map(Digest::algorithm).filter(|other| *other != Algorithm::Sha256);
        let file = open().map_err(cannot_write)?;
        Ok(Self { file, size: 0, sha256: Hasher::new(Algorithm::Sha256), other: algorithm.map(Hasher::new) })
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(cannot_write)?;
        self.size += bytes.len() as u64;
        self.sha256.update(bytes);
        self.other.iter_mut().for_each(|hasher| hasher.update(bytes));
        Ok(())
    }

    /// The file from its start, its size, its SHA-256 and the digest to compare with the checksum.
    fn finish(mut self) -> Result<(File, u64, Digest, Digest)> {
        self.file.rewind().map_err(cannot_write)?;
        let digest = self.sha256.finish();
        let asked = self.other.map_or_else(|| digest.clone(), Hasher::finish);
        Ok((self.file, self.size, digest, asked))
    }
}

/// Some servers send everything again although its name is the same.
fn is_same(answer: &WebAnswer, earlier: &Earlier) -> bool {
    let etag = answer.header("etag");
    answer.is_unchanged() || (etag.is_some() && etag == earlier.etag.as_deref() && !etag.unwrap_or_default().is_empty())
}

fn verify(source: &HttpSource, found: &Digest, sha256: &Digest) -> Result<()> {
    match &source.checksum {
        Some(wanted) if wanted != found && wanted != sha256 => {
            let what = format!("`{}` is not what the checksum says: it has {found}, not {wanted}", source.shown());
            Err(Error::new(ErrorKind::User, what).with_hint(format!("if it is to be trusted: --checksum={sha256}")))
        }
        _ => Ok(()),
    }
}

/// Where the store keeps what was found at an address.
fn record_key(source: &HttpSource) -> Key {
    key_of("http address", [source.url.as_str(), source.name.as_str()])
}

/// An HTTP date as seconds since 1970.
fn seconds(date: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(date).ok()?;
    time.duration_since(std::time::UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok())
}

fn not_fetched(error: cooper_registry::Error) -> Error {
    crate::error::from_oci(error.into(), "download failed")
}

fn cannot_write(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot write a download to the store").with_source(error)
}
