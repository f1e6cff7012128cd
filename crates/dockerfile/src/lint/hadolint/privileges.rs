//! Rules about who the image runs as.

use super::HADOLINT;
use crate::Severity;
use crate::ast::{InstructionKind, Word};
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Rule};
use crate::lint::view::View;

pub(super) static RULES: [&Rule; 3] = [&ROOT, &SUDO, &NUMERIC];

static ROOT: Rule = Rule {
    id: "DL3002",
    summary: "the last USER is root",
    meaning: "The container runs as what the last `USER` says. A program that runs as root owns everything in its container, and a hole in \
              the kernel away from it the host. Go back to an ordinary user after the steps that need root.",
    bad: "FROM alpine:3.22\nUSER root\n",
    good: "FROM alpine:3.22\nUSER root\nRUN make-ready\nUSER 1000\n",
    check: Check::File(root),
    ..HADOLINT
};

fn last_user<'a>(view: &View<'a>) -> Option<&'a Word> {
    view.image_instructions()
        .filter_map(|instruction| match &instruction.kind {
            InstructionKind::User(user) => Some(user),
            _ => None,
        })
        .last()
}

fn is_root(user: &str) -> bool {
    matches!(user.split(':').next(), Some("root" | "0"))
}

fn root(view: &View<'_>, report: &mut Report<'_>) {
    if let Some(user) = last_user(view).filter(|user| is_root(&user.text)) {
        report.add(at(user.span, "the container runs as root").with_hint("end the stage with an ordinary USER"));
    }
}

static SUDO: Rule = Rule {
    id: "DL3004",
    aliases: &["DKL-DI-0001"],
    severity: Severity::Error,
    fixable: true,
    summary: "sudo in a build",
    meaning: "A build changes its user with `USER`. `sudo` is made for people at a terminal: it changes the environment, asks for \
              passwords, and stays in the image as a way to root.",
    bad: "FROM debian:13\nRUN sudo make install\n",
    good: "FROM debian:13\nRUN make install\n",
    check: Check::File(sudo),
    ..HADOLINT
};

fn sudo(view: &View<'_>, report: &mut Report<'_>) {
    for (run, command) in view.commands() {
        let Some((_, place)) = command.wrappers.iter().find(|(name, _)| matches!(name.as_str(), "sudo" | "doas"))
        else {
            continue;
        };
        let users = view
            .lineage(run.stage)
            .into_iter()
            .filter_map(|stage| view.stages.get(stage))
            .flat_map(|stage| stage.instructions);
        let sets_user = users.into_iter().any(|instruction| matches!(instruction.kind, InstructionKind::User(_)));
        // Taken off only where it is followed by the command itself, so that no flag of it is lost.
        let gap = crate::Span { start: place.start, end: command.at.start };
        let bare = view.at(gap).is_some_and(|gap| gap.trim_end_matches([' ', '\t']) == "sudo");
        let fix = (bare && !sets_user).then(|| view.replace(gap, "remove sudo", String::new(), false)).flatten();
        report.add(at(*place, "sudo is for people at a terminal").with_hint("use USER").with_fix(fix));
    }
}

static NUMERIC: Rule = Rule {
    id: "DL3066",
    severity: Severity::Info,
    summary: "the last USER is a name",
    meaning: "Kubernetes with `runAsNonRoot` must know before the start that the user is not root, and cannot look up a name in the image: it \
              refuses the container. A number (`USER 1000`, also `1000:1000`) works everywhere.",
    bad: "FROM alpine:3.22\nRUN adduser -D -u 1000 app\nUSER app\nCMD [\"server\"]\n",
    good: "FROM alpine:3.22\nRUN adduser -D -u 1000 app\nUSER 1000\nCMD [\"server\"]\n",
    check: Check::File(numeric),
    ..HADOLINT
};

fn numeric(view: &View<'_>, report: &mut Report<'_>) {
    let Some(user) = last_user(view).filter(|user| !is_root(&user.text)) else { return };
    let starts = |instruction: &crate::ast::Instruction| {
        matches!(instruction.kind, InstructionKind::Cmd(_) | InstructionKind::Entrypoint(_))
    };
    let id = user.text.split(':').next().unwrap_or_default();
    if !id.contains('$') && id.parse::<u32>().is_err() && view.image_instructions().any(starts) {
        let message = format!("`{id}` is a name, which Kubernetes cannot tell from root");
        report.add(at(user.span, message).with_hint("write the number of the user"));
    }
}
