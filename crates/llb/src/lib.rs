//! The build graph: operations, edges, digests, source maps. Modelled on BuildKit's LLB.
//!
//! Knows nothing of Dockerfile syntax, protobuf, or how an operation runs.

mod chmod;
mod definition;
mod exec;
mod file;
mod git;
mod glob;
mod key;
mod pattern;
mod selection;
mod source;

pub use definition::{Definition, Input, Meta, Op, SourceLocation, Vertex, VertexId};
pub use exec::{CacheSharing, Device, Exec, Mount, MountKind, Network, Resources, RunOptions, Security, Ulimit};
pub use file::{Chmod, Chown, CopySource, FileAction, FileOp, UserName};
pub use git::{GitSource, commit_digits, decoded, is_commit, without_password};
pub use key::{KeyInput, op_digest};
pub use pattern::{Ignore, MatchState, PatternError, clean, glob_match};
pub use selection::{Paths, Selection};
pub use source::{HttpSource, ResolveMode, Source};
