//! Rules about instructions that do not do what they look like.

use super::PRACTICE;
use crate::Severity;
use crate::ast::{Command, InstructionKind};
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Rule};
use crate::lint::view::View;

pub(super) static RULES: [&Rule; 4] = [&NO_EFFECT, &NO_SHELL, &NO_JSON, &FRONTEND];

static NO_EFFECT: Rule = Rule {
    id: "CO1501",
    summary: "a RUN that changes only its own shell",
    meaning: "Every `RUN` has a shell of its own. A directory, a variable or a sourced file of one is gone in the next: use `WORKDIR` and \
              `ENV`, and for a Python environment `ENV PATH=/venv/bin:$PATH`.",
    bad: "FROM alpine:3.22\nRUN export APP=/srv/app\n",
    good: "FROM alpine:3.22\nENV APP=/srv/app\n",
    check: Check::File(no_effect),
    ..PRACTICE
};

fn no_effect(view: &View<'_>, report: &mut Report<'_>) {
    for run in &view.runs {
        let own = |name: &str| {
            matches!(name, "cd" | "export" | "source" | "." | "alias" | "umask" | "set" | "unset" | "ulimit")
        };
        let silent = |command: &crate::lint::commands::Invocation| own(&command.name) && command.redirects.is_empty();
        if let Some(first) = run.commands.first().filter(|_| run.commands.iter().all(silent)) {
            let hint = match first.name.as_str() {
                "cd" => "use WORKDIR",
                "export" => "use ENV",
                _ => "put it into the RUN that needs it",
            };
            report.add(
                at(first.span, format!("this `{}` is forgotten at the end of the RUN", first.name)).with_hint(hint),
            );
        }
    }
}

static NO_SHELL: Rule = Rule {
    id: "CO1502",
    summary: "a variable in JSON form is not expanded",
    meaning: "A command in JSON form is run without a shell, so `$PORT` reaches the program as it is. Let the program read the variable, or run \
              a shell: `[\"sh\", \"-c\", \"exec server --port $PORT\"]`.",
    bad: "FROM alpine:3.22\nUSER 1000\nCMD [\"server\", \"--port\", \"$PORT\"]\n",
    good: "FROM alpine:3.22\nUSER 1000\nCMD [\"sh\", \"-c\", \"exec server --port $PORT\"]\n",
    check: Check::File(no_shell),
    ..PRACTICE
};

fn no_shell(view: &View<'_>, report: &mut Report<'_>) {
    for instruction in &view.file.instructions {
        let (InstructionKind::Cmd(Command::Exec(words)) | InstructionKind::Entrypoint(Command::Exec(words))) =
            &instruction.kind
        else {
            continue;
        };
        // A shell, or a program that may hand its arguments to one.
        let shell = words.iter().any(|word| {
            let name = word.rsplit(['/', '\\']).next().unwrap_or_default().trim_end_matches(".exe");
            matches!(name, "sh" | "bash" | "ash" | "dash" | "zsh" | "cmd" | "powershell" | "pwsh" | "-c" | "envsubst")
        });
        let variable = words.iter().find_map(|word| Some((word, word.split_once('$')?.1)));
        let Some((word, rest)) = variable.filter(|_| !shell) else { continue };
        let name = rest.strip_prefix('{').unwrap_or(rest);
        if name.starts_with(|ch: char| ch.is_ascii_uppercase() || ch == '_') {
            let message = format!("no shell expands `{word}` in JSON form");
            report.add(at(instruction.span, message).with_hint("run a shell, or let the program read the variable"));
        }
    }
}

static NO_JSON: Rule = Rule {
    id: "CO1503",
    severity: Severity::Error,
    summary: "a list that is not JSON is run as a shell command",
    meaning: "JSON knows only double quotes, and no comma at the end. A list that is not JSON counts as shell form, and the shell looks for a \
              program called `[`.",
    bad: "FROM alpine:3.22\nRUN ['make', 'install']\n",
    good: "FROM alpine:3.22\nRUN [\"make\", \"install\"]\n",
    check: Check::File(no_json),
    ..PRACTICE
};

fn no_json(view: &View<'_>, report: &mut Report<'_>) {
    for instruction in &view.file.instructions {
        let command = match &instruction.kind {
            InstructionKind::Run(run) => &run.command,
            InstructionKind::Cmd(command) | InstructionKind::Entrypoint(command) => command,
            _ => continue,
        };
        let Command::Shell(text) = command else { continue };
        let inside = text.text.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(str::trim_start);
        // `[ "$a" = b ]` has a blank after the bracket and no comma.
        if inside.is_some_and(|inside| {
            inside.starts_with(['\'', '"']) && (inside.contains(',') || !text.text.starts_with("[ "))
        }) {
            report.add(
                at(text.span, "this list is not JSON, so a shell runs it")
                    .with_hint("use double quotes, and no comma at the end"),
            );
        }
    }
}

static FRONTEND: Rule = Rule {
    id: "CO1504",
    severity: Severity::Info,
    summary: "DEBIAN_FRONTEND is set for the running container too",
    meaning: "`ENV DEBIAN_FRONTEND=noninteractive` stays in the image, so that whoever opens a shell in it is not asked anything either. Set it \
              for the command that needs it, or with `ARG`, which ends with the build.",
    bad: "FROM debian:13\nENV DEBIAN_FRONTEND=noninteractive\n",
    good: "FROM debian:13\nARG DEBIAN_FRONTEND=noninteractive\n",
    check: Check::File(frontend),
    ..PRACTICE
};

fn frontend(view: &View<'_>, report: &mut Report<'_>) {
    for instruction in view.image_instructions() {
        let InstructionKind::Env(pairs) = &instruction.kind else { continue };
        for (key, _) in pairs.pairs.iter().filter(|(key, _)| key.text == "DEBIAN_FRONTEND") {
            report.add(at(key.span, "this stays set in the image").with_hint("use ARG, or set it for the one command"));
        }
    }
}
