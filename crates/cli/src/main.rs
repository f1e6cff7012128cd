//! The `cooper` command: arguments, environment, terminal and exit codes around the engine.
//!
//! Knows nothing of how anything is built.

mod args;
mod commands;
mod context;
mod credentials;
mod csv;
mod diagnostics;
mod engine_calls;
mod environment;
mod error;
mod hosts;
mod human;
mod limits;
mod open;
mod output;
mod progress;
mod rows;
mod sanitise;
mod session;
mod ssh_keys;
mod store_calls;
mod surroundings;
mod template;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use crate::environment::Environment;
use crate::error::{CommandError, CommandResult};

fn main() -> ExitCode {
    // The first process of a container is this binary again; it must not touch anything of ours.
    if std::env::args_os().nth(1).is_some_and(|arg| arg == cooper_executor::INIT_COMMAND) {
        cooper_executor::init_main();
    }
    install_panic_message();
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let message = error.message();
            if !message.is_empty() {
                output::note(&message);
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// Help and version go to standard output with success, mistakes to standard error with code 2, as clap decides.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Steps that were killed end within milliseconds unless their files take long to remove.
const STEPS_END_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// Enters the namespaces the store needs while this process has one thread, then starts the runtime.
fn start(cli: args::Cli) -> CommandResult {
    let surroundings = surroundings::Surroundings::of(&cli.global, Environment::read(), cli.command.needs_store())?;
    let runtime = runtime()?;
    let result = runtime.block_on(commands::run(cli.command, &surroundings));
    match &result {
        // A thread that still reads standard input must not keep the process alive.
        Ok(()) => runtime.shutdown_background(),
        // Steps that were killed take their processes, mounts and temporary files down with them; give them the time.
        Err(_) => runtime.shutdown_timeout(STEPS_END_MAX),
    }
    result
}

/// The runtime. Where the system has no thread left, tokio panics instead of saying so, and would then wait for the
/// threads it has: that is no bug of ours, and the end of this process.
fn runtime() -> CommandResult<tokio::runtime::Runtime> {
    let cannot = || {
        CommandError::failure("cannot start threads").with_hint("a limit of processes may be reached: see `ulimit -u`")
    };
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |_| {
        output::note(&cannot().message());
        std::process::exit(1);
    }));
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    std::panic::set_hook(hook);
    built.map_err(|error| cannot().with_source(error))
}

/// A panic is a bug of ours: say so, and restore the terminal that a live display or a container may have changed.
fn install_panic_message() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        terminal::restore();
        before(panic);
        output::note("this is a bug in cooper; please report it with the lines above");
    }));
}
