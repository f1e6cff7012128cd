//! `build(Request, Session, Events) -> Outcome`: where all nouns meet.
//!
//! Knows nothing of terminals, environments, home directories, argument parsing or protobuf.

mod error;
mod event;
mod request;
mod session;

pub use error::{Error, ErrorKind, Place, Result};
pub use event::{Event, EventSink, StepId, StepState};
pub use request::{Export, ExportKind, NamedContext, Outcome, Request, Timestamps};
pub use session::Session;
