//! How instructions are written out for people, and how paths join.
//!
//! Knows nothing of stages.

use cooper_llb::clean;

use crate::ast::{Flag, Instruction, InstructionKind};

/// The instruction as BuildKit prints it: `COPY --chown=1 a b`, keyword in capitals.
pub(crate) fn instruction_text(instruction: &Instruction) -> String {
    let flags: &[Flag] = match &instruction.kind {
        InstructionKind::Run(run) => &run.flags,
        InstructionKind::Copy(copy) | InstructionKind::Add(copy) => &copy.flags,
        _ => &[],
    };
    let mut text = instruction.keyword.text.to_uppercase();
    for flag in flags {
        text.push_str(&format!(" --{}", flag.name.text));
        if let Some(value) = &flag.value {
            text.push_str(&format!("={}", value.text));
        }
    }
    text.push(' ');
    text.push_str(&instruction.original);
    text
}

/// A name with values longer than this is shown without values.
const SHOWN_BYTES_MAX: usize = 64 << 10;

/// Replaces `$name` and `${name}` that have a value; everything else stays as it is, for it is the shell's.
pub(crate) fn display(text: &str, value: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, dollar) = rest.split_at(at);
        out.push_str(before);
        let escaped = before.ends_with('\\');
        let (taken, name) = variable(dollar);
        let found = if escaped || name.is_empty() { None } else { value(name) };
        out.push_str(found.as_deref().unwrap_or(&dollar[..taken]));
        rest = &dollar[taken..];
        if out.len() > SHOWN_BYTES_MAX {
            return text.to_owned();
        }
    }
    out.push_str(rest);
    out
}

/// Length and name of the variable at the start of `dollar`; no name if there is none.
fn variable(dollar: &str) -> (usize, &str) {
    let name_end = |text: &str| text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    let after = &dollar[1..];
    if let Some(inner) = after.strip_prefix('{') {
        let end = name_end(inner);
        return if inner[end..].starts_with('}') { (end + 3, &inner[..end]) } else { (1, "") };
    }
    let end = name_end(after);
    (end + 1, &after[..end])
}

/// WORKDIR: absolute paths as they are, others below the current one.
pub(crate) fn join_workdir(current: &str, path: &str) -> String {
    if path.is_empty() {
        return if current.is_empty() { "/".to_owned() } else { current.to_owned() };
    }
    if path.starts_with('/') {
        return path.to_owned();
    }
    clean(&format!("/{current}/{path}"))
}

/// A destination: absolute and clean, with a final `/` where it says directory.
pub(crate) fn join_dest(current: &str, path: &str) -> String {
    let directory = path.is_empty() || path == "." || path == ".." || path.ends_with('/') || path.ends_with("/.");
    let absolute = if path.starts_with('/') { clean(path) } else { clean(&format!("/{current}/{path}")) };
    if directory && absolute != "/" { format!("{absolute}/") } else { absolute }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_values() {
        let value = |name: &str| (name == "A").then(|| "1".to_owned());
        for (text, expect) in [
            ("echo $A ${A}", "echo 1 1"),
            ("$B \\$A ${A:-x} $", "$B \\$A ${A:-x} $"),
            ("$AB$A.", "$AB1."),
            ("${A", "${A"),
        ] {
            assert_eq!(display(text, &value), expect);
        }
    }

    #[test]
    fn joins() {
        for (current, path, expect) in [
            ("/app", ".", "/app/"),
            ("/app", "x", "/app/x"),
            ("/app", "x/", "/app/x/"),
            ("/", ".", "/"),
            ("/app", "../../..", "/"),
            ("/app", "/x/./y/.", "/x/y/"),
            ("", "x", "/x"),
        ] {
            assert_eq!(join_dest(current, path), expect, "{path}");
        }
        assert_eq!(join_workdir("/a", "b/../c"), "/a/c");
        assert_eq!(join_workdir("", "b"), "/b");
    }
}
