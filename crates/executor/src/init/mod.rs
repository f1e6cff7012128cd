//! The hidden subcommand that becomes the first process of a step.
//!
//! Knows nothing of its caller but the socket on its standard input.

/// First argument with which an executor starts this program again; `main` then calls [`init_main`].
pub const INIT_COMMAND: &str = "cooper-init";

/// Runs the step described on standard input. To be called first thing in `main`, with one thread.
pub fn init_main() -> ! {
    std::process::exit(125)
}
