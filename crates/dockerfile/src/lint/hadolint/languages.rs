//! Rules about caches of language package managers.

use super::HADOLINT;
use crate::Severity;
use crate::ast::InstructionKind;
use crate::lint::commands::Run;
use crate::lint::managers::{self, Manager};
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Rule};
use crate::lint::view::View;

pub(super) static RULES: [&Rule; 2] = [&PIP_CACHE, &YARN_CACHE];

static PIP_CACHE: Rule = Rule {
    id: "DL3042",
    fixable: true,
    summary: "pip's cache stays in the layer",
    meaning: "pip keeps what it downloads and builds in `~/.cache/pip`, often as much again as what it installs. Say `--no-cache-dir`, or \
              better mount a cache: `RUN --mount=type=cache,target=/root/.cache/pip pip install ..` keeps it between builds and out of \
              the image.",
    bad: "FROM python:3.13-slim\nRUN pip install flask==3.1.1\n",
    good: "FROM python:3.13-slim\nRUN --mount=type=cache,target=/root/.cache/pip pip install flask==3.1.1\n",
    check: Check::File(pip_cache),
    ..HADOLINT
};

fn pip_cache(view: &View<'_>, report: &mut Report<'_>) {
    for (run, command) in view.commands().filter(|(run, _)| view.is_in_image(run.stage)) {
        let off = |value: &str| !matches!(value.to_lowercase().as_str(), "0" | "false" | "no" | "off" | "");
        let assigned = command.assignments.iter().any(|(name, value)| name == "PIP_NO_CACHE_DIR" && off(value));
        let flagged = command.has_flag(None, &["--no-cache-dir", "--no-cache"]);
        if managers::installs(command, Manager::Pip) && !flagged && !assigned && !cached_elsewhere(view, run, off) {
            let install = command.args.iter().find(|arg| arg.text == "install");
            let fix = install.and_then(|arg| view.insert_after(arg.span, "--no-cache-dir", false));
            let hint = "add `--no-cache-dir`, or mount a cache at /root/.cache/pip";
            report.add(at(command.span, "pip leaves its cache in the image").with_hint(hint).with_fix(fix));
        }
    }
}

/// The environment or a mount keeps the cache out of the layer.
fn cached_elsewhere(view: &View<'_>, run: &Run<'_>, off: impl Fn(&str) -> bool) -> bool {
    let mounted =
        managers::mounts(run).any(|target| target.contains("pip") || target.trim_end_matches('/').ends_with(".cache"));
    let cleaned = run.commands.iter().any(|command| {
        command.name == "rm" && command.args.iter().any(|arg| arg.text.contains(".cache"))
            || managers::is(command, Manager::Pip, &["cache"])
    });
    let stages = view.lineage(run.stage).into_iter().filter_map(|stage| view.stages.get(stage));
    let mut set =
        stages.flat_map(|stage| stage.instructions).filter(|other| other.span.start < run.instruction.span.start);
    mounted
        || cleaned
        || set.any(|instruction| match &instruction.kind {
            InstructionKind::Env(pairs) => pairs
                .pairs
                .iter()
                .any(|(key, value)| key.text == "PIP_NO_CACHE_DIR" && off(value.text.trim_matches('"'))),
            _ => false,
        })
}

static YARN_CACHE: Rule = Rule {
    id: "DL3060",
    severity: Severity::Info,
    summary: "yarn's cache stays in the layer",
    meaning: "yarn keeps every package it downloads. Run `yarn cache clean` in the same `RUN`, or mount a cache at yarn's cache directory.",
    bad: "FROM node:22-alpine\nWORKDIR /app\nCOPY package.json yarn.lock ./\nRUN yarn install --frozen-lockfile\n",
    good: "FROM node:22-alpine\nWORKDIR /app\nCOPY package.json yarn.lock ./\nRUN yarn install --frozen-lockfile && yarn cache clean\n",
    check: Check::File(yarn_cache),
    ..HADOLINT
};

fn yarn_cache(view: &View<'_>, report: &mut Report<'_>) {
    for run in view.runs.iter().filter(|run| view.is_in_image(run.stage)) {
        let Some(install) = run.commands.iter().rfind(|command| managers::is(command, Manager::Yarn, &["install"]))
        else {
            continue;
        };
        let cleans = run.commands.iter().any(|command| {
            managers::is(command, Manager::Yarn, &["cache"])
                || command.name == "rm"
                    && command.args.iter().any(|arg| arg.text.contains("cache") || arg.text.contains("yarn"))
        });
        let mounted = managers::mounts(run)
            .any(|target| target.contains("yarn") || target.trim_end_matches('/').ends_with(".cache"));
        if !cleans && !mounted {
            let hint = "end the RUN with `yarn cache clean`, or mount a cache at yarn's cache directory";
            report.add(at(install.span, "yarn leaves its cache in the image").with_hint(hint));
        }
    }
}
