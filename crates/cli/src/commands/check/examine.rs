//! One Dockerfile read, evaluated and checked.
//!
//! Knows nothing of how findings are shown.

use cooper_dockerfile::{Args, Diagnostic, Severity, diagnose, lint, parse};
use cooper_oci::Platform;

use super::Check;
use super::files::Source;
use super::settings::Settings;
use crate::commands::build;
use crate::environment::Environment;
use crate::error::CommandResult;

/// A Dockerfile and what was found in it.
#[derive(Debug)]
pub(super) struct Examined {
    pub(super) source: Source,
    pub(super) options: lint::Options,
    pub(super) args: Args,
    pub(super) found: Vec<Diagnostic>,
}

/// What is built, as far as findings depend on it.
pub(super) fn args(args: &Check, environment: &Environment) -> CommandResult<Args> {
    let build_args = build::build_args(&[], &args.build_args, environment)?;
    Ok(Args { build_args, target: args.target.clone(), ..Args::new(Platform::host()) })
}

/// Checks a source.
pub(super) fn examine(source: Source, settings: &Settings, args: &Args) -> Examined {
    let options = lint::Options {
        check: args.build_args.get("BUILDKIT_DOCKERFILE_CHECK").cloned(),
        target: args.target.clone(),
        context: source.context.clone(),
        ..settings.options.clone()
    };
    let found = findings(&source.text, args, &options);
    Examined { source, options, args: args.clone(), found }
}

impl Examined {
    /// The same file with another text.
    pub(super) fn with_text(self, text: String) -> Examined {
        let found = findings(&text, &self.args, &self.options);
        Examined { source: Source { text, ..self.source }, found, ..self }
    }
}

/// All findings. Of a file with errors only these: what rules would say of the rest may be wrong.
pub(super) fn findings(text: &str, args: &Args, options: &lint::Options) -> Vec<Diagnostic> {
    let (file, mut found) = parse(text);
    let has_errors = |found: &[Diagnostic]| found.iter().any(|found| found.severity == Severity::Error);
    if !has_errors(&found) {
        found.extend(diagnose(&file, args));
        return lint::check(text, &file, found, options);
    }
    found
}
