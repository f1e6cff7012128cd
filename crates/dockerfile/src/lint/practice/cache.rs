//! Rules about the order of steps, so that the cache can serve them.

use super::PRACTICE;
use crate::Severity;
use crate::ast::{Copy, Instruction, InstructionKind};
use crate::lint::commands::{Invocation, Run};
use crate::lint::managers::{self, Manager};
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Rule};
use crate::lint::view::View;

pub(super) static RULES: [&Rule; 3] = [&COPY_FIRST, &NO_CACHE_MOUNT, &NPM_INSTALL];

static COPY_FIRST: Rule = Rule {
    id: "CO1101",
    summary: "all sources are copied before the dependencies are installed",
    meaning: "A step is repeated when anything before it changed. `COPY . .` changes with every commit, so the dependencies after it are \
              fetched again every time. Copy the files that name them first (`package.json` and the lock file, `requirements.txt`, `go.mod` \
              and `go.sum`), install, and copy the rest after that; or give the step a cache mount.",
    bad: "FROM node:22-alpine AS build\nWORKDIR /app\nCOPY . .\nRUN npm ci\n",
    good: "FROM node:22-alpine AS build\nWORKDIR /app\nCOPY package.json package-lock.json ./\nRUN npm ci\nCOPY . .\n",
    check: Check::File(copy_first),
    ..PRACTICE
};

/// The whole context is a source of it.
pub(super) fn copies_context(copy: &Copy) -> bool {
    let elsewhere = copy.flags.iter().any(|flag| flag.name.text == "from");
    !elsewhere && copy.sources.iter().any(|source| matches!(source.text.as_str(), "." | "./" | "/" | "./." | "*"))
}

fn copy_first(view: &View<'_>, report: &mut Report<'_>) {
    for (index, stage) in view.stages.iter().enumerate() {
        let mut copied: Option<&Instruction> = None;
        let mut fetched: Vec<&str> = Vec::new();
        for instruction in stage.instructions {
            if let InstructionKind::Copy(copy) | InstructionKind::Add(copy) = &instruction.kind
                && copies_context(copy)
            {
                copied.get_or_insert(instruction);
            }
            let Some(run) = view.runs.iter().find(|run| run.stage == index && run.instruction.span == instruction.span)
            else {
                continue;
            };
            for (tool, command) in run.commands.iter().filter_map(|command| Some((fetches(command)?, command))) {
                let first_time = !fetched.contains(&tool);
                fetched.push(tool);
                if let Some(copy) = copied.filter(|_| first_time && managers::mounts(run).next().is_none()) {
                    let message = format!("every change of a source file makes `{tool}` fetch the dependencies again");
                    let lines = format!("line {} copies all sources before it", copy.lines.0);
                    report.add(
                        at(command.span, message).with_hint(format!("{lines}: copy what names the dependencies first")),
                    );
                }
            }
        }
    }
}

/// The tool, if the command fetches the dependencies that a project's files name.
fn fetches(command: &Invocation) -> Option<&'static str> {
    let words = command.operands(&[
        "-f",
        "--file",
        "-C",
        "--prefix",
        "-pl",
        "--manifest-path",
        "-o",
        "-ldflags",
        "-tags",
        "--target",
    ]);
    let first = words.first().map_or("", |arg| arg.text.as_str());
    let alone = words.len() == 1;
    let found = match command.name.as_str() {
        "npm" => (matches!(first, "ci" | "install" | "i" | "clean-install") && alone).then_some("npm"),
        "yarn" => ((words.is_empty() || first == "install") && !command.has_flag(None, &["--version", "-v"]))
            .then_some("yarn"),
        "pnpm" => (matches!(first, "install" | "i") && alone).then_some("pnpm"),
        "bun" => (matches!(first, "install" | "i") && alone).then_some("bun"),
        "go" => (matches!(first, "mod" | "build" | "get") && !command.has("-mod=vendor")).then_some("go"),
        "cargo" => matches!(first, "build" | "fetch" | "install").then_some("cargo"),
        "mvn" | "mvnw" => (!words.is_empty() && !command.has_flag(Some('o'), &["--offline"])).then_some("mvn"),
        "gradle" | "gradlew" => (!words.is_empty() && !command.has("--offline")).then_some("gradle"),
        "bundle" => (first == "install" || words.is_empty()).then_some("bundle"),
        "composer" => (first == "install").then_some("composer"),
        "poetry" => (first == "install").then_some("poetry"),
        "uv" => (first == "sync").then_some("uv"),
        "dotnet" => matches!(first, "restore" | "publish" | "build").then_some("dotnet"),
        _ => (managers::installs(command, Manager::Pip) && reads_requirements(command)).then_some("pip"),
    };
    found.filter(|_| command.name != "go" || first != "mod" || command.has("download") || command.has("tidy"))
}

