//! Statements about an image (its referrers): signatures, bills of materials, attestations, in words and in their types.

use cooper_oci::Descriptor;
use maud::{Markup, html};

use super::config::pairs;
use super::place::href_digest;
use super::text::{foreign, sized};

/// Rows of the table.
const ROWS_MAX: usize = 200;

/// Types of artifacts by what their names hold, in the order in which they are tried.
const KINDS: [(&str, &str); 11] = [
    ("sigstore.bundle", "signature or attestation (Sigstore)"),
    ("cosign.artifact.sig", "signature (Cosign)"),
    ("cosign.simplesigning", "signature (Cosign)"),
    ("notary.signature", "signature (Notary)"),
    ("spdx", "bill of materials (SPDX)"),
    ("cyclonedx", "bill of materials (CycloneDX)"),
    ("syft", "bill of materials (Syft)"),
    ("slsa", "provenance (SLSA)"),
    ("in-toto", "attestation (in-toto)"),
    ("sarif", "findings (SARIF)"),
    ("openvex", "exploitability (OpenVEX)"),
];

/// What a type of artifact is, if it is a known one.
pub(super) fn kind(artifact_type: &str) -> Option<&'static str> {
    KINDS.iter().find(|(part, _)| artifact_type.contains(part)).map(|(_, words)| *words)
}

/// The statements about one manifest.
pub(super) fn table(name: &str, statements: &[Descriptor]) -> Markup {
    html! {
        @if statements.is_empty() {
            p.none { "No signatures, bills of materials or attestations." }
        } @else {
            table {
                thead { tr { th { "Statement" } th.wide { "Annotations" } th.num { "Size" } th { "Digest" } } }
                tbody { @for statement in statements.iter().take(ROWS_MAX) { (row(name, statement)) } }
            }
            @if statements.len() > ROWS_MAX { p.note { (statements.len() - ROWS_MAX) " more" } }
        }
    }
}

fn row(name: &str, statement: &Descriptor) -> Markup {
    let artifact_type = statement.artifact_type.as_deref().unwrap_or_else(|| statement.media_type.as_str());
    html! {
        tr {
            td.name {
                @if let Some(words) = kind(artifact_type) { (words) br; }
                span.mono.note { (foreign(artifact_type)) }
            }
            td.wide { @if !statement.annotations.is_empty() { (pairs(statement.annotations.iter())) } }
            td.num { (sized(statement.size)) }
            td.digest { a href=(href_digest(name, &statement.digest)) title=(statement.digest) { (statement.digest.short()) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cooper_oci::{Digest, MediaType};

    #[test]
    fn kinds() {
        for (artifact_type, expect) in [
            ("application/vnd.dev.sigstore.bundle.v0.3+json", Some("signature or attestation (Sigstore)")),
            ("application/vnd.dev.cosign.artifact.sig.v1+json", Some("signature (Cosign)")),
            ("application/spdx+json", Some("bill of materials (SPDX)")),
            ("application/vnd.in-toto+json", Some("attestation (in-toto)")),
            ("application/vnd.example", None),
        ] {
            assert_eq!(kind(artifact_type), expect);
        }
    }

    #[test]
    fn hostile_annotations_stay_text() {
        let mut statement = Descriptor::new(MediaType::MANIFEST, Digest::of(b""), 5);
        statement.artifact_type = Some("<script>".into());
        statement.annotations.insert("\"><b>".into(), "\u{202e}".into());
        let html = table("a", &[statement]).into_string();
        assert!(!html.contains("<script>") && !html.contains("<b>") && html.contains("U+202E"), "{html}");
    }
}
