//! Text to stages to graph: parse, evaluate, lower. Pure.
//!
//! Knows nothing of files, clocks, environments, async, the store or registries.

pub mod ast;
mod diagnostic;

pub use diagnostic::{Diagnostic, Severity, Span};
