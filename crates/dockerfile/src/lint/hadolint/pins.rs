//! Rules about versions of packages.

use super::HADOLINT;
use crate::Severity;
use crate::lint::commands::{Arg, Invocation};
use crate::lint::managers::{self, Manager};
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Rule};
use crate::lint::view::View;

pub(super) static RULES: [&Rule; 9] = [&APT, &APK, &YUM, &ZYPPER, &DNF, &PIP, &NPM, &GEM, &GO];

static APT: Rule = Rule {
    id: "DL3008",
    severity: Severity::Info,
    summary: "packages of apt are installed in whatever version there is",
    meaning: "Two builds of the same file install different versions. `package=version` pins one, but Debian and Ubuntu remove a version \
              from their archive when the next comes out, and then the build fails. Where builds must repeat, pin the base image by digest \
              and use a snapshot of the archive, or pin the versions and renew them by a tool.",
    bad: "FROM debian:13\nRUN apt-get update && apt-get install -y --no-install-recommends curl && rm -rf /var/lib/apt/lists/*\n",
    good: "FROM debian:13\nRUN apt-get update && apt-get install -y --no-install-recommends curl=8.14.1-2 && rm -rf /var/lib/apt/lists/*\n",
    check: Check::File(|view, report| unpinned(view, report, Manager::Apt, "package=version", apt_is_pinned)),
    ..HADOLINT
};

static APK: Rule = Rule {
    id: "DL3018",
    severity: Severity::Info,
    summary: "packages of apk are installed in whatever version there is",
    meaning: "Two builds of the same file install different versions. `package=version` pins one and `package~=1.2` a series; Alpine keeps \
              only the newest of each in a release, so an exact pin breaks with the next update.",
    bad: "FROM alpine:3.22\nRUN apk add --no-cache curl\n",
    good: "FROM alpine:3.22\nRUN apk add --no-cache curl~=8.14\n",
    check: Check::File(|view, report| unpinned(view, report, Manager::Apk, "package~=version", apk_is_pinned)),
    ..HADOLINT
};

static YUM: Rule = Rule {
    id: "DL3033",
    severity: Severity::Info,
    summary: "packages of yum are installed in whatever version there is",
    meaning: "Two builds of the same file install different versions. `package-version` pins one.",
    bad: "FROM centos:7\nRUN yum install -y curl && yum clean all\n",
    good: "FROM centos:7\nRUN yum install -y curl-7.29.0 && yum clean all\n",
    check: Check::File(|view, report| unpinned(view, report, Manager::Yum, "package-version", rpm_is_pinned)),
    ..HADOLINT
};

static ZYPPER: Rule = Rule {
    id: "DL3037",
    severity: Severity::Info,
    summary: "packages of zypper are installed in whatever version there is",
    meaning: "Two builds of the same file install different versions. `package=version` pins one.",
    bad: "FROM opensuse/leap:15.6\nRUN zypper install -y curl && zypper clean\n",
    good: "FROM opensuse/leap:15.6\nRUN zypper install -y curl=8.6.0 && zypper clean\n",
    check: Check::File(|view, report| unpinned(view, report, Manager::Zypper, "package=version", zypper_is_pinned)),
    ..HADOLINT
};

static DNF: Rule = Rule {
    id: "DL3041",
    severity: Severity::Info,
    summary: "packages of dnf are installed in whatever version there is",
    meaning: "Two builds of the same file install different versions. `package-version` pins one.",
    bad: "FROM fedora:42\nRUN dnf install -y curl && dnf clean all\n",
    good: "FROM fedora:42\nRUN dnf install -y curl-8.11.1 && dnf clean all\n",
    check: Check::File(|view, report| unpinned(view, report, Manager::Dnf, "package-version", rpm_is_pinned)),
    ..HADOLINT
};

static PIP: Rule = Rule {
    id: "DL3013",
    summary: "packages of pip are installed in whatever version there is",
    meaning: "Two builds of the same file install different versions, and a release made minutes ago reaches the image unread. Write \
              `package==version`, or better a requirements file with the whole set and its hashes (`pip install --require-hashes -r`).",
    bad: "FROM python:3.13-slim\nRUN pip install --no-cache-dir flask\n",
    good: "FROM python:3.13-slim\nRUN pip install --no-cache-dir flask==3.1.1\n",
    check: Check::File(pip),
    ..HADOLINT
};

static NPM: Rule = Rule {
    id: "DL3016",
    summary: "packages of npm are installed in whatever version there is",
    meaning: "Two builds of the same file install different versions, and a release made minutes ago reaches the image unread. Write \
              `package@version`; a project's own dependencies come from its lock file with `npm ci`.",
    bad: "FROM node:22-alpine\nRUN npm install -g serve\n",
    good: "FROM node:22-alpine\nRUN npm install -g serve@14.2.4\n",
    check: Check::File(|view, report| unpinned(view, report, Manager::Npm, "package@version", npm_is_pinned)),
    ..HADOLINT
};

static GEM: Rule = Rule {
    id: "DL3028",
    summary: "gems are installed in whatever version there is",
    meaning: "Two builds of the same file install different versions. Write `gem install name:version`, or use a `Gemfile.lock`.",
    bad: "FROM ruby:3.4-slim\nRUN gem install rake\n",
    good: "FROM ruby:3.4-slim\nRUN gem install rake:13.3.0\n",
    check: Check::File(gem),
    ..HADOLINT
};

