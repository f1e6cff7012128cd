//! Measures the floor: the median time of `/bin/true` in a root that holds only a static busybox.
//!
//! Run as root: `cargo run --release -p cooper-executor --example floor [path of a static busybox]`.

#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use std::path::Path;
use std::time::{Duration, Instant};

use cooper_executor::{Executor, INIT_COMMAND, Namespaces, Network, Process, Profile};

const RUNS: usize = 200;

fn main() {
    if std::env::args().nth(1).as_deref() == Some(INIT_COMMAND) {
        cooper_executor::init_main();
    }
    let busybox = std::env::args().nth(1).unwrap_or_else(|| "/bin/busybox".into());
    let root = tempfile::tempdir().expect("a scratch directory");
    for dir in ["bin", "dev", "proc", "sys", "etc"] {
        std::fs::create_dir(root.path().join(dir)).expect("a directory in the root");
    }
    for file in ["etc/hosts", "etc/hostname", "etc/resolv.conf"] {
        std::fs::write(root.path().join(file), "").expect("a file in the root");
    }
    std::fs::copy(busybox, root.path().join("bin/true")).expect("a static busybox");
    let executor = Namespaces::new("/proc/self/exe");
    for network in [Network::Host, Network::None] {
        for (name, profile) in [("sandbox", Profile::SANDBOX), ("insecure", Profile::INSECURE)] {
            let mut times: Vec<Duration> =
                (0..RUNS).map(|_| once(&executor, process(root.path(), network, profile))).collect();
            times.sort();
            println!("{network:?} {name}: median {:?}, least {:?}", times[RUNS / 2], times[0]);
        }
    }
}

fn once(executor: &Namespaces, process: Process) -> Duration {
    let start = Instant::now();
    let exit = executor.start(process).and_then(|mut running| running.wait());
    assert_eq!(exit.expect("a step"), cooper_executor::Exit::Code(0));
    start.elapsed()
}

fn process(root: &Path, network: Network, profile: Profile) -> Process {
    let args = vec!["/bin/true".into()];
    Process { hostname: "floor".into(), network, profile, ..Process::new(root, args) }
}
