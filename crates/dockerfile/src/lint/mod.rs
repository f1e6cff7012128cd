//! Rules that warn about a Dockerfile from its text alone, in BuildKit's names.
//!
//! Does not know build arguments, base images or the context; rules that need them are raised where these are known.

mod options;

pub(crate) use options::apply_options;
