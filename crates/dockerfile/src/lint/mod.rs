//! Rules that warn about a Dockerfile from its text alone.
//!
//! `cooper build` raises BuildKit's own ([`lint`]), `cooper check` raises all ([`check`]). Knows of build arguments and base images only
//! what the caller has found by evaluating the file.

mod buildkit;
mod commands;
mod edits;
mod hadolint;
mod managers;
mod options;
mod practice;
mod pragma;
mod report;
mod rule;
mod shells;
mod switches;
mod view;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use crate::ast::{Dockerfile, Instruction};
use crate::{Diagnostic, Severity};
pub use options::{Context, LabelKind, Options};
use report::Report;
use rule::Check;
pub use rule::{Group, Rule};
use switches::Switches;
pub(crate) use switches::check_directive;
use view::View;

/// The rule of what cannot be read or evaluated. It has no page and cannot be switched off.
const SYNTAX: &str = "syntax";

static RULES: LazyLock<Vec<&'static Rule>> = LazyLock::new(|| {
    let groups = buildkit::RULES.iter().chain(&hadolint::RULES).chain(&practice::RULES);
    let mut rules: Vec<&'static Rule> = groups.flat_map(|rules| rules.iter().copied()).collect();
    rules.sort_by_key(|rule| (rule.group, rule.id));
    rules
});

/// All rules, sorted by group and id.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    RULES.iter().copied()
}

/// The rule of that id or alias.
pub fn rule(name: &str) -> Option<&'static Rule> {
    rules().find(|rule| rule.is_called(name))
}

/// BuildKit's rules, in the order of the file. `# check=skip=..` and `experimental=..` are honoured at the top of the file and above
/// an instruction, `error=true` at the top.
pub fn lint(file: &Dockerfile) -> Vec<Diagnostic> {
    lint_with(file, None)
}

/// The same with options that replace those at the top of the file: the build argument `BUILDKIT_DOCKERFILE_CHECK`.
pub fn lint_with(file: &Dockerfile, check: Option<&str>) -> Vec<Diagnostic> {
    let options = Options::default();
    let view = View::of_file(file, &options);
    let mut found = Vec::new();
    for rule in rules().filter(|rule| rule.group == Group::BuildKit) {
        run(rule, &view, &mut found);
    }
    sort(&mut found);
    apply_options(file, check, found)
}

/// All rules. `text` is what `file` was read from, `others` what [`parse`](crate::parse()) and [`evaluate`](crate::evaluate()) have found:
/// severities, comments and the order of the file are applied to both, and errors of the rule `syntax` are kept as they are.
pub fn check(text: &str, file: &Dockerfile, others: Vec<Diagnostic>, options: &Options) -> Vec<Diagnostic> {
    let view = View::new(text, file, options);
    let mut found = others;
    for rule in rules() {
        run(rule, &view, &mut found);
    }
    if !options.ignore_comments {
        found = apply_options(file, options.check.as_deref(), found);
        let ignored = pragma::Ignored::of_file(file);
        found.retain(|found| found.rule == SYNTAX || !ignored.covers(found.rule, found.span));
    }
    found.retain_mut(|found| decide(options, found));
    drop_doubles(file, &mut found);
    sort(&mut found);
    found
}

/// Rules that say of an instruction what another one says better: (the better, the other).
const SAID_BETTER: [(&str, &str); 4] =
    [("DL3044", "UndefinedVar"), (SYNTAX, "DL3011"), (SYNTAX, "DL3021"), (SYNTAX, "DL3023")];

fn drop_doubles(file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    let place = |found: &Diagnostic| file.instructions.partition_point(|other| other.span.end <= found.span.start);
    let mut dropped = BTreeSet::new();
    for (better, other) in SAID_BETTER {
        let places = found.iter().filter(|found| found.rule == better).map(place);
        dropped.extend(places.map(|place| (place, other)));
    }
    found.retain(|found| !dropped.contains(&(place(found), found.rule)));
}

fn run(rule: &'static Rule, view: &View<'_>, found: &mut Vec<Diagnostic>) {
    if let Check::File(check) = rule.check {
        check(view, &mut Report::new(rule, found));
    }
}

fn sort(found: &mut [Diagnostic]) {
    found.sort_by_key(|diagnostic| (diagnostic.span.start, diagnostic.rule));
}

