//! Pulls, pushes, copies and loads are killed at any moment, or run beside a prune that never rests: what is found afterwards
//! is whole or not there, and the next command works.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cooper_registry::server::{Running, Server, ServerOptions};

use crate::place::{Dice, Done, Place};

/// Kills of each kind of command.
const KILLS: u64 = 15;

/// Rounds beside the prune.
const ROUNDS: usize = 10;

/// Layers of the image, each large enough to be streamed.
const LAYERS: usize = 4;

/// A place with an image of a few large layers, and a registry that has it.
struct World {
    place: Place,
    dice: Dice,
    name: String,
    address: String,
    _registry: (tokio::runtime::Runtime, Running),
}

impl World {
    fn new(what: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let running = runtime.block_on(Server::start(ServerOptions::default())).unwrap();
        let address = running.addr().to_string();
        let (place, mut dice) = (Place::new(), Dice::new(what));
        let mut dockerfile = "FROM scratch\n".to_owned();
        for n in 0..LAYERS {
            let noise: Vec<u8> = (0..400_000).flat_map(|_| dice.below(u64::MAX).to_le_bytes()).collect();
            std::fs::write(place.context().join(format!("big{n}")), noise).unwrap();
            dockerfile.push_str(&format!("COPY big{n} /\n"));
        }
        place.write("Dockerfile", &dockerfile);
        let name = format!("{address}/team/app:1");
        place.build(&["-t", "app:1"]).ok();
        place.cooper(&["copy", "store:app:1", &name]).ok();
        Self { place, dice, name, address, _registry: (runtime, running) }
    }

    /// Runs a command for at most `micros`, then kills it and all it started; whether it had ended well by then.
    fn killed(&mut self, args: &[&str], micros: u64) -> bool {
        let mut command = self.place.command(args);
        let mut child = command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(self.dice.below(micros)));
        kill_group(&mut child)
    }

    /// A copy to a layout reads and verifies every blob.
    fn is_whole(&self, from: &str) -> bool {
        self.copied(from).code == Some(0)
    }

    fn copied(&self, from: &str) -> Done {
        let dir = tempfile::tempdir_in(self.place.dir.path()).unwrap();
        let to = format!("oci:{}", dir.path().join("layout").display());
        self.place.cooper(&["copy", from, &to]).no_panic()
    }

    fn path(&self, name: &str) -> String {
        self.place.dir.path().join(name).display().to_string()
    }
}

fn kill_group(child: &mut Child) -> bool {
    let group = rustix::process::Pid::from_child(child);
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    child.wait().unwrap().success()
}

#[test]
fn a_pull_killed_at_any_moment_is_taken_up_by_the_next() {
    let mut world = World::new("killed pulls");
    let name = world.name.clone();
    for n in 0..KILLS {
        world.place.store = world.place.dir.path().join(format!("store{}", n / 3));
        world.killed(&["pull", &name], 120_000);
        if n % 3 == 2 {
            world.place.cooper(&["pull", &name]).ok();
            world.place.sound();
            assert!(world.is_whole(&format!("store:{name}")), "kill {n}");
            world.place.cooper(&["rmi", &name]).ok();
            world.place.prune_leaves_nothing();
        }
    }
}

#[test]
fn a_push_killed_at_any_moment_leaves_no_name_without_its_blobs() {
    let mut world = World::new("killed pushes");
    for n in 0..KILLS {
        // A registry of its own each time, or everything is there already.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let running = runtime.block_on(Server::start(ServerOptions::default())).unwrap();
        let to = format!("{}/team/app:1", running.addr());
        world.place.cooper(&["tag", "app:1", &to]).ok();
        let ended = world.killed(&["push", &to], 150_000);
        let named = world.place.cooper(&["inspect", "--remote", &to]).no_panic().code == Some(0);
        assert!(named || !ended, "push {n} said it was done");
        if named {
            assert!(world.is_whole(&to), "kill {n}");
        }
        world.place.cooper(&["push", &to]).ok();
        assert!(world.is_whole(&to), "kill {n}");
    }
    world.place.sound();
}

#[test]
fn a_copy_killed_at_any_moment_leaves_whole_images_or_none() {
    let mut world = World::new("killed copies");
    let from = world.name.clone();
    for n in 0..KILLS {
        let path = world.path(&format!("to{n}"));
        let to = match n % 3 {
            0 => format!("oci:{path}:one"),
            1 => format!("oci-archive:{path}:host.example/a:one"),
            _ => format!("docker-archive:{path}:host.example/a:one"),
        };
        let ended = world.killed(&["copy", &from, &to], 120_000);
        let there = world.is_whole(&to);
        assert!(there || !ended, "copy {n} said it was done");
        if n % 3 != 0 {
            assert_eq!(there, Path::new(&path).exists(), "an archive has its name when it is whole: kill {n}");
        }
        world.place.cooper(&["copy", &from, &to]).ok();
        assert!(world.is_whole(&to), "kill {n}");
    }
}

#[test]
fn a_load_killed_at_any_moment_names_nothing_that_is_not_there() {
    let mut world = World::new("killed loads");
    let file = world.path("app.tar");
    world.place.cooper(&["save", "-o", &file, "app:1"]).ok();
    for n in 0..KILLS {
        world.place.store = world.place.dir.path().join(format!("store{}", n / 2));
        world.killed(&["load", "-i", &file], 80_000);
        if world.place.cooper(&["inspect", "app:1"]).no_panic().code == Some(0) {
            assert!(world.is_whole("store:app:1"), "kill {n}");
        }
        if n % 2 == 1 {
            world.place.cooper(&["load", "-i", &file]).ok();
            world.place.sound();
            assert!(world.is_whole("store:app:1"), "kill {n}");
        }
    }
}

#[test]
fn pulls_copies_and_loads_beside_prunes_keep_what_they_brought() {
    let world = World::new("beside prunes");
    let (place, over) = (&world.place, AtomicBool::new(false));
    let file = world.path("app.tar");
    place.cooper(&["save", "--format", "oci", "-o", &file, "app:1"]).ok();
    place.cooper(&["rmi", "app:1"]).ok();
    let copied = format!("{}/team/app:1", world.address);
    let round = |bring: &[&str], name: &str| {
        for n in 0..ROUNDS {
            place.cooper(bring).ok();
            let done = world.copied(&format!("store:{name}"));
            assert_eq!(done.code, Some(0), "{bring:?}, round {n}: {}", done.stderr);
            place.cooper(&["rmi", name]).ok();
        }
    };
    std::thread::scope(|scope| {
        let work = [
            scope.spawn(|| round(&["pull", &world.name], &world.name)),
            scope.spawn(|| round(&["copy", &copied, "store:copied:1"], "copied:1")),
            scope.spawn(|| round(&["load", "-i", &file], "app:1")),
        ];
        let pruner = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                place.cooper(&["prune", "-a", "-f"]).ok();
            }
        });
        let results: Vec<_> = work.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        pruner.join().unwrap();
        results.into_iter().for_each(|result| result.unwrap());
    });
    place.sound();
    place.prune_leaves_nothing();
}
