//! The distribution-spec: a client, and a server. The client also fetches single files from anywhere, through the same proxies and roots.
//!
//! Knows nothing of the store, the solver or the engine.

pub mod config_file;
mod credentials;
mod error;
pub mod helper;

mod client;
pub mod server;

pub use client::{
    Client, ClientOptions, Clock, HostTls, Mounts, Proxies, Repository, ServiceRequest, Warn, WebAnswer, WebRequest,
};
pub use credentials::{Anonymous, CredentialSource, Credentials, Fixed};
pub use error::{Error, ErrorKind, Result};