/// Gives a finding the severity that was asked for; false if its rule is off.
fn decide(options: &Options, found: &mut Diagnostic) -> bool {
    let Some(rule) = rule(found.rule) else { return true };
    let wanted = options.severities.iter().find(|(name, _)| rule.is_called(name)).map(|(_, severity)| *severity);
    match wanted {
        Some(Some(severity)) => found.severity = severity,
        Some(None) => return false,
        None => return rule.enabled || found.rule == "InvalidDefinitionDescription",
    }
    true
}

/// Whether a rule goes by a name.
fn is_called(id: &str, name: &str) -> bool {
    id == name || rule(id).is_some_and(|rule| rule.is_called(name))
}

/// Rules that run only if `# check=experimental=..` names them.
fn is_experimental(id: &str) -> bool {
    rule(id).is_some_and(|rule| rule.group == Group::BuildKit && !rule.enabled)
}

/// Drops warnings that the file switches off and makes the others errors if it asks for that.
pub(crate) fn apply_options(file: &Dockerfile, check: Option<&str>, mut found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let global = check.map_or_else(|| Switches::of_file(file), Switches::parse);
    let local = local_switches(file);
    found.retain(|diagnostic| {
        let at = local.partition_point(|(instruction, _)| instruction.span.start <= diagnostic.span.start);
        let local = at.checked_sub(1).and_then(|i| local.get(i));
        let local =
            local.filter(|(instruction, _)| diagnostic.span.start < instruction.span.end).map(|(_, switches)| switches);
        let mut both = local.into_iter().chain([&global]);
        match diagnostic.rule {
            SYNTAX => true,
            rule if is_experimental(rule) => both.any(|switches| switches.wants_experimental(rule)),
            rule => !both.any(|switches| switches.skips(rule)),
        }
    });
    for warning in found.iter_mut().filter(|_| global.error) {
        warning.severity = Severity::Error;
    }
    found
}

/// Instructions that have a comment `# check=..` right above, in order.
fn local_switches(file: &Dockerfile) -> Vec<(&Instruction, Switches)> {
    let above = file.instructions.iter().zip(file.comments_above());
    above
        .filter_map(|(instruction, comments)| {
            let text = comments.iter().find_map(|text| check_comment(text))?;
            Some((instruction, Switches::parse(text)))
        })
        .collect()
}

