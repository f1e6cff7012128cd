//! Rules about lines that are not instructions: comments that document a stage or an argument, and empty continuations.
//!
//! Does not know what the documentation is used for.

use crate::Severity;
use crate::ast::InstructionKind;
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Group, Rule};
use crate::lint::view::View;

pub(super) static RULES: [&Rule; 2] = [&INVALID_DEFINITION_DESCRIPTION, &NO_EMPTY_CONTINUATION];

static NO_EMPTY_CONTINUATION: Rule = Rule {
    id: "NoEmptyContinuation",
    aliases: &[],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    fixable: true,
    summary: "a line inside an instruction is empty",
    meaning: "After a line that ends in `\\`, an empty line is skipped, although it looks like the end of the instruction. \
              A later Dockerfile syntax will refuse it. Remove the line, or put a comment on it.",
    bad: "FROM alpine:3.22\nRUN touch /a && \\\n\n    touch /b\n",
    good: "FROM alpine:3.22\nRUN touch /a && \\\n    touch /b\n",
    check: Check::File(no_empty_continuation),
};

fn no_empty_continuation(view: &View<'_>, report: &mut Report<'_>) {
    for span in &view.file.empty_continuations {
        let finding = at(*span, "this continuation line is empty")
            .with_hint("remove the line; it will become an error in a later Dockerfile syntax");
        report.add(finding.with_fix(view.remove_line(*span, true)));
    }
}

static INVALID_DEFINITION_DESCRIPTION: Rule = Rule {
    id: "InvalidDefinitionDescription",
    aliases: &[],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: false,
    fixable: false,
    summary: "the comment above a stage or argument does not begin with its name",
    meaning: "`--call=outline` and `--call=targets` show the comment above a `FROM` or `ARG` as its description if it begins \
              with its name: `# version  of the compiler` above `ARG version`. Any other comment there is lost on them.\n\n\
              Experimental: raised only when asked for, by `# check=experimental=InvalidDefinitionDescription` or by a severity.",
    bad: "# check=experimental=InvalidDefinitionDescription\n# which compiler\nARG version=1\nFROM alpine:3.22\n",
    good: "# check=experimental=InvalidDefinitionDescription\n# version of the compiler\nARG version=1\nFROM alpine:3.22\n",
    check: Check::File(invalid_definition_description),
};

/// The comment right above a named FROM or an ARG begins with a name that it defines.
fn invalid_definition_description(view: &View<'_>, report: &mut Report<'_>) {
    for (instruction, comments) in view.file.instructions.iter().zip(view.file.comments_above()) {
        let names: Vec<String> = match &instruction.kind {
            InstructionKind::From(from) => from.name.iter().map(|name| name.text.to_lowercase()).collect(),
            InstructionKind::Arg(args) => args.iter().map(|(key, _)| key.text.clone()).collect(),
            _ => continue,
        };
        let (Some(comment), Some(name)) = (comments.last(), names.first()) else { continue };
        let first = comment.split(' ').next().unwrap_or_default();
        if !names.iter().any(|name| name == first) {
            let message = format!("the comment above does not begin with `{name}`");
            let hint = format!("write `# {name} <description>`, or put an empty comment below it");
            report.add(at(instruction.keyword.span, message).with_hint(hint));
        }
    }
}
