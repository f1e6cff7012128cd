//! Rules about upper and lower case.
//!
//! Does not know what the words mean.

use super::by_stage;
use crate::Diagnostic;
use crate::ast::{Dockerfile, Instruction, InstructionKind, Word};

pub(super) fn check(file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    consistent_instructions(file, found);
    for instruction in &file.instructions {
        match &instruction.kind {
            InstructionKind::From(from) => {
                stage_name(from.name.as_ref(), found);
                from_and_as(&instruction.keyword, from.as_keyword.as_ref(), found);
            }
            InstructionKind::Expose(ports) => ports.iter().for_each(|port| protocol(port, found)),
            _ => {}
        }
    }
}

fn is_lower(word: &str) -> bool {
    word == word.to_lowercase()
}

fn is_upper(word: &str) -> bool {
    word == word.to_uppercase()
}

/// As in BuildKit, upper case wins a draw, words of mixed case have no vote, and ARGs before the first FROM do not count.
fn consistent_instructions(file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    let in_stages = |(stage, _): &(usize, &Instruction)| *stage > 0;
    let keywords = || by_stage(file).filter(in_stages).map(|(_, instruction)| &instruction.keyword);
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
            let warning = Diagnostic::warning("ConsistentInstructionCasing", word.span, message);
            found.push(warning.with_hint(format!("write `{wanted}`")));
        }
    }
}

fn stage_name(name: Option<&Word>, found: &mut Vec<Diagnostic>) {
    let Some(name) = name.filter(|name| !is_lower(&name.text)) else { return };
    let message = format!("the stage name `{}` is not in lower case", name.text);
    let warning = Diagnostic::warning("StageNameCasing", name.span, message);
    found.push(warning.with_hint(format!("write `{}`", name.text.to_lowercase())));
}

fn from_and_as(from: &Word, keyword: Option<&Word>, found: &mut Vec<Diagnostic>) {
    let Some(keyword) = keyword else { return };
    let wanted = match (is_lower(&from.text), is_upper(&from.text)) {
        (true, _) => keyword.text.to_lowercase(),
        (_, true) => keyword.text.to_uppercase(),
        _ => return,
    };
    if keyword.text != wanted {
        let message = format!("`{}` and `{}` are not in the same case", from.text, keyword.text);
        found.push(Diagnostic::warning("FromAsCasing", keyword.span, message).with_hint(format!("write `{wanted}`")));
    }
}

fn protocol(port: &Word, found: &mut Vec<Diagnostic>) {
    let Some((_, protocol)) = port.text.split_once('/') else { return };
    if !is_lower(protocol) && !port.text.contains('$') {
        let message = format!("the protocol of `{}` is not in lower case", port.text);
        let warning = Diagnostic::warning("ExposeProtoCasing", port.span, message);
        found.push(warning.with_hint(format!("write `{}`", port.text.to_lowercase())));
    }
}
