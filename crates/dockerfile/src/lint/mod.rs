//! Rules that warn about a Dockerfile from its text alone, in BuildKit's names.
//!
//! Does not know build arguments, base images or the context; rules that need them are raised where these are known.

mod casing;
mod comments;
mod options;
mod stages;
mod values;

use crate::Diagnostic;
use crate::ast::{Dockerfile, Instruction, InstructionKind};
use options::Options;
pub(crate) use options::check_directive;

/// Rules that run only if `# check=experimental=..` names them.
const EXPERIMENTAL: [&str; 1] = ["InvalidDefinitionDescription"];

/// All rules, in the order of the file. `# check=skip=..` and `experimental=..` are honoured at the top of the file and above an
/// instruction, `error=true` at the top.
pub fn lint(file: &Dockerfile) -> Vec<Diagnostic> {
    lint_with(file, None)
}

/// The same with options that replace those at the top of the file: the build argument `BUILDKIT_DOCKERFILE_CHECK`.
pub fn lint_with(file: &Dockerfile, check: Option<&str>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    casing::check(file, &mut found);
    stages::check(file, &mut found);
    values::check(file, &mut found);
    comments::check(file, &mut found);
    found.sort_by_key(|diagnostic| (diagnostic.span.start, diagnostic.rule));
    apply_options(file, check, found)
}

/// Drops warnings that the file switches off and makes the others errors if it asks for that.
pub(crate) fn apply_options(file: &Dockerfile, check: Option<&str>, mut found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let global = check.map_or_else(|| Options::of_file(file), Options::parse);
    let local = local_options(file);
    found.retain(|diagnostic| {
        let at = local.partition_point(|(instruction, _)| instruction.span.start <= diagnostic.span.start);
        let local = at.checked_sub(1).and_then(|i| local.get(i));
        let local =
            local.filter(|(instruction, _)| diagnostic.span.start < instruction.span.end).map(|(_, options)| options);
        if EXPERIMENTAL.contains(&diagnostic.rule) {
            let mut options = local.into_iter().chain([&global]);
            return options.any(|options| options.wants_experimental(diagnostic.rule));
        }
        local.is_none_or(|options| !options.skips(diagnostic.rule))
    });
    options::apply(&global, found)
}

/// Instructions that have a comment `# check=..` right above, in order.
fn local_options(file: &Dockerfile) -> Vec<(&Instruction, Options)> {
    let above = file.instructions.iter().zip(file.comments_above());
    above
        .filter_map(|(instruction, comments)| {
            let text = comments.iter().find_map(|text| check_comment(text))?;
            Some((instruction, Options::parse(text)))
        })
        .collect()
}

fn check_comment(text: &str) -> Option<&str> {
    let (key, value) = text.split_once('=')?;
    key.trim().eq_ignore_ascii_case("check").then(|| value.trim())
}

/// Instructions with the number of the FROM they follow; 0 before the first.
fn by_stage(file: &Dockerfile) -> impl Iterator<Item = (usize, &Instruction)> {
    let mut stage = 0;
    file.instructions.iter().map(move |instruction| {
        stage += usize::from(matches!(instruction.kind, InstructionKind::From(_)));
        (stage, instruction)
    })
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
