//! Text to stages to graph: parse, evaluate, lower. Pure.
//!
//! Knows nothing of files, clocks, environments, async, the store or registries.

pub mod ast;
mod diagnostic;
mod evaluate;
pub mod expand;
mod fix;
mod format;
mod image;
pub mod lint;
mod lower;
mod nearest;
pub mod outline;
pub mod parse;
mod render;
pub mod shell;

pub use diagnostic::{Diagnostic, Edit, Fix, Severity, Span};
pub use evaluate::{Args, BaseKey, Bases, Evaluation, Named, Stages, diagnose, evaluate};
pub use fix::{Fixed, apply_fixes};
pub use format::format;
pub use lint::{lint, lint_with};
pub use lower::{Lowered, lower};
pub use nearest::nearest;
pub use parse::parse;
pub use render::{excerpt, line_column, render};
