//! One repository: its tags, each with what it stands for.

use cooper_oci::Digest;
use maud::{Markup, html};

use super::super::route::Target;
use super::frame::{pages, trail};
use super::front::tags_in_words;
use super::place::{href_digest, href_image, href_repository, with_query};
use super::text::{date, foreign, size};

/// Platforms of one tag that are named at once.
const PLATFORMS_SHOWN: usize = 6;

/// What is known of a manifest or an index without opening its page.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Summary {
    /// Of an image, or of an index's images.
    pub(super) platforms: Vec<String>,
    /// Bytes of the smallest and of the largest image, layers and config; nothing if none could be read.
    pub(super) sizes: Option<(u64, u64)>,
    /// The newest image's date.
    pub(super) created: Option<String>,
    /// The type of what is no image.
    pub(super) artifact_type: Option<String>,
    /// Why the rest is missing.
    pub(super) wrong: Option<String>,
}

/// One tag.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) tag: String,
    /// What it points to; it may be gone by the time it is looked at.
    pub(super) digest: Option<Digest>,
    pub(super) summary: Summary,
}

/// A page of tags.
#[derive(Debug)]
pub(super) struct Repository {
    pub(super) name: String,
    /// Set when this is not the first page.
    pub(super) last: Option<String>,
    pub(super) rows: Vec<Row>,
    pub(super) more: bool,
}

pub(super) fn page(repository: &Repository) -> Markup {
    let name = &repository.name;
    let here = href_repository(name);
    let next = repository.rows.last().filter(|_| repository.more).map(|row| with_query(&here, &[("last", &row.tag)]));
    let first = repository.last.as_ref().map(|_| here.as_str());
    html! {
        h1 { (trail(name, None)) }
        p.lead { (tags_in_words(repository.rows.len(), repository.more || first.is_some())) }
        @if !repository.rows.is_empty() {
            table {
                thead {
                    tr { th { "Tag" } th { "Platforms" } th.num { "Size" } th.wide { "Created" } th.wide { "Digest" } }
                }
                tbody { @for row in &repository.rows { (line(name, row)) } }
            }
        }
        (pages(first, next.as_deref()))
    }
}

fn line(name: &str, row: &Row) -> Markup {
    let summary = &row.summary;
    html! {
        tr {
            td.name { a href=(href_image(name, &Target::Tag(row.tag.clone()))) { (row.tag) } }
            td { (platforms(summary)) }
            td.num { (sizes(summary.sizes)) }
            td.wide { @if let Some(created) = &summary.created { (date(created)) } }
            td.digest.wide {
                @if let Some(digest) = &row.digest { a href=(href_digest(name, digest)) title=(digest) { (digest.short()) } }
            }
        }
    }
}

/// The platforms, else what it is instead of an image.
pub(super) fn platforms(summary: &Summary) -> Markup {
    let more = summary.platforms.len().saturating_sub(PLATFORMS_SHOWN);
    html! {
        @if let Some(artifact_type) = &summary.artifact_type {
            @match super::statements::kind(artifact_type) {
                Some(words) => { (words) },
                None => { span.mono { (foreign(artifact_type)) } }
            }
        } @else if let Some(wrong) = &summary.wrong {
            span.none { (foreign(wrong)) }
        } @else {
            div.chips {
                @for platform in summary.platforms.iter().take(PLATFORMS_SHOWN) { span { (foreign(platform)) } }
                @if more > 0 { span { "+" (more) } }
            }
        }
    }
}

/// One size, or from the smallest to the largest.
pub(super) fn sizes(sizes: Option<(u64, u64)>) -> Markup {
    let words = sizes.map(|(least, most)| (size(least), size(most)));
    html! {
        @match words {
            Some((least, most)) if least == most => { span.size { (least) } }
            Some((least, most)) => { span.size { (least) } span.note { " – " } span.size { (most) } }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_show_what_they_stand_for() {
        let digest = Digest::of(b"");
        let summary = Summary {
            platforms: (0..8).map(|n| format!("linux/a{n}")).collect(),
            sizes: Some((1000, 2000)),
            created: Some("2024-01-02T03:04:05Z".into()),
            ..Summary::default()
        };
        let gone = Summary { wrong: Some("it is <gone>".into()), ..Summary::default() };
        let rows = vec![
            Row { tag: "1".into(), digest: Some(digest.clone()), summary },
            Row { tag: "2".into(), digest: None, summary: gone },
        ];
        let repository = Repository { name: "team/app".into(), last: None, rows, more: true };
        let html = page(&repository).into_string();
        for part in [
            "<a class=\"note\" href=\"/?q=team%2F\">team/</a>app",
            "more than 2 tags",
            "linux/a5</bdi></span><span>+2</span>",
            "1.00 kB</span><span class=\"note\"> – </span><span class=\"size\">2.00 kB",
            "2024-01-02T03:04Z",
            &format!("href=\"/r/team/app@{digest}\""),
            "it is &lt;gone&gt;",
            "href=\"/r/team/app?last=2\"",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
    }
}
