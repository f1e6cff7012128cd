//! Rules about labels, and about what the label schema of the configuration asks of them.

use super::HADOLINT;
use crate::Severity;
use crate::ast::{InstructionKind, Word};
use crate::lint::LabelKind;
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Rule};
use crate::lint::view::View;

pub(super) static RULES: [&Rule; 10] =
    [&KEY, &MISSING, &SUPERFLUOUS, &EMPTY, &URL, &TIME, &LICENCE, &HASH, &VERSION, &EMAIL];

/// Labels of the file with their value, quotes removed.
fn labels<'v, 'a>(view: &'v View<'a>) -> impl Iterator<Item = (&'a Word, &'a Word, String)> + use<'v, 'a> {
    let pairs = view.file.instructions.iter().filter_map(|instruction| match &instruction.kind {
        InstructionKind::Label(pairs) => Some(&pairs.pairs),
        _ => None,
    });
    pairs.flatten().map(|(key, value)| (key, value, unquoted(&value.text)))
}

fn unquoted(text: &str) -> String {
    let quoted = ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
    quoted.unwrap_or(text).to_owned()
}

static KEY: Rule = Rule {
    id: "DL3048",
    severity: Severity::Style,
    summary: "a label's key is not in the customary form",
    meaning: "Keys of labels are lower-case words of letters and digits, joined by single `.`, `-` or `_`, and begin with the reversed \
              domain of whoever defines them: `com.example.team`. `com.docker.`, `io.docker.` and `org.dockerproject.` belong to Docker.",
    bad: "FROM alpine:3.22\nLABEL Team=\"build\"\n",
    good: "FROM alpine:3.22\nLABEL com.example.team=\"build\"\n",
    check: Check::File(key),
    ..HADOLINT
};

fn key(view: &View<'_>, report: &mut Report<'_>) {
    for (key, _, _) in labels(view) {
        let text = unquoted(&key.text);
        let plain = |ch: char| ch.is_ascii_lowercase() || ch.is_ascii_digit();
        let ends_well = text.starts_with(|ch: char| ch.is_ascii_lowercase()) && text.ends_with(plain);
        let mut pairs = text.as_bytes().windows(2);
        let doubled = pairs.any(|pair| matches!(pair, [b'.' | b'-' | b'_', b'.' | b'-' | b'_']));
        let reserved =
            ["com.docker.", "io.docker.", "org.dockerproject."].iter().any(|prefix| text.starts_with(prefix));
        let letters = text.chars().all(|ch| plain(ch) || matches!(ch, '.' | '-' | '_' | '/'));
        if reserved {
            report.add(at(key.span, format!("`{text}` is in a namespace that belongs to Docker")));
        } else if !text.contains('$') && (!ends_well || doubled || !letters) {
            let message = format!("`{text}` is not in the customary form of label keys");
            report.add(at(key.span, message).with_hint("use lower-case words joined by `.`, `-` or `_`"));
        }
    }
}

static MISSING: Rule = Rule {
    id: "DL3049",
    severity: Severity::Info,
    summary: "a label of the schema is missing",
    meaning: "The configuration's label schema names labels that every image has. Labels of the base stages count.\n\nThe examples are for a \
              schema that asks for `com.example.team`.",
    bad: "FROM alpine:3.22\n",
    good: "FROM alpine:3.22\nLABEL com.example.team=\"build\"\n",
    check: Check::File(missing),
    ..HADOLINT
};

fn missing(view: &View<'_>, report: &mut Report<'_>) {
    let Some(stage) = view.target.and_then(|target| view.stages.get(target)) else { return };
    let set: Vec<String> = view
        .image_instructions()
        .filter_map(|instruction| match &instruction.kind {
            InstructionKind::Label(pairs) => Some(pairs.pairs.iter().map(|(key, _)| unquoted(&key.text))),
            _ => None,
        })
        .flatten()
        .collect();
    for name in view.options.label_schema.keys().filter(|name| !set.contains(name)) {
        let hint = format!("add `LABEL {name}=\"..\"`");
        report.add(at(stage.from.image.span, format!("the label `{name}` is missing")).with_hint(hint));
    }
}

