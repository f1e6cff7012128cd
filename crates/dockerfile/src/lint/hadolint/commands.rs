//! Rules about what a RUN runs.

use super::HADOLINT;
use crate::Severity;
use crate::lint::commands::{Invocation, Run};
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Rule};
use crate::lint::shells::Shell;
use crate::lint::view::View;
use crate::shell::{Command, Link};

pub(super) static RULES: [&Rule; 8] =
    [&POINTLESS, &CD, &USERADD, &WGET_PROGRESS, &CONSECUTIVE, &BOTH_FETCHERS, &SH_LINK, &PIPEFAIL];

static POINTLESS: Rule = Rule {
    id: "DL3001",
    severity: Severity::Info,
    summary: "a command that makes no sense in a build",
    meaning: "`ssh`, `vim`, `shutdown`, `service`, `ps`, `free`, `top`, `kill`, `mount` and `ifconfig` act on a running system or wait for a \
              person. A build has neither: a service started in a `RUN` is gone at its end.",
    bad: "FROM debian:13\nRUN service nginx start\n",
    good: "FROM debian:13\nUSER 33\nCMD [\"nginx\", \"-g\", \"daemon off;\"]\n",
    check: Check::File(pointless),
    ..HADOLINT
};

const POINTLESS_COMMANDS: [&str; 10] =
    ["ssh", "vim", "shutdown", "service", "ps", "free", "top", "kill", "mount", "ifconfig"];

fn pointless(view: &View<'_>, report: &mut Report<'_>) {
    for (run, command) in view.commands().filter(|(_, command)| POINTLESS_COMMANDS.contains(&command.name.as_str())) {
        let with_key = command.name == "ssh" && run.run.flags.iter().any(|flag| flag.name.text == "mount");
        // A daemon that is started, used and stopped within one RUN has its use.
        let whole_life = matches!(command.name.as_str(), "service" | "kill") && run.commands.len() > 2;
        let asks = command.args.iter().any(|arg| matches!(arg.text.as_str(), "-V" | "--version" | "-0"));
        if !with_key && !whole_life && !asks {
            report.add(at(command.at, format!("`{}` makes no sense in a build", command.name)));
        }
    }
}

static CD: Rule = Rule {
    id: "DL3003",
    summary: "cd where WORKDIR is meant",
    meaning: "`cd` holds for its own `RUN` only. Where a `RUN` begins with it, `WORKDIR` says the same for all lines that follow, makes the \
              directory if it is missing, and shows in the image's config. A `cd` further on in a command is fine.",
    bad: "FROM alpine:3.22\nRUN cd /srv && make\n",
    good: "FROM alpine:3.22\nWORKDIR /srv\nRUN make\n",
    check: Check::File(cd),
    ..HADOLINT
};

fn cd(view: &View<'_>, report: &mut Report<'_>) {
    for run in &view.runs {
        let Some(first) = run.commands.first().filter(|first| first.name == "cd" && !first.nested) else { continue };
        let elsewhere = |command: &Invocation| matches!(command.name.as_str(), "cd" | "pushd" | "popd");
        let plain = first.args.first().is_some_and(|arg| arg.literal);
        // More than one is a walk through directories, a heredoc a script: neither is one WORKDIR.
        if plain && run.run.heredocs.is_empty() && !run.commands.iter().skip(1).any(elsewhere) {
            report.add(at(first.span, "this `cd` holds for one RUN only").with_hint("use WORKDIR"));
        }
    }
}

static USERADD: Rule = Rule {
    id: "DL3046",
    fixable: true,
    summary: "useradd with a high user id makes a huge file",
    meaning: "`useradd` writes to `/var/log/lastlog` at an offset that is the user id times some 300 bytes. The file is sparse on disk, but \
              many tools write all of it into the layer: gigabytes for an id of nine digits. `--no-log-init` (`-l`) leaves it out.",
    bad: "FROM debian:13\nRUN useradd -u 1234567 app\nUSER app\n",
    good: "FROM debian:13\nRUN useradd -l -u 1234567 app\nUSER app\n",
    check: Check::File(useradd),
    ..HADOLINT
};