static GO: Rule = Rule {
    id: "DL3062",
    summary: "a Go program is installed in whatever version there is",
    meaning: "`@latest` and names of branches mean another commit tomorrow. Write `module@v1.2.3`; without `@` the version comes from the \
              `go.mod` of the directory.",
    bad: "FROM golang:1.25\nRUN go install golang.org/x/tools/cmd/stringer@latest\n",
    good: "FROM golang:1.25\nRUN go install golang.org/x/tools/cmd/stringer@v0.34.0\n",
    check: Check::File(|view, report| unpinned(view, report, Manager::Go, "module@version", go_is_pinned)),
    ..HADOLINT
};

/// Reports each install once, with the packages that `is_pinned` does not accept.
fn unpinned(view: &View<'_>, report: &mut Report<'_>, manager: Manager, form: &str, is_pinned: fn(&str) -> bool) {
    for (_, command) in view.commands() {
        let Some((_, packages)) = managers::installed(command).filter(|(found, _)| *found == manager) else { continue };
        let wanted =
            |arg: &&Arg| !is_pinned(&arg.text) && !is_variable(arg) && !ALWAYS_CURRENT.contains(&arg.text.as_str());
        let open: Vec<&Arg> = packages.into_iter().filter(wanted).collect();
        add(report, &open, form);
    }
}

/// Data that is wrong when it is old: pinning it would be the mistake.
const ALWAYS_CURRENT: [&str; 3] = ["ca-certificates", "tzdata", "ca-certificates-bundle"];

fn add(report: &mut Report<'_>, open: &[&Arg], form: &str) {
    let Some(first) = open.first() else { return };
    let message = match open.len() {
        1 => format!("`{}` is installed in whatever version there is", first.text),
        2 => format!("`{}` and another package are installed in whatever version there is", first.text),
        more => format!("`{}` and {} other packages are installed in whatever version there is", first.text, more - 1),
    };
    report.add(at(first.span, message).with_hint(format!("pin the version: `{form}`")));
}

/// What it holds is not known.
fn is_variable(arg: &Arg) -> bool {
    !arg.literal && arg.text.starts_with(['$', '`'])
}

fn is_file(text: &str) -> bool {
    text.starts_with(['/', '.', '~']) || text.contains("://")
}

fn apt_is_pinned(text: &str) -> bool {
    text.contains(['=', '/']) || text.ends_with(".deb") || text.ends_with('-') && !text.ends_with("--")
}

fn apk_is_pinned(text: &str) -> bool {
    text.contains(['=', '<', '>', '~', '/']) || text.ends_with(".apk") || text.starts_with('!')
}

/// `name-version`, a module's stream, a group, or a file.
fn rpm_is_pinned(text: &str) -> bool {
    let versioned =
        text.split('-').skip(1).any(|part| part.starts_with(|ch: char| ch.is_ascii_digit()) && part.contains('.'));
    versioned || is_file(text) || text.contains(['@', ':', '=']) || text.ends_with(".rpm")
}

fn zypper_is_pinned(text: &str) -> bool {
    text.contains(['=', '<', '>']) || is_file(text) || text.ends_with(".rpm") || text.starts_with(['-', '!'])
}

fn npm_is_pinned(text: &str) -> bool {
    let version = text.get(1..).and_then(|rest| rest.rsplit_once('@')).map(|(_, version)| version);
    version.is_some_and(|version| !matches!(version, "latest" | "next" | "*" | ""))
        || is_file(text)
        || text.contains('#')
        || text.ends_with(".tgz")
        || text.starts_with("git@")
}

/// A module of the working directory, or one with a version.
fn go_is_pinned(text: &str) -> bool {
    match text.rsplit_once('@') {
        None => true,
        Some((_, version)) => !matches!(version, "latest" | "main" | "master" | "HEAD" | "upgrade" | "patch"),
    }
}

fn pip(view: &View<'_>, report: &mut Report<'_>) {
    for (_, command) in view.commands() {
        let Some((_, packages)) = managers::installed(command).filter(|(found, _)| *found == Manager::Pip) else {
            continue;
        };
        let constrained = command.args.iter().any(|arg| {
            matches!(arg.text.as_str(), "-c" | "--constraint" | "--no-deps" | "--no-index")
                || arg.text.starts_with("--constraint=")
        });
        let open: Vec<&Arg> =
            packages.into_iter().filter(|arg| !pip_is_pinned(&arg.text) && !is_variable(arg)).collect();
        add(report, if constrained { &[] } else { &open }, "package==version");
    }
}

fn pip_is_pinned(text: &str) -> bool {
    ["==", "~=", ">=", "<=", "@", "://"].iter().any(|mark| text.contains(mark))
        || text.contains(['/', '<', '>'])
        || text.starts_with('.')
        || [".whl", ".zip", ".tar.gz", ".txt"].iter().any(|end| text.ends_with(end))
}

fn gem(view: &View<'_>, report: &mut Report<'_>) {
    for (_, command) in view.commands() {
        let Some((_, packages)) = managers::installed(command).filter(|(found, _)| *found == Manager::Gem) else {
            continue;
        };
        let open: Vec<&Arg> =
            packages.into_iter().filter(|arg| !gem_is_pinned(&arg.text) && !is_variable(arg)).collect();
        add(report, if has_gem_version(command) { &[] } else { &open }, "name:version");
    }
}

fn gem_is_pinned(text: &str) -> bool {
    text.contains(':') || text.ends_with(".gem")
}

fn has_gem_version(command: &Invocation) -> bool {
    command.args.iter().any(|arg| {
        matches!(arg.text.as_str(), "-v" | "--version" | "-g" | "--file") || arg.text.starts_with("--version=")
    })
}
