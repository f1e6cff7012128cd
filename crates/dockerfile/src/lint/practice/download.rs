//! Rules about what comes from the network.

use super::PRACTICE;
use crate::Severity;
use crate::ast::InstructionKind;
use crate::lint::commands::Invocation;
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Rule};
use crate::lint::view::View;

pub(super) static RULES: [&Rule; 4] = [&ADD_CHECKSUM, &PIPE_TO_SHELL, &NO_VERIFICATION, &CURL_FAIL];

static ADD_CHECKSUM: Rule = Rule {
    id: "CO1301",
    summary: "ADD of an address without a checksum",
    meaning: "Whatever the server sends becomes part of the image, and nobody notices when it is something else tomorrow. \
              `ADD --checksum=sha256:.. https://..` makes the build fail then; and since the content is known, the cache can serve it without \
              asking.",
    bad: "FROM alpine:3.22\nADD https://example.com/app.tar.gz /srv/\n",
    good: "FROM alpine:3.22\nADD --checksum=sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d https://example.com/app.tar.gz /srv/\n",
    check: Check::File(add_checksum),
    ..PRACTICE
};

fn add_checksum(view: &View<'_>, report: &mut Report<'_>) {
    for instruction in &view.file.instructions {
        let InstructionKind::Add(add) = &instruction.kind else { continue };
        let checked = add.flags.iter().any(|flag| flag.name.text == "checksum");
        let fetched =
            |text: &str| (text.starts_with("http://") || text.starts_with("https://")) && !text.contains(".git");
        if let Some(source) = add.sources.iter().find(|source| fetched(&source.text)).filter(|_| !checked) {
            let finding = at(source.span, "whatever the server sends becomes part of the image");
            report.add(finding.with_hint("add `--checksum=sha256:<digest>`"));
        }
    }
}

static PIPE_TO_SHELL: Rule = Rule {
    id: "CO1302",
    summary: "a script from the network is run unread",
    meaning: "`curl .. | sh` runs whatever the server sends, with the rights of the build, and a connection that breaks off runs half of it. \
              Fetch a fixed version to a file, check its digest, then run it; or use a package or an image of the program.",
    bad: "FROM debian:13\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN curl -fsSL https://example.com/install.sh | sh\n",
    good: "FROM debian:13\nADD --checksum=sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d https://example.com/install.sh /tmp/\nRUN sh /tmp/install.sh\n",
    check: Check::File(pipe_to_shell),
    ..PRACTICE
};

const FETCHERS: [&str; 2] = ["curl", "wget"];

fn is_interpreter(command: &Invocation) -> bool {
    let name = command.name.as_str();
    matches!(name, "sh" | "bash" | "ash" | "dash" | "zsh" | "perl" | "ruby" | "node") || name.starts_with("python")
}

fn pipe_to_shell(view: &View<'_>, report: &mut Report<'_>) {
    for run in &view.runs {
        for fetch in run.commands.iter().filter(|command| FETCHERS.contains(&command.name.as_str())) {
            let reads = |other: &&Invocation| {
                let (pipeline, index) = other.pipeline;
                let later = pipeline == fetch.pipeline.0 && index > fetch.pipeline.1;
                // `bash -c "$(curl ..)"` and `bash <(curl ..)`.
                let around = fetch.nested && other.span.start <= fetch.span.start && fetch.span.end <= other.span.end;
                is_interpreter(other) && (later && reads_input(other) || around && other.at != fetch.at)
            };
            if let Some(shell) = run.commands.iter().find(reads) {
                let message = format!("`{}` runs whatever the server sends", shell.name);
                report.add(at(fetch.span, message).with_hint("fetch it to a file, check its digest, then run it"));
            }
        }
    }
}

/// It takes its program from standard input: it is given no file and no `-c`.
fn reads_input(shell: &Invocation) -> bool {
    if shell.has("-s") || shell.has("-") {
        return true;
    }
    let program = shell.args.iter().any(|arg| matches!(arg.text.as_str(), "-c" | "-e" | "-m" | "-ne" | "-pe"));
    !program && shell.operands(&["-o"]).is_empty()
}

static NO_VERIFICATION: Rule = Rule {
    id: "CO1303",
    summary: "the check of a certificate or signature is switched off",
    meaning: "`curl -k`, `wget --no-check-certificate`, `apt-get --allow-unauthenticated` and their like take what anyone on the way sends for \
              the real thing. Add the certificate or key that is missing instead (`ca-certificates`, or the key of your own authority).",
    bad: "FROM alpine:3.22\nRUN curl -fsSLk -o /a https://example.com/a\n",
    good: "FROM alpine:3.22\nRUN curl -fsSL -o /a https://example.com/a\n",
    check: Check::File(no_verification),
    ..PRACTICE
};

fn no_verification(view: &View<'_>, report: &mut Report<'_>) {
    for (_, command) in view.commands() {
        let flag = |short: Option<char>, long: &[&str]| command.has_flag(short, long);
        let off = match command.name.as_str() {
            "curl" => flag(Some('k'), &["--insecure"]),
            "wget" => flag(None, &["--no-check-certificate"]),
            "apt-get" | "apt" => {
                flag(None, &["--allow-unauthenticated", "--force-yes", "--allow-insecure-repositories"])
            }
            "apk" => flag(None, &["--allow-untrusted"]),
            "yum" | "dnf" | "microdnf" => flag(None, &["--nogpgcheck"]),
            "zypper" => flag(None, &["--no-gpg-checks"]),
            "npm" | "yarn" => command.has("strict-ssl") && command.has("false"),
            "git" => command.args.iter().any(|arg| arg.text.to_lowercase().replace(' ', "") == "http.sslverify=false"),
            _ => false,
        };
        if off {
            report.add(at(command.span, format!("`{}` takes whatever anyone on the way sends", command.name)));
        }
    }
}

static CURL_FAIL: Rule = Rule {
    id: "CO1304",
    severity: Severity::Info,
    fixable: true,
    summary: "curl saves an error page as if it were the file",
    meaning: "Without `-f`, curl succeeds when the server answers with an error, and what it saves is the page that says so. `-f` makes the \
              step fail.",
    bad: "FROM alpine:3.22\nRUN curl -o /a https://example.com/a\n",
    good: "FROM alpine:3.22\nRUN curl -f -o /a https://example.com/a\n",
    check: Check::File(curl_fail),
    ..PRACTICE
};

fn curl_fail(view: &View<'_>, report: &mut Report<'_>) {
    for (_, command) in view.commands().filter(|(_, command)| command.name == "curl") {
        let fetches = command.args.iter().any(|arg| arg.text.contains("://") || !arg.literal);
        let sends = command.has_flag(Some('d'), &["--data", "--request", "-X", "--head", "-I"]);
        if fetches && !sends && !command.has_flag(Some('f'), &["--fail", "--fail-with-body"]) {
            let fix = view.insert_after(command.at, "-f", false);
            report
                .add(at(command.span, "an error page would be taken for the file").with_hint("add `-f`").with_fix(fix));
        }
    }
}
