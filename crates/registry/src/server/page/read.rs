//! Reads what the pages show out of a [`Backend`]. What is missing, too large or broken becomes words, never a failure of
//! the page; what one request may read is bounded.
//!
//! Knows no HTML.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use cooper_oci::{Descriptor, Digest, ImageConfig, Index, Manifest};
use futures::StreamExt;

use super::super::route::Target;
use super::super::{Backend, Document, Refusal, StoredManifest};
use super::front::{self, Front, TAGS_SHOWN};
use super::image::{Chosen, Content, Image, Page, platform};
use super::repository::{self, Repository, Summary};

/// Rows of a page.
pub(super) const PAGE: usize = 100;
/// Names looked at for one search.
const NAMES_MAX: usize = 100_000;
/// Names fetched at once.
const NAMES: usize = 1000;
/// Bytes of a config, or of another document, that are read to be shown.
pub(super) const DOCUMENT_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of a config that are read for a date in a list.
const GLANCE_MAX: u64 = 256 * 1024;
/// Manifests looked into for one list of tags: eight platforms for each of a hundred.
const GLANCES_MAX: usize = 800;
/// Images of one index that are looked into.
const IMAGES_MAX: usize = 64;
/// Summaries kept. One is a few hundred bytes.
const SUMMARIES_MAX: usize = 10_000;

/// What was read of images before, by the digest of their manifest.
#[derive(Debug, Default)]
pub(super) struct Summaries {
    known: Mutex<HashMap<Digest, Summary>>,
}

impl Summaries {
    fn get(&self, digest: &Digest) -> Option<Summary> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    fn keep(&self, digest: &Digest, summary: &Summary) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= SUMMARIES_MAX {
            known.clear();
        }
        known.insert(digest.clone(), summary.clone());
    }
}

