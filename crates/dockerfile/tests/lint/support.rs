//! A check in a few words.

use std::collections::BTreeMap;

use cooper_dockerfile::lint::{Context, LabelKind, Options, Rule, check};
use cooper_dockerfile::{Args, Bases, Diagnostic, Evaluation, evaluate, line_column, parse};
use cooper_llb::Ignore;
use cooper_oci::{ImageConfig, Platform};

/// Everything that `cooper check` would find, with base images that have nothing in their config.
pub(crate) fn findings(text: &str, options: &Options) -> Vec<Diagnostic> {
    let (file, mut others) = parse(text);
    let args = Args::new(Platform::new("linux", "amd64"));
    let mut bases = Bases::new();
    for _ in 0..10 {
        let (evaluation, more) = evaluate(&file, &args, &bases);
        let Evaluation::Needs(keys) = evaluation else {
            // Errors of evaluation hide what the rules say; what the two say together is a case of its own.
            others.extend(more.into_iter().filter(|found| found.rule != "syntax"));
            break;
        };
        bases.extend(keys.into_iter().map(|(key, _)| {
            let arm = format!("{key:?}").contains("only-arm64");
            (key, config(if arm { "arm64" } else { "amd64" }))
        }));
    }
    check(text, &file, others, options)
}

fn config(architecture: &str) -> ImageConfig {
    let json = format!(r#"{{"architecture":"{architecture}","os":"linux","config":{{"Env":["APP_UID=1654"]}}}}"#);
    serde_json::from_str(&json).expect("the test's own JSON")
}

/// `line rule` for each finding.
pub(crate) fn drawn(text: &str, found: &[Diagnostic]) -> Vec<String> {
    found.iter().map(|found| format!("{} {}", line_column(text, found.span.start).0, found.rule)).collect()
}

/// The findings of one rule as `line:the text pointed at`.
#[track_caller]
pub(crate) fn only(rule: &str, text: &str, expect: &[&str]) {
    let found = findings(text, &asking_for(rule));
    let place = |found: &Diagnostic| {
        let line = line_column(text, found.span.start).0;
        format!(
            "{line}:{}",
            text.get(found.span.start as usize..found.span.end as usize).expect("spans lie in the text")
        )
    };
    let places: Vec<String> = found.iter().filter(|found| found.rule == rule).map(place).collect();
    assert_eq!(places, expect, "{rule} on\n{text}\nall: {:#?}", drawn(text, &found));
}

/// What the examples of a rule assume.
pub(crate) fn options_of(rule: &Rule) -> Options {
    asking_for(rule.id)
}

fn asking_for(id: &str) -> Options {
    let mut options = Options::default();
    let ignore = |text: &str| Some(Ignore::parse(text).0);
    let label = |name: &str, kind| BTreeMap::from([(name.to_owned(), kind)]);
    match id {
        "CopyIgnoredFile" => options.context = Some(Context { names: vec!["secret".into()], ignore: ignore("secret") }),
        "CO1201" => options.context = Some(Context { names: vec![".git".into(), "src".into()], ignore: None }),
        "DKL-LI-0003" => {
            options.context = Some(Context { names: vec![".git".into(), "src".into()], ignore: ignore("target") })
        }
        "DL3026" => options.trusted_registries = vec!["registry.example.com".into()],
        "DL3049" | "DL3050" | "DL3051" => {
            options.label_schema = label("com.example.team", LabelKind::Text);
            options.strict_labels = id == "DL3050";
        }
        "DL3052" => options.label_schema = label("org.opencontainers.image.url", LabelKind::Url),
        "DL3053" => options.label_schema = label("org.opencontainers.image.created", LabelKind::Time),
        "DL3054" => options.label_schema = label("org.opencontainers.image.licenses", LabelKind::Licence),
        "DL3055" => options.label_schema = label("org.opencontainers.image.revision", LabelKind::Hash),
        "DL3056" => options.label_schema = label("org.opencontainers.image.version", LabelKind::Version),
        "DL3058" => options.label_schema = label("com.example.contact", LabelKind::Email),
        "DL1001" | "DL3057" | "CO1102" | "CO1802" => {
            options.severities.insert(id.to_owned(), Some(cooper_dockerfile::Severity::Warning));
        }
        _ => {}
    }
    options
}
