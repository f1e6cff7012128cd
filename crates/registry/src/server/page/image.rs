//! One manifest: of an index its platforms and the image of one of them, of an image its layers and config, of anything else its
//! files; and the statements about it.

use cooper_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform};
use maud::{Markup, html};

use super::super::route::Target;
use super::commands::{self, Address};
use super::config;
use super::frame::{trail, wrong};
use super::json;
use super::layers::{self, bar};
use super::place::{View, href_digest, href_image, href_part, href_repository, suffix};
use super::repository::{Summary, platforms, sizes};
use super::statements;
use super::text::{count, cut, date, foreign, sized};

/// Entries of an index, and files of an artifact, that are shown.
const ROWS_MAX: usize = 200;

/// What stands at an address.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) name: String,
    pub(super) target: Target,
    pub(super) descriptor: Descriptor,
    pub(super) content: Content,
    /// Statements about `descriptor`.
    pub(super) statements: Vec<Descriptor>,
}

#[derive(Debug)]
pub(super) enum Content {
    Index {
        index: Box<Index>,
        summaries: Vec<Summary>,
        chosen: Option<Box<Chosen>>,
    },
    Image(Box<Image>),
    /// Neither, and why.
    Wrong(String),
}

/// The image of an index that is shown with it.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) descriptor: Descriptor,
    pub(super) image: Result<Image, String>,
    pub(super) statements: Vec<Descriptor>,
}

/// A manifest and its config, which may be missing, too large or broken.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) manifest: Manifest,
    pub(super) config: Result<ImageConfig, String>,
}

impl Image {
    /// What is no image of a filesystem: an artifact.
    pub(super) fn is_artifact(&self) -> bool {
        let config = self.manifest.config.media_type.as_str();
        let is_image = config.contains("image.config") || config.contains("container.image");
        !is_image || self.manifest.artifact_type.is_some()
    }

    /// Bytes of config and layers.
    pub(super) fn size(&self) -> u64 {
        let sizes = self.manifest.layers.iter().map(|layer| layer.size);
        sizes.fold(self.manifest.config.size, u64::saturating_add)
    }
}

/// A platform as an index names it; BuildKit gives its attestations the platform `unknown/unknown`.
pub(super) fn platform(descriptor: &Descriptor) -> Option<&Platform> {
    descriptor.platform.as_ref().filter(|platform| platform.os != "unknown")
}

pub(super) fn page(page: &Page, address: &Address) -> Markup {
    let (name, target, digest) = (&page.name, &page.target, &page.descriptor.digest);
    html! {
        h1 { (trail(name, Some(&href_repository(name)))) span.at { (cut(&suffix(target), 24).0) } }
        @match &page.content {
            Content::Index { index, summaries, chosen } => {
                (facts(page, None, index.manifests.len()))
                (commands::block(address, name, target, digest))
                (index_table(page, index, summaries, chosen.as_deref()))
                @if let Some(chosen) = chosen { (chosen_image(page, chosen)) }
                (annotations(&index.annotations))
                @if !page.statements.is_empty() { (about("Statements about the index", name, &page.statements)) }
            }
            Content::Image(image) => {
                (facts(page, Some(image), image.manifest.layers.len()))
                (commands::block(address, name, target, digest))
                (image_parts(name, target, image))
                (annotations(&image.manifest.annotations))
                (about("Statements", name, &page.statements))
            }
            Content::Wrong(why) => {
                (facts(page, None, 0))
                (wrong(why))
                p { a href=(href_part(name, target, "view", "manifest")) { "Show it as it is" } }
                (about("Statements", name, &page.statements))
            }
        }
    }
}

