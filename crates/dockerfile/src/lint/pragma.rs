//! hadolint's comments: `# hadolint ignore=..`, `# hadolint global ignore=..`, `# hadolint shell=..`.
//!
//! Does not know what the rules look for.

use crate::Span;
use crate::ast::Dockerfile;

/// Rules that comments switch off.
#[derive(Debug, Default)]
pub(super) struct Ignored {
    /// In the whole file.
    global: Vec<String>,
    /// In one instruction each: where the comment stands, what it covers, and the rules.
    local: Vec<(Span, Vec<String>)>,
}

impl Ignored {
    /// Those of the file. A comment covers the instruction it stands above, other comments between them allowed, or the one it
    /// stands inside of.
    pub(super) fn of_file(file: &Dockerfile) -> Ignored {
        let mut ignored = Ignored::default();
        for comment in &file.comments {
            match read(&comment.text) {
                Some((true, rules)) => ignored.global.extend(rules),
                Some((false, rules)) => {
                    let next =
                        file.instructions.partition_point(|instruction| instruction.span.end <= comment.span.start);
                    ignored.local.extend(file.instructions.get(next).map(|instruction| (instruction.span, rules)));
                }
                None => {}
            }
        }
        ignored
    }

    /// A finding of the rule at that place is not wanted.
    pub(super) fn covers(&self, rule: &str, span: Span) -> bool {
        let has = |rules: &[String]| rules.iter().any(|name| super::is_called(rule, name));
        let inside = |place: &Span| place.start <= span.start && span.start < place.end.max(place.start + 1);
        has(&self.global) || self.local.iter().any(|(place, rules)| inside(place) && has(rules))
    }
}

/// Whether the comment holds for the whole file, and the rules it names.
fn read(comment: &str) -> Option<(bool, Vec<String>)> {
    let text = after_word(comment.trim_start_matches('#'), "hadolint")?;
    let (global, text) = after_word(text, "global").map_or((false, text), |rest| (true, rest));
    let rules = after_word(text, "ignore")?.strip_prefix('=')?.trim();
    let rules = rules.split(',').map(|rule| rule.trim().split(' ').next().unwrap_or_default().to_owned());
    Some((global, rules.filter(|rule| !rule.is_empty()).collect()))
}

/// The shell that a comment names.
pub(super) fn shell(comment: &str) -> Option<&str> {
    let text = after_word(comment.trim_start_matches('#'), "hadolint")?;
    Some(after_word(text, "shell")?.strip_prefix('=')?.trim())
}

/// True if the comment switches rules off or names a shell.
pub(super) fn is_pragma(comment: &str) -> bool {
    read(comment).is_some()
}

/// What follows a word, blanks left out.
fn after_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let rest = text.trim_start().strip_prefix(word)?;
    let whole = rest.is_empty() || rest.starts_with([' ', '\t', '=']);
    whole.then(|| rest.trim_start())
}