fn check_comment(text: &str) -> Option<&str> {
    let (key, value) = text.split_once('=')?;
    key.trim().eq_ignore_ascii_case("check").then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use crate::{lint::lint, parse};

    /// `expect` holds one `line rule` per warning.
    fn check(text: &str, expect: &[&str]) {
        let (file, errors) = parse(text);
        assert_eq!(errors, [], "{text}");
        let drawn: Vec<String> = lint(&file)
            .iter()
            .map(|found| format!("{} {}", crate::line_column(text, found.span.start).0, found.rule))
            .collect();
        assert_eq!(drawn, expect, "{text}");
    }

    #[test]
    fn options_switch_rules_off() {
        check("FROM a\nMAINTAINER x\n", &["2 MaintainerDeprecated"]);
        check("# check=skip=MaintainerDeprecated\nFROM a\nMAINTAINER x\n", &[]);
        check("# check=skip=all\nFROM a\nMAINTAINER x\n", &[]);
        check("# check=skip=Other\nFROM a\nMAINTAINER x\n", &["3 MaintainerDeprecated"]);
        check("FROM a\n# check=skip=MaintainerDeprecated\nMAINTAINER x\nMAINTAINER y\n", &["4 MaintainerDeprecated"]);
        check("FROM a\n# check=skip=Other, MaintainerDeprecated\nMAINTAINER x\n", &["3 MaintainerDeprecated"]);
        check("FROM a\n# check=skip=Other,MaintainerDeprecated;error=false\nMAINTAINER x\n", &[]);
        check("FROM a\n# check=skip=all\n#\nMAINTAINER x\n", &["4 MaintainerDeprecated"]);
    }

    #[test]
    fn options_make_warnings_errors() {
        let (file, _) = parse("# check=error=true\nFROM a\nMAINTAINER x\n");
        let severities: Vec<_> = lint(&file).iter().map(|found| found.severity).collect();
        assert_eq!(severities, [crate::Severity::Error]);
    }

    #[test]
    fn options_from_outside_replace_those_of_the_file() {
        let (file, _) = parse("# check=skip=all\nFROM a\nMAINTAINER x\n");
        let found = crate::lint::lint_with(&file, Some("skip=Other;error=true"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].severity, crate::Severity::Error);
        let (file, _) = parse("# check=error=true\nFROM a\nMAINTAINER x\n");
        assert_eq!(crate::lint::lint_with(&file, Some("skip=all")), []);
    }

    #[test]
    fn continuation_rules() {
        check("FROM a\nRUN b \\\n\n c\n", &["3 NoEmptyContinuation"]);
        check("FROM a\nRUN b \\\n#\n c\n", &[]);
        check("# check=skip=NoEmptyContinuation\nFROM a\nRUN b \\\n\n c\n", &[]);
    }

    #[test]
    fn casing_rules() {
        check("FROM a\nrun b\n", &["2 ConsistentInstructionCasing"]);
        check("from a\nrun b\nRUN c\n", &["3 ConsistentInstructionCasing"]);
        check("FROM a\nRun b\n", &["2 ConsistentInstructionCasing"]);
        check("FROM a AS b\nfrom a as c\nRUN d\n", &["2 ConsistentInstructionCasing"]);
        check("FROM a as b\n", &["1 FromAsCasing"]);
        check("from a AS b\n", &["1 FromAsCasing"]);
        check("FROM a AS Build\n", &["1 StageNameCasing"]);
        check("FROM a\nEXPOSE 80/TCP\n", &["2 ExposeProtoCasing"]);
    }

    #[test]
    fn stage_rules() {
        check("FROM a AS b\nFROM a AS c\nFROM a AS b\n", &["3 DuplicateStageName"]);
        check("FROM a AS scratch\n", &["1 ReservedStageName"]);
        check("FROM a AS context\n", &["1 ReservedStageName"]);
        check("FROM a\nCMD [\"b\"]\nCMD [\"c\"]\n", &["2 MultipleInstructionsDisallowed"]);
        check("FROM a\nCMD [\"b\"]\nFROM c\nCMD [\"c\"]\n", &[]);
        check(
            "FROM a\nHEALTHCHECK CMD x\nHEALTHCHECK NONE\nENTRYPOINT [\"c\"]\nENTRYPOINT [\"c\"]\n",
            &["2 MultipleInstructionsDisallowed", "4 MultipleInstructionsDisallowed"],
        );
        check("FROM a\nCMD b\n", &["2 JSONArgsRecommended"]);
        check("FROM a\nENTRYPOINT b\n", &["2 JSONArgsRecommended"]);
        check("FROM a\nSHELL [\"x\"]\nCMD b\n", &[]);
        check("FROM a AS b\nSHELL [\"x\"]\nFROM b\nCMD c\nFROM d\nCMD e\n", &["6 JSONArgsRecommended"]);
        check("FROM a\nWORKDIR b\nWORKDIR c\n", &["2 WorkdirRelativePath"]);
        check("FROM a\nWORKDIR /b\nWORKDIR c\n", &[]);
        check("FROM a\nWORKDIR $b\nWORKDIR c\n", &[]);
        check("FROM a AS b\nWORKDIR /b\nFROM b\nWORKDIR c\nFROM x\nWORKDIR c\n", &["6 WorkdirRelativePath"]);
    }

    #[test]
    fn value_rules() {
        check("FROM a\nENV b c\nLABEL d e\nENV f=g\n", &["2 LegacyKeyValueFormat", "3 LegacyKeyValueFormat"]);
        check("FROM --platform=$TARGETPLATFORM a\n", &["1 RedundantTargetPlatform"]);
        check("FROM --platform=${TARGETPLATFORM} a\n", &["1 RedundantTargetPlatform"]);
        check("FROM --platform=$BUILDPLATFORM a\n", &[]);
        check("FROM a\nEXPOSE 80 127.0.0.1:80:80 8080:80\n", &["2 ExposeInvalidFormat", "2 ExposeInvalidFormat"]);
        check("FROM a\nEXPOSE 80 81-90/udp $port\n", &[]);
        check("FROM a\nARG GITHUB_TOKEN\nENV api_key=x b=c\n", &["2 SecretsUsedInArgOrEnv", "3 SecretsUsedInArgOrEnv"]);
        check("FROM a\nARG KEY_FILE TOKENS PUBLIC_KEY KEYBOARD\n", &[]);
    }

    #[test]
    fn experimental_rules_must_be_asked_for() {
        let text =
            "# check=experimental=all\n# other\nFROM a AS b\n# b fits\nFROM a AS B\n# also\n#\nARG c\n# d\nARG c=1 d\n";
        check(text, &["3 InvalidDefinitionDescription", "5 DuplicateStageName", "5 StageNameCasing"]);
        check("# other\nFROM a AS b\n", &[]);
        check(
            "# check=experimental=InvalidDefinitionDescription\n# x\nARG c\nFROM a\n",
            &["3 InvalidDefinitionDescription"],
        );
    }
}
