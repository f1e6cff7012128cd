//! `# check=skip=..;error=..`: which rules are off and whether the others fail the build.
//!
//! Does not know what the rules look for.

use crate::ast::{Dockerfile, Word};
use crate::{Diagnostic, nearest};

const KEYS: [&str; 3] = ["skip", "error", "experimental"];

/// What a `check` directive or comment asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Switches {
    skip_all: bool,
    skip: Vec<String>,
    experimental_all: bool,
    experimental: Vec<String>,
    pub(super) error: bool,
}

impl Switches {
    /// Reads `skip=A,B;error=true;experimental=C`; options that cannot be read are left out.
    pub(super) fn parse(text: &str) -> Switches {
        let mut options = Switches::default();
        for part in text.split_once(' ').map_or(text, |(first, _)| first).split(';') {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match (key.trim(), value.trim()) {
                ("skip", "all") => options.skip_all = true,
                ("skip", rules) => options.skip.extend(list(rules)),
                ("experimental", "all") => options.experimental_all = true,
                ("experimental", rules) => options.experimental.extend(list(rules)),
                ("error", value) => options.error = is_true(value),
                _ => {}
            }
        }
        options
    }

    /// The options of the whole file.
    pub(super) fn of_file(file: &Dockerfile) -> Switches {
        let check = file.directives.iter().find(|directive| directive.key == "check");
        check.map(|directive| Switches::parse(&directive.value.text)).unwrap_or_default()
    }

    pub(super) fn skips(&self, rule: &str) -> bool {
        self.skip_all || self.skip.iter().any(|skipped| super::is_called(rule, skipped))
    }

    /// Rules that are off unless asked for.
    pub(super) fn wants_experimental(&self, rule: &str) -> bool {
        self.experimental_all || self.experimental.iter().any(|wanted| wanted == rule)
    }
}

/// An error if the value of a `# check=` directive at the top of the file has something else than its three options.
pub(crate) fn check_directive(value: &Word) -> Option<Diagnostic> {
    let options = value.text.split_once(' ').map_or(value.text.as_str(), |(first, _)| first);
    options.split(';').find_map(|part| {
        let (key, setting) = part.split_once('=').unwrap_or((part, ""));
        let (key, setting) = (key.trim(), setting.trim());
        if !KEYS.contains(&key) || !part.contains('=') {
            let hint = match nearest(key, KEYS.into_iter()) {
                Some(near) => format!("did you mean `{near}=`?"),
                None => "there are `skip=`, `error=` and `experimental=`, separated by `;`".to_owned(),
            };
            return Some(Diagnostic::error(value.span, format!("unknown check option `{part}`")).with_hint(hint));
        }
        let readable = key != "error" || is_true(setting) || is_false(setting);
        (!readable).then(|| {
            Diagnostic::error(value.span, format!("the check option `error` is true or false, not `{setting}`"))
        })
    })
}

/// As Go reads it.
fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

fn is_false(text: &str) -> bool {
    matches!(text, "0" | "f" | "F" | "false" | "FALSE" | "False")
}

fn list(rules: &str) -> impl Iterator<Item = String> {
    rules.split(',').map(|rule| rule.trim().to_owned())
}
