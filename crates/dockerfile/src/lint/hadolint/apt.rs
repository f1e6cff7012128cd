//! Rules about apt.

use super::HADOLINT;
use crate::Severity;
use crate::lint::managers::{self, Manager};
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Rule};
use crate::lint::view::View;

pub(super) static RULES: [&Rule; 4] = [&LISTS, &YES, &RECOMMENDS, &APT];

static LISTS: Rule = Rule {
    id: "DL3009",
    aliases: &["DKL-DI-0005"],
    severity: Severity::Info,
    fixable: true,
    summary: "apt's package lists stay in the layer",
    meaning: "`apt-get update` downloads the lists of all packages, some 20 to 40 MB, which are old by the time anyone uses the image. \
              Remove them in the same `RUN`: a later one hides them, but they stay in the layer.\n\nA cache mount at \
              `/var/lib/apt/lists` keeps them out of the image and makes the next build faster.",
    bad: "FROM debian:13\nRUN apt-get update && apt-get install -y --no-install-recommends curl=8.14.1-2\n",
    good: "FROM debian:13\nRUN apt-get update && apt-get install -y --no-install-recommends curl=8.14.1-2 && rm -rf /var/lib/apt/lists/*\n",
    check: Check::File(lists),
    ..HADOLINT
};

fn lists(view: &View<'_>, report: &mut Report<'_>) {
    for run in view.runs.iter().filter(|run| view.is_in_image(run.stage)) {
        let update = run.commands.iter().rfind(|command| managers::is(command, Manager::Apt, &["update"]));
        let Some(update) = update.filter(|_| !managers::has_mount_at(run, "/var/lib/apt/lists")) else { continue };
        let removes = |arg: &str| arg.contains("/var/lib/apt") || arg == "/var/lib/" || arg.starts_with("/var/lib/*");
        let cleaned = run.commands.iter().any(|command| {
            matches!(command.name.as_str(), "rm" | "find") && command.args.iter().any(|arg| removes(&arg.text))
                || command.name == "install_packages"
        });
        if !cleaned {
            let last = run
                .commands
                .last()
                .filter(|last| !last.nested && run.scripts.len() == 1 && run.run.heredocs.is_empty());
            let fix = last.and_then(|last| view.insert_after(last.span, "&& rm -rf /var/lib/apt/lists/*", false));
            let finding = at(update.span, "the package lists of apt stay in the image");
            report.add(
                finding
                    .with_hint("end the RUN with `rm -rf /var/lib/apt/lists/*`, or mount a cache there")
                    .with_fix(fix),
            );
        }
    }
}

static YES: Rule = Rule {
    id: "DL3014",
    fixable: true,
    summary: "apt-get install asks a question that nobody answers",
    meaning: "Without `-y`, apt-get asks before it installs more than it was told to; a build has no one to answer, so it stops.",
    bad: "FROM debian:13\nRUN apt-get update && apt-get install --no-install-recommends curl=8.14.1-2 && rm -rf /var/lib/apt/lists/*\n",
    good: "FROM debian:13\nRUN apt-get update && apt-get install -y --no-install-recommends curl=8.14.1-2 && rm -rf /var/lib/apt/lists/*\n",
    check: Check::File(yes),
    ..HADOLINT
};

fn yes(view: &View<'_>, report: &mut Report<'_>) {
    for (run, command) in view.commands() {
        if !managers::installs(command, Manager::Apt) || command.name == "aptitude" {
            continue;
        }
        let quiet = command
            .args
            .iter()
            .filter(|arg| is_cluster(&arg.text))
            .map(|arg| arg.text.matches('q').count())
            .sum::<usize>();
        let option =
            command.args.iter().any(|arg| arg.text.to_lowercase().contains("assume-yes") || arg.text == "-q=2");
        let piped_yes = run.commands.iter().any(|other| other.name == "yes" && other.pipeline.0 == command.pipeline.0);
        let unknown = command
            .args
            .iter()
            .any(|arg| !arg.literal && arg.text.starts_with('$') && arg.text.to_lowercase().contains("opt"));
        if command.has_flag(Some('y'), &["--yes"]) || quiet > 1 || option || piped_yes || unknown {
            continue;
        }
        let install = command.args.iter().find(|arg| arg.text == "install");
        let fix = install.and_then(|arg| view.insert_after(arg.span, "-y", true));
        report.add(
            at(command.span, "apt-get asks for a confirmation that nobody gives").with_hint("add `-y`").with_fix(fix),
        );
    }
}

