//! Contexts that are not directories of the caller, and the Dockerfile in them.
//!
//! Knows nothing of ignore files: they are for directories only, as in BuildKit.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_dockerfile::nearest;
use cooper_llb::{CopySource, FileAction, FileOp, GitSource, HttpSource};
use cooper_oci::{Compression, Entry, EntryKind, Mtime, detect};
use cooper_store::LayerId;

use super::outside::{Notes, Notice, Outside, file_layer, key_of, once};
use crate::engine::blocking;
use crate::error::from_store;
use crate::files::{Files, LayerFiles, clean, resolve};
use crate::ops::{self, FileWork};
use crate::request::{ContextSource, DockerfileSource};
use crate::{Error, ErrorKind, NamedContext, Request, Result};

/// Name of the main context.
pub(crate) const MAIN: &str = "context";

/// What BuildKit calls the one file of a context that is a file.
const FILE: &str = "context";

/// Largest Dockerfile read: a hundred times the largest known; protects the parser.
const TEXT_MAX: u64 = 1 << 20;

/// Bytes of a file that tell whether it is an archive.
const HEAD: u64 = 512;

/// A context that is no directory.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Its layers.
    pub(crate) layers: Arc<[LayerId]>,
    /// The same as files.
    pub(crate) files: Arc<LayerFiles>,
    /// What `SOURCE_DATE_EPOCH=context` stands for.
    pub(crate) date: Option<i64>,
    /// Its content is a commit, so that `date` is the same for everyone.
    pub(crate) is_commit: bool,
}

/// Where a context comes from that has to be fetched.
enum Kind {
    Git(GitSource),
    Http(String),
    Archive,
    Empty,
}

impl Outside {
    /// A context by name; `None` for a directory of the caller.
    pub(crate) async fn context(&self, name: &str, notice: &Notice) -> Result<Option<Context>> {
        let Some(kind) = kind(&self.request, name) else { return Ok(None) };
        let key = name.to_owned();
        once(&self.contexts, &key, || self.open_context(name, kind, notice)).await.map(Some)
    }

    async fn open_context(&self, name: &str, kind: Kind, notice: &Notice) -> Result<Context> {
        let called = if name == MAIN { "the build context".to_owned() } else { format!("the context `{name}`") };
        let (layers, date, is_commit) = match kind {
            Kind::Empty => (Vec::new(), None, false),
            Kind::Git(git) => {
                let checkout = self.checkout(&git, notice).await?;
                (vec![checkout.layer], Some(checkout.date), true)
            }
            Kind::Http(url) => {
                let source = HttpSource { url, name: FILE.to_owned(), checksum: None };
                let file = self.download(&source, notice).await?;
                let unpacked =
                    if name == MAIN { self.unpacked(&file.layer, &file.digest.to_string()).await? } else { None };
                let (layer, newest) = unpacked.unwrap_or((file.layer, None));
                (vec![layer], file.modified.or(newest), false)
            }
            Kind::Archive => {
                let layer = self.archive.get_or_try_init(|| self.receive_archive()).await?;
                let (layer, newest) = self.unpacked(layer, layer.as_str()).await?.unwrap_or((layer.clone(), None));
                (vec![layer], newest, false)
            }
        };
        let (store, layers) = (self.engine.store.clone(), Arc::<[LayerId]>::from(layers));
        let files = {
            let layers = layers.clone();
            blocking(move || LayerFiles::named(&store, &layers, &called)).await?
        };
        Ok(Context { layers, files, date, is_commit })
    }

    /// The archive that the caller sends, as a layer of one file.
    async fn receive_archive(&self) -> Result<LayerId> {
        let mut archive = self.session.archive().await?;
        let engine = self.engine.clone();
        blocking(move || {
            let what = "cannot read the context that was sent";
            let failed = |e: std::io::Error| Error::new(ErrorKind::Io, what).with_source(e);
            let path = engine.store.temporary().map_err(|e| from_store(e, what))?;
            let mut spool =
                std::fs::File::options().read(true).write(true).create_new(true).open(&path).map_err(failed)?;
            std::fs::remove_file(&path).map_err(failed)?;
            let size = std::io::copy(&mut archive, &mut spool).map_err(failed)?;
            std::io::Seek::rewind(&mut spool).map_err(failed)?;
            file_layer(&engine, &file(size), &mut spool)
        })
        .await
    }

