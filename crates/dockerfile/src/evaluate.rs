//! Stages from a parsed Dockerfile: names resolved, variables expanded, values checked.
//!
//! Knows nothing of the build graph; asks for the configs of base images by returning what it needs.

mod args;

pub use args::{Args, BaseKey, Bases, Named};

use crate::ast::Dockerfile;
use crate::{Diagnostic, Severity, Span};

/// What evaluation came to.
#[derive(Clone, Debug)]
pub enum Evaluation {
    /// These configs are missing from the bases; fetch them and call again.
    Needs(Vec<BaseKey>),
    /// Everything is known.
    Done(Stages),
    /// The diagnostics hold errors.
    Failed,
}

/// The stages a target is made of, fully evaluated.
#[derive(Clone, Debug)]
pub struct Stages {}

/// Evaluates what the target needs. Call it again with more `bases` until it is `Done` or `Failed`.
pub fn evaluate(dockerfile: &Dockerfile, args: &Args, bases: &Bases) -> (Evaluation, Vec<Diagnostic>) {
    let _ = (dockerfile, args, bases);
    let error = Diagnostic {
        rule: "syntax",
        severity: Severity::Error,
        span: Span::default(),
        message: "evaluation is not merged yet".into(),
        hint: None,
    };
    (Evaluation::Failed, vec![error])
}
