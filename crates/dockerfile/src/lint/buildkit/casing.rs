//! Rules about upper and lower case.
//!
//! Does not know what the words mean.

use crate::ast::{InstructionKind, Word};
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Group, Rule};
use crate::lint::view::View;
use crate::{Diagnostic, Severity};

pub(super) static RULES: [&Rule; 4] =
    [&CONSISTENT_INSTRUCTION_CASING, &EXPOSE_PROTO_CASING, &FROM_AS_CASING, &STAGE_NAME_CASING];

static CONSISTENT_INSTRUCTION_CASING: Rule = Rule {
    id: "ConsistentInstructionCasing",
    aliases: &[],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    fixable: true,
    summary: "an instruction is not written in the case of the others",
    meaning: "Instruction words may be written in any case. A file that mixes cases is harder to scan: the eye looks for a \
              column of `RUN` and `COPY`. Write all in upper case, as is the custom, or all in lower case.\n\nThe majority \
              of the file decides; on a draw it is upper case. An `ARG` before the first `FROM` has no vote.",
    bad: "FROM alpine:3.22\nWORKDIR /app\ncopy app .\n",
    good: "FROM alpine:3.22\nWORKDIR /app\nCOPY app .\n",
    check: Check::File(consistent_instruction_casing),
};

/// As in BuildKit, upper case wins a draw, words of mixed case have no vote, and ARGs before the first FROM do not count.
fn consistent_instruction_casing(view: &View<'_>, report: &mut Report<'_>) {
    let keywords = || view.in_stages().map(|instruction| &instruction.keyword);
    let lower = keywords().filter(|word| is_lower(&word.text)).count();
    let upper = keywords().filter(|word| is_upper(&word.text)).count();
    for word in keywords() {
        let (fits, wanted) = if lower > upper {
            (is_lower(&word.text), word.text.to_lowercase())
        } else {
            (is_upper(&word.text), word.text.to_uppercase())
        };
        if !fits {
            let message = format!("`{}` is not written as most instructions of this file are", word.text);
            report.add(rewritten(view, word, message, &wanted));
        }
    }
}

static STAGE_NAME_CASING: Rule = Rule {
    id: "StageNameCasing",
    aliases: &[],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    fixable: true,
    summary: "a stage name is not in lower case",
    meaning: "Stage names are compared without regard to case, so `AS Builder` and `--from=builder` are the same stage. \
              Writing the name in lower case everywhere says so, and keeps it apart from the instructions.",
    bad: "FROM golang:1.25 AS Builder\nWORKDIR /src\n",
    good: "FROM golang:1.25 AS builder\nWORKDIR /src\n",
    check: Check::File(stage_name_casing),
};

fn stage_name_casing(view: &View<'_>, report: &mut Report<'_>) {
    for name in view.froms().filter_map(|(_, from)| from.name.as_ref()).filter(|name| !is_lower(&name.text)) {
        let message = format!("the stage name `{}` is not in lower case", name.text);
        report.add(rewritten(view, name, message, &name.text.to_lowercase()));
    }
}

static FROM_AS_CASING: Rule = Rule {
    id: "FromAsCasing",
    aliases: &[],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    fixable: true,
    summary: "FROM and AS are not in the same case",
    meaning: "`FROM .. AS ..` is one instruction; its two words are easier to read in one case.",
    bad: "FROM golang:1.25 as builder\nWORKDIR /src\n",
    good: "FROM golang:1.25 AS builder\nWORKDIR /src\n",
    check: Check::File(from_as_casing),
};

fn from_as_casing(view: &View<'_>, report: &mut Report<'_>) {
    for (instruction, from) in view.froms() {
        let (word, Some(keyword)) = (&instruction.keyword.text, &from.as_keyword) else { continue };
        let wanted = match (is_lower(word), is_upper(word)) {
            (true, _) => keyword.text.to_lowercase(),
            (_, true) => keyword.text.to_uppercase(),
            _ => continue,
        };
        if keyword.text != wanted {
            let message = format!("`{word}` and `{}` are not in the same case", keyword.text);
            report.add(rewritten(view, keyword, message, &wanted));
        }
    }
}

static EXPOSE_PROTO_CASING: Rule = Rule {
    id: "ExposeProtoCasing",
    aliases: &[],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    fixable: true,
    summary: "the protocol of a port is not in lower case",
    meaning: "Image configs name protocols in lower case: `80/tcp`. The builder corrects `80/TCP`, other readers of the file \
              may not.",
    bad: "FROM alpine:3.22\nEXPOSE 80/TCP\n",
    good: "FROM alpine:3.22\nEXPOSE 80/tcp\n",
    check: Check::File(expose_proto_casing),
};

fn expose_proto_casing(view: &View<'_>, report: &mut Report<'_>) {
    for instruction in &view.file.instructions {
        let InstructionKind::Expose(ports) = &instruction.kind else { continue };
        for port in ports.iter().filter(|port| !port.text.contains('$')) {
            if port.text.split_once('/').is_some_and(|(_, protocol)| !is_lower(protocol)) {
                let message = format!("the protocol of `{}` is not in lower case", port.text);
                report.add(rewritten(view, port, message, &port.text.to_lowercase()));
            }
        }
    }
}

/// A finding whose fix is another spelling of the word.
fn rewritten(view: &View<'_>, word: &Word, message: String, wanted: &str) -> Diagnostic {
    let fix = view.replace_word(word, wanted, true);
    at(word.span, message).with_hint(format!("write `{wanted}`")).with_fix(fix)
}

fn is_lower(word: &str) -> bool {
    word == word.to_lowercase()
}

fn is_upper(word: &str) -> bool {
    word == word.to_uppercase()
}
