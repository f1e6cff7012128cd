//! How an operation looks at an input: as a whole, or at chosen paths only.
//!
//! Knows nothing of how the content of paths is hashed.

use std::fmt::Write;

use crate::{CopySource, FileAction, FileOp, MountKind, Op};

/// How an input of a vertex is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Selection {
    /// By identity: the filesystem that is changed, and everything that is never looked up by content.
    Whole,
    /// By the content of some paths.
    Paths(Paths),
}

/// The paths an operation reads of an input, and what of their metadata reaches its result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Paths {
    /// In order; an empty path is the whole tree.
    pub sources: Vec<CopySource>,
    /// Patterns left out, in .dockerignore syntax.
    pub excludes: Vec<String>,
    /// The directories of the sources are part of the result (`--parents`).
    pub parents: bool,
    /// File modes do not reach the result: `--chmod` with a number sets them.
    pub ignore_mode: bool,
    /// Owners do not reach the result: `--chown` sets them.
    pub ignore_owner: bool,
}

impl Selection {
    /// A stable text: equal selections have equal texts, different ones different texts.
    pub fn text(&self) -> String {
        let Selection::Paths(paths) = self else { return "whole".to_owned() };
        let mut text = String::from("paths");
        for source in &paths.sources {
            let kind = if source.wildcard { "glob" } else { "path" };
            let _ = write!(text, " {kind} {:?}", source.path);
        }
        for exclude in &paths.excludes {
            let _ = write!(text, " exclude {exclude:?}");
        }
        for (set, word) in
            [(paths.parents, "parents"), (paths.ignore_mode, "ignore-mode"), (paths.ignore_owner, "ignore-owner")]
        {
            if set {
                let _ = write!(text, " {word}");
            }
        }
        text
    }
}

impl Op {
    /// How input number `input` of a vertex with this operation is looked at.
    ///
    /// Several actions or mounts may read one input: their paths are joined, and metadata counts if it counts for one.
    pub fn selection(&self, input: usize) -> Selection {
        let mut found = match self {
            // Input 0 is the filesystem that is changed.
            Op::Exec(_) | Op::File(_) if input == 0 => return Selection::Whole,
            Op::Exec(exec) => exec.mounts.iter().filter_map(|mount| mount_paths(&mount.kind, input)).collect(),
            Op::File(file) => copied_paths(file, input),
            Op::Source(_) | Op::Merge | Op::Diff => Vec::new(),
        };
        if found.is_empty() {
            return Selection::Whole;
        }
        let first = found.remove(0);
        Selection::Paths(found.into_iter().fold(first, join))
    }
}

fn mount_paths(kind: &MountKind, wanted: usize) -> Option<Paths> {
    let source = match kind {
        MountKind::Bind { input, source, .. } if *input == wanted => source,
        MountKind::Cache { from: Some((input, source)), .. } if *input == wanted => source,
        _ => return None,
    };
    let path = source.trim_matches('/').to_owned();
    Some(Paths { sources: vec![CopySource { path, wildcard: false }], ..Paths::default() })
}

fn copied_paths(file: &FileOp, wanted: usize) -> Vec<Paths> {
    let copied = file.actions.iter().filter_map(|action| match action {
        FileAction::Copy { input, sources, chown, chmod, excludes, parents, .. } if *input == wanted => Some(Paths {
            sources: sources.clone(),
            excludes: excludes.clone(),
            parents: *parents,
            // A symbolic mode starts from the file's own.
            ignore_mode: matches!(chmod, Some(crate::Chmod::Mode(_))),
            ignore_owner: chown.is_some(),
        }),
        _ => None,
    });
    copied.collect()
}

/// Reads what either reads. Patterns that hide files count only where both have them.
fn join(mut a: Paths, b: Paths) -> Paths {
    for source in b.sources {
        if !a.sources.contains(&source) {
            a.sources.push(source);
        }
    }
    if a.excludes != b.excludes {
        a.excludes.clear();
    }
    a.parents |= b.parents;
    a.ignore_mode &= b.ignore_mode;
    a.ignore_owner &= b.ignore_owner;
    a
}
