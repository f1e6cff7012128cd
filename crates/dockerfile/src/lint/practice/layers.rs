//! Rules about what stays in layers.

use super::PRACTICE;
use crate::Severity;
use crate::ast::{Copy, InstructionKind};
use crate::lint::commands::Invocation;
use crate::lint::managers::{self, Manager};
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Rule};
use crate::lint::view::View;

pub(super) static RULES: [&Rule; 3] = [&LATE_CLEANUP, &UPGRADE, &CHOWN];

static LATE_CLEANUP: Rule = Rule {
    id: "CO1401",
    summary: "files are removed in a later layer",
    meaning: "A layer cannot take anything away from the ones below: what an earlier `RUN` wrote is still in the image, only hidden. Clean up \
              in the `RUN` that made the mess.",
    bad: "FROM alpine:3.22\nRUN apk add --no-cache gcc~=14 && make\nRUN apk del gcc\n",
    good: "FROM alpine:3.22\nRUN apk add --no-cache gcc~=14 && make && apk del gcc\n",
    check: Check::File(late_cleanup),
    ..PRACTICE
};

fn late_cleanup(view: &View<'_>, report: &mut Report<'_>) {
    for (index, run) in view.runs.iter().enumerate().filter(|(_, run)| view.is_in_image(run.stage)) {
        let earlier = view.runs.iter().take(index).any(|other| other.stage == run.stage);
        let only_cleans =
            !run.commands.is_empty() && run.commands.iter().all(|command| cleans(command) || is_neutral(command));
        if let Some(first) = run.commands.iter().find(|command| cleans(command)).filter(|_| earlier && only_cleans) {
            let finding = at(first.span, "what is removed here stays in the layers below");
            report.add(finding.with_hint("clean up in the RUN that made the files"));
        }
    }
}

fn is_neutral(command: &Invocation) -> bool {
    matches!(command.name.as_str(), "set" | "echo" | "true" | ":")
}

/// Removes what package managers have left, or packages.
fn cleans(command: &Invocation) -> bool {
    const LEFT: [&str; 8] = [
        "/var/lib/apt",
        "/var/cache",
        "/root/.cache",
        "/root/.npm",
        "/tmp/",
        "/usr/share/doc",
        "/usr/share/man",
        "/var/log",
    ];
    match command.name.as_str() {
        "rm" => {
            let operands = command.operands(&[]);
            !operands.is_empty() && operands.iter().all(|arg| LEFT.iter().any(|path| arg.text.starts_with(path)))
        }
        _ => managers::operands(command).is_some_and(|(manager, operands)| {
            let first = operands.first().map_or("", |arg| arg.text.as_str());
            let word: &[&str] = match manager {
                Manager::Apt => &["clean", "autoclean", "autoremove", "purge", "remove"],
                Manager::Apk => &["del"],
                Manager::Yum | Manager::Dnf | Manager::Zypper => &["clean", "autoremove", "remove", "erase"],
                Manager::Npm | Manager::Yarn | Manager::Pip => &["cache", "prune"],
                Manager::Gem | Manager::Go => &["cleanup", "clean"],
            };
            word.contains(&first)
        }),
    }
}

static UPGRADE: Rule = Rule {
    id: "CO1402",
    severity: Severity::Info,
    summary: "packages of the base image are upgraded",
    meaning: "An upgrade stores every changed package a second time, and what it does depends on the day. A newer base image has the same \
              fixes in its own layers; if it comes too late for you, pin the base by digest and accept the upgrade knowingly.",
    bad: "FROM alpine:3.22\nRUN apk --no-cache upgrade\n",
    good: "FROM alpine:3.22.1\n",
    check: Check::File(upgrade),
    ..PRACTICE
};

fn upgrade(view: &View<'_>, report: &mut Report<'_>) {
    for (_, command) in view.commands().filter(|(run, _)| view.is_in_image(run.stage)) {
        let upgrades = [Manager::Apt, Manager::Apk, Manager::Yum, Manager::Dnf].iter().any(|manager| {
            let words: &[&str] =
                if matches!(manager, Manager::Yum | Manager::Dnf) { &["upgrade", "update"] } else { &["upgrade"] };
            managers::is(command, *manager, words)
        });
        let whole = managers::operands(command).is_some_and(|(_, operands)| operands.len() == 1);
        if upgrades && whole {
            report.add(
                at(command.span, "every upgraded package is in the image twice").with_hint("use a newer base image"),
            );
        }
    }
}

static CHOWN: Rule = Rule {
    id: "CO1403",
    severity: Severity::Info,
    summary: "copied files get their owner in a layer of their own",
    meaning: "`RUN chown -R` writes every file a second time, with another owner, into a second layer. `COPY --chown=user:group` copies them \
              with the right owner at once.",
    bad: "FROM alpine:3.22\nCOPY app /srv/app\nRUN chown -R 1000:1000 /srv/app\nUSER 1000\n",
    good: "FROM alpine:3.22\nCOPY --chown=1000:1000 app /srv/app\nUSER 1000\n",
    check: Check::File(chown),
    ..PRACTICE
};

fn chown(view: &View<'_>, report: &mut Report<'_>) {
    for (index, stage) in view.stages.iter().enumerate().filter(|(index, _)| view.is_in_image(*index)) {
        let mut workdir = String::from("/");
        let mut copied: Vec<String> = Vec::new();
        for instruction in stage.instructions {
            match &instruction.kind {
                InstructionKind::Workdir(path) => workdir = resolved(&workdir, &path.text),
                InstructionKind::Copy(copy) if !has_owner(copy) => copied.push(resolved(&workdir, &copy.dest.text)),
                InstructionKind::Run(_) => {
                    let run =
                        view.runs.iter().find(|run| run.stage == index && run.instruction.span == instruction.span);
                    for command in
                        run.into_iter().flat_map(|run| &run.commands).filter(|command| command.name == "chown")
                    {
                        let recursive = command.has_flag(Some('R'), &["--recursive"]);
                        let operands = command.operands(&[]);
                        let mut targets = operands.iter().skip(1).map(|arg| resolved(&workdir, &arg.text));
                        if recursive && targets.any(|target| copied.iter().any(|dest| is_below(dest, &target))) {
                            let finding = at(command.span, "every file that was copied is stored a second time");
                            report.add(finding.with_hint("use `COPY --chown=<user>:<group>`"));
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

fn has_owner(copy: &Copy) -> bool {
    copy.flags.iter().any(|flag| flag.name.text == "chown")
}

/// An absolute path without a slash at its end.
fn resolved(workdir: &str, path: &str) -> String {
    let path = path.trim_matches(['"', '\'']);
    let relative = path.strip_prefix("./").unwrap_or(path);
    let joined = match relative {
        "." | "" => workdir.to_owned(),
        _ if relative.starts_with(['/', '$']) => relative.to_owned(),
        _ => format!("{}/{relative}", workdir.trim_end_matches('/')),
    };
    joined.trim_end_matches('/').to_owned()
}

fn is_below(path: &str, directory: &str) -> bool {
    !directory.is_empty()
        && (path == directory || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/')))
}