fn useradd(view: &View<'_>, report: &mut Report<'_>) {
    for (_, command) in view.commands().filter(|(_, command)| command.name == "useradd") {
        let mut args = command.args.iter().map(|arg| arg.text.as_str());
        let id = args.clone().find_map(|arg| arg.strip_prefix("--uid=")).or_else(|| {
            args.find(|arg| {
                matches!(*arg, "--uid") || arg.starts_with('-') && !arg.starts_with("--") && arg.ends_with('u')
            })?;
            args.next()
        });
        if id.is_some_and(|id| id.len() > 5) && !command.has_flag(Some('l'), &["--no-log-init"]) {
            let fix = view.insert_after(command.at, "-l", true);
            report.add(
                at(command.span, "a high user id makes a huge /var/log/lastlog").with_hint("add `-l`").with_fix(fix),
            );
        }
    }
}

static WGET_PROGRESS: Rule = Rule {
    id: "DL3047",
    severity: Severity::Info,
    fixable: true,
    summary: "wget fills the log with its progress",
    meaning: "Without a terminal wget writes a line of dots for every 50 kB. `--progress=dot:giga` writes a line for every 32 MB, `-nv` one \
              for every file, `-q` none.",
    bad: "FROM alpine:3.22\nRUN wget https://example.com/a.tar\n",
    good: "FROM alpine:3.22\nRUN wget --progress=dot:giga https://example.com/a.tar\n",
    check: Check::File(wget_progress),
    ..HADOLINT
};

fn wget_progress(view: &View<'_>, report: &mut Report<'_>) {
    for (_, command) in view.commands().filter(|(_, command)| command.name == "wget") {
        let long = [
            "--progress",
            "--quiet",
            "--output-file",
            "--append-output",
            "--no-verbose",
            "-nv",
            "--version",
            "--help",
            "--spider",
        ];
        let short = ['q', 'o', 'a'].iter().any(|flag| command.has_flag(Some(*flag), &[]));
        if !short && !command.has_flag(None, &long) {
            let fix = view.insert_after(command.at, "--progress=dot:giga", false);
            report.add(
                at(command.span, "wget writes its progress into the log")
                    .with_hint("add `--progress=dot:giga` or `-nv`")
                    .with_fix(fix),
            );
        }
    }
}

static CONSECUTIVE: Rule = Rule {
    id: "DL3059",
    severity: Severity::Info,
    summary: "several RUNs in a row that could be one",
    meaning: "Each `RUN` makes a layer, and what one leaves behind the next cannot take back. Short ones that belong together are better as \
              one, with `&&` or a here-document. Steps that are slow or change at different times are better apart, for the cache.\n\n\
              Raised for three or more plain commands in a row, in a stage that ends up in the image.",
    bad: "FROM alpine:3.22\nRUN mkdir /a\nRUN mkdir /b\nRUN mkdir /c\n",
    good: "FROM alpine:3.22\nRUN mkdir /a /b /c\n",
    check: Check::File(consecutive),
    ..HADOLINT
};

fn consecutive(view: &View<'_>, report: &mut Report<'_>) {
    for (index, stage) in view.stages.iter().enumerate().filter(|(index, _)| view.is_in_image(*index)) {
        let is_plain =
            |run: &Run<'_>| run.run.flags.is_empty() && run.run.heredocs.is_empty() && run.commands.len() == 1;
        let plain = |instruction: &crate::ast::Instruction| {
            let run = view.runs.iter().find(|run| run.stage == index && run.instruction.span == instruction.span);
            run.is_some_and(is_plain)
        };
        for row in stage.instructions.chunk_by(|a, b| plain(a) && plain(b)).filter(|row| row.len() >= 3) {
            let Some(second) = row.get(1) else { continue };
            let message = format!("{} RUNs in a row make a layer each", row.len());
            report.add(at(second.keyword.span, message).with_hint("join those that belong together with `&&`"));
        }
    }
}

