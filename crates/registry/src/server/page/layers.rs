//! Layers with the instruction that made each: an image's history matched to the layers of its manifest, and shown.
//!
//! Knows nothing of where either comes from.

use cooper_oci::{Descriptor, History, MediaType};
use maud::{Markup, html};

use super::text::{Visible, count, cut, foreign, size, sized};

/// Rows of the table; images of that many layers run nowhere.
const ROWS_MAX: usize = 1000;
/// Characters of an instruction that are shown at once; the rest unfolds.
const SHORT: usize = 200;
/// Characters that unfold; the whole is in the config.
const LONG: usize = 16_000;

/// A line of history, a layer, or both.
#[derive(Debug, PartialEq)]
pub(super) struct Row<'a> {
    pub(super) history: Option<&'a History>,
    pub(super) layer: Option<&'a Descriptor>,
}

/// The history in its order, each line that made a layer with the next of them. Layers that no line is left for follow.
pub(super) fn rows<'a>(history: &'a [History], layers: &'a [Descriptor]) -> Vec<Row<'a>> {
    let mut left = layers.iter();
    let mut rows: Vec<_> = history
        .iter()
        .map(|line| Row { history: Some(line), layer: if line.empty_layer { None } else { left.next() } })
        .collect();
    rows.extend(left.map(|layer| Row { history: None, layer: Some(layer) }));
    rows
}

/// The table of an image's layers.
pub(super) fn table(rows: &[Row<'_>]) -> Markup {
    let largest = rows.iter().filter_map(|row| row.layer).map(|layer| layer.size).max().unwrap_or(0);
    let mut number = 0;
    let shown = rows.iter().take(ROWS_MAX).map(|row| {
        number += usize::from(row.layer.is_some());
        line(row, number, largest)
    });
    html! {
        table.layers {
            thead { tr { th.num { "#" } th { "Instruction" } th.num { "Size" } th.wide { "Digest" } } }
            tbody { @for row in shown { (row) } }
        }
        @if rows.len() > ROWS_MAX {
            p.note { (count(rows.len() - ROWS_MAX, "row")) " more: see the manifest and the config." }
        }
    }
}

fn line(row: &Row<'_>, number: usize, largest: u64) -> Markup {
    let text = row.history.map_or("", |history| history.created_by.as_str());
    html! {
        tr.empty[row.layer.is_none()] {
            td.num { @if row.layer.is_some() { (number) } }
            td.name {
                @if text.is_empty() { span.none { "no history" } } @else { (instruction(text)) }
            }
            @match row.layer {
                Some(layer) => {
                    td.num { (sized(layer.size)) (bar(layer.size, largest)) }
                    td.digest.wide {
                        span title=(layer.digest) { (layer.digest.short()) }
                        " " span.note { (kind(&layer.media_type)) }
                    }
                }
                None => { td {} td.wide {} }
            }
        }
    }
}

/// How a layer is packed, else its type.
fn kind(media_type: &MediaType) -> Markup {
    match media_type.layer_compression() {
        Some(_) if media_type.as_str().ends_with("gzip") => html! { "gzip" },
        Some(_) if media_type.as_str().ends_with("zstd") => html! { "zstd" },
        Some(_) => html! { "tar" },
        None => foreign(cut(media_type.as_str(), 60).0),
    }
}

/// A share of the largest, as a bar; the number beside it says the same in words.
pub(super) fn bar(part: u64, whole: u64) -> Markup {
    html! {
        svg.bar aria-hidden="true" { rect width=(percent(part, whole)) height="100%" {} }
    }
}

/// All layers side by side, each as wide as its share.
pub(super) fn stack(layers: &[&Descriptor]) -> Markup {
    let total: u64 = layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size));
    let mut before = 0_u64;
    let parts = layers.iter().enumerate().filter_map(|(at, layer)| {
        let start = before;
        before = before.saturating_add(layer.size);
        // What is narrower than a tenth of a pixel is not seen.
        (layer.size as f64 > total as f64 / 10_000.0).then(|| (at + 1, start, layer.size))
    });
    html! {
        @if total > 0 {
            svg.bar.stack role="img" aria-label="Shares of the layers" {
                @for (number, start, part) in parts {
                    rect x=(percent(start, total)) width=(percent(part, total)) height="100%" {
                        title { "layer " (number) ": " (size(part)) }
                    }
                }
            }
        }
    }
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "0%".to_owned() } else { format!("{:.2}%", part as f64 * 100.0 / whole as f64) }
}

/// An instruction as a Dockerfile has it: without what builders wrap it in, its keyword apart, a long one folded.
pub(super) fn instruction(text: &str) -> Markup {
    let (keyword, arguments, rest) = unwrap(text);
    let rest = rest.trim();
    let first = rest.split('\n').next().unwrap_or_default();
    let (short, _) = cut(first, SHORT);
    let (long, hidden) = cut(rest, LONG);
    let head = html! {
        @if !keyword.is_empty() { b { (keyword) } " " }
        @if !arguments.is_empty() { span.shell { (Visible(cut(arguments, SHORT).0)) " " } }
    };
    html! {
        @if short.len() == rest.len() {
            code { (head) bdi { (Visible(rest)) } }
        } @else {
            details {
                summary { code { (head) bdi { (Visible(short)) } " …" } }
                pre { bdi { (Visible(long)) } @if hidden > 0 { span.note { " … " (count(hidden, "byte")) " more" } } }
            }
        }
    }
}

