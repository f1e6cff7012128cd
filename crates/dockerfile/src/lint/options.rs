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
    experimental_all: bool,
    experimental: Vec<String>,
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
                ("skip", rules) => options.skip.extend(list(rules)),
                ("experimental", "all") => options.experimental_all = true,
                ("experimental", rules) => options.experimental.extend(list(rules)),
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

    /// Rules that are off unless asked for.
    pub(super) fn wants_experimental(&self, rule: &str) -> bool {
        self.experimental_all || self.experimental.iter().any(|wanted| wanted == rule)
    }
}

fn list(rules: &str) -> impl Iterator<Item = String> {
    rules.split(',').map(|rule| rule.trim().to_owned())
}

/// Drops warnings of rules that are switched off and makes the others errors if asked for.
pub(super) fn apply(options: &Options, diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let severity = if options.error { Severity::Error } else { Severity::Warning };
    let wanted = diagnostics.into_iter().filter(|found| !options.skips(found.rule));
    wanted.map(|found| Diagnostic { severity, ..found }).collect()
}
