//! `build(Request, Session, Events) -> Outcome`: where all nouns meet.
//!
//! Knows nothing of terminals, environments, home directories, argument parsing or protobuf.

mod assemble;
mod base;
mod build;
mod carry;
mod copy;
mod engine;
mod error;
mod event;
mod explain;
mod export;
mod files;
mod filesystem;
mod journal;
mod location;
mod ops;
mod request;
mod run;
mod seal;
mod session;
mod source;
mod transfer;
mod worker;

pub use base::{BaseOutcome, BaseRequest, build_base};
pub use build::build;
pub use carry::{Carried, Carry, carry};
pub use engine::Engine;
pub use error::{Error, ErrorKind, Place, Result};
pub use event::{Event, EventSink, StepId, StepState};
pub use explain::{Explanation, explain};
pub use export::Format;
pub use journal::{Journal, State};
pub use location::Location;
pub use request::{Export, ExportKind, NamedContext, Outcome, Request, Timestamps};
pub use run::{Container, RunRequest, run};
pub use session::Session;
pub use transfer::{load, save};
