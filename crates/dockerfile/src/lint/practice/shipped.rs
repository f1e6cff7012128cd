//! Rules about the image that is shipped: who it runs as, what it carries, what its process 1 is.

use super::PRACTICE;
use crate::Severity;
use crate::ast::{Command, Instruction, InstructionKind};
use crate::lint::managers::{self, Manager};
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Rule};
use crate::lint::shells::Shell;
use crate::lint::view::{Base, View};

pub(super) static RULES: [&Rule; 5] = [&NO_USER, &NO_DIGEST, &BUILD_TOOLS, &WORLD_WRITABLE, &NPM_START];

/// The first CMD or ENTRYPOINT of the image: an image that says what it runs is one that is shipped.
fn start<'a>(view: &View<'a>) -> Option<&'a Instruction> {
    let own = view.target.and_then(|target| view.stages.get(target))?;
    own.instructions
        .iter()
        .find(|instruction| matches!(instruction.kind, InstructionKind::Cmd(_) | InstructionKind::Entrypoint(_)))
}

static NO_USER: Rule = Rule {
    id: "CO1801",
    aliases: &["CIS-DI-0001"],
    summary: "the container runs as root",
    meaning: "Without `USER` the program runs as root, which owns everything in its container; a hole in the program or the kernel is then a \
              short way to the host. Make a user and end with `USER 1000`.\n\nRaised for images that say what they run. Base images whose name \
              says `nonroot` or `rootless` have a user of their own.",
    bad: "FROM alpine:3.22\nCOPY app /usr/local/bin/\nCMD [\"app\"]\n",
    good: "FROM alpine:3.22\nCOPY app /usr/local/bin/\nUSER 1000\nCMD [\"app\"]\n",
    check: Check::File(no_user),
    ..PRACTICE
};

fn no_user(view: &View<'_>, report: &mut Report<'_>) {
    let (Some(start), Some(target)) = (start(view), view.target) else { return };
    let has_user = view.image_instructions().any(|instruction| matches!(instruction.kind, InstructionKind::User(_)));
    let base = view.base_image(target).map(|image| image.text.to_lowercase()).unwrap_or_default();
    let known = ["nonroot", "rootless", "unprivileged", "$"].iter().any(|word| base.contains(word));
    // A program that drops its rights itself.
    let drops = ["gosu", "su-exec", "setpriv", "s6-"].iter().any(|word| start.original.contains(word));
    // On Windows, programs do not run as an administrator by default.
    let windows = view.base_image(target).is_some_and(|image| Shell::of_base(image) == Shell::Foreign);
    if !has_user && !known && !drops && !windows {
        report.add(at(start.keyword.span, "this runs as root").with_hint("end the stage with an ordinary USER"));
    }
}

static NO_DIGEST: Rule = Rule {
    id: "CO1802",
    severity: Severity::Info,
    enabled: false,
    summary: "the base image is not pinned by digest",
    meaning: "A tag can be moved to another image. `name:tag@sha256:..` names one image for ever, so that builds repeat and nobody can put \
              another one under it. Off by default: it needs a tool that renews the digests.",
    bad: "FROM alpine:3.22\n",
    good: "FROM alpine:3.22@sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d\n",
    check: Check::File(no_digest),
    ..PRACTICE
};

fn no_digest(view: &View<'_>, report: &mut Report<'_>) {
    let images = view.stages.iter().filter(|stage| stage.base == Base::Image).map(|stage| &stage.from.image);
    for image in images.filter(|image| !image.text.contains(['@', '$'])) {
        let message = format!("`{}` may be another image tomorrow", image.text);
        report.add(at(image.span, message).with_hint(format!("write `{}@sha256:<digest>`", image.text)));
    }
}

static BUILD_TOOLS: Rule = Rule {
    id: "CO1803",
    severity: Severity::Info,
    summary: "the image carries the tools that built it",
    meaning: "A compiler in the image is weight for every pull and a gift to whoever breaks in. Build in a stage of its own and copy the result \
              into a small image: `COPY --from=build`.\n\nRaised for images that say what they run, if their base is a compiler's image or \
              they install one and do not remove it in the same step.",
    bad: "FROM golang:1.25\nCOPY main.go /src/\nRUN go build -o /app /src/main.go\nUSER 1000\nCMD [\"/app\"]\n",
    good: "FROM golang:1.25 AS build\nCOPY main.go /src/\nRUN go build -o /app /src/main.go\nFROM scratch\nCOPY --from=build /app /app\nUSER 1000\nCMD [\"/app\"]\n",
    check: Check::File(build_tools),
    ..PRACTICE
};