/// The line of figures under the heading.
fn facts(page: &Page, image: Option<&Image>, children: usize) -> Markup {
    let config = image.and_then(|image| image.config.as_ref().ok()).filter(|config| !config.architecture.is_empty());
    let view = |view| href_part(&page.name, &page.target, "view", view);
    let (media_type, digest) = (page.descriptor.media_type.as_str(), &page.descriptor.digest);
    html! {
        dl.facts {
            @if let Some(image) = image {
                div { dt { "Size" } dd { (sized(image.size())) } }
                div { dt { @if image.is_artifact() { "Files" } @else { "Layers" } } dd { (children) } }
            }
            @if let Some(config) = config {
                div { dt { "Platform" } dd { (foreign(&config.platform().to_string())) } }
                @if let Some(created) = &config.created { div { dt { "Created" } dd { (date(created)) } } }
            }
            @if matches!(page.content, Content::Index { .. }) { div { dt { "Manifests" } dd { (children) } } }
            div { dt { "Documents" } dd {
                a href=(view("manifest")) { "manifest" }
                @if image.is_some() { " · " a href=(view("config")) { "config" } }
            } }
            div { dt { "Type" } dd.mono.whole { (foreign(media_type)) } }
            div { dt { "Digest" } dd.mono.whole { (digest) } }
        }
    }
}

fn index_table(page: &Page, index: &Index, summaries: &[Summary], chosen: Option<&Chosen>) -> Markup {
    let rows = index.manifests.iter().zip(summaries);
    let here = |digest: &Digest| chosen.is_some_and(|chosen| chosen.descriptor.digest == *digest);
    html! {
        h2 { "Platforms" }
        table {
            thead { tr { th { "Platform" } th.num { "Size" } th.wide { "Created" } th { "Digest" } } }
            tbody {
                @for (child, summary) in rows.take(ROWS_MAX) {
                    tr {
                        td.name { (entry(page, child, summary, here(&child.digest))) }
                        td.num { (sizes(summary.sizes)) }
                        td.wide { @if let Some(created) = &summary.created { (date(created)) } }
                        td.digest { a href=(href_digest(&page.name, &child.digest)) title=(child.digest) { (child.digest.short()) } }
                    }
                }
            }
        }
        @if index.manifests.len() > ROWS_MAX { p.note { (index.manifests.len() - ROWS_MAX) " more: see the manifest" } }
    }
}

/// An entry's platform, which chooses it; else what it is instead.
fn entry(page: &Page, child: &Descriptor, summary: &Summary, here: bool) -> Markup {
    html! {
        @if let Some(platform) = platform(child) {
            @let text = platform.to_string();
            @if here { b { (foreign(&text)) } span.note { " shown below" } }
            @else { a href=(href_part(&page.name, &page.target, "platform", &text)) { (foreign(&text)) } }
            @if let Some(why) = &summary.wrong { br; span.none { (foreign(why)) } }
        } @else if child.annotations.contains_key("vnd.docker.reference.type") {
            span.note { "attestations" @if let Some(of) = attested(child) { " of " (of) } }
        } @else {
            (platforms(summary))
        }
    }
}

/// The manifest of the same index that BuildKit's attestations are about.
fn attested(child: &Descriptor) -> Option<String> {
    let digest = child.annotations.get("vnd.docker.reference.digest")?.parse::<Digest>().ok()?;
    Some(digest.short().to_owned())
}

fn chosen_image(page: &Page, chosen: &Chosen) -> Markup {
    let target = Target::Digest(chosen.descriptor.digest.clone());
    let title = platform(&chosen.descriptor).map_or_else(|| "Image".to_owned(), ToString::to_string);
    html! {
        h2.chosen {
            (foreign(&title)) " "
            span.note {
                a href=(href_image(&page.name, &target)) { "alone" } " · "
                a href=(href_part(&page.name, &target, "view", "manifest")) { "manifest" } " · "
                a href=(href_part(&page.name, &target, "view", "config")) { "config" }
            }
        }
        @match &chosen.image {
            Ok(image) => {
                p.lead { (sized(image.size())) " in " (count(image.manifest.layers.len(), "layer")) }
                (image_parts(&page.name, &target, image))
                (annotations(&image.manifest.annotations))
            }
            Err(why) => { (wrong(why)) }
        }
        (about("Statements", &page.name, &chosen.statements))
    }
}

