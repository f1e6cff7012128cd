//! Rules about apk, yum, dnf and zypper: questions and caches.

use super::HADOLINT;
use crate::Severity;
use crate::lint::managers::{self, Manager};
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Rule};
use crate::lint::view::View;

pub(super) static RULES: [&Rule; 8] =
    [&APK_CACHE, &YUM_YES, &YUM_CLEAN, &ZYPPER_YES, &ZYPPER_UPGRADE, &ZYPPER_CLEAN, &DNF_YES, &DNF_CLEAN];

static APK_CACHE: Rule = Rule {
    id: "DL3019",
    aliases: &["DKL-DI-0004"],
    severity: Severity::Info,
    fixable: true,
    summary: "apk keeps its index in the layer",
    meaning: "`apk add` after `apk update` leaves the package index in `/var/cache/apk`. `apk add --no-cache` fetches it for the one \
              command and keeps nothing; `apk update` is then not needed.",
    bad: "FROM alpine:3.22\nRUN apk add curl~=8.14\n",
    good: "FROM alpine:3.22\nRUN apk add --no-cache curl~=8.14\n",
    check: Check::File(apk_cache),
    ..HADOLINT
};

fn apk_cache(view: &View<'_>, report: &mut Report<'_>) {
    for (run, command) in view.commands().filter(|(run, _)| view.is_in_image(run.stage)) {
        let cleaned = || {
            run.commands
                .iter()
                .any(|other| other.name == "rm" && other.args.iter().any(|arg| arg.text.contains("/var/cache/apk")))
                || managers::has_mount_at(run, "/var/cache/apk")
                || managers::has_mount_at(run, "/etc/apk/cache")
        };
        if managers::installs(command, Manager::Apk) && !command.has_flag(None, &["--no-cache"]) && !cleaned() {
            let add = command.args.iter().find(|arg| arg.text == "add");
            // A cache that was filled before, or packages without a network, need the cache.
            let fix = add.and_then(|arg| view.insert_after(arg.span, "--no-cache", false));
            report.add(
                at(command.span, "apk leaves its index in the image")
                    .with_hint("use `apk add --no-cache`")
                    .with_fix(fix),
            );
        }
    }
}

static YUM_YES: Rule = Rule {
    id: "DL3030",
    fixable: true,
    summary: "yum install asks a question that nobody answers",
    meaning: "Without `-y`, yum asks before it installs; a build has no one to answer, so it stops.",
    bad: "FROM centos:7\nRUN yum install curl-7.29.0 && yum clean all\n",
    good: "FROM centos:7\nRUN yum install -y curl-7.29.0 && yum clean all\n",
    check: Check::File(|view, report| yes(view, report, Manager::Yum)),
    ..HADOLINT
};

static DNF_YES: Rule = Rule {
    id: "DL3038",
    fixable: true,
    summary: "dnf install asks a question that nobody answers",
    meaning: "Without `-y`, dnf asks before it installs; a build has no one to answer, so it stops.",
    bad: "FROM fedora:42\nRUN dnf install curl-8.11.1 && dnf clean all\n",
    good: "FROM fedora:42\nRUN dnf install -y curl-8.11.1 && dnf clean all\n",
    check: Check::File(|view, report| yes(view, report, Manager::Dnf)),
    ..HADOLINT
};

static ZYPPER_YES: Rule = Rule {
    id: "DL3034",
    fixable: true,
    summary: "zypper install asks a question that nobody answers",
    meaning: "Without `-n` (before the subcommand) or `-y` (after it), zypper asks before it installs; a build has no one to answer.",
    bad: "FROM opensuse/leap:15.6\nRUN zypper install curl=8.6.0 && zypper clean\n",
    good: "FROM opensuse/leap:15.6\nRUN zypper install -y curl=8.6.0 && zypper clean\n",
    check: Check::File(|view, report| yes(view, report, Manager::Zypper)),
    ..HADOLINT
};

