//! Rules about single instructions.
//!
//! Does not know values of variables.

use crate::Diagnostic;
use crate::ast::{Dockerfile, From, Instruction, InstructionKind, KeyValues, Word};

/// Parts of a name, cut at `_`, that speak of a secret.
const SECRET_PARTS: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
/// Parts that say it is none.
const HARMLESS_PARTS: [&str; 3] = ["public", "file", "version"];

pub(super) fn check(file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    for instruction in &file.instructions {
        match &instruction.kind {
            InstructionKind::Maintainer(name) => maintainer(instruction, name, found),
            InstructionKind::Env(pairs) => {
                legacy(instruction, pairs, found);
                pairs.pairs.iter().for_each(|(key, _)| secret("ENV", key, found));
            }
            InstructionKind::Label(pairs) => legacy(instruction, pairs, found),
            InstructionKind::Arg(args) => args.iter().for_each(|(key, _)| secret("ARG", key, found)),
            InstructionKind::From(from) => target_platform(from, found),
            InstructionKind::Expose(ports) => ports.iter().for_each(|port| exposed(port, found)),
            _ => {}
        }
    }
}

fn maintainer(instruction: &Instruction, name: &Word, found: &mut Vec<Diagnostic>) {
    let span = instruction.keyword.span;
    let warning = Diagnostic::warning("MaintainerDeprecated", span, "MAINTAINER is deprecated, a label replaces it");
    let value = name.text.replace('"', "\\\"");
    found.push(warning.with_hint(format!("write `LABEL org.opencontainers.image.authors=\"{value}\"`")));
}

fn legacy(instruction: &Instruction, pairs: &KeyValues, found: &mut Vec<Diagnostic>) {
    let Some((key, value)) = pairs.pairs.first().filter(|_| pairs.legacy) else { return };
    let name = instruction.keyword.text.to_uppercase();
    let message = format!("`{}` and its value are separated by a blank, an old form", key.text);
    let quote = if value.text.contains([' ', '\t']) && !value.text.contains('"') { "\"" } else { "" };
    let hint = format!("write `{name} {}={quote}{}{quote}`", key.text, value.text);
    found.push(Diagnostic::warning("LegacyKeyValueFormat", key.span, message).with_hint(hint));
}

fn secret(instruction: &str, key: &Word, found: &mut Vec<Diagnostic>) {
    let lower = key.text.to_lowercase();
    let has = |parts: &[&str]| lower.split('_').any(|part| parts.contains(&part));
    if has(&SECRET_PARTS) && !has(&HARMLESS_PARTS) {
        let message = format!("`{}` looks like a secret, and {instruction} values stay in the image", key.text);
        let warning = Diagnostic::warning("SecretsUsedInArgOrEnv", key.span, message);
        found.push(warning.with_hint("use `RUN --mount=type=secret,id=<name>`"));
    }
}

fn target_platform(from: &From, found: &mut Vec<Diagnostic>) {
    let variable = |word: &&Word| matches!(word.text.as_str(), "$TARGETPLATFORM" | "${TARGETPLATFORM}");
    let Some(platform) = from.platform.as_ref().filter(variable) else { return };
    let message = format!("`--platform={}` is what FROM does without it", platform.text);
    found.push(Diagnostic::warning("RedundantTargetPlatform", platform.span, message).with_hint("remove the flag"));
}

fn exposed(port: &Word, found: &mut Vec<Diagnostic>) {
    let Some((_, container)) = port.text.rsplit_once(':').filter(|_| !port.text.contains('$')) else { return };
    let message = format!("`{}` names an address or a port of the host, which EXPOSE ignores", port.text);
    let warning = Diagnostic::warning("ExposeInvalidFormat", port.span, message);
    found.push(warning.with_hint(format!("write `{container}`")));
}
