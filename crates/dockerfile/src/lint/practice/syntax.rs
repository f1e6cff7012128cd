//! What the parser and the evaluation say themselves.

use super::PRACTICE;
use crate::Severity;
use crate::lint::rule::{Check, Group, Rule};

pub(super) static RULES: [&Rule; 2] = [&SYNTAX, &IGNORED_FLAG];

static SYNTAX: Rule = Rule {
    id: "syntax",
    aliases: &["DL3043", "DL3061"],
    group: Group::BuildKit,
    severity: Severity::Error,
    summary: "the file cannot be built",
    meaning: "What the builder refuses: an unknown instruction, a missing argument, a trigger of `ONBUILD` that cannot be one, an instruction \
              before the first `FROM`. It cannot be switched off.",
    bad: "RUN make\n",
    good: "FROM alpine:3.22\nRUN make\n",
    check: Check::Elsewhere,
    ..PRACTICE
};

static IGNORED_FLAG: Rule = Rule {
    id: "IgnoredFlag",
    summary: "a flag that has no effect",
    meaning: "`ARG`, `STOPSIGNAL` and `HEALTHCHECK NONE` take no flags. Builders ignore them, so the file builds, but not as it reads.",
    bad: "FROM alpine:3.22\nARG --from=x NAME\n",
    good: "FROM alpine:3.22\nARG NAME\n",
    check: Check::Elsewhere,
    ..PRACTICE
};
