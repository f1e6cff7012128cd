//! Text to stages to graph: parse, evaluate, lower. Pure.
//!
//! Knows nothing of files, clocks, environments, async, the store or registries.

pub mod ast;
mod diagnostic;
pub mod expand;
pub mod lint;
mod nearest;
pub mod parse;
mod render;

pub use diagnostic::{Diagnostic, Severity, Span};
pub use lint::{lint, lint_with};
pub use nearest::nearest;
pub use parse::parse;
pub use render::{excerpt, line_column, render};
