//! Dockerfile in, graph text, image config and messages out.
//!
//! Knows nothing of files or of running anything.

mod config;
mod errors;
mod facts;
mod graph;
mod support;
