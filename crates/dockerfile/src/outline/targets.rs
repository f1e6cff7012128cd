//! The stages of a file that can be built.
//!
//! Does not know variables: names and bases are as written.

use super::description;
use crate::ast::{Dockerfile, InstructionKind};

/// A stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name in lower case; empty if it has none.
    pub name: String,
    /// The comment `# NAME text` above its FROM.
    pub description: String,
    /// It is what a build without `--target` builds.
    pub default: bool,
    /// The image or stage after FROM.
    pub base: String,
    /// `--platform`; empty if not given.
    pub platform: String,
    /// First and last line of the FROM, counted from 1.
    pub lines: (u32, u32),
}

/// All stages, in the order of the file.
pub fn targets(file: &Dockerfile) -> Vec<Target> {
    let above = file.instructions.iter().zip(file.comments_above());
    let mut targets: Vec<Target> = above
        .filter_map(|(instruction, comments)| {
            let InstructionKind::From(from) = &instruction.kind else { return None };
            let name = from.name.as_ref().map(|name| name.text.to_lowercase()).unwrap_or_default();
            Some(Target {
                description: description(&comments, &name),
                name,
                default: false,
                base: from.image.text.clone(),
                platform: from.platform.as_ref().map(|platform| platform.text.clone()).unwrap_or_default(),
                lines: instruction.lines,
            })
        })
        .collect();
    if let Some(last) = targets.last_mut() {
        last.default = true;
    }
    targets
}