fn yes(view: &View<'_>, report: &mut Report<'_>, manager: Manager) {
    for (_, command) in view.commands().filter(|(_, command)| managers::installs(command, manager)) {
        let flags = ["--yes", "--assumeyes", "--no-confirm", "--non-interactive", "-n"];
        // microdnf's clusters and zypper's `-n` count too.
        if command.has_flag(Some('y'), &flags) {
            continue;
        }
        let install = command
            .args
            .iter()
            .find(|arg| matches!(arg.text.as_str(), "install" | "in" | "localinstall" | "groupinstall"));
        let fix = install.and_then(|arg| view.insert_after(arg.span, "-y", true));
        let message = format!("{} asks for a confirmation that nobody gives", command.name);
        report.add(at(command.span, message).with_hint("add `-y`").with_fix(fix));
    }
}

static YUM_CLEAN: Rule = Rule {
    id: "DL3032",
    summary: "yum's cache stays in the layer",
    meaning: "yum keeps lists and packages in `/var/cache/yum`. Remove them with `yum clean all` in the same `RUN`, or mount a cache there.",
    bad: "FROM centos:7\nRUN yum install -y curl-7.29.0\n",
    good: "FROM centos:7\nRUN yum install -y curl-7.29.0 && yum clean all\n",
    check: Check::File(|view, report| clean(view, report, Manager::Yum, &["/var/cache/yum"], "yum clean all")),
    ..HADOLINT
};

static DNF_CLEAN: Rule = Rule {
    id: "DL3040",
    summary: "dnf's cache stays in the layer",
    meaning: "dnf keeps lists and packages in `/var/cache/dnf`. Remove them with `dnf clean all` in the same `RUN`, or mount a cache there.",
    bad: "FROM fedora:42\nRUN dnf install -y curl-8.11.1\n",
    good: "FROM fedora:42\nRUN dnf install -y curl-8.11.1 && dnf clean all\n",
    check: Check::File(|view, report| {
        clean(
            view,
            report,
            Manager::Dnf,
            &["/var/cache/dnf", "/var/cache/libdnf5", "/var/cache/yum", "/var/cache/tdnf"],
            "dnf clean all",
        );
    }),
    ..HADOLINT
};

static ZYPPER_CLEAN: Rule = Rule {
    id: "DL3036",
    summary: "zypper's cache stays in the layer",
    meaning: "zypper keeps lists and packages in `/var/cache/zypp`. Remove them with `zypper clean` in the same `RUN`, or mount a cache there.",
    bad: "FROM opensuse/leap:15.6\nRUN zypper install -y curl=8.6.0\n",
    good: "FROM opensuse/leap:15.6\nRUN zypper install -y curl=8.6.0 && zypper clean\n",
    check: Check::File(|view, report| clean(view, report, Manager::Zypper, &["/var/cache/zypp"], "zypper clean --all")),
    ..HADOLINT
};

fn clean(view: &View<'_>, report: &mut Report<'_>, manager: Manager, caches: &[&str], remedy: &str) {
    for run in view.runs.iter().filter(|run| view.is_in_image(run.stage)) {
        let Some(install) = run.commands.iter().rfind(|command| managers::installs(command, manager)) else { continue };
        let cleans = run.commands.iter().any(|command| {
            managers::is(command, manager, &["clean", "cc"])
                || command.name == "rm" && command.args.iter().any(|arg| arg.text.starts_with("/var/cache"))
        });
        if !cleans && !caches.iter().any(|cache| managers::has_mount_at(run, cache)) {
            let message = format!("{} leaves its cache in the image", install.name);
            report.add(
                at(install.span, message)
                    .with_hint(format!("end the RUN with `{remedy}`, or mount a cache at {}", caches[0])),
            );
        }
    }
}

static ZYPPER_UPGRADE: Rule = Rule {
    id: "DL3035",
    summary: "zypper dist-upgrade moves to another release",
    meaning: "`dist-upgrade` may replace the whole distribution, so that the image is no longer what its base says. Use a newer base image.",
    bad: "FROM opensuse/leap:15.6\nRUN zypper -n dist-upgrade && zypper clean\n",
    good: "FROM opensuse/leap:16.0\n",
    check: Check::File(zypper_upgrade),
    ..HADOLINT
};

fn zypper_upgrade(view: &View<'_>, report: &mut Report<'_>) {
    for (_, command) in
        view.commands().filter(|(_, command)| managers::is(command, Manager::Zypper, &["dist-upgrade", "dup"]))
    {
        report.add(at(command.span, "zypper may replace the whole distribution").with_hint("use a newer base image"));
    }
}