static SUPERFLUOUS: Rule = Rule {
    id: "DL3050",
    severity: Severity::Info,
    summary: "a label that the schema does not name",
    meaning: "Raised only if the configuration asks for strict labels: then an image has the labels of the schema and no others.\n\nThe \
              examples are for a strict schema of `com.example.team`.",
    bad: "FROM alpine:3.22\nLABEL com.example.team=\"build\" com.example.other=\"x\"\n",
    good: "FROM alpine:3.22\nLABEL com.example.team=\"build\"\n",
    check: Check::File(superfluous),
    ..HADOLINT
};

fn superfluous(view: &View<'_>, report: &mut Report<'_>) {
    for (key, _, _) in labels(view).filter(|_| view.options.strict_labels) {
        let text = unquoted(&key.text);
        if !view.options.label_schema.contains_key(&text) {
            report.add(at(key.span, format!("the schema does not name the label `{text}`")));
        }
    }
}

static EMPTY: Rule = Rule {
    id: "DL3051",
    summary: "a label of the schema is empty",
    meaning: "A label that every image must have says nothing if it is empty.\n\nThe examples are for a schema that asks for `com.example.team`.",
    bad: "FROM alpine:3.22\nLABEL com.example.team=\"\"\n",
    good: "FROM alpine:3.22\nLABEL com.example.team=\"build\"\n",
    check: Check::File(empty),
    ..HADOLINT
};

fn empty(view: &View<'_>, report: &mut Report<'_>) {
    for (key, value, text) in labels(view) {
        let name = unquoted(&key.text);
        if text.trim().is_empty() && view.options.label_schema.contains_key(&name) {
            report.add(at(value.span, format!("the label `{name}` is empty")));
        }
    }
}

/// Reports labels of a kind whose value is none of that kind. Values with variables are not known.
fn kind(view: &View<'_>, report: &mut Report<'_>, kind: LabelKind, what: &str, is_valid: fn(&str) -> bool) {
    for (key, value, text) in labels(view) {
        let name = unquoted(&key.text);
        let asked = view.options.label_schema.get(&name) == Some(&kind);
        if asked && !text.is_empty() && !text.contains('$') && !is_valid(&text) {
            report.add(at(value.span, format!("the label `{name}` is `{text}`, which is not {what}")));
        }
    }
}

static URL: Rule = Rule {
    id: "DL3052",
    summary: "a label is not a URL",
    meaning: "The label schema says that the label holds an absolute URL.\n\nThe examples are for a schema in which \
              `org.opencontainers.image.url` is one.",
    bad: "FROM alpine:3.22\nLABEL org.opencontainers.image.url=\"example\"\n",
    good: "FROM alpine:3.22\nLABEL org.opencontainers.image.url=\"https://example.com/\"\n",
    check: Check::File(|view, report| kind(view, report, LabelKind::Url, "an absolute URL", is_url)),
    ..HADOLINT
};

fn is_url(text: &str) -> bool {
    let scheme = |scheme: &str| {
        scheme.starts_with(|ch: char| ch.is_ascii_alphabetic())
            && scheme.chars().all(|ch| ch.is_ascii_alphanumeric() || matches!(ch, '+' | '-' | '.'))
    };
    let parts = text.split_once("://");
    parts.is_some_and(|(name, rest)| {
        scheme(name) && !rest.trim_start_matches('/').is_empty() && !rest.contains(char::is_whitespace)
    })
}

