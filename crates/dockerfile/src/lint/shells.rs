//! Who reads the text of a RUN: what SHELL, the base image and a `#!` say.
//!
//! Does not know the text.

use crate::ast::Word;

/// The shell of an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shell {
    /// `/bin/sh -c`, unless the base image says otherwise.
    Default,
    /// SHELL, or a comment of hadolint, names it: the words.
    Named(Vec<String>),
    /// PowerShell, cmd, or something else whose text is not read.
    Foreign,
}

const POSIX: [&str; 8] = ["sh", "bash", "dash", "ash", "ksh", "zsh", "mksh", "busybox"];

impl Shell {
    /// What SHELL or a comment sets.
    pub(super) fn named(words: &[String]) -> Shell {
        let program = words.first().map(|word| name(word)).unwrap_or_default();
        if POSIX.contains(&program.as_str()) { Shell::Named(words.to_vec()) } else { Shell::Foreign }
    }

    /// What a stage begins with. Images of Windows have cmd.
    pub(super) fn of_base(image: &Word) -> Shell {
        let image = image.text.to_lowercase();
        let windows = ["windows", "nanoserver"].iter().any(|word| image.contains(word));
        if windows { Shell::Foreign } else { Shell::Default }
    }

    /// Its text is read here.
    pub(super) fn is_posix(&self) -> bool {
        *self != Shell::Foreign
    }

    /// Whether a here-document whose first line is this is read by the shell, or by another one like it.
    pub(super) fn reads(&self, first_line: Option<&str>) -> bool {
        let Some(program) = first_line.and_then(|line| line.strip_prefix("#!")) else { return self.is_posix() };
        let mut words = program.split_whitespace().map(name).filter(|word| word != "env" && !word.starts_with('-'));
        words.next().is_some_and(|word| POSIX.contains(&word.as_str()))
    }

    /// A failure in the middle of a pipeline fails the step.
    pub(super) fn has_pipefail(&self) -> bool {
        matches!(self, Shell::Named(words) if words.iter().any(|word| word == "pipefail" || word.contains("o pipefail")))
    }

    /// It fails at the first command that fails (`-e`).
    pub(super) fn has_errexit(&self) -> bool {
        matches!(self, Shell::Named(words) if words.iter().skip(1).any(|word| {
            word == "errexit" || word.starts_with('-') && !word.starts_with("--") && word.contains('e')
        }))
    }
}

/// The program's name, without directory and `.exe`.
fn name(word: &str) -> String {
    let word = word.rsplit(['/', '\\']).next().unwrap_or(word).to_lowercase();
    word.strip_suffix(".exe").map(str::to_owned).unwrap_or(word)
}