fn is_cluster(text: &str) -> bool {
    text.starts_with('-') && !text.starts_with("--")
}

static RECOMMENDS: Rule = Rule {
    id: "DL3015",
    severity: Severity::Info,
    fixable: true,
    summary: "apt-get installs recommended packages",
    meaning: "Debian's packages recommend others for comfort on a desktop: fonts, documentation, whole toolchains. In an image they are \
              weight and surface. `--no-install-recommends` leaves them out; name those that you do need.",
    bad: "FROM debian:13\nRUN apt-get update && apt-get install -y curl=8.14.1-2 && rm -rf /var/lib/apt/lists/*\n",
    good: "FROM debian:13\nRUN apt-get update && apt-get install -y --no-install-recommends curl=8.14.1-2 && rm -rf /var/lib/apt/lists/*\n",
    check: Check::File(recommends),
    ..HADOLINT
};

fn recommends(view: &View<'_>, report: &mut Report<'_>) {
    for (run, command) in view.commands() {
        let no = |arg: &str| {
            let lower = arg.to_lowercase();
            lower == "--no-install-recommends"
                || lower.contains("install-recommends=false")
                || lower.contains("install-recommends=0")
        };
        let configured = run.commands.iter().any(|other| {
            other.args.iter().any(|arg| arg.text.to_lowercase().contains("apt::install-recommends"))
                || other.name == "install_packages"
        });
        if managers::installs(command, Manager::Apt) && !configured && !command.args.iter().any(|arg| no(&arg.text)) {
            let install = command.args.iter().find(|arg| arg.text == "install");
            let fix = install.and_then(|arg| view.insert_after(arg.span, "--no-install-recommends", false));
            let finding = at(command.span, "recommended packages are installed too");
            report.add(finding.with_hint("add `--no-install-recommends`").with_fix(fix));
        }
    }
}

static APT: Rule = Rule {
    id: "DL3027",
    fixable: true,
    summary: "apt is for people, apt-get for scripts",
    meaning: "`apt` says itself that its command line is not stable: its output and its defaults change between releases. `apt-get` and \
              `apt-cache` keep theirs.",
    bad: "FROM debian:13\nRUN apt update && apt-get install -y --no-install-recommends curl=8.14.1-2 && rm -rf /var/lib/apt/lists/*\n",
    good: "FROM debian:13\nRUN apt-get update && apt-get install -y --no-install-recommends curl=8.14.1-2 && rm -rf /var/lib/apt/lists/*\n",
    check: Check::File(apt),
    ..HADOLINT
};

fn apt(view: &View<'_>, report: &mut Report<'_>) {
    for (_, command) in view.commands().filter(|(_, command)| command.name == "apt") {
        let same = ["update", "install", "remove", "purge", "autoremove", "autoclean", "clean", "upgrade"];
        let first = command.operands(&["-t", "-o", "-c"]).first().map(|arg| arg.text.clone()).unwrap_or_default();
        // `apt upgrade` installs new packages where `apt-get upgrade` does not.
        let fix = same
            .contains(&first.as_str())
            .then(|| view.replace(command.at, "use apt-get", "apt-get".to_owned(), first != "upgrade"));
        let fix = fix.flatten().filter(|_| view.at(command.at) == Some("apt"));
        report.add(
            at(command.at, "the command line of apt may change")
                .with_hint("use `apt-get` or `apt-cache`")
                .with_fix(fix),
        );
    }
}
