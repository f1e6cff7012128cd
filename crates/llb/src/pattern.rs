//! .dockerignore patterns with moby's exact matching.

/// A pattern that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("invalid pattern `{pattern}`: {reason}")]
pub struct PatternError {
    /// As written.
    pub pattern: String,
    /// Why not.
    pub reason: String,
}

/// An ordered list of patterns; the last one that matches decides.
#[derive(Clone, Debug, Default)]
pub struct Ignore {}
