//! The text of a RUN to commands: POSIX sh and the common parts of bash.
//!
//! Knows nothing of Dockerfiles: it reads one text, and its offsets are those of that text. What it does not know (aliases, `coproc`,
//! the inside of arithmetic) it passes over; what no shell would read is an error. Time is linear in the text, and the depth of
//! nesting is limited, so no text can make it hang or overflow.

mod ast;
mod parser;
mod word;

pub use ast::{
    AndOr, Assignment, Command, Compound, CompoundKind, Link, Part, Pipeline, Redirect, Script, Simple, Word,
};
pub use parser::{parse, parse_with_comments};

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// Byte of the text.
    pub offset: u32,
    /// Lower case, no full stop.
    pub message: &'static str,
}

#[cfg(test)]
mod tests;