    /// The files of an archive and the newest of their dates; `None` if it is none. `digest` names its bytes.
    async fn unpacked(&self, archive: &LayerId, digest: &str) -> Result<Option<(LayerId, Option<i64>)>> {
        let key = key_of("unpacked context", [digest]);
        if let Some((layer, notes)) = self.known(key) {
            return Ok(Some((layer, notes.get("newest").and_then(|date| date.parse().ok()))));
        }
        let (engine, archive) = (self.engine.clone(), archive.clone());
        let unpacked = blocking(move || unpack(&engine.store, &archive, (engine.clock)())).await?;
        let Some((layer, newest)) = unpacked else { return Ok(None) };
        let notes = Notes::default().with("newest", newest.map(|date| date.to_string()));
        self.keep(key, "[internal] load remote build context".to_owned(), &layer, notes)?;
        Ok(Some((layer, newest)))
    }

    /// Name and text of the Dockerfile, where it is not the caller's.
    pub(crate) async fn dockerfile(&self, notice: &Notice) -> Result<Option<(String, String)>> {
        let request = &self.request;
        match &request.dockerfile_source {
            DockerfileSource::Given => Ok(None),
            DockerfileSource::Http(url) => {
                let source = HttpSource { url: url.clone(), name: "Dockerfile".to_owned(), checksum: None };
                let layer = self.download(&source, notice).await?.layer;
                let shown = source.shown();
                let store = self.engine.store.clone();
                let text = blocking(move || {
                    let files = LayerFiles::open(&store, &[layer])?;
                    read_text(&*files, Path::new("Dockerfile"), &shown)
                });
                Ok(Some((source.shown(), text.await?)))
            }
            DockerfileSource::Context => {
                let missing = || Error::new(ErrorKind::Io, "a directory's Dockerfile is read by the caller");
                let context = self.context(MAIN, notice).await?.ok_or_else(missing)?;
                let name = Some(request.dockerfile_name.clone()).filter(|name| !name.is_empty());
                let is_http = matches!(request.context, ContextSource::Http(_));
                blocking(move || find_dockerfile(&*context.files, name.as_deref(), is_http)).await.map(Some)
            }
        }
    }
}

fn kind(request: &Request, name: &str) -> Option<Kind> {
    if name != MAIN {
        return match request.contexts.get(name)? {
            NamedContext::Git(git) => Some(Kind::Git(git.clone())),
            NamedContext::Http(url) => Some(Kind::Http(url.clone())),
            NamedContext::Local | NamedContext::Image(_) | NamedContext::OciLayout(..) | NamedContext::Stored(..) => {
                None
            }
        };
    }
    match &request.context {
        ContextSource::Directory => None,
        ContextSource::Http(url) => Some(Kind::Http(url.clone())),
        ContextSource::Archive => Some(Kind::Archive),
        ContextSource::Empty => Some(Kind::Empty),
        ContextSource::Git(git) => Some(Kind::Git(main_repository(request, git))),
    }
}

/// What build arguments say of a repository that is the context, as in BuildKit.
fn main_repository(request: &Request, git: &GitSource) -> GitSource {
    let arg = |name: &str| request.build_args.get(name).map(String::as_str).unwrap_or_default();
    let mut git = git.clone();
    if matches!(arg("BUILDKIT_CONTEXT_KEEP_GIT_DIR"), "1" | "t" | "T" | "true" | "TRUE" | "True") {
        git.keep_git_dir = Some(true);
    }
    if !arg("SOURCE_DATE_EPOCH").is_empty() {
        git.commit_times = git.commit_times.or(Some(true));
    }
    git
}

fn file(size: u64) -> Entry {
    let (mode, mtime) = (0o600, Mtime::default());
    let kind = EntryKind::File { size };
    Entry { path: PathBuf::from(FILE), kind, mode, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() }
}