static BOTH_FETCHERS: Rule = Rule {
    id: "DL4001",
    summary: "both wget and curl are used",
    meaning: "One of them does the work of both; the other is a package more in the image to keep up to date.",
    bad: "FROM alpine:3.22\nRUN wget -q https://example.com/a && curl -fsSO https://example.com/b\n",
    good: "FROM alpine:3.22\nRUN curl -fsSO https://example.com/a -O https://example.com/b\n",
    check: Check::File(both_fetchers),
    ..HADOLINT
};

fn both_fetchers(view: &View<'_>, report: &mut Report<'_>) {
    for stage in 0..view.stages.len() {
        let of = |name: &str| view.commands().find(|(run, command)| run.stage == stage && command.name == name);
        if let (Some((_, wget)), Some((_, curl))) = (of("wget"), of("curl")) {
            let later = if wget.at.start > curl.at.start { wget } else { curl };
            report.add(at(later.at, "this stage uses both wget and curl").with_hint("use one of them"));
        }
    }
}

static SH_LINK: Rule = Rule {
    id: "DL4005",
    summary: "/bin/sh is replaced by a link",
    meaning: "Other programs in the image rely on `/bin/sh` being what the distribution made it. `SHELL` changes what runs the commands of \
              this file, and nothing else.",
    bad: "FROM debian:13\nRUN ln -sf /bin/bash /bin/sh\n",
    good: "FROM debian:13\nSHELL [\"/bin/bash\", \"-c\"]\n",
    check: Check::File(sh_link),
    ..HADOLINT
};

fn sh_link(view: &View<'_>, report: &mut Report<'_>) {
    for (_, command) in view.commands().filter(|(_, command)| command.name == "ln") {
        if command.operands(&[]).last().is_some_and(|arg| matches!(arg.text.as_str(), "/bin/sh" | "/usr/bin/sh")) {
            report.add(at(command.span, "/bin/sh is replaced for every program of the image").with_hint("use SHELL"));
        }
    }
}

static PIPEFAIL: Rule = Rule {
    id: "DL4006",
    summary: "a failure inside a pipeline goes unnoticed",
    meaning: "The shell takes the status of the last command: in `curl .. | tar x` a download that fails leaves the step successful if tar \
              is content. `SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]` before it, or `set -o pipefail` at the head of the command, \
              makes the step fail. The `sh` of Debian before 13 does not know the option; that of Alpine does.\n\nPipelines whose first \
              command can hardly fail (`echo`, `printf`, `cat` of a known file, `yes`) are left alone.",
    bad: "FROM debian:13\nRUN curl -fsSL https://example.com/a.tar.gz | tar -xz\n",
    good: "FROM debian:13\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN curl -fsSL https://example.com/a.tar.gz | tar -xz\n",
    check: Check::File(pipefail),
    ..HADOLINT
};

/// Programs that do not fail for reasons from outside.
const SAFE_SOURCES: [&str; 8] = ["echo", "printf", "yes", "true", "uname", "dpkg", "nproc", "id"];

fn pipefail(view: &View<'_>, report: &mut Report<'_>) {
    for run in &view.runs {
        let zsh_or_none = matches!(run.shell, Shell::Foreign) || run.shell.has_pipefail();
        if zsh_or_none || run.commands.iter().any(sets_pipefail) {
            continue;
        }
        for parsed in &run.scripts {
            for list in &parsed.script.lists {
                let guarded = list.pipelines.iter().any(|(link, _)| *link == Link::Or);
                for (_, pipeline) in list.pipelines.iter().filter(|_| !guarded) {
                    let [first, .., _] = pipeline.commands.as_slice() else { continue };
                    let name = match first {
                        Command::Simple(simple) => simple.words.first().map(|word| word.text().into_owned()),
                        Command::Compound(_) => None,
                    };
                    if name.is_some_and(|name| !SAFE_SOURCES.contains(&name.as_str())) {
                        let place = parsed.place(first.span());
                        let hint = "put `SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]` before it";
                        report.add(at(place, "if this fails, the pipeline may succeed nevertheless").with_hint(hint));
                    }
                }
            }
        }
    }
}

fn sets_pipefail(command: &Invocation) -> bool {
    command.name == "set" && command.has("pipefail") || command.args.iter().any(|arg| arg.text == "pipefail")
}
