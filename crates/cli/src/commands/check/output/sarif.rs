//! SARIF 2.1.0, with what code scanning asks for beyond the standard: rules with help, one run, fingerprints, relative paths.
//!
//! Knows nothing of other formats. Source: OASIS SARIF 2.1.0; GitHub, "SARIF support for code scanning".

use std::collections::BTreeSet;
use std::path::{Component, Path};

use cooper_dockerfile::{Fix, Severity, lint};
use serde_json::{Value, json};

use super::{Placed, level, message, placed, summary};
use crate::commands::check::examine::Examined;
use crate::commands::check::page::page;

/// The schema of the standard.
const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// Code scanning refuses more in one run.
const RESULTS_MAX: usize = 25_000;

pub(super) fn document(examined: &[Examined]) -> String {
    let mut found = placed(examined);
    found.truncate(RESULTS_MAX);
    let rules: BTreeSet<&str> = found.iter().map(|placed| placed.found.rule).collect();
    let rules: Vec<&str> = rules.into_iter().collect();
    let results: Vec<Value> = found.iter().map(|placed| result(placed, &rules)).collect();
    let driver = json!({
        "name": "cooper",
        "version": env!("CARGO_PKG_VERSION"),
        "semanticVersion": env!("CARGO_PKG_VERSION"),
        "rules": rules.iter().map(|rule| descriptor(rule)).collect::<Vec<_>>(),
    });
    let run = json!({"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results});
    format!("{:#}\n", json!({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}))
}

fn descriptor(id: &str) -> Value {
    let rule = lint::rule(id);
    let severity = rule.map_or(Severity::Error, |rule| rule.severity);
    let problem = if severity == Severity::Style { "recommendation" } else { level(severity, "recommendation") };
    json!({
        "id": id,
        "name": id,
        "shortDescription": {"text": summary(id)},
        "fullDescription": {"text": summary(id)},
        "help": {
            "text": rule.map_or(summary(id), |rule| rule.meaning),
            "markdown": rule.map_or_else(|| summary(id).to_owned(), page),
        },
        "defaultConfiguration": {"level": level(severity, "note")},
        "properties": {"tags": ["dockerfile"], "precision": "high", "problem.severity": problem},
    })
}

fn result(placed: &Placed<'_>, rules: &[&str]) -> Value {
    let index = rules.binary_search(&placed.found.rule).unwrap_or(0);
    let artifact = artifact(placed.file);
    let mut result = json!({
        "ruleId": placed.found.rule,
        "ruleIndex": index,
        "level": level(placed.found.severity, "note"),
        "message": {"text": message(placed.found)},
        "locations": [{"physicalLocation": {"artifactLocation": artifact, "region": region(placed.start, placed.end)}}],
        "partialFingerprints": {"primaryLocationLineHash": placed.fingerprint},
    });
    if let Some(fix) = &placed.found.fix {
        result["fixes"] = json!([fix_of(fix, &artifact, placed)]);
    }
    result
}

fn fix_of(fix: &Fix, artifact: &Value, placed: &Placed<'_>) -> Value {
    let replacement = |(start, end, text): &super::PlacedEdit<'_>| json!({"deletedRegion": region(*start, *end), "insertedContent": {"text": text}});
    let replacements: Vec<Value> = placed.edits.iter().map(replacement).collect();
    json!({
        "description": {"text": fix.title},
        "artifactChanges": [{"artifactLocation": artifact, "replacements": replacements}],
    })
}

fn region((line, column): (u32, u32), (end_line, end_column): (u32, u32)) -> Value {
    json!({"startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column})
}

/// A path relative to the root of the sources stays so; one that leads out of it is given whole.
fn artifact(file: &str) -> Value {
    let path = Path::new(file);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let parts = path.components().filter(|part| !matches!(part, Component::CurDir | Component::RootDir));
    let uri = parts.map(|part| encoded(&part.as_os_str().to_string_lossy())).collect::<Vec<_>>().join("/");
    match (inside, path.is_absolute()) {
        (true, _) => json!({"uri": uri, "uriBaseId": "%SRCROOT%"}),
        (false, true) => json!({"uri": format!("file:///{uri}")}),
        (false, false) => json!({"uri": uri}),
    }
}

/// One segment of a URI's path (RFC 3986, section 3.3).
fn encoded(segment: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    segment
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