fn reads_requirements(command: &Invocation) -> bool {
    command.args.iter().any(|arg| arg.text.starts_with("-r") || arg.text.starts_with("--requirement"))
}

static NO_CACHE_MOUNT: Rule = Rule {
    id: "CO1102",
    severity: Severity::Info,
    enabled: false,
    summary: "dependencies are installed without a cache mount",
    meaning: "A cache mount keeps what was downloaded and compiled between builds, outside of the image: \
              `RUN --mount=type=cache,target=/root/.npm npm ci`. It makes a build after a change of the dependencies fast, too. Off by \
              default: it is advice, not a defect.",
    bad: "FROM node:22-alpine\nWORKDIR /app\nCOPY package.json package-lock.json ./\nRUN npm ci\n",
    good: "FROM node:22-alpine\nWORKDIR /app\nCOPY package.json package-lock.json ./\nRUN --mount=type=cache,target=/root/.npm npm ci\n",
    check: Check::File(no_cache_mount),
    ..PRACTICE
};

fn no_cache_mount(view: &View<'_>, report: &mut Report<'_>) {
    let bare = |run: &&Run<'_>| managers::mounts(run).next().is_none();
    for run in view.runs.iter().filter(bare) {
        if let Some((tool, command)) = run.commands.iter().find_map(|command| Some((fetches(command)?, command))) {
            let message = format!("`{tool}` downloads everything again whenever this step is repeated");
            report.add(at(command.span, message).with_hint("add `--mount=type=cache,target=<its cache directory>`"));
        }
    }
}

static NPM_INSTALL: Rule = Rule {
    id: "CO1103",
    severity: Severity::Info,
    fixable: true,
    summary: "npm install where npm ci is meant",
    meaning: "`npm install` may change the lock file and install other versions than it says. `npm ci` installs exactly what the lock file \
              says and fails if it does not fit `package.json`.\n\nRaised where the file copies the lock file.",
    bad: "FROM node:22-alpine\nWORKDIR /app\nCOPY package.json package-lock.json ./\nRUN npm install\n",
    good: "FROM node:22-alpine\nWORKDIR /app\nCOPY package.json package-lock.json ./\nRUN npm ci\n",
    check: Check::File(npm_install),
    ..PRACTICE
};

fn npm_install(view: &View<'_>, report: &mut Report<'_>) {
    for (run, command) in view.commands().filter(|(_, command)| managers::is(command, Manager::Npm, &["install", "i"]))
    {
        let Some(stage) = view.stages.get(run.stage) else { continue };
        let locked = stage.instructions.iter().any(|instruction| match &instruction.kind {
            InstructionKind::Copy(copy) => copy.sources.iter().any(|source| source.text.ends_with("package-lock.json")),
            _ => false,
        });
        let alone = managers::installed(command).is_some_and(|(_, packages)| packages.is_empty());
        let global = command.has_flag(Some('g'), &["--global"]);
        if locked && alone && !global {
            let word = command.args.iter().find(|arg| matches!(arg.text.as_str(), "install" | "i"));
            let fix = word.and_then(|arg| view.replace(arg.span, "use npm ci", "ci".to_owned(), false));
            let finding = at(command.span, "npm may install other versions than the lock file says");
            report.add(finding.with_hint("use `npm ci`").with_fix(fix));
        }
    }
}