/// One request's reading.
pub(super) struct Reader<'a> {
    pub(super) backend: &'a dyn Backend,
    pub(super) summaries: &'a Summaries,
    glances: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(backend: &'a dyn Backend, summaries: &'a Summaries) -> Self {
        Self { backend, summaries, glances: GLANCES_MAX }
    }

    /// The repositories after `last` whose names contain `query`, those that `may_pull` lets through.
    pub(super) async fn front(
        &self,
        query: &str,
        last: Option<String>,
        may_pull: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Front, Refusal> {
        let wanted = query.trim().to_ascii_lowercase();
        let mut names = Vec::new();
        let mut after = last.clone();
        for _ in 0..NAMES_MAX / NAMES {
            let found = self.backend.repositories(after.as_deref(), NAMES).await?;
            let is_end = found.len() < NAMES;
            after = found.last().cloned();
            names.extend(found.into_iter().filter(|name| name.contains(&wanted) && may_pull(name)));
            if is_end || names.len() > PAGE {
                break;
            }
        }
        let more = names.len() > PAGE;
        let mut rows = Vec::new();
        for name in names.into_iter().take(PAGE) {
            let tags = self.backend.tags(&name, None, TAGS_SHOWN + 1).await?.unwrap_or_default();
            rows.push(front::Row { name, tags });
        }
        Ok(Front { query: query.to_owned(), last, rows, more })
    }

    /// The tags after `last`; `None` when there is no such repository.
    pub(super) async fn repository(&mut self, name: &str, last: Option<String>) -> Result<Option<Repository>, Refusal> {
        let Some(mut tags) = self.backend.tags(name, last.as_deref(), PAGE + 1).await? else { return Ok(None) };
        let more = tags.len() > PAGE;
        tags.truncate(PAGE);
        let mut rows = Vec::new();
        for tag in tags {
            let (digest, summary) = match self.manifest(name, &Target::Tag(tag.clone())).await? {
                Some(manifest) => (Some(manifest.digest.clone()), self.summary(name, &manifest).await?),
                None => (None, gone()),
            };
            rows.push(repository::Row { tag, digest, summary });
        }
        Ok(Some(Repository { name: name.to_owned(), last, rows, more }))
    }

    pub(super) async fn manifest(&self, name: &str, target: &Target) -> Result<Option<StoredManifest>, Refusal> {
        self.backend.manifest(name, target.as_oci()).await
    }

    /// What a list says of a manifest, or of an index's images together.
    async fn summary(&mut self, name: &str, manifest: &StoredManifest) -> Result<Summary, Refusal> {
        match Document::parse(&manifest.media_type, &manifest.bytes) {
            Ok(Document::Manifest(document)) => self.image_summary(name, &manifest.digest, *document).await,
            Ok(Document::Index(index)) => {
                let all = self.children(name, &index).await?;
                Ok(together(&index, &all))
            }
            Err(refusal) => Ok(wrong(refusal.message())),
        }
    }

    /// The summaries of an index's manifests, in their order; empty ones for those that are not looked into.
    async fn children(&mut self, name: &str, index: &Index) -> Result<Vec<Summary>, Refusal> {
        let mut all = Vec::new();
        for (at, child) in index.manifests.iter().enumerate() {
            let is_skipped = at >= IMAGES_MAX || self.glances == 0;
            all.push(if is_skipped { Summary::default() } else { self.child(name, child).await? });
        }
        Ok(all)
    }

    async fn child(&mut self, name: &str, child: &Descriptor) -> Result<Summary, Refusal> {
        let target = Target::Digest(child.digest.clone());
        let Some(manifest) = self.manifest(name, &target).await? else { return Ok(gone()) };
        match Document::parse(&manifest.media_type, &manifest.bytes) {
            Ok(Document::Manifest(document)) => self.image_summary(name, &manifest.digest, *document).await,
            Ok(Document::Index(_)) => Ok(wrong("an index")),
            Err(refusal) => Ok(wrong(refusal.message())),
        }
    }

    async fn image_summary(&mut self, name: &str, digest: &Digest, manifest: Manifest) -> Result<Summary, Refusal> {
        if let Some(known) = self.summaries.get(digest) {
            return Ok(known);
        }
        let Some(left) = self.glances.checked_sub(1) else { return Ok(Summary::default()) };
        self.glances = left;
        let image = self.image(name, manifest, GLANCE_MAX).await?;
        let mut summary = Summary { sizes: Some((image.size(), image.size())), ..Summary::default() };
        match &image.config {
            _ if image.is_artifact() => {
                let config = &image.manifest.config.media_type.0;
                summary.artifact_type = image.manifest.artifact_type.clone().or_else(|| Some(config.clone()));
            }
            Ok(config) => {
                summary.platforms = vec![config.platform().to_string()];
                summary.created = config.created.clone();
            }
            Err(why) => return Ok(Summary { wrong: Some(why.clone()), ..summary }),
        }
        self.summaries.keep(digest, &summary);
        Ok(summary)
    }

    /// A manifest with its config.
    async fn image(&self, name: &str, manifest: Manifest, limit: u64) -> Result<Image, Refusal> {
        let image = Image { manifest, config: Err("it is no image".into()) };
        if image.is_artifact() {
            return Ok(image);
        }
        let bytes = self.document(name, &image.manifest.config.digest, limit).await?;
        let parse = |bytes: Vec<u8>| {
            serde_json::from_slice::<ImageConfig>(&bytes).map_err(|error| format!("the config is broken: {error}"))
        };
        let config = bytes.map_err(|why| format!("the config {why}")).and_then(parse);
        Ok(Image { config, ..image })
    }

    /// A blob of at most `limit` bytes, or what is wrong with it.
    pub(super) async fn document(
        &self,
        name: &str,
        digest: &Digest,
        limit: u64,
    ) -> Result<Result<Vec<u8>, String>, Refusal> {
        let Some(size) = self.backend.blob_size(name, digest).await? else { return Ok(Err("is not here".into())) };
        if size > limit {
            return Ok(Err(format!("has {size} bytes, which is too large to be shown")));
        }
        let Some(mut body) = self.backend.open_blob(name, digest, 0..size).await? else {
            return Ok(Err("is not here".into()));
        };
        let mut out = Vec::new();
        while let Some(chunk) = body.next().await {
            match chunk {
                Ok(chunk) if (out.len() + chunk.len()) as u64 <= limit => out.extend_from_slice(&chunk),
                Ok(_) => return Ok(Err("is too large to be shown".into())),
                Err(_) => return Ok(Err("cannot be read, or is not what its digest says".into())),
            }
        }
        Ok(Ok(out))
    }

    /// Everything about one manifest; of an index, the image of `wanted` as well.
    pub(super) async fn page(
        &mut self,
        name: &str,
        target: Target,
        wanted: Option<&str>,
    ) -> Result<Option<Page>, Refusal> {
        let Some(manifest) = self.manifest(name, &target).await? else { return Ok(None) };
        let content = match Document::parse(&manifest.media_type, &manifest.bytes) {
            Ok(Document::Manifest(document)) => {
                Content::Image(Box::new(self.image(name, *document, DOCUMENT_MAX).await?))
            }
            Ok(Document::Index(index)) => {
                let summaries = self.children(name, &index).await?;
                let chosen = match choose(&index, wanted) {
                    Some(child) => Some(Box::new(self.chosen(name, child).await?)),
                    None => None,
                };
                Content::Index { index, summaries, chosen }
            }
            Err(refusal) => Content::Wrong(refusal.message().to_owned()),
        };
        let statements = self.statements(name, &manifest.digest).await?;
        let descriptor = Descriptor::new(manifest.media_type, manifest.digest, manifest.bytes.len() as u64);
        Ok(Some(Page { name: name.to_owned(), target, descriptor, content, statements }))
    }

    async fn chosen(&self, name: &str, child: &Descriptor) -> Result<Chosen, Refusal> {
        let found = self.manifest(name, &Target::Digest(child.digest.clone())).await?;
        let image = match found.map(|manifest| Document::parse(&manifest.media_type, &manifest.bytes)) {
            Some(Ok(Document::Manifest(document))) => Ok(self.image(name, *document, DOCUMENT_MAX).await?),
            Some(Ok(Document::Index(_))) => Err("this is an index itself".to_owned()),
            Some(Err(refusal)) => Err(refusal.message().to_owned()),
            None => Err("the image of this platform is not here".to_owned()),
        };
        let statements = self.statements(name, &child.digest).await?;
        Ok(Chosen { descriptor: child.clone(), image, statements })
    }

    /// What is said about a manifest: by its subject, or by the tags that Cosign made before there were subjects.
    async fn statements(&self, name: &str, digest: &Digest) -> Result<Vec<Descriptor>, Refusal> {
        let mut found = self.backend.referrers(name, digest).await?;
        for ending in ["sig", "att", "sbom"] {
            let tag = format!("{}.{ending}", digest.to_string().replacen(':', "-", 1));
            let Some(manifest) = self.manifest(name, &Target::Tag(tag)).await? else { continue };
            if found.iter().any(|known| known.digest == manifest.digest) {
                continue;
            }
            let Some(Document::Manifest(document)) = Document::of(&manifest) else { continue };
            let size = manifest.bytes.len() as u64;
            let mut descriptor = Descriptor::new(manifest.media_type, manifest.digest, size);
            descriptor.artifact_type = document.layers.first().map(|layer| layer.media_type.0.clone());
            found.push(descriptor);
        }
        Ok(found)
    }
}

