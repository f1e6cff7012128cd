//! The distribution-spec: a client, and a server.
//!
//! Knows nothing of the store, the solver or the engine.

mod credentials;

pub use credentials::Credentials;
