//! GitLab's code quality report: a subset of Code Climate's format.
//!
//! Knows nothing of other formats.

use cooper_dockerfile::Severity;
use serde_json::{Value, json};

use super::{Placed, message, placed};
use crate::commands::check::examine::Examined;

pub(super) fn document(examined: &[Examined]) -> String {
    let issues: Vec<Value> = placed(examined).iter().map(issue).collect();
    format!("{:#}\n", Value::from(issues))
}

fn issue(placed: &Placed<'_>) -> Value {
    let severity = match placed.found.severity {
        Severity::Error => "critical",
        Severity::Warning => "major",
        Severity::Info => "minor",
        Severity::Style => "info",
    };
    json!({
        "description": message(placed.found),
        "check_name": placed.found.rule,
        // It has to be unique in the report.
        "fingerprint": format!("{}:{}", cooper_oci::Digest::of(placed.file.as_bytes()).short(), placed.fingerprint),
        "severity": severity,
        "location": {"path": placed.file, "lines": {"begin": placed.start.0, "end": placed.end.0}},
    })
}