static TIME: Rule = Rule {
    id: "DL3053",
    summary: "a label is not a time of RFC 3339",
    meaning: "The label schema says that the label holds a date and time such as `2024-05-01T12:00:00Z`.\n\nThe examples are for a schema in \
              which `org.opencontainers.image.created` is one.",
    bad: "FROM alpine:3.22\nLABEL org.opencontainers.image.created=\"today\"\n",
    good: "FROM alpine:3.22\nLABEL org.opencontainers.image.created=\"2024-05-01T12:00:00Z\"\n",
    check: Check::File(|view, report| kind(view, report, LabelKind::Time, "a time of RFC 3339", is_time)),
    ..HADOLINT
};

fn is_time(text: &str) -> bool {
    time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).is_ok()
}

static LICENCE: Rule = Rule {
    id: "DL3054",
    summary: "a label is not an SPDX licence expression",
    meaning: "The label schema says that the label holds a licence of the SPDX list, or an expression of them: `Apache-2.0 OR MIT`.\n\nThe \
              examples are for a schema in which `org.opencontainers.image.licenses` is one.",
    bad: "FROM alpine:3.22\nLABEL org.opencontainers.image.licenses=\"Apache 2\"\n",
    good: "FROM alpine:3.22\nLABEL org.opencontainers.image.licenses=\"Apache-2.0\"\n",
    check: Check::File(|view, report| kind(view, report, LabelKind::Licence, "an SPDX licence expression", is_licence)),
    ..HADOLINT
};

fn is_licence(text: &str) -> bool {
    spdx::Expression::parse(text).is_ok()
}

static HASH: Rule = Rule {
    id: "DL3055",
    summary: "a label is not a git commit",
    meaning: "The label schema says that the label holds a git commit: 7 to 64 hexadecimal digits.\n\nThe examples are for a schema in which \
              `org.opencontainers.image.revision` is one.",
    bad: "FROM alpine:3.22\nLABEL org.opencontainers.image.revision=\"main\"\n",
    good: "FROM alpine:3.22\nLABEL org.opencontainers.image.revision=\"3f786850e387550fdab836ed7e6dc881de23001b\"\n",
    check: Check::File(|view, report| kind(view, report, LabelKind::Hash, "a git commit", is_hash)),
    ..HADOLINT
};

fn is_hash(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

static VERSION: Rule = Rule {
    id: "DL3056",
    summary: "a label is not a semantic version",
    meaning: "The label schema says that the label holds a version of semantic versioning 2.0: `1.2.3`, `1.2.3-rc.1+build`.\n\nThe examples are \
              for a schema in which `org.opencontainers.image.version` is one.",
    bad: "FROM alpine:3.22\nLABEL org.opencontainers.image.version=\"v1\"\n",
    good: "FROM alpine:3.22\nLABEL org.opencontainers.image.version=\"1.0.0\"\n",
    check: Check::File(|view, report| kind(view, report, LabelKind::Version, "a semantic version", is_version)),
    ..HADOLINT
};

fn is_version(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let number = |part: &str| digits(part) && (part == "0" || !part.starts_with('0'));
    let word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|pre| pre.split('.').all(|part| word(part) && (!digits(part) || number(part))))
        && build.is_none_or(|build| build.split('.').all(word))
}

static EMAIL: Rule = Rule {
    id: "DL3058",
    summary: "a label is not an e-mail address",
    meaning: "The label schema says that the label holds an e-mail address.\n\nThe examples are for a schema in which `com.example.contact` is one.",
    bad: "FROM alpine:3.22\nLABEL com.example.contact=\"the team\"\n",
    good: "FROM alpine:3.22\nLABEL com.example.contact=\"team@example.com\"\n",
    check: Check::File(|view, report| kind(view, report, LabelKind::Email, "an e-mail address", is_email)),
    ..HADOLINT
};

fn is_email(text: &str) -> bool {
    let parts = text.split_once('@').filter(|_| !text.contains(char::is_whitespace));
    parts.is_some_and(|(local, domain)| {
        !local.is_empty()
            && !domain.contains('@')
            && !domain.is_empty()
            && !domain.starts_with('.')
            && !domain.ends_with('.')
    })
}