/// Unpacks the one file of a layer as ADD does, if it is an archive.
fn unpack(store: &cooper_store::Store, archive: &LayerId, now: i64) -> Result<Option<(LayerId, Option<i64>)>> {
    let none: Arc<dyn Files> = LayerFiles::open(store, &[])?;
    let files: Arc<dyn Files> = LayerFiles::open(store, std::slice::from_ref(archive))?;
    let Some(entry) = files.lookup(Path::new(FILE))? else { return Ok(None) };
    let mut head = Vec::new();
    let failed = |e: std::io::Error| Error::new(ErrorKind::Io, "cannot read the context").with_source(e);
    files.open(&entry)?.take(HEAD).read_to_end(&mut head).map_err(failed)?;
    if detect(&head).is_none() {
        return Ok(None);
    }
    let copy = FileAction::Copy {
        input: 1,
        sources: vec![CopySource { path: FILE.to_owned(), wildcard: false }],
        dest: "/".to_owned(),
        chown: None,
        chmod: None,
        excludes: Vec::new(),
        unpack: true,
        parents: false,
        link: false,
    };
    let op = FileOp { actions: vec![copy], clamp: None };
    let work =
        FileWork { store, base: none.clone(), inputs: vec![none, files.clone()], compression: Compression::None, now };
    let layer = ops::file(&op, &work).map_err(|e| Error { what: format!("the context: {}", e.what), ..e })?;
    let listing = store.listing(&layer).map_err(|e| from_store(e, "cannot list the context"))?;
    if listing.records().len() == 1
        && listing.get(Path::new(FILE)).is_some_and(|record| record.size() == entry_size(&entry))
    {
        let error = Error::new(ErrorKind::User, "the context is compressed, but is no tar archive");
        return Err(error.with_hint("pack it with `tar -cz .`"));
    }
    let is_file = |record: &&cooper_store::listing::Record| matches!(record.entry.kind, EntryKind::File { .. });
    let newest = listing.records().iter().filter(is_file).map(|record| record.entry.mtime.secs).max();
    Ok(Some((layer, newest)))
}

fn entry_size(entry: &Entry) -> u64 {
    match entry.kind {
        EntryKind::File { size } => size,
        _ => 0,
    }
}

/// The Dockerfile of a context: by name, else as BuildKit looks it up, else the context's only file.
fn find_dockerfile(files: &dyn Files, name: Option<&str>, is_http: bool) -> Result<(String, String)> {
    let names = match name {
        Some(name) => vec![name],
        None => vec!["Dockerfile", "dockerfile"],
    };
    let only =
        || is_http && files.children(Path::new("")).is_ok_and(|all| all.len() == 1 && all[0].path == Path::new(FILE));
    let names = if only() { vec![FILE] } else { names };
    for name in &names {
        let path = resolve(files, &clean(name))?;
        if files.lookup(&path)?.is_some_and(|entry| matches!(entry.kind, EntryKind::File { .. })) {
            return Ok(((*name).to_owned(), read_text(files, &path, name)?));
        }
    }
    let error = Error::new(ErrorKind::User, format!("there is no `{}` in {}", names[0], files.called()));
    let all: Vec<String> =
        files.children(Path::new(""))?.iter().map(|entry| entry.path.to_string_lossy().into_owned()).collect();
    Err(match nearest(names[0], all.iter().map(String::as_str)) {
        Some(near) => error.with_hint(format!("there is `{near}`: name it with `-f {near}`")),
        None => error.with_hint("name one with `-f FILE`, relative to the context"),
    })
}

fn read_text(files: &dyn Files, path: &Path, shown: &str) -> Result<String> {
    let bad = |why: &str| Error::new(ErrorKind::User, format!("`{shown}` {why}"));
    let entry = files.lookup(path)?.ok_or_else(|| bad("is not there"))?;
    let mut bytes = Vec::new();
    let failed = |e: std::io::Error| bad("cannot be read").with_source(e);
    files.open(&entry)?.take(TEXT_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > TEXT_MAX {
        return Err(bad(&format!("is larger than {TEXT_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| bad("is not UTF-8 text"))
}
