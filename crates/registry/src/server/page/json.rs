//! JSON documents for people: indented, keys apart from values, digests that name a page as links to it. What is not JSON is
//! shown as the text it is.

use cooper_oci::Digest;
use maud::{Markup, PreEscaped, Render, html};
use serde_json::Value;

use super::frame::wrong;
use super::text::{Visible, count};

/// Bytes of HTML one document may become. A hostile document grows a hundredfold by indenting; a real one threefold.
const HTML_MAX: usize = 16 * 1024 * 1024;
/// Bytes shown of what is no JSON.
const TEXT_MAX: usize = 64 * 1024;

/// The document. `page` knows the pages of digests.
pub(super) fn document(bytes: &[u8], page: &dyn Fn(&Digest) -> Option<String>) -> Markup {
    match serde_json::from_slice::<Value>(bytes) {
        Ok(value) => match Writer::write(&value, page) {
            Some(text) => html! { pre.json { (PreEscaped(text)) } },
            None => html! { (wrong("too large to be indented; it is shown as it is")) (plain(bytes)) },
        },
        Err(error) => html! { (wrong(&format!("this is not JSON: {error}"))) (plain(bytes)) },
    }
}

fn plain(bytes: &[u8]) -> Markup {
    let (shown, rest) = bytes.split_at_checked(TEXT_MAX).unwrap_or((bytes, &[]));
    html! {
        pre.json { bdi { (Visible(&String::from_utf8_lossy(shown))) } }
        @if !rest.is_empty() { p.note { (count(rest.len(), "byte")) " more" } }
    }
}

struct Writer<'a> {
    out: String,
    page: &'a dyn Fn(&Digest) -> Option<String>,
}

impl<'a> Writer<'a> {
    /// The HTML of a value; `None` when it grows too long.
    fn write(value: &Value, page: &'a dyn Fn(&Digest) -> Option<String>) -> Option<String> {
        let mut writer = Self { out: String::new(), page };
        writer.value(value, 0)?;
        Some(writer.out)
    }

    /// The depth is bounded by the parser: 128.
    fn value(&mut self, value: &Value, depth: usize) -> Option<()> {
        match value {
            Value::Array(items) if !items.is_empty() => {
                self.out.push('[');
                for (at, item) in items.iter().enumerate() {
                    self.line(at, depth + 1)?;
                    self.value(item, depth + 1)?;
                }
                self.line(0, depth)?;
                self.out.push(']');
            }
            Value::Object(fields) if !fields.is_empty() => {
                self.out.push('{');
                for (at, (key, field)) in fields.iter().enumerate() {
                    self.line(at, depth + 1)?;
                    html! { span.k { (Visible(&quoted(key))) } ": " }.render_to(&mut self.out);
                    self.value(field, depth + 1)?;
                }
                self.line(0, depth)?;
                self.out.push('}');
            }
            Value::String(text) => self.text(text),
            other => other.to_string().as_str().render_to(&mut self.out),
        }
        Some(())
    }

    /// A new line, after a comma unless it is the first.
    fn line(&mut self, at: usize, depth: usize) -> Option<()> {
        if at > 0 {
            self.out.push(',');
        }
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n("  ", depth));
        (self.out.len() <= HTML_MAX).then_some(())
    }

    fn text(&mut self, text: &str) {
        let target = text.parse::<Digest>().ok().and_then(|digest| (self.page)(&digest));
        let shown = quoted(text);
        html! {
            @match target {
                Some(page) => { a href=(page) { (shown) } }
                None => { bdi { (Visible(&shown)) } }
            }
        }
        .render_to(&mut self.out);
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        document(text.as_bytes(), &|_| None).into_string()
    }

    #[test]
    fn indents_and_links() {
        let digest = Digest::of(b"");
        let text = format!(r#"{{"a":[1,"<b>"],"d":"{digest}","e":{{}},"n":null}}"#);
        let html = document(text.as_bytes(), &|digest| Some(format!("/x@{digest}"))).into_string();
        let expect = format!(
            "<pre class=\"json\">{{\n  <span class=\"k\">&quot;a&quot;</span>: [\n    1,\n    <bdi>&quot;&lt;b&gt;&quot;</bdi>\n  ],\n  \
             <span class=\"k\">&quot;d&quot;</span>: <a href=\"/x@{digest}\">&quot;{digest}&quot;</a>,\n  \
             <span class=\"k\">&quot;e&quot;</span>: {{}},\n  <span class=\"k\">&quot;n&quot;</span>: null\n}}</pre>"
        );
        assert_eq!(html, expect);
    }

    #[test]
    fn hostile_documents_are_bounded() {
        let deep = format!("{}{}", "[".repeat(4000), "]".repeat(4000));
        assert!(shown(&deep).contains("this is not JSON"));
        let wide = format!("{}{}1{}", "[".repeat(120), "1,".repeat(1_000_000), "]".repeat(120));
        let html = shown(&wide);
        assert!(html.contains("too large to be indented") && html.len() < 2 * TEXT_MAX, "{}", html.len());
        assert!(shown("\u{0}<script>").contains("U+0000</span>&lt;script&gt;"));
        assert!(shown("{\"\u{202e}\":1}").contains("U+202E"));
    }
}
