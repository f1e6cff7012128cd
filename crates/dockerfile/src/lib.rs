//! Text to stages to graph: parse, evaluate, lower. Pure.
//!
//! Knows nothing of files, clocks, environments, async, the store or registries.

pub mod ast;
mod diagnostic;
mod evaluate;
mod lower;

pub use diagnostic::{Diagnostic, Severity, Span};
pub use evaluate::{Args, BaseKey, Bases, Evaluation, Named, Stages, evaluate};
pub use lower::{Lowered, lower};
