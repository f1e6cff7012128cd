//! What the shell commands of a file say, without their blanks: the shell's own grammar tells whether formatting kept it.
//!
//! Knows nothing of the formatter. The fuzz target of the formatter uses it too.

use cooper_dockerfile::ast::{Command, Dockerfile, InstructionKind};
use cooper_dockerfile::shell::{self, Part, Script, Word};

/// The words of every command of a shell, in order; of a command that the grammar cannot read, only that.
pub(crate) fn shapes(file: &Dockerfile) -> Vec<Vec<String>> {
    let commands = file.instructions.iter().filter_map(|instruction| match &instruction.kind {
        InstructionKind::Run(run) if run.heredocs.is_empty() => Some(&run.command),
        InstructionKind::Cmd(command) | InstructionKind::Entrypoint(command) => Some(command),
        _ => None,
    });
    let texts = commands.filter_map(|command| match command {
        Command::Shell(text) => Some(text.text.trim()),
        Command::Exec(_) => None,
    });
    texts.map(|text| shell::parse(text).map_or_else(|_| Vec::new(), |script| shape(&script))).collect()
}

fn shape(script: &Script) -> Vec<String> {
    let mut out = Vec::new();
    script_into(script, &mut out);
    out
}

fn script_into(script: &Script, out: &mut Vec<String>) {
    for list in &script.lists {
        out.push(format!("list {}", list.background));
        for (link, pipeline) in &list.pipelines {
            out.push(format!("{link:?} {}", pipeline.negated));
            pipeline.commands.iter().for_each(|command| command_into(command, out));
        }
    }
    out.push("end".to_owned());
}

fn command_into(command: &shell::Command, out: &mut Vec<String>) {
    let (words, redirects) = match command {
        shell::Command::Simple(simple) => {
            out.push("simple".to_owned());
            for assignment in &simple.assignments {
                out.push(format!("{}=", assignment.name));
                assignment.value.iter().for_each(|value| word_into(value, out));
            }
            (&simple.words, &simple.redirects)
        }
        shell::Command::Compound(compound) => {
            out.push(format!("{:?}", compound.kind));
            compound.bodies.iter().for_each(|body| script_into(body, out));
            (&compound.words, &compound.redirects)
        }
    };
    words.iter().for_each(|word| word_into(word, out));
    for redirect in redirects {
        out.push(format!("{:?}{}", redirect.fd, redirect.operator));
        word_into(&redirect.target, out);
    }
}

fn word_into(word: &Word, out: &mut Vec<String>) {
    out.push("word".to_owned());
    for part in &word.parts {
        match part {
            Part::Literal { text, quoted } => out.push(format!("literal {quoted} {text}")),
            Part::Expansion { text, quoted } => out.push(format!("expansion {quoted} {text}")),
            // Its text has blanks; its script says the same without them.
            Part::Substitution { script, .. } => script_into(script, out),
        }
    }
}
