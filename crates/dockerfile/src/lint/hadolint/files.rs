//! Rules about single instructions and about comments.

use super::HADOLINT;
use crate::Severity;
use crate::ast::InstructionKind;
use crate::lint::pragma;
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Rule};
use crate::lint::view::View;

pub(super) static RULES: [&Rule; 4] = [&PRAGMAS, &PORT, &SELF_REFERENCE, &HEALTHCHECK];

static PRAGMAS: Rule = Rule {
    id: "DL1001",
    severity: Severity::Info,
    enabled: false,
    summary: "a comment switches rules off",
    meaning: "For teams that want exceptions in the configuration, where they are reviewed, and not in the files. Off by default.",
    bad: "FROM alpine:3.22\n# hadolint ignore=DL3018\nRUN apk add --no-cache curl\n",
    good: "FROM alpine:3.22\nRUN apk add --no-cache curl~=8.14\n",
    check: Check::File(pragmas),
    ..HADOLINT
};

fn pragmas(view: &View<'_>, report: &mut Report<'_>) {
    for comment in view.file.comments.iter().filter(|comment| pragma::is_pragma(&comment.text)) {
        report.add(
            at(comment.span, "this comment switches rules off").with_hint("make the exception in the configuration"),
        );
    }
}

static PORT: Rule = Rule {
    id: "DL3011",
    severity: Severity::Error,
    summary: "a port is not between 0 and 65535",
    meaning: "Ports are 16 bits wide. The builder refuses others.",
    bad: "FROM alpine:3.22\nEXPOSE 80000\n",
    good: "FROM alpine:3.22\nEXPOSE 8000\n",
    check: Check::File(port),
    ..HADOLINT
};

fn port(view: &View<'_>, report: &mut Report<'_>) {
    for instruction in &view.file.instructions {
        let InstructionKind::Expose(ports) = &instruction.kind else { continue };
        for port in ports {
            let number = port.text.split('/').next().unwrap_or_default();
            let too_big = |part: &str| {
                !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) && part.parse::<u16>().is_err()
            };
            if number.split([':', '-']).any(too_big) {
                report.add(at(port.span, format!("`{number}` is no port: they end at 65535")));
            }
        }
    }
}

static SELF_REFERENCE: Rule = Rule {
    id: "DL3044",
    severity: Severity::Error,
    summary: "ENV uses a variable that it sets itself",
    meaning: "All values of one `ENV` are expanded with what was set before the instruction, so a variable of the same line is still empty \
              or old. Set it in an `ENV` of its own first.",
    bad: "FROM alpine:3.22\nENV APP=/srv/app BIN=$APP/bin\n",
    good: "FROM alpine:3.22\nENV APP=/srv/app\nENV BIN=$APP/bin\n",
    check: Check::File(self_reference),
    ..HADOLINT
};

fn self_reference(view: &View<'_>, report: &mut Report<'_>) {
    for instruction in &view.file.instructions {
        let InstructionKind::Env(pairs) = &instruction.kind else { continue };
        for (key, value) in &pairs.pairs {
            // `PATH=/x:$PATH` goes on from what was set before, and `V=$V` keeps it for the others too.
            let mut others =
                pairs.pairs.iter().filter(|(other, set)| other.text != key.text && !uses(&set.text, &other.text));
            if let Some((name, _)) = others.find(|(other, _)| uses(&value.text, &other.text)) {
                let message = format!("`${}` has not yet the value that this ENV gives it", name.text);
                report.add(at(value.span, message).with_hint(format!("set `{}` in an ENV before this one", name.text)));
            }
        }
    }
}

/// Whether a value expands a variable.
fn uses(value: &str, name: &str) -> bool {
    let mut parts = value.split('$').skip(1);
    parts.any(|part| {
        let part = part.strip_prefix('{').unwrap_or(part);
        let end = part.find(|ch: char| !ch.is_ascii_alphanumeric() && ch != '_').unwrap_or(part.len());
        part.get(..end) == Some(name)
    })
}

static HEALTHCHECK: Rule = Rule {
    id: "DL3057",
    aliases: &["CIS-DI-0006"],
    severity: Severity::Info,
    enabled: false,
    summary: "the image has no HEALTHCHECK",
    meaning: "`HEALTHCHECK` tells docker how to find out whether the program still works. Kubernetes ignores it and has probes of its own, \
              so the rule is off by default.",
    bad: "FROM alpine:3.22\nUSER 1000\nCMD [\"server\"]\n",
    good: "FROM alpine:3.22\nUSER 1000\nHEALTHCHECK CMD [\"probe\"]\nCMD [\"server\"]\n",
    check: Check::File(healthcheck),
    ..HADOLINT
};

fn healthcheck(view: &View<'_>, report: &mut Report<'_>) {
    let Some(from) = view.target.and_then(|target| view.stages.get(target)).map(|stage| stage.from) else { return };
    let has = view.image_instructions().any(|instruction| matches!(instruction.kind, InstructionKind::Healthcheck(_)));
    if !has {
        report.add(
            at(from.image.span, "the image has no HEALTHCHECK")
                .with_hint("add `HEALTHCHECK CMD [\"program\"]`, or NONE"),
        );
    }
}
