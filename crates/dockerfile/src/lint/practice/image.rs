//! Checks of the CIS benchmark and of dockle that a Dockerfile shows.

use super::PRACTICE;
use crate::Severity;
use crate::ast::InstructionKind;
use crate::lint::managers::{self, Manager};
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Group, Rule};
use crate::lint::view::View;

pub(super) static RULES: [&Rule; 4] = [&UPDATE_ALONE, &SETUID, &VOLUME, &DIST_UPGRADE];

static UPDATE_ALONE: Rule = Rule {
    id: "CIS-DI-0007",
    group: Group::Image,
    summary: "package lists are fetched in a step of their own",
    meaning: "The cache serves `RUN apt-get update` for months, so that the `apt-get install` after it asks for packages that are no longer \
              there, or installs old ones. Fetch the lists in the `RUN` that installs.",
    bad: "FROM debian:13 AS build\nRUN apt-get update\nRUN apt-get install -y --no-install-recommends curl=8.14.1-2\nFROM scratch\n",
    good: "FROM debian:13 AS build\nRUN apt-get update && apt-get install -y --no-install-recommends curl=8.14.1-2\nFROM scratch\n",
    check: Check::File(update_alone),
    ..PRACTICE
};

fn update_alone(view: &View<'_>, report: &mut Report<'_>) {
    for run in &view.runs {
        let update = run.commands.iter().find(|command| {
            managers::is(command, Manager::Apt, &["update"]) || managers::is(command, Manager::Apk, &["update"])
        });
        let Some(update) = update.filter(|_| managers::mounts(run).next().is_none()) else { continue };
        let uses = run.commands.iter().any(|command| {
            let words = [
                "install",
                "add",
                "upgrade",
                "dist-upgrade",
                "full-upgrade",
                "build-dep",
                "source",
                "satisfy",
                "download",
            ];
            managers::operands(command)
                .is_some_and(|(_, operands)| operands.iter().any(|arg| words.contains(&arg.text.as_str())))
        });
        // A script or a heredoc may install what is not seen here.
        if !uses && run.commands.len() < 3 {
            let finding = at(update.span, "the cache will serve these package lists for months");
            report.add(finding.with_hint("fetch them in the RUN that installs"));
        }
    }
}

static SETUID: Rule = Rule {
    id: "CIS-DI-0008",
    group: Group::Image,
    summary: "a program gets the setuid or setgid bit",
    meaning: "A setuid program runs as its owner, mostly root, whoever starts it: a hole in it is a way to root inside the container. Give the \
              program a capability (`setcap`), or the container a user who may do it.",
    bad: "FROM alpine:3.22\nCOPY app /usr/bin/app\nRUN chmod u+s /usr/bin/app\n",
    good: "FROM alpine:3.22\nCOPY app /usr/bin/app\nRUN chmod u+x /usr/bin/app\n",
    check: Check::File(setuid),
    ..PRACTICE
};

fn setuid(view: &View<'_>, report: &mut Report<'_>) {
    for (_, command) in view.commands().filter(|(_, command)| command.name == "chmod") {
        let Some(mode) = command.operands(&[]).first().map(|arg| arg.text.as_str()) else { continue };
        let octal =
            mode.len() == 4 && mode.bytes().all(|byte| byte.is_ascii_digit()) && mode.starts_with(['2', '4', '6', '7']);
        // On a directory the setgid bit is about groups of new files.
        let directory = mode.starts_with('2') || command.args.iter().any(|arg| arg.text.ends_with('/'));
        let symbolic = mode
            .split(',')
            .any(|part| part.contains('+') && part.split('+').nth(1).is_some_and(|bits| bits.contains('s')));
        let group_only = symbolic && mode.split(',').all(|part| !part.contains('s') || part.starts_with('g'));
        if (octal && !directory) || symbolic && !group_only {
            report.add(at(command.span, "whoever starts this program gets the rights of its owner"));
        }
    }
}

static VOLUME: Rule = Rule {
    id: "DKL-DI-0002",
    group: Group::Image,
    severity: Severity::Error,
    summary: "VOLUME on a directory of the kernel",
    meaning: "`/dev`, `/proc` and `/sys` belong to the kernel; a volume over them hides what programs need, or shows them what they must not see.",
    bad: "FROM alpine:3.22\nVOLUME /proc\n",
    good: "FROM alpine:3.22\nVOLUME /data\n",
    check: Check::File(volume),
    ..PRACTICE
};

fn volume(view: &View<'_>, report: &mut Report<'_>) {
    for instruction in &view.file.instructions {
        let InstructionKind::Volume(paths) = &instruction.kind else { continue };
        let kernel = |path: &str| {
            ["/dev", "/proc", "/sys"].iter().any(|top| path == *top || path.starts_with(&format!("{top}/")))
        };
        for path in paths.iter().filter(|path| kernel(&path.text)) {
            report.add(
                at(path.span, format!("`{}` belongs to the kernel", path.text)).with_hint("choose another directory"),
            );
        }
    }
}

static DIST_UPGRADE: Rule = Rule {
    id: "DKL-DI-0003",
    group: Group::Image,
    summary: "dist-upgrade removes and replaces packages of the base image",
    meaning: "`apt-get dist-upgrade` may remove packages to bring others to their newest version, so that the image is no longer what its base \
              says, and every build is another one. Use a newer base image.",
    bad: "FROM debian:13 AS build\nRUN apt-get update && apt-get dist-upgrade -y\nFROM scratch\n",
    good: "FROM debian:13 AS build\nFROM scratch\n",
    check: Check::File(dist_upgrade),
    ..PRACTICE
};

fn dist_upgrade(view: &View<'_>, report: &mut Report<'_>) {
    let words = ["dist-upgrade", "full-upgrade"];
    for (_, command) in view.commands().filter(|(_, command)| managers::is(command, Manager::Apt, &words)) {
        report.add(
            at(command.span, "packages of the base image are removed and replaced").with_hint("use a newer base image"),
        );
    }
}
