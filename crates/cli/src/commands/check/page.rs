//! The page of a rule, the index of all pages, and the list of rules: made from the rules themselves.
//!
//! Knows nothing of how rules are found.

use cooper_dockerfile::Severity;
use cooper_dockerfile::lint::{self, Group, Rule};
use serde_json::json;

use super::output::Format;
use crate::error::{CommandError, CommandResult};
use crate::human;
use crate::output::data;

/// The groups in the order of the index, with their headings.
#[cfg(test)]
const GROUPS: [(Group, &str); 4] = [
    (Group::BuildKit, "Rules of `docker build --check`"),
    (Group::Hadolint, "Rules of hadolint"),
    (Group::Image, "Rules for images (CIS benchmark, dockle)"),
    (Group::Practice, "Practices"),
];

/// A severity in the words of the command line.
pub(super) fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "info",
        Severity::Style => "style",
    }
}

fn group_name(group: Group) -> &'static str {
    match group {
        Group::BuildKit => "buildkit",
        Group::Hadolint => "hadolint",
        Group::Image => "image",
        Group::Practice => "practice",
    }
}

/// `--list-rules`.
pub(super) fn list(format: Format) -> CommandResult {
    match format {
        Format::Text => {
            let cells = |rule: &Rule| {
                let fix = if rule.fixable { "yes" } else { "" };
                [rule.id, shown_severity(rule), group_name(rule.group), fix, rule.summary].map(str::to_owned).to_vec()
            };
            let rules: Vec<Vec<String>> = lint::rules().map(cells).collect();
            data(&human::table(&["RULE", "SEVERITY", "GROUP", "FIX", "SUMMARY"], &rules))
        }
        Format::Json => {
            let rules: Vec<_> = lint::rules().map(described).collect();
            data(&format!("{:#}\n", serde_json::Value::from(rules)))
        }
        _ => Err(CommandError::usage("--list-rules is printed as `text` or `json`")),
    }
}

fn described(rule: &Rule) -> serde_json::Value {
    json!({
        "rule": rule.id,
        "aliases": rule.aliases,
        "severity": severity_name(rule.severity),
        "enabled": rule.enabled,
        "group": group_name(rule.group),
        "fixable": rule.fixable,
        "summary": rule.summary,
    })
}

fn shown_severity(rule: &Rule) -> &'static str {
    if rule.enabled { severity_name(rule.severity) } else { "off" }
}

/// The page of a rule, in Markdown.
pub(super) fn page(rule: &Rule) -> String {
    let mut facts = vec![format!("severity: {}", severity_name(rule.severity))];
    if !rule.enabled {
        facts.push("off unless asked for".to_owned());
    }
    facts.push(format!("group: {}", group_name(rule.group)));
    if rule.fixable {
        facts.push("some findings can be mended with `--fix`".to_owned());
    }
    if !rule.aliases.is_empty() {
        let names: Vec<String> = rule.aliases.iter().map(|name| format!("`{name}`")).collect();
        facts.push(format!("also known as {}", names.join(", ")));
    }
    let fenced = |text: &str| format!("```dockerfile\n{}\n```\n", text.trim_end());
    format!(
        "# {}\n\n{}\n\n{}\n\n{}\n\n## Raises it\n\n{}\n## Does not\n\n{}",
        rule.id,
        capitalised(rule.summary),
        facts.iter().map(|fact| format!("- {fact}")).collect::<Vec<_>>().join("\n"),
        rule.meaning.trim(),
        fenced(rule.bad),
        fenced(rule.good),
    )
}

fn capitalised(summary: &str) -> String {
    let mut chars = summary.chars();
    let first = chars.next().map(|ch| ch.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}

/// The index of all pages, in Markdown.
#[cfg(test)]
fn index() -> String {
    let mut out =
        "# Rules of `cooper check`\n\nMade from the rules; `cooper check --explain RULE` prints a page.\n".to_owned();
    for (group, title) in GROUPS {
        let rules: Vec<&Rule> = lint::rules().filter(|rule| rule.group == group).collect();
        if rules.is_empty() {
            continue;
        }
        out += &format!("\n## {title}\n\n| rule | severity | fix | says |\n|---|---|---|---|\n");
        for rule in rules {
            let fix = if rule.fixable { "yes" } else { "" };
            let summary = rule.summary.replace('|', "\\|");
            out += &format!("| [{}]({}) | {} | {fix} | {summary} |\n", rule.id, rule.page(), shown_severity(rule));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    /// Every page by its file name.
    fn pages() -> BTreeMap<String, String> {
        let pages = lint::rules().map(|rule| (rule.page(), page(rule)));
        pages.chain([("README.md".to_owned(), index())]).collect()
    }

    /// `UPDATE_DOCS=1 cargo test -p cooper-cli pages` writes them.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a switch of the test itself")]
    fn pages_of_the_rules_are_current() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rules");
        let pages = pages();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir_all(&dir).unwrap();
            pages.iter().for_each(|(name, text)| std::fs::write(dir.join(name), text).unwrap());
        }
        let entries = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
        let there: BTreeMap<String, String> = entries
            .map(|path| {
                (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap())
            })
            .collect();
        let stale: Vec<&String> =
            pages.iter().filter(|(name, text)| there.get(*name) != Some(text)).map(|(name, _)| name).collect();
        let extra: Vec<&String> = there.keys().filter(|name| !pages.contains_key(*name)).collect();
        assert!(
            stale.is_empty() && extra.is_empty(),
            "not current: {stale:?}, no longer rules: {extra:?}; run with UPDATE_DOCS=1"
        );
    }

    #[test]
    fn a_page_says_everything() {
        let rule = lint::rule("StageNameCasing").unwrap();
        let page = page(rule);
        for part in [rule.id, rule.bad.trim(), rule.good.trim(), rule.meaning.trim(), "severity: "] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }
}
