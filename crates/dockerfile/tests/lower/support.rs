//! Builds in a few words: a fake set of base images, and what came of a Dockerfile as text.

use std::fmt::Write;

use cooper_dockerfile::{Args, BaseKey, Bases, Evaluation, Lowered, Named, evaluate, lower, parse};
use cooper_oci::{ImageConfig, Platform};

/// A build for linux/amd64.
pub(crate) fn args() -> Args {
    Args::new(Platform::new("linux", "amd64"))
}

/// The same with build arguments.
pub(crate) fn with_args(pairs: &[(&str, &str)]) -> Args {
    let build_args = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Args { build_args, ..args() }
}

/// Base images of the tests, by the last part of their names.
fn base(name: &str) -> Option<ImageConfig> {
    let json = match name {
        "debian" => {
            r#"{"architecture":"amd64","os":"linux","created":"2024-01-02T03:04:05.5Z","author":"them","config":{
            "Env":["PATH=/bin","LANG=C"],"Cmd":["bash"],"WorkingDir":"/home","Labels":{"from":"base"}},
            "history":[{"created":"2023-01-01T00:00:00Z","created_by":"ADD rootfs /"},{"created_by":"undated","empty_layer":true}],
            "container":"gone"}"#
        }
        "alpine" => r#"{"architecture":"amd64","os":"linux","config":{}}"#,
        "armed" => r#"{"architecture":"arm64","os":"linux","config":{}}"#,
        "rooted" => r#"{"architecture":"amd64","os":"linux","config":{"User":"0x0"}}"#,
        "triggers" => {
            r#"{"architecture":"amd64","os":"linux","config":{"OnBuild":["COPY --from=tools /t /t","RUN make $X","ENV A=1"]}}"#
        }
        "bad-triggers" => {
            r#"{"architecture":"amd64","os":"linux","config":{"OnBuild":["FROM x","RUN a\nRUN b","NOPE"]}}"#
        }
        "nothing" => return None,
        _ => r#"{"architecture":"amd64","os":"linux","created":"1970-01-01T00:00:00Z","config":{}}"#,
    };
    Some(serde_json::from_str(json).expect("the test's own JSON"))
}

fn base_name(key: &BaseKey) -> &str {
    match key {
        BaseKey::Image { reference, .. } => reference.repository().rsplit('/').next().unwrap_or_default(),
        BaseKey::OciLayout { name, .. } => name,
    }
}

/// A finished build, or its diagnostics one a line.
pub(crate) fn build(text: &str, args: &Args) -> (Option<Lowered>, String) {
    let (file, mut found) = parse(text);
    let mut bases = Bases::new();
    let failed = found.iter().any(|diagnostic| diagnostic.severity == cooper_dockerfile::Severity::Error);
    for _ in 0..10 {
        let (evaluation, more) = evaluate(&file, args, &bases);
        match evaluation {
            Evaluation::Needs(keys) => {
                assert!(!keys.is_empty(), "something must be needed");
                for (key, _) in keys {
                    let config = base(base_name(&key)).expect("no config is asked for that the test does not have");
                    assert!(bases.insert(key, config).is_none(), "nothing is asked for twice");
                }
            }
            Evaluation::Done(stages) if !failed => {
                found.extend(more);
                return (Some(lower(&stages, args)), messages(text, &found));
            }
            Evaluation::Done(_) | Evaluation::Failed => {
                found.extend(more);
                return (None, messages(text, &found));
            }
        }
    }
    panic!("evaluation does not come to an end");
}

/// Severity, rule, the text pointed at, message and hint.
fn messages(text: &str, found: &[cooper_dockerfile::Diagnostic]) -> String {
    let mut out = String::new();
    for diagnostic in found {
        let place = text.get(diagnostic.span.start as usize..diagnostic.span.end as usize).unwrap_or("?");
        let _ = write!(out, "{:?} {} at {place:?}: {}", diagnostic.severity, diagnostic.rule, diagnostic.message);
        let _ = match &diagnostic.hint {
            Some(hint) => writeln!(out, " ({hint})"),
            None => writeln!(out),
        };
    }
    out
}

/// The build must succeed.
pub(crate) fn lowered(text: &str, args: &Args) -> Lowered {
    let (lowered, messages) = build(text, args);
    lowered.unwrap_or_else(|| panic!("{messages}"))
}

/// The graph's text, without what every RUN has.
pub(crate) fn graph(text: &str, args: &Args) -> String {
    let plain = lowered(text, args).definition.to_text();
    let noise = [
        " env=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        " env=SOURCE_DATE_EPOCH=315532800",
        " user=\"\"",
        " platform=linux/amd64",
        " network=default",
        " security=sandbox",
        " clamp=315532800",
        " arg=/bin/sh arg=-c",
    ];
    noise.iter().fold(plain, |text, noise| text.replace(noise, ""))
}

/// The new lines of history.
pub(crate) fn history(text: &str, args: &Args) -> String {
    let image = lowered(text, args).image;
    let line =
        |entry: &cooper_oci::History| format!("{}{}\n", if entry.empty_layer { "- " } else { "+ " }, entry.created_by);
    image.history.iter().filter(|entry| !entry.comment.is_empty()).map(line).collect()
}

/// The whole config, indented.
pub(crate) fn config(text: &str, args: &Args) -> String {
    let image = lowered(text, args).image;
    serde_json::to_string_pretty(&image).expect("a config is JSON") + "\n"
}

/// A build with a directory, an image for a stage, one for a tag, and a layout.
pub(crate) fn contexts() -> Args {
    let image = |name: &str| Named::Image(name.parse().expect("the test's own name"));
    let named = [
        ("files", Named::Local),
        ("replaced", image("other")),
        ("golang:1", image("mirror.example/golang:2")),
        ("layout", Named::OciLayout { target: Some("v1".into()) }),
    ];
    Args { contexts: named.map(|(name, named)| (name.to_owned(), named)).into(), ..args() }
}

/// Any of the vertices' operations that runs something.
pub(crate) fn execs(text: &str, args: &Args) -> Vec<cooper_llb::Exec> {
    let vertices = lowered(text, args).definition.vertices.into_iter();
    vertices
        .filter_map(|vertex| match vertex.op {
            cooper_llb::Op::Exec(exec) => Some(exec),
            _ => None,
        })
        .collect()
}
