//! Rules about base images.

use super::HADOLINT;
use crate::Severity;
use crate::ast::Word;
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Rule};
use crate::lint::view::{Base, View};

pub(super) static RULES: [&Rule; 3] = [&UNTAGGED, &LATEST, &REGISTRY];

/// Images that FROM names, stages, `scratch` and names that only a build knows left out.
fn images<'v, 'a>(view: &'v View<'a>) -> impl Iterator<Item = &'a Word> + use<'v, 'a> {
    let named = view.stages.iter().filter(|stage| stage.base == Base::Image).map(|stage| &stage.from.image);
    named.filter(|image| !image.text.contains('$'))
}

/// The tag of an image, if it has one.
pub(crate) fn tag(image: &str) -> Option<&str> {
    let name = image.split('@').next().unwrap_or_default();
    let last = name.rsplit('/').next().unwrap_or_default();
    last.split_once(':').map(|(_, tag)| tag)
}

static UNTAGGED: Rule = Rule {
    id: "DL3006",
    summary: "the base image has no tag",
    meaning: "Without a tag it is `latest`: whatever was pushed last, another system next month. Name the version.",
    bad: "FROM debian\n",
    good: "FROM debian:13\n",
    check: Check::File(untagged),
    ..HADOLINT
};

fn untagged(view: &View<'_>, report: &mut Report<'_>) {
    for image in images(view).filter(|image| !image.text.contains('@') && tag(&image.text).is_none()) {
        let message = format!("`{}` has no tag, so it is whatever was pushed last", image.text);
        report.add(at(image.span, message).with_hint(format!("write `{}:<version>`", image.text)));
    }
}

static LATEST: Rule = Rule {
    id: "DL3007",
    aliases: &["DKL-DI-0006"],
    summary: "the base image is `latest`",
    meaning: "`latest` is whatever was pushed last: the build changes when somebody else pushes, and the file does not say what it was \
              written for. Name the version, and the digest where builds must repeat.",
    bad: "FROM debian:latest\n",
    good: "FROM debian:13\n",
    check: Check::File(latest),
    ..HADOLINT
};

fn latest(view: &View<'_>, report: &mut Report<'_>) {
    for image in images(view).filter(|image| !image.text.contains('@') && tag(&image.text) == Some("latest")) {
        report.add(at(image.span, format!("`{}` is whatever was pushed last", image.text)).with_hint("name a version"));
    }
}

static REGISTRY: Rule = Rule {
    id: "DL3026",
    severity: Severity::Error,
    summary: "the base image is from a registry that is not trusted",
    meaning: "Raised only if the configuration lists trusted registries: base images may come from these alone. `*` in the list stands for \
              any run of characters; an image without a registry is from `docker.io`.\n\nThe examples are for a list that holds \
              `registry.example.com`.",
    bad: "FROM alpine:3.22\n",
    good: "FROM registry.example.com/alpine:3.22\n",
    check: Check::File(registry),
    ..HADOLINT
};

fn registry(view: &View<'_>, report: &mut Report<'_>) {
    let trusted = &view.options.trusted_registries;
    for image in images(view).filter(|_| !trusted.is_empty()) {
        let host = host(&image.text);
        if !trusted.iter().any(|pattern| matches(pattern, host)) {
            let message = format!("`{host}` is not among the trusted registries");
            report.add(at(image.span, message).with_hint(format!("trusted are {}", trusted.join(", "))));
        }
    }
}

fn host(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

/// `*` stands for any run of characters.
fn matches(pattern: &str, text: &str) -> bool {
    if matches!((pattern, text), ("hub.docker.com" | "index.docker.io", "docker.io")) {
        return true;
    }
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}
