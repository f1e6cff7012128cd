//! The one stream of events a build gives off; every kind of progress is a fold over it.

use std::fmt::Debug;
use std::time::Duration;

use cooper_dockerfile::Diagnostic;

/// Number of a step in its build, in the order of the Dockerfile, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub u32);

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepState {
    /// Found in the cache.
    Cached,
    /// Ran.
    Done,
    /// Failed, with the reason in one line.
    Failed(String),
    /// Stopped because another step failed or the caller asked.
    Cancelled,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The steps of the build are known (once, before any starts).
    Planned {
        /// Number and name (`[build 2/5] RUN make`) of each step.
        steps: Vec<(StepId, String)>,
    },
    /// A step started.
    Started {
        /// Which.
        step: StepId,
        /// Why it was not cached, in one line, when that is known.
        why: Option<String>,
    },
    /// A step's process wrote output: raw bytes, not sanitised.
    Output {
        /// Which.
        step: StepId,
        /// On standard error.
        stderr: bool,
        /// The bytes; not necessarily whole lines.
        data: Vec<u8>,
    },
    /// Work with a size went on (downloads, exports).
    Progress {
        /// Which step; export work has a step of its own.
        step: StepId,
        /// What is worked on (`sha256:0123..`).
        what: String,
        /// Bytes done.
        done: u64,
        /// Bytes in all, when known.
        total: Option<u64>,
    },
    /// A step ended.
    Finished {
        /// Which.
        step: StepId,
        /// How.
        state: StepState,
        /// Time since it started.
        took: Duration,
    },
    /// Something the user should know that stops nothing: a lint, a broken cache entry, a weaker sandbox.
    Warning {
        /// What.
        message: String,
        /// The Dockerfile diagnostic, if it is one.
        diagnostic: Option<Diagnostic>,
    },
}

/// Takes events. Called from many threads; must not block for long.
pub trait EventSink: Debug + Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);
}
