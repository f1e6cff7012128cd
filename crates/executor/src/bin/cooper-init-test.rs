//! The program this crate's tests run steps with: `cooper` itself is not built yet when they run.
//!
//! Does nothing of its own; of no use outside the tests.

#![expect(clippy::print_stdout, reason = "its output is read by tests")]

use std::path::PathBuf;

use cooper_executor::{EnterOptions, Executor, INIT_COMMAND, Namespaces, Network, Process, Stdio, enter};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [INIT_COMMAND] => cooper_executor::init_main(),
        ["enter", kind, root, script] => enter_and_run(*kind == "single", root, script),
        ["hold", root, script] => run(root, script),
        _ => std::process::exit(2),
    }
}

/// Enters as `cooper` would, says what was obtained, and runs a step.
fn enter_and_run(single: bool, root: &str, script: &str) {
    let search = ["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from).into();
    match enter(&EnterOptions { search, single }) {
        Ok(identity) => println!("{:?} from {}:{}", identity.map, identity.real_uid, identity.real_gid),
        Err(error) => {
            println!("refused: {error}: {}", error.hint().unwrap_or_default());
            std::process::exit(3);
        }
    }
    run(root, script);
}

fn run(root: &str, script: &str) {
    let open = |write: bool| std::fs::OpenOptions::new().read(!write).write(write).open("/dev/null");
    let (Ok(input), Ok(errors)) = (open(false), open(true)) else { std::process::exit(4) };
    let Ok(output) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3) else { std::process::exit(4) };
    let process = Process {
        env: vec!["PATH=/bin".into()],
        network: Network::None,
        stdio: Stdio::Fds(input.into(), output, errors.into()),
        ..Process::new(root, ["/bin/sh", "-c", script].map(str::to_owned).into())
    };
    match Namespaces::new("/proc/self/exe").start(process).and_then(|mut running| running.wait()) {
        Ok(exit) => println!("{exit:?}"),
        Err(error) => {
            use std::error::Error;
            println!("failed: {error}: {:?} {:?}", error.source().map(ToString::to_string), error.hint());
        }
    }
}
