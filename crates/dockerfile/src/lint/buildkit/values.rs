//! Rules about single instructions.
//!
//! Does not know values of variables.

use crate::Severity;
use crate::ast::{Instruction, InstructionKind, KeyValues, Word};
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Group, Rule};
use crate::lint::view::View;

pub(super) static RULES: [&Rule; 5] = [
    &EXPOSE_INVALID_FORMAT,
    &LEGACY_KEY_VALUE_FORMAT,
    &MAINTAINER_DEPRECATED,
    &REDUNDANT_TARGET_PLATFORM,
    &SECRETS_USED_IN_ARG_OR_ENV,
];

static MAINTAINER_DEPRECATED: Rule = Rule {
    id: "MaintainerDeprecated",
    aliases: &["DL4000"],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    fixable: true,
    summary: "MAINTAINER is deprecated",
    meaning: "The label `org.opencontainers.image.authors` has taken its place: it can be read with all other labels, and tools \
              look for it there.",
    bad: "FROM alpine:3.22\nMAINTAINER Ada <ada@example.com>\n",
    good: "FROM alpine:3.22\nLABEL org.opencontainers.image.authors=\"Ada <ada@example.com>\"\n",
    check: Check::File(maintainer_deprecated),
};

fn maintainer_deprecated(view: &View<'_>, report: &mut Report<'_>) {
    for instruction in &view.file.instructions {
        let InstructionKind::Maintainer(name) = &instruction.kind else { continue };
        let value = name.text.replace('"', "\\\"");
        let label = format!("LABEL org.opencontainers.image.authors=\"{value}\"");
        // The author field of the image's config goes away.
        let plain = !name.text.contains(['\\', '`', '$', '"']);
        let fix =
            plain.then(|| view.replace(instruction.span, "replace it by a label", label.clone(), false)).flatten();
        let finding = at(instruction.keyword.span, "MAINTAINER is deprecated, a label replaces it");
        report.add(finding.with_hint(format!("write `{label}`")).with_fix(fix));
    }
}

static LEGACY_KEY_VALUE_FORMAT: Rule = Rule {
    id: "LegacyKeyValueFormat",
    aliases: &[],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    fixable: true,
    summary: "a key and its value are separated by a blank",
    meaning: "`ENV key value` takes everything to the end of the line as the value, so it cannot hold a second pair, and a `=` \
              that is forgotten changes the meaning without an error. Write `ENV key=value`.",
    bad: "FROM alpine:3.22\nENV LANG C.UTF-8\n",
    good: "FROM alpine:3.22\nENV LANG=C.UTF-8\n",
    check: Check::File(legacy_key_value_format),
};

fn legacy_key_value_format(view: &View<'_>, report: &mut Report<'_>) {
    for instruction in &view.file.instructions {
        if let InstructionKind::Env(pairs) | InstructionKind::Label(pairs) = &instruction.kind
            && pairs.legacy
        {
            legacy(view, instruction, pairs, report);
        }
    }
}

fn legacy(view: &View<'_>, instruction: &Instruction, pairs: &KeyValues, report: &mut Report<'_>) {
    let Some((key, value)) = pairs.pairs.first() else { return };
    let name = instruction.keyword.text.to_uppercase();
    let message = format!("`{}` and its value are separated by a blank, an old form", key.text);
    let quote = if value.text.contains([' ', '\t']) && !value.text.contains('"') { "\"" } else { "" };
    let pair = format!("{}={quote}{}{quote}", key.text, value.text);
    let fix = is_plain(&key.text, &value.text).then(|| view.join_pair(key, value, &pair)).flatten();
    report.add(at(key.span, message).with_hint(format!("write `{name} {pair}`")).with_fix(fix));
}

/// Neither form treats a character of it in a way of its own.
fn is_plain(key: &str, value: &str) -> bool {
    !key.contains(['"', '\'']) && !value.contains(['"', '\'', '\\', '`'])
}

