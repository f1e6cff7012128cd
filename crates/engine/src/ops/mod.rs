//! How each operation of the graph is carried out.

mod agent;
mod exec;
mod file;
mod mounts;

pub(crate) use exec::{ExecWork, KillSwitch, OutputSink, SINGLE_ID, exec, limits, ulimit};
pub(crate) use file::{FileWork, file, layer_of};
pub(crate) use mounts::{Prepared, ask, cache_names, is_bound, prepare};
