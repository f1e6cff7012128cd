//! Rules about comments that document a stage or an argument.
//!
//! Does not know what the documentation is used for.

use crate::Diagnostic;
use crate::ast::{Dockerfile, InstructionKind};

/// The comment right above a named FROM or an ARG begins with a name that it defines.
pub(super) fn check(file: &Dockerfile, found: &mut Vec<Diagnostic>) {
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
