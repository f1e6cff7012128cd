//! The first page: repositories, found by a part of their name.

use maud::{Markup, html};

use super::super::route::Target;
use super::frame::pages;
use super::place::{href_image, href_repository, href_search, with_query};
use super::text::count;

/// Tags of one repository that are named at once.
pub(super) const TAGS_SHOWN: usize = 6;

/// One repository.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    /// The first tags, up to one more than [`TAGS_SHOWN`].
    pub(super) tags: Vec<String>,
}

/// A page of repositories.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) query: String,
    /// Set when this is not the first page.
    pub(super) last: Option<String>,
    pub(super) rows: Vec<Row>,
    pub(super) more: bool,
}

pub(super) fn page(front: &Front, host: &str) -> Markup {
    let next = front.rows.last().filter(|_| front.more);
    let next = next.map(|row| with_query("/", &[("q", &front.query), ("last", &row.name)]));
    let first = front.last.as_ref().map(|_| href_search(&front.query));
    html! {
        h1 { "Repositories" }
        @if front.rows.is_empty() { (none(front, host)) } @else { (table(&front.rows)) }
        (pages(first.as_deref(), next.as_deref()))
    }
}

fn table(rows: &[Row]) -> Markup {
    html! {
        table {
            thead { tr { th { "Name" } th { "Tags" } } }
            tbody {
                @for row in rows {
                    tr {
                        td.name { a href=(href_repository(&row.name)) { (row.name) } }
                        td { (tags(row)) }
                    }
                }
            }
        }
    }
}

fn tags(row: &Row) -> Markup {
    html! {
        div.chips {
            @for tag in row.tags.iter().take(TAGS_SHOWN) {
                a href=(href_image(&row.name, &Target::Tag(tag.clone()))) title=(tag) { (tag) }
            }
            @if row.tags.len() > TAGS_SHOWN { a href=(href_repository(&row.name)) { "more…" } }
            @if row.tags.is_empty() { span.none { "no tags" } }
        }
    }
}

fn none(front: &Front, host: &str) -> Markup {
    html! {
        @if !front.query.is_empty() {
            p.lead { "No name here contains “" (super::text::foreign(&front.query)) "”." }
            p { a href="/" { "All repositories" } }
        } @else if front.last.is_some() {
            p.lead { "No more repositories." }
        } @else {
            p.lead { "Nothing is here, or nothing that you may see. An image comes in by" }
            p { code { "cooper build -t " (host) "/app --push ." } }
        }
    }
}

/// What the page's title says.
pub(super) fn title(front: &Front) -> String {
    if front.query.is_empty() { "Repositories".into() } else { format!("{} · Repositories", front.query) }
}

/// The number of tags in words, or that there are more.
pub(super) fn tags_in_words(shown: usize, more: bool) -> String {
    if more { format!("more than {}", count(shown, "tag")) } else { count(shown, "tag") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_where_it_ends() {
        let row = |name: &str| Row { name: name.into(), tags: vec!["1".into()] };
        let mut front = Front { query: "a b".into(), last: None, rows: vec![row("x/a"), row("x/b")], more: true };
        let html = page(&front, "r.example").into_string();
        assert!(html.contains("href=\"/?q=a+b&amp;last=x%2Fb\" rel=\"next\""), "{html}");
        assert!(html.contains("href=\"/r/x/a:1\"") && !html.contains("First page"), "{html}");
        front.last = Some("w".into());
        front.more = false;
        let html = page(&front, "r.example").into_string();
        assert!(!html.contains("Next page") && html.contains("href=\"/?q=a+b\">First page"), "{html}");
    }

    #[test]
    fn what_was_not_found_is_text() {
        let front = Front { query: "<b>\u{202e}".into(), last: None, rows: Vec::new(), more: false };
        let html = page(&front, "r.example").into_string();
        assert!(html.contains("&lt;b&gt;<span class=\"odd\">U+202E</span>"), "{html}");
    }
}