const COMPILER_IMAGES: [&str; 9] = ["golang", "rust", "maven", "gradle", "gcc", "sbt", "swift", "haskell", "sdk"];
const COMPILERS: [&str; 10] =
    ["gcc", "g++", "clang", "make", "cmake", "build-essential", "build-base", "gcc-c++", "golang", "musl-dev"];

fn build_tools(view: &View<'_>, report: &mut Report<'_>) {
    let (Some(_), Some(target)) = (start(view), view.target) else { return };
    if let Some(image) = view.base_image(target) {
        let name = image.text.split(['@', ':']).next().unwrap_or_default();
        let name = name.rsplit('/').next().unwrap_or_default();
        if COMPILER_IMAGES.contains(&name) {
            let finding = at(image.span, format!("`{name}` and its tools are shipped with the program"));
            report.add(finding.with_hint("build in a stage of its own, and copy the result into a small image"));
            return;
        }
    }
    for run in view.runs.iter().filter(|run| view.is_in_image(run.stage)) {
        let removes = run.commands.iter().any(|command| {
            managers::is(command, Manager::Apk, &["del"])
                || managers::is(command, Manager::Apt, &["purge", "remove", "autoremove"])
                || managers::is(command, Manager::Dnf, &["remove", "erase"])
        });
        let packages = run.commands.iter().filter_map(managers::installed).filter(|(manager, _)| {
            matches!(manager, Manager::Apt | Manager::Apk | Manager::Dnf | Manager::Yum | Manager::Zypper)
        });
        let compiler = packages.flat_map(|(_, packages)| packages).find(|arg| {
            let name = arg.text.split(['=', '~', '<', '>']).next().unwrap_or_default();
            COMPILERS.contains(&name)
        });
        if let Some(arg) = compiler.filter(|_| !removes) {
            let finding = at(arg.span, format!("`{}` is shipped with the program", arg.text));
            report.add(finding.with_hint("build in a stage of its own, and copy the result"));
        }
    }
}

static WORLD_WRITABLE: Rule = Rule {
    id: "CO1804",
    summary: "files that everyone may write",
    meaning: "`chmod 777` lets every process of the container change the files, programs among them. Give them to the user who needs them \
              (`chown`, `COPY --chown`) and keep others out.",
    bad: "FROM alpine:3.22\nRUN chmod -R 777 /srv\n",
    good: "FROM alpine:3.22\nRUN chown -R 1000 /srv\n",
    check: Check::File(world_writable),
    ..PRACTICE
};

fn world_writable(view: &View<'_>, report: &mut Report<'_>) {
    let open = |mode: &str| {
        matches!(
            mode,
            "777" | "0777" | "666" | "0666" | "a+rwx" | "a+w" | "o+w" | "ugo+rwx" | "+rwx" | "a=rwx" | "o+rwx"
        )
    };
    for (_, command) in view.commands().filter(|(_, command)| command.name == "chmod") {
        if let Some(mode) = command.operands(&[]).first().filter(|arg| open(&arg.text)) {
            report.add(
                at(mode.span, "every process of the container may change these files")
                    .with_hint("give them to one user"),
            );
        }
    }
    for instruction in &view.file.instructions {
        for flag in instruction.flags().iter().filter(|flag| flag.name.text == "chmod") {
            if let Some(mode) = flag.value.as_ref().filter(|mode| open(&mode.text)) {
                report.add(
                    at(mode.span, "every process of the container may change these files").with_hint("use `--chown`"),
                );
            }
        }
    }
}

static NPM_START: Rule = Rule {
    id: "CO1805",
    severity: Severity::Info,
    summary: "a package manager is process 1",
    meaning: "`npm start` and `yarn start` run a shell that runs the program, and do not pass signals on reliably: the container is killed \
              after ten seconds instead of ending by itself. Name the program: `CMD [\"node\", \"server.js\"]`.",
    bad: "FROM node:22-alpine\nUSER 1000\nCMD [\"npm\", \"start\"]\n",
    good: "FROM node:22-alpine\nUSER 1000\nCMD [\"node\", \"server.js\"]\n",
    check: Check::File(npm_start),
    ..PRACTICE
};

fn npm_start(view: &View<'_>, report: &mut Report<'_>) {
    for instruction in view.image_instructions() {
        let (InstructionKind::Cmd(Command::Exec(words)) | InstructionKind::Entrypoint(Command::Exec(words))) =
            &instruction.kind
        else {
            continue;
        };
        if let Some(name) =
            words.first().filter(|word| matches!(word.as_str(), "npm" | "yarn" | "pnpm") && words.len() > 1)
        {
            let message = format!("`{name}` does not pass signals on to the program");
            report.add(
                at(instruction.keyword.span, message).with_hint("run the program itself: `[\"node\", \"server.js\"]`"),
            );
        }
    }
}