/// Layers and config, or files.
fn image_parts(name: &str, target: &Target, image: &Image) -> Markup {
    if image.is_artifact() {
        return files(name, target, image);
    }
    let layers: Vec<&Descriptor> = image.manifest.layers.iter().collect();
    let history = image.config.as_ref().map_or(&[][..], |config| config.history.as_slice());
    html! {
        h2 { "Layers" }
        (layers::stack(&layers))
        (layers::table(&layers::rows(history, &image.manifest.layers)))
        h2 { "Config" }
        @match &image.config {
            Ok(config) => {
                (config::facts(config))
                @if !config.config.labels.is_empty() { h2 { "Labels" } (config::pairs(config.config.labels.iter())) }
            }
            Err(why) => { (wrong(why)) }
        }
    }
}

/// The blobs of an artifact, by the names they have.
fn files(name: &str, target: &Target, image: &Image) -> Markup {
    let largest = image.manifest.layers.iter().map(|layer| layer.size).max().unwrap_or(0);
    let artifact_type =
        image.manifest.artifact_type.as_deref().unwrap_or_else(|| image.manifest.config.media_type.as_str());
    html! {
        h2 { "Artifact" }
        p.lead {
            @if let Some(words) = statements::kind(artifact_type) { (words) ": " }
            span.mono { (foreign(artifact_type)) }
            @if let Some(subject) = &image.manifest.subject {
                ", about " a.mono href=(href_digest(name, &subject.digest)) title=(subject.digest) { (subject.digest.short()) }
            }
        }
        table {
            thead { tr { th { "File" } th.num { "Size" } th { "Digest" } } }
            tbody {
                @for layer in image.manifest.layers.iter().take(ROWS_MAX) {
                    tr {
                        td.name { (file(name, target, layer)) }
                        td.num { (sized(layer.size)) (bar(layer.size, largest)) }
                        td.digest { span title=(layer.digest) { (layer.digest.short()) } }
                    }
                }
            }
        }
    }
}

/// The name of a file, as a link where it is JSON.
fn file(name: &str, target: &Target, layer: &Descriptor) -> Markup {
    let title = layer.annotations.get("org.opencontainers.image.title");
    let predicate = layer.annotations.get("in-toto.io/predicate-type").or(title);
    let words = predicate.map_or_else(|| layer.media_type.as_str(), String::as_str);
    html! {
        @if layer.media_type.as_str().ends_with("json") {
            a href=(href_part(name, target, "blob", &layer.digest.to_string())) { (foreign(words)) }
        } @else { (foreign(words)) }
        @if predicate.is_some() { br; span.mono.note { (foreign(layer.media_type.as_str())) } }
    }
}

fn annotations(annotations: &std::collections::BTreeMap<String, String>) -> Markup {
    html! { @if !annotations.is_empty() { h2 { "Annotations" } (config::pairs(annotations.iter())) } }
}

fn about(heading: &str, name: &str, found: &[Descriptor]) -> Markup {
    html! { h2 { (heading) } (statements::table(name, found)) }
}

/// The page of one document of an image.
pub(super) fn document(
    name: &str,
    target: &Target,
    view: &View,
    bytes: Result<&[u8], &String>,
    page: &dyn Fn(&Digest) -> Option<String>,
) -> Markup {
    let words = match view {
        View::Config => "config",
        View::Blob(_) => "file",
        View::Manifest | View::Whole { .. } => "manifest",
    };
    html! {
        h1 { a href=(href_image(name, target)) { (name) span.at { (cut(&suffix(target), 24).0) } } span.at { " · " (words) } }
        @if let View::Blob(digest) = view { p.lead.mono { (digest) } }
        @match bytes {
            Ok(bytes) => {
                p.lead { (sized(bytes.len() as u64)) }
                (json::document(bytes, page))
            }
            Err(why) => { (wrong(why)) }
        }
    }
}
