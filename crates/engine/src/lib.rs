//! `build(Request, Session, Events) -> Outcome`: where all nouns meet.
//!
//! Knows nothing of terminals, environments, home directories, argument parsing or protobuf.

mod assemble;
mod base;
mod build;
mod carry;
mod cdi;
mod copy;
mod emulation;
mod engine;
mod entitle;
mod error;
mod event;
mod explain;
mod export;
mod files;
mod filesystem;
mod homes;
mod join;
mod journal;
mod location;
mod ops;
mod request;
mod rewrite;
mod run;
mod seal;
pub mod serve;
mod session;
mod shared;
mod source;
mod transfer;
mod worker;

pub use base::{BaseOutcome, BaseRequest, build_base};
pub use build::build;
pub use carry::{Carried, Carry, carry};
pub use cdi::Devices;
pub use cooper_llb::{GitSource, Resources, RunOptions, Ulimit, without_password};
pub use engine::Engine;
pub use error::{Error, ErrorKind, Place, Result};
pub use event::{Event, EventSink, StepId, StepState};
pub use explain::{Explanation, explain};
pub use export::Format;
pub use journal::{Journal, State};
pub use location::Location;
pub use request::{
    Annotation, AnnotationLevel, ContextSource, Dangling, DockerfileSource, Entitlements, Export, ExportKind,
    NamedContext, Outcome, Request, Timestamps,
};
pub use run::{Container, RunRequest, run};
pub use session::Session;
pub use shared::{
    CacheFrom, CachePlace, CacheTo, GhaOptions, ListedMount, MountChoice, MountDate, S3Options, export_mounts,
    import_mounts, list_kept_mounts, list_mounts,
};
pub use source::GitProgram;
pub use transfer::{load, save};