/// The manifest of the platform in `wanted`; without one, linux/amd64 or else the first that has a platform.
fn choose<'a>(index: &'a Index, wanted: Option<&str>) -> Option<&'a Descriptor> {
    let of = |wanted: &str| {
        index.manifests.iter().find(|child| platform(child).is_some_and(|platform| platform.to_string() == wanted))
    };
    match wanted {
        Some(wanted) => of(wanted),
        None => of("linux/amd64").or_else(|| index.manifests.iter().find(|child| platform(child).is_some())),
    }
}

/// What an index is: the platforms it names, and what its images have in common.
fn together(index: &Index, all: &[Summary]) -> Summary {
    let images = index.manifests.iter().zip(all).filter(|(child, _)| platform(child).is_some());
    let mut out = Summary { artifact_type: index.artifact_type.clone(), ..Summary::default() };
    for (child, summary) in images {
        out.platforms.extend(platform(child).map(ToString::to_string));
        out.created = out.created.max(summary.created.clone());
        out.sizes = match (out.sizes, summary.sizes) {
            (Some((least, most)), Some((a, b))) => Some((least.min(a), most.max(b))),
            (known, found) => known.or(found),
        };
    }
    if out.platforms.is_empty() && out.artifact_type.is_none() {
        out.wrong = Some("an index without platforms".into());
    }
    out
}

fn wrong(why: &str) -> Summary {
    Summary { wrong: Some(why.to_owned()), ..Summary::default() }
}

fn gone() -> Summary {
    wrong("not here")
}
