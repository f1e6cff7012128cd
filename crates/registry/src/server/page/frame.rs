//! The frame of every page: head, breadcrumbs, search, foot; and the pages that say that something is wrong.
//!
//! The stylesheet is embedded and named by its digest in the policy, so that nothing else on a page can bring style,
//! script or images, whatever an image's labels say.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::Digest as _;

use super::place::href_search;
use super::text::{foreign, plain};

const STYLE: &str = include_str!("style.css");

/// `Content-Security-Policy` of every page.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = STANDARD.encode(sha2::Sha256::digest(STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
});

/// What surrounds the content of one page.
pub(super) struct Frame<'a> {
    /// The page's title, without the program's name.
    pub(super) title: String,
    /// The host the client asked, as it is shown.
    pub(super) host: &'a str,
    /// What is in the search box.
    pub(super) query: &'a str,
}

/// A whole document.
pub(super) fn document(frame: &Frame<'_>, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (plain(&frame.title)) " · cooper" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to content" }
                header {
                    a.home href="/" { (barrel()) span { (frame.host) } }
                    form action="/" method="get" role="search" {
                        input type="search" name="q" value=(frame.query) placeholder="Find a repository"
                            aria-label="Find a repository" autocomplete="off" spellcheck="false" maxlength="255";
                        button type="submit" { "Find" }
                    }
                }
                main #main { (content) }
                footer { "cooper " (env!("CARGO_PKG_VERSION")) " · OCI distribution 1.1" }
            }
        }
    }
}

/// A barrel: two staves, two hoops.
fn barrel() -> Markup {
    html! {
        svg viewBox="0 0 24 24" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.7" {
            path d="M7 3h10c2.6 5.6 2.6 12.4 0 18H7C4.4 15.4 4.4 8.6 7 3z" {}
            path d="M5.6 8h12.8M5.6 16h12.8M12 3v18" {}
        }
    }
}

/// A page that says why there is nothing else.
pub(super) fn nothing(heading: &str, why: &str) -> Markup {
    html! {
        h1 { (heading) }
        p.lead { (foreign(why)) }
        p { a href="/" { "All repositories" } }
    }
}

/// A part of a page that cannot be shown.
pub(super) fn wrong(why: &str) -> Markup {
    html! { p.wrong role="note" { (foreign(why)) } }
}

/// The links of a list that goes on.
pub(super) fn pages(first: Option<&str>, next: Option<&str>) -> Markup {
    html! {
        @if first.is_some() || next.is_some() {
            nav.pages aria-label="Pages" {
                @if let Some(first) = first { a href=(first) { "First page" } }
                @if let Some(next) = next { a href=(next) rel="next" { "Next page" } }
            }
        }
    }
}

/// The path of a repository: every part but the last finds its neighbours, the last is a link to `last` if there is one.
pub(super) fn trail(name: &str, last: Option<&str>) -> Markup {
    let ends = name.match_indices('/').map(|(at, _)| at + 1).chain([name.len()]);
    let starts = std::iter::once(0).chain(name.match_indices('/').map(|(at, _)| at + 1));
    let parts = starts.zip(ends).map(|(from, to)| (name.get(from..to), name.get(..to)));
    html! {
        @for (part, path) in parts {
            @if let (Some(part), Some(path)) = (part, path) {
                @if path.len() < name.len() { a.note href=(href_search(path)) { (part) } }
                @else if let Some(last) = last { a href=(last) { (part) } }
                @else { (part) }
            }
        }
    }
}