static SECRETS_USED_IN_ARG_OR_ENV: Rule = Rule {
    id: "SecretsUsedInArgOrEnv",
    aliases: &["DL3064"],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    fixable: false,
    summary: "a secret in ARG or ENV stays in the image",
    meaning: "Values of `ENV` are in the image's config, and values of `ARG` in its history: whoever can pull the image can read \
              them, and removing them in a later line does not help. Give the secret to the step that needs it with \
              `RUN --mount=type=secret,id=token`, or to the container when it starts.\n\nThe name decides: a word such as \
              `token`, `password` or `key` in it, unless `public`, `file` or `version` is there too.",
    bad: "FROM alpine:3.22\nARG GITHUB_TOKEN\nRUN fetch --token=$GITHUB_TOKEN\n",
    good: "FROM alpine:3.22\nRUN --mount=type=secret,id=github,env=GITHUB_TOKEN fetch --token=$GITHUB_TOKEN\n",
    check: Check::File(secrets_used_in_arg_or_env),
};

/// Parts of a name, cut at `_`, that speak of a secret.
const SECRET_PARTS: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
/// Parts that say it is none.
const HARMLESS_PARTS: [&str; 3] = ["public", "file", "version"];

fn secrets_used_in_arg_or_env(view: &View<'_>, report: &mut Report<'_>) {
    for instruction in &view.file.instructions {
        match &instruction.kind {
            InstructionKind::Env(pairs) => pairs.pairs.iter().for_each(|(key, _)| secret("ENV", key, report)),
            InstructionKind::Arg(args) => args.iter().for_each(|(key, _)| secret("ARG", key, report)),
            _ => {}
        }
    }
}

fn secret(instruction: &str, key: &Word, report: &mut Report<'_>) {
    let lower = key.text.to_lowercase();
    let has = |parts: &[&str]| lower.split('_').any(|part| parts.contains(&part));
    if has(&SECRET_PARTS) && !has(&HARMLESS_PARTS) {
        let message = format!("`{}` looks like a secret, and {instruction} values stay in the image", key.text);
        report.add(at(key.span, message).with_hint("use `RUN --mount=type=secret,id=<name>`"));
    }
}

static REDUNDANT_TARGET_PLATFORM: Rule = Rule {
    id: "RedundantTargetPlatform",
    aliases: &["DL3065"],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    fixable: true,
    summary: "FROM --platform=$TARGETPLATFORM is what FROM does anyway",
    meaning: "A stage is built for the target platform unless it says otherwise. The flag makes the reader look for a reason.",
    bad: "FROM --platform=$TARGETPLATFORM alpine:3.22\n",
    good: "FROM alpine:3.22\n",
    check: Check::File(redundant_target_platform),
};

fn redundant_target_platform(view: &View<'_>, report: &mut Report<'_>) {
    for (_, from) in view.froms() {
        let variable = |word: &&Word| matches!(word.text.as_str(), "$TARGETPLATFORM" | "${TARGETPLATFORM}");
        let Some(platform) = from.platform.as_ref().filter(variable) else { continue };
        let message = format!("`--platform={}` is what FROM does without it", platform.text);
        let fix = view.remove_flag(platform, "platform", true);
        report.add(at(platform.span, message).with_hint("remove the flag").with_fix(fix));
    }
}

static EXPOSE_INVALID_FORMAT: Rule = Rule {
    id: "ExposeInvalidFormat",
    aliases: &[],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    fixable: true,
    summary: "EXPOSE names an address or a port of the host",
    meaning: "`EXPOSE` documents the port that the program listens on. Where it appears on the host is said when the container \
              starts (`docker run -p 8080:80`); in the Dockerfile that part is ignored.",
    bad: "FROM alpine:3.22\nEXPOSE 8080:80\n",
    good: "FROM alpine:3.22\nEXPOSE 80\n",
    check: Check::File(expose_invalid_format),
};

fn expose_invalid_format(view: &View<'_>, report: &mut Report<'_>) {
    for instruction in &view.file.instructions {
        let InstructionKind::Expose(ports) = &instruction.kind else { continue };
        for port in ports.iter().filter(|port| !port.text.contains('$')) {
            let Some((_, container)) = port.text.rsplit_once(':') else { continue };
            let message = format!("`{}` names an address or a port of the host, which EXPOSE ignores", port.text);
            let fix = view.replace_word(port, container, true);
            report.add(at(port.span, message).with_hint(format!("write `{container}`")).with_fix(fix));
        }
    }
}
