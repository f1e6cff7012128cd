//! What is raised and how badly: a settings file under the flags of the command line.
//!
//! Knows nothing of how rules work.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cooper_dockerfile::lint::{self, LabelKind, Rule};
use cooper_dockerfile::{Severity, nearest};
use serde::Deserialize;

use super::files::Source;
use super::{Check, hadolint};
use crate::context;
use crate::error::{CommandError, CommandResult};

/// Names of settings files, in the order they are looked for in each directory.
const NAMES: [&str; 3] = ["cooper.toml", ".hadolint.yaml", ".hadolint.yml"];

/// `--fail-on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Threshold {
    /// Errors only.
    Error,
    /// Warnings too.
    Warning,
    /// Whatever is worth knowing too.
    Info,
    /// Matters of taste too.
    Style,
    /// Never, whatever is found.
    Never,
}

impl Threshold {
    /// Whether a finding makes the command fail.
    pub(super) fn is_reached(self, severity: Severity) -> bool {
        match self {
            Threshold::Error => severity >= Severity::Error,
            Threshold::Warning => severity >= Severity::Warning,
            Threshold::Info => severity >= Severity::Info,
            Threshold::Style => true,
            Threshold::Never => false,
        }
    }
}

/// What a check goes by.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) options: lint::Options,
    pub(super) fail_on: Threshold,
}

/// `cooper.toml`; other verbs may have tables of their own.
#[derive(Debug, Default, Deserialize)]
struct File {
    #[serde(default)]
    check: Table,
}

/// Its table `[check]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Table {
    pub(super) fail_on: Option<Threshold>,
    pub(super) only: Vec<String>,
    pub(super) skip: Vec<String>,
    pub(super) error: Vec<String>,
    pub(super) warning: Vec<String>,
    pub(super) info: Vec<String>,
    pub(super) style: Vec<String>,
    pub(super) trusted_registries: Vec<String>,
    pub(super) labels: BTreeMap<String, Label>,
    pub(super) strict_labels: bool,
    pub(super) ignore_comments: bool,
}

/// What a label holds, in hadolint's words and in plain ones.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Label {
    #[serde(alias = "rawtext", alias = "")]
    Text,
    Url,
    #[serde(alias = "rfc3339")]
    Time,
    #[serde(alias = "spdx", alias = "license")]
    Licence,
    #[serde(alias = "commit")]
    Hash,
    #[serde(alias = "semver")]
    Version,
    Email,
}

impl From<Label> for LabelKind {
    fn from(label: Label) -> LabelKind {
        match label {
            Label::Text => LabelKind::Text,
            Label::Url => LabelKind::Url,
            Label::Time => LabelKind::Time,
            Label::Licence => LabelKind::Licence,
            Label::Hash => LabelKind::Hash,
            Label::Version => LabelKind::Version,
            Label::Email => LabelKind::Email,
        }
    }
}

impl Settings {
    /// The settings of one Dockerfile.
    pub(super) fn find(args: &Check, source: &Source) -> CommandResult<Settings> {
        let file = args.config.clone().or_else(|| find_file(source.path.as_deref()));
        let table = file.map(|file| read(&file)).transpose()?.unwrap_or_default();
        let mut severities = severities(&table)?;
        let only = if args.only.is_empty() { &table.only } else { &args.only };
        if !only.is_empty() {
            let only = only.iter().map(|name| known_rule(name)).collect::<CommandResult<Vec<_>>>()?;
            let others = lint::rules().filter(|rule| !only.iter().any(|kept| kept.id == rule.id));
            severities.extend(others.map(|rule| (rule.id.to_owned(), None)));
            for rule in only {
                severities.entry(rule.id.to_owned()).or_insert(Some(rule.severity));
            }
        }
        for name in &args.skip {
            severities.insert(known_rule(name)?.id.to_owned(), None);
        }
        for name in &args.error {
            severities.insert(known_rule(name)?.id.to_owned(), Some(Severity::Error));
        }
        let options = lint::Options {
            severities,
            ignore_comments: table.ignore_comments,
            trusted_registries: table.trusted_registries,
            label_schema: table.labels.into_iter().map(|(name, kind)| (name, kind.into())).collect(),
            strict_labels: table.strict_labels,
            ..lint::Options::default()
        };
        Ok(Settings { options, fail_on: args.fail_on.or(table.fail_on).unwrap_or(Threshold::Warning) })
    }
}

fn severities(table: &Table) -> CommandResult<BTreeMap<String, Option<Severity>>> {
    let lists = [
        (&table.style, Some(Severity::Style)),
        (&table.info, Some(Severity::Info)),
        (&table.warning, Some(Severity::Warning)),
        (&table.error, Some(Severity::Error)),
        (&table.skip, None),
    ];
    let mut severities = BTreeMap::new();
    for (names, severity) in lists {
        for name in names {
            severities.insert(known_rule(name)?.id.to_owned(), severity);
        }
    }
    Ok(severities)
}

/// The rule of that name.
pub(super) fn known_rule(name: &str) -> CommandResult<&'static Rule> {
    lint::rule(name).ok_or_else(|| {
        let error = CommandError::usage(format!("there is no rule `{name}`"));
        match nearest(name, lint::rules().map(|rule| rule.id)) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint("`cooper check --list-rules` shows them all"),
        }
    })
}

/// The first settings file beside the Dockerfile or above it, up to the directory of the repository.
fn find_file(dockerfile: Option<&Path>) -> Option<PathBuf> {
    let dir = match dockerfile {
        Some(file) => std::fs::canonicalize(file).ok()?.parent()?.to_owned(),
        None => std::fs::canonicalize(".").ok()?,
    };
    for dir in dir.ancestors() {
        let found = NAMES.iter().map(|name| dir.join(name)).find(|file| file.is_file());
        if found.is_some() || dir.join(".git").exists() {
            return found;
        }
    }
    None
}

fn read(path: &Path) -> CommandResult<Table> {
    let shown = path.display();
    let text = context::read_file(path)?;
    let wrong = |why: String| CommandError::usage(format!("`{shown}` cannot be used: {}", why.trim_end()));
    match path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
        true => hadolint::table(&text).map_err(wrong),
        false => toml::from_str(&text).map(|file: File| file.check).map_err(|error| wrong(error.to_string())),
    }
}