/// Keyword, build arguments and rest of what a builder wrote: `RUN |1 A=b /bin/sh -c make # buildkit` is
/// `RUN`, `A=b`, `make`; docker's classic builder wrote `/bin/sh -c #(nop)  CMD ["sh"]` and `/bin/sh -c make`.
fn unwrap(text: &str) -> (&str, &str, &str) {
    let text = text.trim().strip_suffix("# buildkit").unwrap_or(text.trim());
    if let Some(rest) = text.strip_prefix("/bin/sh -c #(nop)") {
        return split(rest.trim());
    }
    if let Some(rest) = text.strip_prefix("/bin/sh -c ") {
        return ("RUN", "", rest);
    }
    let (keyword, arguments, rest) = split(text);
    if keyword != "RUN" {
        return (keyword, arguments, rest);
    }
    let (arguments, rest) = match rest.strip_prefix('|').and_then(|rest| rest.split_once(" /bin/sh -c ")) {
        Some((arguments, rest)) => (arguments.split_once(' ').map_or("", |(_, arguments)| arguments), rest),
        None => ("", rest.strip_prefix("/bin/sh -c ").unwrap_or(rest)),
    };
    ("RUN", arguments, rest)
}

fn split(text: &str) -> (&str, &str, &str) {
    match text.split_once(' ') {
        Some((keyword, rest)) if is_keyword(keyword) => (keyword, "", rest),
        _ => ("", "", text),
    }
}

fn is_keyword(word: &str) -> bool {
    matches!(
        word,
        "ADD"
            | "ARG"
            | "CMD"
            | "COPY"
            | "ENTRYPOINT"
            | "ENV"
            | "EXPOSE"
            | "FROM"
            | "HEALTHCHECK"
            | "LABEL"
            | "MAINTAINER"
            | "ONBUILD"
            | "RUN"
            | "SHELL"
            | "STOPSIGNAL"
            | "USER"
            | "VOLUME"
            | "WORKDIR"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use cooper_oci::Digest;

    fn layer(size: u64) -> Descriptor {
        Descriptor::new(MediaType::LAYER_GZIP, Digest::of(&size.to_le_bytes()), size)
    }

    fn line(by: &str, empty_layer: bool) -> History {
        History { created_by: by.into(), empty_layer, ..History::default() }
    }

    #[test]
    fn history_meets_layers() {
        let history = [line("ADD rootfs", false), line("CMD sh", true), line("RUN x", false), line("RUN y", false)];
        let layers = [layer(1), layer(2)];
        let found: Vec<_> = rows(&history, &layers).iter().map(|row| row.layer.map(|layer| layer.size)).collect();
        assert_eq!(found, [Some(1), None, Some(2), None], "a history longer than the layers");
        let layers = [layer(1), layer(2), layer(3), layer(4)];
        let all = rows(&history, &layers);
        assert_eq!(all.len(), 5);
        assert_eq!(all[4], Row { history: None, layer: Some(&layers[3]) }, "a layer without history");
    }

    #[test]
    fn instructions_are_taken_out_of_their_wrapping() {
        for (text, expect) in [
            ("RUN /bin/sh -c make all # buildkit", ("RUN", "", "make all ")),
            ("RUN |2 A=1 B=x y /bin/sh -c make # buildkit", ("RUN", "A=1 B=x y", "make ")),
            ("RUN |1 A=1 /bin/bash -c make", ("RUN", "", "|1 A=1 /bin/bash -c make")),
            ("/bin/sh -c #(nop)  CMD [\"sh\"]", ("CMD", "", "[\"sh\"]")),
            ("/bin/sh -c apt-get update", ("RUN", "", "apt-get update")),
            ("COPY a /b # buildkit", ("COPY", "", "a /b ")),
            ("debuerreotype 0.15", ("", "", "debuerreotype 0.15")),
            ("", ("", "", "")),
        ] {
            assert_eq!(unwrap(text), expect, "{text}");
        }
    }

    #[test]
    fn long_instructions_fold() {
        assert!(!instruction("RUN a").into_string().contains("details"));
        for text in ["RUN <<EOF\nmake\nEOF".to_owned(), format!("RUN {}", "x".repeat(SHORT + 1))] {
            assert!(instruction(&text).into_string().contains("<details>"), "{text}");
        }
        let html = instruction("RUN <b>\u{202e}").into_string();
        assert!(html.contains("&lt;b&gt;<span class=\"odd\">U+202E"), "{html}");
    }

    #[test]
    fn sizes_that_overflow_stay_within_the_bar() {
        let layers = [layer(u64::MAX), layer(u64::MAX), layer(0)];
        let html = stack(&layers.iter().collect::<Vec<_>>()).into_string();
        assert_eq!(html.matches("<rect").count(), 2, "{html}");
        assert!(!html.contains("NaN") && !html.contains("inf"));
        assert_eq!(stack(&[]).into_string(), "");
        let many: Vec<_> = (0..10_000).map(|_| layer(1)).collect();
        assert!(table(&rows(&[], &many)).into_string().contains("9,000 rows more"));
    }
}
