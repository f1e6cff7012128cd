//! `# check=skip=..;error=..`: which rules are off and whether the others fail the build.
//!
//! Does not know what the rules look for.

use crate::ast::Dockerfile;
use crate::{Diagnostic, Severity};

/// What a `check` directive or comment asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    skip_all: bool,
    skip: Vec<String>,
    error: bool,
}

impl Options {
    /// Reads `skip=A,B;error=true;experimental=C`; options that cannot be read are left out.
    pub(super) fn parse(text: &str) -> Options {
        let mut options = Options::default();
        for part in text.split_once(' ').map_or(text, |(first, _)| first).split(';') {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match (key.trim(), value.trim()) {
                ("skip", "all") => options.skip_all = true,
                ("skip", rules) => options.skip.extend(rules.split(',').map(|rule| rule.trim().to_owned())),
                ("error", value) => options.error = matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"),
                _ => {}
            }
        }
        options
    }

    /// The options of the whole file.
    pub(super) fn of_file(file: &Dockerfile) -> Options {
        let check = file.directives.iter().find(|directive| directive.key == "check");
        check.map(|directive| Options::parse(&directive.value.text)).unwrap_or_default()
    }

    pub(super) fn skips(&self, rule: &str) -> bool {
        self.skip_all || self.skip.iter().any(|skipped| skipped == rule)
    }
}

/// Drops warnings of rules that the file switches off and makes the others errors if it asks for that. Errors stay.
pub(crate) fn apply_options(file: &Dockerfile, diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let options = Options::of_file(file);
    let wanted = |found: &Diagnostic| found.severity == Severity::Error || !options.skips(found.rule);
    let severity = |found: Diagnostic| match found.rule {
        "syntax" => found,
        _ if options.error => Diagnostic { severity: Severity::Error, ..found },
        _ => found,
    };
    diagnostics.into_iter().filter(wanted).map(severity).collect()
}
