//! Rules about lines that are not instructions: comments that document a stage or an argument, and empty continuations.
//!
//! Does not know what the documentation is used for.

use crate::Diagnostic;
use crate::ast::{Dockerfile, InstructionKind};

pub(super) fn check(file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    empty_continuations(file, found);
    descriptions(file, found);
}

fn empty_continuations(file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    found.extend(file.empty_continuations.iter().map(|span| {
        Diagnostic::warning("NoEmptyContinuation", *span, "this continuation line is empty")
            .with_hint("remove the line; it will become an error in a later Dockerfile syntax")
    }));
}

/// The comment right above a named FROM or an ARG begins with a name that it defines.
fn descriptions(file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    for (instruction, comments) in file.instructions.iter().zip(file.comments_above()) {
        let names: Vec<String> = match &instruction.kind {
            InstructionKind::From(from) => from.name.iter().map(|name| name.text.to_lowercase()).collect(),
            InstructionKind::Arg(args) => args.iter().map(|(key, _)| key.text.clone()).collect(),
            _ => continue,
        };
        let (Some(comment), Some(name)) = (comments.last(), names.first()) else { continue };
        let first = comment.split(' ').next().unwrap_or_default();
        if !names.iter().any(|name| name == first) {
            let message = format!("the comment above does not begin with `{name}`");
            let warning = Diagnostic::warning("InvalidDefinitionDescription", instruction.keyword.span, message);
            found.push(warning.with_hint(format!("write `# {name} <description>`, or put an empty comment below it")));
        }
    }
}
