//! The build graph: operations, edges, digests, source maps. Modelled on BuildKit's LLB.
//!
//! Knows nothing of Dockerfile syntax, protobuf, or how an operation runs.

mod definition;
mod exec;
mod file;
mod key;
mod pattern;
mod source;

pub use definition::{Definition, Input, Meta, Op, SourceLocation, Vertex, VertexId};
pub use exec::{CacheSharing, Exec, Mount, MountKind, Network, Security};
pub use file::{Chmod, Chown, CopySource, FileAction, FileOp, UserName};
pub use key::KeyInput;
pub use pattern::{Ignore, PatternError};
pub use source::{ResolveMode, Source};
