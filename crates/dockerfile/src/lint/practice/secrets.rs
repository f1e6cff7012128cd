//! Rules about secrets that get into the image.

use super::PRACTICE;
use crate::ast::{InstructionKind, Word};
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Group, Rule};
use crate::lint::view::View;
use crate::{Severity, Span};

pub(super) static RULES: [&Rule; 2] = [&FILES, &LITERALS];

static FILES: Rule = Rule {
    id: "CIS-DI-0010",
    group: Group::Image,
    summary: "a file of secrets is copied",
    meaning: "A private key or a file of passwords in a layer is there for whoever can pull the image, also if a later step removes it. Give it \
              to the step that needs it (`RUN --mount=type=secret`, `--mount=type=ssh`), or to the container when it starts.",
    bad: "FROM alpine:3.22\nCOPY .env /srv/\n",
    good: "FROM alpine:3.22\nRUN --mount=type=secret,id=env,target=/srv/.env make-ready\n",
    check: Check::File(files),
    ..PRACTICE
};

fn files(view: &View<'_>, report: &mut Report<'_>) {
    for instruction in &view.file.instructions {
        let (InstructionKind::Copy(copy) | InstructionKind::Add(copy)) = &instruction.kind else { continue };
        let elsewhere = copy.flags.iter().any(|flag| flag.name.text == "from");
        for source in copy.sources.iter().filter(|source| !elsewhere && is_secret_file(&source.text)) {
            let message = format!("`{}` holds secrets, and stays in the image", source.text);
            report.add(at(source.span, message).with_hint("use `RUN --mount=type=secret,id=<name>`"));
        }
    }
}

fn is_secret_file(path: &str) -> bool {
    const NAMES: [&str; 11] = [
        ".env",
        "id_rsa",
        "id_dsa",
        "id_ecdsa",
        "id_ed25519",
        ".netrc",
        ".pypirc",
        ".git-credentials",
        ".htpasswd",
        ".ssh",
        ".aws",
    ];
    let path = path.trim_matches(['"', '\'']).trim_end_matches('/');
    let name = path.rsplit('/').next().unwrap_or_default();
    let local_env =
        name.strip_prefix(".env.").is_some_and(|kind| matches!(kind, "local" | "production" | "prod" | "staging"));
    NAMES.contains(&name)
        || local_env
        || [".p12", ".pfx", ".jks", ".keystore"].iter().any(|end| name.ends_with(end))
        || path.ends_with(".aws/credentials")
        || path.ends_with(".docker/config.json")
        || path.ends_with(".kube/config")
}

static LITERALS: Rule = Rule {
    id: "CO1701",
    severity: Severity::Error,
    summary: "a secret is written in the Dockerfile",
    meaning: "The text looks like a key or a password that is in use: it is in the file's history and in the image's. Take it back where it was \
              issued, and give its successor to the step that needs it with `RUN --mount=type=secret`.",
    bad: "FROM alpine:3.22\nRUN git clone https://bot:hunter2hunter2@git.example.com/app.git\n",
    good: "FROM alpine:3.22\nRUN --mount=type=secret,id=netrc,target=/root/.netrc git clone https://git.example.com/app.git\n",
    check: Check::File(literals),
    ..PRACTICE
};

fn literals(view: &View<'_>, report: &mut Report<'_>) {
    let mut found: Vec<Span> = Vec::new();
    for (_, command) in view.commands() {
        found.extend(command.args.iter().filter(|arg| holds_secret(&arg.text)).map(|arg| arg.span));
    }
    for instruction in &view.file.instructions {
        let values: Vec<&Word> = match &instruction.kind {
            InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => {
                pairs.pairs.iter().map(|(_, value)| value).collect()
            }
            InstructionKind::Arg(args) => args.iter().filter_map(|(_, value)| value.as_ref()).collect(),
            InstructionKind::Add(add) => add.sources.iter().collect(),
            _ => continue,
        };
        found.extend(values.into_iter().filter(|value| holds_secret(&value.text)).map(|value| value.span));
    }
    for span in found {
        // The secret itself is not repeated in the message.
        report.add(
            at(span, "this looks like a secret that is in use")
                .with_hint("take it back, and use `RUN --mount=type=secret,id=<name>`"),
        );
    }
}

/// Beginnings of keys that their issuers have chosen to be recognised by, and how many letters and digits follow at least.
const KEYS: [(&str, usize); 14] = [
    ("AKIA", 16),
    ("ghp_", 30),
    ("gho_", 30),
    ("ghs_", 30),
    ("github_pat_", 20),
    ("glpat-", 20),
    ("xoxb-", 20),
    ("xoxp-", 20),
    ("sk_live_", 16),
    ("rk_live_", 16),
    ("npm_", 36),
    ("pypi-AgEI", 16),
    ("dckr_pat_", 20),
    ("AIza", 35),
];

fn holds_secret(text: &str) -> bool {
    let known = KEYS.iter().any(|(prefix, length)| {
        text.match_indices(prefix).any(|(at, _)| {
            let rest = text.get(at + prefix.len()..).unwrap_or_default();
            let before = text.get(..at).and_then(|before| before.chars().last());
            let starts = before.is_none_or(|ch| !ch.is_ascii_alphanumeric());
            starts
                && rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')).count()
                    >= *length
        })
    });
    known || (text.contains("-----BEGIN ") && text.contains("PRIVATE KEY")) || has_password(text)
}

/// `scheme://user:password@host`, the password written out.
fn has_password(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#', ' ', '"', '\'']).next().unwrap_or_default();
        let Some((user, password)) = authority.rsplit_once('@').and_then(|(login, _)| login.split_once(':')) else {
            return false;
        };
        let placeholder = matches!(
            password.to_lowercase().as_str(),
            "" | "password" | "pass" | "x-oauth-basic" | "postgres" | "root" | "guest"
        );
        !placeholder && password != user && !password.contains(['$', '<', '{', '*'])
    })
}
