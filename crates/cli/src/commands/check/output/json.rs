//! Findings as one JSON document of our own, described in `docs/check.md`.
//!
//! Knows nothing of other formats.

use cooper_dockerfile::{Fix, Severity};
use serde_json::{Value, json};

use super::{Placed, placed};
use crate::commands::check::examine::Examined;
use crate::commands::check::page::severity_name;

pub(super) fn document(examined: &[Examined]) -> String {
    let count = |severity| {
        examined.iter().flat_map(|examined| &examined.found).filter(|found| found.severity == severity).count()
    };
    let files: Vec<Value> = examined
        .iter()
        .map(|one| {
            let findings = placed(std::slice::from_ref(one));
            let findings: Vec<Value> = findings.iter().map(finding).collect();
            json!({"file": one.source.shown, "findings": findings})
        })
        .collect();
    let document = json!({
        "files": files,
        "counts": {
            "error": count(Severity::Error),
            "warning": count(Severity::Warning),
            "info": count(Severity::Info),
            "style": count(Severity::Style),
        },
    });
    format!("{document:#}\n")
}

fn finding(placed: &Placed<'_>) -> Value {
    let found = placed.found;
    let mut finding = json!({
        "rule": found.rule,
        "severity": severity_name(found.severity),
        "message": found.message,
        "start": position(placed.start),
        "end": position(placed.end),
        "fingerprint": placed.fingerprint,
    });
    if let Some(hint) = &found.hint {
        finding["hint"] = json!(hint);
    }
    if let Some(fix) = &found.fix {
        finding["fix"] = fix_of(fix, placed);
    }
    finding
}

fn fix_of(fix: &Fix, placed: &Placed<'_>) -> Value {
    let edit = |(start, end, text): &super::PlacedEdit<'_>| json!({"start": position(*start), "end": position(*end), "text": text});
    let edits: Vec<Value> = placed.edits.iter().map(edit).collect();
    json!({"title": fix.title, "safe": fix.safe, "edits": edits})
}

fn position((line, column): (u32, u32)) -> Value {
    json!({"line": line, "column": column})
}
