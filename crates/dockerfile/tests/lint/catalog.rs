//! What holds for every rule.

use std::collections::BTreeSet;

use cooper_dockerfile::lint::{Options, rule, rules};

use crate::support::{drawn, findings, options_of};

/// BuildKit's checks.
const BUILDKIT: [&str; 22] = [
    "ConsistentInstructionCasing",
    "CopyIgnoredFile",
    "DuplicateStageName",
    "ExposeInvalidFormat",
    "ExposeProtoCasing",
    "FromAsCasing",
    "FromPlatformFlagConstDisallowed",
    "InvalidBaseImagePlatform",
    "InvalidDefaultArgInFrom",
    "InvalidDefinitionDescription",
    "JSONArgsRecommended",
    "LegacyKeyValueFormat",
    "MaintainerDeprecated",
    "MultipleInstructionsDisallowed",
    "NoEmptyContinuation",
    "RedundantTargetPlatform",
    "ReservedStageName",
    "SecretsUsedInArgOrEnv",
    "StageNameCasing",
    "UndefinedArgInFrom",
    "UndefinedVar",
    "WorkdirRelativePath",
];

/// hadolint's rules: the numbers after DL.
const HADOLINT: [u32; 65] = [
    1001, 3000, 3001, 3002, 3003, 3004, 3006, 3007, 3008, 3009, 3010, 3011, 3012, 3013, 3014, 3015, 3016, 3018, 3019,
    3020, 3021, 3022, 3023, 3024, 3025, 3026, 3027, 3028, 3029, 3030, 3032, 3033, 3034, 3035, 3036, 3037, 3038, 3040,
    3041, 3042, 3043, 3044, 3045, 3046, 3047, 3048, 3049, 3050, 3051, 3052, 3053, 3054, 3055, 3056, 3057, 3058, 3059,
    3060, 3061, 3062, 3063, 3064, 3065, 3066, 3067,
];
const HADOLINT_4: [u32; 6] = [4000, 4001, 4003, 4004, 4005, 4006];

#[test]
fn every_rule_of_the_others_is_known() {
    for name in BUILDKIT {
        assert!(rule(name).is_some_and(|rule| rule.id == name), "{name}");
    }
    for number in HADOLINT.iter().chain(&HADOLINT_4) {
        assert!(rule(&format!("DL{number}")).is_some(), "DL{number}");
    }
}

#[test]
fn names_are_unique() {
    let mut names = BTreeSet::new();
    for rule in rules() {
        for name in [rule.id].iter().chain(rule.aliases) {
            assert!(names.insert(*name), "{name} is used twice");
        }
    }
}

#[test]
fn texts_are_in_the_house_style() {
    for rule in rules() {
        assert!(!rule.summary.is_empty() && !rule.summary.ends_with('.'), "{}: {}", rule.id, rule.summary);
        assert!(rule.meaning.ends_with('.') || rule.meaning.ends_with('`'), "{}: {}", rule.id, rule.meaning);
        for example in [rule.bad, rule.good] {
            assert!(example.ends_with('\n'), "{}: {example}", rule.id);
        }
    }
}

/// The bad example raises its rule and no other; the good one raises nothing.
#[test]
fn examples_raise_what_they_say() {
    let mut wrong = Vec::new();
    for rule in rules() {
        let options = options_of(rule);
        let bad = findings(rule.bad, &options);
        if bad.is_empty() || bad.iter().any(|found| found.rule != rule.id) {
            wrong.push(format!("{} bad: {:?}\n{}", rule.id, drawn(rule.bad, &bad), rule.bad));
        }
        let good = findings(rule.good, &options);
        if !good.is_empty() {
            wrong.push(format!("{} good: {:?}\n{}", rule.id, drawn(rule.good, &good), rule.good));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Findings have a severity, a message in the house style, and a fix exactly where the rule says there may be one.
#[test]
fn findings_fit_their_rule() {
    for rule in rules().filter(|rule| rule.id != "syntax") {
        let found = findings(rule.bad, &options_of(rule));
        let fixable = found.iter().any(|found| found.fix.is_some());
        assert_eq!(fixable, rule.fixable, "{}: {found:#?}", rule.id);
        for found in found {
            assert!(!found.message.is_empty() && !found.message.ends_with('.'), "{}", found.message);
        }
    }
}

#[test]
fn rules_that_are_off_need_to_be_asked_for() {
    for rule in rules().filter(|rule| !rule.enabled && rule.id != "InvalidDefinitionDescription") {
        let found = findings(rule.bad, &Options::default());
        assert!(found.iter().all(|found| found.rule != rule.id), "{}", rule.id);
    }
}
