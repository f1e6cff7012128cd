//! The settings of hadolint, so that a project that has them need not write new ones.
//!
//! Knows nothing of where they are found. What only concerns hadolint's own output is left out.

use std::collections::BTreeMap;

use cooper_dockerfile::lint;
use serde::Deserialize;

use super::settings::{Label, Table, Threshold};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    ignored: Vec<String>,
    #[serde(rename = "override")]
    overrides: Overrides,
    #[serde(rename = "trustedRegistries")]
    trusted_registries: Vec<String>,
    #[serde(rename = "label-schema")]
    label_schema: BTreeMap<String, Label>,
    #[serde(rename = "strict-labels")]
    strict_labels: bool,
    #[serde(rename = "disable-ignore-pragma")]
    disable_ignore_pragma: bool,
    #[serde(rename = "failure-threshold")]
    failure_threshold: Option<String>,
    #[serde(rename = "no-fail")]
    no_fail: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Overrides {
    error: Vec<String>,
    warning: Vec<String>,
    info: Vec<String>,
    style: Vec<String>,
}

/// The same as a table of ours. Rules we do not have (ShellCheck's) are left out.
pub(super) fn table(text: &str) -> Result<Table, String> {
    if text.trim().is_empty() {
        return Ok(Table::default());
    }
    let file: File = yaml_serde::from_str(text).map_err(|error| error.to_string())?;
    let known = |names: Vec<String>| names.into_iter().filter(|name| lint::rule(name).is_some()).collect();
    let fail_on = match file.failure_threshold.as_deref() {
        _ if file.no_fail => Some(Threshold::Never),
        None => None,
        Some("error") => Some(Threshold::Error),
        Some("warning") => Some(Threshold::Warning),
        Some("info") => Some(Threshold::Info),
        Some("style" | "ignore") => Some(Threshold::Style),
        Some("none") => Some(Threshold::Never),
        Some(other) => return Err(format!("`{other}` is no failure-threshold")),
    };
    Ok(Table {
        fail_on,
        skip: known(file.ignored),
        error: known(file.overrides.error),
        warning: known(file.overrides.warning),
        info: known(file.overrides.info),
        style: known(file.overrides.style),
        trusted_registries: file.trusted_registries,
        labels: file.label_schema,
        strict_labels: file.strict_labels,
        ignore_comments: file.disable_ignore_pragma,
        ..Table::default()
    })
}
